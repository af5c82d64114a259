//! Reconciliation: what this host should start and stop next, given the plan and what runs.
//!
//! Owns everything about placement that needs a memory: dwell before a move, settling before a stop, back-off after a
//! failure. It decides for its own host only, and acts on nothing: [`Step`]s are carried out by others, who show
//! the result in `here` before the next decision. Time is an argument. The invariant: an instance that the spec still
//! allows is drained and stopped only while enough chosen hosts are ready; a new one runs before an old one stops; what drains
//! is taken back when its replacements are gone.

mod absent;
mod backoff;
mod partition;
mod waiting;

use std::collections::{BTreeMap, BTreeSet};

use selvedge_sync::id::NodeId;
use serde::Serialize;

use self::absent::Absences;
pub use self::absent::{ABSENT_MS_MAX, PASSED_OVER_MS, STUCK_MS_MAX};
use self::backoff::Failures;
use self::partition::Sight;
pub use self::partition::{CutOff, InSight, sees_most};
pub use self::waiting::Waiting;
use crate::placement::{Explanation, Instance, Mesh, NodeFacts, Phase, Plan};
use crate::spec::{Digest, WorkloadName};

/// How long a challenger must lead before anything moves, in milliseconds: longer than a spike of load or a round of a
/// game, so that placement does not follow noise.
pub const DWELL_MS_DEFAULT: u64 = 30_000;
/// How long a surplus instance drains before it stops, in milliseconds. Longer than a round of gossip: callers learn to go
/// elsewhere, calls that are under way end, and of two hosts that each still saw the other as chosen one takes its own back.
pub const SETTLE_MS_DEFAULT: u64 = 5_000;
/// How long an instance drains that may not stay, in milliseconds: the news is told at once, and the longest ordinary deadline is far
/// below it.
pub const DRAIN_MS: u64 = 2_000;
/// Wait after the first failure, in milliseconds; it doubles with each further one.
pub const BACKOFF_MIN_MS: u64 = 1_000;
/// Longest wait between attempts, in milliseconds. An attempt costs a compilation, and a cause outside (an artefact that
/// nobody has) may go away at any time, so attempts never end.
pub const BACKOFF_MAX_MS: u64 = 300_000;
/// How long this host waits after its start for those whom it knows of, in milliseconds, before it starts what they may be
/// running. Members that live are heard within a second or two of a start; one that died meanwhile must not keep us for longer.
pub const HEARING_MS: u64 = 5_000;
/// How long an instance must have been ready for its failures to be forgotten, in milliseconds.
pub const HEALTHY_AFTER_MS: u64 = 60_000;

/// What this host should do with one workload. Steps that were taken must show in `here` at the next decision: what
/// does not is decided again. A start that has begun is told with [`Reconciler::began`]; what fails after it has failed again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum Step {
    /// Make `digest` what runs here. Where another digest runs, it goes on answering until the new one is ready.
    Start {
        /// Which workload.
        workload: WorkloadName,
        /// What to run.
        digest: Digest,
    },
    /// Tell everybody that it stops; it answers what still comes, until it is stopped.
    Drain {
        /// Which workload.
        workload: WorkloadName,
    },
    /// Let running calls finish, then remove the instance, or what is left of a failed one.
    Stop {
        /// Which workload.
        workload: WorkloadName,
    },
}

/// How long to wait for what, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How long a challenger must lead before it starts.
    pub dwell_ms: u64,
    /// How long a surplus instance drains before it stops.
    pub settle_ms: u64,
}

impl Default for Timing {
    fn default() -> Self {
        Self { dwell_ms: DWELL_MS_DEFAULT, settle_ms: SETTLE_MS_DEFAULT }
    }
}

/// What a decision is made from.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// This host.
    pub me: NodeId,
    /// What should run where; a workload that is not in it has been undeployed.
    pub plan: &'a Plan,
    /// What is on this host now, as its workloads themselves know it.
    pub here: &'a BTreeMap<WorkloadName, Instance>,
    /// The other hosts, for which of the chosen are ready.
    pub mesh: &'a Mesh,
    /// Members that are known of and have not been heard since this agent started: `mesh` lacks what they run.
    pub unheard: usize,
    /// Workloads that are planned and may not be started for now; what runs of them goes on.
    pub held: &'a BTreeSet<WorkloadName>,
}

/// Decides for one host, again and again.
#[derive(Clone, Debug, Default)]
pub struct Reconciler {
    timing: Timing,
    /// When the first decision was asked for.
    began_ms: Option<u64>,
    sight: Sight,
    absences: Absences,
    /// Only for workloads that are planned or here, which bounds it by what those hold.
    memories: BTreeMap<WorkloadName, Memory>,
    waiting: BTreeMap<WorkloadName, Waiting>,
}

/// What must be remembered of a workload between decisions. Times are of the caller's monotonic clock.
#[derive(Clone, Debug, Default)]
struct Memory {
    leads_since_ms: Option<u64>,
    drains_since_ms: Option<u64>,
    failures: Failures,
}

enum Verdict {
    Content,
    Start,
    Drain,
    Stop,
    Wait(Waiting),
}

impl Reconciler {
    /// A reconciler that remembers nothing yet.
    #[must_use]
    pub fn new(timing: Timing) -> Self {
        Self { timing, ..Self::default() }
    }

    /// The steps to take now, in the order of the workloads' names. `now_ms` is of any clock that never goes back.
    pub fn decide(&mut self, inputs: &Inputs<'_>, now_ms: u64) -> Vec<Step> {
        let known: BTreeSet<&WorkloadName> = inputs.plan.keys().chain(inputs.here.keys()).collect();
        self.memories.retain(|workload, _| known.contains(workload));
        self.waiting.clear();
        self.sight.look(inputs.mesh, &inputs.me, now_ms);
        let cut_off = self.cut_off(inputs, now_ms);
        let may_not_start = inputs.held.iter().chain(cut_off.keys().copied()).collect();
        self.absences.look((&inputs.me, inputs.plan, inputs.mesh), &may_not_start, now_ms);
        let hearing_ms = remaining(&mut self.began_ms, HEARING_MS, now_ms);
        let mut steps = Vec::new();
        for workload in known {
            let memory = self.memories.entry(workload.clone()).or_default();
            let here = inputs.here.get(workload);
            let Some(explanation) = inputs.plan.get(workload) else {
                if here.is_some() {
                    steps.push(Step::Stop { workload: workload.clone() });
                }
                continue;
            };
            memory.failures.observe(here, now_ms);
            let verdict = if let Some(why) = cut_off.get(workload) {
                memory.leads_since_ms = None;
                cut_off_from_others(memory, here, why.clone(), now_ms)
            } else if explanation.chooses(&inputs.me) || explanation.keeps(&inputs.me) {
                memory.drains_since_ms = None;
                let verdict = wanted(memory, explanation, inputs.me, here, self.timing, now_ms);
                kept(verdict, explanation, &inputs.me)
            } else {
                memory.leads_since_ms = None;
                unwanted(memory, explanation, inputs, here, self.timing, now_ms)
            };
            match verdict {
                Verdict::Content => {}
                Verdict::Start if inputs.unheard > 0 && hearing_ms > 0 => {
                    let why = Waiting::Hearing { unheard: inputs.unheard, remaining_ms: hearing_ms };
                    self.waiting.insert(workload.clone(), why);
                }
                Verdict::Start if inputs.held.contains(workload) => {}
                Verdict::Start => steps.push(Step::Start { workload: workload.clone(), digest: explanation.artifact }),
                Verdict::Drain => steps.push(Step::Drain { workload: workload.clone() }),
                Verdict::Stop => steps.push(Step::Stop { workload: workload.clone() }),
                Verdict::Wait(why) => {
                    self.waiting.insert(workload.clone(), why);
                }
            }
        }
        steps
    }

    /// Takes note that a start has begun here: the next failure is a new one. A step that nobody had room for is no attempt.
    pub fn began(&mut self, workload: &WorkloadName) {
        if let Some(memory) = self.memories.get_mut(workload) {
            memory.failures.attempt();
        }
    }

    /// What may not run here while this host is cut off.
    fn cut_off<'a>(&self, inputs: &Inputs<'a>, now_ms: u64) -> BTreeMap<&'a WorkloadName, CutOff> {
        let why =
            |explanation: &Explanation| self.sight.forbids(&explanation.partition, inputs.mesh, &inputs.me, now_ms);
        inputs.plan.iter().filter_map(|(workload, explanation)| Some((workload, why(explanation)?))).collect()
    }

    /// Hosts that were chosen and have not begun, which the next plan is to pass over ([`Mesh::pass_over`]).
    #[must_use]
    pub fn passed_over(&self) -> BTreeSet<(WorkloadName, NodeId)> {
        self.absences.passed_over()
    }

    /// What the last decision left undone, and why.
    #[must_use]
    pub const fn waiting(&self) -> &BTreeMap<WorkloadName, Waiting> {
        &self.waiting
    }
}

/// The workload should run here.
fn wanted(
    memory: &mut Memory,
    explanation: &Explanation,
    me: NodeId,
    here: Option<&Instance>,
    timing: Timing,
    now_ms: u64,
) -> Verdict {
    match here.map(|instance| &instance.phase) {
        // It is still there, so taking it back is quick and needs no patience.
        Some(Phase::Stopping) => return Verdict::Start,
        Some(Phase::Starting | Phase::Ready) => {
            memory.leads_since_ms = None;
            if here.is_some_and(|instance| instance.digest == explanation.artifact) {
                return Verdict::Content;
            }
        }
        Some(Phase::Failed { .. }) | None => {}
    }
    if let Some(reason) = memory.failures.given_up(explanation.artifact) {
        return Verdict::Wait(Waiting::GivenUp { reason: reason.to_owned() });
    }
    if let Some((failures, reason, remaining_ms)) = memory.failures.wait(explanation.artifact, now_ms) {
        return Verdict::Wait(Waiting::BackingOff { failures, reason, remaining_ms });
    }
    // Only a move may wait. A missing instance is started at once.
    let Some(step) = explanation.moves.iter().find(|step| step.to == me) else {
        memory.leads_since_ms = None;
        return Verdict::Start;
    };
    match remaining(&mut memory.leads_since_ms, timing.dwell_ms, now_ms) {
        0 => Verdict::Start,
        remaining_ms => Verdict::Wait(Waiting::Dwelling {
            from: step.from,
            gain: step.gain,
            remaining_ms,
            dwell_ms: timing.dwell_ms,
        }),
    }
}

/// What is content here is said to be so only for want of another place, if it is.
fn kept(verdict: Verdict, explanation: &Explanation, me: &NodeId) -> Verdict {
    match (verdict, explanation.rejection(me)) {
        (Verdict::Content, Some(why)) => {
            let placed = explanation.chosen().len();
            Verdict::Wait(Waiting::NowhereElse { why: why.clone(), wanted: explanation.wanted.max(1), placed })
        }
        (verdict, _) => verdict,
    }
}

/// The workload should run on other hosts, or on none.
fn unwanted(
    memory: &mut Memory,
    explanation: &Explanation,
    inputs: &Inputs<'_>,
    here: Option<&Instance>,
    timing: Timing,
    now_ms: u64,
) -> Verdict {
    let drains = match here.map(|instance| &instance.phase) {
        None => return Verdict::Content,
        Some(Phase::Failed { .. }) => {
            return match memory.failures.remembered(now_ms) {
                Some((reason, remaining_ms)) => Verdict::Wait(Waiting::Remembering { reason, remaining_ms }),
                None => Verdict::Stop,
            };
        }
        Some(Phase::Starting | Phase::Ready) => false,
        Some(Phase::Stopping) => true,
    };
    if explanation.rejection(&inputs.me).is_some_and(crate::placement::Reason::forbids) {
        return drain(memory, here, DRAIN_MS, now_ms);
    }
    let ready = explanation.holders().filter(|node| is_ready(inputs.mesh, node, &explanation.workload)).count();
    // Everywhere is no number to wait for: one host that cannot start must not keep all others from stopping.
    let required = if explanation.everywhere { 1 } else { explanation.holders().count().max(1) };
    if ready < required && stands_in(explanation, inputs, drains, required - ready) {
        memory.drains_since_ms = None;
        return if drains { Verdict::Start } else { Verdict::Wait(Waiting::Replacements { ready, required }) };
    }
    drain(memory, here, timing.settle_ms, now_ms)
}

/// Whether this host is one of so many that serve without being chosen until chosen ones do: the same ones for every agent, and the sound
/// before those that do not qualify. Without that, all of a surplus would wait for a host that is chosen here and, by older figures, not
/// chosen there.
fn stands_in(explanation: &Explanation, inputs: &Inputs<'_>, drains: bool, missing: usize) -> bool {
    let rank = |node: &NodeId| (explanation.rejection(node).is_some(), *node);
    let serves = |facts: &&NodeFacts| {
        let is_there = !facts.left && facts.lost_ms.is_none();
        is_there && facts.node != inputs.me && is_ready(inputs.mesh, &facts.node, &explanation.workload)
    };
    let others = inputs.mesh.nodes().filter(serves).map(|facts| facts.node);
    let unchosen = others.filter(|node| !explanation.holders().any(|holder| holder == *node));
    // What drains comes last: the others serve.
    unchosen.filter(|node| drains || rank(node) < rank(&inputs.me)).count() < missing
}

/// The workload may not run here while the host is cut off.
fn cut_off_from_others(memory: &mut Memory, here: Option<&Instance>, why: CutOff, now_ms: u64) -> Verdict {
    if here.is_some() { drain(memory, here, DRAIN_MS, now_ms) } else { Verdict::Wait(Waiting::CutOff { why }) }
}

/// What serves is drained for `period_ms` and then stopped; what does not is stopped.
fn drain(memory: &mut Memory, here: Option<&Instance>, period_ms: u64, now_ms: u64) -> Verdict {
    match here.map(|instance| &instance.phase) {
        None => Verdict::Content,
        Some(Phase::Ready) => {
            memory.drains_since_ms = Some(now_ms);
            Verdict::Drain
        }
        Some(Phase::Stopping) => match remaining(&mut memory.drains_since_ms, period_ms, now_ms) {
            0 => Verdict::Stop,
            remaining_ms => Verdict::Wait(Waiting::Draining { remaining_ms }),
        },
        Some(Phase::Starting | Phase::Failed { .. }) => Verdict::Stop,
    }
}

fn is_ready(mesh: &Mesh, node: &NodeId, workload: &WorkloadName) -> bool {
    mesh.node(node)
        .and_then(|facts| facts.instances.get(workload))
        .is_some_and(|instance| instance.phase == Phase::Ready)
}

/// Milliseconds until `period_ms` has passed since `since_ms`, which begins now if it has not begun.
fn remaining(since_ms: &mut Option<u64>, period_ms: u64, now_ms: u64) -> u64 {
    let since_ms = *since_ms.get_or_insert(now_ms);
    since_ms.saturating_add(period_ms).saturating_sub(now_ms)
}

#[cfg(test)]
mod tests;
