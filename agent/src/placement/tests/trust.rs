//! What a host says of itself: how much of it counts, and for how long.

use super::*;

fn candidate(explanation: &Explanation, number: u8) -> &Candidate {
    explanation.candidates.iter().find(|candidate| candidate.node == id(number)).unwrap()
}

#[test]
fn figures_count_in_full_then_less_then_not_at_all() {
    let aged = |age_ms| vec![NodeFacts { age_ms, ..host(1) }, host(2)];
    let term = |age_ms| candidate(&explained(&spec(1), aged(age_ms)), 1).terms.load;
    let stale_ms = STALE_AFTER_MS_DEFAULT;
    assert!((term(0) - 1.0).abs() < 1e-9 && (term(stale_ms / 3) - 1.0).abs() < 1e-9);
    assert!((term(stale_ms * 2 / 3) - 0.5).abs() < 1e-9, "half of the time that is left");
    assert!(term(stale_ms).abs() < 1e-9);
    let rejected = explained(&spec(1), aged(stale_ms + 1));
    assert!(matches!(rejected.rejection(&id(1)), Some(Reason::Stale { .. })));
}

#[test]
fn who_runs_as_much_as_the_others_cannot_be_idle_alone() {
    let busy = |number| {
        let mut facts = running(loaded(number, 0.6), Phase::Ready);
        facts.resources.cpu_used_share = 0.5;
        facts
    };
    let claims_idle = |mut facts: NodeFacts| {
        (facts.load, facts.resources.cpu_used_share, facts.resources.cpu_total) = (0.0, 0.0, f64::INFINITY);
        facts
    };
    let mut facts: Vec<NodeFacts> = (1..=5).map(busy).collect();
    facts.push(claims_idle(busy(6)));
    let explanation = explained(&Spec { spread: Spread::Everywhere, ..spec(1) }, facts.clone());
    let liar = candidate(&explanation, 6);
    assert!(liar.inputs.doubted && (liar.inputs.load - 0.6).abs() < 1e-9, "{liar:#?}");
    assert!(liar.score <= candidate(&explanation, 1).score + 1e-9);
    assert!(!candidate(&explanation, 1).inputs.doubted);

    // Who runs nothing may well be idle.
    facts[5].instances.clear();
    let idle = explained(&Spec { spread: Spread::Everywhere, ..spec(1) }, facts.clone());
    assert!(!candidate(&idle, 6).inputs.doubted && candidate(&idle, 6).terms.load > 0.99);

    // Among four, nobody can say who is the odd one.
    let few = explained(
        &Spec { spread: Spread::Everywhere, ..spec(1) },
        vec![busy(1), busy(2), busy(3), claims_idle(busy(4))],
    );
    assert!(!candidate(&few, 4).inputs.doubted);
}

#[test]
fn what_a_plan_has_just_placed_counts_for_everybody_who_may_be_placing() {
    let specs: BTreeMap<WorkloadName, Spec> = ["a", "b", "c", "d"].map(|name| (name.parse().unwrap(), spec(1))).into();
    // Two hosts in use by a fifth less than the two others: the first two workloads go there, and only those.
    let mesh: Mesh = [loaded(1, 0.0), loaded(2, 0.0), loaded(3, 0.2), loaded(4, 0.2)].into_iter().collect();
    let plan = plan(&specs, &mesh, &Policy::default());
    let taken: std::collections::BTreeSet<NodeId> = plan.values().flat_map(Explanation::chosen).collect();
    assert!(taken.contains(&id(1)) && taken.contains(&id(2)) && taken.len() >= 3, "{taken:?}");
    assert_eq!(plan["a"].candidates[0].inputs.promised, 0);
    assert!(plan["d"].candidates.iter().any(|candidate| candidate.inputs.promised > 0));
}
