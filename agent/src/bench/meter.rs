//! What happened to the calls of one stage.
//!
//! Owns the counts and the histograms. The invariant: each call that was due is answered, or an error of one kind, once; latency
//! is recorded of answers only, from the moment at which the call was due. How long a call waited here until it was written, and
//! how long it was on its way from then on, is recorded apart: the first says nothing of the cluster.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::Serialize;
use tokio::sync::Notify;

/// Longest latency that is told apart, in microseconds; more counts as this.
const LATENCY_US_MAX: u64 = 120_000_000;
/// Significant decimal digits of a recorded latency.
const DIGITS: u8 = 3;
/// Kinds of errors that are told apart; further ones count as `other`. The agent has some twenty.
const KINDS_MAX: usize = 32;

/// Counts of a stage, readable when it is over.
pub(super) struct Meter {
    inner: Mutex<Inner>,
    /// Told whenever the last call that was known to be due has ended.
    settled: Notify,
}

struct Inner {
    due: u64,
    ended: u64,
    held_up: u64,
    last_answer: Option<Instant>,
    last_end: Option<Instant>,
    latency: Histogram<u64>,
    lateness: Histogram<u64>,
    waited: Histogram<u64>,
    wire: Histogram<u64>,
    errors: BTreeMap<String, u64>,
}

/// A distribution in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(super) struct LatencyUs {
    pub(super) mean: f64,
    pub(super) p50: u64,
    pub(super) p90: u64,
    pub(super) p99: u64,
    pub(super) p999: u64,
    pub(super) max: u64,
}

/// What a stage gave.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Counts {
    /// Calls that were due.
    pub(super) due: u64,
    /// Calls that succeeded.
    pub(super) answered: u64,
    /// Calls that did not, by the agent's code or one of ours.
    pub(super) errors: BTreeMap<String, u64>,
    /// When the last of them succeeded.
    pub(super) last_answer: Option<Instant>,
    /// When the last of all ended.
    pub(super) last_end: Option<Instant>,
    /// How long those that succeeded took, from when each was due.
    pub(super) latency: LatencyUs,
    /// Calls that were due behind others that waited because the connections to their agent had no room.
    pub(super) held_up: u64,
    /// Calls that were written to a connection.
    pub(super) sent: u64,
    /// How long these waited until then, from when each was due.
    pub(super) waited: LatencyUs,
    /// How long these were on their way, until they ended in whatever way.
    pub(super) wire: LatencyUs,
    /// How much later than due the sender itself was with 99 of 100 calls, in microseconds.
    pub(super) late_us_p99: u64,
}

impl Meter {
    pub(super) fn new() -> Self {
        let histogram = || Histogram::new_with_bounds(1, LATENCY_US_MAX, DIGITS).expect("the bounds are sound");
        Self {
            inner: Mutex::new(Inner {
                due: 0,
                ended: 0,
                held_up: 0,
                last_answer: None,
                last_end: None,
                latency: histogram(),
                lateness: histogram(),
                waited: histogram(),
                wire: histogram(),
                errors: BTreeMap::new(),
            }),
            settled: Notify::new(),
        }
    }

    /// A call was due `late` ago; `is_held_up` if others that were due before wait for room on the connections.
    pub(super) fn due(&self, late: Duration, is_held_up: bool) {
        let mut inner = self.lock();
        inner.due += 1;
        inner.held_up += u64::from(is_held_up);
        inner.lateness.saturating_record(micros(late));
    }

    /// A call that was due then was written, if it was.
    pub(super) fn left(&self, due: Instant, sent: Option<Instant>) {
        let Some(sent) = sent else { return };
        let mut inner = self.lock();
        inner.waited.saturating_record(micros(sent - due));
        inner.wire.saturating_record(micros(sent.elapsed()));
    }

    /// A call that was due then has succeeded.
    pub(super) fn answered(&self, due: Instant) {
        let now = Instant::now();
        let mut inner = self.lock();
        inner.latency.saturating_record(micros(now - due));
        inner.last_answer = Some(now);
        self.end(inner);
    }

    /// A call has not succeeded.
    pub(super) fn failed(&self, kind: &str) {
        let mut inner = self.lock();
        let kind = if inner.errors.len() >= KINDS_MAX && !inner.errors.contains_key(kind) { "other" } else { kind };
        *inner.errors.entry(kind.to_owned()).or_default() += 1;
        self.end(inner);
    }

    fn end(&self, mut inner: MutexGuard<'_, Inner>) {
        inner.ended += 1;
        inner.last_end = Some(Instant::now());
        let is_settled = inner.ended == inner.due;
        drop(inner);
        if is_settled {
            self.settled.notify_one();
        }
    }

    /// Waits until every call that was due has ended. Only when no more become due.
    pub(super) async fn settle(&self) {
        loop {
            {
                let inner = self.lock();
                if inner.ended == inner.due {
                    return;
                }
            }
            self.settled.notified().await;
        }
    }

    pub(super) fn read(&self) -> Counts {
        let inner = self.lock();
        Counts {
            due: inner.due,
            answered: inner.latency.len(),
            errors: inner.errors.clone(),
            last_answer: inner.last_answer,
            last_end: inner.last_end,
            latency: LatencyUs::of(&inner.latency),
            held_up: inner.held_up,
            sent: inner.wire.len(),
            waited: LatencyUs::of(&inner.waited),
            wire: LatencyUs::of(&inner.wire),
            late_us_p99: inner.lateness.value_at_quantile(0.99),
        }
    }

    /// Counts stay true even if a holder of the lock panicked: each is changed in one step.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LatencyUs {
    fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile);
        Self {
            mean: histogram.mean(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: histogram.max(),
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1)
}
