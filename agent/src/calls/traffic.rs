//! Figures of calls by workload: how many, how many failed, how long, and how many a second.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::metrics::{CallMetrics, Metrics, Outcome};
use crate::service::LatencyUs;
use crate::spec::WorkloadName;

/// Longest latency that the histogram tells apart, in microseconds: the deadline of a call and then some.
const LATENCY_US_MAX: u64 = 60_000_000;

/// Significant digits of the histogram: an error of at most one per cent, and 20 KiB for each workload.
const LATENCY_DIGITS: u8 = 2;

/// Workloads whose figures are kept. Names that nobody deployed are never recorded beyond it.
const WORKLOADS_MAX: usize = 1_024;

/// How much of the old rate remains after a second of silence.
const RATE_DECAY: f64 = 0.8;

/// What is known of the calls of one workload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Calls that came in here.
    pub calls: u64,
    /// How many of them failed.
    pub errors: u64,
    /// How long they took, from request to answer.
    pub latency_us: LatencyUs,
}

/// The figures of all workloads.
#[derive(Debug)]
pub struct Traffic {
    metrics: Arc<Metrics>,
    workloads: Mutex<BTreeMap<WorkloadName, Counted>>,
}

#[derive(Debug)]
struct Counted {
    calls: u64,
    errors: u64,
    latency: Histogram<u64>,
    told: CallMetrics,
    rate: f64,
    rated_calls: u64,
    rated_at: Instant,
}

impl Traffic {
    /// No calls yet; what comes is told through `metrics` too.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, workloads: Mutex::default() }
    }

    /// Records a call. What was the caller's own mistake counts as a call, but neither as an error nor in the latency.
    pub fn record(&self, workload: &WorkloadName, took: Duration, outcome: Outcome) {
        let mut workloads = self.workloads.lock().unwrap_or_else(PoisonError::into_inner);
        if !workloads.contains_key(workload) {
            if workloads.len() >= WORKLOADS_MAX {
                return;
            }
            workloads.insert(workload.clone(), Counted::new(self.metrics.workload(workload.as_str())));
        }
        let Some(counted) = workloads.get_mut(workload) else { return };
        counted.calls += 1;
        counted.told.record(outcome, took);
        if outcome == Outcome::Refused {
            return;
        }
        counted.errors += u64::from(outcome != Outcome::Ok);
        counted.latency.saturating_record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX).clamp(1, LATENCY_US_MAX));
    }

    /// The figures of one workload; zeros before its first call.
    #[must_use]
    pub fn figures(&self, workload: &WorkloadName) -> Figures {
        let workloads = self.workloads.lock().unwrap_or_else(PoisonError::into_inner);
        workloads.get(workload).map_or_else(Figures::default, |counted| Figures {
            calls: counted.calls,
            errors: counted.errors,
            latency_us: LatencyUs {
                p50: counted.latency.value_at_quantile(0.5),
                p99: counted.latency.value_at_quantile(0.99),
                p999: counted.latency.value_at_quantile(0.999),
                max: counted.latency.max(),
            },
        })
    }

    /// Forgets the figures of workloads that are not deployed any more.
    pub fn retain(&self, deployed: impl Fn(&WorkloadName) -> bool) {
        let mut workloads = self.workloads.lock().unwrap_or_else(PoisonError::into_inner);
        workloads.retain(|workload, _| {
            let stays = deployed(workload);
            if !stays {
                self.metrics.forget_workload(workload.as_str());
            }
            stays
        });
    }

    /// Calls per second by workload, smoothed. Meant to be asked about once a second.
    #[must_use]
    pub fn rates(&self) -> BTreeMap<WorkloadName, f64> {
        let mut workloads = self.workloads.lock().unwrap_or_else(PoisonError::into_inner);
        workloads.iter_mut().map(|(workload, counted)| (workload.clone(), counted.renew_rate())).collect()
    }
}

impl Counted {
    fn new(told: CallMetrics) -> Self {
        let latency = Histogram::new_with_max(LATENCY_US_MAX, LATENCY_DIGITS).expect("the constants suit a histogram");
        Self { calls: 0, errors: 0, latency, told, rate: 0.0, rated_calls: 0, rated_at: Instant::now() }
    }

    fn renew_rate(&mut self) -> f64 {
        let elapsed = self.rated_at.elapsed().as_secs_f64().max(1e-3);
        #[expect(clippy::cast_precision_loss, reason = "a rate needs no more than 52 bits")]
        let rate = (self.calls - self.rated_calls) as f64 / elapsed;
        let keep = RATE_DECAY.powf(elapsed);
        self.rate = self.rate * keep + rate * (1.0 - keep);
        (self.rated_calls, self.rated_at) = (self.calls, Instant::now());
        self.rate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_count_calls_and_errors() {
        let (traffic, combat) =
            (Traffic::new(Arc::new(Metrics::new("0"))), "combat".parse::<WorkloadName>().expect("a name"));
        for (took_us, outcome) in
            [(100, Outcome::Ok), (100, Outcome::Ok), (5_000, Outcome::Trapped), (9, Outcome::Refused)]
        {
            traffic.record(&combat, Duration::from_micros(took_us), outcome);
        }
        let figures = traffic.figures(&combat);
        assert_eq!((figures.calls, figures.errors), (4, 1));
        assert_eq!(figures.latency_us.p50, 100);
        assert!((4_950..=5_050).contains(&figures.latency_us.max), "{figures:?}");
        assert!(traffic.rates()[&combat] > 0.0);
        traffic.retain(|_| false);
        assert_eq!(traffic.figures(&combat), Figures::default());
    }
}
