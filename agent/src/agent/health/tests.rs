use selvedge_sync::id::{Incarnation, ReplicaId};

use super::*;

const fn node(number: u8) -> NodeId {
    NodeId([number; 32])
}

#[test]
fn a_disk_is_told_of_before_it_is_full() {
    assert_eq!(disk_low(DISK_LOW_BYTES), None);
    let told = disk_low(DISK_LOW_BYTES - 1);
    assert!(told.is_some_and(|told| told.contains("has 31 MiB left, less than 32:")));
}

#[test]
fn members_that_write_what_is_not_known_here_are_named_or_counted() {
    assert_eq!(cannot_read(&[]), None);
    let told = |count: usize| cannot_read(&["a", "b", "c", "d", "e"].map(str::to_owned)[..count]).unwrap_or_default();
    assert!(told(1).starts_with("commits of a are of a later release"), "{}", told(1));
    assert!(told(5).starts_with("commits of a and b and c and 2 more are of a later release"), "{}", told(5));
}

#[test]
fn members_that_do_not_answer_are_named_and_not_all_of_them() {
    assert_eq!(silent(5, &[]), None);
    let members: Vec<_> = (1..=5).map(|number| (format!("host-{number}"), Status::Suspect)).collect();
    let told = silent(9, &members[..1]);
    assert_eq!(told.as_deref(), Some("1 of 9 members do not answer: host-1 (suspect); `selvedge nodes` shows all"));
    let told = silent(9, &members).expect("some");
    assert!(told.starts_with("5 of 9 members do not answer: host-1 (suspect), "), "{told}");
    assert!(told.contains("host-3 (suspect), 2 more;"), "{told}");
}

#[test]
fn that_nobody_can_invite_is_noted_after_a_while() {
    let away = |name: &str, is_there, silent_ms| Away { name: name.to_owned(), is_there, silent_ms };
    let check = |known: &[Away], up_ms, expect: Option<&str>| {
        let told = authority_away(known, up_ms);
        assert_eq!(told.is_some(), expect.is_some(), "{told:?}");
        assert!(told.unwrap_or_default().contains(expect.unwrap_or_default()));
    };
    let hour = AUTHORITY_AWAY_MS;
    check(&[away("a", true, 0)], 9 * hour, None);
    check(&[away("a", false, hour - 1)], 9 * hour, None);
    check(&[away("a", false, 2 * hour), away("b", true, 0)], 9 * hour, None);
    check(&[away("a", false, 2 * hour), away("b", false, 3 * hour)], 9 * hour, Some("for 2h (a, b)"));
    check(&[], hour - 1, None);
    check(&[], hour, Some("not been seen since this agent started"));
}

#[test]
fn a_copied_key_is_told_once_however_many_have_heard_it() {
    let called = |node: NodeId| format!("host-{}", node.0[0]);
    let told = two_live_hosts(node(1), &[node(2), node(3), node(4), node(5), node(6)], node(9), called);
    assert!(told.contains("the key of host-1, heard by host-2 and host-3 and host-4 and 2 more:"), "{told}");
    let told = two_live_hosts(node(1), &[node(2)], node(2), called);
    assert!(told.contains("the key of host-1, heard by this host:"), "{told}");
}

#[test]
fn of_many_that_are_wrong_in_one_way_a_few_are_told_and_the_rest_counted() {
    let nodes = || (1..=40).map(node);
    let dots = nodes().map(|node| Dot { replica: ReplicaId { node, incarnation: Incarnation(1) }, seq: 7 });
    let told = past(&Past { twice_named: dots.collect(), ..Past::default() });
    assert_eq!((told.len(), told[3].as_str()), (4, "37 more numbers stand for two commits each"));
    let told = two_holders(nodes().collect(), node(40));
    assert_eq!((told.len(), told[3].as_str()), (4, "two processes each have shown the keys of 37 more nodes"));
    assert!(told[0].starts_with("another process runs with this node's key"), "{}", told[0]);
    let addresses: Vec<String> = (1..=40).map(|host| format!("host-{host}:7412")).collect();
    let told = unreached(&addresses).unwrap_or_default();
    assert!(told.contains("host-1:7412, host-2:7412, host-3:7412, 37 more or elsewhere"), "{told}");
    assert_eq!(unreached(&[]), None);
}

#[test]
fn the_earlier_process_of_a_copied_key_is_told_to_start_again() {
    let told = two_live_hosts(node(1), &[node(1), node(2)], node(1), |node| node.to_string());
    assert!(told.starts_with("a process that was started later than this one has this host's key"), "{told}");
    assert!(told.ends_with("then restart this agent"), "{told}");
}
