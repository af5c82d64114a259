//! What is done with bytes from outside, one function for each decoder: none may panic, whatever the bytes.
//!
//! Each says whether it accepted them. What was accepted is also encoded and decoded again, where it has to come out the
//! same, and put to use, where a replica has to go on working.

use selvedge_sync::causal::VersionVector;
use selvedge_sync::change::Change;
use selvedge_sync::codec;
use selvedge_sync::commit::{Batch, Commit, CommitBytes};
use selvedge_sync::crdt::ObjectState;
use selvedge_sync::hlc::Hlc;
use selvedge_sync::id::{Dot, NodeId, ReplicaId, Stream};
use selvedge_sync::key::{Key, Kind};
use selvedge_sync::limits::{COMMIT_BYTES_MAX, MESSAGE_BYTES_MAX};
use selvedge_sync::replica::{Input, Message, Output, Recovery, Replica};
use selvedge_sync::scalar::Scalar;

use super::samples::{NOW, Parts, key, node, replica, replica_id, settle, small};

/// Takes bytes and says whether they were accepted.
pub type Decoder = fn(&[u8]) -> bool;

/// All of them, with the names of their targets.
pub const ALL: [(&str, Decoder); 10] = [
    ("commit", commit),
    ("batch", batch),
    ("message", message),
    ("object", object),
    ("row", row),
    ("vector", vector),
    ("name", name),
    ("value", value),
    ("recovery", recovery),
    ("replica", conversation),
];

/// Outputs that one input may lead to, for each byte that was received: enough for one message per commit, far from a loop.
const OUTPUTS_PER_BYTE_MAX: usize = 4;

/// One commit of a stream.
pub fn commit(bytes: &[u8]) -> bool {
    let stream = Stream::global(replica_id(9));
    let bytes = CommitBytes::from_bytes(bytes);
    let Ok(commit) = Commit::decode(stream, 1, &bytes) else { return false };
    let again = Commit::decode(stream, 1, &commit.encode()).expect("what was decoded encodes");
    assert_eq!(again, commit);
    receive(&mut Replica::new(replica_id(1), small()), batch_of(stream, bytes));
    true
}

fn batch_of(stream: Stream, commit: CommitBytes) -> Message {
    Message::Commits { batches: vec![Batch::new(stream, 1, vec![commit])], more: false, hops: None }
}

/// Consecutive commits of one stream.
pub fn batch(bytes: &[u8]) -> bool {
    let Ok(batch) = codec::decode::<Batch>(bytes, MESSAGE_BYTES_MAX) else { return false };
    assert_eq!(codec::decode::<Batch>(&codec::encode(&batch), usize::MAX).ok().as_ref(), Some(&batch));
    receive(&mut replica(1), Message::Commits { batches: vec![batch], more: true, hops: None });
    true
}

/// What a peer says.
pub fn message(bytes: &[u8]) -> bool {
    let Ok(message) = Message::decode(bytes) else { return false };
    assert_eq!(Message::decode(&message.encode()).ok().as_ref(), Some(&message));
    let mut victim = replica(1);
    // A repair is under way, so that pages are taken as well.
    settle(&mut victim, Input::Receive { from: node(9), message: Message::Forgotten });
    receive(&mut victim, message);
    true
}

/// An object as a page or a checkpoint holds it.
pub fn object(bytes: &[u8]) -> bool {
    let Ok((key, state)) = codec::decode::<(Key, ObjectState)>(bytes, MESSAGE_BYTES_MAX) else { return false };
    if state.validate(key.kind()).is_err() {
        return false;
    }
    let recovery = Recovery { objects: vec![(key, state)], ..Recovery::default() };
    let mut recovered = Replica::recover(replica_id(1), small(), recovery).expect("a valid object is recovered");
    still_works(&mut recovered);
    true
}

/// An object as a row of the store.
pub fn row(bytes: &[u8]) -> bool {
    let Ok(state) = ObjectState::from_row(bytes) else { return false };
    assert_eq!(ObjectState::from_row(&state.to_row()).ok().as_ref(), Some(&state));
    let Some(kind) = Kind::ALL.into_iter().find(|kind| state.validate(*kind).is_ok()) else { return false };
    let recovery = Recovery { objects: vec![(key(kind, "row"), state)], ..Recovery::default() };
    let mut recovered = Replica::recover(replica_id(1), small(), recovery).expect("a valid object is recovered");
    still_works(&mut recovered);
    true
}

/// A version vector.
pub fn vector(bytes: &[u8]) -> bool {
    let Ok(vector) = codec::decode::<VersionVector>(bytes, MESSAGE_BYTES_MAX) else { return false };
    let again = codec::decode::<VersionVector>(&codec::encode(&vector), usize::MAX).expect("what was decoded encodes");
    assert_eq!(again, vector);
    assert_eq!(again.digest(), vector.digest());
    let ours = replica(1);
    let mut merged = ours.seen().clone();
    merged.merge(&vector);
    assert!(merged.includes(&vector) && merged.includes(ours.seen()));
    let (missing, all) = (ours.seen().missing_from(&vector), vector.commits());
    assert!(missing <= all);
    true
}

/// Names of keys, types, nodes and replicas as users write them.
pub fn name(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let key = text.parse::<Key>();
    let node = text.parse::<NodeId>();
    let replica = text.parse::<ReplicaId>();
    if let Ok(key) = &key {
        assert_eq!(key.to_string(), text);
    }
    if let Ok(node) = node {
        assert_eq!(node.to_string().parse(), Ok(node));
    }
    if let Ok(replica) = replica {
        assert_eq!(replica.to_string().parse(), Ok(replica));
    }
    key.is_ok() || node.is_ok() || replica.is_ok() || text.parse::<Kind>().is_ok()
}

/// Small values in the envelope: scalars, stamps, keys, dots.
pub fn value(bytes: &[u8]) -> bool {
    let scalar = codec::decode::<Scalar>(bytes, COMMIT_BYTES_MAX);
    if let Ok(scalar) = &scalar {
        let again = codec::decode::<Scalar>(&codec::encode(scalar), usize::MAX);
        assert_eq!(again.ok().as_ref(), Some(scalar));
        assert!(scalar.weight() <= bytes.len());
    }
    let stamp = codec::decode::<Hlc>(bytes, COMMIT_BYTES_MAX);
    if let Ok(stamp) = stamp {
        assert!(Hlc::from_millis(stamp.millis()) <= stamp);
    }
    let key = codec::decode::<Key>(bytes, COMMIT_BYTES_MAX);
    let dot = codec::decode::<Dot>(bytes, COMMIT_BYTES_MAX);
    scalar.is_ok() || stamp.is_ok() || key.is_ok() || dot.is_ok()
}

/// Whatever a store may give back.
pub fn recovery(bytes: &[u8]) -> bool {
    let Ok((vector, ahead, orphans, objects, log)) = codec::decode::<Parts>(bytes, MESSAGE_BYTES_MAX) else {
        return false;
    };
    let recovery = Recovery { vector, ahead, latest: Hlc::default(), orphans, objects, proofs: Vec::new(), log };
    let Ok(mut recovered) = Replica::recover(replica_id(1), small(), recovery) else { return false };
    still_works(&mut recovered);
    receive(&mut recovered, Message::Forgotten);
    true
}

/// A conversation with one live replica: messages behind their lengths. True when one of them was a message.
pub fn conversation(mut bytes: &[u8]) -> bool {
    let mut victim = replica(1);
    let mut heard = false;
    while let Some((length, rest)) = bytes.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes(*length)).min(rest.len());
        let (message, rest) = rest.split_at(length);
        bytes = rest;
        if let Ok(message) = Message::decode(message) {
            heard = true;
            receive(&mut victim, message);
        }
    }
    heard
}

/// A message is received, leads to no more than it should, and leaves a replica that works.
fn receive(victim: &mut Replica, message: Message) {
    let bytes = message.encode().len();
    let outputs = victim.handle(Input::Receive { from: node(9), message: message.clone() }, NOW);
    assert!(outputs.len() <= OUTPUTS_PER_BYTE_MAX * bytes, "{} outputs for {bytes} bytes: {message:?}", outputs.len());
    for output in outputs {
        match output {
            Output::Persist { token, .. } | Output::Checkpoint { token, .. } => {
                settle(victim, Input::Persisted { token });
            }
            Output::Rebirth { incarnation, .. } => {
                settle(victim, Input::Reborn(incarnation));
            }
            Output::Send { .. } | Output::Committed { .. } | Output::Event(_) => {}
            Output::Watching { .. } | Output::Changed { .. } => {}
        }
    }
    still_works(victim);
}

/// The replica still takes a write, or says why not, and time passes for it.
pub fn still_works(replica: &mut Replica) {
    let changes = vec![(key(Kind::GSet, "alive"), Change::Add(vec![Scalar::Int(1)]))];
    let outputs = replica.handle(Input::Commit { ticket: 7, changes, request: None }, NOW);
    assert!(outputs.iter().any(|output| matches!(output, Output::Committed { ticket: 7, .. })));
    replica.handle(Input::Tick, NOW);
}
