//! Bytes and numbers from outside: whatever arrives, a replica neither panics nor stops working.
//!
//! Valid messages, commits and object states are mutated, truncated and spliced from a seed; what still decodes is fed to a
//! replica. Hostile content may be taken for true, as members are trusted; it may not crash anybody.

use selvedge_sync::causal::VersionVector;
use selvedge_sync::codec;
use selvedge_sync::commit::{Batch, Commit, CommitBytes};
use selvedge_sync::crdt::{Assign, ContentHash, CounterState, DotMapState, Entry, ObjectState, Op, Share};
use selvedge_sync::hlc::Hlc;
use selvedge_sync::id::{Dot, Incarnation, ReplicaId, Scope, Stream};
use selvedge_sync::key::Kind;
use selvedge_sync::replica::{Ask, Config, Event, Input, Message, Output, Replica, Tip};
use selvedge_sync::scalar::{Float, Scalar};
use selvedge_sync::sim::Rng;
use selvedge_sync::time::Time;

#[expect(unreachable_pub, reason = "shared with the fuzz targets, a library, where it is not")]
#[path = "../fuzz/src/decoders.rs"]
mod decoders;
#[expect(unreachable_pub, reason = "as above")]
#[path = "../fuzz/src/samples.rs"]
mod samples;

use decoders::still_works;
use samples::{NOW, key, messages, node, replica, replica_id, settle};

const MUTATIONS: u64 = if cfg!(debug_assertions) { 3_000 } else { 60_000 };

fn mutate(bytes: &mut Vec<u8>, rng: &mut Rng) {
    for _ in 0..rng.between(1, 4) {
        let at = rng.index(bytes.len().max(1)).min(bytes.len().saturating_sub(1));
        if bytes.is_empty() {
            return;
        }
        match rng.between(0, 6) {
            0 => bytes[at] = rng.draw().to_be_bytes()[0],
            1 => bytes[at] ^= 1 << rng.between(0, 7),
            2 => bytes.truncate(at),
            3 => drop(bytes.splice(at..at, [0x1b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff])),
            4 => drop(bytes.remove(at)),
            5 => {
                let from = rng.index(bytes.len());
                let part: Vec<u8> = bytes[from.min(at)..from.max(at)].to_vec();
                bytes.splice(at..at, part);
            }
            // Numbers near the edges, where CBOR keeps its lengths and values.
            _ => bytes[at] = [0x00, 0x17, 0x18, 0x1b, 0x3b, 0x5f, 0x7f, 0x9f, 0xbf, 0xf6, 0xfb, 0xff][rng.index(12)],
        }
    }
}

#[test]
fn mutated_messages_crash_nobody() {
    let originals: Vec<Vec<u8>> = messages().iter().map(Message::encode).collect();
    assert!(originals.len() >= 8, "every kind of message is there");
    let mut rng = Rng::new(4);
    let (mut decoded, mut victim) = (0_u64, replica(1));
    for round in 0..MUTATIONS {
        if round % 500 == 0 {
            still_works(&mut victim);
            victim = replica(1);
        }
        let mut bytes = originals[rng.index(originals.len())].clone();
        mutate(&mut bytes, &mut rng);
        let Ok(message) = Message::decode(&bytes) else { continue };
        decoded += 1;
        if rng.chance(300) {
            settle(&mut victim, Input::Receive { from: node(9), message: Message::Forgotten });
        }
        settle(&mut victim, Input::Receive { from: node(9), message });
    }
    assert!(decoded > MUTATIONS / 20, "mutation is mild enough to get past the decoder: {decoded}");
}

/// On the wire a message may end anywhere, before it is packed and after.
#[test]
fn a_message_that_is_cut_off_anywhere_is_none() {
    for message in messages() {
        for whole in [message.encode(), codec::encode(&message)] {
            assert!(Message::decode(&whole).is_ok(), "{message:?}");
            for cut in 0..whole.len() {
                assert!(Message::decode(&whole[..cut]).is_err(), "cut at {cut}: {message:?}");
            }
        }
    }
}

/// Nesting costs a stack: it ends long before one does, in fields that nobody knows too.
#[test]
fn what_is_nested_too_deeply_is_refused() {
    let digest =
        Message::Digest { root: ContentHash::default(), vector: [0; 16], durable: true, exact: true, tip: None };
    let whole = codec::encode(&digest);
    // The version, a map of one kind of message, and the map of its fields.
    assert_eq!((whole[1], &whole[2..4], whole[4] & 0xe0), (0xa1, &b"ad"[..], 0xa0));
    let with = |depth: usize| {
        let unknown = [b"az", vec![0x81; depth].as_slice(), &[0x01]].concat();
        [&whole[..4], &[whole[4] + 1], unknown.as_slice(), &whole[5..]].concat()
    };
    assert_eq!(Message::decode(&with(8)).expect("a field of a later release is left out"), digest);
    for depth in [16, 1_000, 1_000_000] {
        for bytes in [with(depth), codec::pack(with(depth))] {
            let error = Message::decode(&bytes).expect_err("refused").to_string();
            assert!(error.contains("RecursionLimit"), "{depth}: {error}");
        }
    }
}

/// One member is upgraded before another: what the older one cannot read holds up the stream that it stands in, and nothing else, until
/// that member is upgraded too.
#[test]
fn an_operation_of_a_later_release_holds_up_its_own_stream_alone() {
    let [mut old, mut upgraded] = [1, 1].map(replica);
    old.handle(Input::PeerUp(node(8)), NOW);
    let stream = |byte: u8| Stream { scope: Scope::GLOBAL, replica: replica_id(byte) };
    let commit = |byte: u8, seq: u64| {
        let ops = vec![(key(Kind::GCounter, "later"), Op::GCounter(seq.into()))];
        Commit { stream: stream(byte), seq, hlc: Hlc::from_millis(NOW.wall_ms), request: None, ops }.encode()
    };
    // The same with an operation by another name.
    let later = |byte: u8, seq: u64| {
        let mut bytes = commit(byte, seq).as_bytes().to_vec();
        let at = bytes.windows(2).position(|two| two == b"ag").expect("the name of the operation");
        bytes[at + 1] = b'q';
        CommitBytes::from_bytes(&bytes)
    };
    let receive = |by: &mut Replica, byte: u8, first: u64, commits: Vec<CommitBytes>| {
        let message =
            Message::Commits { batches: vec![Batch::new(stream(byte), first, commits)], more: false, hops: None };
        settle(by, Input::Receive { from: node(byte), message });
        (by.seen().seq(&stream(byte)), by.counters().unread, by.counters().rejected)
    };
    let mixed = vec![commit(9, 1), later(9, 2), commit(9, 3)];
    assert_eq!(receive(&mut old, 9, 1, mixed), (1, 1, 0), "what can be read is applied");
    assert_eq!(receive(&mut old, 8, 1, vec![commit(8, 1), commit(8, 2)]), (2, 1, 0), "another stream goes on");
    // What the same bytes mean to a release that knows the operation. It is another process; this one has said that the stream waits.
    let (first, rest) = (vec![commit(9, 1)], vec![commit(9, 2), commit(9, 3)]);
    assert_eq!(receive(&mut upgraded, 9, 1, first), (1, 0, 0), "what was here before");
    assert_eq!(receive(&mut upgraded, 9, 2, rest), (3, 0, 0), "nothing was skipped, so nothing is missing");
}

/// The list of the fuzz targets, without a fuzzer. How much of what is mutated still decodes says how deep mutation reaches.
#[test]
fn mutated_bytes_crash_no_decoder() {
    for (name, decoder) in decoders::ALL {
        let originals = samples::of(name);
        assert!(
            originals.iter().all(|original| decoder(original)),
            "the samples for `{name}` are accepted as they are"
        );
        let mut rng = Rng::new(5);
        let mut taken = 0;
        for _ in 0..MUTATIONS / 2 {
            let mut bytes = originals[rng.index(originals.len())].clone();
            mutate(&mut bytes, &mut rng);
            taken += u64::from(decoder(&bytes));
        }
        assert!(taken > MUTATIONS / 200, "mutation is mild enough to get past the decoder `{name}`: {taken}");
    }
}

/// Every decoder has its target, and every target its decoder.
#[test]
fn the_fuzz_targets_are_the_decoders() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/fuzz_targets");
    let files = std::fs::read_dir(folder).expect("there are targets").map(|entry| entry.expect("an entry").path());
    let mut targets: Vec<_> = files.filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned())).collect();
    let mut decoders = decoders::ALL.map(|(name, _)| name);
    targets.sort();
    decoders.sort_unstable();
    assert_eq!(targets, decoders);
}

/// A message as its bytes would bring it; `None` when the decoder refuses it.
fn through_the_wire(message: &Message) -> Option<Message> {
    Message::decode(&message.encode()).ok()
}

/// A counter to which one replica has contributed.
fn counter(replica: ReplicaId, seq: u64, up: u64, down: u64) -> CounterState {
    CounterState { shares: vec![Share { replica, seq, up, down }], deferred: Vec::new() }
}

fn vector(stream: Stream, seq: u64) -> VersionVector {
    [(stream, seq)].into_iter().collect()
}

fn batch(stream: Stream, first: u64, commits: usize) -> Message {
    let empty = Commit { stream, seq: 1, hlc: Hlc::from_millis(NOW.wall_ms), request: None, ops: Vec::new() }.encode();
    Message::Commits { batches: vec![Batch::new(stream, first, vec![empty; commits])], more: false, hops: None }
}

#[test]
fn numbers_at_the_edge_do_not_overflow() {
    let edges = [0, 1, 2, (1 << 53) - 1, u64::MAX >> 1, (u64::MAX >> 1) + 1, u64::MAX - 1, u64::MAX];
    let streams = [
        Stream::global(replica_id(1)),
        Stream::global(replica_id(5)),
        Stream { scope: Scope(7), replica: replica_id(5) },
        Stream { scope: Scope(u32::MAX), replica: replica_id(1) },
        Stream::global(ReplicaId { node: node(1), incarnation: Incarnation(u64::MAX) }),
    ];
    for stream in streams {
        for edge in edges {
            let mut victim = replica(1);
            let seen = vector(stream, edge);
            settle(&mut victim, Input::Receive { from: node(9), message: Message::Forgotten });
            let page = Message::StatePage {
                seen: seen.clone(),
                ahead: vector(stream, edge / 2),
                latest: Hlc::from_millis(edge),
                to: 0,
                last: u64::MAX,
                equal: vec![255],
                objects: vec![(
                    key(Kind::GCounter, "c"),
                    ObjectState::GCounter(counter(stream.replica, edge, edge, 0)),
                )],
            };
            let heard = Message::Vector {
                seen,
                behind: vec![(stream, edge)],
                root: ContentHash::ZERO,
                answer: true,
                tip: Some(Tip(Incarnation(edge), edge, edge)),
            };
            for message in
                [Message::Forgotten, page, batch(stream, edge, 2), heard, batch(stream, edge.wrapping_add(1), 1)]
            {
                if let Some(message) = through_the_wire(&message) {
                    settle(&mut victim, Input::Receive { from: node(9), message });
                }
            }
            still_works(&mut victim);
        }
    }
}

#[test]
fn totals_beyond_the_bound_are_refused() {
    let over = u64::MAX >> 1;
    let states = [
        ObjectState::GCounter(counter(replica_id(5), 1, over + 1, 0)),
        ObjectState::PnCounter(counter(replica_id(5), 1, 1, u64::MAX)),
        ObjectState::GCounter(counter(replica_id(5), 1, 0, 0)),
        ObjectState::GCounter(counter(replica_id(5), 1, 2, 1)),
        ObjectState::GCounter(counter(replica_id(5), over + 1, 1, 0)),
    ];
    for state in states {
        assert!(state.validate(state.kind()).is_err(), "{state:?}");
    }
    let dot = Dot { replica: replica_id(5), seq: 1 };
    assert!(Op::GCounter((over + 1).into()).validate(Kind::GCounter, &dot).is_err());
    assert!(Op::PnCounter(0.into(), (over + 1).into()).validate(Kind::PnCounter, &dot).is_err());
    let fold = |up, down, from| Op::Fold { up, down, from };
    let other = Dot { replica: replica_id(6), seq: 1 };
    assert_eq!(fold(over, 0, vec![other]).validate(Kind::GCounter, &dot), Ok(()));
    assert!(fold(over + 1, 0, vec![other]).validate(Kind::GCounter, &dot).is_err());
    assert!(fold(1, 1, vec![other]).validate(Kind::GCounter, &dot).is_err());
    assert!(fold(1, 1, vec![other]).validate(Kind::LwwMap, &dot).is_err());
    assert!(fold(1, 1, vec![dot]).validate(Kind::PnCounter, &dot).is_err());
    assert!(fold(1, 1, vec![Dot { seq: 0, ..other }]).validate(Kind::PnCounter, &dot).is_err());
    assert!(fold(1, 1, vec![other; 1025]).validate(Kind::PnCounter, &dot).is_err());
    let own_future = Assign { member: Scalar::Null, value: None, over: vec![dot] };
    assert!(Op::OrSet(vec![own_future]).validate(Kind::OrSet, &dot).is_err());
}

#[test]
fn stamps_from_the_far_future_wait_in_commits_and_in_pages() {
    let stream = Stream::global(replica_id(9));
    let far = Hlc::from_millis(NOW.wall_ms + 3_600_000);
    let put = Assign { member: "f".to_owned(), value: Some(Scalar::Int(1)), over: Vec::new() };
    let commit =
        Commit { stream, seq: 1, hlc: far, request: None, ops: vec![(key(Kind::LwwMap, "m"), Op::LwwMap(vec![put]))] };
    let batch = Batch::new(stream, 1, vec![commit.encode()]);
    let entry = Entry { dot: commit.dot(), value: (far, Scalar::Int(1)) };
    let page = Message::StatePage {
        seen: vector(stream, 1),
        ahead: VersionVector::default(),
        latest: far,
        to: Ask::digest(&[Ask { start: 0, last: u64::MAX, shift: None, words: Vec::new() }]),
        last: u64::MAX,
        equal: Vec::new(),
        objects: vec![(
            key(Kind::LwwMap, "m"),
            ObjectState::LwwMap(DotMapState { members: vec![("f".to_owned(), vec![entry])], deferred: Vec::new() }),
        )],
    };
    let mut victim = Replica::new(replica_id(1), Config::default());
    victim.handle(Input::PeerUp(node(9)), NOW);
    for message in
        [Message::Commits { batches: vec![batch], more: false, hops: None }, Message::Forgotten, page.clone()]
    {
        victim.handle(Input::Receive { from: node(9), message }, NOW);
    }
    assert_eq!((victim.seen().seq(&stream), victim.counters().held), (0, 2));
    assert!(victim.state().object(&key(Kind::LwwMap, "m")).is_none());
    assert!(victim.clock().last() < far, "our own clock is not dragged along");
    let later = Time { wall_ms: NOW.wall_ms + 3_600_000, ..NOW };
    let outputs = victim.handle(Input::Receive { from: node(9), message: page }, later);
    assert!(outputs.contains(&Output::Event(Event::RepairDone { from: node(9) })), "{outputs:?}");
}

#[test]
fn floats_of_every_kind_keep_their_bits_on_the_wire() {
    let floats = [
        f64::NAN,
        -f64::NAN,
        f64::from_bits(0x7ff0_0000_0000_0001),
        f64::from_bits(0xfff8_dead_beef_0001),
        -0.0,
        5e-324,
    ];
    let mut rng = Rng::new(1);
    let random = (0..2_000).map(|_| f64::from_bits(rng.draw() | if rng.chance(300) { 0x7ff << 52 } else { 0 }));
    for float in floats.into_iter().chain(random.collect::<Vec<_>>()) {
        let scalar = Scalar::Float(Float(float));
        let decoded: Scalar = codec::decode(&codec::encode(&scalar), 64).expect("decodes");
        assert_eq!(decoded, scalar, "{:x}", float.to_bits());
    }
}

#[test]
fn huge_vectors_are_refused_and_large_ones_are_not() {
    let vector = |streams: u64| {
        let stream = |incarnation| Stream::global(ReplicaId { node: node(5), incarnation: Incarnation(incarnation) });
        (0..streams).map(|incarnation| (stream(incarnation), 1)).collect::<VersionVector>()
    };
    let message = |streams| Message::Vector {
        seen: vector(streams),
        behind: Vec::new(),
        tip: None,
        root: ContentHash::ZERO,
        answer: false,
    };
    assert!(through_the_wire(&message(20_000)).is_some());
    assert!(through_the_wire(&message(70_000)).is_none());
}
