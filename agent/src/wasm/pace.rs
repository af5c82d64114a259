//! Whether a workload's calls are quick, and may be made on a thread that others wait for.
//!
//! A guess from how long earlier calls took; bounds no call. The invariant: who was quick and then was not has more to show each time.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

/// A call whose guest took at most this long was quick: it may run on a thread that others wait for.
const QUICK: Duration = Duration::from_micros(500);
/// Quick calls in a row after which a new workload is believed to be quick.
const TRIALS: u32 = 16;
/// The same for one that was quick and then was not, at most; it doubles each time.
const TRIALS_MAX: u32 = 4_096;

/// Whether a workload has shown that its calls are short.
pub(super) struct Pace {
    /// Quick calls that it has still to show.
    left: AtomicU32,
    /// How many it has to show after the next slow one.
    trials: AtomicU32,
    /// Whether the last call took long, and nothing shows that the guest did.
    is_in_doubt: AtomicBool,
}

impl Default for Pace {
    fn default() -> Self {
        Self { left: AtomicU32::new(TRIALS), trials: AtomicU32::new(TRIALS), is_in_doubt: AtomicBool::new(false) }
    }
}

impl Pace {
    /// Whether its next call is expected to be short.
    pub(super) fn is_quick(&self) -> bool {
        self.left.load(Ordering::Relaxed) == 0
    }

    /// A call took this long, all of it the guest's as far as that shows. On a busy host a thread is left alone for milliseconds, and
    /// that says nothing of a guest; two such calls in a row do. Calls that end at one time may overwrite each other's count; it is a
    /// guess anyway.
    pub(super) fn ended(&self, guest_time: Duration, is_long: bool) {
        let took_long = guest_time > QUICK;
        let was_in_doubt = self.is_in_doubt.swap(took_long, Ordering::Relaxed);
        if took_long && (is_long || was_in_doubt) {
            let trials = self.trials.load(Ordering::Relaxed);
            self.left.store(trials, Ordering::Relaxed);
            self.trials.store((trials * 2).min(TRIALS_MAX), Ordering::Relaxed);
        } else {
            let left = self.left.load(Ordering::Relaxed);
            if left > 0 {
                self.left.store(left - 1, Ordering::Relaxed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workload_is_quick_once_it_has_shown_it_and_pays_for_being_slow() {
        let pace = Pace::default();
        let until_quick = || (0..).take_while(|_| !pace.is_quick()).inspect(|_| pace.ended(QUICK, false)).count();
        assert_eq!(until_quick(), TRIALS as usize);
        for expect in [16, 32, 64, 128, 256, 512, 1_024, 2_048, 4_096, 4_096] {
            pace.ended(QUICK * 2, true);
            assert_eq!(until_quick(), expect);
        }
    }

    #[test]
    fn a_thread_that_was_left_alone_is_not_held_against_a_workload_unless_it_is_again() {
        let pace = Pace::default();
        (0..TRIALS).for_each(|_| pace.ended(QUICK, false));
        for _ in 0..100 {
            pace.ended(QUICK * 10, false);
            assert!(pace.is_quick());
            pace.ended(QUICK, false);
        }
        pace.ended(QUICK * 10, false);
        pace.ended(QUICK * 10, false);
        assert!(!pace.is_quick());
    }
}
