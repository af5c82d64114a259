//! The hybrid logical clock: wall time that never runs backwards and orders what it has seen.
//!
//! Owns stamps and the rule that advances them; it reads no clock (wall time is an argument). The invariant: a stamp
//! issued after another was issued or observed is greater than it. Source: Kulkarni et al., "Logical Physical Clocks", 2014.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::planted::{self, Bug};

/// Bits of a stamp that count events within one millisecond.
const COUNTER_BITS: u32 = 16;

/// A moment: 48 bits of milliseconds since the Unix epoch and 16 bits of counter. Orders as its integer does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Hlc(pub u64);

impl Hlc {
    /// The first stamp of a millisecond. Milliseconds beyond 48 bits (the year 10889) saturate.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        let most = u64::MAX >> COUNTER_BITS;
        Self((if millis < most { millis } else { most }) << COUNTER_BITS)
    }

    /// The wall-clock part, in milliseconds since the Unix epoch.
    #[must_use]
    pub const fn millis(self) -> u64 {
        self.0 >> COUNTER_BITS
    }

    /// The counter within the millisecond.
    #[must_use]
    pub const fn counter(self) -> u64 {
        self.0 & ((1 << COUNTER_BITS) - 1)
    }
}

impl fmt::Display for Hlc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.millis(), self.counter())
    }
}

/// The clock of one replica.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    last: Hlc,
}

impl Clock {
    /// A clock that has already seen `last`.
    #[must_use]
    pub const fn starting_after(last: Hlc) -> Self {
        Self { last }
    }

    /// The newest stamp issued or observed.
    #[must_use]
    pub const fn last(&self) -> Hlc {
        self.last
    }

    /// A new stamp, greater than all before, for an event at `wall_ms`.
    ///
    /// A counter that overflows borrows the next millisecond, so that order holds even when the wall clock stands still.
    pub fn issue(&mut self, wall_ms: u64) -> Hlc {
        self.last = Hlc::from_millis(wall_ms).max(Hlc(self.last.0.saturating_add(1)));
        if planted::is(Bug::StampsFallBack) {
            self.last = Hlc::from_millis(wall_ms);
        }
        self.last
    }

    /// Takes note of a stamp made elsewhere. The caller has already checked it against the bound on drift.
    pub fn observe(&mut self, stamp: Hlc) {
        self.last = if planted::is(Bug::StampsUnobserved) { self.last } else { self.last.max(stamp) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_rise_even_when_the_wall_clock_falls() {
        let mut clock = Clock::default();
        let mut last = clock.issue(5_000);
        for wall in [5_000, 4_000, 0, 5_001, 5_001] {
            let next = clock.issue(wall);
            assert!(next > last, "{next} after {last}");
            last = next;
        }
        assert_eq!(last.millis(), 5_001);
    }

    #[test]
    fn a_full_counter_borrows_the_next_millisecond() {
        let mut clock = Clock::starting_after(Hlc((7 << 16) | 0xffff));
        assert_eq!(clock.issue(7), Hlc::from_millis(8));
    }

    #[test]
    fn an_observed_stamp_is_exceeded() {
        let mut clock = Clock::default();
        clock.observe(Hlc::from_millis(9_000));
        assert!(clock.issue(1) > Hlc::from_millis(9_000));
    }
}
