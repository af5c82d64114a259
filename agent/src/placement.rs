//! Placement: which hosts should run a workload, and why.
//!
//! Owns hard constraints, the four-term score and the choice, as one pure function from facts to an [`Explanation`]. It
//! measures nothing, starts nothing and keeps no memory: what must last (dwell, back-off) is the reconciler's. The
//! invariant: the same facts, in any order, give the same plan on every host, and no chosen host violates a constraint.

pub mod arrays;
mod choose;
mod constraint;
mod explanation;
mod facts;
mod keep;
mod latency;
mod promised;
mod score;
pub mod sim;
mod stage;
mod trust;
mod weights;
mod why;

use std::collections::BTreeMap;

use self::arrays::{Arrays, Slot};
use self::choose::{Quota, choose};
pub(crate) use self::constraint::DISK_RESERVE_BYTES;
pub use self::constraint::Reason;
pub use self::explanation::{Candidate, Explanation, Inputs, Move, Rejected};
pub use self::facts::{Instance, Mesh, NodeFacts, Origins, Phase, Refused, Resources};
use self::keep::{Missing, Rejection};
use self::latency::{Callers, Paths};
use self::promised::Promised;
pub use self::stage::Stage;
use self::trust::Trust;
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

/// Places all workloads together, so that two new ones are not promised the same memory. Workloads are taken in the
/// order of their names, those with rules about other workloads after those without.
#[must_use]
pub fn plan(specs: &BTreeMap<WorkloadName, Spec>, mesh: &Mesh, policy: &Policy) -> Plan {
    let (trust, paths) = (Trust::of(mesh, policy.stale_after_ms), Paths::of(mesh));
    let mut promised = Promised::among(mesh.nodes().filter(|node| node.healthy).count());
    let mut plan = Plan::new();
    for looks_at_others in [false, true] {
        for (workload, spec) in specs.iter().filter(|(_, spec)| score::looks_at_others(spec) == looks_at_others) {
            let explanation = place(workload, spec, (mesh, &trust, &paths), policy, &promised);
            for candidate in explanation.candidates.iter().filter(|candidate| candidate.chosen && !candidate.runs()) {
                promised.promise(candidate.node, workload, spec.limits.memory);
            }
            plan.insert(workload.clone(), explanation);
        }
    }
    plan
}

/// Places one workload as if it were the only new one, as a dry run does.
#[must_use]
pub fn explain(workload: &WorkloadName, spec: &Spec, mesh: &Mesh, policy: &Policy) -> Explanation {
    let (trust, paths) = (Trust::of(mesh, policy.stale_after_ms), Paths::of(mesh));
    place(workload, spec, (mesh, &trust, &paths), policy, &Promised::default())
}

fn place(
    workload: &WorkloadName,
    spec: &Spec,
    (mesh, trust, paths): (&Mesh, &Trust, &Paths),
    policy: &Policy,
    promised: &Promised,
) -> Explanation {
    let callers = Callers::of(workload, spec, mesh, policy.stale_after_ms);
    let mut regions = Regions::default();
    let mut arrays = Arrays::default();
    let mut candidates = Vec::new();
    let mut rejected = Vec::new();
    for node in mesh.nodes() {
        let promise = promised.to(&node.node);
        let inputs = score::inputs(
            (workload, spec),
            (node, trust.believed(&node.node)),
            promise,
            callers.round_trip(node, (mesh, paths)),
        );
        let reason = constraint::violated((workload, spec), (node, promise), &inputs, policy.stale_after_ms);
        if let Some(reason) = reason {
            rejected.push((node, reason));
            continue;
        }
        let terms = score::terms(&inputs);
        let (name, region, score) = (node.name.clone(), node.region.clone(), policy.weights.score(&terms));
        let candidate = Candidate { node: node.node, name, region, score, terms, inputs, chosen: false };
        arrays.push(&terms, slot(&candidate), arrays::node_hash(&node.node), regions.number(node.region.as_deref()));
        candidates.push(candidate);
    }
    let hash = arrays::hash(workload.as_str().as_bytes());
    let quota = regions.quota(&spec.spread, candidates.len());
    let scores = arrays.scores(&policy.weights);
    let choice = choose(&arrays, &scores, hash, &quota, policy.threshold);
    let taken = (0..arrays.len()).filter(|host| choice.chosen[*host]).map(|host| arrays.region(host));
    let missing = Missing::of(&spec.spread, &quota, taken);
    let rejected = rejections(workload, &rejected, &mut regions, missing);
    let move_of =
        |(from, to, gain): (usize, usize, f64)| Move { from: candidates[from].node, to: candidates[to].node, gain };
    let moves = choice.moves.into_iter().map(move_of).collect();
    let mut ranked: Vec<(usize, Candidate)> = candidates.into_iter().enumerate().collect();
    ranked.iter_mut().for_each(|(host, candidate)| candidate.chosen = choice.chosen[*host]);
    ranked.sort_by(|(a, one), (b, other)| {
        let rank = (one.failed(), other.score).partial_cmp(&(other.failed(), one.score)).expect("scores are numbers");
        rank.then_with(|| arrays.rendezvous(hash, *b).cmp(&arrays.rendezvous(hash, *a)))
    });
    let candidates: Vec<Candidate> = ranked.into_iter().map(|(_, candidate)| candidate).collect();
    let chosen = candidates.iter().filter(|candidate| candidate.chosen).map(|candidate| candidate.node).collect();
    Explanation {
        workload: workload.clone(),
        artifact: spec.artifact,
        wanted: spec
            .spread
            .replicas()
            .map_or(candidates.len(), |replicas| usize::try_from(replicas).unwrap_or(usize::MAX)),
        everywhere: matches!(spec.spread, Spread::Everywhere),
        partition: spec.partition.clone(),
        weights: policy.weights,
        candidates,
        rejected,
        moves,
        chosen,
    }
}

/// The rejected hosts, with what is there of the workload and whether it stays.
fn rejections(
    workload: &WorkloadName,
    rejected: &[(&NodeFacts, Reason)],
    regions: &mut Regions,
    missing: Missing,
) -> Vec<Rejected> {
    let hosts: Vec<_> = rejected
        .iter()
        .map(|(node, reason)| Rejection { node, reason, region: regions.number(node.region.as_deref()) })
        .collect();
    let kept = keep::kept(workload, &hosts, missing);
    let rejected = |(host, keeps): (&Rejection<'_>, bool)| Rejected {
        node: host.node.node,
        name: host.node.name.clone(),
        reason: host.reason.clone(),
        phase: host.node.instances.get(workload).map(|instance| instance.phase.clone()),
        keeps,
    };
    hosts.iter().zip(kept).map(rejected).collect()
}

const fn slot(candidate: &Candidate) -> Slot {
    match (candidate.runs(), candidate.failed()) {
        (true, _) => Slot::Running,
        (false, true) => Slot::Failed,
        (false, false) => Slot::Free,
    }
}

/// Numbers for the regions of one mesh.
#[derive(Default)]
struct Regions(BTreeMap<String, u16>);

impl Regions {
    /// The number of a region; 0 for none. Beyond 65,535 regions the last ones share a number.
    fn number(&mut self, region: Option<&str>) -> u16 {
        let Some(region) = region else { return 0 };
        let next = u16::try_from(self.0.len() + 1).unwrap_or(u16::MAX);
        *self.0.entry(region.to_owned()).or_insert(next)
    }

    fn quota(&mut self, spread: &Spread, hosts: usize) -> Quota {
        match spread {
            Spread::Replicas(replicas) => Quota::Any(usize::from(*replicas)),
            Spread::OverRegions(replicas) => Quota::Even(usize::from(*replicas)),
            Spread::Everywhere => Quota::Any(hosts),
            Spread::PerRegion(counts) => {
                let count = |(region, count): (&String, &u16)| (self.number(Some(region)), usize::from(*count));
                Quota::Each(counts.iter().map(count).collect())
            }
        }
    }
}

#[cfg(test)]
mod laws;
#[cfg(test)]
mod tests;
