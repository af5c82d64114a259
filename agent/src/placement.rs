//! Placement: which hosts should run a workload, and why.
//!
//! Owns hard constraints, the four-term score and the choice, as one pure function from facts to an [`Explanation`]. It
//! measures nothing, starts nothing and keeps no memory: what must last (dwell, back-off) is the reconciler's. The
//! invariant: the same facts, in any order, give the same plan on every host, and no chosen host violates a constraint.

mod choose;
mod constraint;
mod explanation;
mod facts;
mod latency;
mod score;
mod weights;

use std::collections::BTreeMap;

use self::choose::choose;
pub use self::constraint::Reason;
pub use self::explanation::{Candidate, Explanation, Inputs, Move, Rejected};
pub use self::facts::{Instance, Mesh, NodeFacts, Phase, Refused, Resources};
use self::latency::Callers;
pub use self::weights::{Terms, Weights, WeightsError};
use crate::spec::{Spec, Spread, WorkloadName};

/// How much better a challenger's score must be before it displaces a running instance. A move costs a fetch, a
/// compilation and a warm-up; load alone (weight 0.2) has to differ by half to be worth that.
pub const THRESHOLD_DEFAULT: f64 = 0.1;
/// Age in milliseconds above which a host's facts are no ground for placing anything on it. Members tell what has changed at
/// once and the rest about twice a minute (more rarely among hundreds), so this is some repetitions missed in a row.
pub const STALE_AFTER_MS_DEFAULT: u64 = 180_000;

/// What an operator can tune; the same on all members, or they disagree about the plan.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    /// What each term counts for.
    pub weights: Weights,
    /// By how much a challenger's score must exceed a running instance's, in score (0 to 1).
    pub threshold: f64,
    /// Oldest facts that count, in milliseconds.
    pub stale_after_ms: u64,
}

impl Default for Policy {
    fn default() -> Self {
        Self { weights: Weights::default(), threshold: THRESHOLD_DEFAULT, stale_after_ms: STALE_AFTER_MS_DEFAULT }
    }
}

/// Where every workload should run.
pub type Plan = BTreeMap<WorkloadName, Explanation>;

/// Memory promised to workloads of the same plan that do not run yet, in bytes per host.
type Promised = BTreeMap<selvedge_sync::id::NodeId, u64>;

/// Places all workloads together, so that two new ones are not promised the same memory. Workloads are taken in the
/// order of their names.
#[must_use]
pub fn plan(specs: &BTreeMap<WorkloadName, Spec>, mesh: &Mesh, policy: &Policy) -> Plan {
    let mut promised = Promised::new();
    let mut plan = Plan::new();
    for (workload, spec) in specs {
        let explanation = place(workload, spec, mesh, policy, &promised);
        for candidate in explanation.candidates.iter().filter(|candidate| candidate.chosen && !candidate.runs()) {
            let bytes = promised.entry(candidate.node).or_default();
            *bytes = bytes.saturating_add(spec.limits.memory);
        }
        plan.insert(workload.clone(), explanation);
    }
    plan
}

/// Places one workload as if it were the only new one, as a dry run does.
#[must_use]
pub fn explain(workload: &WorkloadName, spec: &Spec, mesh: &Mesh, policy: &Policy) -> Explanation {
    place(workload, spec, mesh, policy, &Promised::new())
}

fn place(workload: &WorkloadName, spec: &Spec, mesh: &Mesh, policy: &Policy, promised: &Promised) -> Explanation {
    let callers = Callers::of(workload, spec, mesh, policy.stale_after_ms);
    let mut candidates = Vec::new();
    let mut rejected = Vec::new();
    for node in mesh.nodes() {
        let promised = promised.get(&node.node).copied().unwrap_or(0);
        let inputs = score::inputs(workload, spec, node, promised, callers.round_trip(node, mesh));
        match constraint::violated(workload, spec, node, &inputs, policy.stale_after_ms) {
            Some(reason) => rejected.push(Rejected { node: node.node, name: node.name.clone(), reason }),
            None => {
                let terms = score::terms(&inputs);
                candidates.push(Candidate {
                    node: node.node,
                    name: node.name.clone(),
                    score: policy.weights.score(&terms),
                    terms,
                    inputs,
                    chosen: false,
                });
            }
        }
    }
    let (wanted, everywhere) = match spec.spread {
        Spread::Replicas(replicas) => (usize::from(replicas), false),
        Spread::Everywhere => (candidates.len(), true),
    };
    let moves = choose(workload, &mut candidates, wanted, policy.threshold);
    Explanation {
        workload: workload.clone(),
        artifact: spec.artifact,
        wanted,
        everywhere,
        weights: policy.weights,
        candidates,
        rejected,
        moves,
    }
}

#[cfg(test)]
mod laws;
#[cfg(test)]
mod tests;
