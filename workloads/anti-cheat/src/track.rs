//! What is known of a player between two calls.
//!
//! Owns its parts and how it is told apart from a stale one; `track/packed.rs` makes it bytes. The invariants: it is bounded,
//! and nothing in it depends on the order in which the updates of one moment arrived.

mod packed;

use crate::account::Account;
use crate::observation::{COORDINATE_MAX, Place};
use crate::rate::Rate;
use crate::speed::Window;

/// An update that is older than the newest by more than this does not come late: the server's clock has begun anew.
const CLOCK_BACK_MS: u64 = 10_000;
/// After so long a silence, where the player was says nothing about where it may be.
const SILENCE_MS: u64 = 30_000;
/// The greatest coordinate of a place.
const PLACE_MAX: i64 = 100 * {
    #[expect(clippy::cast_possible_truncation, reason = "a whole number far within the range")]
    let metres = COORDINATE_MAX as i64;
    metres
};

/// A player's past, as far as it matters.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Track {
    /// The greatest time that was seen.
    pub newest_ms: u64,
    /// Where the player was last, and when that was.
    pub here: Option<(u64, Place)>,
    /// Where the player was before a jump; updates from there may still be on their way.
    pub before: Option<Before>,
    /// The last two seconds.
    pub window: Window,
    /// The actions.
    pub rate: Rate,
    /// What was found before.
    pub account: Account,
    /// When suspicion was last added.
    pub charged_ms: u64,
    /// Up to when suspicion has been forgiven.
    pub forgiven_ms: u64,
}

/// A place that a player jumped away from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Before {
    /// The place.
    pub at: Place,
    /// Until when updates from there count as late.
    pub until_ms: u64,
    /// How many came.
    pub returns: u32,
}

impl Track {
    /// Moves on to an update at `t_ms`, and says how many milliseconds have passed.
    pub fn advance(&mut self, t_ms: u64) -> u64 {
        if t_ms.saturating_add(CLOCK_BACK_MS) < self.newest_ms {
            let account = Account { spent: self.account.spent, ..Account::default() };
            *self = Self { newest_ms: t_ms, account, forgiven_ms: t_ms, ..Self::default() };
        }
        let passed = t_ms.saturating_sub(self.newest_ms);
        if passed > SILENCE_MS {
            self.forget_movement();
        }
        if self.newest_ms == 0 {
            self.forgiven_ms = t_ms;
        }
        self.newest_ms = self.newest_ms.max(t_ms);
        passed
    }

    /// Drops where the player was.
    pub fn forget_movement(&mut self) {
        (self.here, self.before) = (None, None);
        self.window = Window::default();
    }
}
