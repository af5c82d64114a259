//! Rate limits per caller, by the generic cell rate algorithm (ITU-T I.371).
//!
//! One number is kept for each caller: when it would be back at its full burst. Callers beyond the bound displace those who have
//! been quiet for longest, which are back at their full burst anyway.

use std::collections::BTreeMap;

/// Most callers whose rate is known at a time: 4,096 players of one host, at a hundred bytes each.
pub const CALLERS_MAX: usize = 4_096;

/// What one caller may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Calls per second, in the long run; at least 1.
    pub per_s: u32,
    /// Calls at once; at least 1.
    pub burst: u32,
}

/// Limits callers to a rate each.
#[derive(Clone, Debug)]
pub struct Limiter {
    interval_us: u64,
    tolerance_us: u64,
    /// When each caller's next call is due by its rate, in microseconds.
    due_us: BTreeMap<String, u64>,
}

impl Limiter {
    /// A limiter that has seen nobody.
    #[must_use]
    pub fn new(rate: Rate) -> Self {
        let interval_us = 1_000_000 / u64::from(rate.per_s.max(1));
        let tolerance_us = interval_us * u64::from(rate.burst.max(1) - 1);
        Self { interval_us, tolerance_us, due_us: BTreeMap::new() }
    }

    /// Lets a call of `caller` through.
    ///
    /// # Errors
    /// The milliseconds after which the next one would pass, if this one comes too soon. It does not count then.
    pub fn check(&mut self, caller: &str, now_ms: u64) -> Result<(), u64> {
        let now_us = now_ms.saturating_mul(1_000);
        let due_us = self.due_us.get(caller).copied().unwrap_or(now_us).max(now_us);
        let early_us = due_us.saturating_sub(now_us);
        if early_us > self.tolerance_us {
            return Err((early_us - self.tolerance_us).div_ceil(1_000));
        }
        if !self.due_us.contains_key(caller) && self.due_us.len() >= CALLERS_MAX {
            self.make_room(now_us);
        }
        self.due_us.insert(caller.to_owned(), due_us + self.interval_us);
        Ok(())
    }

    /// Callers whose rate is known.
    #[must_use]
    pub fn callers(&self) -> usize {
        self.due_us.len()
    }

    fn make_room(&mut self, now_us: u64) {
        self.due_us.retain(|_, due_us| *due_us > now_us);
        if self.due_us.len() >= CALLERS_MAX {
            let quietest = self.due_us.iter().min_by_key(|(_, due_us)| **due_us).map(|(caller, _)| caller.clone());
            quietest.and_then(|caller| self.due_us.remove(&caller));
        }
    }
}
