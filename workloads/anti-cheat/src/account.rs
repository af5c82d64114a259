//! What is on a player's account: how much of the budget for violations is used up.
//!
//! Owns the sum of what was found before, and how it is forgiven. The unit is the nat, the logarithm of a likelihood ratio,
//! so the account is simply added to what is found next. The invariants: half is forgiven in each half-life; the same places
//! are never counted twice; and the account alone never names a rule, for it holds at most [`SPENT_MAX`].

use crate::speed::{BUCKET_MS, BUCKETS_MAX};

/// The most that an account holds: with the usual prior, a player with a full one still has to show 4 nats anew.
pub const SPENT_MAX: f64 = 6.0;
/// Sustained evidence below this is not put on the account: chance brings it every minute.
const EPISODE_MIN: f64 = 5.0;

/// For so long after it showed something last, the window may show the same movement again, in milliseconds.
const EPISODE_MS: u64 = BUCKET_MS * BUCKETS_MAX;

/// What was found of a player before.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Account {
    /// What is used up, in nats.
    pub spent: f64,
    /// The most that the movement of the last seconds showed, which is not on the account yet.
    pub peak: f64,
    /// When it showed something last.
    pub peak_ms: u64,
}

impl Account {
    /// Forgives what `seconds` forgive.
    pub fn forgive(&mut self, seconds: f64, half_life_s: f64) {
        self.spent *= (-seconds / half_life_s).exp2();
    }

    /// Takes note of something that happened at one moment.
    pub fn strike(&mut self, nats: f64) {
        self.spent = (self.spent + nats).min(SPENT_MAX);
    }

    /// Takes note of what the window shows at `t_ms`. It goes on the account when nothing of it is in the window any more, since what
    /// the window shows meanwhile is the same movement seen again.
    pub fn follow(&mut self, nats: f64, t_ms: u64) {
        if nats > 0.0 {
            self.peak = self.peak.max(nats);
            self.peak_ms = self.peak_ms.max(t_ms);
        } else if self.peak > 0.0 && t_ms >= self.peak_ms.saturating_add(EPISODE_MS) {
            if self.peak >= EPISODE_MIN {
                self.strike(self.peak);
            }
            self.peak = 0.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_is_forgiven_in_a_half_life() {
        let mut account = Account { spent: 4.0, ..Account::default() };
        account.forgive(10.0, 10.0);
        assert!((account.spent - 2.0).abs() < 1e-12);
    }

    #[test]
    fn an_episode_counts_once_and_only_if_it_was_strong() {
        let mut account = Account::default();
        let mut at_ms = 0;
        let mut shown = |account: &mut Account, nats| {
            at_ms += 1_000;
            account.follow(nats, at_ms);
        };
        [1.0, 4.0, 2.0, 0.0, 0.0, 0.0].iter().for_each(|nats| shown(&mut account, *nats));
        assert!(account.spent.abs() < f64::EPSILON);
        [1.0, 5.5, 0.0, 2.0, 0.0, 0.0].iter().for_each(|nats| shown(&mut account, *nats));
        assert!(account.spent.abs() < f64::EPSILON, "it may still be in the window");
        [0.0, 0.0].iter().for_each(|nats| shown(&mut account, *nats));
        assert!((account.spent - 5.5).abs() < 1e-12);
        (0..9).for_each(|_| account.strike(30.0));
        assert!((account.spent - SPENT_MAX).abs() < 1e-12);
    }
}
