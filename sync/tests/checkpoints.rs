//! When objects are written to the store: after so many bytes of commits, or so much time, and not before.

use selvedge_sync::change::Change;
use selvedge_sync::id::{Incarnation, NodeId, ReplicaId};
use selvedge_sync::key::{Key, Kind};
use selvedge_sync::replica::{Config, Input, Orphans, Output, Recovery, Replica};
use selvedge_sync::time::Time;

const WALL_MS: u64 = 1_800_000_000_000;
const CHECKPOINT_BYTES: u64 = 1_000;
const CHECKPOINT_MS: u64 = 60_000;

fn config() -> Config {
    Config { checkpoint_bytes: CHECKPOINT_BYTES, checkpoint_ms: CHECKPOINT_MS, ..Config::default() }
}

fn me() -> ReplicaId {
    ReplicaId { node: NodeId([1; 32]), incarnation: Incarnation(1) }
}

const fn at(mono_ms: u64) -> Time {
    Time { wall_ms: WALL_MS + mono_ms, mono_ms }
}

/// Makes a commit, which is durable at once, and returns what it put into the log.
fn write(replica: &mut Replica, now: Time) -> selvedge_sync::commit::Batch {
    let changes = vec![(Key::new(Kind::GCounter, "kills").expect("a key"), Change::Increment(1))];
    let outputs = replica.handle(Input::Commit { ticket: 0, changes, request: None }, now);
    let persist = outputs.into_iter().find_map(|output| match output {
        Output::Persist { token, batch } => Some((token, batch)),
        _ => None,
    });
    let (token, batch) = persist.expect("it is to be stored");
    replica.handle(Input::Persisted { token }, now);
    batch
}

/// The token of the checkpoint that a tick brings, if it does.
fn checkpoint(replica: &mut Replica, now: Time) -> Option<u64> {
    replica.handle(Input::Tick, now).into_iter().find_map(|output| match output {
        Output::Checkpoint { token, .. } => Some(token),
        _ => None,
    })
}

/// Writes until a checkpoint is made, and tells how many bytes that took.
fn bytes_until_checkpoint(replica: &mut Replica, now: Time) -> u64 {
    let mut bytes = 0;
    loop {
        bytes += write(replica, now).commits[0].len() as u64;
        if let Some(token) = checkpoint(replica, now) {
            replica.handle(Input::Persisted { token }, now);
            return bytes;
        }
        assert!(bytes < 10 * CHECKPOINT_BYTES, "no checkpoint after {bytes} bytes");
    }
}

#[test]
fn a_checkpoint_comes_after_so_many_bytes() {
    let mut replica = Replica::new(me(), config());
    for _ in 0..3 {
        let bytes = bytes_until_checkpoint(&mut replica, at(0));
        assert!((CHECKPOINT_BYTES..CHECKPOINT_BYTES + 100).contains(&bytes), "{bytes}");
    }
}

#[test]
fn a_checkpoint_comes_after_so_much_time_if_there_is_something_to_write() {
    let mut replica = Replica::new(me(), config());
    assert_eq!(checkpoint(&mut replica, at(CHECKPOINT_MS)), None, "nothing has changed");
    write(&mut replica, at(CHECKPOINT_MS));
    let token = checkpoint(&mut replica, at(CHECKPOINT_MS)).expect("it is time");
    replica.handle(Input::Persisted { token }, at(CHECKPOINT_MS));
    write(&mut replica, at(CHECKPOINT_MS));
    assert_eq!(checkpoint(&mut replica, at(2 * CHECKPOINT_MS - 1)), None, "not yet");
    assert!(checkpoint(&mut replica, at(2 * CHECKPOINT_MS)).is_some());
}

/// Or an agent that is restarted again and again would have more to apply each time.
#[test]
fn what_a_restart_had_to_apply_counts() {
    let mut replica = Replica::new(me(), config());
    let log: Vec<_> = (0..20).map(|_| write(&mut replica, at(0))).collect();
    let applied: u64 = log.iter().map(|batch| batch.commits[0].len() as u64).sum();
    assert!(applied < CHECKPOINT_BYTES, "{applied}");
    // The store knows already that nobody has confirmed what was written.
    let orphans = Orphans { unconfirmed_after: Some(0), ..Orphans::default() };
    let recovery = Recovery { log, orphans, ..Recovery::default() };
    let mut replica = Replica::recover(me(), config(), recovery).expect("recovers");
    let bytes = bytes_until_checkpoint(&mut replica, at(0));
    assert!((CHECKPOINT_BYTES..CHECKPOINT_BYTES + 100).contains(&(applied + bytes)), "{applied} and {bytes}");
}
