//! Rollouts: how a new version of a workload replaces the old one, and when it does not.
//!
//! Owns the steps, as one pure function from what is shared to what each host should run: first one replica (the canary), then the
//! others, at the most as many at once as serve it already, as long as the new version is no worse than the old. There is no
//! coordinator: every agent computes the same step from the same reports, and what must outlast the reports, a verdict, is recorded
//! in the shared state by whom this module names. The invariants: no more hosts start the new version than serve it (one, at
//! first); of two versions with different state schemas one serves among the hosts that report; a version that was rolled back does not
//! come again by itself.

mod fence;
mod follow;
mod gate;
mod told;

use std::collections::BTreeMap;

use selvedge_sync::id::NodeId;
use serde::Serialize;

pub use self::fence::{FenceError, fence};
use self::follow::{behind, completed, follow, is_late, ready_ms_max, serves};
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

/// Times that a host is lost while it is the canary before that counts as the version's doing: one may lose its power by itself.
const LOST_MIN: u32 = 2;

/// How long a verdict may be due before the next in line records it too, in milliseconds: a commit takes less than a second, and a host
/// that died is known to have died by then. Whoever is named may be alive and unable to write.
const RECORD_MS: u64 = 10_000;

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
    /// Whether its deployer wants it whatever speaks against it: then a host that does not part with an older schema in time is not
    /// waited for.
    pub forced: bool,
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
    /// For how long it has been asked to run the new version and has not served it for [`SOAK_MS`], in milliseconds, as the reader has
    /// seen; a host that hangs does not say so.
    pub asked_ms: u64,
    /// For how long it has had a version that is not the new one, in milliseconds, as the reader has seen.
    pub old_ms: u64,
    /// Whether it says that a start of the workload waits there until others are over; what is asked of it meanwhile is not late.
    pub queued: bool,
    /// How many times it was lost while it was the canary; a host that is not there is only ever reported of for this.
    pub lost: u32,
    /// How calls of the old version went there since the deployment.
    pub lately: Figures,
    /// Each version that is or was on it, and how its calls went since it was loaded. A host that replaces one has both.
    pub versions: BTreeMap<Revision, (Runs, Figures)>,
}

impl Report {
    /// What is reported of a host that is not there.
    #[must_use]
    pub fn of_absent(node: NodeId) -> Self {
        let (lately, versions) = Default::default();
        Self { node, chosen: false, tells: false, asked_ms: 0, old_ms: 0, queued: false, lost: 0, lately, versions }
    }
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
        /// Milliseconds until it can pass with however few calls.
        latest_ms: u64,
        /// 99th percentile of its calls' times and what it is held against, the old version's, in microseconds; `None` before both were
        /// called. Of few calls that is one of the slowest, and no ground for a verdict.
        p99_us: Option<(u64, u64)>,
    },
    /// The others follow.
    Following {
        /// Hosts that serve the new version.
        done: usize,
        /// Hosts in all.
        of: usize,
        /// Those that have been asked to and cannot, or not in time. They go on trying, and nobody waits for them.
        behind: Vec<NodeId>,
    },
    /// The state's schema changes: the old version stops everywhere before the new one starts anywhere.
    Switching {
        /// Hosts that say that they still have the old one. All wait for them.
        old: Vec<NodeId>,
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
    /// Who records it when that host does not, in this order.
    pub deputies: Vec<NodeId>,
}

impl Step {
    /// What `me` is to record, where that has been due for `due_ms`.
    #[must_use]
    pub fn falls_to(&self, me: &NodeId, due_ms: u64) -> Option<&Verdict> {
        let (recorder, verdict) = self.record.as_ref()?;
        let line = std::iter::once(recorder).chain(&self.deputies);
        let turns = usize::try_from(due_ms / RECORD_MS).unwrap_or(usize::MAX).saturating_add(1);
        line.take(turns).any(|node| node == me).then_some(verdict)
    }
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
            return Step { run: all(rollout.from.revision), ..Step::at(stage) };
        }
        Some(Verdict::Completed) => return Step { run: all(rollout.to.revision), ..Step::at(Stage::Done) },
        Some(Verdict::Promoted) | None => {}
    }
    let mut hosts: Vec<&Report> = reports.iter().copied().filter(|report| report.chosen).collect();
    // Who has begun stays the canary, whoever joins; who tells nothing of it is none.
    let begun = |report: &Report| report.versions.contains_key(&rollout.to.revision);
    let nobody_has = !hosts.iter().any(|report| begun(report));
    hosts.sort_by_cached_key(|report| {
        let (wavers, lasts) = rank(&report.node);
        (
            is_late(rollout, report),
            report.lost,
            !report.tells,
            progress(rollout, report),
            nobody_has.then_some(wavers),
            lasts,
            report.node,
        )
    });
    let mut step = if is_switch {
        switch(rollout, &hosts, &reports, recorded)
    } else if let Some(worse) = worse(rollout, &hosts, &reports, recorded.is_some()) {
        let reason = worse.to_string();
        let verdict = Verdict::RolledBack { reason: reason.clone() };
        return Step { run: all(rollout.from.revision), ..Step::at(Stage::RolledBack { reason }) }.due(&hosts, verdict);
    } else if recorded.is_some() {
        follow(rollout, &hosts)
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

/// Whether the new version is worse, by what it does, by where it does not come up, or by what becomes of hosts that try it. Of one that is
/// promoted no such trial is left.
fn worse(rollout: &Rollout, hosts: &[&Report], everybody: &[&Report], is_promoted: bool) -> Option<Worse> {
    let canary = hosts.first().map(|canary| canary.node);
    let times = everybody.iter().fold(0_u32, |times, report| times.saturating_add(report.lost));
    if times >= LOST_MIN && !is_promoted {
        return Some(Worse::Lost { times });
    }
    gate::worse(rollout, everybody, canary).or_else(|| follow::not_ready(rollout, hosts))
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
    let Some(canary) = hosts.first() else { return Step::at(Stage::Nowhere) };
    if !canary.tells {
        // Nobody does, and all of them run what the spec says.
        return follow(rollout, hosts);
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
        return follow(rollout, hosts).due(hosts, Verdict::Promoted);
    }
    let remaining_ms = canary_ms.saturating_sub(ready_ms.unwrap_or(0));
    let latest_ms = canary_ms.saturating_mul(WAITS_WITH_FEW_CALLS).saturating_sub(ready_ms.unwrap_or(0));
    let p99_us = gate::p99_us(rollout, canary, hosts);
    let stage = Stage::Canary { node: canary.node, calls: figures.calls, remaining_ms, latest_ms, p99_us };
    // Whoever was asked before and is late goes on with it.
    let is_asked = |report: &Report| report.node == canary.node || is_late(rollout, report);
    let version = |report: &Report| if is_asked(report) { rollout.to.revision } else { rollout.from.revision };
    Step { run: hosts.iter().map(|report| (report.node, Some(version(report)))).collect(), ..Step::at(stage) }
}

/// Whether a host has anything but the new version. Not only the version before: a switch that was not over when the next one began leaves
/// a third.
#[must_use]
pub fn has_old(rollout: &Rollout, report: &Report) -> bool {
    let is_old = |(revision, (runs, _)): (&Revision, &(Runs, Figures))| {
        *revision != rollout.to.revision && matches!(runs, Runs::Ready { .. } | Runs::Unready)
    };
    report.versions.iter().any(is_old)
}

/// A verdict only says here that all was over once: what is to run follows from what is there, whatever was recorded.
fn switch(rollout: &Rollout, hosts: &[&Report], everybody: &[&Report], recorded: Option<&Verdict>) -> Step {
    if hosts.is_empty() {
        return Step::at(Stage::Nowhere);
    }
    // One host that says so for ever is not to keep a workload down, if its deployer knows that and goes on.
    let is_waited_for = |report: &&&Report| {
        has_old(rollout, report) && !(rollout.forced && report.old_ms >= ready_ms_max(&rollout.gates))
    };
    let old: Vec<NodeId> = everybody.iter().filter(is_waited_for).map(|report| report.node).collect();
    let is_gone = old.is_empty();
    let run = hosts.iter().map(|report| (report.node, is_gone.then_some(rollout.to.revision))).collect();
    let done = hosts.iter().filter(|report| serves(rollout, report).is_some()).count();
    let was_over = recorded == Some(&Verdict::Completed);
    // While the old one is left nobody is asked, and nobody is behind. Then who cannot is passed: it has nothing older to serve either,
    // and a watch that never ends would make of each later deployment a switch.
    let behind = if is_gone { behind(rollout, hosts) } else { Vec::new() };
    let is_passed = |report: &&Report| serves(rollout, report).is_some() || behind.contains(&report.node);
    let is_over = is_gone && completed(rollout, hosts, &behind);
    let stage = if is_gone && was_over && done > 0 && hosts.iter().all(is_passed) {
        Stage::Done
    } else if is_gone {
        Stage::Following { done, of: hosts.len(), behind }
    } else {
        Stage::Switching { old }
    };
    let step = Step { run, ..Step::at(stage) };
    if is_over && !was_over { step.due(hosts, Verdict::Completed) } else { step }
}

impl Step {
    const fn at(stage: Stage) -> Self {
        Self { stage, run: BTreeMap::new(), record: None, deputies: Vec::new() }
    }

    /// With a verdict that is due. The canary records it, or the next that can.
    fn due(self, hosts: &[&Report], verdict: Verdict) -> Self {
        let mut line: Vec<NodeId> = hosts.iter().filter(|report| report.tells).map(|report| report.node).collect();
        if line.is_empty() {
            line.extend(hosts.first().map(|report| report.node));
        }
        let mut line = line.into_iter();
        let record = line.next().map(|node| (node, verdict));
        Self { record, deputies: line.collect(), ..self }
    }
}

#[cfg(test)]
mod laws;
#[cfg(test)]
mod tests;
