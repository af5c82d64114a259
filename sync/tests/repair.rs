//! What repair from state must not do: bring back what was removed, or count as seen what no page showed.

use selvedge_sync::causal::VersionVector;
use selvedge_sync::change::Change;
use selvedge_sync::crdt::{Object, ObjectState};
use selvedge_sync::id::{Incarnation, NodeId, ReplicaId, Stream};
use selvedge_sync::key::{Key, Kind};
use selvedge_sync::replica::{Config, Input, Message, Output, Replica};
use selvedge_sync::scalar::Scalar;
use selvedge_sync::time::Time;

fn id(byte: u8) -> ReplicaId {
    ReplicaId { node: NodeId([byte; 32]), incarnation: Incarnation(1) }
}

fn at(ms: u64) -> Time {
    Time { wall_ms: 1_800_000_000_000 + ms, mono_ms: ms }
}

fn key(name: &str) -> Key {
    Key::new(Kind::OrSet, name).expect("a key")
}

/// Feeds an input; the disk reports at once. Returns what is sent.
fn feed(replica: &mut Replica, input: Input, now: Time) -> Vec<Message> {
    let (mut inputs, mut sent) = (vec![input], Vec::new());
    while let Some(input) = inputs.pop() {
        for output in replica.handle(input, now) {
            match output {
                Output::Persist { token, .. } | Output::Checkpoint { token, .. } => {
                    inputs.push(Input::Persisted { token });
                }
                Output::Send { message, .. } => sent.push(message),
                Output::Committed { .. } | Output::Rebirth { .. } | Output::Event(_) => {}
                Output::Watching { .. } | Output::Changed { .. } => {}
            }
        }
    }
    sent
}

fn commit(replica: &mut Replica, key: &Key, change: Change, now: Time) {
    feed(replica, Input::Commit { ticket: 0, changes: vec![(key.clone(), change)], request: None }, now);
}

/// Lets two replicas talk until neither has anything to say.
fn talk(one: &mut Replica, other: &mut Replica, now: Time) {
    let (to_one, to_other) = (one.me().node, other.me().node);
    let mut for_one = feed(other, Input::PeerUp(to_one), now);
    let mut for_other = feed(one, Input::PeerUp(to_other), now);
    for _ in 0..100 {
        let received = |from, message| Input::Receive { from, message };
        let answers: Vec<_> =
            for_one.drain(..).flat_map(|message| feed(one, received(to_other, message), now)).collect();
        for_one = for_other.drain(..).flat_map(|message| feed(other, received(to_one, message), now)).collect();
        for_other = answers;
    }
    assert!(for_one.is_empty() && for_other.is_empty(), "they talk without end");
}

/// The giver has forgotten the object altogether; its vector alone says that the element was removed.
#[test]
fn a_member_of_a_forgotten_object_does_not_return() {
    let config = Config { log_commits_kept: 0, ..Config::default() };
    let (mut giver, mut lagging) = (Replica::new(id(1), config.clone()), Replica::new(id(2), config));
    let member = Scalar::from("x");
    commit(&mut giver, &key("k"), Change::Add(vec![member.clone()]), at(0));
    talk(&mut giver, &mut lagging, at(0));
    assert!(lagging.state().object(&key("k")).is_some_and(|object| object.contains(&member)));
    giver.handle(Input::PeerDown(id(2).node), at(1));
    commit(&mut giver, &key("k"), Change::Remove(vec![member.clone()]), at(1));
    // Nobody is a member but the giver: what it has durable is stable, and goes.
    feed(&mut giver, Input::Tick, at(10_000));
    assert!(giver.state().object(&key("k")).is_none() && giver.log().commits() == 0);
    talk(&mut giver, &mut lagging, at(10_000));
    assert!(!lagging.state().object(&key("k")).is_some_and(|object| object.contains(&member)));
    assert_eq!((lagging.counters().repairs, lagging.root()), (1, giver.root()));
}

/// A giver that restarted in the middle of a repair had lost what was not durable there, and its later pages showed less than
/// the first had promised.
#[test]
fn a_page_that_shows_less_than_the_first_does_not_count() {
    let stream = Stream::global(id(1));
    let page = |seq: u64, after: Option<&str>, next: Option<&str>| {
        let empty = |name: &str| -> (Key, ObjectState) { (key(name), Object::new(&key(name)).state()) };
        Message::StatePage {
            seen: [(stream, seq)].into_iter().collect::<VersionVector>(),
            ahead: VersionVector::default(),
            after: after.map(key),
            objects: next.map(empty).into_iter().collect(),
            next: next.map(key),
        }
    };
    let mut receiver = Replica::new(id(2), Config::default());
    let mut receive = |message: Message| {
        feed(&mut receiver, Input::Receive { from: id(1).node, message }, at(0));
        receiver.seen().seq(&stream)
    };
    receive(Message::Forgotten);
    assert_eq!(receive(page(5, None, Some("k"))), 0, "one page is not all");
    assert_eq!(receive(page(3, Some("k"), None)), 0, "it shows less than the first");
    assert_eq!(receive(page(7, Some("k"), None)), 5, "the repair ends with the vector of its first page");
    assert!(!receiver.is_settled(), "the last page showed more, and that is remembered");
}
