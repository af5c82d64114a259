//! How many calls a second a caller may make.
//!
//! Owns who counts as one caller, how many are remembered, and the generic cell rate algorithm (ITU-T I.371): one number is kept for each caller, when it
//! will be back at its full burst. The invariants: without a limit a call costs nothing here; however many callers come, so many are
//! remembered; and one that is forgotten had its full burst again, or was the nearest to it.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use selvedge_sync::id::NodeId;
use serde::Deserialize;

use crate::service::{Caller, Fault, ServiceError};

/// Most callers whose rate is known at a time, each with one workload: some dozen users of one host, or members of a mesh, with some dozen
/// workloads each, at some tens of bytes.
pub const CALLERS_MAX: usize = 4_096;

/// What one caller may do with one workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// Calls per second, in the long run.
    pub per_s: NonZeroU32,
    /// Calls at once; as many as in a second if it is not said.
    pub burst: Option<NonZeroU32>,
}

/// The limits of this agent.
#[derive(Debug)]
pub struct Rates {
    callers: Option<Limiter>,
    members: Option<Limiter>,
    limited: AtomicU64,
}

impl Rates {
    /// Limits to callers on this host, and to members that forward calls to it.
    #[must_use]
    pub fn new(callers: Option<Rate>, members: Option<Rate>) -> Self {
        let limiter = |rate| Limiter::new(rate, Instant::now());
        Self { callers: callers.map(limiter), members: members.map(limiter), limited: AtomicU64::new(0) }
    }

    /// Lets a call through that `caller` makes on this host.
    ///
    /// # Errors
    /// It comes too soon. Nothing was done, and it does not count.
    pub fn admit(&self, caller: Caller, workload: &str) -> Result<(), ServiceError> {
        match &self.callers {
            None => Ok(()),
            Some(limiter) => self.check(limiter, limiter.key(&(caller, workload)), workload),
        }
    }

    /// Lets a call through that a member forwards.
    ///
    /// # Errors
    /// It comes too soon. Nothing was done, and it does not count.
    pub fn admit_member(&self, member: &NodeId, workload: &str) -> Result<(), ServiceError> {
        match &self.members {
            None => Ok(()),
            Some(limiter) => self.check(limiter, limiter.key(&(member, workload)), workload),
        }
    }

    /// Calls that came too soon.
    #[must_use]
    pub fn limited(&self) -> u64 {
        self.limited.load(Ordering::Relaxed)
    }

    fn check(&self, limiter: &Limiter, key: u64, workload: &str) -> Result<(), ServiceError> {
        limiter.check(key, Instant::now()).map_err(|wait| {
            self.limited.fetch_add(1, Ordering::Relaxed);
            let retry_after_s = u32::try_from(wait.as_millis().div_ceil(1_000)).unwrap_or(u32::MAX);
            let rate = limiter.rate.per_s;
            let message = format!("more than the {rate} calls of `{workload}` a second that one caller may make here");
            ServiceError::new(Fault::Busy { retry_after_s: retry_after_s.max(1) }, "rate_limited", message)
                .hint("`call_rate` in the agent's configuration is the limit")
        })
    }
}

/// One rate for everybody, and how each has used it.
#[derive(Debug)]
struct Limiter {
    rate: Rate,
    epoch: Instant,
    hasher: RandomState,
    /// When each caller's next call is due by its rate, in nanoseconds since the epoch.
    due_ns: Mutex<HashMap<u64, u64>>,
}

impl Limiter {
    fn new(rate: Rate, epoch: Instant) -> Self {
        Self { rate, epoch, hasher: RandomState::new(), due_ns: Mutex::default() }
    }

    /// Who counts as one. Seeded, so that nobody can choose a name that shares another's.
    fn key(&self, caller: &impl std::hash::Hash) -> u64 {
        self.hasher.hash_one(caller)
    }

    /// How long to wait, if it is too soon.
    fn check(&self, key: u64, now: Instant) -> Result<(), Duration> {
        let interval_ns = 1_000_000_000 / u64::from(self.rate.per_s.get());
        let tolerance_ns = interval_ns * u64::from(self.rate.burst.unwrap_or(self.rate.per_s).get() - 1);
        let now_ns = u64::try_from(now.saturating_duration_since(self.epoch).as_nanos()).unwrap_or(u64::MAX);
        let mut callers = self.due_ns.lock().unwrap_or_else(PoisonError::into_inner);
        let due_ns = callers.get(&key).copied().unwrap_or(now_ns).max(now_ns);
        let early_ns = due_ns - now_ns;
        if early_ns > tolerance_ns {
            return Err(Duration::from_nanos(early_ns - tolerance_ns));
        }
        if callers.len() >= CALLERS_MAX && !callers.contains_key(&key) {
            make_room(&mut callers, now_ns);
        }
        callers.insert(key, due_ns.saturating_add(interval_ns));
        Ok(())
    }
}

/// Forgets those that have their full burst again, or else whoever will be the first to have it.
fn make_room(callers: &mut HashMap<u64, u64>, now_ns: u64) {
    callers.retain(|_, due_ns| *due_ns > now_ns);
    if callers.len() >= CALLERS_MAX {
        let first = callers.iter().min_by_key(|(_, due_ns)| **due_ns).map(|(key, _)| *key);
        first.and_then(|key| callers.remove(&key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(per_s: u32, burst: u32) -> Rate {
        Rate { per_s: NonZeroU32::new(per_s).expect("a rate"), burst: NonZeroU32::new(burst) }
    }

    #[test]
    fn a_caller_has_its_burst_and_its_rate_and_callers_are_bounded() {
        let epoch = Instant::now();
        let limiter = Limiter::new(rate(10, 5), epoch);
        let check = |caller: u64, at_ms| limiter.check(caller, epoch + Duration::from_millis(at_ms));
        let passed = |caller, at_ms| (0..100).filter(|_| check(caller, at_ms).is_ok()).count();
        assert_eq!(passed(1, 0), 5);
        assert_eq!(passed(2, 0), 5, "one caller does not pay for another");
        assert_eq!(check(1, 0), Err(Duration::from_millis(100)));
        assert_eq!(passed(1, 200), 2);
        // A second of trying every millisecond passes ten.
        assert_eq!((201..=1_200).map(|at_ms| passed(1, at_ms)).sum::<usize>(), 10);
        for caller in 0..CALLERS_MAX as u64 * 2 {
            assert_eq!(check(1_000 + caller, 2_000), Ok(()));
        }
        let remembered = || limiter.due_ns.lock().expect("sound").len();
        assert_eq!(remembered(), CALLERS_MAX);
        assert_eq!(passed(3, 3_000), 5);
        assert_eq!(remembered(), 1, "the others have their burst again anyway");
    }

    #[test]
    fn whoever_comes_too_soon_is_told_when_to_come_back() {
        let rates = Rates::new(Some(rate(1, 2)), None);
        let admit = |caller, workload| rates.admit(caller, workload);
        for _ in 0..2 {
            assert!(admit(Caller::User(1_000), "combat").is_ok());
        }
        let error = admit(Caller::User(1_000), "combat").expect_err("too soon");
        assert_eq!((error.fault(), error.code()), (Fault::Busy { retry_after_s: 1 }, "rate_limited"));
        assert!(admit(Caller::User(1_001), "combat").is_ok() && admit(Caller::User(1_000), "chat").is_ok());
        assert!((0..100).all(|_| rates.admit_member(&NodeId([1; 32]), "combat").is_ok()), "members have no limit");
        assert_eq!(rates.limited(), 1);
        let members = Rates::new(None, Some(rate(1, 1)));
        assert!(members.admit_member(&NodeId([1; 32]), "combat").is_ok());
        assert!(members.admit_member(&NodeId([1; 32]), "combat").is_err());
    }
}
