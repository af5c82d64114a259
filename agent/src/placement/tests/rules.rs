//! Rules and spread, as a reader of `explain` sees them: `*` is chosen, `-` rejected.

use super::*;

/// A plan as text: wanted instances, candidates from the best on, rejections, moves.
pub(super) fn shown(explanation: &Explanation) -> String {
    let mut text = format!("wants {}\n", explanation.wanted);
    let mut candidates: Vec<&Candidate> = explanation.candidates.iter().collect();
    candidates.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.name.cmp(&b.name)));
    for Candidate { name, score, terms, chosen, .. } in candidates {
        let Terms { resource, latency, load, affinity } = terms;
        let mark = if *chosen { '*' } else { ' ' };
        text += &format!("{mark} {name} {score:.3} = r {resource:.2} l {latency:.2} o {load:.2} a {affinity:.2}\n");
    }
    for Rejected { name, reason, .. } in &explanation.rejected {
        text += &format!("- {name} {reason}\n");
    }
    let name = |node: &NodeId| {
        explanation.candidates.iter().find(|candidate| candidate.node == *node).map_or("?", |candidate| &candidate.name)
    };
    for Move { from, to, gain } in &explanation.moves {
        text += &format!("{} -> {} {gain:+.3}\n", name(from), name(to));
    }
    text
}

fn check(spec: &Spec, facts: Vec<NodeFacts>, expect: &str) {
    let expect: String =
        expect.lines().skip(1).map(|line| format!("{}\n", line.strip_prefix("        ").unwrap_or(line))).collect();
    assert_eq!(shown(&explained(spec, facts)), expect);
}

/// A host whose callers are beside it, so that latency is alike for all.
fn at(number: u8, region: &str, load: f64) -> NodeFacts {
    NodeFacts { region: Some(region.to_owned()), ..loaded(number, load) }
}

fn with(mut facts: NodeFacts, other: &str) -> NodeFacts {
    facts.instances.insert(other.parse().unwrap(), Instance::new(Digest([7; 32]), Phase::Ready));
    facts
}

pub(super) fn rules(rules: &[&str]) -> Vec<crate::spec::Rule> {
    rules.iter().map(|rule| rule.parse().unwrap()).collect()
}

#[test]
fn a_preference_costs_a_tenth_and_a_demand_rejects() {
    let facts = || vec![with(at(1, "eu", 0.0), "chat"), at(2, "eu", 0.1), at(3, "us", 0.3)];
    let near_chat = Spec { affinity: rules(&["workload=chat"]), ..spec(1) };
    check(
        &near_chat,
        facts(),
        "
        wants 1
        * n1 0.715 = r 0.94 l 0.33 o 1.00 a 1.00
          n2 0.595 = r 0.94 l 0.33 o 0.90 a 0.00
          n3 0.555 = r 0.94 l 0.33 o 0.70 a 0.00
",
    );
    let away = Spec { must: rules(&["!workload=chat", "!region=us"]), ..spec(1) };
    check(
        &away,
        facts(),
        "
        wants 1
        * n2 0.695 = r 0.94 l 0.33 o 0.90 a 1.00
        - n1 breaks the rule !workload=chat
        - n3 breaks the rule !region=us
",
    );
}

#[test]
fn a_rule_about_a_workload_of_the_same_plan_is_kept() {
    let specs: BTreeMap<WorkloadName, Spec> = [
        ("apart".parse().unwrap(), Spec { must: rules(&["!workload=zone"]), ..spec(1) }),
        ("close".parse().unwrap(), Spec { must: rules(&["workload=zone"]), ..spec(1) }),
        ("zone".parse().unwrap(), spec(1)),
    ]
    .into();
    let plan = plan(&specs, &[host(1), host(2)].into_iter().collect(), &Policy::default());
    assert_eq!(plan["close"].chosen(), plan["zone"].chosen());
    assert!(plan["apart"].chosen().is_disjoint(&plan["zone"].chosen()));
    assert_eq!((plan["apart"].missing(), plan["close"].missing()), (0, 0));
    let held = plan["zone"].chosen().into_iter().next().unwrap();
    let why = plan["apart"].rejection(&held).map(ToString::to_string);
    assert_eq!(why.as_deref(), Some("breaks the rule !workload=zone, for zone is to run there and has not begun"));
}

#[test]
fn a_broken_rule_about_hosts_forbids_and_one_about_workloads_only_disqualifies() {
    let forbids = |rule: &str| Reason::Rule { rule: rule.parse().unwrap(), is_to_run: false }.forbids();
    assert!(forbids("!node=a") && forbids("region=eu") && forbids("label:a=b") && !forbids("workload=chat"));
}

#[test]
fn replicas_spread_over_regions_before_they_pile_up_on_the_best() {
    let facts = || vec![at(1, "eu", 0.0), at(2, "eu", 0.0), at(3, "us", 0.8), at(4, "ap", 0.9)];
    let over = |replicas| Spec { spread: Spread::OverRegions(replicas), ..spec(1) };
    assert_eq!(names(&explained(&over(3), facts())).len(), 3);
    assert!(["n3", "n4"].iter().all(|name| names(&explained(&over(3), facts())).contains(name)));
    assert_eq!(names(&explained(&over(4), facts())), ["n1", "n2", "n3", "n4"]);
    // Two in one region while another has none: one of them moves, though it is no gain.
    let lopsided =
        vec![running(at(1, "eu", 0.0), Phase::Ready), running(at(2, "eu", 0.1), Phase::Ready), at(3, "us", 0.3)];
    check(
        &over(2),
        lopsided,
        "
        wants 2
        * n1 0.867 = r 1.00 l 0.67 o 1.00 a 1.00
          n2 0.847 = r 1.00 l 0.67 o 0.90 a 1.00
        * n3 0.788 = r 0.94 l 0.67 o 0.70 a 1.00
        n2 -> n3 -0.059
",
    );
}

#[test]
fn counts_per_region_are_filled_in_each_and_nowhere_else() {
    let counts = Spread::PerRegion([("eu".to_owned(), 2), ("us".to_owned(), 2)].into());
    let spec = Spec { spread: counts, ..spec(1) };
    let facts = vec![
        running(at(1, "eu", 0.9), Phase::Ready),
        at(2, "eu", 0.1),
        at(3, "eu", 0.0),
        at(4, "us", 0.0),
        at(5, "ap", 0.0),
    ];
    let explanation = explained(&spec, facts);
    assert_eq!((explanation.wanted, explanation.missing()), (4, 1));
    assert_eq!(
        explanation.rejection(&id(5)).unwrap().to_string(),
        "is in region ap, the workload asks for region eu or us"
    );
    assert!(names(&explanation).contains(&"n4") && names(&explanation).len() == 3);
    assert_eq!(explanation.moves.len(), 1, "the loaded one makes way within its region: {explanation:#?}");
}
