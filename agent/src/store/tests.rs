//! The store, on a real file and on a disk that fails: one suite for both, and what only one of them can show.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Barrier;
use std::time::Instant;

use redb::ReadableTable;
use selvedge_sync::commit::{Commit, CommitBytes};
use selvedge_sync::crdt::Op;
use selvedge_sync::hlc::Hlc;
use selvedge_sync::id::{Incarnation, NodeId};

use super::sim_disk::{Mood, SimDisk};
use super::*;

const SOON: Duration = Duration::from_secs(20);
const RETRY: Duration = Duration::from_millis(5);

type Opened = (Store, StoreEvents, Recovered);

/// Both kinds of disk, each with a way to open it again.
fn on_each_disk(test: impl Fn(&dyn Fn() -> Opened)) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    test(&|| Store::open(dir.path()).expect("opens"));
    let disk = SimDisk::default();
    test(&|| open_sim(&disk));
}

fn open_sim(disk: &SimDisk) -> Opened {
    Store::open_on(Box::new(disk.clone()), RETRY).expect("opens")
}

fn replica(node: u8) -> ReplicaId {
    ReplicaId { node: NodeId([node; 32]), incarnation: Incarnation(7) }
}

fn stream(node: u8) -> Stream {
    Stream::global(replica(node))
}

fn commit(node: u8, seq: u64) -> CommitBytes {
    let key = "gcounter/kills".parse().expect("a key");
    Commit { stream: stream(node), seq, hlc: Hlc::from_millis(seq), request: None, ops: vec![(key, Op::GCounter(seq))] }
        .encode()
}

fn batch(node: u8, first: u64, count: u64) -> Batch {
    Batch { stream: stream(node), first, commits: (first..first + count).map(|seq| commit(node, seq)).collect() }
}

fn object(name: &str, total: u64) -> (Key, ObjectState) {
    (format!("gcounter/{name}").parse().expect("a key"), ObjectState::GCounter(vec![(replica(1), total)]))
}

fn vector(node: u8, seq: u64) -> VersionVector {
    [(stream(node), seq)].into_iter().collect()
}

/// Waits for the next event, on a deadline.
fn next(events: &mut StoreEvents) -> StoreEvent {
    let begun = Instant::now();
    loop {
        if let Some(event) = events.try_next() {
            return event;
        }
        assert!(begun.elapsed() < SOON, "no event in time");
        std::thread::yield_now();
    }
}

fn append_durably(store: &Store, events: &mut StoreEvents, token: Token, batches: Vec<Batch>) {
    store.append(token, batches).expect("the queue has room");
    assert_eq!(next(events), StoreEvent::Appended { token });
}

#[test]
fn a_new_store_holds_nothing() {
    on_each_disk(|open| {
        let (store, _events, recovered) = open();
        assert!(recovered.identity.is_none() && !recovered.own_damaged);
        assert!(recovered.log.is_empty() && recovered.objects.is_empty() && recovered.checkpoint_vector.is_empty());
        store.close().expect("closes");
    });
}

#[test]
fn what_was_written_is_recovered() {
    on_each_disk(|open| {
        let (store, mut events, _) = open();
        let identity = Identity { replica: replica(1) };
        store.set_identity(identity).expect("room").wait().expect("durable");
        store.set_meta("seed", Some(vec![1, 2, 3])).expect("room").wait().expect("durable");
        store.set_meta("gone", Some(vec![4])).expect("room").wait().expect("durable");
        store.set_meta("gone", None).expect("room").wait().expect("durable");
        append_durably(&store, &mut events, 1, vec![batch(1, 1, 5), batch(2, 1, 3)]);
        append_durably(&store, &mut events, 2, vec![batch(1, 6, 2)]);
        let objects = vec![object("a", 1), object("b", 2)].into_iter().map(|(key, state)| (key, Some(state))).collect();
        let checkpoint = Checkpoint { token: 3, vector: vector(1, 4), objects, log_first: vec![(stream(1), 3)] };
        store.checkpoint(checkpoint).expect("room");
        assert_eq!(next(&mut events), StoreEvent::Checkpointed { token: 3 });
        store.close().expect("closes");

        let (store, mut events, recovered) = open();
        assert_eq!(recovered.identity, Some(identity));
        assert_eq!(recovered.meta, BTreeMap::from([("seed".to_owned(), vec![1, 2, 3])]));
        assert_eq!(recovered.log, vec![batch(1, 3, 5), batch(2, 1, 3)]);
        assert_eq!(recovered.checkpoint_vector, vector(1, 4));
        assert_eq!(recovered.objects, vec![object("a", 1), object("b", 2)]);
        assert!(recovered.cuts.is_empty() && !recovered.own_damaged);

        let objects = vec![(object("a", 0).0, None), (object("b", 0).0, Some(object("b", 9).1))];
        let checkpoint = Checkpoint { token: 4, vector: vector(1, 7), objects, log_first: vec![(stream(2), u64::MAX)] };
        store.checkpoint(checkpoint).expect("room");
        assert_eq!(next(&mut events), StoreEvent::Checkpointed { token: 4 });
        drop((store, events));
    });
}

#[test]
fn a_checkpoint_replaces_and_forgets() {
    on_each_disk(|open| {
        let (store, mut events, _) = open();
        append_durably(&store, &mut events, 1, vec![batch(1, 1, 3), batch(2, 1, 3)]);
        for (token, objects) in [
            (2, vec![(object("a", 0).0, Some(object("a", 1).1)), (object("b", 0).0, Some(object("b", 2).1))]),
            (3, vec![(object("a", 0).0, None), (object("b", 0).0, Some(object("b", 9).1))]),
        ] {
            let log_first = vec![(stream(2), u64::MAX), (stream(1), 4)];
            store.checkpoint(Checkpoint { token, vector: vector(1, 3), objects, log_first }).expect("room");
            assert_eq!(next(&mut events), StoreEvent::Checkpointed { token });
        }
        store.close().expect("closes");
        let (_store, _events, recovered) = open();
        assert_eq!(recovered.objects, vec![object("b", 9)]);
        assert!(recovered.log.is_empty(), "{:?}", recovered.log);
        assert_eq!(recovered.checkpoint_vector, vector(1, 3));
    });
}

#[test]
fn jobs_that_wait_share_a_transaction() {
    const JOBS: u64 = 2_000;
    on_each_disk(|open| {
        let (store, mut events, _) = open();
        let before = store.stats();
        for seq in 1..=JOBS {
            store.append(seq, vec![batch(1, seq, 1)]).expect("the queue has room");
        }
        for token in 1..=JOBS {
            assert_eq!(next(&mut events), StoreEvent::Appended { token }, "in order");
        }
        let after = store.stats();
        let transactions = after.transactions - before.transactions;
        assert_eq!(after.commits - before.commits, JOBS);
        assert!(transactions <= JOBS / 10, "{transactions} transactions for {JOBS} jobs");
        assert!(after.syncs - before.syncs <= 2 * transactions, "{after:?}");
        assert_eq!((after.queue_jobs, after.queue_bytes), (0, 0));
        store.close().expect("closes");
    });
}

#[test]
fn a_full_queue_gives_back_what_it_does_not_take() {
    let disk = SimDisk::default();
    let (store, mut events, _) = open_sim(&disk);
    disk.become_mood(Mood::Full);
    let taken = (1..=QUEUE_JOBS_MAX as u64 + 1)
        .find(|token| store.append(*token, vec![batch(1, *token, 1)]).is_err())
        .expect("it fills");
    assert_eq!(taken, QUEUE_JOBS_MAX as u64 + 1);
    let QueueFull(batches) = store.append(taken, vec![batch(1, taken, 1)]).expect_err("full");
    assert_eq!(batches, vec![batch(1, taken, 1)]);
    assert!(store.checkpoint(Checkpoint::default()).is_err());
    disk.become_mood(Mood::Works);
    let mut durable = 0;
    while durable < QUEUE_JOBS_MAX as u64 {
        if let StoreEvent::Appended { token } = next(&mut events) {
            durable += 1;
            assert_eq!(token, durable);
        }
    }
    append_durably(&store, &mut events, taken, batches);
}

#[test]
fn bytes_and_checkpoints_in_the_queue_are_bounded() {
    let disk = SimDisk::default();
    let (store, mut events, _) = open_sim(&disk);
    disk.become_mood(Mood::Full);
    let large = |first| Batch {
        stream: stream(1),
        first,
        commits: vec![CommitBytes::from_bytes(&vec![7; QUEUE_BYTES_MAX / 2 + 1])],
    };
    store.append(1, vec![large(1)]).expect("the first fits");
    store.append(2, vec![large(2)]).expect_err("the second does not");
    store.checkpoint(Checkpoint { token: 3, ..Checkpoint::default() }).expect("one checkpoint");
    store.checkpoint(Checkpoint { token: 4, ..Checkpoint::default() }).expect_err("no second");
    disk.become_mood(Mood::Works);
    let mut seen = Vec::new();
    while seen.len() < 2 {
        match next(&mut events) {
            StoreEvent::Failed { .. } | StoreEvent::Recovered => {}
            event @ (StoreEvent::Appended { .. } | StoreEvent::Checkpointed { .. }) => seen.push(event),
        }
    }
    assert_eq!(seen, [StoreEvent::Appended { token: 1 }, StoreEvent::Checkpointed { token: 3 }]);
    store.append(2, vec![large(2)]).expect("there is room again");
}

#[test]
fn a_failing_disk_delays_and_loses_nothing() {
    for mood in [Mood::Full, Mood::SyncFails, Mood::Gone] {
        let disk = SimDisk::default();
        let (store, mut events, _) = open_sim(&disk);
        append_durably(&store, &mut events, 1, vec![batch(1, 1, 1)]);
        disk.become_mood(mood);
        store.append(2, vec![batch(1, 2, 1)]).expect("room");
        let failed = next(&mut events);
        assert!(matches!(&failed, StoreEvent::Failed { reason } if !reason.is_empty()), "{mood:?}: {failed:?}");
        for token in 3..10 {
            store.append(token, vec![batch(1, token, 1)]).expect("room");
        }
        assert!(store.stats().failing.is_some());
        let lost_power = disk.after_power_cut(1);
        disk.become_mood(Mood::Works);
        assert_eq!(next(&mut events), StoreEvent::Recovered, "{mood:?}");
        for token in 2..10 {
            assert_eq!(next(&mut events), StoreEvent::Appended { token }, "{mood:?}");
        }
        assert_eq!(store.stats().failing, None);
        store.close().expect("closes");
        assert_eq!(open_sim(&disk).2.log, vec![batch(1, 1, 9)], "{mood:?}");
        let log = open_sim(&lost_power).2.log;
        assert!(log == vec![batch(1, 1, 1)] || log == vec![batch(1, 1, 2)], "{mood:?}: {log:?}");
    }
}

#[test]
fn whoever_waits_is_told_that_the_disk_fails() {
    let disk = SimDisk::default();
    let (store, mut events, _) = open_sim(&disk);
    disk.become_mood(Mood::Full);
    let identity = Identity { replica: replica(1) };
    let error = store.set_identity(identity).expect("room").wait().expect_err("not durable");
    assert!(matches!(error, StoreError::Failing { .. }), "{error}");
    disk.become_mood(Mood::Works);
    append_durably_after_recovery(&store, &mut events);
    store.close().expect("closes");
    assert_eq!(open_sim(&disk).2.identity, Some(identity), "it was tried again");
}

fn append_durably_after_recovery(store: &Store, events: &mut StoreEvents) {
    store.append(1, vec![batch(1, 1, 1)]).expect("room");
    while next(events) != (StoreEvent::Appended { token: 1 }) {}
}

#[test]
fn closing_flushes_and_dropping_does_too() {
    on_each_disk(|open| {
        let (store, events, _) = open();
        store.append(1, vec![batch(1, 1, 9)]).expect("room");
        store.clone().close().expect("closes");
        assert!(store.append(2, vec![batch(1, 10, 1)]).is_err(), "closed");
        assert!(matches!(store.close(), Err(StoreError::Closed)));
        drop(events);

        let (store, mut events, recovered) = open();
        assert_eq!(recovered.log, vec![batch(1, 1, 9)]);
        store.append(2, vec![batch(1, 10, 1)]).expect("room");
        drop(store);
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        assert_eq!(runtime.block_on(events.next()), Some(StoreEvent::Appended { token: 2 }));
        assert_eq!(runtime.block_on(events.next()), None);
        assert_eq!(open().2.log, vec![batch(1, 1, 10)]);
    });
}

#[test]
fn a_power_cut_at_any_moment_keeps_what_was_durable() {
    for seed in 0..40 {
        let disk = SimDisk::default();
        let (store, mut events, _) = open_sim(&disk);
        let (mut durable, mut queued) = (0, 0);
        for _ in 0..=seed % 7 {
            for _ in 0..3 {
                queued += 1;
                store.append(queued, vec![batch(1, queued, 1)]).expect("room");
            }
            while let Some(event) = events.try_next() {
                assert!(matches!(event, StoreEvent::Appended { .. }));
                durable += 1;
            }
        }
        let found = disk.after_power_cut(seed);
        let recovered = open_sim(&found).2;
        let there = recovered.log.first().map_or(0, |run| run.commits.len() as u64);
        assert!((durable..=queued).contains(&there), "seed {seed}: {there} of {durable} durable, {queued} queued");
        assert!(recovered.cuts.is_empty());
        assert!(there == 0 || recovered.log == vec![batch(1, 1, there)]);
    }
}

/// Not a test of its own: the process that the next test kills.
#[test]
#[ignore = "run by a_killed_process_loses_nothing_durable"]
fn child_that_writes_until_it_is_killed() {
    let dir = std::path::PathBuf::from(std::env::var_os("SELVEDGE_TEST_DIR").expect("run by its parent"));
    let (store, mut events, _) = Store::open(&dir.join("data")).expect("opens");
    let mut told = std::fs::File::create(dir.join("durable")).expect("creates");
    for seq in 1.. {
        let mut taken = false;
        while !taken {
            while let Some(event) = events.try_next() {
                if let StoreEvent::Appended { token } = event {
                    told.write_all(&token.to_le_bytes()).expect("writes");
                }
            }
            taken = store.append(seq, vec![batch(1, seq, 1)]).is_ok();
        }
    }
}

#[test]
fn a_killed_process_loses_nothing_durable() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let durable = || {
        let told = std::fs::read(dir.path().join("durable")).unwrap_or_default();
        told.chunks_exact(8).last().map_or(0, |last| u64::from_le_bytes(last.try_into().expect("eight")))
    };
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "--ignored", "store::tests::child_that_writes_until_it_is_killed"])
        .env("SELVEDGE_TEST_DIR", dir.path())
        .stdout(Stdio::null())
        .spawn()
        .expect("starts");
    let begun = Instant::now();
    while durable() < 500 && begun.elapsed() < SOON {
        std::thread::yield_now();
    }
    let refused = Store::open(&dir.path().join("data")).expect_err("the child holds it");
    let expect = format!("process {}", child.id());
    assert!(refused.to_string().contains(&expect), "{refused}");
    child.kill().expect("kills");
    child.wait().expect("ends");
    let durable = durable();
    assert!(durable >= 500, "only {durable} in time");
    let recovered = Store::open(&dir.path().join("data")).expect("opens").2;
    let there = recovered.log.first().map_or(0, |run| run.commits.len() as u64);
    assert!(there >= durable, "{there} of {durable}");
    assert_eq!(recovered.log, vec![batch(1, 1, there)]);
}

#[test]
fn one_agent_at_a_time() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let data = dir.path().join("a/b");
    let (store, _events, _) = Store::open(&data).expect("creates the directory");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&data).expect("there").permissions());
    assert_eq!(mode & 0o777, 0o700);
    let refused = Store::open(&data).expect_err("it is taken");
    assert!(
        matches!(&refused, StoreError::Locked { holder: Some(pid), .. } if *pid == std::process::id()),
        "{refused}"
    );
    store.close().expect("closes");
    Store::open(&data).expect("it is free again");
}

/// Changes rows behind the store's back.
fn tamper(disk: &SimDisk, change: impl FnOnce(&redb::WriteTransaction)) {
    let database = writer::open_database(disk, &Counters::default()).expect("opens");
    let transaction = writer::begin(&database).expect("begins");
    change(&transaction);
    transaction.commit().expect("commits");
}

fn damage_commit(disk: &SimDisk, node: u8, seq: u64) {
    tamper(disk, |transaction| {
        let key = layout::log_key(&stream(node), seq);
        let mut log = transaction.open_table(layout::LOG).expect("the table");
        let mut row = log.get(&key).expect("reads").expect("there").value().to_vec();
        *row.last_mut().expect("not empty") ^= 1;
        log.insert(&key, row.as_slice()).expect("writes");
    });
}

#[test]
fn newer_data_is_refused() {
    let disk = SimDisk::default();
    open_sim(&disk).0.close().expect("closes");
    tamper(&disk, |transaction| {
        let mut facts = transaction.open_table(layout::FACTS).expect("the table");
        facts.insert(layout::FACT_FORMAT, (layout::FORMAT + 1).to_le_bytes().as_slice()).expect("writes");
    });
    let refused = Store::open_on(Box::new(disk), RETRY).expect_err("newer");
    assert!(matches!(refused, StoreError::Newer { found: 2, known: 1 }), "{refused}");
}

#[test]
fn a_damaged_row_cuts_its_stream_and_no_other() {
    let disk = SimDisk::default();
    let (store, mut events, _) = open_sim(&disk);
    store.set_identity(Identity { replica: replica(1) }).expect("room").wait().expect("durable");
    append_durably(&store, &mut events, 1, vec![batch(1, 1, 3), batch(2, 1, 5)]);
    store.close().expect("closes");
    damage_commit(&disk, 2, 3);
    let (store, mut events, recovered) = open_sim(&disk);
    assert_eq!(recovered.log, vec![batch(1, 1, 3), batch(2, 1, 2)]);
    assert_eq!(recovered.cuts, vec![Cut { stream: stream(2), from: 3, rows: 3 }]);
    assert!(!recovered.own_damaged);
    append_durably(&store, &mut events, 2, vec![batch(2, 3, 1)]);
    store.close().expect("closes");
    let recovered = open_sim(&disk).2;
    assert_eq!(recovered.log, vec![batch(1, 1, 3), batch(2, 1, 3)], "the damage is gone");
    assert!(recovered.cuts.is_empty());
}

#[test]
fn damage_to_our_own_stream_is_remembered_until_there_is_a_new_identity() {
    let disk = SimDisk::default();
    let (store, mut events, _) = open_sim(&disk);
    store.set_identity(Identity { replica: replica(1) }).expect("room").wait().expect("durable");
    append_durably(&store, &mut events, 1, vec![batch(1, 1, 3)]);
    store.close().expect("closes");
    damage_commit(&disk, 1, 3);
    for _ in 0..2 {
        let (store, _events, recovered) = open_sim(&disk);
        assert!(recovered.own_damaged);
        assert_eq!(recovered.log, vec![batch(1, 1, 2)]);
        store.close().expect("closes");
    }
    let (store, _events, _) = open_sim(&disk);
    let fresh = ReplicaId { incarnation: Incarnation(8), ..replica(1) };
    store.set_identity(Identity { replica: fresh }).expect("room").wait().expect("durable");
    store.close().expect("closes");
    assert!(!open_sim(&disk).2.own_damaged);
}

#[test]
fn damage_to_the_checkpoint_is_refused_and_nothing_is_touched() {
    let disk = SimDisk::default();
    let (store, mut events, _) = open_sim(&disk);
    let (key, state) = object("a", 1);
    store.checkpoint(Checkpoint { objects: vec![(key, Some(state))], ..Checkpoint::default() }).expect("room");
    next(&mut events);
    store.close().expect("closes");
    tamper(&disk, |transaction| {
        let mut objects = transaction.open_table(layout::OBJECTS).expect("the table");
        let key = selvedge_sync::codec::encode(&object("a", 1).0);
        objects.insert(key.as_slice(), [0; 40].as_slice()).expect("writes");
    });
    for _ in 0..2 {
        let refused = Store::open_on(Box::new(disk.clone()), RETRY).expect_err("damaged");
        assert!(matches!(&refused, StoreError::Damaged { .. }), "{refused}");
        assert!(refused.to_string().contains("state.redb"), "{refused}");
    }
}

#[test]
fn a_file_that_is_no_database_is_refused() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(dir.path().join("state.redb"), vec![b'x'; 8192]).expect("writes");
    let refused = Store::open(dir.path()).expect_err("no database");
    assert!(matches!(refused, StoreError::Damaged { .. }), "{refused:?}");
}

#[test]
fn many_threads_share_the_queue() {
    let disk = SimDisk::default();
    let (store, mut events, _) = open_sim(&disk);
    let barrier = Barrier::new(4);
    std::thread::scope(|scope| {
        for node in 1..=4 {
            let (store, barrier) = (store.clone(), &barrier);
            scope.spawn(move || {
                barrier.wait();
                for seq in 1..=50 {
                    store.append(seq, vec![batch(node, seq, 1)]).expect("room");
                }
            });
        }
    });
    for _ in 0..200 {
        assert!(matches!(next(&mut events), StoreEvent::Appended { .. }));
    }
    store.close().expect("closes");
    assert_eq!(open_sim(&disk).2.log, (1..=4).map(|node| batch(node, 1, 50)).collect::<Vec<_>>());
}
