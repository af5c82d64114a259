//! The power goes with each single operation of the disk, one after the other: nothing confirmed is lost, nothing is reordered.

use super::super::sim_disk::Mood;
use super::*;

const ROUNDS: u64 = 24;

/// What a run was told before the power went.
#[derive(Debug, Default)]
struct Told {
    /// Appends queued, in order: those of node 1 and node 2 by turns, one commit each.
    queued: u64,
    durable: u64,
    checkpoint: u64,
}

/// Each event that comes before `Failed`; whether there was none of those.
fn settle(events: &mut StoreEvents, told: &mut Told, until: impl Fn(&Told) -> bool) -> bool {
    while !until(told) {
        match next(events) {
            StoreEvent::Appended { token } => {
                assert_eq!(token, told.durable + 1, "in order");
                told.durable = token;
            }
            StoreEvent::Checkpointed { token } => told.checkpoint = token,
            StoreEvent::Failed { .. } => return false,
            StoreEvent::Recovered => {}
        }
    }
    true
}

/// Appends, checkpoints, gives up and begins segments, until the power goes or the end.
fn run(disk: &SimDisk) -> Told {
    let mut told = Told::default();
    let Ok((store, mut events, _)) = try_open_sim(disk) else { return told };
    for round in 1..=ROUNDS {
        for node in [1, 2] {
            told.queued += 1;
            store.append(told.queued, vec![large(node, round)]).expect("room");
        }
        let queued = told.queued;
        if !settle(&mut events, &mut told, |told| told.durable == queued) {
            break;
        }
        if round % 6 == 0 {
            let seen = [(stream(1), round), (stream(2), round)].into_iter().collect();
            let log_first = vec![(stream(1), round - 2), (stream(2), round - 2)];
            let written = checkpoint(round, seen, vec![object("a", round)]);
            store.checkpoint(Checkpoint { log_first, ..written }).expect("room");
            if !settle(&mut events, &mut told, |told| told.checkpoint == round) {
                break;
            }
        }
    }
    store.close().unwrap_or_default();
    told
}

/// One commit of some size, so that a segment holds few of them.
fn large(node: u8, seq: u64) -> Batch {
    let mut bytes = vec![node; 300];
    bytes.extend_from_slice(&seq.to_le_bytes());
    Batch::new(stream(node), seq, vec![CommitBytes::from_bytes(&bytes)])
}

fn check(found: &SimDisk, told: &Told, at: &str) {
    let (store, _events, recovered) = open_sim(found);
    assert!(recovered.cuts.is_empty() && !recovered.own_damaged && !recovered.damaged, "{at}: {:?}", recovered.cuts);
    let mut tops = [0, 0];
    for (top, node) in tops.iter_mut().zip([1, 2]) {
        *top = recovered.checkpoint_vector.seq(&stream(node));
        for run in recovered.log.iter().filter(|run| run.stream == stream(node)) {
            assert!(run.first <= *top + 1, "{at}: a gap");
            for (seq, commit) in (run.first..).zip(&run.commits) {
                assert_eq!(*commit, large(node, seq).commits[0], "{at}");
                *top = seq.max(*top);
            }
        }
    }
    let there = tops[0] + tops[1];
    assert!((told.durable..=told.queued).contains(&there), "{at}: {there} there, {told:?}");
    assert!(tops[0] == tops[1] || tops[0] == tops[1] + 1, "{at}: {tops:?} are not in the order in which they came");
    let seen = recovered.checkpoint_vector.seq(&stream(1));
    assert!(seen >= told.checkpoint, "{at}: the checkpoint is of {seen}");
    assert_eq!(recovered.objects, if seen == 0 { Vec::new() } else { vec![object("a", seen)] }, "{at}");
    store.close().expect("closes");
}

fn begun() -> SimDisk {
    let disk = SimDisk::default();
    let (store, _events, _) = open_sim(&disk);
    store.set_identity(Identity { replica: replica(1) }).expect("room").wait().expect("durable");
    store.close().expect("closes");
    disk
}

#[test]
fn a_power_cut_at_each_operation_loses_nothing_confirmed() {
    let whole = begun();
    let first = whole.operations() + 1;
    run(&whole);
    let last = whole.operations();
    assert!(last > first + 100, "{first} to {last}");
    let reused = whole.names().iter().filter(|name| name.ends_with(".log")).count();
    assert!(reused < 8, "{reused} segments are left although checkpoints gave them up");
    for operation in first..=last {
        let disk = begun();
        disk.lose_power_at(operation);
        let told = run(&disk);
        for seed in 0..4 {
            let found = disk.after_power_cut(seed);
            check(&found, &told, &format!("operation {operation}, seed {seed}"));
            // What was found is found again.
            check(&found.after_power_cut(seed), &told, &format!("operation {operation}, seed {seed}, again"));
        }
    }
}

#[test]
fn a_disk_that_failed_and_works_again_is_not_trusted_with_what_it_failed_to_take() {
    for mood in [Mood::Full, Mood::Short, Mood::SyncFails, Mood::Stuck, Mood::Gone] {
        for after in 1..12 {
            let disk = begun();
            let (store, mut events, _) = open_sim(&disk);
            let mut told = Told::default();
            for seq in 1..=after {
                append_durably(&store, &mut events, seq, vec![large(1, seq)]);
            }
            disk.become_mood(mood);
            store.append(after + 1, vec![large(1, after + 1)]).expect("room");
            store.checkpoint(checkpoint(99, vector(1, after + 1), vec![object("a", after + 1)])).expect("room");
            while !matches!(next(&mut events), StoreEvent::Failed { .. }) {}
            disk.become_mood(Mood::Works);
            (told.queued, told.durable) = (after + 1, after);
            assert!(settle(&mut events, &mut told, |told| told.checkpoint == 99), "{mood:?}");
            let segments = disk.names().into_iter().filter(|name| name.ends_with(".log"));
            let begun_with = segments.map(|name| name.contains(&format!("-{after:016x}.log"))).next_back();
            assert_eq!(begun_with, Some(true), "{mood:?}: the frame that failed went into a segment of its own");
            append_durably(&store, &mut events, after + 2, vec![large(1, after + 2)]);
            for seed in 0..4 {
                let recovered = open_sim(&disk.after_power_cut(seed)).2;
                assert!(recovered.cuts.is_empty() && !recovered.own_damaged && !recovered.damaged, "{mood:?}");
                let run = recovered.log.first().expect("a log");
                let commits: Vec<_> = (run.first..=after + 2).flat_map(|seq| large(1, seq).commits).collect();
                assert!(run.commits == commits && run.first <= after + 2, "{mood:?} after {after}, seed {seed}");
                assert_eq!(recovered.objects, vec![object("a", after + 1)], "{mood:?}");
            }
            store.close().expect("closes");
        }
    }
}
