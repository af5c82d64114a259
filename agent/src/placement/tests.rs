//! Worked examples: small meshes whose answer can be checked by hand.

use selvedge_sync::id::NodeId;

use super::*;
use crate::spec::Digest;

mod rules;
mod trust;
mod why;
mod worked;

const GIB: u64 = 1 << 30;

fn id(number: u8) -> NodeId {
    NodeId([number; 32])
}

fn game() -> WorkloadName {
    "combat".parse().unwrap()
}

fn spec(replicas: u16) -> Spec {
    Spec { spread: Spread::Replicas(replicas), ..Spec::new(Digest([1; 32])) }
}

/// An idle host `n<number>` with 4 cores and 1 GiB, all free.
fn host(number: u8) -> NodeFacts {
    let resources =
        Resources { cpu_total: 4.0, cpu_used_share: 0.0, memory_total: GIB, memory_free: GIB, disk_free: Some(GIB) };
    NodeFacts::new(id(number), format!("n{number}"), resources)
}

fn loaded(number: u8, load: f64) -> NodeFacts {
    NodeFacts { load, ..host(number) }
}

fn running(mut facts: NodeFacts, phase: Phase) -> NodeFacts {
    facts.instances.insert(game(), Instance::new(Digest([1; 32]), phase));
    facts
}

fn calls(mut facts: NodeFacts, per_s: f64) -> NodeFacts {
    facts.calls_per_s.insert(game(), per_s);
    facts
}

fn near(mut facts: NodeFacts, rtts: &[(u8, f64)]) -> NodeFacts {
    facts.rtt_ms.extend(rtts.iter().map(|(number, rtt_ms)| (id(*number), *rtt_ms)));
    facts
}

fn explained(spec: &Spec, facts: Vec<NodeFacts>) -> Explanation {
    explain(&game(), spec, &facts.into_iter().collect(), &Policy::default())
}

fn names(explanation: &Explanation) -> Vec<&str> {
    let mut names: Vec<&str> =
        explanation.candidates.iter().filter(|c| c.chosen).map(|candidate| candidate.name.as_str()).collect();
    names.sort_unstable();
    names
}

#[test]
fn the_score_of_one_host_is_the_weighted_sum_of_its_terms() {
    let mut facts = near(calls(loaded(1, 0.25), 1.0), &[(2, 40.0)]);
    facts.resources = Resources { cpu_used_share: 0.25, memory_free: GIB / 2, ..facts.resources };
    facts.region = Some("eu".to_owned());
    let spec = Spec {
        affinity: vec!["region=eu".parse().unwrap(), "!node=n1".parse().unwrap()],
        limits: crate::spec::Limits { memory: GIB / 4, ..Default::default() },
        ..spec(1)
    };
    // Of four calls a second, three enter at n2, 40 ms away: 30 ms of the 100 that count.
    let explanation = explained(&spec, vec![facts, calls(host(2), 3.0)]);
    let one = explanation.candidates.iter().find(|candidate| candidate.name == "n1").unwrap();
    assert_eq!(one.terms, Terms { resource: 0.25, latency: 0.7, load: 0.75, affinity: 0.5 });
    assert!((one.score - (0.3 * 0.25 + 0.4 * 0.7 + 0.2 * 0.75 + 0.1 * 0.5)).abs() < 1e-12, "{}", one.score);
    assert_eq!((one.inputs.callers, one.inputs.callers_unmeasured), (2, 0));
    assert_eq!((one.inputs.rules_held, one.inputs.rules, one.inputs.age_ms), (1, 2, 0));
}

#[test]
fn the_best_hosts_are_chosen() {
    let check = |what: &str, spec: &Spec, facts: Vec<NodeFacts>, expect: &[&str]| {
        let explanation = explained(spec, facts);
        assert_eq!(names(&explanation), expect, "{what}: {explanation:#?}");
    };
    let starved = |number| {
        let mut facts = host(number);
        facts.resources.memory_free = GIB / 8;
        facts
    };
    check("the idle one", &spec(1), vec![loaded(1, 0.9), loaded(2, 0.1)], &["n2"]);
    let busy = |number| {
        let mut facts = host(number);
        facts.resources.cpu_used_share = 0.9;
        facts
    };
    check("the one with CPU to spare", &spec(1), vec![busy(1), host(2)], &["n2"]);
    check("the roomy one", &spec(1), vec![starved(1), host(2)], &["n2"]);
    check("as many as asked", &spec(2), vec![loaded(1, 0.9), loaded(2, 0.1), loaded(3, 0.2)], &["n2", "n3"]);
    check("no more than there are", &spec(5), vec![host(1), host(2)], &["n1", "n2"]);
    check("nobody", &spec(1), vec![], &[]);

    let everywhere = Spec { spread: Spread::Everywhere, region: Some("eu".to_owned()), ..spec(1) };
    let eu = |number| NodeFacts { region: Some("eu".to_owned()), ..loaded(number, 1.0) };
    check("all that are admissible", &everywhere, vec![eu(1), host(2), eu(3)], &["n1", "n3"]);

    let near_to_calls = vec![near(host(1), &[(3, 90.0)]), near(host(2), &[(3, 5.0)]), calls(loaded(3, 1.0), 10.0)];
    check("near the callers, not on their loaded host", &spec(1), near_to_calls, &["n2"]);

    let pinned = Spec { affinity: vec!["node=n2".parse().unwrap()], ..spec(1) };
    check("where affinity holds", &pinned, vec![host(1), host(2), host(3)], &["n2"]);
    let anywhere_else = Spec { affinity: vec!["!label:tier=spot".parse().unwrap()], ..spec(2) };
    let spot = |number| {
        let mut facts = host(number);
        facts.labels.insert("tier".to_owned(), "spot".to_owned());
        facts
    };
    check("where anti-affinity does not", &anywhere_else, vec![spot(1), host(2), host(3)], &["n2", "n3"]);
}

#[test]
fn each_replica_serves_the_callers_near_it() {
    // Two regions, 120 ms apart, with equal traffic. One instance is 60 ms from the mean call; two are beside theirs.
    let two_regions = || vec![near(calls(host(1), 5.0), &[(2, 120.0)]), near(calls(host(2), 5.0), &[(1, 120.0)])];
    let limited = |replicas| Spec { latency_max_ms: Some(20), ..spec(replicas) };
    let one = explained(&limited(1), two_regions());
    assert_eq!(one.rejected.len(), 2);
    assert_eq!(one.rejected[0].reason, Reason::Latency { round_trip_ms: 60.0, limit_ms: 20 });
    assert_eq!(names(&explained(&limited(2), two_regions())), ["n1", "n2"]);
    let everywhere = Spec { spread: Spread::Everywhere, ..limited(1) };
    assert_eq!(names(&explained(&everywhere, two_regions())), ["n1", "n2"]);
}

#[test]
fn callers_count_where_they_say_that_they_are() {
    // All calls enter at n1 in the west; nine of ten are made in the east, 80 ms away, where n2 and n3 are.
    let at = |number, region: &str| NodeFacts { region: Some(region.to_owned()), ..host(number) };
    let mesh = |origins: Origins| {
        let mut west = near(calls(at(1, "west"), 10.0), &[(2, 80.0), (3, 90.0)]);
        west.origins.insert(game(), origins);
        vec![west, near(at(2, "east"), &[(3, 10.0)]), at(3, "east")]
    };
    let check = |origins: Origins, expect: [f64; 3]| {
        let candidates = explained(&spec(1), mesh(origins.clone())).candidates;
        for (number, expect) in (1..).zip(expect) {
            let latency = candidates.iter().find(|one| one.node == id(number)).unwrap().terms.latency;
            assert!((latency - expect).abs() < 1e-9, "n{number}: {latency} for {origins:?}");
        }
    };
    let said = |region: &str, calls: f64| Origins { regions: [(region.to_owned(), calls)].into(), rtt_ms: 0.0 };
    check(Origins::default(), [1.0, 0.2, 0.1]);
    check(said("east", 9.0), [1.0 - 0.9 * 0.8, 1.0 - 0.1 * 0.8, 1.0 - 0.1 * 0.9]);
    check(said("east", 1e12), [0.2, 1.0, 1.0]);
    check(said("moon", 9.0), [1.0, 0.2, 0.1]);
    // Whoever is 15 ms from n1 is so from wherever n1 passes it on to.
    check(Origins { regions: [].into(), rtt_ms: 15.0 }, [0.85, 0.05, 0.0]);
    check(Origins { rtt_ms: f64::NAN, ..said("east", f64::NAN) }, [1.0, 0.2, 0.1]);
}

#[test]
fn without_callers_the_mean_round_trip_from_all_members_counts() {
    let explanation = explained(&spec(1), vec![near(host(1), &[(2, 10.0), (3, 50.0)]), host(2), host(3)]);
    let means: Vec<(&str, f64, usize)> = explanation
        .candidates
        .iter()
        .map(|c| (c.name.as_str(), c.inputs.round_trip_ms, c.inputs.callers_unmeasured))
        .collect();
    // n1 is 10 and 50 ms from the others. n2 and n3 have not measured each other, which counts with the limit, 100 ms.
    assert!(means.contains(&("n1", 20.0, 0)), "{means:?}");
    assert!(
        means.iter().any(|(name, ms, unmeasured)| *name == "n2" && (ms - 110.0 / 3.0).abs() < 1e-9 && *unmeasured == 1)
    );
    assert_eq!(names(&explanation), ["n1"]);
}

#[test]
fn the_callers_own_figure_beats_the_claim_of_who_wants_to_be_near() {
    let caller = near(calls(host(1), 10.0), &[(2, 80.0)]);
    let liar = near(host(2), &[(1, 0.0)]);
    let explanation = explained(&spec(1), vec![caller, liar]);
    let liar = explanation.candidates.iter().find(|candidate| candidate.name == "n2").unwrap();
    assert!((liar.inputs.round_trip_ms - 80.0).abs() < 1e-9);
}

#[test]
fn a_rejection_has_its_reason() {
    let check = |spec: &Spec, facts: NodeFacts, expect: Reason, message: &str| {
        let explanation = explained(spec, vec![facts]);
        assert!(explanation.candidates.is_empty());
        assert_eq!(explanation.rejection(&id(1)), Some(&expect));
        assert!(expect.to_string().contains(message), "{expect}");
    };
    let plain = spec(1);
    let in_eu = Spec { region: Some("eu".to_owned()), ..spec(1) };
    let asked = || "eu".to_owned();
    check(&in_eu, host(1), Reason::Region { region: None, asked: asked() }, "no region");
    let us = NodeFacts { region: Some("us".to_owned()), ..host(1) };
    check(&in_eu, us, Reason::Region { region: Some("us".to_owned()), asked: asked() }, "region us");
    let picky = Spec { require: ["gpu".to_owned(), "avx2".to_owned()].into(), ..spec(1) };
    let with_gpu = NodeFacts { capabilities: ["gpu".to_owned()].into(), ..host(1) };
    check(&picky, with_gpu, Reason::Capabilities { missing: ["avx2".to_owned()].into() }, "lacks avx2");
    check(&plain, NodeFacts { healthy: false, ..host(1) }, Reason::Unhealthy, "not healthy");
    check(&plain, NodeFacts { draining: true, ..host(1) }, Reason::Draining, "draining");
    let old = NodeFacts { age_ms: 180_001, ..host(1) };
    check(&plain, old, Reason::Stale { age_ms: 180_001, limit_ms: 180_000 }, "180001 ms ago");
    let mut full = host(1);
    full.resources.memory_free = 5;
    check(
        &plain,
        full.clone(),
        Reason::Memory { needed: 64 << 20, free: 5 },
        "has 0 MiB of memory free, the workload's limit is 64 MiB",
    );
    full.resources = Resources { memory_free: GIB, disk_free: Some(7), ..full.resources };
    check(&plain, full, Reason::Disk { needed: 128 << 20, free: 7 }, "0 MiB of disk free, 128 MiB is the least");
}

#[test]
fn a_running_instance_needs_no_further_room() {
    let mut full = running(host(1), Phase::Ready);
    full.resources = Resources { memory_free: 0, disk_free: Some(0), ..full.resources };
    assert_eq!(names(&explained(&spec(1), vec![full])), ["n1"]);
}

#[test]
fn what_runs_stays_until_a_challenger_is_better_by_the_threshold() {
    let check = |facts: Vec<NodeFacts>, expect: &[&str], moves: usize| {
        let explanation = explained(&spec(1), facts);
        assert_eq!((names(&explanation), explanation.moves.len()), (expect.to_vec(), moves), "{explanation:#?}");
    };
    // Load weighs 0.2: a difference of 0.4 is 0.08 in score, of 0.6 is 0.12.
    check(vec![running(loaded(1, 0.4), Phase::Ready), host(2)], &["n1"], 0);
    check(vec![running(loaded(1, 0.6), Phase::Ready), host(2)], &["n2"], 1);
    check(vec![running(loaded(1, 0.6), Phase::Starting), host(2)], &["n2"], 1);
    check(vec![running(loaded(1, 0.1), Phase::Stopping), host(2)], &["n2"], 0);
    let unhealthy = NodeFacts { healthy: false, ..running(host(1), Phase::Ready) };
    check(vec![unhealthy, loaded(2, 0.9)], &["n2"], 0);
    // Of two that run where one should, every agent names the same one, however old its figures are.
    let stays = |loads: [f64; 2]| {
        let facts = [1, 2].map(|number| running(loaded(number, loads[usize::from(number) - 1]), Phase::Ready));
        explained(&spec(1), facts.to_vec()).chosen()
    };
    assert_eq!(stays([0.2, 0.0]), stays([0.0, 0.2]));
}

#[test]
fn a_host_where_it_failed_is_the_last_resort() {
    let failed = |number| running(host(number), Phase::Failed { reason: "no import `x`".to_owned() });
    assert_eq!(names(&explained(&spec(1), vec![failed(1), loaded(2, 1.0)])), ["n2"]);
    assert_eq!(names(&explained(&spec(1), vec![failed(1), running(loaded(2, 1.0), Phase::Ready)])), ["n2"]);
    assert_eq!(names(&explained(&spec(1), vec![failed(1)])), ["n1"]);
    assert_eq!(names(&explained(&spec(2), vec![failed(1), loaded(2, 1.0)])), ["n1", "n2"]);
}

#[test]
fn equal_hosts_share_many_workloads() {
    let specs: BTreeMap<WorkloadName, Spec> =
        (0..120).map(|number| (format!("w{number}").parse().unwrap(), spec(1))).collect();
    // Nearly equal: what was measured differs by less than a step of the score.
    let mesh: Mesh = (1..=4).map(|number| loaded(number, 0.001 * f64::from(number))).collect();
    let mut taken: BTreeMap<NodeId, usize> = BTreeMap::new();
    for (workload, spec) in &specs {
        for node in explain(workload, spec, &mesh, &Policy::default()).chosen() {
            *taken.entry(node).or_default() += 1;
        }
    }
    assert!(taken.len() == 4 && taken.values().all(|count| (15..=45).contains(count)), "{taken:?}");
}

#[test]
fn one_plan_does_not_promise_the_same_memory_twice() {
    let mut small = host(1);
    small.resources.memory_free = 100 << 20;
    let specs: BTreeMap<WorkloadName, Spec> = ["a", "b"].map(|name| (name.parse().unwrap(), spec(1))).into();
    let plan = plan(&specs, &[small].into_iter().collect(), &Policy::default());
    assert!(plan["a"].chooses(&id(1)));
    assert_eq!(plan["b"].rejection(&id(1)), Some(&Reason::Memory { needed: 64 << 20, free: 36 << 20 }));
    assert_eq!((plan["a"].missing(), plan["b"].missing()), (0, 1));
}

#[test]
fn nonsense_from_a_peer_gains_it_nothing() {
    let mut facts = near(loaded(2, f64::NAN), &[(1, f64::NAN), (2, 5.0), (3, -1.0), (4, f64::INFINITY)]);
    facts.resources = Resources {
        cpu_total: f64::INFINITY,
        cpu_used_share: f64::NEG_INFINITY,
        memory_total: 10,
        memory_free: u64::MAX,
        disk_free: None,
    };
    let facts = calls(facts, f64::NAN);
    let long = running(facts, Phase::Failed { reason: "ä".repeat(1_000) });
    let mesh: Mesh = [long].into_iter().collect();
    let clean = mesh.node(&id(2)).unwrap();
    assert_eq!((clean.load, clean.resources.cpu_used_share, clean.resources.memory_free), (1.0, 0.0, 10));
    assert!(clean.rtt_ms.is_empty() && clean.calls_per_s.is_empty());
    assert!(matches!(&clean.instances[&game()].phase, Phase::Failed { reason } if reason.len() == 256));
}

#[test]
fn weights_are_checked_and_brought_to_one() {
    let weights = |resource, latency, load, affinity| Weights::new(Terms { resource, latency, load, affinity });
    assert_eq!(
        *weights(3.0, 4.0, 2.0, 1.0).unwrap().terms(),
        Terms { resource: 0.3, latency: 0.4, load: 0.2, affinity: 0.1 }
    );
    assert_eq!(
        *weights(f64::MAX, f64::MAX, 0.0, 0.0).unwrap().terms(),
        Terms { resource: 0.5, latency: 0.5, load: 0.0, affinity: 0.0 }
    );
    assert_eq!(weights(0.0, 0.0, 0.0, 0.0), Err(WeightsError::AllZero));
    assert_eq!(weights(0.1, -0.2, 0.0, 0.0), Err(WeightsError::Term { term: "latency", got: -0.2 }));
    assert!(weights(f64::NAN, 0.0, 0.0, 1.0).unwrap_err().to_string().contains("`resource`"));
    assert!(weights(0.0, 0.0, 0.0, f64::INFINITY).is_err());
}

#[test]
fn the_explanation_reads_as_json() {
    let elsewhere = Spec { region: Some("eu".to_owned()), ..spec(1) };
    let here = NodeFacts { region: Some("eu".to_owned()), ..running(host(1), Phase::Ready) };
    let json = serde_json::to_value(explained(&elsewhere, vec![here, host(2)])).unwrap();
    assert_eq!(json["candidates"][0]["inputs"]["phase"], "ready");
    assert_eq!(json["candidates"][0]["chosen"], true);
    assert_eq!(json["rejected"][0]["reason"]["code"], "region");
    assert_eq!(json["rejected"][0]["message"], "is in no region, the workload asks for region eu");
    assert_eq!(json["weights"]["latency"], 0.4);
}
