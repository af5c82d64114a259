//! Laws that hold for every mesh, checked on random ones.

use std::collections::BTreeSet;

use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use selvedge_sync::id::NodeId;

use super::*;
use crate::spec::{Digest, Limits};

const HOSTS: u8 = 8;
const DIGEST: Digest = Digest([1; 32]);

fn workload() -> WorkloadName {
    "combat".parse().unwrap()
}

/// Any number that a peer could send, nonsense included.
fn figure() -> impl Strategy<Value = f64> {
    prop_oneof![8 => 0.0..1.2, 1 => Just(f64::NAN), 1 => Just(f64::INFINITY), 1 => -5.0..500.0]
}

fn word() -> impl Strategy<Value = String> {
    prop_oneof![Just("eu".to_owned()), Just("us".to_owned()), Just("gpu".to_owned())]
}

fn instance() -> impl Strategy<Value = Instance> {
    let failed = Phase::Failed { reason: "trap".to_owned() };
    prop_oneof![Just(Phase::Starting), Just(Phase::Ready), Just(Phase::Stopping), Just(failed)]
        .prop_map(|phase| Instance::new(DIGEST, phase))
}

prop_compose! {
    fn resources()(cpu in figure(), total in 0..4u64, free in 0..400u64, disk in option::of(0..400u64)) -> Resources {
        Resources {
            cpu_total: 4.0, cpu_used_share: cpu, memory_total: total << 28, memory_free: free << 20,
            disk_free: disk.map(|mib| mib << 20),
        }
    }
}

prop_compose! {
    fn host(number: u8)(
        resources in resources(),
        region in option::of(word()),
        capabilities in btree_set(word(), 0..3),
        load in figure(),
        (healthy, draining) in (prop::bool::weighted(0.9), prop::bool::weighted(0.1)),
        rtts in btree_map(0..HOSTS, figure().prop_map(|f| f * 50.0), 0..8),
        calls in option::of(figure()),
        age_ms in 0..20_000u64,
        instance in option::of(instance()),
    ) -> NodeFacts {
        NodeFacts {
            region, capabilities, load, healthy, draining, age_ms,
            rtt_ms: rtts.into_iter().map(|(to, rtt_ms)| (NodeId([to; 32]), rtt_ms)).collect(),
            calls_per_s: calls.map(|calls| (workload(), calls)).into_iter().collect(),
            instances: instance.map(|instance| (workload(), instance)).into_iter().collect(),
            ..NodeFacts::new(NodeId([number; 32]), format!("n{number}"), resources)
        }
    }
}

fn hosts() -> impl Strategy<Value = Vec<NodeFacts>> {
    (0..=HOSTS).prop_flat_map(|count| (0..count).map(host).collect::<Vec<_>>())
}

prop_compose! {
    fn spec()(
        replicas in 1..4u16, everywhere in prop::bool::weighted(0.2),
        region in option::of(word()), require in btree_set(word(), 0..2),
        affinity in vec(word().prop_map(|word| format!("region={word}").parse().unwrap()), 0..3),
        memory in 1..200u64, latency_max_ms in option::of(1..60u32),
    ) -> Spec {
        Spec {
            spread: if everywhere { Spread::Everywhere } else { Spread::Replicas(replicas) },
            region, require, affinity, latency_max_ms,
            limits: Limits { memory: memory << 20, ..Limits::default() },
            ..Spec::new(DIGEST)
        }
    }
}

fn explained(spec: &Spec, facts: Vec<NodeFacts>) -> Explanation {
    explain(&workload(), spec, &facts.into_iter().collect(), &Policy::default())
}

/// The constraints once more, written from the spec's words and not from the code.
fn is_legal(spec: &Spec, node: &NodeFacts, candidate: &Candidate) -> bool {
    let runs = node.instances.get(&workload()).is_some_and(Instance::runs);
    node.healthy
        && !node.draining
        && node.age_ms <= STALE_AFTER_MS_DEFAULT
        && (spec.region.is_none() || spec.region == node.region)
        && spec.require.is_subset(&node.capabilities)
        && (runs || node.resources.memory_free >= spec.limits.memory)
        && spec.latency_max_ms.is_none_or(|max| candidate.inputs.round_trip_ms <= f64::from(max))
}

proptest! {
    #[test]
    fn a_plan_is_legal_and_accounts_for_every_host(spec in spec(), facts in hosts()) {
        let mesh: Mesh = facts.into_iter().collect();
        let explanation = explain(&workload(), &spec, &mesh, &Policy::default());
        for candidate in &explanation.candidates {
            let node = mesh.node(&candidate.node).unwrap();
            prop_assert!(is_legal(&spec, node, candidate), "{candidate:#?}");
            let Terms { resource, latency, load, affinity } = candidate.terms;
            for figure in [resource, latency, load, affinity, candidate.score] {
                prop_assert!((0.0..=1.0).contains(&figure), "{candidate:#?}");
            }
        }
        prop_assert_eq!(explanation.candidates.len() + explanation.rejected.len(), mesh.nodes().count());
        let expect = match spec.spread {
            Spread::Replicas(replicas) => usize::from(replicas).min(explanation.candidates.len()),
            Spread::Everywhere => explanation.candidates.len(),
            Spread::OverRegions(_) | Spread::PerRegion(_) => unreachable!("no such specs here"),
        };
        prop_assert_eq!(explanation.chosen().len(), expect);
    }

    #[test]
    fn the_order_of_the_facts_does_not_matter(
        spec in spec(),
        (facts, shuffled) in hosts().prop_flat_map(|facts| (Just(facts.clone()), Just(facts).prop_shuffle())),
    ) {
        prop_assert_eq!(explained(&spec, facts), explained(&spec, shuffled));
    }

    #[test]
    fn an_instance_is_displaced_only_by_one_that_is_better_by_the_threshold(spec in spec(), facts in hosts()) {
        let explanation = explained(&spec, facts);
        let score = |node| explanation.candidates.iter().find(|c| c.node == node).map(|c| c.score).unwrap();
        let running: BTreeSet<NodeId> = explanation.candidates.iter().filter(|c| c.runs()).map(|c| c.node).collect();
        let kept = explanation.chosen().intersection(&running).count();
        prop_assert_eq!(kept + explanation.moves.len(), running.len().min(explanation.wanted));
        for step in &explanation.moves {
            prop_assert!(running.contains(&step.from) && !running.contains(&step.to));
            prop_assert!(!explanation.chooses(&step.from) && explanation.chooses(&step.to));
            prop_assert!(score(step.to) > score(step.from) + THRESHOLD_DEFAULT);
        }
    }

    #[test]
    fn a_plan_that_has_been_carried_out_stands_but_for_better_hosts(spec in spec(), facts in hosts()) {
        let chosen = explained(&spec, facts.clone()).chosen();
        let settled = facts.into_iter().map(|mut facts| {
            facts.instances.clear();
            // Placing took the memory, so that the score stays what it was.
            if chosen.contains(&facts.node) {
                facts.instances.insert(workload(), Instance::new(DIGEST, Phase::Ready));
                facts.resources.memory_free = facts.resources.memory_free.min(facts.resources.memory_total);
                facts.resources.memory_free -= spec.limits.memory.min(facts.resources.memory_free);
            }
            facts
        });
        let again = explain(&workload(), &spec, &settled.collect(), &Policy::default());
        let moved: BTreeSet<NodeId> = again.moves.iter().map(|step| step.from).collect();
        prop_assert!(chosen.difference(&again.chosen()).all(|left| moved.contains(left)), "{again:#?}");
    }

    #[test]
    fn losing_a_host_moves_only_what_ran_there(facts in hosts(), lost in 0..HOSTS) {
        let spec = Spec { spread: Spread::Replicas(2), ..Spec::new(DIGEST) };
        let carry_out = |mut facts: Vec<NodeFacts>, chosen: &BTreeSet<NodeId>| {
            for facts in &mut facts {
                facts.calls_per_s.clear();
                facts.instances.clear();
                if chosen.contains(&facts.node) {
                    facts.instances.insert(workload(), Instance::new(DIGEST, Phase::Ready));
                }
            }
            facts
        };
        let first = explained(&spec, carry_out(facts.clone(), &BTreeSet::new())).chosen();
        let mut after = carry_out(facts, &first);
        after.retain(|facts| facts.node != NodeId([lost; 32]));
        let explanation = explained(&spec, after);
        let second = explanation.chosen();
        let left = first.iter().filter(|node| **node != NodeId([lost; 32]) && !second.contains(node)).count();
        prop_assert_eq!(left, explanation.moves.len(), "{:?} then {:?}", first, second);
    }

    #[test]
    fn weights_sum_to_one_in_any_proportion(a in 0.0..1e300, b in 0.0..1e300, c in 0.0..1.0, d in 1e-300..1.0) {
        let weights = Weights::new(Terms { resource: a, latency: b, load: c, affinity: d }).unwrap();
        let Terms { resource, latency, load, affinity } = *weights.terms();
        prop_assert!((resource + latency + load + affinity - 1.0).abs() < 1e-9);
        let best = Terms { resource: 1.0, latency: 1.0, load: 1.0, affinity: 1.0 };
        prop_assert!((weights.score(&best) - 1.0).abs() < 1e-9);
    }
}
