//! The retry budget: retries are a share of calls, so that a fault does not multiply the load that it is under.
//!
//! As in Finagle and tower: each call deposits a tenth of a retry, each retry withdraws one, and a little is there for whoever
//! calls rarely.

/// Retries that each call pays for.
const RETRIES_PER_CALL: f64 = 0.1;
/// Retries per second that are always granted.
const RETRIES_PER_S: f64 = 1.0;
/// Most retries that can be saved up: what a second of many calls pays for, so that old calm does not pay for a new storm.
const BALANCE_MAX: f64 = 50.0;

/// What retries draw upon.
#[derive(Clone, Debug)]
pub struct RetryBudget {
    balance: f64,
    at_ms: u64,
}

impl Default for RetryBudget {
    /// Enough for the first second.
    fn default() -> Self {
        Self { balance: RETRIES_PER_S, at_ms: 0 }
    }
}

impl RetryBudget {
    /// A call, which is no retry itself, is made.
    pub fn deposit(&mut self, now_ms: u64) {
        self.accrue(now_ms);
        self.balance = (self.balance + RETRIES_PER_CALL).min(BALANCE_MAX);
    }

    /// Whether a retry may be made; if so it is paid for.
    pub fn withdraw(&mut self, now_ms: u64) -> bool {
        self.accrue(now_ms);
        let granted = self.balance >= 1.0;
        if granted {
            self.balance -= 1.0;
        }
        granted
    }

    fn accrue(&mut self, now_ms: u64) {
        let elapsed_s = now_ms.saturating_sub(self.at_ms) as f64 / 1_000.0;
        self.balance = (self.balance + elapsed_s * RETRIES_PER_S).min(BALANCE_MAX.max(self.balance));
        self.at_ms = self.at_ms.max(now_ms);
        self.balance = self.balance.min(BALANCE_MAX);
    }
}
