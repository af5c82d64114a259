//! The four terms, each from the values that `explain` shows beside it.

use super::latency::RoundTrip;
use super::{Inputs, Instance, NodeFacts, Terms};
use crate::spec::{Match, Rule, Spec, WorkloadName};

/// Gathers what the score of `node` is made from. `promised` is memory, in bytes, that the same plan gave to workloads
/// which do not run there yet.
pub(super) fn inputs(
    workload: &WorkloadName,
    spec: &Spec,
    node: &NodeFacts,
    promised: u64,
    round_trip: RoundTrip,
) -> Inputs {
    let instance = node.instances.get(workload);
    Inputs {
        cpu_used_share: node.resources.cpu_used_share,
        memory_total: node.resources.memory_total,
        memory_free: node.resources.memory_free.saturating_sub(promised),
        memory_needed: if instance.is_some_and(Instance::runs) { 0 } else { spec.limits.memory },
        load: node.load,
        round_trip_ms: round_trip.mean_ms,
        round_trip_limit_ms: round_trip.limit_ms,
        callers: round_trip.callers,
        callers_unmeasured: round_trip.callers_unmeasured,
        rules_held: spec.affinity.iter().filter(|rule| holds(rule, node)).count(),
        rules: spec.affinity.len(),
        age_ms: node.age_ms,
        phase: instance.map(|instance| instance.phase.clone()),
    }
}

/// The terms of the score, each 0 to 1.
pub(super) fn terms(inputs: &Inputs) -> Terms {
    let memory_left = inputs.memory_free.saturating_sub(inputs.memory_needed);
    // The scarcer of the two decides: spare CPU does not make up for missing memory.
    let resource = share(memory_left, inputs.memory_total).min(1.0 - inputs.cpu_used_share);
    Terms {
        resource: resource.clamp(0.0, 1.0),
        latency: (1.0 - inputs.round_trip_ms / inputs.round_trip_limit_ms).clamp(0.0, 1.0),
        load: (1.0 - inputs.load).clamp(0.0, 1.0),
        affinity: if inputs.rules == 0 { 1.0 } else { inputs.rules_held as f64 / inputs.rules as f64 },
    }
}

fn holds(rule: &Rule, node: &NodeFacts) -> bool {
    rule.holds(match &rule.matches {
        Match::Node(name) => node.name == *name,
        Match::Region(region) => node.region.as_ref() == Some(region),
        Match::Capability(capability) => node.capabilities.contains(capability),
        Match::Label { key, value } => node.labels.get(key) == Some(value),
    })
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}
