//! What a life has to say on disk before it does it, and how long others are asked about it.

use selvedge_sync::replica::Message;
use selvedge_sync::seal::HashKeys;

use super::again::{meet, own_log, with_orphans};
use super::*;

/// What the outputs give the store, in order: a commit, or a checkpoint with so many objects and, if it says anything of them,
/// so many orphans.
fn given(outputs: &[Output]) -> Vec<Result<(usize, Option<usize>), ()>> {
    let waiting = |orphans: &Orphans| {
        orphans.certain.iter().chain(&orphans.doubtful).map(|batch| batch.commits.len()).sum::<usize>()
    };
    let given = |output: &Output| match output {
        Output::Persist { .. } => Some(Err(())),
        Output::Checkpoint { checkpoint, .. } => {
            Some(Ok((checkpoint.objects.len(), checkpoint.orphans.as_ref().map(waiting))))
        }
        _ => None,
    };
    outputs.iter().filter_map(given).collect()
}

#[test]
fn orphans_are_struck_off_only_when_they_are_stored_again() {
    let mut mesh = acquainted();
    mesh.cut(1);
    (0..5).for_each(|_| mesh.write(1, "gcounter/kills", Change::Increment(1)));
    let stream = Stream::global(mesh.replica(1).me());
    let commits = own_log(&mesh, 1).split_off(3);
    mesh.restart(1, Some(with_orphans(9, vec![Batch::new(stream, 4, commits)])));
    meet(&mut mesh, &[0, 1, 2]);
    let (mut disk, mut journal) = (Disk::default(), 0);
    while mesh.replica(1).counters().made_again == 0 {
        (disk, journal) = (mesh.disks[1].clone(), mesh.journal.len());
        mesh.pass(250);
        assert!(mesh.now_ms < 60_000, "{:?}", mesh.events);
    }
    let writes = mesh.journal[journal..].iter().filter(|(index, _)| *index == 1);
    let writes: Vec<Output> = writes.map(|(_, output)| output.clone()).collect();
    assert_eq!(given(&writes)[..2], [Ok((0, Some(5))), Err(())], "what waits is said with the first commit");
    // The power goes after each of the writes.
    for written in 0..=writes.len() {
        let mut mesh = Mesh { disks: mesh.disks.clone(), now_ms: mesh.now_ms, ..Mesh::of(3) };
        let mut disk = disk.clone();
        writes[..written].iter().for_each(|output| disk.write(output));
        [0, 2].into_iter().for_each(|index| mesh.restart(index, None));
        mesh.restart(1, Some(disk));
        meet(&mut mesh, &[0, 1, 2]);
        mesh.pass(120_000);
        mesh.check("gcounter/kills", &Value::Counter(35));
    }
}

#[test]
fn a_new_life_does_not_believe_what_was_said_of_the_one_before() {
    let mut mesh = acquainted();
    (0..200).for_each(|_| mesh.write(1, "gcounter/kills", Change::Increment(1)));
    mesh.pass(5_000);
    mesh.restart(1, None);
    mesh.write(1, "gcounter/kills", Change::Increment(1));
    let backup = mesh.disks[1].clone();
    assert_eq!(backup.recovery.orphans.unconfirmed_after, Some(203));
    meet(&mut mesh, &[0, 1, 2]);
    mesh.pass(2_000);
    mesh.write(1, "gcounter/kills", Change::Increment(1));
    mesh.pass(2_000);
    // The backup comes back and finds that it forgot a commit: a new name is all that it takes.
    mesh.restart(1, Some(backup));
    meet(&mut mesh, &[0, 1, 2]);
    mesh.pass(10_000);
    let me = mesh.replica(1).me();
    assert_ne!(me.incarnation, Incarnation(0));
    mesh.cut(1);
    (0..3).for_each(|_| mesh.write(1, "gcounter/kills", Change::Increment(1)));
    assert_eq!(mesh.disks[1].recovery.orphans.unconfirmed_after, Some(0), "it is said of this life");
    mesh.restart(1, None);
    meet(&mut mesh, &[0, 1, 2]);
    mesh.write(1, "gcounter/kills", Change::Increment(1));
    mesh.pass(5_000);
    let snapshot = mesh.disks[1].clone();
    assert_eq!(snapshot.recovery.orphans.unconfirmed_after, None, "the others know this life by now");
    (0..200).for_each(|_| mesh.write(1, "gcounter/kills", Change::Increment(1)));
    mesh.pass(5_000);
    mesh.check("gcounter/kills", &Value::Counter(232 + 4 + 200));
    // And a snapshot of that life writes under names that nobody retains any more.
    mesh.restart(1, Some(snapshot));
    (0..2).for_each(|_| mesh.write(1, "gcounter/kills", Change::Increment(1_000)));
    meet(&mut mesh, &[0, 1, 2]);
    mesh.pass(60_000);
    mesh.check("gcounter/kills", &Value::Counter(436 + 2_000));
}

#[test]
fn the_first_write_after_a_restart_waits_for_no_objects() {
    let mut mesh = Mesh::of(1);
    (0..200).for_each(|number| mesh.write(0, &format!("gcounter/kills:{number}"), Change::Increment(1)));
    let mut disk = mesh.disks[0].clone();
    disk.recovery.orphans = Orphans::default();
    mesh.restart(0, Some(disk));
    let now = mesh.time();
    let changes = vec![(key("gcounter/kills"), Change::Increment(1))];
    let outputs =
        mesh.nodes[0].as_mut().expect("runs").handle(Input::Commit { ticket: 0, changes, request: None }, now);
    assert_eq!(given(&outputs), [Ok((0, Some(0))), Err(())]);
    outputs.iter().for_each(|output| mesh.disks[0].write(output));
    mesh.restart(0, None);
    mesh.check("gcounter/kills", &Value::Counter(1));
    mesh.check("gcounter/kills:199", &Value::Counter(1));
}

/// A peer claims to know two commits of ours that we do not remember, and can show none.
fn doubted(mesh: &mut Mesh) {
    let own = Stream::global(mesh.replica(1).me());
    let more = |(stream, seq)| (stream, if stream == own { seq + 2 } else { seq });
    let (seen, root) = (mesh.replica(1).seen().iter().map(more).collect(), mesh.replica(1).root());
    tell(mesh, 0, Message::Vector { seen, behind: Vec::new(), root, answer: false, tip: None });
}

fn tell(mesh: &mut Mesh, from: usize, message: Message) -> Vec<Output> {
    let now = mesh.time();
    mesh.nodes[1].as_mut().expect("runs").handle(Input::Receive { from: node(from), message }, now)
}

#[test]
fn what_one_peer_has_shown_no_other_takes_back() {
    let mut mesh = acquainted();
    let own = Stream::global(mesh.replica(1).me());
    let commits = own_log(&mesh, 1);
    doubted(&mut mesh);
    let shown = |first, commits| Message::Recalled {
        incarnation: Incarnation(0),
        known: 5,
        batch: Some(Batch::new(own, first, commits).sealed(&HashKeys)),
    };
    // It retains the third alone, which is another commit there.
    tell(&mut mesh, 0, shown(3, vec![commits[1].clone()]));
    let outputs = tell(&mut mesh, 2, shown(1, commits));
    let fresh = outputs.iter().find_map(|output| match output {
        Output::Rebirth { fresh, .. } => Some(fresh.clone()),
        _ => None,
    });
    let orphans = fresh.expect("the doubt ends").expect("it begins anew").orphans;
    assert_eq!(orphans.certain.iter().map(|batch| (batch.first, batch.commits.len())).collect::<Vec<_>>(), [(3, 1)]);
}

#[test]
fn silent_peers_hold_up_writes_for_seconds_at_most() {
    let mut mesh = acquainted();
    let mut now = mesh.time();
    for number in 10..210 {
        mesh.nodes[1].as_mut().expect("runs").handle(Input::PeerUp(NodeId([number; 32])), now);
    }
    doubted(&mut mesh);
    tell(&mut mesh, 0, Message::Recalled { incarnation: Incarnation(0), known: 5, batch: None });
    let begun_ms = now.mono_ms;
    while mesh.replica(1).is_fenced() {
        (now.mono_ms, now.wall_ms) = (now.mono_ms + 250, now.wall_ms + 250);
        let outputs = mesh.nodes[1].as_mut().expect("runs").handle(Input::Tick, now);
        if outputs.iter().any(|output| matches!(output, Output::Rebirth { .. })) {
            break;
        }
        assert!(now.mono_ms - begun_ms <= 6_000, "they are still being asked");
    }
}
