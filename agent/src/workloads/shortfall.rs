//! What falls short of the plan: workloads with fewer ready instances than are wanted, since when and why, and instances that stay where
//! they should not run for want of another place.
//!
//! Owns the comparison of a plan with what hosts say, and how long it has been so; does nothing about it. Bounded by the plan.

use std::collections::BTreeMap;

use selvedge_sync::id::NodeId;

use crate::placement::{Candidate, Explanation, Mesh, Phase, Plan, Reason};
use crate::spec::WorkloadName;

/// Hosts that are named with what is wrong about them; more would only be counted.
const NAMED_MAX: usize = 3;

/// That fewer instances of a workload are ready than are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Short {
    /// Instances that are ready.
    pub ready: usize,
    /// Instances that there should be.
    pub wanted: usize,
    /// Since when, in milliseconds of the agent's monotonic clock.
    pub since_ms: u64,
    /// Why, for people.
    pub why: String,
}

/// How reality differs from the last plan.
#[derive(Debug, Default)]
pub(super) struct Shortfalls {
    short: BTreeMap<WorkloadName, Short>,
    kept: BTreeMap<WorkloadName, BTreeMap<NodeId, Reason>>,
}

impl Shortfalls {
    /// Compares a plan with what hosts say.
    pub(super) fn look(&mut self, plan: &Plan, mesh: &Mesh, now_ms: u64) {
        let before = std::mem::take(&mut self.short);
        for (workload, explanation) in plan {
            let since_ms = before.get(workload).map_or(now_ms, |short| short.since_ms);
            self.short.extend(short(explanation, mesh, since_ms).map(|short| (workload.clone(), short)));
        }
        let kept = |explanation: &Explanation| -> BTreeMap<NodeId, Reason> {
            let kept = explanation.rejected.iter().filter(|rejected| rejected.keeps);
            kept.map(|rejected| (rejected.node, rejected.reason.clone())).collect()
        };
        let all = plan.iter().map(|(workload, explanation)| (workload.clone(), kept(explanation)));
        self.kept = all.filter(|(_, kept)| !kept.is_empty()).collect();
    }

    /// Workloads of which too few are ready, and have been for `for_ms`.
    pub(super) fn short(&self, for_ms: u64, now_ms: u64) -> BTreeMap<WorkloadName, Short> {
        let lasts = |short: &Short| now_ms.saturating_sub(short.since_ms) >= for_ms;
        let short = self.short.iter().filter(|(_, short)| lasts(short));
        short.map(|(workload, short)| (workload.clone(), short.clone())).collect()
    }

    /// Hosts on which a workload stays although they should not run it, and why they should not.
    pub(super) fn kept(&self, workload: &WorkloadName) -> BTreeMap<NodeId, Reason> {
        self.kept.get(workload).cloned().unwrap_or_default()
    }
}

fn short(explanation: &Explanation, mesh: &Mesh, since_ms: u64) -> Option<Short> {
    let is_ready = |node: &NodeId| {
        let facts = mesh.node(node).filter(|facts| facts.healthy);
        let instance = facts.and_then(|facts| facts.instances.get(&explanation.workload));
        instance.is_some_and(|instance| instance.phase == Phase::Ready)
    };
    // A host that is better only by its score takes over when it has led for long enough; until then the other one serves.
    let serves =
        |node: &NodeId| is_ready(node) || explanation.moves.iter().any(|step| step.to == *node && is_ready(&step.from));
    // Everywhere is no number, but nowhere is too few.
    let (ready, wanted) = (explanation.holders().filter(serves).count(), explanation.wanted.max(1));
    (ready < wanted).then(|| Short { ready, wanted, since_ms, why: why(explanation, wanted) })
}

fn why(explanation: &Explanation, wanted: usize) -> String {
    let chosen: Vec<&Candidate> = explanation.candidates.iter().filter(|candidate| candidate.chosen).collect();
    if chosen.len() < wanted {
        let hosts: Vec<String> =
            explanation.rejected.iter().map(|rejected| format!("{} {}", rejected.name, rejected.reason)).collect();
        let few = match chosen.len() {
            0 => "no host qualifies".to_owned(),
            1 => "only one host qualifies".to_owned(),
            count => format!("only {count} hosts qualify"),
        };
        return if hosts.is_empty() { few } else { format!("{few} ({})", listed(&hosts)) };
    }
    let failed: Vec<String> = chosen
        .iter()
        .filter_map(|candidate| match &candidate.inputs.phase {
            Some(Phase::Failed { reason }) => Some(format!("{}: {reason}", candidate.name)),
            Some(Phase::Starting | Phase::Ready | Phase::Stopping) | None => None,
        })
        .collect();
    if failed.is_empty() { "it is still being started".to_owned() } else { format!("it failed on {}", listed(&failed)) }
}

fn listed(hosts: &[String]) -> String {
    let mut text = hosts.iter().take(NAMED_MAX).map(String::as_str).collect::<Vec<_>>().join("; ");
    if hosts.len() > NAMED_MAX {
        text += &format!("; and {} more", hosts.len() - NAMED_MAX);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::placement::{Instance, NodeFacts, Policy, Resources, plan};
    use crate::spec::{Digest, Spec, Spread};

    fn host(number: u8, phase: Option<Phase>) -> NodeFacts {
        let resources = Resources {
            cpu_total: 4.0,
            cpu_used_share: 0.1,
            memory_total: 1 << 30,
            memory_free: 900 << 20,
            disk_free: Some(10 << 30),
        };
        let mut facts = NodeFacts::new(NodeId([number; 32]), format!("host-{number}"), resources);
        let instance = phase.map(|phase| ("a".parse().expect("a name"), Instance::new(Digest::of(b"a"), phase)));
        facts.instances.extend(instance);
        facts
    }

    fn look(shortfalls: &mut Shortfalls, spec: &Spec, hosts: Vec<NodeFacts>, now_ms: u64) -> Option<Short> {
        let specs = BTreeMap::from([("a".parse().expect("a name"), spec.clone())]);
        let mesh: Mesh = hosts.into_iter().collect();
        shortfalls.look(&plan(&specs, &mesh, &Policy::default()), &mesh, now_ms);
        shortfalls.short(0, now_ms).into_values().next()
    }

    #[test]
    fn a_workload_is_short_since_fewer_are_ready_than_are_wanted() {
        let mut shortfalls = Shortfalls::default();
        let mut spec = Spec::new(Digest::of(b"a"));
        spec.spread = Spread::Replicas(2);
        let starting = || vec![host(1, Some(Phase::Ready)), host(2, Some(Phase::Starting))];
        let short = look(&mut shortfalls, &spec, starting(), 1_000).expect("it is");
        assert_eq!((short.ready, short.wanted, short.since_ms), (1, 2, 1_000));
        assert_eq!(short.why, "it is still being started");
        let alone = look(&mut shortfalls, &spec, vec![host(1, Some(Phase::Ready))], 3_000).expect("it is");
        assert_eq!((alone.since_ms, alone.why.as_str()), (1_000, "only one host qualifies"));
        assert!(shortfalls.short(2_001, 3_000).is_empty() && shortfalls.short(2_000, 3_000).len() == 1);
        let both = || vec![host(1, Some(Phase::Ready)), host(2, Some(Phase::Ready))];
        assert_eq!(look(&mut shortfalls, &spec, both(), 4_000), None);
        let failed = vec![host(1, Some(Phase::Ready)), host(2, Some(Phase::failed("it traps".to_owned())))];
        let short = look(&mut shortfalls, &spec, failed, 5_000).expect("it is");
        assert_eq!((short.since_ms, short.why.as_str()), (5_000, "it failed on host-2: it traps"));
    }

    #[test]
    fn what_no_host_may_run_is_short_and_what_stays_for_want_of_another_is_kept() {
        let mut shortfalls = Shortfalls::default();
        let mut spec = Spec::new(Digest::of(b"a"));
        spec.must = vec!["workload=nosuch".parse().expect("a rule")];
        let short = look(&mut shortfalls, &spec, vec![host(1, None)], 1_000).expect("it is");
        assert_eq!(short.why, "no host qualifies (host-1 breaks the rule workload=nosuch)");
        let kept = look(&mut shortfalls, &spec, vec![host(1, Some(Phase::Ready))], 2_000);
        assert_eq!(kept, None, "it answers");
        let kept = shortfalls.kept(&"a".parse().expect("a name"));
        assert_eq!(kept[&NodeId([1; 32])].to_string(), "breaks the rule workload=nosuch");
        let lost = NodeFacts { healthy: false, lost_ms: Some(42_000), ..host(1, Some(Phase::Ready)) };
        let short = look(&mut shortfalls, &Spec::new(Digest::of(b"a")), vec![lost], 3_000).expect("it is");
        assert_eq!(short.why, "no host qualifies (host-1 is lost: not heard for 42s)");
        assert!(shortfalls.kept(&"a".parse().expect("a name")).is_empty(), "what a lost host said is the past");
    }
}
