//! Content to measure with: names, players, values of 64 bytes, and replicas that hold so many keys.
//!
//! Everything comes from a seed, so that two runs measure the same bytes.

use selvedge_sync::causal::VersionVector;
use selvedge_sync::change::Change;
use selvedge_sync::crdt::ObjectState;
use selvedge_sync::hlc::Hlc;
use selvedge_sync::id::{Dot, Incarnation, NodeId, ReplicaId, Stream};
use selvedge_sync::key::{Key, Kind};
use selvedge_sync::replica::{Config, Input, Output, Recovery, Replica};
use selvedge_sync::scalar::Scalar;
use selvedge_sync::sim::Rng;
use selvedge_sync::time::Time;

/// Bytes of a value: a position, a direction, a few flags.
pub(crate) const VALUE_BYTES: usize = 64;

/// When virtual time begins.
pub(crate) const NOON: Time = Time { wall_ms: 1_800_000_000_000, mono_ms: 1_000_000 };

/// The node that stands in for the `number`th host; its key looks as random as a real one.
pub(crate) fn node(number: u64) -> NodeId {
    NodeId(*blake3::hash(&number.to_be_bytes()).as_bytes())
}

/// Its replica. Incarnations are moments in milliseconds, as the agent makes them.
pub(crate) fn replica_id(number: u64) -> ReplicaId {
    ReplicaId { node: node(number), incarnation: Incarnation(1_795_000_000_000) }
}

pub(crate) fn stream(number: u64) -> Stream {
    Stream::global(replica_id(number))
}

pub(crate) fn dot(number: u64, seq: u64) -> Dot {
    Dot { replica: replica_id(number), seq }
}

/// `lwwmap/player:<number>`.
pub(crate) fn player(number: usize) -> Key {
    Key::new(Kind::LwwMap, &format!("player:{number}")).expect("a name within bounds")
}

/// 64 bytes that no compression helps.
pub(crate) fn value(rng: &mut Rng) -> Scalar {
    let bytes: Vec<u8> = std::iter::repeat_with(|| rng.draw().to_be_bytes()).take(VALUE_BYTES / 8).flatten().collect();
    Scalar::Bytes(bytes)
}

/// A write of a player's field.
pub(crate) fn put(number: usize, rng: &mut Rng) -> (Key, Change) {
    (player(number), Change::Put(vec![("state".to_owned(), value(rng))]))
}

/// The commit input for some changes.
pub(crate) fn commit(changes: Vec<(Key, Change)>) -> Input {
    Input::Commit { ticket: 0, changes, request: None }
}

/// Objects as a checkpoint or a page holds them, and what they have seen.
#[derive(Clone)]
pub(crate) struct Held {
    pub(crate) objects: Vec<(Key, ObjectState)>,
    pub(crate) vector: VersionVector,
}

impl Held {
    /// What a replica holds now.
    pub(crate) fn by(replica: &Replica) -> Self {
        let objects = replica.state().objects_after(None).map(|(key, object)| (key.clone(), object.state()));
        Self { objects: objects.collect(), vector: replica.seen().clone() }
    }

    /// A replica that holds this and has forgotten the commits that made it.
    pub(crate) fn recovered(&self, number: u64) -> Replica {
        let recovery = Recovery { objects: self.objects.clone(), vector: self.vector.clone(), ..Recovery::default() };
        Replica::recover(replica_id(number), Config::default(), recovery).expect("what a replica held is sound")
    }
}

/// Feeds an input to a replica without peers, and reports everything durable at once.
pub(crate) fn settle(replica: &mut Replica, input: Input, now: Time) {
    let mut inputs = vec![input];
    while let Some(input) = inputs.pop() {
        for output in replica.handle(input, now) {
            match output {
                Output::Persist { token, .. } | Output::Checkpoint { token, .. } => {
                    inputs.push(Input::Persisted { token });
                }
                Output::Committed { result, .. } => drop(result.expect("a sound commit")),
                _ => {}
            }
        }
    }
}

/// A replica that has written `keys` players, one commit each.
pub(crate) fn writer(number: u64, keys: usize) -> Replica {
    let mut rng = Rng::new(number);
    let mut replica = Replica::new(replica_id(number), Config::default());
    for key in 0..keys {
        settle(&mut replica, commit(vec![put(key, &mut rng)]), NOON);
    }
    replica
}

/// A stamp of virtual noon.
pub(crate) fn stamp(count: u64) -> Hlc {
    Hlc(Hlc::from_millis(NOON.wall_ms).0 + count)
}
