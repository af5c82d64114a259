//! How the others follow the canary, who is passed because it does not become ready, and when a rollout is over.
//!
//! Owns who begins next. The invariant: whoever cannot serve the new version holds up nobody who can; where that is most of those who
//! were asked, it lies in the version.

use selvedge_sync::id::NodeId;

use super::{Report, Rollout, Runs, SOAK_MS, Stage, Step, Verdict, Worse};
use crate::spec::Gates;

/// How long a host may take to become ready, in times that the canary is watched: who gives a version long to show itself does not mind
/// waiting for it.
const READY_WAITS: u64 = 6;

/// The least that a host may take to become ready, in milliseconds: a minute, in which a small host compiles what is large, and twice as
/// long as a start may fail in passing, so that a reason is told before nothing is.
pub(super) const READY_MS_MIN: u64 = 60_000;

/// Hosts on which a version does not become ready before that counts as its doing, if there are others: one may hang by itself.
const LATE_MIN: usize = 2;

/// How long a host may take to serve the new version once it is asked to, or to part with an older schema, in milliseconds.
pub(super) fn ready_ms_max(gates: &Gates) -> u64 {
    u64::from(gates.canary_ms).saturating_mul(READY_WAITS).max(READY_MS_MIN)
}

/// For how long a host has served the new version; `None` when it does not.
pub(super) fn serves(rollout: &Rollout, report: &Report) -> Option<u64> {
    match report.versions.get(&rollout.to.revision) {
        Some((Runs::Ready { for_ms }, _)) => Some(*for_ms),
        Some((Runs::Unready | Runs::Failed { .. } | Runs::Gone, _)) | None => None,
    }
}

/// Whether a host should have served the new version for a while by now, and has not, or does not say so.
pub(super) fn is_late(rollout: &Rollout, report: &Report) -> bool {
    report.asked_ms >= ready_ms_max(&rollout.gates) && !has_served(rollout, report)
}

fn has_served(rollout: &Rollout, report: &Report) -> bool {
    serves(rollout, report).is_some_and(|for_ms| for_ms >= SOAK_MS)
}

/// The step in which all that serve the new version keep it, and as many more begin.
pub(super) fn follow(rollout: &Rollout, hosts: &[&Report]) -> Step {
    if hosts.is_empty() {
        return Step::at(Stage::Nowhere);
    }
    let done = hosts.iter().filter(|report| serves(rollout, report).is_some()).count();
    let behind = behind(rollout, hosts);
    let waits = |report: &&&Report| serves(rollout, report).is_none() && !behind.contains(&report.node);
    let next: Vec<NodeId> = hosts.iter().filter(waits).take(done.max(1)).map(|report| report.node).collect();
    let version = |report: &Report| {
        let begins = next.contains(&report.node) || behind.contains(&report.node);
        if begins || serves(rollout, report).is_some() { rollout.to.revision } else { rollout.from.revision }
    };
    let run = hosts.iter().map(|report| (report.node, Some(version(report)))).collect();
    let is_over = completed(rollout, hosts, &behind);
    let step = Step { run, ..Step::at(Stage::Following { done, of: hosts.len(), behind }) };
    if is_over { step.due(hosts, Verdict::Completed) } else { step }
}

/// Who has been asked and cannot, or not in time.
pub(super) fn behind(rollout: &Rollout, hosts: &[&Report]) -> Vec<NodeId> {
    hosts.iter().filter(|report| is_behind(rollout, report)).map(|report| report.node).collect()
}

fn is_behind(rollout: &Rollout, report: &Report) -> bool {
    let fails = matches!(report.versions.get(&rollout.to.revision), Some((Runs::Failed { .. }, _)));
    fails || is_late(rollout, report)
}

/// Whether a version that is late somewhere is late by its own doing: everywhere, or on more hosts than serve it.
pub(super) fn not_ready(rollout: &Rollout, hosts: &[&Report]) -> Option<Worse> {
    let of = hosts.len();
    let others: Vec<&&Report> = hosts.iter().filter(|report| serves(rollout, report).is_none()).collect();
    let behind = others.iter().filter(|report| is_behind(rollout, report)).count();
    let is_some_late = others.iter().any(|report| is_late(rollout, report));
    let is_its_own = is_some_late && behind > of - others.len() && (behind >= LATE_MIN || behind == of);
    is_its_own.then(|| Worse::NotReady { hosts: behind, of, within_s: ready_ms_max(&rollout.gates) / 1_000 })
}

/// Whether all have served the new version for a while, but for those that are passed.
pub(super) fn completed(rollout: &Rollout, hosts: &[&Report], passed: &[NodeId]) -> bool {
    let mut others = hosts.iter().filter(|report| !passed.contains(&report.node)).peekable();
    others.peek().is_some() && others.all(|report| has_served(rollout, report))
}
