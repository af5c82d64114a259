//! Durations, as histograms: recorded where something takes time, told by [`metrics`](crate::metrics).
//!
//! Owns the buckets, which are the same for all, so that what takes part of what can be compared. The invariant: recording waits for
//! nothing but another record of the same histogram.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// From 5 µs, a small call on a warm instance, in doublings to about 10 s, beyond the longest deadline that makes sense.
const BUCKETS: (f64, f64, u16) = (5e-6, 2.0, 22);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LaneLabel {
    lane: &'static str,
}

/// How long one kind of thing takes. Clones record into the same histogram.
#[derive(Clone, Debug)]
pub struct Timing(Histogram);

/// How long answers of other members take, by lane. Clones record into the same histograms.
#[derive(Clone, Debug)]
pub struct LaneTimings(Family<LaneLabel, Histogram, fn() -> Histogram>);

/// What is timed elsewhere, to be told here.
#[derive(Clone, Debug, Default)]
pub struct Timings {
    /// Commits of this host, from when they were asked for until they were applied.
    pub applied: Timing,
    /// The same until the disk had them, of those that waited for it.
    pub durable: Timing,
    /// Writes of the store, with their sync.
    pub written: Timing,
    /// Answers of other members.
    pub answered: LaneTimings,
}

impl Timing {
    /// Records one.
    pub fn record(&self, took: Duration) {
        self.0.observe(took.as_secs_f64());
    }
}

impl Default for Timing {
    fn default() -> Self {
        Self(histogram())
    }
}

impl LaneTimings {
    /// Records one.
    pub fn record(&self, lane: &'static str, took: Duration) {
        self.0.get_or_create(&LaneLabel { lane }).observe(took.as_secs_f64());
    }
}

impl Default for LaneTimings {
    fn default() -> Self {
        Self(Family::new_with_constructor(histogram))
    }
}

impl Timings {
    pub(crate) fn register(&self, registry: &mut Registry) {
        let help = "Time from when a commit was asked for until it was applied, in seconds";
        registry.register_with_unit("commit_duration", help, Unit::Seconds, self.applied.0.clone());
        let help =
            "Time from when a commit was asked for until the disk had it, of commits that waited for that, in seconds";
        registry.register_with_unit("commit_durable_duration", help, Unit::Seconds, self.durable.0.clone());
        let help = "Time of a write of the store and its sync to disk, in seconds";
        registry.register_with_unit("store_write_duration", help, Unit::Seconds, self.written.0.clone());
        let help = "Time from a question to another member until its answer, by lane, in seconds; a forwarded call is one of the lane `call`";
        registry.register_with_unit("net_answer_duration", help, Unit::Seconds, self.answered.0.clone());
    }
}

/// A histogram with the buckets of all.
pub(crate) fn histogram() -> Histogram {
    Histogram::new(buckets())
}

/// The upper bounds of the buckets of all, in seconds.
pub(crate) fn buckets() -> impl Iterator<Item = f64> {
    let (first, factor, count) = BUCKETS;
    exponential_buckets(first, factor, count)
}
