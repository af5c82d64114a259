//! What the host has counted about each workload.
//!
//! Owns the counters and the latency histogram. Decides nothing. The invariant: every call that was asked for is counted
//! exactly once, by how it ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hdrhistogram::Histogram;

use super::code::CodeStats;
use super::error::{Blame, CallError};

/// The longest time that the histogram tells apart, in nanoseconds; longer ones count as this.
const LATENCY_NS_MAX: u64 = 60_000_000_000;
/// Significant decimal digits of a latency: 1 % is finer than any difference that matters.
const LATENCY_DIGITS: u8 = 2;

/// The part of its own deadline that a call must have had for it to be the workload's fault that it was not enough. Waiting for its turn
/// takes some of it from every call.
const DEADLINE_PART: f64 = 0.9;

/// All that the host has to tell.
#[derive(Clone, Debug)]
pub struct HostStats {
    /// Threads that run guests.
    pub workers: usize,
    /// Calls that run, on those threads and elsewhere.
    pub running: usize,
    /// Calls that were turned away because they would have waited beyond their deadline.
    pub shed_late: u64,
    /// Calls that were turned away because more came than could be made, and they would have waited for too long.
    pub shed_overloaded: u64,
    /// Calls that this host did not take or could not run, of all workloads since it started.
    pub turned_away: u64,
    /// Lines of log that were dropped, of all workloads since it started.
    pub log_lines_dropped: u64,
    /// How long ago the thread that stops guests last showed that it lives. Above a second, something is wrong.
    pub ticker_age: Duration,
    /// Compilations and the cache of their results.
    pub code: CodeStats,
    /// One entry per loaded workload, by name.
    pub workloads: Vec<WorkloadStats>,
}

/// One workload since it was loaded.
#[derive(Clone, Debug)]
pub struct WorkloadStats {
    /// Its name.
    pub workload: String,
    /// Calls that gave a result.
    pub calls: u64,
    /// Calls that were refused because of what the caller sent, or ended because it gave them less time than the workload does.
    pub refused: u64,
    /// Of those, calls that the component which it replaced would have taken.
    pub broken: u64,
    /// Calls that failed in the workload, deadlines and memory included.
    pub failed: u64,
    /// Of those, calls that ran into their deadline.
    pub deadlines: u64,
    /// Of those, calls that wanted more memory than they may have.
    pub memory: u64,
    /// Calls that this host did not take or could not run.
    pub turned_away: u64,
    /// Calls, among those of the two kinds before, that the workload's default answer was given to.
    pub answered_by_default: u64,
    /// Lines of log that were dropped.
    pub log_lines_dropped: u64,
    /// Calls that wait.
    pub waiting: usize,
    /// Calls that run.
    pub running: usize,
    /// Instances that are ready for a call.
    pub warm: usize,
    /// How long the guest took, for calls that gave a result.
    pub latency: Latency,
}

/// What has been counted of one workload since a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SinceMark {
    /// Calls that gave a result.
    pub calls: u64,
    /// Calls that failed in the workload.
    pub failed: u64,
    /// How long the guest took, for calls that gave a result.
    pub latency: Latency,
}

/// A summary of a histogram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    /// Half of the calls took at most this.
    pub p50: Duration,
    /// 99 %.
    pub p99: Duration,
    /// 99.9 %.
    pub p999: Duration,
    /// The longest.
    pub max: Duration,
}

/// What was lost since the host started, of workloads that are gone too: unlike theirs, these counts never fall.
#[derive(Debug, Default)]
pub(super) struct Lost {
    turned_away: AtomicU64,
    log_lines: AtomicU64,
}

impl Lost {
    /// Calls that were turned away, and lines of log that were dropped.
    pub(super) fn so_far(&self) -> (u64, u64) {
        (self.turned_away.load(Ordering::Relaxed), self.log_lines.load(Ordering::Relaxed))
    }
}

/// The counters behind [`WorkloadStats`].
pub(super) struct Recorder {
    /// Of all workloads together.
    lost: Arc<Lost>,
    calls: u64,
    refused: u64,
    broken: u64,
    failed: u64,
    deadlines: u64,
    memory: u64,
    turned_away: u64,
    answered_by_default: u64,
    log_lines_dropped: u64,
    latency: Histogram<u64>,
    /// Where somebody has begun to count anew.
    mark: Option<Box<Mark>>,
}

/// What had been counted at a moment.
struct Mark {
    calls: u64,
    failed: u64,
    latency: Histogram<u64>,
}

impl Recorder {
    pub(super) fn new(lost: Arc<Lost>) -> Self {
        let latency = Histogram::new_with_bounds(1, LATENCY_NS_MAX, LATENCY_DIGITS)
            .expect("the histogram's bounds are constants that it accepts");
        Self {
            lost,
            calls: 0,
            refused: 0,
            broken: 0,
            failed: 0,
            deadlines: 0,
            memory: 0,
            turned_away: 0,
            answered_by_default: 0,
            log_lines_dropped: 0,
            latency,
            mark: None,
        }
    }

    /// Begins to count anew for whoever asks [`Recorder::since_mark`].
    pub(super) fn mark(&mut self) {
        let (calls, failed, latency) = (self.calls, self.failed, self.latency.clone());
        self.mark = Some(Box::new(Mark { calls, failed, latency }));
    }

    /// What has been counted since the mark; `None` without one.
    pub(super) fn since_mark(&self) -> Option<SinceMark> {
        let mark = self.mark.as_ref()?;
        let mut latency = self.latency.clone();
        latency.subtract(&mark.latency).ok()?;
        let (calls, failed) = (self.calls - mark.calls, self.failed - mark.failed);
        Some(SinceMark { calls, failed, latency: summary(&latency) })
    }

    pub(super) fn succeeded(&mut self, guest_time: Duration, log_lines_dropped: u64) {
        self.calls += 1;
        self.log_lines_dropped += log_lines_dropped;
        self.lost.log_lines.fetch_add(log_lines_dropped, Ordering::Relaxed);
        self.latency.saturating_record(u64::try_from(guest_time.as_nanos()).unwrap_or(LATENCY_NS_MAX));
    }

    /// Counts a call that failed, of a workload that gives its calls `own` time. One whose caller gave it clearly less, and that ran out of
    /// that, says nothing of the workload: or a caller in a hurry could have a new version taken back.
    pub(super) fn failed(&mut self, error: &CallError, own: Duration) {
        if let CallError::Deadline { deadline } = error
            && *deadline < own.mul_f64(DEADLINE_PART)
        {
            self.refused += 1;
            return;
        }
        match error.blame() {
            Blame::Caller => self.refused += 1,
            Blame::Workload => self.failed += 1,
            Blame::Host => {
                self.turned_away += 1;
                self.lost.turned_away.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.deadlines += u64::from(matches!(error, CallError::Deadline { .. }));
        self.memory += u64::from(matches!(error, CallError::Memory { .. }));
    }

    /// Counts one of those that are refused as a promise that was broken.
    pub(super) const fn broke(&mut self) {
        self.broken += 1;
    }

    pub(super) const fn answered_by_default(&mut self) {
        self.answered_by_default += 1;
    }

    pub(super) fn stats(&self, workload: &str, (waiting, running): (usize, usize), warm: usize) -> WorkloadStats {
        WorkloadStats {
            workload: workload.to_owned(),
            calls: self.calls,
            refused: self.refused,
            broken: self.broken,
            failed: self.failed,
            deadlines: self.deadlines,
            memory: self.memory,
            turned_away: self.turned_away,
            answered_by_default: self.answered_by_default,
            log_lines_dropped: self.log_lines_dropped,
            waiting,
            running,
            warm,
            latency: summary(&self.latency),
        }
    }
}

fn summary(latency: &Histogram<u64>) -> Latency {
    if latency.is_empty() {
        return Latency::default();
    }
    let at = |quantile: f64| Duration::from_nanos(latency.value_at_quantile(quantile));
    Latency { p50: at(0.5), p99: at(0.99), p999: at(0.999), max: Duration::from_nanos(latency.max()) }
}
