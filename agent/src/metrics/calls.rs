//! Figures of calls, by workload; where calls are traced, each bucket of their duration names the last of those.
//!
//! The invariant: where nothing is traced, a call costs no more than its count.

use std::time::{Duration, SystemTime};

use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::exemplar::HistogramWithExemplars;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::{MetricType, TypedMetric};
use prometheus_client::registry::{Registry, Unit};

use super::Outcome;
use crate::timing::{buckets, histogram};
use crate::traces::Context;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    workload: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WorkloadLabel {
    workload: String,
}

/// Where the trace of a call is to be found: names and values are 63 characters, of the 128 that OpenMetrics allows an exemplar.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TraceLabels {
    trace_id: String,
    span_id: String,
}

/// How long calls took.
#[derive(Clone, Debug)]
enum Durations {
    /// Without a word about single ones.
    Plain(Histogram),
    /// With exemplars. It takes a second lock for each call, which only a scrape contends for: some twenty nanoseconds.
    Traced(HistogramWithExemplars<TraceLabels>),
}

/// The figures of all workloads' calls.
#[derive(Debug)]
pub(super) struct Calls {
    outcomes: Family<CallLabels, Counter>,
    durations: Family<WorkloadLabel, Durations, fn() -> Durations>,
}

/// The figures of one workload's calls, to be kept by whoever calls it: recording takes no lookup.
#[derive(Clone, Debug)]
pub struct CallMetrics {
    outcomes: [Counter; Outcome::ALL.len()],
    duration: Durations,
}

impl CallMetrics {
    /// Counts a call that took this long, from request to answer. `span` is its own, where one is recorded.
    pub fn record(&self, outcome: Outcome, duration: Duration, span: Option<Context>) {
        self.outcomes[outcome as usize].inc();
        match &self.duration {
            Durations::Plain(histogram) => histogram.observe(duration.as_secs_f64()),
            Durations::Traced(histogram) => {
                let exemplar = span.map(|span| TraceLabels { trace_id: span.trace_id(), span_id: span.span_id() });
                let at = exemplar.is_some().then(SystemTime::now);
                histogram.observe(duration.as_secs_f64(), exemplar, at);
            }
        }
    }
}

impl TypedMetric for Durations {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for Durations {
    fn encode(&self, encoder: MetricEncoder<'_>) -> std::fmt::Result {
        match self {
            Self::Plain(histogram) => histogram.encode(encoder),
            Self::Traced(histogram) => histogram.encode(encoder),
        }
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

impl Calls {
    /// No calls yet, which are `traced` or not.
    pub(super) fn new(traced: bool) -> Self {
        let durations: fn() -> Durations = if traced {
            || Durations::Traced(HistogramWithExemplars::new(buckets()))
        } else {
            || Durations::Plain(histogram())
        };
        Self { outcomes: Family::default(), durations: Family::new_with_constructor(durations) }
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("calls", "Calls of workloads, by outcome", self.outcomes.clone());
        let help = "Time from request to answer of calls, in seconds";
        registry.register_with_unit("call_duration", help, Unit::Seconds, self.durations.clone());
    }

    pub(super) fn of(&self, workload: &str) -> CallMetrics {
        let labels = |outcome: Outcome| CallLabels { workload: workload.to_owned(), outcome: outcome.as_str() };
        CallMetrics {
            outcomes: Outcome::ALL.map(|outcome| self.outcomes.get_or_create_owned(&labels(outcome))),
            duration: self.durations.get_or_create_owned(&WorkloadLabel { workload: workload.to_owned() }),
        }
    }

    pub(super) fn forget(&self, workload: &str) {
        for outcome in Outcome::ALL {
            self.outcomes.remove(&CallLabels { workload: workload.to_owned(), outcome: outcome.as_str() });
        }
        self.durations.remove(&WorkloadLabel { workload: workload.to_owned() });
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Metrics, classic};
    use super::*;
    use crate::timing::Timings;

    #[test]
    fn a_bucket_names_the_last_traced_call_in_it_and_only_in_the_newer_format() {
        let metrics = Metrics::with("0.1.0", Timings::default(), true);
        let calls = metrics.workload("combat");
        let context = |span: &str| format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{span}-01").parse().ok();
        for (us, span) in [(30, Some("00f067aa0ba902b6")), (31, Some("00f067aa0ba902b7")), (32, None), (900, None)] {
            calls.record(Outcome::Ok, Duration::from_micros(us), span.and_then(context));
        }
        let text = metrics.encode();
        let exemplars: Vec<&str> = text.lines().filter(|line| line.contains("trace_id")).collect();
        let [line] = exemplars[..] else { panic!("one bucket has one: {exemplars:?}") };
        let expected = "selvedge_call_duration_seconds_bucket{le=\"0.00004\",workload=\"combat\"} 3 # \
                        {trace_id=\"4bf92f3577b34da6a3ce929d0e0e4736\",span_id=\"00f067aa0ba902b7\"} 0.000031 1";
        assert!(line.starts_with(expected), "{line}");
        let older = classic(&text);
        let bucket = "selvedge_call_duration_seconds_bucket{le=\"0.00004\",workload=\"combat\"} 3";
        assert!(older.lines().any(|line| line == bucket) && !older.contains("trace_id"), "{older}");
    }
}
