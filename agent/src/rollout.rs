//! Rollouts: how a new version of a workload replaces the old one, and when it does not.
//!
//! Owns the steps, as one pure function from what is shared to what each host should run: first one replica (the canary), then the
//! others, at the most as many at once as serve it already, as long as the new version is no worse than the old. There is no
//! coordinator: every agent computes the same step from the same reports, and what must outlast the reports, a verdict, is recorded
//! in the shared state by whom this module names. The invariants: no more hosts start the new version than serve it (one, at
//! first); of two versions with different state schemas one serves among the hosts that report; a version that was rolled back does not
//! come again by itself.

mod fence;
mod gate;
mod told;

use std::collections::BTreeMap;

use selvedge_sync::id::NodeId;
use serde::Serialize;

pub use self::fence::{FenceError, fence};
pub use self::gate::{Figures, Worse};
pub use self::told::{Told, ToldVersion};
pub use crate::spec::Gates;
use crate::spec::Revision;

/// Waits of the canary after which it passes although it was called too rarely to know much: some figures are better than a workload
/// that cannot be deployed.
const WAITS_WITH_FEW_CALLS: u64 = 6;

/// How long all hosts must have served the new version for the rollout to be over, in milliseconds: their figures are told once a
/// second, and what is worse on the last host counts too.
pub const SOAK_MS: u64 = 2_000;

/// A version of a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    /// What its instances are made from.
    pub revision: Revision,
    /// The version of what it keeps in the shared state.
    pub state_schema: u32,
}

/// A rollout, as it follows from a spec and the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rollout {
    /// What runs so far.
    pub from: Version,
    /// What shall run.
    pub to: Version,
    /// What the new version must keep to.
    pub gates: Gates,
}

/// How far an instance has got, as its host says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Runs {
    /// It is being started, or drained.
    Unready,
    /// It has been answering calls for so long, in milliseconds.
    Ready {
        /// For how long.
        for_ms: u64,
    },
    /// It could not be started.
    Failed {
        /// Why, for people.
        reason: String,
        /// Whether that may lie in its host and pass: a disk, or a component that nobody has in reach.
        passing: bool,
    },
    /// It was here during this rollout, and what it did still counts.
    Gone,
}

/// What one host reports of the workload.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The host.
    pub node: NodeId,
    /// Whether it is chosen to run the workload; one that is not may still have an instance for a while.
    pub chosen: bool,
    /// Whether it takes part in the rollout; an agent of an older release does not, and records nothing.
    pub tells: bool,
    /// Each version that is or was on it. A host that replaces one has both.
    pub versions: BTreeMap<Revision, (Runs, Figures)>,
}

/// What is recorded of a rollout in the shared state, beside the spec that began it. A later one counts before an earlier.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// The canary was no worse; the others follow.
    Promoted,
    /// All serve the new version, and it was no worse: it is the one to go back to from now on.
    Completed,
    /// The old version runs again.
    RolledBack {
        /// Why, for people.
        reason: String,
    },
}

/// Where a rollout is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "stage", rename_all = "snake_case")]
pub enum Stage {
    /// One replica runs the new version, or is about to.
    Canary {
        /// Which.
        node: NodeId,
        /// Calls that it has answered.
        calls: u64,
        /// Milliseconds until it can pass, if it is called often enough.
        remaining_ms: u64,
    },
    /// The others follow.
    Following {
        /// Hosts that serve the new version.
        done: usize,
        /// Hosts in all.
        of: usize,
    },
    /// The state's schema changes: the old version stops everywhere before the new one starts anywhere.
    Switching {
        /// Hosts that still have the old one.
        old: usize,
    },
    /// No host may run the workload at present.
    Nowhere,
    /// All serve the new version.
    Done,
    /// The old version runs, and this is why.
    RolledBack {
        /// Why.
        reason: String,
    },
}

/// A step of a rollout.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Where it is.
    pub stage: Stage,
    /// What each host that reports should run; `None` where it should run neither for now.
    pub run: BTreeMap<NodeId, Option<Revision>>,
    /// What is to be recorded, and by whom. Another is named when that host is lost, and what it records is the same.
    pub record: Option<(NodeId, Verdict)>,
}

/// The step that follows from what hosts report and what was recorded. `rank` orders hosts, the canary first: by what may waver, which
/// counts only while nobody has begun, and then by what is the same everywhere and for good, as a rendezvous hash is.
#[must_use]
pub fn step<W: Ord, R: Ord>(
    rollout: &Rollout,
    reports: &[Report],
    recorded: Option<&Verdict>,
    rank: impl Fn(&NodeId) -> (W, R),
) -> Step {
    // In whatever order they came.
    let mut reports: Vec<&Report> = reports.iter().collect();
    reports.sort_by_key(|report| report.node);
    let all = |revision| reports.iter().map(|report| (report.node, Some(revision))).collect();
    let is_switch = rollout.from.state_schema != rollout.to.state_schema;
    match recorded.filter(|_| !is_switch) {
        Some(Verdict::RolledBack { reason }) => {
            let stage = Stage::RolledBack { reason: reason.clone() };
            return Step { stage, run: all(rollout.from.revision), record: None };
        }
        Some(Verdict::Completed) => return Step { stage: Stage::Done, run: all(rollout.to.revision), record: None },
        Some(Verdict::Promoted) | None => {}
    }
    let mut hosts: Vec<&Report> = reports.iter().copied().filter(|report| report.chosen).collect();
    // Who has begun stays the canary, whoever joins; who tells nothing of it is none.
    let begun = |report: &Report| report.versions.contains_key(&rollout.to.revision);
    let nobody_has = !hosts.iter().any(|report| begun(report));
    hosts.sort_by_cached_key(|report| {
        let (wavers, lasts) = rank(&report.node);
        (!report.tells, progress(rollout, report), nobody_has.then_some(wavers), lasts, report.node)
    });
    let mut step = if is_switch {
        switch(rollout, &hosts, &reports, recorded)
    } else if let Some(worse) = gate::worse(rollout, &reports, hosts.first().map(|canary| canary.node)) {
        let reason = worse.to_string();
        let record = recorder(&hosts).map(|node| (node, Verdict::RolledBack { reason: reason.clone() }));
        return Step { stage: Stage::RolledBack { reason }, run: all(rollout.from.revision), record };
    } else if recorded.is_some() {
        follow(rollout, &hosts, None)
    } else {
        canary(rollout, &hosts)
    };
    // What is not chosen keeps what it has until it stops; but no two schemas at once.
    for report in reports.iter().filter(|report| !report.chosen) {
        let newer = begun(report).then_some(rollout.to.revision).or(Some(rollout.from.revision));
        step.run.insert(report.node, if is_switch { None } else { newer });
    }
    step
}

/// Where a host stands among those that could be the canary: of two that have begun, the one that serves has more to show.
fn progress(rollout: &Rollout, report: &Report) -> u8 {
    match report.versions.get(&rollout.to.revision) {
        Some((Runs::Ready { .. }, _)) => 0,
        Some((Runs::Unready | Runs::Failed { .. }, _)) => 1,
        Some((Runs::Gone, _)) => 2,
        None => 3,
    }
}

fn canary(rollout: &Rollout, hosts: &[&Report]) -> Step {
    let Some(canary) = hosts.first() else { return nowhere() };
    if !canary.tells {
        // Nobody does, and all of them run what the spec says.
        return follow(rollout, hosts, None);
    }
    let (ready_ms, figures) = match canary.versions.get(&rollout.to.revision) {
        Some((Runs::Ready { for_ms }, figures)) => (Some(*for_ms), *figures),
        Some((Runs::Unready | Runs::Failed { .. } | Runs::Gone, _)) | None => (None, Figures::default()),
    };
    let (canary_ms, calls_min) = (u64::from(rollout.gates.canary_ms), u64::from(rollout.gates.calls));
    // Whom nobody calls, nobody is harmed by: a workload that is called once a day must be deployable.
    let is_tried = figures.calls >= calls_min || figures.calls == 0;
    let wait_ms = if is_tried { canary_ms } else { canary_ms.saturating_mul(WAITS_WITH_FEW_CALLS) };
    if ready_ms.is_some_and(|ready_ms| ready_ms >= wait_ms) {
        return follow(rollout, hosts, recorder(hosts).map(|node| (node, Verdict::Promoted)));
    }
    let remaining_ms = canary_ms.saturating_sub(ready_ms.unwrap_or(0));
    let stage = Stage::Canary { node: canary.node, calls: figures.calls, remaining_ms };
    let version = |node| if node == canary.node { rollout.to.revision } else { rollout.from.revision };
    Step { stage, run: hosts.iter().map(|report| (report.node, Some(version(report.node)))).collect(), record: None }
}

fn follow(rollout: &Rollout, hosts: &[&Report], record: Option<(NodeId, Verdict)>) -> Step {
    if hosts.is_empty() {
        return nowhere();
    }
    let done = hosts.iter().filter(|report| serves(rollout, report).is_some()).count();
    // All that serve it keep it, and as many more begin; whoever has failed holds nobody up.
    let fails = |report: &&&Report| matches!(report.versions.get(&rollout.to.revision), Some((Runs::Failed { .. }, _)));
    let others = hosts.iter().filter(|report| serves(rollout, report).is_none());
    let (failed, others): (Vec<&&Report>, Vec<&&Report>) = others.partition(fails);
    let next: Vec<NodeId> = others.into_iter().chain(failed).take(done.max(1)).map(|report| report.node).collect();
    let version = |report: &&Report| {
        let is_new = serves(rollout, report).is_some() || next.contains(&report.node);
        if is_new { rollout.to.revision } else { rollout.from.revision }
    };
    let record = record.or_else(|| completed(rollout, hosts));
    let run = hosts.iter().map(|report| (report.node, Some(version(report)))).collect();
    Step { stage: Stage::Following { done, of: hosts.len() }, run, record }
}

/// A verdict only says here that all was over once: what is to run follows from what is there, whatever was recorded.
fn switch(rollout: &Rollout, hosts: &[&Report], everybody: &[&Report], recorded: Option<&Verdict>) -> Step {
    if hosts.is_empty() {
        return nowhere();
    }
    let has_old = |report: &&&Report| {
        matches!(report.versions.get(&rollout.from.revision), Some((Runs::Ready { .. } | Runs::Unready, _)))
    };
    let old = everybody.iter().filter(has_old).count();
    let run = hosts.iter().map(|report| (report.node, (old == 0).then_some(rollout.to.revision))).collect();
    let done = hosts.iter().filter(|report| serves(rollout, report).is_some()).count();
    let was_over = recorded == Some(&Verdict::Completed);
    let stage = match old {
        0 if was_over && done == hosts.len() => Stage::Done,
        0 => Stage::Following { done, of: hosts.len() },
        old => Stage::Switching { old },
    };
    let record = completed(rollout, hosts).filter(|_| old == 0 && !was_over);
    Step { stage, run, record }
}

const fn nowhere() -> Step {
    Step { stage: Stage::Nowhere, run: BTreeMap::new(), record: None }
}

/// For how long a host has served the new version; `None` when it does not.
fn serves(rollout: &Rollout, report: &Report) -> Option<u64> {
    match report.versions.get(&rollout.to.revision) {
        Some((Runs::Ready { for_ms }, _)) => Some(*for_ms),
        Some((Runs::Unready | Runs::Failed { .. } | Runs::Gone, _)) | None => None,
    }
}

fn completed(rollout: &Rollout, hosts: &[&Report]) -> Option<(NodeId, Verdict)> {
    let served = |report: &&Report| serves(rollout, report).is_some_and(|for_ms| for_ms >= SOAK_MS);
    let node = recorder(hosts).filter(|_| hosts.iter().all(served))?;
    Some((node, Verdict::Completed))
}

/// Who records a verdict: the canary, or the next that can.
fn recorder(hosts: &[&Report]) -> Option<NodeId> {
    hosts.iter().find(|report| report.tells).or(hosts.first()).map(|report| report.node)
}

#[cfg(test)]
mod laws;
#[cfg(test)]
mod tests;
