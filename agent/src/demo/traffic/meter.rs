//! Counts and latencies of the traffic, readable while it runs.
//!
//! Owns the histograms; decides nothing. The invariant: latency is recorded for answered calls only, from the moment at
//! which each was due.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::player::Kind;

/// Longest latency that is told apart, in microseconds; more counts as this.
const LATENCY_US_MAX: u64 = 60_000_000;
/// Significant decimal digits of a recorded latency.
const DIGITS: u8 = 3;
/// Errors kept word for word.
const ERRORS_KEPT: usize = 5;

/// What happened to the calls so far.
pub(in crate::demo) struct Meter(Mutex<Inner>);

struct Inner {
    from_due: Histogram<u64>,
    from_sent: Histogram<u64>,
    answered: BTreeMap<Kind, u64>,
    busy: u64,
    unsent: u64,
    failed: u64,
    first_errors: Vec<String>,
}

/// A distribution of latencies in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(in crate::demo) struct LatencyUs {
    pub(in crate::demo) p50: u64,
    pub(in crate::demo) p99: u64,
    pub(in crate::demo) p999: u64,
    pub(in crate::demo) max: u64,
}

/// What a meter shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::demo) struct Reading {
    /// Calls answered with success.
    pub(in crate::demo) calls: u64,
    /// The same by kind.
    pub(in crate::demo) answered: BTreeMap<Kind, u64>,
    /// Calls refused because the agent had too much to do.
    pub(in crate::demo) busy: u64,
    /// Calls that were due and never sent, because their connection lagged too far behind.
    pub(in crate::demo) unsent: u64,
    /// Calls that failed in any other way.
    pub(in crate::demo) failed: u64,
    /// The first few failures.
    pub(in crate::demo) first_errors: Vec<String>,
    /// From when each call was due.
    pub(in crate::demo) latency: LatencyUs,
    /// From when each call was sent.
    pub(in crate::demo) service: LatencyUs,
}

impl Reading {
    /// Calls of this kind that were answered with success.
    pub(in crate::demo) fn of(&self, kind: Kind) -> u64 {
        self.answered.get(&kind).copied().unwrap_or(0)
    }
}

impl Meter {
    pub(in crate::demo) fn new() -> Self {
        let histogram = || Histogram::new_with_bounds(1, LATENCY_US_MAX, DIGITS).expect("the bounds are sound");
        Self(Mutex::new(Inner {
            from_due: histogram(),
            from_sent: histogram(),
            answered: BTreeMap::new(),
            busy: 0,
            unsent: 0,
            failed: 0,
            first_errors: Vec::new(),
        }))
    }

    pub(super) fn answered(&self, kind: Kind, due: Instant, sent: Instant) {
        let now = Instant::now();
        let micros = |since: Instant| u64::try_from((now - since).as_micros()).unwrap_or(u64::MAX).max(1);
        let mut inner = self.lock();
        inner.from_due.saturating_record(micros(due));
        inner.from_sent.saturating_record(micros(sent));
        *inner.answered.entry(kind).or_default() += 1;
    }

    pub(super) fn busy(&self) {
        self.lock().busy += 1;
    }

    pub(super) fn unsent(&self, calls: u64) {
        self.lock().unsent += calls;
    }

    pub(super) fn failed(&self, error: String) {
        let mut inner = self.lock();
        inner.failed += 1;
        if inner.first_errors.len() < ERRORS_KEPT {
            inner.first_errors.push(error);
        }
    }

    pub(in crate::demo) fn read(&self) -> Reading {
        let inner = self.lock();
        Reading {
            calls: inner.answered.values().sum(),
            answered: inner.answered.clone(),
            busy: inner.busy,
            unsent: inner.unsent,
            failed: inner.failed,
            first_errors: inner.first_errors.clone(),
            latency: LatencyUs::of(&inner.from_due),
            service: LatencyUs::of(&inner.from_sent),
        }
    }

    /// How many calls were answered at least this late, in microseconds.
    #[cfg(test)]
    pub(super) fn read_late(&self, micros: u64) -> u64 {
        self.lock().from_due.count_between(micros, LATENCY_US_MAX)
    }

    /// Counts stay true even if a holder of the lock panicked: each method changes them last.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LatencyUs {
    fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile);
        Self { p50: at(0.5), p99: at(0.99), p999: at(0.999), max: histogram.max() }
    }
}
