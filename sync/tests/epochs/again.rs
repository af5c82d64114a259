//! What is found out about a stream of our own, and what is made again of it: exactly what nobody else has, whole, and once.

use selvedge_sync::commit::CommitBytes;
use selvedge_sync::id::Dot;
use selvedge_sync::limits::COUNTER_TOTAL_MAX;
use selvedge_sync::replica::{Message, Tip};

use super::*;

/// A disk that has nothing but what `log` wrote in an earlier life, which perhaps nobody has.
pub(super) fn with_orphans(incarnation: u64, doubtful: Vec<Batch>) -> Disk {
    let mut disk = Disk { incarnation, ..Disk::default() };
    disk.recovery.orphans = Orphans { doubtful, ..Orphans::default() };
    disk
}

pub(super) fn own_log(mesh: &Mesh, index: usize) -> Vec<CommitBytes> {
    let own = Stream::global(mesh.replica(index).me());
    let batches = mesh.disks[index].recovery.log.iter().filter(|batch| batch.stream == own);
    batches.flat_map(|batch| batch.commits.clone()).collect()
}

pub(super) fn meet(mesh: &mut Mesh, some: &[usize]) {
    mesh.members(some, some);
    mesh.connect(some);
}

#[test]
fn what_is_in_doubt_is_said_before_it_is_written() {
    let mut mesh = acquainted();
    assert_eq!(mesh.disks[1].recovery.orphans.unconfirmed_after, None, "others know what was written");
    mesh.restart(1, None);
    let now = mesh.time();
    let changes = vec![(key("gcounter/kills"), Change::Increment(1))];
    let commit = Input::Commit { ticket: 0, changes, request: None };
    let outputs = mesh.nodes[1].as_mut().expect("runs").handle(commit, now);
    let says = |output: &Output| match output {
        Output::Checkpoint { checkpoint, .. } => checkpoint.orphans.as_ref()?.unconfirmed_after,
        _ => None,
    };
    let said = outputs.iter().position(|output| says(output) == Some(3)).expect("it is said");
    let written = outputs.iter().position(|output| matches!(output, Output::Persist { .. })).expect("it is written");
    assert!(said < written, "{outputs:?}");
}

#[test]
fn what_a_peer_knew_before_confirms_nothing_that_was_written_since() {
    let mut mesh = acquainted();
    let snapshot = mesh.disks[1].clone();
    // So many that no peer retains the first of them.
    (0..200).for_each(|_| mesh.write(1, "gcounter/kills", Change::Increment(1)));
    mesh.pass(5_000);
    mesh.restart(1, Some(snapshot));
    mesh.write(1, "gcounter/kills", Change::Increment(1_000));
    let third = own_log(&mesh, 1)[2].clone();
    let tip = Some(Tip::of(Incarnation(0), 3, &third));
    let message = Message::Digest { root: mesh.replica(1).root(), vector: [0; 16], durable: true, exact: false, tip };
    mesh.feed(1, Input::Receive { from: node(0), message });
    mesh.pass(1_000);
    mesh.restart(1, None);
    meet(&mut mesh, &[0, 1, 2]);
    mesh.pass(10_000);
    mesh.check("gcounter/kills", &Value::Counter(1_230));
}

#[test]
fn who_cannot_tell_is_not_the_last_to_be_asked() {
    let mut mesh = acquainted();
    let own = Stream::global(mesh.replica(1).me());
    let more = |(stream, seq)| (stream, if stream == own { seq + 2 } else { seq });
    let (seen, root) = (mesh.replica(1).seen().iter().map(more).collect(), mesh.replica(1).root());
    let tell = |mesh: &mut Mesh, from: usize, message: Message| {
        let now = mesh.time();
        let outputs = mesh.nodes[1].as_mut().expect("runs").handle(Input::Receive { from: node(from), message }, now);
        outputs.into_iter().find_map(|output| match output {
            Output::Send { to, message: Message::Recall { from, .. } } => Some(Ok((to, from))),
            Output::Rebirth { fresh, .. } => Some(Err(fresh)),
            _ => None,
        })
    };
    let answer = tell(&mut mesh, 0, Message::Vector { seen, behind: Vec::new(), root, answer: false, tip: None });
    assert_eq!(answer, Some(Ok((node(0), 1))));
    let recalled = |batch| Message::Recalled { incarnation: Incarnation(0), known: 5, batch };
    assert_eq!(tell(&mut mesh, 0, recalled(None)), Some(Ok((node(2), 1))));
    let commits = own_log(&mesh, 1);
    let batch = Batch::new(own, 3, vec![commits[2].clone()]);
    // All that was remembered is known there: there is nothing to make again.
    assert_eq!(tell(&mut mesh, 2, recalled(Some(batch))), Some(Err(None)));
}

#[test]
fn what_cannot_be_made_again_is_left_out_whole_and_named() {
    let mut mesh = acquainted();
    mesh.cut(1);
    let before = mesh.disks[1].clone();
    let almost_all = Change::Increment(COUNTER_TOTAL_MAX - 5);
    mesh.write(1, "gcounter/huge", almost_all.clone());
    let first = own_log(&mesh, 1)[3].clone();
    mesh.restart(1, Some(before));
    let changes = vec![(key("gcounter/huge"), almost_all), (key("gset/seen"), Change::Add(vec!["half".into()]))];
    mesh.feed(1, Input::Commit { ticket: 0, changes, request: None });
    let second = own_log(&mesh, 1)[3].clone();
    let stream = Stream::global(mesh.replica(1).me());
    let commits = vec![first, second, CommitBytes::from_bytes(b"torn")];
    mesh.restart(1, Some(with_orphans(9, vec![Batch::new(stream, 4, commits)])));
    meet(&mut mesh, &[0, 1, 2]);
    mesh.pass(15_000);
    mesh.check("gcounter/huge", &Value::Counter(i128::from(COUNTER_TOTAL_MAX - 5)));
    assert_eq!(mesh.replica(1).state().value(&key("gset/seen")), None, "never half of a commit");
    let named = mesh.events.iter().filter_map(|(_, event)| match event {
        Event::NotMadeAgain { dot, .. } => Some(*dot),
        _ => None,
    });
    let dot = |seq| Dot { replica: stream.replica, seq };
    assert_eq!(named.collect::<Vec<_>>(), [dot(5), dot(6)]);
    assert_eq!(mesh.replica(1).counters().not_made_again, 2);
}

#[test]
fn a_crash_after_more_was_made_again_than_requests_are_remembered_makes_none_twice() {
    let mut mesh = acquainted();
    mesh.requests_remembered = 2;
    mesh.cut(1);
    (0..20).for_each(|_| mesh.write(1, "gcounter/kills", Change::Increment(1)));
    let stream = Stream::global(mesh.replica(1).me());
    let commits = own_log(&mesh, 1).split_off(3);
    mesh.restart(1, Some(with_orphans(9, vec![Batch::new(stream, 4, commits)])));
    meet(&mut mesh, &[0, 1, 2]);
    let mut before = mesh.disks[1].clone();
    while mesh.replica(1).counters().made_again == 0 {
        before = mesh.disks[1].clone();
        mesh.pass(250);
        assert!(mesh.now_ms < 60_000, "{:?}", mesh.events);
    }
    // The power went after the commits, before the checkpoint that strikes them off.
    before.recovery.log = mesh.disks[1].recovery.log.clone();
    mesh.restart(1, Some(before));
    meet(&mut mesh, &[0, 1, 2]);
    mesh.pass(20_000);
    mesh.check("gcounter/kills", &Value::Counter(50));
    assert!(mesh.replica(1).orphans().is_empty());
}

#[test]
fn what_waits_to_be_made_again_is_stored_once() {
    let mut mesh = acquainted();
    mesh.cut(1);
    mesh.write(1, "gcounter/kills", Change::Increment(7));
    let stream = Stream::global(mesh.replica(1).me());
    let commits = own_log(&mesh, 1).split_off(3);
    mesh.restart(1, Some(with_orphans(9, vec![Batch::new(stream, 4, commits)])));
    mesh.disks[1].orphans_written = 0;
    for _ in 0..100 {
        mesh.write(1, "gcounter/kills", Change::Increment(1));
        mesh.pass(60_000);
    }
    assert!(mesh.disks[1].checkpoints > 3, "{}", mesh.disks[1].checkpoints);
    assert_eq!(mesh.disks[1].orphans_written, 1, "the first says that the life is in doubt, none says it again");
}

#[test]
fn who_told_of_commits_that_do_not_count_is_not_waited_for() {
    let mut mesh = Mesh::of(4);
    meet(&mut mesh, &[0, 1, 2, 3]);
    (0..4).for_each(|index| mesh.write(index, "gcounter/kills", Change::Increment(10)));
    mesh.pass(5_000);
    mesh.cut(2);
    mesh.cut(1);
    mesh.write(1, "gcounter/kills", Change::Increment(7));
    let stream = Stream::global(mesh.replica(1).me());
    let commits = own_log(&mesh, 1).split_off(1);
    mesh.restart(1, Some(with_orphans(9, vec![Batch::new(stream, 2, commits)])));
    mesh.write(2, "gcounter/kills", Change::Increment(5));
    let (seen, root) = (mesh.replica(2).seen().clone(), mesh.replica(2).root());
    let message = Message::Vector { seen, behind: Vec::new(), root, answer: false, tip: None };
    mesh.members(&[1], &[0, 1, 2, 3]);
    mesh.feed(1, Input::Receive { from: node(2), message });
    meet(&mut mesh, &[0, 1, 3]);
    mesh.pass(RETIRE_MS + 5_000);
    assert!(mesh.replica(0).retired().any(|(writer, end)| writer.node == node(2) && end == 1), "{:?}", mesh.events);
    meet(&mut mesh, &[0, 1, 2, 3]);
    mesh.pass(30_000);
    mesh.check("gcounter/kills", &Value::Counter(52));
}

#[test]
fn a_put_that_nobody_will_ever_have_is_not_waited_for() {
    let mut mesh = Mesh::of(4);
    meet(&mut mesh, &[0, 1, 2, 3]);
    (0..4).for_each(|index| mesh.write(index, "gcounter/kills", Change::Increment(10)));
    mesh.pass(5_000);
    mesh.cut(2);
    mesh.cut(3);
    meet(&mut mesh, &[2, 3]);
    mesh.write(2, "lwwmap/match", put("owner", "two"));
    mesh.pass(1_000);
    mesh.write(3, "lwwmap/match", put("owner", "three"));
    mesh.members(&[0, 1], &[0, 1]);
    mesh.pass(RETIRE_MS + 5_000);
    assert_eq!(mesh.replica(0).epoch(), 2, "{:?}", mesh.events);
    meet(&mut mesh, &[0, 1, 2, 3]);
    mesh.pass(30_000);
    mesh.check("lwwmap/match", &fields(&[("owner", "three")]));
    (0..4).for_each(|index| assert_eq!(mesh.replica(index).state().garbage(), 0, "node {index}"));
}

#[test]
fn a_name_that_means_two_puts_is_settled_once() {
    let mut mesh = acquainted();
    let snapshot = mesh.disks[1].clone();
    mesh.cut(2);
    mesh.write(1, "lwwmap/match", put("owner", "lake"));
    mesh.pass(2_000);
    mesh.cut(0);
    mesh.restart(1, Some(snapshot));
    // Who lagged takes the snapshot's commit for the real one.
    mesh.members(&[1], &[0, 1, 2]);
    mesh.connect(&[1, 2]);
    mesh.write(1, "lwwmap/match", put("owner", "desert"));
    mesh.pass(2_000);
    mesh.connect(&[0, 1, 2]);
    mesh.pass(10_000);
    let diverged =
        |mesh: &Mesh| mesh.events.iter().filter(|(_, event)| matches!(event, Event::Diverged { .. })).count();
    let settled = diverged(&mesh);
    assert!(settled > 0, "{:?}", mesh.events);
    mesh.pass(60_000);
    assert_eq!(diverged(&mesh), settled, "they repair each other for ever");
    mesh.check("lwwmap/match", &fields(&[("map", "castle"), ("mode", "duel"), ("owner", "desert")]));
}
