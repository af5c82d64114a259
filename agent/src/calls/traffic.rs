//! Figures of calls by workload: how many, how many failed, how long, and how many a second.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::metrics::{CallMetrics, Metrics, Outcome};
use crate::service::{LatencyBucket, LatencyUs, Recent};
use crate::spec::WorkloadName;
use crate::traces::Context;

/// Longest latency that the histogram tells apart, in microseconds: the deadline of a call and then some.
const LATENCY_US_MAX: u64 = 60_000_000;

/// Significant digits of the histogram: an error of at most one per cent, and 20 KiB for each of a workload's three.
const LATENCY_DIGITS: u8 = 2;

/// Workloads whose figures are kept. Names that nobody deployed are never recorded beyond it.
const WORKLOADS_MAX: usize = 1_024;

/// Half of what is told as recent: it goes back one to two of these, so that a minute of trouble shows, and is gone soon after.
const HALF_WINDOW: Duration = Duration::from_secs(150);

/// How much of the old rate remains after a second of silence.
const RATE_DECAY: f64 = 0.8;

/// What is known of the calls of one workload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Calls that came in here.
    pub calls: u64,
    /// How many of them failed.
    pub errors: u64,
    /// How many of them were the caller's own mistake.
    pub refused: u64,
    /// How long they took, from request to answer.
    pub latency_us: LatencyUs,
    /// The same of the last minutes.
    pub recent: Recent,
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
    refused: u64,
    latency: Histogram<u64>,
    /// The last halves of a window, the older one first.
    recent: [Half; 2],
    told: CallMetrics,
    rate: Smoothed,
}

/// How much a count grows in a second, smoothed.
#[derive(Debug)]
pub(super) struct Smoothed {
    rate: f64,
    counted: u64,
    at: Instant,
}

impl Default for Smoothed {
    fn default() -> Self {
        Self { rate: 0.0, counted: 0, at: Instant::now() }
    }
}

impl Smoothed {
    /// The rate, now that `total` has been counted.
    pub(super) fn renew(&mut self, total: u64) -> f64 {
        let elapsed = self.at.elapsed().as_secs_f64().max(1e-3);
        #[expect(clippy::cast_precision_loss, reason = "a rate needs no more than 52 bits")]
        let rate = total.saturating_sub(self.counted) as f64 / elapsed;
        let keep = RATE_DECAY.powf(elapsed);
        self.rate = self.rate * keep + rate * (1.0 - keep);
        (self.counted, self.at) = (total, Instant::now());
        self.rate
    }
}

impl Traffic {
    /// No calls yet; what comes is told through `metrics` too.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, workloads: Mutex::default() }
    }

    /// Records a call; `trace` is its span, where one is recorded. What was the caller's own mistake counts as a call, but neither as an
    /// error nor in the latency.
    pub fn record(&self, workload: &WorkloadName, took: Duration, outcome: Outcome, trace: Option<Context>) {
        let mut workloads = self.workloads.lock().unwrap_or_else(PoisonError::into_inner);
        if !workloads.contains_key(workload) {
            if workloads.len() >= WORKLOADS_MAX {
                return;
            }
            workloads.insert(workload.clone(), Counted::new(self.metrics.workload(workload.as_str())));
        }
        let Some(counted) = workloads.get_mut(workload) else { return };
        counted.calls += 1;
        counted.told.record(outcome, took, trace);
        if outcome == Outcome::Refused {
            counted.refused += 1;
            return;
        }
        let failed = u64::from(outcome != Outcome::Ok);
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).clamp(1, LATENCY_US_MAX);
        counted.errors += failed;
        counted.latency.saturating_record(took_us);
        counted.turn();
        let half = &mut counted.recent[1];
        half.errors += failed;
        half.latency.saturating_record(took_us);
    }

    /// The figures of one workload; zeros before its first call.
    #[must_use]
    pub fn figures(&self, workload: &WorkloadName) -> Figures {
        let mut workloads = self.workloads.lock().unwrap_or_else(PoisonError::into_inner);
        workloads.get_mut(workload).map_or_else(Figures::default, |counted| Figures {
            calls: counted.calls,
            errors: counted.errors,
            refused: counted.refused,
            latency_us: told(&counted.latency),
            recent: counted.recently(),
        })
    }

    /// How long the calls of one workload took: all of them, by latency.
    #[must_use]
    pub fn latency_buckets(&self, workload: &WorkloadName) -> Vec<LatencyBucket> {
        let workloads = self.workloads.lock().unwrap_or_else(PoisonError::into_inner);
        workloads.get(workload).map_or_else(Vec::new, |counted| buckets(&counted.latency))
    }

    /// Calls of all workloads that are deployed, and how many of them failed.
    #[must_use]
    pub fn totals(&self) -> (u64, u64) {
        let workloads = self.workloads.lock().unwrap_or_else(PoisonError::into_inner);
        workloads.values().fold((0, 0), |(calls, errors), counted| (calls + counted.calls, errors + counted.errors))
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
        workloads.iter_mut().map(|(workload, counted)| (workload.clone(), counted.rate.renew(counted.calls))).collect()
    }
}

/// What happened in one half of a window.
#[derive(Debug)]
struct Half {
    began: Instant,
    errors: u64,
    latency: Histogram<u64>,
}

impl Half {
    fn begin(like: &Histogram<u64>, began: Instant) -> Self {
        Self { began, errors: 0, latency: Histogram::new_from(like) }
    }

    fn begin_anew(&mut self) {
        (self.began, self.errors) = (Instant::now(), 0);
        self.latency.reset();
    }
}

fn told(latency: &Histogram<u64>) -> LatencyUs {
    LatencyUs {
        p50: latency.value_at_quantile(0.5),
        p99: latency.value_at_quantile(0.99),
        p999: latency.value_at_quantile(0.999),
        max: latency.max(),
    }
}

impl Counted {
    fn new(told: CallMetrics) -> Self {
        let latency = Histogram::new_with_max(LATENCY_US_MAX, LATENCY_DIGITS).expect("the constants suit a histogram");
        let now = Instant::now();
        let recent = [Half::begin(&latency, now), Half::begin(&latency, now)];
        Self { calls: 0, errors: 0, refused: 0, latency, recent, told, rate: Smoothed::default() }
    }

    /// Begins another half when the present one is over.
    fn turn(&mut self) {
        let since = self.recent[1].began.elapsed();
        if since >= HALF_WINDOW {
            self.recent.swap(0, 1);
            self.recent[1].begin_anew();
            if since >= 2 * HALF_WINDOW {
                // Nobody has called for so long that the half before is over, too.
                self.recent[0].begin_anew();
            }
        }
    }

    fn recently(&mut self) -> Recent {
        self.turn();
        let [older, newer] = &self.recent;
        let mut latency = older.latency.clone();
        latency.add(&newer.latency).expect("both have the same bounds");
        Recent {
            window_s: older.began.elapsed().as_secs(),
            calls: latency.len(),
            errors: older.errors + newer.errors,
            latency_us: told(&latency),
        }
    }
}

/// What lies between one bound and the next, where the bounds are 1, 2, 5, 10 and so on. Empty ends are left out.
fn buckets(latency: &Histogram<u64>) -> Vec<LatencyBucket> {
    if latency.is_empty() {
        return Vec::new();
    }
    let bounds = (0..).flat_map(|decade| [1, 2, 5].map(|step| step * 10_u64.pow(decade)));
    let mut above = 0;
    let mut buckets = Vec::new();
    for le_us in bounds {
        let calls = latency.count_between(above + 1, le_us);
        if calls > 0 || !buckets.is_empty() {
            buckets.push(LatencyBucket { le_us, calls });
        }
        above = le_us;
        if le_us >= latency.max() {
            return buckets;
        }
    }
    unreachable!("the bounds rise beyond any latency")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_is_in_one_bucket() {
        let mut latency = Histogram::new_with_max(LATENCY_US_MAX, LATENCY_DIGITS).expect("a histogram");
        assert_eq!(buckets(&latency), []);
        for us in [1, 30, 31, 49, 60, 900, LATENCY_US_MAX] {
            latency.saturating_record(us);
        }
        let told = buckets(&latency);
        assert_eq!(told.iter().map(|bucket| bucket.calls).sum::<u64>(), 7);
        let at = |le_us| told.iter().find(|bucket| bucket.le_us == le_us).map(|bucket| bucket.calls);
        assert_eq!([1, 2, 50, 100, 1_000].map(at), [Some(1), Some(0), Some(3), Some(1), Some(1)]);
        assert!(told.last().is_some_and(|last| last.le_us >= LATENCY_US_MAX && last.calls == 1), "{told:?}");
    }

    #[test]
    fn figures_count_calls_and_errors() {
        let (traffic, combat) =
            (Traffic::new(Arc::new(Metrics::new("0"))), "combat".parse::<WorkloadName>().expect("a name"));
        for (took_us, outcome) in
            [(100, Outcome::Ok), (100, Outcome::Ok), (5_000, Outcome::Trapped), (9, Outcome::Refused)]
        {
            traffic.record(&combat, Duration::from_micros(took_us), outcome, None);
        }
        let figures = traffic.figures(&combat);
        assert_eq!((figures.calls, figures.errors, figures.refused), (4, 1, 1));
        assert_eq!((figures.recent.calls, figures.recent.errors, figures.recent.latency_us.p50), (3, 1, 100));
        assert_eq!(figures.latency_us.p50, 100);
        assert!((4_950..=5_050).contains(&figures.latency_us.max), "{figures:?}");
        assert!(traffic.rates()[&combat] > 0.0);
        // After half a window it still shows, after a whole one it does not.
        for (shown, windows) in [(3, 1), (0, 1), (0, 4)] {
            for half in
                &mut traffic.workloads.lock().expect("nobody panicked").get_mut(&combat).expect("it is there").recent
            {
                half.began = half.began.checked_sub(windows * HALF_WINDOW).expect("the clock is older than that");
            }
            assert_eq!(traffic.figures(&combat).recent.calls, shown);
        }
        assert_eq!(traffic.figures(&combat).calls, 4, "what counts from the start goes on");
        traffic.retain(|_| false);
        assert_eq!(traffic.figures(&combat), Figures::default());
    }
}
