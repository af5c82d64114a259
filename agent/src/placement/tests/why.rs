//! What `explain` says first: the sentence on why a workload runs where it runs.

use super::*;

fn check(spec: &Spec, facts: Vec<NodeFacts>, expect: &str) {
    let explanation = explained(spec, facts);
    assert_eq!(explanation.why(), expect, "{explanation:#?}");
}

#[test]
fn who_has_the_choice_is_told_with_scores_and_what_the_next_lacks() {
    let busy = |number| {
        let mut facts = host(number);
        facts.resources.cpu_used_share = 0.9;
        facts
    };
    check(&spec(1), vec![host(1), loaded(2, 0.5)], "n1 scores 0.78; the next is n2 with 0.68, under more load");
    check(
        &spec(2),
        vec![host(1), loaded(2, 0.5), busy(3)],
        "n1 scores 0.85, n2 0.75; the next is n3 with 0.60, with less room",
    );
    let near_to_calls = vec![near(host(1), &[(3, 90.0)]), near(host(2), &[(3, 5.0)]), calls(host(3), 10.0)];
    let far = "n3 scores 0.98, n2 0.96; the next is n1 with 0.62, farther from its callers";
    check(&spec(2), near_to_calls, far);
    let affine = Spec { affinity: vec!["node=n2".parse().unwrap()], ..spec(1) };
    let ruled = "n2 scores 0.78; the next is n1 with 0.68, where fewer of its rules hold";
    check(&affine, vec![host(1), host(2)], ruled);
    let many = (1..=6).map(|number| loaded(number, f64::from(number) / 10.0)).collect();
    check(&spec(5), many, "the 5 chosen score 0.87 to 0.79; n5 with 0.81 would do as well");
}

#[test]
fn who_has_no_choice_is_told_why() {
    check(&spec(1), vec![], "no host may run it");
    check(&spec(1), vec![host(1)], "on the one host that may run it");
    check(&spec(3), vec![host(1), host(2)], "on each of the 2 hosts that may run it; 3 are wanted");
    let here = |number| NodeFacts { region: Some("eu".to_owned()), ..host(number) };
    let there = Spec { region: Some("eu".to_owned()), ..spec(1) };
    let refused = explained(&there, vec![host(2)]).rejected[0].reason.to_string();
    check(&there, vec![here(1), host(2)], &format!("on the one host that may run it; n2 may not: it {refused}"));
    check(&there, vec![host(2), host(3)], &format!("no host may run it; 2 may not, n2 among them: it {refused}"));
}

#[test]
fn what_stays_because_a_move_is_not_worth_it_says_so() {
    let runs = running(loaded(1, 0.3), Phase::Ready);
    check(&spec(1), vec![runs, host(2)], "n1 scores 0.74; n2 would score 0.78, which is not worth a move");
    check(&spec(1), vec![host(1), host(2)], "n2 scores 0.78; n1 would do as well");
}
