//! How a new version is compared with the old one.

use std::collections::BTreeMap;

use selvedge_sync::id::NodeId;

use super::{Report, Rollout, Runs};
use crate::spec::Revision;

/// Failed calls that it takes to condemn a version: one may be a caller's doing.
const TRAPS_MIN: u64 = 3;
/// What latency may grow by in any case, in milliseconds: below it the ratio of two small figures says nothing.
const SLOWER_MS_MIN: f64 = 1.0;
/// Calls of each version before their latencies are compared. The 99th percentile of fewer is one of the few slowest calls, and that
/// one was slow may be the host's doing.
const LATENCY_CALLS_MIN: u64 = 500;

/// How calls of one version went on one host.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Figures {
    /// Calls since it was started, those that failed included.
    pub calls: u64,
    /// How many of them failed by its own doing: trapped, ran out of time or memory.
    pub traps: u64,
    /// 99th percentile of the time that its guest took, in milliseconds; 0 before the first call.
    pub p99_ms: f64,
}

/// In which way a new version is worse.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Worse {
    /// It could not be started.
    #[error("the new version does not start: {reason}")]
    NotStarted {
        /// What its host said.
        reason: String,
    },
    /// It hangs on its way.
    #[error("the new version has not become ready within {within_s} s on {hosts} of {of} hosts")]
    NotReady {
        /// On how many hosts that are to run it.
        hosts: usize,
        /// How many are to.
        of: usize,
        /// How long they had, in seconds.
        within_s: u64,
    },
    /// It fails more often.
    #[error("{traps} of {calls} calls of the new version failed, {old_traps} of {old_calls} of the old one")]
    Traps {
        /// Of the new version.
        traps: u64,
        /// Its calls.
        calls: u64,
        /// Of the old one.
        old_traps: u64,
        /// Its calls.
        old_calls: u64,
    },
    /// It is slower.
    #[error("the new version's p99 is {p99_ms:.1} ms, the old one's {old_p99_ms:.1} ms")]
    Slower {
        /// Of the new version.
        p99_ms: f64,
        /// Of the old one.
        old_p99_ms: f64,
    },
}

/// Whether the new version is worse than the old one, going by all hosts that have or had either.
pub(super) fn worse(rollout: &Rollout, hosts: &[&Report], canary: Option<NodeId>) -> Option<Worse> {
    let to = rollout.to.revision;
    if let Some(reason) = not_started(to, hosts, canary) {
        return Some(Worse::NotStarted { reason });
    }
    let of = |revision: Revision| sum(hosts.iter().filter_map(move |report| figures(&report.versions, revision)));
    let (new, old) = (of(to), of(rollout.from.revision));
    let excess = f64::from(rollout.gates.traps_permille) / 1_000.0;
    if new.traps >= TRAPS_MIN && new.trap_share() > old.trap_share() + excess {
        let (old_traps, old_calls) = (old.traps, old.calls);
        return Some(Worse::Traps { traps: new.traps, calls: new.calls, old_traps, old_calls });
    }
    hosts.iter().find_map(|report| slower(rollout, report, old))
}

/// Why the new version does not start, if that is its own doing. What may lie in one host condemns it only as the canary's, which nobody
/// else could follow, or where another says the same.
fn not_started(to: Revision, hosts: &[&Report], canary: Option<NodeId>) -> Option<String> {
    let failures = hosts.iter().filter_map(|report| match report.versions.get(&to) {
        Some((Runs::Failed { reason, passing }, _)) => Some((reason, *passing && Some(report.node) != canary)),
        Some((Runs::Unready | Runs::Ready { .. } | Runs::Gone, _)) | None => None,
    });
    let failures: Vec<_> = failures.collect();
    let own = failures.iter().find(|(_, passing)| !passing);
    own.or_else(|| failures.first().filter(|_| failures.len() > 1)).map(|(reason, _)| (*reason).clone())
}

/// Whether the new version is slower on one host: than the old one was there, or else than it is elsewhere.
fn slower(rollout: &Rollout, host: &Report, old_anywhere: Figures) -> Option<Worse> {
    let calls_min = LATENCY_CALLS_MIN.max(u64::from(rollout.gates.calls));
    let is_known = |figures: &Figures| figures.calls >= calls_min;
    let new = figures(&host.versions, rollout.to.revision).filter(is_known)?;
    let here = figures(&host.versions, rollout.from.revision).filter(is_known);
    let old = here.or_else(|| Some(old_anywhere).filter(is_known))?;
    let factor = f64::from(rollout.gates.slowdown_percent) / 100.0;
    let limit_ms = (old.p99_ms * factor).max(old.p99_ms + SLOWER_MS_MIN);
    (new.p99_ms > limit_ms).then_some(Worse::Slower { p99_ms: new.p99_ms, old_p99_ms: old.p99_ms })
}

impl Figures {
    fn trap_share(&self) -> f64 {
        if self.calls == 0 { 0.0 } else { self.traps as f64 / self.calls as f64 }
    }
}

/// A host's figures of a version; what is no number was not measured.
fn figures(versions: &BTreeMap<Revision, (Runs, Figures)>, revision: Revision) -> Option<Figures> {
    versions.get(&revision).map(|(_, figures)| *figures).filter(|figures| figures.p99_ms.is_finite())
}

/// All hosts together; of percentiles the mean by calls, since the histograms stay where they are.
fn sum(figures: impl Iterator<Item = Figures>) -> Figures {
    let add = |sum: Figures, one: Figures| {
        let calls = sum.calls.saturating_add(one.calls);
        let weighted = sum.p99_ms * sum.calls as f64 + one.p99_ms * one.calls as f64;
        let p99_ms = if calls == 0 { 0.0 } else { weighted / calls as f64 };
        Figures { calls, traps: sum.traps.saturating_add(one.traps), p99_ms }
    };
    figures.fold(Figures::default(), add)
}
