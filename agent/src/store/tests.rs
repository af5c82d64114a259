//! The store, on a real file and on one in memory: the same suite for both.

mod away;
mod damage;
mod failure;
mod hand;
mod measure;
mod migration;
mod mutation;
mod power;
mod rebirth;
mod segments;

use std::sync::Barrier;
use std::time::{Duration, Instant};

use selvedge_sync::commit::{Commit, CommitBytes};
use selvedge_sync::crdt::Op;
use selvedge_sync::hlc::Hlc;
use selvedge_sync::id::{Incarnation, NodeId};
use selvedge_sync::scalar::Scalar;

use super::disk::DATABASE_FILE;
use super::sim_disk::SimDisk;
use super::*;

const SOON: Duration = Duration::from_secs(20);
const PATIENCE: writer::Patience =
    writer::Patience { retry_every: Duration::from_millis(2), closing: Duration::from_millis(5) };

/// Small, so that a few commits fill one.
const SEGMENT_BYTES: u64 = 2_000;

type Opened = (Store, StoreEvents, Recovered);

/// Both kinds of disk, each with a way to open it again.
fn on_each_disk(test: impl Fn(&dyn Fn() -> Opened)) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    test(&|| Store::open(dir.path()).expect("opens"));
    let disk = SimDisk::default();
    test(&|| open_sim(&disk));
}

fn open_sim(disk: &SimDisk) -> Opened {
    try_open_sim(disk).expect("opens")
}

fn try_open_sim(disk: &SimDisk) -> Result<Opened, StoreError> {
    Store::open_on(Arc::new(disk.clone()), SEGMENT_BYTES, PATIENCE)
}

fn replica(node: u8) -> ReplicaId {
    ReplicaId { node: NodeId([node; 32]), incarnation: Incarnation(7) }
}

fn stream(node: u8) -> Stream {
    Stream::global(replica(node))
}

fn commit(node: u8, seq: u64) -> CommitBytes {
    let key = format!("gcounter/kills-{node}").parse().expect("a key");
    let ops = vec![(key, Op::GCounter(seq.into()))];
    Commit { stream: stream(node), seq, hlc: Hlc::from_millis(seq), request: None, ops }.encode()
}

fn batch(node: u8, first: u64, count: u64) -> Batch {
    Batch::new(stream(node), first, (first..first + count).map(|seq| commit(node, seq)).collect())
}

fn object(name: &str, total: u64) -> (Key, ObjectState) {
    let total = i64::try_from(total).expect("a small number");
    (format!("gset/{name}").parse().expect("a key"), ObjectState::GSet(vec![Scalar::Int(total)]))
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

/// As a checkpoint holds it.
fn row(name: &str, total: u64) -> (Key, Option<ObjectRow>) {
    let (key, state) = object(name, total);
    (key, Some(ObjectRow::from(&state)))
}

/// A checkpoint that has seen `vector`, with these objects and nothing given up.
fn checkpoint(token: Token, vector: VersionVector, objects: Vec<(Key, ObjectState)>) -> Checkpoint {
    let objects = objects.into_iter().map(|(key, state)| (key, Some(ObjectRow::from(&state)))).collect();
    Checkpoint { token, vector, objects, orphans: Some(Orphans::default()), ..Checkpoint::default() }
}

fn checkpoint_durably(store: &Store, events: &mut StoreEvents, checkpoint: Checkpoint) {
    let token = checkpoint.token;
    store.checkpoint(checkpoint).expect("the queue has room");
    assert_eq!(next(events), StoreEvent::Checkpointed { token });
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
        let objects = vec![row("a", 1), row("b", 2)];
        let checkpoint = Checkpoint {
            token: 3,
            vector: vector(1, 4),
            ahead: Ahead::default(),
            latest: Hlc::default(),
            orphans: Some(Orphans::default()),
            objects,
            log_first: vec![(stream(1), 3)],
        };
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

        let objects = vec![(object("a", 0).0, None), row("b", 9)];
        let checkpoint = Checkpoint {
            token: 4,
            vector: vector(1, 7),
            ahead: Ahead::default(),
            latest: Hlc::default(),
            orphans: Some(Orphans::default()),
            objects,
            log_first: vec![(stream(2), u64::MAX)],
        };
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
        for (token, objects) in [(2, vec![row("a", 1), row("b", 2)]), (3, vec![(object("a", 0).0, None), row("b", 9)])]
        {
            let log_first = vec![(stream(2), u64::MAX), (stream(1), 4)];
            store
                .checkpoint(Checkpoint {
                    token,
                    vector: vector(1, 3),
                    ahead: Ahead::default(),
                    latest: Hlc::default(),
                    orphans: Some(Orphans::default()),
                    objects,
                    log_first,
                })
                .expect("room");
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
