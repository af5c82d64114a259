use std::collections::{BTreeMap, BTreeSet};

use selvedge_sync::id::{Incarnation, NodeId};
use selvedge_sync::time::Time;

use ed25519_dalek::SigningKey;

use super::*;
use crate::placement::Resources;

const ME: NodeId = NodeId([1; 32]);
const OTHER: NodeId = NodeId([2; 32]);

pub(crate) fn at(ms: u64) -> Time {
    Time { wall_ms: 1_000_000 + ms, mono_ms: ms }
}

pub(crate) fn record(node: NodeId, life: u64, beat: u64) -> NodeRecord {
    NodeRecord {
        node,
        life,
        beat,
        round: 0,
        incarnation: Incarnation(1),
        name: "host".to_owned(),
        region: None,
        location: None,
        capabilities: BTreeSet::new(),
        labels: BTreeMap::new(),
        release: "0".to_owned(),
        addresses: vec![format!("/ip4/127.0.0.1/udp/{beat}/quic-v1")],
        resources: Resources { cpu_total: 1.0, cpu_used_share: 0.0, memory_total: 1, memory_free: 1, disk_free: None },
        load: 0.0,
        healthy: true,
        ailment: None,
        draining: false,
        draining_since_ms: None,
        left: false,
        twins: BTreeSet::new(),
        rtt_ms: BTreeMap::new(),
        calls_per_s: BTreeMap::new(),
        instances: BTreeMap::new(),
        parting: false,
        overloaded: BTreeSet::new(),
        origins: BTreeMap::new(),
        rollouts: BTreeMap::new(),
        tells_rollouts: true,
    }
}

/// A record as it arrives, once its signature was found to be good.
pub(crate) fn sealed(record: NodeRecord) -> (NodeRecord, Sealed) {
    let sealed = Sealed::seal(&record, &SigningKey::from_bytes(&[9; 32]));
    (record, sealed)
}

fn status(members: &Members, node: NodeId) -> Option<Status> {
    members.get(&node, at(0)).map(|member| member.status)
}

#[test]
fn only_a_newer_record_counts() {
    let mut members = Members::new(ME, Vec::new(), at(0));
    let mut check = |life, beat, expect: bool| {
        assert_eq!(members.take(sealed(record(OTHER, life, beat)), 0, at(0)), expect, "life {life}, beat {beat}");
    };
    check(10, 5, true);
    check(10, 5, false);
    check(10, 4, false);
    check(10, 6, true);
    check(9, 99, false);
    check(11, 1, true);
}

#[test]
fn nobody_else_describes_us() {
    let mut members = Members::new(ME, Vec::new(), at(0));
    members.take_own(record(ME, 1, 1), None, at(0));
    assert!(!members.take(sealed(record(ME, 2, 1)), 0, at(0)));
}

#[test]
fn only_its_own_key_signs_a_record() {
    let key = SigningKey::from_bytes(&[3; 32]);
    let own = NodeId(key.verifying_key().to_bytes());
    let sealed = Sealed::seal(&record(own, 1, 1), &key);
    let read = sealed.peek().expect("is read");
    assert!(sealed.verify(&read).is_ok());
    let forged = Sealed::seal(&record(OTHER, 1, 1), &key);
    let read = forged.peek().expect("is read");
    assert!(matches!(forged.verify(&read), Err(sealed::Unsound::Forged)));
    let huge = Sealed::seal(&NodeRecord { name: "x".repeat(256), ..record(own, 1, 1) }, &key);
    assert!(matches!(huge.peek(), Err(sealed::Unsound::Unbounded)));
}

#[test]
fn who_is_there_is_for_failure_detection_to_say() {
    let mut members = Members::new(ME, Vec::new(), at(0));
    members.take_own(record(ME, 1, 1), None, at(0));
    assert!(members.take(sealed(record(OTHER, 1, 1)), 0, at(0)));
    assert_eq!(status(&members, OTHER), Some(Status::Lost), "others know it, and nobody has heard it");
    for (standing, expect) in
        [(Standing::Alive, Status::Alive), (Standing::Suspect, Status::Suspect), (Standing::Lost, Status::Lost)]
    {
        assert!(members.judge([(OTHER, standing)].into_iter(), at(100)));
        assert!(!members.judge([(OTHER, standing)].into_iter(), at(100)), "said once");
        assert_eq!(status(&members, OTHER), Some(expect));
        assert_eq!(
            members.mesh(at(100)).nodes().any(|node| node.node == OTHER && node.healthy),
            expect != Status::Lost
        );
    }
    assert_eq!(status(&members, ME), Some(Status::Alive));
    members.retire(60_000, at(60_099));
    assert!(members.get(&OTHER, at(0)).is_some(), "it was there until 100");
    members.retire(60_000, at(60_100));
    assert!(members.get(&OTHER, at(0)).is_none() && members.get(&ME, at(0)).is_some());
}

#[test]
fn a_record_is_as_old_as_those_say_who_passed_it_on() {
    let mut members = Members::new(ME, Vec::new(), at(0));
    assert!(members.take(sealed(record(OTHER, 1, 1)), 4_000, at(10_000)));
    assert_eq!(members.get(&OTHER, at(11_000)).map(|member| member.age_ms), Some(5_000));
    assert_eq!(members.sealed(&OTHER, at(12_000)).map(|(age_ms, _)| age_ms), Some(6_000));
}

#[test]
fn who_has_left_is_awaited_by_nobody_until_it_is_started_again() {
    let mut members = Members::new(ME, Vec::new(), at(0));
    assert!(members.take(sealed(record(OTHER, 1, 1)), 0, at(0)));
    members.judge([(OTHER, Standing::Alive)].into_iter(), at(0));
    assert_eq!(members.others(), BTreeSet::from([OTHER]));
    assert!(members.take(sealed(NodeRecord { left: true, ..record(OTHER, 1, 2) }), 0, at(1)));
    members.judge([(OTHER, Standing::Lost)].into_iter(), at(5));
    assert_eq!(status(&members, OTHER), Some(Status::Left));
    assert!(members.others().is_empty() && members.remember().is_empty());
    assert!(members.take(sealed(record(OTHER, 2, 1)), 0, at(9)));
    members.judge([(OTHER, Standing::Alive)].into_iter(), at(9));
    assert_eq!(status(&members, OTHER), Some(Status::Alive));
    assert_eq!(members.others(), BTreeSet::from([OTHER]));
}

#[test]
fn addresses_of_one_member_are_united_the_newest_first() {
    let mut members = Members::new(ME, Vec::new(), at(0));
    let found = |beat, addresses: &[&str]| {
        let addresses = addresses.iter().map(ToString::to_string).collect();
        sealed(NodeRecord { addresses, ..record(OTHER, 1, beat) })
    };
    assert!(members.take(found(1, &["a", "b"]), 0, at(0)));
    assert!(members.take(found(2, &["c", "b"]), 0, at(0)));
    assert_eq!(members.addresses(&OTHER), ["c", "b", "a"]);
    let many: Vec<String> = (0..20).map(|number| number.to_string()).collect();
    assert!(members.take(found(3, &many.iter().map(String::as_str).collect::<Vec<_>>()), 0, at(0)));
    assert_eq!(members.addresses(&OTHER).len(), ADDRESSES_MAX);
}

#[test]
fn whoever_hears_a_key_twice_names_it() {
    let mut members = Members::new(ME, Vec::new(), at(0));
    let twins = BTreeSet::from([ME]);
    assert!(members.take(sealed(NodeRecord { twins, ..record(OTHER, 1, 1) }), 0, at(0)));
    members.judge([(OTHER, Standing::Alive)].into_iter(), at(0));
    members.found_twins(BTreeSet::from([OTHER]));
    let expect = [Twin { node: ME, heard_by: OTHER }, Twin { node: OTHER, heard_by: ME }];
    assert_eq!(members.twins(), expect.into());
}

#[test]
fn places_survive_a_restart_and_the_member_counts_as_lost_until_heard() {
    let mut members = Members::new(ME, Vec::new(), at(0));
    members.take(sealed(record(OTHER, 1, 7)), 0, at(0));
    let mut restarted = Members::new(ME, members.remember(), at(0));
    assert_eq!(restarted.others(), BTreeSet::from([OTHER]));
    assert_eq!(status(&restarted, OTHER), Some(Status::Lost));
    assert!(restarted.take(sealed(record(OTHER, 1, 8)), 0, at(6)));
    restarted.judge([(OTHER, Standing::Alive)].into_iter(), at(6));
    assert_eq!(status(&restarted, OTHER), Some(Status::Alive));
}

#[test]
fn who_was_put_out_is_gone_and_stays_gone() {
    let (other, now) = (NodeId([2; 32]), at(0));
    let mut members = Members::new(ME, Vec::new(), now);
    assert!(members.take(sealed(record(other, 1, 1)), 0, now));
    members.put_out(other);
    assert!(!members.take(sealed(record(other, 2, 1)), 0, now), "whoever says it");
    assert!(members.others().is_empty() && members.get(&other, now).is_none());
    members.put_out(ME);
    members.take_own(record(ME, 1, 1), None, now);
    assert!(members.get(&ME, now).is_some(), "nobody puts itself out");
}

#[test]
fn those_who_are_only_remembered_are_unheard_until_something_is_known_of_them() {
    let remembered = |node| Remembered { node, addresses: Vec::new() };
    let (third, fourth) = (NodeId([3; 32]), NodeId([4; 32]));
    let mut members = Members::new(ME, [OTHER, third, fourth].map(remembered).into(), at(0));
    members.take_own(record(ME, 1, 1), None, at(0));
    assert_eq!(members.unheard(), 3);
    members.take(sealed(record(OTHER, 1, 1)), 0, at(0));
    assert_eq!(members.unheard(), 3, "others know it, and whether it lives is not known");
    members.judge([(OTHER, Standing::Alive)].into_iter(), at(0));
    assert_eq!(members.unheard(), 2);
    members.take(sealed(record(third, 1, 1)), 0, at(0));
    members.judge([(third, Standing::Lost)].into_iter(), at(0));
    assert_eq!(members.unheard(), 1);
    members.take(sealed(NodeRecord { left: true, ..record(fourth, 1, 1) }), 0, at(0));
    assert_eq!(members.unheard(), 0);
}

/// Four hosts that hear each other at once, and whose figures waver by less than is worth telling.
#[test]
fn all_plan_alike_though_each_measures_itself_all_the_time() {
    const HOSTS: u8 = 4;
    let id = |number| NodeId([number; 32]);
    let measured = |number: u8, at_ms: u64| {
        let mut own = record(id(number), 1, 0);
        // Each has grown idler, or busier, since it was heard; the others' round trips have been measured since.
        own.load = if at_ms == 0 { 0.5 } else { 0.45 + f64::from(number % 2) * 0.1 };
        own.resources.memory_total = 1 << 30;
        own.resources.memory_free = 1 << 30;
        let others = (1..=HOSTS).filter(|other| *other != number && at_ms > 0);
        own.rtt_ms = others.map(|other| (id(other), 0.5)).collect();
        own
    };
    let mut tables: Vec<(Members, Announcer)> =
        (1..=HOSTS).map(|number| (Members::new(id(number), Vec::new(), at(0)), Announcer::default())).collect();
    let specs =
        BTreeMap::from([("combat".parse().expect("a name"), crate::spec::Spec::new(crate::spec::Digest([1; 32])))]);
    for now in [at(0), at(1_000)] {
        let mut news = Vec::new();
        for ((members, announcer), number) in tables.iter_mut().zip(1..) {
            let own = measured(number, now.mono_ms);
            let told = announcer.decide(&own, usize::from(HOSTS), now.mono_ms).map(sealed);
            members.take_own(own, told.clone(), now);
            news.extend(told);
        }
        let plans = tables.iter_mut().map(|(members, _)| {
            for told in &news {
                members.take(told.clone(), 0, now);
            }
            members.judge((1..=HOSTS).map(|number| (id(number), Standing::Alive)), now);
            let plan = crate::placement::plan(&specs, &members.mesh(now), &crate::placement::Policy::default());
            plan.into_values().map(|explanation| explanation.chosen()).collect::<Vec<_>>()
        });
        let plans: BTreeSet<_> = plans.collect();
        assert_eq!(plans.len(), 1, "at {}: {plans:?}", now.mono_ms);
        assert_eq!(plans.first().map(|chosen| chosen[0].len()), Some(1));
    }
}
