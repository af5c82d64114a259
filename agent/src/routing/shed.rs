//! Load shedding: when a workload on this host turns calls away before it collapses.
//!
//! By how long calls wait for their turn, as in CoDel (Nichols and Jacobson 2012): a queue that was not once nearly empty for a
//! whole interval is standing, and only makes every answer late. Then others are told, and whoever would spend half of its patience
//! on waiting is turned away at once; whoever would spend all of it is turned away at any time. The invariants: a burst that the
//! host works off within an interval and within its callers' patience sheds nothing; with nobody waiting nobody is shed; overload ends only
//! when the queue has been short for an interval, so that the news of it does not flap.

/// Wait in milliseconds below which a queue counts as short: a tenth of the default deadline of a call.
pub const WAIT_MS_TARGET: f64 = 5.0;
/// Turns for which waiting is nothing unusual: a host that is nearly, and not quite, as busy as it can be has so many calls in line
/// now and then.
const TURNS_TARGET: f64 = 4.0;
/// Shortest interval, in milliseconds: some round trips of gossip's fastest news, and two frames of a game server.
pub const INTERVAL_MS: u64 = 100;
/// An interval has at least so many turns, so that it says something of slow calls too.
const INTERVAL_TURNS: f64 = 16.0;
/// How long a caller is taken to wait that names no deadline, in milliseconds. An agent that has forwarded a call gives it up after this and
/// its own deadline, and does not know then whether it was made.
pub const PATIENCE_MS: f64 = 1_000.0;
/// Part of its patience that a caller may spend on waiting while the queue is standing. With the other half it is served.
const PATIENCE_PART: f64 = 0.5;
/// What the last turn counts for in the time of one: about eight turns decide.
const TURN_STEP: f64 = 0.125;
/// Longest time until another attempt that is told, in milliseconds.
const RETRY_MS_MAX: f64 = 60_000.0;

/// Whether a call is let in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Admission {
    /// It is.
    Admit,
    /// It is not, and nothing was done.
    Shed {
        /// Why.
        why: Why,
        /// How long it would have waited, in milliseconds.
        expected_ms: f64,
        /// When to try again, in milliseconds.
        retry_after_ms: u64,
    },
}

/// Why a call is turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Its time would be over before its turn came.
    Late,
    /// The queue is standing, and it would spend too much of its time in it.
    Overloaded,
}

/// Watches one queue. Times are in microseconds of any clock that never goes back.
#[derive(Clone, Debug, Default)]
pub struct Shedder {
    began_us: u64,
    /// Of the calls in this interval, the one that waited least, and the one that waited longest.
    least_ms: Option<f64>,
    greatest_ms: f64,
    overloaded: bool,
    /// How long each in line is waited for, smoothed, in milliseconds.
    turn_ms: f64,
}

impl Shedder {
    /// A call got its turn after waiting for `waited_ms`, with `ahead` calls before it when it came.
    pub fn observe(&mut self, waited_ms: f64, ahead: usize, now_us: u64) {
        self.look(now_us);
        self.turn_ms += TURN_STEP * (waited_ms / (ahead as f64 + 1.0) - self.turn_ms);
        self.note(waited_ms);
    }

    /// Whether a call is let in that finds `ahead` others waiting and has `patience_ms` left, if its caller has said so.
    pub fn admit(&mut self, ahead: usize, patience_ms: Option<f64>, now_us: u64) -> Admission {
        self.look(now_us);
        let expected_ms = (ahead as f64 + 1.0) * self.turn_ms;
        if ahead == 0 {
            return Admission::Admit;
        }
        let patience_ms = patience_ms.unwrap_or(PATIENCE_MS);
        let bearable_ms = (patience_ms * PATIENCE_PART).max(self.target_ms());
        let why = if expected_ms >= patience_ms {
            Why::Late
        } else if self.overloaded && expected_ms > bearable_ms {
            Why::Overloaded
        } else {
            return Admission::Admit;
        };
        // Who is turned away would have waited for long, and that is what keeps the queue from counting as short.
        self.note(expected_ms);
        let retry_after_ms = expected_ms.clamp(INTERVAL_MS as f64, RETRY_MS_MAX);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to a minute")]
        let retry_after_ms = retry_after_ms as u64;
        Admission::Shed { why, expected_ms, retry_after_ms }
    }

    /// Whether others should be told to go elsewhere.
    pub fn is_overloaded(&mut self, now_us: u64) -> bool {
        self.look(now_us);
        self.overloaded
    }

    fn note(&mut self, waited_ms: f64) {
        self.least_ms = Some(self.least_ms.map_or(waited_ms, |least| least.min(waited_ms)));
        self.greatest_ms = self.greatest_ms.max(waited_ms);
    }

    /// Wait below which the queue counts as short.
    fn target_ms(&self) -> f64 {
        WAIT_MS_TARGET.max(TURNS_TARGET * self.turn_ms)
    }

    /// Judges an interval that is over.
    fn look(&mut self, now_us: u64) {
        let interval_ms = (INTERVAL_MS as f64).max(INTERVAL_TURNS * self.turn_ms);
        if (now_us.saturating_sub(self.began_us) as f64) < interval_ms * 1e3 {
            return;
        }
        let target_ms = self.target_ms();
        self.overloaded = match (self.overloaded, self.least_ms) {
            (false, Some(least_ms)) => least_ms > target_ms,
            (true, Some(_)) => self.greatest_ms > target_ms,
            (_, None) => false,
        };
        (self.began_us, self.least_ms, self.greatest_ms) = (now_us, None, 0.0);
    }
}
