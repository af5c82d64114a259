//! Real content and its encodings, one list for each decoder: where fuzzing and mutation begin.

use selvedge_sync::broadcast::{News, Want};
use selvedge_sync::causal::VersionVector;
use selvedge_sync::change::Change;
use selvedge_sync::codec;
use selvedge_sync::commit::{Batch, Commit};
use selvedge_sync::crdt::{ContentHash, ObjectState};
use selvedge_sync::hlc::Hlc;
use selvedge_sync::id::{Incarnation, NodeId, ReplicaId, Stream};
use selvedge_sync::key::{Key, Kind};
use selvedge_sync::log::Range;
use selvedge_sync::replica::{Ahead, Ask, Config, Input, Message, Orphans, Output, Replica};
use selvedge_sync::scalar::{Float, Scalar};
use selvedge_sync::time::Time;

/// The moment at which everything here happens.
pub const NOW: Time = Time { wall_ms: 1_800_000_000_000, mono_ms: 50_000 };

/// A node.
#[must_use]
pub const fn node(byte: u8) -> NodeId {
    NodeId([byte; 32])
}

/// Its replica.
#[must_use]
pub const fn replica_id(byte: u8) -> ReplicaId {
    ReplicaId { node: node(byte), incarnation: Incarnation(1) }
}

/// A key of this type.
#[must_use]
pub fn key(kind: Kind, name: &str) -> Key {
    Key::new(kind, name).expect("a key")
}

/// Small pages and a short log, so that little content reaches every path.
#[must_use]
pub fn small() -> Config {
    Config { page_bytes: 400, log_bytes: 4_000, log_commits_kept: 2, ..Config::default() }
}

/// A replica with a peer, and some content of every type.
#[must_use]
pub fn replica(byte: u8) -> Replica {
    let mut replica = Replica::new(replica_id(byte), small());
    replica.handle(Input::PeerUp(node(9)), NOW);
    for round in 0..4 {
        let changes = vec![
            (key(Kind::GCounter, "c"), Change::Increment(3)),
            (key(Kind::PnCounter, "p"), Change::Decrement(3)),
            (key(Kind::GSet, "g"), Change::Add(vec![Scalar::Int(round), Scalar::Float(Float(0.5)), Scalar::Null])),
            (key(Kind::OrSet, "o"), Change::Add(vec![Scalar::from("x"), Scalar::Bytes(vec![1, 2, 3])])),
            (key(Kind::OrSet, "o"), Change::Remove(vec![Scalar::Int(round)])),
            (
                key(Kind::LwwMap, "m"),
                Change::Put(vec![("f".to_owned(), Scalar::Bool(true)), (format!("f{round}"), Scalar::Int(-1))]),
            ),
        ];
        settle(&mut replica, Input::Commit { ticket: 1, changes, request: None });
    }
    replica
}

/// Feeds an input and reports at once everything durable that it leads to; returns what would be sent.
pub fn settle(replica: &mut Replica, input: Input) -> Vec<Message> {
    let mut sent = Vec::new();
    let mut inputs = vec![input];
    while let Some(input) = inputs.pop() {
        for output in replica.handle(input, NOW) {
            match output {
                Output::Persist { token, .. } | Output::Checkpoint { token, .. } => {
                    inputs.push(Input::Persisted { token });
                }
                Output::Rebirth { incarnation, .. } => inputs.push(Input::Reborn(incarnation)),
                Output::Send { message, .. } => sent.push(message),
                Output::Committed { .. } | Output::Event(_) => {}
                Output::Watching { .. } | Output::Changed { .. } => {}
            }
        }
    }
    sent
}

/// One message of every kind, as another replica would send it.
#[must_use]
pub fn messages() -> Vec<Message> {
    let mut other = replica(9);
    let ask = |message: Message| Input::Receive { from: node(1), message };
    let nothing = Message::Vector {
        seen: VersionVector::default(),
        behind: Vec::new(),
        tip: None,
        root: ContentHash::ZERO,
        answer: true,
    };
    let recall = Message::Recall { incarnation: Incarnation(1), from: 1 };
    let everything =
        |shift, words| Message::StateRequest { asks: vec![Ask { start: 0, last: u64::MAX, shift, words }] };
    let mut messages = vec![Message::Forgotten, everything(None, Vec::new()), recall];
    messages.extend(settle(&mut other, Input::PeerUp(node(1))));
    messages.extend(settle(&mut other, ask(nothing)));
    messages.extend(settle(
        &mut other,
        ask(Message::Digest { root: ContentHash::ZERO, vector: [0; 16], durable: true, exact: true, tip: None }),
    ));
    messages.extend(settle(&mut other, ask(everything(None, vec![1, 2]))));
    messages.extend(settle(&mut other, ask(everything(Some(61), vec![0; 8]))));
    messages.extend(settle(&mut replica(1), Input::Receive { from: node(9), message: Message::Forgotten }));
    messages.push(Message::Recalled { incarnation: Incarnation(1), known: 4, batch: Some(batch(&other, 3)) });
    messages.push(Message::Commits { batches: vec![batch(&other, 3)], more: true, hops: None });
    messages.extend(tree_messages(&other));
    messages
}

/// One message of every kind that the broadcast tree sends.
fn tree_messages(other: &Replica) -> Vec<Message> {
    let own = Stream::global(other.me());
    let news = |stream, through, hops| News { stream, through, hops };
    let want = |stream, after, through| Want { stream, after, through };
    vec![
        Message::Link(true),
        Message::Commits { batches: vec![batch(other, 3)], more: false, hops: Some(2) },
        Message::Announce(vec![news(own, 4, 1), news(Stream::global(replica_id(7)), 9, u8::MAX)]),
        Message::Graft(vec![want(own, 0, 2), want(Stream::global(replica_id(1)), 1, 4)]),
        Message::Prune,
        Message::Link(false),
    ]
}

/// The replica's own commits from `first`.
#[must_use]
pub fn batch(replica: &Replica, first: u64) -> Batch {
    match replica.log().range(&Stream::global(replica.me()), first, 4, usize::MAX) {
        Range::Batch { batch, .. } => batch,
        Range::Nothing | Range::Forgotten => panic!("the log holds the commits"),
    }
}

/// Objects of every type.
#[must_use]
pub fn objects(replica: &Replica) -> Vec<(Key, ObjectState)> {
    replica.state().objects_after(None).map(|(key, object)| (key.clone(), object.state())).collect()
}

/// What a store gives back, in one piece.
pub type Parts = (VersionVector, Ahead, Orphans, Vec<(Key, ObjectState)>, Vec<Batch>);

/// Encodings that the decoder of this name accepts.
///
/// # Panics
/// There is no decoder of that name.
#[must_use]
pub fn of(decoder: &str) -> Vec<Vec<u8>> {
    let source = replica(9);
    let messages = || messages().iter().map(Message::encode).collect::<Vec<_>>();
    match decoder {
        "commit" => {
            let mut commits: Vec<_> =
                batch(&source, 1).commits.iter().map(|commit| commit.as_bytes().to_vec()).collect();
            // The least that is a commit: from long samples, shortening rarely gets there.
            let stream = Stream::global(source.me());
            let empty = Commit { stream, seq: 1, hlc: Hlc::from_millis(NOW.wall_ms), request: None, ops: Vec::new() };
            commits.push(empty.encode().as_bytes().to_vec());
            commits
        }
        "batch" => vec![codec::encode(&batch(&source, 1)), codec::encode(&batch(&source, 3))],
        "message" => messages(),
        "row" => objects(&source).iter().map(|(_, object)| object.to_row()).collect(),
        "object" => objects(&source).iter().map(codec::encode).collect(),
        "vector" => vec![codec::encode(source.seen()), codec::encode(&VersionVector::default())],
        "name" => {
            let keys = Kind::ALL.map(|kind| key(kind, "player:42").to_string());
            let ids = [node(9).to_string(), replica_id(9).to_string()];
            keys.into_iter().chain(ids).map(String::into_bytes).collect()
        }
        "value" => values(),
        "recovery" => {
            let whole: Parts = (
                VersionVector::default(),
                Ahead::default(),
                Orphans { certain: vec![batch(&source, 3)], doubtful: Vec::new(), unconfirmed_after: None },
                Vec::new(),
                vec![batch(&source, 1)],
            );
            let checkpointed: Parts = (
                source.seen().clone(),
                Ahead::default(),
                Orphans::default(),
                objects(&source),
                vec![batch(&source, 3)],
            );
            vec![codec::encode(&whole), codec::encode(&checkpointed)]
        }
        "replica" => vec![messages().iter().flat_map(|message| framed(message)).collect()],
        other => panic!("no decoder is called {other}"),
    }
}

/// Scalars, stamps, keys and dots in their envelopes.
fn values() -> Vec<Vec<u8>> {
    let scalars = [
        Scalar::Null,
        Scalar::Bool(true),
        Scalar::Int(-7),
        Scalar::Float(Float(f64::NAN)),
        Scalar::from("text"),
        Scalar::Bytes(vec![0xff; 40]),
    ];
    let mut encoded: Vec<_> = scalars.iter().map(codec::encode).collect();
    encoded.push(codec::encode(&Hlc::from_millis(NOW.wall_ms)));
    encoded.push(codec::encode(&key(Kind::OrSet, "online")));
    encoded.push(codec::encode(&selvedge_sync::id::Dot { replica: replica_id(3), seq: 77 }));
    encoded
}

/// A message behind its length, as the `replica` target reads a conversation.
#[must_use]
pub fn framed(message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
    [&length.to_be_bytes(), &message[..usize::from(length)]].concat()
}
