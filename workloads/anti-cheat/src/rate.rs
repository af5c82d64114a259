//! Who acts more often than the game allows.
//!
//! Owns the evidence from the times of actions; it does not care what they were. The invariant: a player who keeps to the
//! rate gathers no evidence in the long run, and actions that arrive together because their delay varied gather little.
//!
//! The evidence is Page's cumulative sum (Biometrika, 1954) of the likelihood ratio between twice the rate that is allowed
//! and that rate, with actions as a Poisson process: each action adds ln 2, each second takes the rate away, and the sum
//! never falls below zero.

use std::f64::consts::LN_2;

use crate::limits::Limits;
use crate::speed::NATS_MAX;

/// The actions of a player, summed up.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rate {
    /// The evidence when the last action came.
    pub nats: f64,
    /// When the last action came.
    pub last_ms: u64,
    /// When the evidence began to rise.
    pub since_ms: u64,
    /// Actions since then.
    pub count: u32,
}

impl Rate {
    /// Takes in an action.
    pub fn take(&mut self, t_ms: u64, limits: &Limits) {
        let passed = f64::from(u32::try_from(t_ms.saturating_sub(self.last_ms)).unwrap_or(u32::MAX)) / 1_000.0;
        self.nats -= limits.rate * passed;
        if self.nats <= 0.0 {
            *self = Self { nats: 0.0, last_ms: t_ms, since_ms: t_ms, count: 0 };
        }
        self.nats = (self.nats + LN_2).min(NATS_MAX);
        self.last_ms = self.last_ms.max(t_ms);
        self.count = self.count.saturating_add(1);
    }

    /// How long the evidence has been rising, in seconds.
    #[must_use]
    pub fn span_s(&self) -> f64 {
        f64::from(u32::try_from(self.last_ms.saturating_sub(self.since_ms)).unwrap_or(u32::MAX)) / 1_000.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nats(count: u64, every_ms: u64) -> f64 {
        let mut rate = Rate::default();
        (0..count).for_each(|at| rate.take(5_000 + at * every_ms, &Limits::default()));
        rate.nats
    }

    #[test]
    fn the_allowed_rate_is_no_evidence_and_twice_that_is() {
        assert!(nats(1_000, 100) < 1.0);
        assert!(nats(60, 50) > 10.0);
        assert!(nats(20, 1) > 10.0, "a burst");
        assert!(nats(5, 0) < 4.0, "a few that were delayed");
    }

    #[test]
    fn evidence_passes_with_time_and_has_an_end() {
        let mut rate = Rate::default();
        (0..10_000).for_each(|_| rate.take(1_000, &Limits::default()));
        assert!((rate.nats - NATS_MAX).abs() < f64::EPSILON);
        rate.take(1_000 + 10_000, &Limits::default());
        assert_eq!((rate.count, rate.since_ms), (1, 11_000));
    }
}
