//! Load shedding: when a workload on this host turns calls away before it collapses.
//!
//! By how long calls wait for their turn, as in CoDel (Nichols and Jacobson 2012): a queue that was not once nearly empty for a
//! whole interval is standing, and only makes every answer late. Then whoever would wait too long is told so at once. The
//! invariant: a burst that the host works off within an interval sheds nothing; overload ends only when the queue has been short for
//! an interval, so that the news of it does not flap.

/// Wait in milliseconds below which a queue counts as short: a tenth of the default deadline of a call.
pub const WAIT_MS_TARGET: f64 = 5.0;
/// Length of an interval, in milliseconds: some round trips of gossip's fastest news, and two frames of a game server.
pub const INTERVAL_MS: u64 = 100;

/// Whether a call is let in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Admission {
    /// It is.
    Admit,
    /// It would be late anyway, or makes all others late.
    Shed {
        /// When to try again, in milliseconds.
        retry_after_ms: u64,
    },
}

/// Watches one queue.
#[derive(Clone, Debug, Default)]
pub struct Shedder {
    began_ms: u64,
    least_wait_ms: Option<f64>,
    greatest_wait_ms: f64,
    overloaded: bool,
}

impl Shedder {
    /// A call got its turn after waiting for `waited_ms`.
    pub fn observe(&mut self, waited_ms: f64, now_ms: u64) {
        self.turn(now_ms);
        self.least_wait_ms = Some(self.least_wait_ms.map_or(waited_ms, |least| least.min(waited_ms)));
        self.greatest_wait_ms = self.greatest_wait_ms.max(waited_ms);
    }

    /// Whether a call is let in that has `deadline_ms` left and would wait for `expected_ms`.
    pub fn admit(&mut self, expected_ms: f64, deadline_ms: f64, now_ms: u64) -> Admission {
        self.turn(now_ms);
        let is_late = expected_ms >= deadline_ms;
        if is_late || self.overloaded && expected_ms > WAIT_MS_TARGET {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "clamped to the range of an interval and a minute"
            )]
            let retry_after_ms = expected_ms.clamp(INTERVAL_MS as f64, 60_000.0) as u64;
            return Admission::Shed { retry_after_ms };
        }
        Admission::Admit
    }

    /// Whether others should be told to go elsewhere.
    #[must_use]
    pub const fn is_overloaded(&self) -> bool {
        self.overloaded
    }

    /// Judges an interval that is over.
    fn turn(&mut self, now_ms: u64) {
        if now_ms.saturating_sub(self.began_ms) < INTERVAL_MS {
            return;
        }
        self.overloaded = match (self.overloaded, self.least_wait_ms) {
            (false, Some(least_ms)) => least_ms > WAIT_MS_TARGET,
            (true, Some(_)) => self.greatest_wait_ms > WAIT_MS_TARGET,
            (_, None) => false,
        };
        (self.began_ms, self.least_wait_ms, self.greatest_wait_ms) = (now_ms, None, 0.0);
    }
}
