//! The four terms, each from the values that `explain` shows beside it.

use super::latency::RoundTrip;
use super::promised::Promise;
use super::trust::Believed;
use super::{Inputs, Instance, NodeFacts, Terms};
use crate::spec::{Match, Rule, Spec, WorkloadName};

/// Gathers what the score of `node` is made from. `promised` is what the same plan gave it for workloads which do not run there yet.
pub(super) fn inputs(
    (workload, spec): (&WorkloadName, &Spec),
    (node, believed): (&NodeFacts, Believed),
    promised: Option<&Promise>,
    round_trip: RoundTrip,
) -> Inputs {
    let instance = node.instances.get(workload);
    let runs = instance.is_some_and(Instance::runs);
    // What is only presumed keeps new instances from herding; one that runs is judged by what was measured.
    let presumed = promised.filter(|_| !runs);
    let busy_share = match presumed {
        Some(promise) if believed.cores > 0.0 => promise.cores / believed.cores,
        Some(_) | None => 0.0,
    };
    let memory_promised = promised.map_or(0, |promise| promise.memory);
    let memory_needed = if runs { 0 } else { spec.limits.memory };
    let memory_presumed = presumed.map_or(0, |promise| promise.memory);
    let memory_left = believed.memory_total * (1.0 - believed.used.memory) - (memory_presumed + memory_needed) as f64;
    Inputs {
        cpu_used_share: (believed.used.cpu + busy_share).min(1.0),
        memory_total: node.resources.memory_total,
        memory_free: node.resources.memory_free.saturating_sub(memory_promised),
        memory_needed,
        memory_left_share: if believed.memory_total > 0.0 {
            (memory_left / believed.memory_total).max(0.0)
        } else {
            0.0
        },
        load: (believed.used.load + busy_share).min(1.0),
        promised: promised.map_or(0, |promise| promise.workloads.len()),
        doubted: believed.doubted,
        round_trip_ms: round_trip.mean_ms,
        round_trip_limit_ms: round_trip.limit_ms,
        callers: round_trip.callers,
        callers_unmeasured: round_trip.callers_unmeasured,
        rules_held: spec.affinity.iter().filter(|rule| holds(rule, node, promised)).count(),
        rules: spec.affinity.len(),
        age_ms: node.age_ms,
        suspected: node.suspected,
        freshness: believed.freshness,
        phase: instance.map(|instance| instance.phase.clone()),
    }
}

/// The terms of the score, each 0 to 1. What the host measured of itself counts less as it ages.
pub(super) fn terms(inputs: &Inputs) -> Terms {
    // The scarcer of the two decides: spare CPU does not make up for missing memory.
    let resource = inputs.memory_left_share.min(1.0 - inputs.cpu_used_share);
    Terms {
        resource: (resource * inputs.freshness).clamp(0.0, 1.0),
        latency: (1.0 - inputs.round_trip_ms / inputs.round_trip_limit_ms).clamp(0.0, 1.0),
        load: ((1.0 - inputs.load) * inputs.freshness).clamp(0.0, 1.0),
        affinity: if inputs.rules == 0 { 1.0 } else { inputs.rules_held as f64 / inputs.rules as f64 },
    }
}

/// Whether `rule` holds on `node`, which the same plan has promised something already.
pub(super) fn holds(rule: &Rule, node: &NodeFacts, promised: Option<&Promise>) -> bool {
    rule.holds(match &rule.matches {
        Match::Node(name) => node.name == *name,
        Match::Region(region) => node.region.as_ref() == Some(region),
        Match::Capability(capability) => node.capabilities.contains(capability),
        Match::Label { key, value } => node.labels.get(key) == Some(value),
        Match::Workload(other) => {
            node.instances.get(other).is_some_and(Instance::runs)
                || promised.is_some_and(|promise| promise.workloads.contains(other))
        }
    })
}

/// Whether a spec has rules about other workloads, which should be placed before it.
pub(super) fn looks_at_others(spec: &Spec) -> bool {
    spec.must.iter().chain(&spec.affinity).any(|rule| matches!(rule.matches, Match::Workload(_)))
}
