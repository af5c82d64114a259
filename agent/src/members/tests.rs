use std::collections::{BTreeMap, BTreeSet};

use selvedge_sync::id::{Incarnation, NodeId};
use selvedge_sync::time::Time;

use super::*;
use crate::placement::Resources;

const ME: NodeId = NodeId([1; 32]);
const OTHER: NodeId = NodeId([2; 32]);

fn at(ms: u64) -> Time {
    Time { wall_ms: 1_000_000 + ms, mono_ms: ms }
}

pub(crate) fn record(node: NodeId, life: u64, beat: u64) -> NodeRecord {
    NodeRecord {
        node,
        life,
        beat,
        incarnation: Incarnation(1),
        name: "host".to_owned(),
        region: None,
        location: None,
        capabilities: BTreeSet::new(),
        release: "0".to_owned(),
        addresses: vec![format!("/ip4/127.0.0.1/udp/{beat}/quic-v1")],
        resources: Resources { cpu_total: 1.0, cpu_used_share: 0.0, memory_total: 1, memory_free: 1, disk_free: None },
        load: 0.0,
        healthy: true,
        draining: false,
        rtt_ms: BTreeMap::new(),
        calls_per_s: BTreeMap::new(),
        instances: BTreeMap::new(),
    }
}

#[test]
fn only_a_newer_record_counts() {
    let mut members = Members::new(ME, Vec::new(), at(0));
    let mut check = |started, beat, expect: bool| {
        assert_eq!(members.take(record(OTHER, started, beat), OTHER, at(0)), expect, "life {started}, beat {beat}");
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
    assert!(members.take(record(ME, 1, 1), ME, at(0)));
    assert!(!members.take(record(ME, 2, 1), OTHER, at(0)));
}

#[test]
fn silence_makes_suspect_then_lost_then_forgotten() {
    let mut members = Members::new(ME, Vec::new(), at(0));
    members.take(record(ME, 1, 1), ME, at(0));
    members.take(record(OTHER, 1, 1), OTHER, at(0));
    let status = |members: &Members, ms| members.get(&OTHER, at(ms)).map(|member| member.status);
    assert_eq!(status(&members, 4_999), Some(Status::Alive));
    assert_eq!(status(&members, 5_000), Some(Status::Suspect));
    assert_eq!(status(&members, 10_000), Some(Status::Lost));
    assert_eq!(members.get(&ME, at(99_999)).map(|member| member.status), Some(Status::Alive));
    members.retire(60_000, at(60_000));
    assert_eq!(status(&members, 60_000), None);
    assert!(members.get(&ME, at(60_000)).is_some());
}

#[test]
fn places_survive_a_restart_and_the_member_counts_as_lost_until_heard() {
    let mut members = Members::new(ME, Vec::new(), at(0));
    members.take(record(OTHER, 1, 7), OTHER, at(0));
    let mut restarted = Members::new(ME, members.remember(), at(0));
    assert_eq!(restarted.others(), BTreeSet::from([OTHER]));
    assert_eq!(restarted.get(&OTHER, at(5)).map(|member| member.status), Some(Status::Lost));
    assert!(restarted.take(record(OTHER, 1, 8), OTHER, at(6)));
    assert_eq!(restarted.get(&OTHER, at(6)).map(|member| member.status), Some(Status::Alive));
}

#[test]
fn a_record_that_breaks_its_bounds_is_not_taken() {
    let mut members = Members::new(ME, Vec::new(), at(0));
    let huge = NodeRecord { name: "x".repeat(256), ..record(OTHER, 1, 1) };
    assert!(!members.take(huge, OTHER, at(0)));
}

#[test]
fn who_was_put_out_is_gone_and_stays_gone() {
    let (other, now) = (NodeId([2; 32]), at(0));
    let mut members = Members::new(ME, Vec::new(), now);
    assert!(members.take(record(other, 1, 1), other, now));
    members.put_out(other);
    assert!(!members.take(record(other, 2, 1), NodeId([3; 32]), now), "whoever says it");
    assert!(members.others().is_empty() && members.get(&other, now).is_none());
    members.put_out(ME);
    assert!(members.take(record(ME, 1, 1), ME, now), "nobody puts itself out");
}
