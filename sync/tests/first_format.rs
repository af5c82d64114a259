//! What the first version of the format wrote is read by this one: stored commits, objects, vectors and pages.
//!
//! The bytes were written by the last release of that version. Names were maps with field names; counters held totals without
//! the commits that raised them, which read as 0, and are named when a replica recovers.

use selvedge_sync::causal::VersionVector;
use selvedge_sync::codec::{self, FORMAT_VERSION};
use selvedge_sync::commit::{Batch, Commit, RequestId};
use selvedge_sync::crdt::{Assign, CounterState, DotMapState, Entry, ObjectState, Op, Share};
use selvedge_sync::hlc::Hlc;
use selvedge_sync::id::{Dot, Incarnation, NodeId, ReplicaId, Scope, Stream};
use selvedge_sync::key::{Key, Kind};
use selvedge_sync::replica::{Config, Message, Orphans, Recovery, Replica};
use selvedge_sync::scalar::{Float, Scalar};

const REPLICA: &str = "01a2646e6f6465582001010101010101010101010101010101010101010101010101010101010101016b696e6361726e\
     6174696f6e1b000001a3185c5000";

const VECTOR: &str = "018282a26573636f706500677265706c696361a2646e6f64655820010101010101010101010101010101010101010101\
     01010101010101010101016b696e6361726e6174696f6e1b000001a3185c50000582a26573636f706503677265706c69\
     6361a2646e6f6465582002020202020202020202020202020202020202020202020202020202020202026b696e636172\
     6e6174696f6e1b000001a3185c5000184d";

const COMMIT: &str = "01831b01a3185c507b0000500707070707070707070707070707070785828200636f6c64a1616707828201636f6c64a1\
     6170820819012c828202636f6c64a16173866130a16162f5a1616924a16166f93800a161746174a16179420102828203\
     636f6c64a1616f82a2616ba1617462696e617681f6a2616ba16174636f7574616f81a2677265706c696361a2646e6f64\
     65582002020202020202020202020202020202020202020202020202020202020202026b696e6361726e6174696f6e1b\
     000001a3185c50006373657109828204636f6c64a1616d82a3616b6166617681a1616901616f82a2677265706c696361\
     a2646e6f6465582002020202020202020202020202020202020202020202020202020202020202026b696e6361726e61\
     74696f6e1b000001a3185c50006373657103a2677265706c696361a2646e6f6465582003030303030303030303030303\
     030303030303030303030303030303030303036b696e6361726e6174696f6e1b000001a3185c50006373657104a1616b\
     6167";

const BATCHES: &str = "0181a36173a26573636f706500677265706c696361a2646e6f6465582001010101010101010101010101010101010101\
     010101010101010101010101016b696e6361726e6174696f6e1b000001a3185c500061660561638159018201831b01a3\
     185c507b0000500707070707070707070707070707070785828200636f6c64a1616707828201636f6c64a16170820819\
     012c828202636f6c64a16173866130a16162f5a1616924a16166f93800a161746174a16179420102828203636f6c64a1\
     616f82a2616ba1617462696e617681f6a2616ba16174636f7574616f81a2677265706c696361a2646e6f646558200202\
     0202020202020202020202020202020202020202020202020202020202026b696e6361726e6174696f6e1b000001a318\
     5c50006373657109828204636f6c64a1616d82a3616b6166617681a1616901616f82a2677265706c696361a2646e6f64\
     65582002020202020202020202020202020202020202020202020202020202020202026b696e6361726e6174696f6e1b\
     000001a3185c50006373657103a2677265706c696361a2646e6f64655820030303030303030303030303030303030303\
     03030303030303030303030303036b696e6361726e6174696f6e1b000001a3185c50006373657104a1616b6167";

const ORPHANS: &str = "01a2676365727461696e81a36173a26573636f706500677265706c696361a2646e6f6465582001010101010101010101\
     010101010101010101010101010101010101010101016b696e6361726e6174696f6e1b000001a3185c50006166056163\
     8159018201831b01a3185c507b0000500707070707070707070707070707070785828200636f6c64a161670782820163\
     6f6c64a16170820819012c828202636f6c64a16173866130a16162f5a1616924a16166f93800a161746174a161794201\
     02828203636f6c64a1616f82a2616ba1617462696e617681f6a2616ba16174636f7574616f81a2677265706c696361a2\
     646e6f6465582002020202020202020202020202020202020202020202020202020202020202026b696e6361726e6174\
     696f6e1b000001a3185c50006373657109828204636f6c64a1616d82a3616b6166617681a1616901616f82a267726570\
     6c696361a2646e6f6465582002020202020202020202020202020202020202020202020202020202020202026b696e63\
     61726e6174696f6e1b000001a3185c50006373657103a2677265706c696361a2646e6f64655820030303030303030303\
     03030303030303030303030303030303030303030303036b696e6361726e6174696f6e1b000001a3185c500063736571\
     04a1616b616768646f75627466756c80";

const DIGEST: &str = "01a16164a461728400000000617650070707070707070707070707070707076164f56165f4";

const OBJECTS: [&str; 5] = [
    "01a161678282a2646e6f6465582001010101010101010101010101010101010101010101010101010101010101016b69\
      6e6361726e6174696f6e1b000001a3185c50000782a2646e6f6465582002020202020202020202020202020202020202\
      020202020202020202020202026b696e6361726e6174696f6e1b000001a3185c50001a00011170",
    "01a16170828182a2646e6f6465582001010101010101010101010101010101010101010101010101010101010101016b\
      696e6361726e6174696f6e1b000001a3185c5000088282a2646e6f646558200101010101010101010101010101010101\
      0101010101010101010101010101016b696e6361726e6174696f6e1b000001a3185c500019012c82a2646e6f64655820\
      02020202020202020202020202020202020202020202020202020202020202026b696e6361726e6174696f6e1b000001\
      a3185c500001",
    "01a1617382a1616924a161746174",
    "01a1616fa2616d8182a1617462696e81a26164a2677265706c696361a2646e6f64655820010101010101010101010101\
      01010101010101010101010101010101010101016b696e6361726e6174696f6e1b000001a3185c500063736571056176\
      f661788182a16174636f757481a2677265706c696361a2646e6f64655820020202020202020202020202020202020202\
      02020202020202020202020202026b696e6361726e6174696f6e1b000001a3185c50006373657109",
    "01a1616da2616d8182616682a26164a2677265706c696361a2646e6f6465582001010101010101010101010101010101\
      010101010101010101010101010101016b696e6361726e6174696f6e1b000001a3185c500063736571056176821b01a3\
      185c507b0000a1616901a26164a2677265706c696361a2646e6f64655820040404040404040404040404040404040404\
      04040404040404040404040404046b696e6361726e6174696f6e1b000001a3185c500063736571026176821b01a3185c\
      507b0000a161690261788182616681a2677265706c696361a2646e6f6465582002020202020202020202020202020202\
      020202020202020202020202020202026b696e6361726e6174696f6e1b000001a3185c50006373657103",
];

fn bytes(hex: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal");
    (0..hex.len()).step_by(2).map(digit).collect()
}

fn replica(byte: u8) -> ReplicaId {
    ReplicaId { node: NodeId([byte; 32]), incarnation: Incarnation(1_800_000_000_000) }
}

fn dot(byte: u8, seq: u64) -> Dot {
    Dot { replica: replica(byte), seq }
}

fn key(kind: Kind) -> Key {
    Key::new(kind, "old").expect("a key")
}

const STAMP_MS: u64 = 1_800_000_000_123;

fn vector() -> VersionVector {
    [(Stream::global(replica(1)), 5), (Stream { scope: Scope(3), replica: replica(2) }, 77)].into_iter().collect()
}

fn commit() -> Commit {
    let members = vec![
        Scalar::Null,
        Scalar::Bool(true),
        Scalar::Int(-5),
        Scalar::Float(Float(0.5)),
        Scalar::from("t"),
        Scalar::Bytes(vec![1, 2]),
    ];
    let ops = vec![
        (key(Kind::GCounter), Op::GCounter(7.into())),
        (key(Kind::PnCounter), Op::PnCounter(8.into(), 300.into())),
        (key(Kind::GSet), Op::GSet(members)),
        (
            key(Kind::OrSet),
            Op::OrSet(vec![
                Assign { member: Scalar::from("in"), value: Some(()), over: vec![] },
                Assign { member: Scalar::from("out"), value: None, over: vec![dot(2, 9)] },
            ]),
        ),
        (
            key(Kind::LwwMap),
            Op::LwwMap(vec![
                Assign { member: "f".to_owned(), value: Some(Scalar::Int(1)), over: vec![dot(2, 3), dot(3, 4)] },
                Assign { member: "g".to_owned(), value: None, over: vec![] },
            ]),
        ),
    ];
    let (stream, hlc) = (Stream::global(replica(1)), Hlc::from_millis(STAMP_MS));
    Commit { stream, seq: 5, hlc, request: Some(RequestId([7; 16])), ops }
}

fn objects() -> Vec<(Key, ObjectState)> {
    let share = |byte, up, down| Share { replica: replica(byte), seq: 0, up, down };
    let counter = |shares: &[Share]| CounterState { shares: shares.to_vec(), deferred: Vec::new() };
    let entry =
        |byte, seq, value: i64| Entry { dot: dot(byte, seq), value: (Hlc::from_millis(STAMP_MS), Scalar::Int(value)) };
    let set = DotMapState {
        members: vec![(Scalar::from("in"), vec![Entry { dot: dot(1, 5), value: () }])],
        deferred: vec![(Scalar::from("out"), vec![dot(2, 9)])],
    };
    let map = DotMapState {
        members: vec![("f".to_owned(), vec![entry(1, 5, 1), entry(4, 2, 2)])],
        deferred: vec![("f".to_owned(), vec![dot(2, 3)])],
    };
    vec![
        (key(Kind::GCounter), ObjectState::GCounter(counter(&[share(1, 7, 0), share(2, 70_000, 0)]))),
        (key(Kind::PnCounter), ObjectState::PnCounter(counter(&[share(1, 8, 300), share(2, 0, 1)]))),
        (key(Kind::GSet), ObjectState::GSet(vec![Scalar::Int(-5), Scalar::from("t")])),
        (key(Kind::OrSet), ObjectState::OrSet(set)),
        (key(Kind::LwwMap), ObjectState::LwwMap(map)),
    ]
}

fn read<T: serde::de::DeserializeOwned>(hex: &str) -> T {
    codec::decode(&bytes(hex), usize::MAX).expect("decodes")
}

#[test]
fn names_commits_and_vectors_of_the_first_version_are_read() {
    assert_eq!(read::<ReplicaId>(REPLICA), replica(1));
    assert_eq!(read::<VersionVector>(VECTOR), vector());
    let batches: Vec<Batch> = read(BATCHES);
    let [Batch { stream, first: 5, commits, .. }] = batches.as_slice() else { panic!("one batch: {batches:?}") };
    assert_eq!(commits[0].as_bytes(), bytes(COMMIT));
    assert_eq!(Commit::decode(*stream, 5, &commits[0]).expect("decodes"), commit());
    let orphans: Orphans = read(ORPHANS);
    assert_eq!(orphans.certain, batches);
}

#[test]
fn objects_of_the_first_version_are_read() {
    for (hex, (_, object)) in OBJECTS.iter().zip(objects()) {
        assert_eq!(read::<ObjectState>(hex), object);
    }
}

/// A root of the first version is another sum: a message that compares it says nothing to us.
#[test]
fn roots_of_the_first_version_are_refused() {
    assert!(Message::decode(&bytes(DIGEST)).is_err());
}

#[test]
fn this_version_writes_its_own_number_and_shorter_names() {
    let own = codec::encode(&commit().stream);
    assert_eq!(own[0], FORMAT_VERSION);
    assert_eq!(own.len(), 1 + 1 + 1 + 2 + 40, "version, pair, scope, the head of a byte string, the bytes");
    assert!(codec::decode::<Stream>(&[&[3], &own[1..]].concat(), 64).is_err());
    let value = Some(Scalar::Bytes(vec![1; 64]));
    let put = Op::LwwMap(vec![Assign { member: "position:1".to_owned(), value, over: vec![] }]);
    let commit = Commit { ops: vec![(key(Kind::LwwMap), put)], request: None, ..commit() };
    let bytes = commit.encode();
    assert!(bytes.len() <= 115, "{} bytes for one value of 64", bytes.len());
}

#[test]
fn a_store_of_the_first_version_recovers_with_counters_named() {
    let recovery = Recovery { vector: vector(), objects: objects(), ..Recovery::default() };
    let replica = Replica::recover(replica(1), Config::default(), recovery).expect("recovers");
    let counter = replica.state().object(&key(Kind::GCounter)).and_then(|object| object.as_counter().cloned());
    let seqs: Vec<u64> = counter.expect("a counter").shares().iter().map(|share| share.seq).collect();
    assert_eq!(seqs, [5, 0], "of the second writer's stream, nothing was seen");
}

/// Names keep their fields where humans read.
#[test]
fn human_readable_forms_name_their_fields() {
    let dot = dot(1, 7);
    let json = serde_json::to_value(dot).expect("serialises");
    assert_eq!(json["seq"], 7);
    assert_eq!(json["replica"]["incarnation"], 1_800_000_000_000_u64);
    assert_eq!(serde_json::from_value::<Dot>(json).expect("reads"), dot);
    let stream = Stream::global(replica(2));
    let json = serde_json::to_value(stream).expect("serialises");
    assert_eq!(json["scope"], 0);
    assert_eq!(serde_json::from_value::<Stream>(json).expect("reads"), stream);
}
