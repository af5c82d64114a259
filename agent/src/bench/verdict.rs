//! When a stage counts as broken.
//!
//! Owns the three tests and their order, and whose limit it was; pure. The invariants: a stage that breaks is named with the figure
//! that broke it; what the sender's own connections had no room for is nothing that the cluster is blamed for.

use std::time::Duration;

use serde::{Serialize, Serializer};

use super::stage::Measured;

/// Share of what was offered that has to be answered, or throughput no longer follows. Leaves room for the answers to the last
/// calls, which come after the stage.
const FOLLOWS_MIN: f64 = 0.95;

/// Share of the calls that were due behind others that waited for a connection, from which on a stage is about the connections.
const HELD_UP_MAX: f64 = 0.1;

/// What a stage must not exceed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) p99: Duration,
    /// Share of the calls that may fail, 0 to 1.
    pub(super) errors: f64,
}

/// What a stage exceeded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Breach {
    /// So large a share of the calls failed, 0 to 1.
    Errors(f64),
    /// 99 of 100 answers took at most this many microseconds, which is too long.
    Latency(u64),
    /// So small a share of what was offered was answered in its time, 0 to 1.
    Throughput(f64),
}

impl Bounds {
    /// What `stage` exceeded first; `None` when it held.
    pub(super) fn breach(&self, stage: &Measured) -> Option<Breach> {
        let counts = &stage.counts;
        let errors = share(counts.due - counts.answered, counts.due);
        let follows = throughput(stage) / f64::from(stage.offered);
        if errors > self.errors {
            Some(Breach::Errors(errors))
        } else if u128::from(counts.latency.p99) > self.p99.as_micros() {
            Some(Breach::Latency(counts.latency.p99))
        } else if follows < FOLLOWS_MIN {
            Some(Breach::Throughput(follows))
        } else {
            None
        }
    }

    /// Whether `stage`, which broke, was limited by the sender's connections rather than by the cluster: calls waited for them, and of those that
    /// found room no more failed, and none took longer from when it was sent, than they may.
    pub(super) fn is_limited(&self, stage: &Measured) -> bool {
        let counts = &stage.counts;
        // A call that had waited here for too long was not sent. One that was had the time for an answer, so its failure is the cluster's,
        // whose share is of those calls alone: a cluster that hangs takes few.
        let ours = counts.errors.get("not_sent").copied().unwrap_or_default();
        let theirs = counts.errors.values().sum::<u64>() - ours;
        share(counts.held_up, counts.due) > HELD_UP_MAX
            && share(theirs, counts.due - ours) <= self.errors
            && u128::from(counts.wire.p99) <= self.p99.as_micros()
    }
}

impl Breach {
    /// The same for programs: which test, the figure, and its unit.
    pub(super) fn figure(self) -> Figure {
        let (kind, value, unit) = match self {
            Self::Errors(share) => ("errors", share, "share"),
            Self::Latency(p99) => ("p99", float(p99), "us"),
            Self::Throughput(share) => ("throughput", share, "share"),
        };
        Figure { kind, value, unit }
    }
}

/// A breach for programs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Figure {
    /// `errors`, `p99` or `throughput`.
    kind: &'static str,
    value: f64,
    /// `share`, 0 to 1, or `us`.
    unit: &'static str,
}

impl std::fmt::Display for Breach {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Errors(share) => write!(f, "{:.1} % of the calls failed", share * 100.0),
            Self::Latency(p99) => write!(f, "p99 is {}", crate::cli::units::micros(*p99)),
            Self::Throughput(share) => {
                write!(f, "only {:.0} % of what was offered was answered in its time", share * 100.0)
            }
        }
    }
}

impl Serialize for Breach {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Calls answered a second, over the time in which answers came.
pub(super) fn throughput(stage: &Measured) -> f64 {
    float(stage.counts.answered) / stage.took.as_secs_f64()
}

/// Calls on the wire on average, from when each was written until it ended: Little's law (Little 1961), their rate times their time.
/// What waits in the sender is not among them.
pub(super) fn in_flight(stage: &Measured) -> f64 {
    float(stage.counts.sent) / stage.lasted.as_secs_f64() * stage.counts.wire.mean / 1_000_000.0
}

/// Share of the calls that were due while others waited for room on the connections, 0 to 1.
pub(super) fn held_up(stage: &Measured) -> f64 {
    share(stage.counts.held_up, stage.counts.due)
}

fn share(part: u64, of: u64) -> f64 {
    if of == 0 { 0.0 } else { float(part) / float(of) }
}

/// A count of calls, of which there are far fewer than a double tells apart.
pub(super) fn float(count: u64) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::super::meter::{Counts, LatencyUs};
    use super::*;

    fn stage(due: u64, answered: u64, p99: u64, took_ms: u64) -> Measured {
        let counts = Counts {
            due,
            answered,
            latency: LatencyUs { mean: 2_000.0, p99, ..LatencyUs::default() },
            sent: answered,
            wire: LatencyUs { mean: 2_000.0, p99: p99.min(50_000), ..LatencyUs::default() },
            ..Counts::default()
        };
        let took = Duration::from_millis(took_ms);
        Measured { offered: 1_000, took, lasted: took, counts }
    }

    #[test]
    fn a_stage_breaks_by_errors_latency_or_by_not_following() {
        let bounds = Bounds { p99: Duration::from_millis(100), errors: 0.01 };
        let check = |stage: Measured, expect: Option<Breach>| assert_eq!(bounds.breach(&stage), expect, "{stage:?}");
        check(stage(1_000, 1_000, 99_000, 1_000), None);
        check(stage(1_000, 990, 99_000, 1_000), None);
        check(stage(1_000, 900, 99_000, 1_000), Some(Breach::Errors(0.1)));
        check(stage(1_000, 1_000, 100_001, 1_000), Some(Breach::Latency(100_001)));
        check(stage(1_000, 1_000, 99_000, 2_000), Some(Breach::Throughput(0.5)));
        check(stage(0, 0, 0, 1_000), Some(Breach::Throughput(0.0)));
    }

    #[test]
    fn a_stage_is_the_connections_limit_only_where_what_was_sent_did_well() {
        let bounds = Bounds { p99: Duration::from_millis(100), errors: 0.01 };
        let held_up = |held_up: u64, wire: u64, errors: &[(&str, u64)]| {
            let mut stage = stage(1_000, 500, 900_000, 1_000);
            stage.counts.held_up = held_up;
            stage.counts.wire.p99 = wire;
            stage.counts.errors = errors.iter().map(|(kind, count)| ((*kind).to_owned(), *count)).collect();
            bounds.is_limited(&stage)
        };
        assert!(held_up(900, 5_000, &[("not_sent", 500)]));
        assert!(held_up(900, 5_000, &[("not_sent", 495), ("timed_out", 5)]), "few of those that were sent failed");
        assert!(!held_up(100, 5_000, &[]), "few calls waited for a connection");
        assert!(!held_up(900, 500_000, &[("not_sent", 500)]), "the cluster kept the others for so long");
        assert!(!held_up(900, 5_000, &[("not_sent", 900), ("timed_out", 8)]), "it kept some of the few that were sent");
        assert!(!held_up(900, 5_000, &[("busy", 500)]), "the cluster turned them away");
    }

    #[test]
    fn calls_in_flight_are_littles_law() {
        let measured = stage(1_000, 1_000, 5_000, 1_000);
        assert!((in_flight(&measured) - 2.0).abs() < 1e-9, "1,000 a second, each 2 ms");
    }
}
