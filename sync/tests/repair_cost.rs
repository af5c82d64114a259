//! What repair from state costs: counts of bytes and of questions, never times.

use selvedge_sync::causal::VersionVector;
use selvedge_sync::codec;
use selvedge_sync::crdt::{DotMapState, Entry, ObjectState};
use selvedge_sync::hlc::Hlc;
use selvedge_sync::id::{Dot, Incarnation, NodeId, ReplicaId, Stream};
use selvedge_sync::key::{Key, Kind};
use selvedge_sync::replica::{Config, Input, Message, Output, Recovery, Replica};
use selvedge_sync::scalar::Scalar;
use selvedge_sync::time::Time;

const KEYS: u64 = if cfg!(debug_assertions) { 20_000 } else { 100_000 };
const NOW: Time = Time { wall_ms: 1_800_000_000_000, mono_ms: 0 };

fn id(byte: u8) -> ReplicaId {
    ReplicaId { node: NodeId([byte; 32]), incarnation: Incarnation(1) }
}

/// One field of 64 bytes, written by commit `seq` of a third replica.
fn object(index: u64, seq: u64) -> (Key, ObjectState) {
    let value = Scalar::Bytes([index.to_le_bytes(), seq.to_le_bytes()].concat().repeat(4));
    let dot = Dot { replica: id(9), seq };
    let entry = Entry { dot, value: (Hlc::from_millis(NOW.wall_ms), value) };
    let state = DotMapState { members: vec![("position".to_owned(), vec![entry])], deferred: Vec::new() };
    (Key::new(Kind::LwwMap, &format!("player:{index}")).expect("a key"), ObjectState::LwwMap(state))
}

fn replica(byte: u8, objects: Vec<(Key, ObjectState)>, seen: u64) -> Replica {
    let vector: VersionVector = [(Stream::global(id(9)), seen)].into_iter().filter(|(_, seen)| *seen > 0).collect();
    let recovery = Recovery { vector, objects, ..Recovery::default() };
    Replica::recover(id(byte), Config::default(), recovery).expect("sound objects")
}

#[derive(Debug, Default)]
struct Cost {
    questions: u64,
    /// Bytes of questions.
    asked: usize,
    /// Bytes of answers without the objects that they carry.
    told: usize,
    /// Objects carried, and their bytes.
    objects: usize,
    object_bytes: usize,
}

/// Repairs one from the other and counts what is said, before messages are packed: how much that saves depends on the content.
fn repair(receiver: &mut Replica, giver: &mut Replica) -> Cost {
    let mut cost = Cost::default();
    let mut inputs = vec![(true, Input::Receive { from: id(1).node, message: Message::Forgotten })];
    while let Some((to_receiver, input)) = inputs.pop() {
        let replica = if to_receiver { &mut *receiver } else { &mut *giver };
        for output in replica.handle(input, NOW) {
            let message = match output {
                Output::Send { message, .. } => message,
                Output::Persist { token, .. } | Output::Checkpoint { token, .. } => {
                    inputs.push((to_receiver, Input::Persisted { token }));
                    continue;
                }
                Output::Committed { .. }
                | Output::Rebirth { .. }
                | Output::Event(_)
                | Output::Watching { .. }
                | Output::Changed { .. } => continue,
            };
            match &message {
                Message::StateRequest { .. } => {
                    cost.questions += 1;
                    cost.asked += codec::encode(&message).len();
                }
                Message::StatePage { objects, .. } => {
                    let carried: usize = objects.iter().map(|object| codec::encode(object).len() - 1).sum();
                    cost.objects += objects.len();
                    cost.object_bytes += carried;
                    cost.told += codec::encode(&message).len() - carried;
                }
                Message::Commits { .. }
                | Message::Digest { .. }
                | Message::Vector { .. }
                | Message::Recall { .. }
                | Message::Recalled { .. }
                | Message::Heads { .. }
                | Message::Witness { .. }
                | Message::Proof(_)
                | Message::Forgotten
                | Message::Announce(_)
                | Message::Graft(_)
                | Message::Prune
                | Message::Link(_) => {
                    continue;
                }
            }
            let from = if to_receiver { id(2).node } else { id(1).node };
            inputs.push((!to_receiver, Input::Receive { from, message }));
        }
    }
    assert_eq!((receiver.root(), receiver.seen()), (giver.root(), giver.seen()));
    cost
}

/// Of `differing` keys most were changed at the giver, some are new there and some gone.
fn pair(differing: u64) -> (Replica, Replica) {
    let every = KEYS.checked_div(differing).unwrap_or(u64::MAX);
    let (mut here, mut there) = (Vec::new(), Vec::new());
    for index in 0..KEYS {
        let (is_different, kind) = (index % every == every / 2, index / every % 10);
        if !(is_different && kind == 7) {
            here.push(object(index, index + 1));
        }
        if !is_different {
            there.push(object(index, index + 1));
        } else if kind != 3 {
            there.push(object(index, KEYS + index));
        }
    }
    (replica(2, here, KEYS), replica(1, there, 2 * KEYS))
}

#[test]
fn a_repair_costs_what_differs() {
    // Bytes without the objects that differ, and questions.
    for (differing, bytes_max, questions_max) in [(0, 2_500, 1), (1, 4_000, 3), (1_000, 200_000, 4)] {
        let (mut receiver, mut giver) = pair(differing);
        let cost = repair(&mut receiver, &mut giver);
        println!("{differing} of {KEYS} keys differ: {cost:?}, {} bytes in all", cost.asked + cost.told);
        assert!(cost.asked + cost.told <= bytes_max, "{differing} differ: {cost:?}");
        assert!(cost.questions <= questions_max, "{differing} differ: {cost:?}");
        assert!(cost.objects as u64 <= differing, "only what differs is sent: {cost:?}");
    }
}

#[test]
fn a_joiner_takes_the_state_page_by_page() {
    let mut giver = replica(1, (0..KEYS / 2).map(|index| object(index, index + 1)).collect(), KEYS);
    let mut receiver = replica(2, Vec::new(), 0);
    let cost = repair(&mut receiver, &mut giver);
    println!("a joiner of {} keys: {cost:?}", KEYS / 2);
    let pages = (cost.object_bytes / Config::default().page_bytes + 2) as u64;
    assert!(cost.questions <= pages, "{cost:?}");
    assert!(cost.asked + cost.told <= 300 * usize::try_from(pages).expect("few"), "{cost:?}");
    assert_eq!(cost.objects as u64, KEYS / 2);
}
