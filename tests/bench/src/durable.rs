//! How long one durable commit takes, and how many a second 64 writers get.
//!
//! One writer: an append to the agent's store until it is reported durable, against one append and fdatasync of the same
//! bytes to a file in the same folder. Sixty-four writers: threads that each wait for their commit before they make the next,
//! in one stream; against SQLite (write-ahead log, synchronous=FULL) with its connection behind a mutex, since it takes one
//! writer at a time.

use std::path::Path;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Context as _, Result, anyhow};
use futures::executor::block_on;
use selvedge::store::{Store, StoreEvent, StoreEvents};
use selvedge_sync::commit::{Batch, Commit, CommitBytes};
use selvedge_sync::crdt::{Assign, Op};
use selvedge_sync::sim::Rng;

use crate::engines::{self, Engine};
use crate::fill::{player, stamp, stream, value};
use crate::report::{Goal, Row};
use crate::sample::{Pair, Spread, seconds};

const NAME: &str = "durable";
const ROUNDS: usize = 25;
const OPS: u64 = 40;
const WRITERS: usize = 64;
const WRITER_ROUNDS: usize = 5;
const COMMITS_EACH: u64 = 60;

pub(crate) fn run(dir: &Path) -> Result<Vec<Row>> {
    Ok(vec![one_writer(dir)?, many_writers(dir)?])
}

/// A commit of one 64-byte field, encoded.
fn encoded(seq: u64, rng: &mut Rng) -> CommitBytes {
    let put = Assign { member: "state".to_owned(), value: Some(value(rng)), over: Vec::new() };
    let ops = vec![(player(rng.index(1_000)), Op::LwwMap(vec![put]))];
    Commit { stream: stream(1), seq, hlc: stamp(seq), request: None, ops }.encode()
}

fn batch(seq: u64, bytes: CommitBytes) -> Batch {
    Batch::new(stream(1), seq, vec![bytes])
}

fn one_writer(dir: &Path) -> Result<Row> {
    let folder = tempfile::tempdir_in(dir)?;
    let (store, mut events, _) = Store::open(&folder.path().join("store"))?;
    let mut file = engines::open("file", folder.path())?;
    let (mut rng, mut seq) = (Rng::new(1), 0);
    let mut pair = Pair::default();
    for round in 0..=ROUNDS {
        let (mut ours, mut peer) = (Vec::new(), Vec::new());
        for _ in 0..OPS {
            seq += 1;
            let bytes = encoded(seq, &mut rng);
            let plain = bytes.as_bytes().to_vec();
            ours.push(seconds(|| append(&store, &mut events, seq, bytes)));
            peer.push(seconds(|| file.put(&[], &plain)));
        }
        pair.note(round, median(ours)?, median(peer)?);
    }
    drop(events);
    store.close()?;
    Ok(Row::ratio(NAME, "durable commit, 1 writer, against append + fdatasync", &pair, "fdatasync", "µs")
        .goal(Goal::AtMost(1.3))
        .note("medians of 40 in each of 25 rounds"))
}

fn append(store: &Store, events: &mut StoreEvents, seq: u64, bytes: CommitBytes) -> Result<()> {
    store.append(seq, vec![batch(seq, bytes)]).map_err(|_| anyhow!("the store's queue is full"))?;
    match block_on(events.next()).context("the store has ended")? {
        StoreEvent::Appended { token } if token == seq => Ok(()),
        other => Err(anyhow!("the store says {other:?}")),
    }
}

fn median(samples: Vec<(f64, Result<()>)>) -> Result<f64> {
    let times: Result<Vec<f64>> = samples.into_iter().map(|(seconds, result)| result.map(|()| seconds * 1e6)).collect();
    Ok(Spread::of(&times?).median)
}

fn many_writers(dir: &Path) -> Result<Row> {
    let folder = tempfile::tempdir_in(dir)?;
    let (store, mut events, _) = Store::open(&folder.path().join("store"))?;
    let sqlite = Arc::new(Mutex::new(engines::open("sqlite", folder.path())?));
    let stream_head = Arc::new(Mutex::new(0_u64));
    let mut pair = Pair::default();
    for round in 0..=WRITER_ROUNDS {
        let (ours, back) = seconds(|| crowd_on_store(&store, events, &stream_head));
        events = back?;
        let (peer, done) = seconds(|| crowd_on_sqlite(&sqlite, round));
        done?;
        let commits = WRITERS as f64 * COMMITS_EACH as f64;
        pair.note(round, commits / ours, commits / peer);
    }
    drop(events);
    store.close()?;
    let what = "durable commits a second, 64 writers, against SQLite (WAL, FULL)";
    Ok(Row::ratio(NAME, what, &pair, "SQLite", "/s").goal(Goal::AtLeast(2.0)))
}

/// Every writer makes its commits one after the other; whoever is told by the store wakes the right one.
fn crowd_on_store(store: &Store, mut events: StoreEvents, head: &Arc<Mutex<u64>>) -> Result<StoreEvents> {
    let (mut wakers, mut writers) = (Vec::new(), Vec::new());
    let first = *head.lock().unwrap_or_else(PoisonError::into_inner) + 1;
    let whose = Arc::new(Mutex::new(Vec::<usize>::new()));
    for number in 0..WRITERS {
        let (waker, woken) = sync_channel::<()>(1);
        wakers.push(waker);
        let (store, head, whose) = (store.clone(), Arc::clone(head), Arc::clone(&whose));
        writers.push(thread::spawn(move || -> Result<()> {
            let mut rng = Rng::new(number as u64);
            for _ in 0..COMMITS_EACH {
                let mut head = head.lock().unwrap_or_else(PoisonError::into_inner);
                *head += 1;
                whose.lock().unwrap_or_else(PoisonError::into_inner).push(number);
                let bytes = encoded(*head, &mut rng);
                store.append(*head, vec![batch(*head, bytes)]).map_err(|_| anyhow!("the store's queue is full"))?;
                drop(head);
                woken.recv()?;
            }
            Ok(())
        }));
    }
    for _ in 0..WRITERS as u64 * COMMITS_EACH {
        wake(block_on(events.next()), first, &whose, &wakers)?;
    }
    for writer in writers {
        writer.join().map_err(|_| anyhow!("a writer panicked"))??;
    }
    Ok(events)
}

fn wake(event: Option<StoreEvent>, first: u64, whose: &Mutex<Vec<usize>>, wakers: &[SyncSender<()>]) -> Result<()> {
    match event.context("the store has ended")? {
        StoreEvent::Appended { token } => {
            let at = usize::try_from(token - first)?;
            let number = whose.lock().unwrap_or_else(PoisonError::into_inner)[at];
            Ok(wakers[number].send(())?)
        }
        other => Err(anyhow!("the store says {other:?}")),
    }
}

/// Every round writes new keys and values: SQLite notices when a value is replaced by itself, and writes nothing.
fn crowd_on_sqlite(sqlite: &Arc<Mutex<Box<dyn Engine>>>, round: usize) -> Result<()> {
    let writers: Vec<_> = (0..WRITERS)
        .map(|number| {
            let sqlite = Arc::clone(sqlite);
            thread::spawn(move || -> Result<()> {
                let mut rng = Rng::new((round * WRITERS + number) as u64);
                for seq in 0..COMMITS_EACH {
                    let bytes = encoded(seq + 1, &mut rng);
                    let key = format!("{round}:{number}:{seq}");
                    sqlite.lock().unwrap_or_else(PoisonError::into_inner).put(key.as_bytes(), bytes.as_bytes())?;
                }
                Ok(())
            })
        })
        .collect();
    for writer in writers {
        writer.join().map_err(|_| anyhow!("a writer panicked"))??;
    }
    Ok(())
}
