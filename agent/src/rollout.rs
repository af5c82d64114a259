//! Rollouts: how a new version of a workload replaces the old one, and when it does not.
//!
//! Owns the steps, as one pure function from what is shared to what each host should run: first one replica (the canary), then the
//! others one after the other, each as long as the new version is no worse than the old. There is no coordinator: every agent
//! computes the same step from the same reports, and what must outlast the reports, a verdict, is recorded in the shared state by
//! whom this module names. The invariants: at most one host at a time has its new version not ready; versions of different state
//! schemas never serve at the same time; a version that was rolled back does not come again by itself.

mod fence;
mod gate;

use std::collections::BTreeMap;

use selvedge_sync::id::NodeId;
use serde::{Deserialize, Serialize};

pub use self::fence::{FenceError, fence};
pub use self::gate::{Figures, Gates, Worse};
use crate::spec::Digest;

/// Waits of the canary after which it passes although hardly anybody called it: nobody is harmed, and a workload that is called
/// once a day must be deployable.
const WAITS_WITHOUT_CALLS: u64 = 5;

/// A version of a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// What runs.
    pub digest: Digest,
    /// The version of what it keeps in the shared state.
    pub state_schema: u32,
}

/// A rollout, as it follows from a spec and the one before it.
#[derive(Clone, Copy, Debug, PartialEq)]
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
    },
}

/// What one chosen host reports of the workload.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The host.
    pub node: NodeId,
    /// Each version that is on it. A host that replaces one has both.
    pub versions: BTreeMap<Digest, (Runs, Figures)>,
}

/// The end of a rollout, to be kept in the shared state beside the spec that began it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// The canary was no worse; the others follow.
    Promoted,
    /// The old version runs again.
    RolledBack {
        /// Why.
        reason: Worse,
    },
}

/// Where a rollout is.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "stage", rename_all = "snake_case")]
pub enum Stage {
    /// One replica runs the new version, or is about to.
    Canary {
        /// Which.
        node: NodeId,
        /// Calls that it has answered.
        calls: u64,
        /// Milliseconds until it can pass.
        remaining_ms: u64,
    },
    /// The others follow, one at a time.
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
    /// All serve the new version.
    Done,
    /// The old version runs, and this is why.
    RolledBack {
        /// Why.
        reason: Worse,
    },
}

/// A step of a rollout.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Where it is.
    pub stage: Stage,
    /// What each chosen host should run; `None` where it should run neither for now.
    pub run: BTreeMap<NodeId, Option<Digest>>,
    /// What is to be recorded, and by whom. Others write it too when that host is lost: it is the same for all.
    pub record: Option<(NodeId, Verdict)>,
}

/// The step that follows from what the chosen hosts report and what was recorded. `rank` orders hosts, the canary first; it must be
/// the same everywhere, as a rendezvous hash is.
#[must_use]
pub fn step(rollout: &Rollout, reports: &[Report], recorded: Option<&Verdict>, rank: impl Fn(&NodeId) -> u64) -> Step {
    let mut hosts: Vec<&Report> = reports.iter().collect();
    // Who has begun stays the canary, whoever joins.
    let begun = |report: &Report| report.versions.contains_key(&rollout.to.digest);
    hosts.sort_by_key(|report| (!begun(report), rank(&report.node), report.node));
    let all = |digest: Digest| hosts.iter().map(|report| (report.node, Some(digest))).collect();
    if let Some(Verdict::RolledBack { reason }) = recorded {
        let stage = Stage::RolledBack { reason: reason.clone() };
        return Step { stage, run: all(rollout.from.digest), record: None };
    }
    if rollout.from.state_schema != rollout.to.state_schema {
        return switch(rollout, &hosts);
    }
    if let Some(worse) = gate::worse(rollout, &hosts) {
        let recorder = hosts.first().map(|canary| canary.node);
        let record = recorder.map(|recorder| (recorder, Verdict::RolledBack { reason: worse.clone() }));
        return Step { stage: Stage::RolledBack { reason: worse }, run: all(rollout.from.digest), record };
    }
    match recorded {
        Some(Verdict::Promoted) => follow(rollout, &hosts, None),
        Some(Verdict::RolledBack { .. }) | None => canary(rollout, &hosts),
    }
}

fn canary(rollout: &Rollout, hosts: &[&Report]) -> Step {
    let Some(canary) = hosts.first() else { return follow(rollout, hosts, None) };
    let (ready_ms, figures) = match canary.versions.get(&rollout.to.digest) {
        Some((Runs::Ready { for_ms }, figures)) => (Some(*for_ms), *figures),
        Some((Runs::Unready | Runs::Failed { .. }, _)) | None => (None, Figures::default()),
    };
    let Gates { canary_ms, calls_min, .. } = rollout.gates;
    let is_tried = figures.calls >= calls_min;
    let wait_ms = if is_tried { canary_ms } else { canary_ms.saturating_mul(WAITS_WITHOUT_CALLS) };
    if ready_ms.is_some_and(|ready_ms| ready_ms >= wait_ms) {
        return follow(rollout, hosts, Some((canary.node, Verdict::Promoted)));
    }
    let remaining_ms = canary_ms.saturating_sub(ready_ms.unwrap_or(0));
    let stage = Stage::Canary { node: canary.node, calls: figures.calls, remaining_ms };
    let version = |node: NodeId| if node == canary.node { rollout.to.digest } else { rollout.from.digest };
    Step { stage, run: hosts.iter().map(|report| (report.node, Some(version(report.node)))).collect(), record: None }
}

fn follow(rollout: &Rollout, hosts: &[&Report], record: Option<(NodeId, Verdict)>) -> Step {
    let serves = |report: &&&Report| matches!(report.versions.get(&rollout.to.digest), Some((Runs::Ready { .. }, _)));
    let done = hosts.iter().filter(serves).count();
    // All that serve it keep it, and one more begins.
    let mut next = hosts.iter().filter(|report| !serves(report)).take(1).map(|report| report.node);
    let next = next.next();
    let version = |report: &&Report| {
        let is_new = serves(&report) || Some(report.node) == next;
        if is_new { rollout.to.digest } else { rollout.from.digest }
    };
    let stage = if done == hosts.len() { Stage::Done } else { Stage::Following { done, of: hosts.len() } };
    Step { stage, run: hosts.iter().map(|report| (report.node, Some(version(report)))).collect(), record }
}

fn switch(rollout: &Rollout, hosts: &[&Report]) -> Step {
    let has_old = |report: &&&Report| {
        matches!(report.versions.get(&rollout.from.digest), Some((Runs::Ready { .. } | Runs::Unready, _)))
    };
    let old = hosts.iter().filter(has_old).count();
    let run = hosts.iter().map(|report| (report.node, (old == 0).then_some(rollout.to.digest))).collect();
    let serves = |report: &&Report| matches!(report.versions.get(&rollout.to.digest), Some((Runs::Ready { .. }, _)));
    let stage = match hosts.iter().filter(|report| serves(report)).count() {
        done if old == 0 && done == hosts.len() => Stage::Done,
        done if old == 0 => Stage::Following { done, of: hosts.len() },
        _ => Stage::Switching { old },
    };
    Step { stage, run, record: None }
}

#[cfg(test)]
mod tests;
