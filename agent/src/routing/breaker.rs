//! The circuit breaker of one (peer, workload).
//!
//! Closed, it lets calls through and counts failures. Open, it lets none through for a while. Half-open, it lets one through at a
//! time to see whether the peer is well again. The invariant: a peer that fails everything costs its callers a probe for each wait,
//! and waits get longer up to a bound.

use super::Ended;

/// Failures in a row that open it: one or two are a restart or a lost connection.
pub const FAILURES_MAX: u32 = 5;
/// Calls of the last [`WINDOW_MS`] before a share of failures means anything.
pub const WINDOW_CALLS_MIN: u32 = 20;
/// Length of the window in which failures are counted, in milliseconds.
pub const WINDOW_MS: u64 = 10_000;
/// First time that it stays open, in milliseconds; it doubles with each probe that fails.
pub const OPEN_MS_MIN: u64 = 1_000;
/// Longest time that it stays open, in milliseconds: an operator who mends a host should see it used within a minute.
pub const OPEN_MS_MAX: u64 = 30_000;
/// Probes in a row that must succeed for it to close.
pub const PROBES: u32 = 2;
/// A probe that has not come back after this long, in milliseconds, is forgotten: whoever made it may have given up.
pub const PROBE_MS_MAX: u64 = 30_000;

/// What it does with calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Lets them through.
    Closed,
    /// Lets none through until this time.
    Open {
        /// In milliseconds of the caller's clock.
        until_ms: u64,
    },
    /// Lets one through at a time.
    HalfOpen {
        /// When the probe that is under way began, if one is.
        probing_since_ms: Option<u64>,
        /// Probes that have succeeded.
        succeeded: u32,
    },
}

/// A breaker. It begins closed.
#[derive(Clone, Debug)]
pub struct Breaker {
    state: State,
    in_a_row: u32,
    window_began_ms: u64,
    calls: u32,
    failures: u32,
    open_ms: u64,
    opened: u64,
}

impl Default for Breaker {
    fn default() -> Self {
        Self {
            state: State::Closed,
            in_a_row: 0,
            window_began_ms: 0,
            calls: 0,
            failures: 0,
            open_ms: OPEN_MS_MIN,
            opened: 0,
        }
    }
}

impl Breaker {
    /// What it does at present.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// How often it has opened.
    #[must_use]
    pub const fn opened(&self) -> u64 {
        self.opened
    }

    /// Whether a call may go through.
    #[must_use]
    pub const fn admits(&self, now_ms: u64) -> bool {
        match self.state {
            State::Closed | State::HalfOpen { probing_since_ms: None, .. } => true,
            State::Open { until_ms } => now_ms >= until_ms,
            State::HalfOpen { probing_since_ms: Some(since_ms), .. } => now_ms.saturating_sub(since_ms) >= PROBE_MS_MAX,
        }
    }

    /// A call goes through.
    pub fn begin(&mut self, now_ms: u64) {
        match self.state {
            State::Closed => {}
            State::Open { until_ms } if now_ms < until_ms => {}
            State::Open { .. } => self.state = State::HalfOpen { probing_since_ms: Some(now_ms), succeeded: 0 },
            State::HalfOpen { succeeded, .. } => {
                self.state = State::HalfOpen { probing_since_ms: Some(now_ms), succeeded };
            }
        }
    }

    /// A call has ended.
    pub fn end(&mut self, ended: Ended, now_ms: u64) {
        // Being busy is neither, nor is what nobody waited for.
        let failed = match ended {
            Ended::Answered | Ended::Broke => false,
            Ended::Failed => true,
            Ended::Busy | Ended::Abandoned => return self.probe_ended(),
        };
        match self.state {
            State::Closed => self.count(failed, now_ms),
            // A call from before it opened.
            State::Open { .. } => {}
            State::HalfOpen { .. } if failed => {
                self.open_ms = (self.open_ms * 2).min(OPEN_MS_MAX);
                self.open(now_ms);
            }
            State::HalfOpen { succeeded, .. } if succeeded + 1 >= PROBES => {
                *self = Self { opened: self.opened, ..Self::default() }
            }
            State::HalfOpen { succeeded, .. } => {
                self.state = State::HalfOpen { probing_since_ms: None, succeeded: succeeded + 1 };
            }
        }
    }

    fn probe_ended(&mut self) {
        if let State::HalfOpen { probing_since_ms, .. } = &mut self.state {
            *probing_since_ms = None;
        }
    }

    fn count(&mut self, failed: bool, now_ms: u64) {
        if now_ms.saturating_sub(self.window_began_ms) >= WINDOW_MS {
            (self.window_began_ms, self.calls, self.failures) = (now_ms, 0, 0);
        }
        self.calls = self.calls.saturating_add(1);
        self.failures += u32::from(failed);
        self.in_a_row = if failed { self.in_a_row + 1 } else { 0 };
        let half = self.calls >= WINDOW_CALLS_MIN && self.failures * 2 >= self.calls;
        if failed && (half || self.in_a_row >= FAILURES_MAX) {
            self.open(now_ms);
        }
    }

    fn open(&mut self, now_ms: u64) {
        self.state = State::Open { until_ms: now_ms.saturating_add(self.open_ms) };
        self.opened += 1;
        (self.in_a_row, self.calls, self.failures) = (0, 0, 0);
    }
}
