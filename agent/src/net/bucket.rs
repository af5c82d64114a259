//! A token bucket: so many at once, so many in the long run.
//!
//! Pure; takes the time as an argument. The invariant: over any span it lets through at most `burst` and one for each
//! `every` in it.

use std::time::{Duration, Instant};

/// How much is let through.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    /// At once.
    pub(super) burst: u32,
    /// In the long run, one each time that this has passed.
    pub(super) every: Duration,
}

/// The state of one bucket. A new one is full.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    /// When it would be full if nothing more were taken.
    full_at: Instant,
}

impl Bucket {
    pub(super) const fn new(now: Instant) -> Self {
        Self { full_at: now }
    }

    /// Takes one token, if there is one.
    pub(super) fn take(&mut self, rate: Rate, now: Instant) -> bool {
        let after = self.full_at.max(now) + rate.every;
        let has_one = after.saturating_duration_since(now) <= rate.every * rate.burst;
        if has_one {
            self.full_at = after;
        }
        has_one
    }

    /// Whether a token is there, without taking it.
    pub(super) fn has(mut self, rate: Rate, now: Instant) -> bool {
        self.take(rate, now)
    }

    /// Whether it is full, and so no different from a new one.
    pub(super) fn is_full(&self, now: Instant) -> bool {
        self.full_at <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_the_rate() {
        let (rate, start) = (Rate { burst: 10, every: Duration::from_millis(250) }, Instant::now());
        let mut bucket = Bucket::new(start);
        let mut taken = |now| std::iter::from_fn(|| bucket.take(rate, now).then_some(())).count();
        assert_eq!(taken(start), 10);
        assert_eq!(taken(start + Duration::from_secs(1)), 4);
        assert_eq!(taken(start + Duration::from_hours(1)), 10, "it never holds more than the burst");
        assert!(!bucket.is_full(start + Duration::from_hours(1)));
        assert!(bucket.is_full(start + Duration::from_hours(2)));
    }
}
