//! Scenarios: a few hosts, each deciding for itself over simulated seconds.

use super::*;
use crate::placement::{Policy, Resources, Stage, plan};
use crate::spec::{Partition, Spec, Spread};

mod absent;
mod cuts;
mod draining;

const OLD: Digest = Digest([1; 32]);
const NEW: Digest = Digest([2; 32]);

fn id(number: u8) -> NodeId {
    NodeId([number; 32])
}

fn game() -> WorkloadName {
    "combat".parse().unwrap()
}

fn start(digest: Digest) -> Vec<Step> {
    vec![Step::Start { workload: game(), digest }]
}

fn stop() -> Vec<Step> {
    vec![Step::Stop { workload: game() }]
}

fn drain() -> Vec<Step> {
    vec![Step::Drain { workload: game() }]
}

fn failed() -> Phase {
    Phase::Failed { reason: "no import `x`".to_owned() }
}

/// Hosts `1..=n` with a reconciler each, one spec, and a clock. All hosts see the same facts at once.
struct Cluster {
    now_ms: u64,
    unheard: usize,
    held: BTreeSet<WorkloadName>,
    spec: Option<Spec>,
    facts: BTreeMap<NodeId, NodeFacts>,
    reconcilers: BTreeMap<NodeId, Reconciler>,
}

impl Cluster {
    fn new(hosts: u8, replicas: u16) -> Self {
        let resources = Resources {
            cpu_total: 4.0,
            cpu_used_share: 0.0,
            memory_total: 1 << 30,
            memory_free: 1 << 30,
            disk_free: None,
        };
        let ids = || (1..=hosts).map(id);
        Self {
            now_ms: 0,
            unheard: 0,
            held: BTreeSet::new(),
            spec: Some(Spec { spread: Spread::Replicas(replicas), ..Spec::new(OLD) }),
            facts: ids().map(|node| (node, NodeFacts::new(node, "host", resources))).collect(),
            reconcilers: ids().map(|node| (node, Reconciler::default())).collect(),
        }
    }

    fn host(&mut self, number: u8) -> &mut NodeFacts {
        self.facts.get_mut(&id(number)).unwrap()
    }

    /// Has a host be lost to all others, or come back.
    fn lose(&mut self, number: u8, is_lost: bool) {
        let host = self.host(number);
        (host.healthy, host.lost_ms) = (!is_lost, is_lost.then_some(0));
    }

    fn put(&mut self, number: u8, digest: Digest, phase: Phase) {
        self.host(number).instances.insert(game(), Instance::new(digest, phase));
    }

    /// What one host decides now, from what everybody knows.
    fn decide(&mut self, number: u8) -> Vec<Step> {
        let mut mesh: Mesh = self.facts.values().cloned().collect();
        mesh.pass_over(&self.reconcilers[&id(number)].passed_over());
        let specs = self.spec.iter().map(|spec| (game(), spec.clone())).collect();
        let plan = plan(&specs, &mesh, &Policy::default());
        let here = &self.facts[&id(number)].instances;
        let (unheard, held) = (self.unheard, &self.held);
        let inputs = Inputs { me: id(number), plan: &plan, here, mesh: &mesh, unheard, held };
        self.reconcilers.get_mut(&id(number)).unwrap().decide(&inputs, self.now_ms)
    }

    /// The workload's start has begun on a host.
    fn began(&mut self, number: u8) {
        self.reconcilers.get_mut(&id(number)).unwrap().began(&game());
    }

    fn waiting(&self, number: u8) -> Option<&Waiting> {
        self.reconcilers[&id(number)].waiting().get(&game())
    }

    /// Lets a second pass at a time, in which each host decides and every step succeeds at once.
    fn run(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.now_ms += 1_000;
            for number in 1..=u8::try_from(self.facts.len()).unwrap() {
                for step in self.decide(number) {
                    match step {
                        Step::Start { digest, .. } => {
                            self.began(number);
                            self.put(number, digest, Phase::Ready);
                        }
                        Step::Drain { .. } => self.put(number, OLD, Phase::Stopping),
                        Step::Stop { workload } => {
                            self.host(number).instances.remove(&workload);
                        }
                    }
                }
            }
            let allowed = self.spec.is_none() || !self.running().is_empty();
            assert!(allowed, "nothing runs at {} ms", self.now_ms);
        }
    }

    fn running(&self) -> Vec<u8> {
        self.facts.values().filter(|facts| facts.instances.contains_key(&game())).map(|facts| facts.node.0[0]).collect()
    }
}

#[test]
fn a_missing_instance_is_started_at_once_and_only_by_the_chosen() {
    let mut cluster = Cluster::new(2, 1);
    cluster.host(2).load = 0.5;
    assert_eq!(cluster.decide(1), start(OLD));
    assert_eq!(cluster.decide(1), start(OLD), "a step is repeated until it shows");
    assert_eq!(cluster.decide(2), []);
    cluster.put(1, OLD, Phase::Starting);
    assert_eq!(cluster.decide(1), []);
}

#[test]
fn who_has_not_heard_the_others_yet_starts_nothing_for_a_while() {
    let mut cluster = Cluster::new(1, 1);
    cluster.now_ms = 77_000;
    cluster.unheard = 2;
    assert_eq!(cluster.decide(1), []);
    assert_eq!(cluster.waiting(1), Some(&Waiting::Hearing { unheard: 2, remaining_ms: HEARING_MS }));
    cluster.unheard = 0;
    assert_eq!(cluster.decide(1), start(OLD));
    cluster.unheard = 1;
    cluster.now_ms += HEARING_MS;
    assert_eq!(cluster.decide(1), start(OLD), "the dead are not waited for");
}

#[test]
fn a_better_host_takes_over_after_the_dwell_and_runs_before_the_old_one_stops() {
    let mut cluster = Cluster::new(2, 1);
    cluster.put(1, OLD, Phase::Ready);
    cluster.host(1).load = 0.8;
    cluster.run(30);
    assert_eq!(cluster.running(), [1]);
    assert!(matches!(cluster.waiting(2), Some(Waiting::Dwelling { from, remaining_ms: 1_000, .. }) if *from == id(1)));

    cluster.now_ms += 1_000;
    assert_eq!(cluster.decide(2), start(OLD));
    cluster.put(2, OLD, Phase::Starting);
    cluster.now_ms += 60_000;
    assert_eq!(cluster.decide(1), []);
    assert_eq!(cluster.waiting(1), Some(&Waiting::Replacements { ready: 0, required: 1 }));
    cluster.put(2, OLD, Phase::Ready);
    assert_eq!(cluster.decide(1), drain(), "at once: from now on only one of them is asked");
    cluster.put(1, OLD, Phase::Stopping);
    assert_eq!(cluster.decide(1), []);
    assert_eq!(cluster.waiting(1), Some(&Waiting::Draining { remaining_ms: 5_000 }));
    cluster.now_ms += 5_000;
    assert_eq!(cluster.decide(1), stop());
}

#[test]
fn a_lead_that_does_not_last_moves_nothing() {
    let mut cluster = Cluster::new(2, 1);
    cluster.put(1, OLD, Phase::Ready);
    for _ in 0..10 {
        cluster.host(1).load = 0.9;
        cluster.run(29);
        cluster.host(1).load = 0.1;
        cluster.run(1);
    }
    assert_eq!(cluster.running(), [1]);
}

#[test]
fn a_dead_host_is_replaced_without_dwell() {
    let mut cluster = Cluster::new(3, 2);
    cluster.run(1);
    let dead = cluster.running()[0];
    cluster.host(dead).healthy = false;
    let spare = (1..=3).find(|number| !cluster.running().contains(number)).unwrap();
    assert_eq!(cluster.decide(spare), start(OLD));
}

#[test]
fn a_drained_host_hands_over_first() {
    let mut cluster = Cluster::new(2, 1);
    cluster.put(1, OLD, Phase::Ready);
    cluster.host(1).draining = true;
    assert_eq!(cluster.decide(1), []);
    assert_eq!(cluster.waiting(1), Some(&Waiting::Replacements { ready: 0, required: 1 }));
    cluster.run(10);
    assert_eq!(cluster.running(), [2]);
}

#[test]
fn a_lone_instance_is_kept_where_nobody_else_can_run_it_unless_the_spec_forbids_it() {
    let mut cluster = Cluster::new(1, 1);
    cluster.put(1, OLD, Phase::Ready);
    cluster.host(1).healthy = false;
    cluster.run(100);
    assert_eq!(cluster.running(), [1]);
    cluster.spec = Some(Spec { region: Some("eu".to_owned()), ..Spec::new(OLD) });
    assert_eq!(cluster.decide(1), drain());
    cluster.put(1, OLD, Phase::Stopping);
    assert_eq!(cluster.decide(1), []);
    cluster.now_ms += DRAIN_MS;
    assert_eq!(cluster.decide(1), stop());
}

#[test]
fn two_that_started_at_once_end_as_one() {
    let mut cluster = Cluster::new(3, 1);
    cluster.put(1, OLD, Phase::Ready);
    cluster.put(3, OLD, Phase::Ready);
    cluster.run(10);
    assert_eq!(cluster.running().len(), 1);
}

#[test]
fn of_a_surplus_as_many_wait_for_a_host_that_has_not_begun_as_are_missing() {
    let mut cluster = Cluster::new(4, 1);
    for number in 1..=3 {
        cluster.put(number, OLD, Phase::Ready);
        cluster.host(number).load = 0.9;
    }
    assert_eq!(cluster.decide(4), [], "it is to take over, and dwells");
    assert_eq!([1, 2, 3].map(|number| cluster.decide(number)), [vec![], drain(), drain()]);
    assert_eq!(cluster.waiting(1), Some(&Waiting::Replacements { ready: 0, required: 1 }));
    // A host that is lost serves nobody, and one that is being emptied goes before the sound.
    cluster.host(2).draining = true;
    assert_eq!(cluster.decide(2), drain());
    cluster.lose(1, true);
    assert_eq!([2, 3].map(|number| cluster.decide(number)), [drain(), vec![]]);
    cluster.lose(1, false);
    cluster.put(1, OLD, Phase::Stopping);
    cluster.put(3, OLD, Phase::Stopping);
    assert_eq!(
        [1, 3].map(|number| cluster.decide(number)),
        [vec![], vec![]],
        "the second serves until the fourth does"
    );
    cluster.put(2, OLD, Phase::Stopping);
    assert_eq!(cluster.decide(3), start(OLD), "nobody else serves");
}

#[test]
fn fewer_replicas_stop_the_surplus_and_more_start_it() {
    let mut cluster = Cluster::new(4, 3);
    cluster.run(1);
    assert_eq!(cluster.running().len(), 3);
    cluster.spec = Some(Spec { spread: Spread::Replicas(1), ..Spec::new(OLD) });
    cluster.run(10);
    assert_eq!(cluster.running().len(), 1);
    cluster.spec = Some(Spec { spread: Spread::Everywhere, ..Spec::new(OLD) });
    cluster.run(1);
    assert_eq!(cluster.running().len(), 4);
}

#[test]
fn an_undeployed_workload_stops_whatever_its_phase() {
    for (phase, expect) in
        [(Phase::Starting, stop()), (Phase::Ready, stop()), (failed(), stop()), (Phase::Stopping, stop())]
    {
        let mut cluster = Cluster::new(1, 1);
        cluster.put(1, OLD, phase);
        cluster.spec = None;
        assert_eq!(cluster.decide(1), expect);
    }
}

#[test]
fn a_new_digest_replaces_the_old_one() {
    let mut cluster = Cluster::new(1, 1);
    cluster.put(1, OLD, Phase::Ready);
    cluster.spec = Some(Spec::new(NEW));
    assert_eq!(cluster.decide(1), start(NEW));
    cluster.put(1, NEW, Phase::Starting);
    assert_eq!(cluster.decide(1), []);
}

#[test]
fn failures_back_off_up_to_a_cap_and_say_why() {
    let mut cluster = Cluster::new(1, 1);
    let mut waits_s = Vec::new();
    assert_eq!(cluster.decide(1), start(OLD));
    for failures in 1..=11 {
        cluster.put(1, OLD, failed());
        let mut steps = cluster.decide(1);
        let expect = Waiting::BackingOff {
            failures,
            reason: "no import `x`".to_owned(),
            remaining_ms: BACKOFF_MAX_MS.min(BACKOFF_MIN_MS << (failures - 1)),
        };
        assert_eq!(cluster.waiting(1), Some(&expect));
        let failed_at_ms = cluster.now_ms;
        while steps.is_empty() {
            cluster.now_ms += 1_000;
            steps = cluster.decide(1);
        }
        assert_eq!(steps, start(OLD));
        cluster.began(1);
        waits_s.push((cluster.now_ms - failed_at_ms) / 1_000);
    }
    assert_eq!(waits_s, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
}

#[test]
fn a_start_that_there_was_no_room_for_is_no_failure() {
    let mut cluster = Cluster::new(1, 1);
    cluster.put(1, OLD, failed());
    assert_eq!(cluster.decide(1), []);
    cluster.now_ms += BACKOFF_MIN_MS;
    for _ in 0..20 {
        assert_eq!(cluster.decide(1), start(OLD));
        cluster.now_ms += 500;
    }
    cluster.began(1);
    assert_eq!(cluster.decide(1), []);
    assert!(matches!(cluster.waiting(1), Some(Waiting::BackingOff { failures: 2, .. })));
}

#[test]
fn a_new_digest_or_a_minute_of_health_clears_the_record() {
    let mut cluster = Cluster::new(1, 1);
    cluster.put(1, OLD, failed());
    assert_eq!(cluster.decide(1), []);
    cluster.spec = Some(Spec::new(NEW));
    assert_eq!(cluster.decide(1), start(NEW));

    let failures = |cluster: &Cluster| match cluster.waiting(1) {
        Some(Waiting::BackingOff { failures, .. }) => *failures,
        other => panic!("expected a back-off, got {other:?}"),
    };
    cluster.put(1, NEW, failed());
    assert_eq!(cluster.decide(1), []);
    cluster.run(10);
    cluster.put(1, NEW, failed());
    assert_eq!(cluster.decide(1), []);
    assert_eq!(failures(&cluster), 2, "ten seconds of health are not enough");
    cluster.run(70);
    cluster.put(1, NEW, failed());
    assert_eq!(cluster.decide(1), []);
    assert_eq!(failures(&cluster), 1);
}

#[test]
fn a_failure_of_another_digest_is_counted_though_nobody_started_it_here() {
    let mut cluster = Cluster::new(1, 1);
    cluster.put(1, OLD, failed());
    assert_eq!(cluster.decide(1), []);
    cluster.spec = Some(Spec::new(NEW));
    cluster.put(1, NEW, failed());
    assert_eq!(cluster.decide(1), []);
    assert!(matches!(cluster.waiting(1), Some(Waiting::BackingOff { failures: 1, .. })));
}

#[test]
fn a_workload_that_fails_on_its_host_is_tried_elsewhere_and_not_brought_straight_back() {
    let mut cluster = Cluster::new(2, 1);
    cluster.host(2).load = 1.0;
    cluster.put(1, OLD, failed());
    assert_eq!(cluster.decide(1), []);
    assert_eq!(cluster.decide(2), start(OLD));
    cluster.put(2, OLD, Phase::Ready);
    assert_eq!(cluster.decide(1), []);
    assert!(matches!(cluster.waiting(1), Some(Waiting::Remembering { remaining_ms: BACKOFF_MAX_MS, .. })));
    cluster.now_ms += BACKOFF_MAX_MS;
    assert_eq!(cluster.decide(1), stop());
}

#[test]
fn nothing_is_remembered_of_workloads_that_are_gone() {
    let mut cluster = Cluster::new(1, 1);
    cluster.run(5);
    cluster.spec = None;
    cluster.run(2);
    assert!(cluster.reconcilers[&id(1)].memories.is_empty());
}

#[test]
fn what_drains_is_taken_back_when_its_replacement_is_lost_or_it_is_wanted_again() {
    let mut cluster = Cluster::new(2, 1);
    cluster.put(1, OLD, Phase::Stopping);
    cluster.put(2, OLD, Phase::Ready);
    cluster.host(1).load = 0.9;
    assert_eq!(cluster.decide(1), []);
    cluster.put(2, OLD, failed());
    assert_eq!(cluster.decide(1), start(OLD));

    let mut cluster = Cluster::new(2, 1);
    cluster.put(1, OLD, Phase::Stopping);
    cluster.host(2).load = 0.9;
    assert_eq!(cluster.decide(1), start(OLD), "it is the better host after all");
}

#[test]
fn two_that_ran_on_both_sides_of_a_cut_serve_together_for_one_round_only() {
    let mut cluster = Cluster::new(2, 1);
    cluster.put(1, OLD, Phase::Ready);
    cluster.put(2, OLD, Phase::Ready);
    cluster.run(1);
    let serving = cluster.facts.values().filter(|facts| facts.instances[&game()].phase == Phase::Ready).count();
    assert_eq!(serving, 1);
}

#[test]
fn what_can_never_start_is_given_up_until_something_else_is_to_run() {
    let mut cluster = Cluster::new(1, 1);
    let failed = Instance { permanent: true, ..Instance::new(OLD, failed()) };
    cluster.host(1).instances.insert(game(), failed);
    for _ in 0..3 {
        assert_eq!(cluster.decide(1), []);
        assert_eq!(cluster.waiting(1), Some(&Waiting::GivenUp { reason: "no import `x`".to_owned() }));
        cluster.now_ms += BACKOFF_MAX_MS;
    }
    cluster.spec = Some(Spec::new(NEW));
    assert_eq!(cluster.decide(1), start(NEW));
}
