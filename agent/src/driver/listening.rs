//! For those who listen: what the replica says of watched keys, with what they hold now, becomes events.
//!
//! Values are read after the pass, once per key, and each event is bounded: a change of large objects costs the driver a
//! bounded time. While nobody listens, nothing is watched and nothing happens here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use selvedge_sync::hlc::Hlc;
use selvedge_sync::id::Dot;
use selvedge_sync::key::Key;
use selvedge_sync::replica::{Input, WatchError};
use selvedge_sync::state::State;
use tokio::sync::oneshot;

use crate::events::Events;
use crate::service::{CommitEvent, Event, FraudEvent, KeyChange, Known};
use crate::view::StateView;

/// Largest value that an event carries, in bytes of content: facts about a player, not a list of all of them.
const VALUE_BYTES_MAX: u64 = 64 * 1024;

/// Bytes of values that are read in one pass, so that readers and the next pass never wait long.
const PASS_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Keys in one event. More go into the next, under the same commit.
const EVENT_KEYS_MAX: usize = 256;

/// Bytes of keys and values in one event, beyond which the next begins.
const EVENT_BYTES_MAX: usize = 256 * 1024;

/// Why a prefix is not watched. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListenError {
    /// The replica refused.
    #[error(transparent)]
    Refused(#[from] WatchError),
    /// Too many requests wait.
    #[error("too many requests are waiting")]
    Busy,
    /// The agent is stopping, or is stuck.
    #[error("the agent gave no answer")]
    NoAnswer,
}

pub(super) type WatchReply = oneshot::Sender<Result<(), WatchError>>;

/// What the driver knows of listeners.
#[derive(Debug)]
pub(super) struct Listening {
    events: Events,
    replies: BTreeMap<u64, Vec<WatchReply>>,
    untold: Vec<Untold>,
}

/// Keys that one commit, or one repair, changed.
#[derive(Debug)]
struct Untold {
    keys: BTreeSet<Key>,
    dot: Option<Dot>,
    hlc: Hlc,
}

/// Values as they are now, each read once however many commits changed it.
struct Values<'a> {
    state: &'a State,
    read: BTreeMap<Key, (Known, usize)>,
    bytes: u64,
    left_out: u64,
}

impl Listening {
    pub(super) const fn new(events: Events) -> Self {
        Self { events, replies: BTreeMap::new(), untold: Vec::new() }
    }

    pub(super) fn expect(&mut self, watch: u64, reply: WatchReply) {
        self.replies.entry(watch).or_default().push(reply);
    }

    /// Watches that can end.
    pub(super) fn ended(&self) -> impl Iterator<Item = Input> + use<> {
        self.events.take_ended().into_iter().map(|id| Input::Unwatch { id })
    }

    /// The replica answers: what it told before belongs before the watch.
    pub(super) fn began(&mut self, watch: u64, result: Result<(), WatchError>, view: &StateView) {
        self.tell(view);
        if result.is_ok() {
            self.events.began(watch);
        }
        for reply in self.replies.remove(&watch).into_iter().flatten() {
            // The watch of one that has gone ends like any other that nobody needs.
            if reply.send(result).is_err() {
                tracing::debug!(watch, "whoever wanted to listen has gone");
            }
        }
    }

    /// Takes note of a change. A commit is told once for each watch and becomes one event for all of them.
    pub(super) fn note(&mut self, keys: Vec<Key>, dot: Option<Dot>, hlc: Hlc) {
        match self.untold.last_mut() {
            Some(last) if (last.dot, last.hlc) == (dot, hlc) => last.keys.extend(keys),
            Some(_) | None => self.untold.push(Untold { keys: keys.into_iter().collect(), dot, hlc }),
        }
    }

    /// Records that somebody was proven to have given one name to two commits.
    pub(super) fn fraud(&self, name: Dot) {
        self.events.record([Event::Fraud(FraudEvent::about(name))]);
    }

    /// Records what was noted.
    pub(super) fn tell(&mut self, view: &StateView) {
        if self.untold.is_empty() {
            return;
        }
        let untold = std::mem::take(&mut self.untold);
        let (events, left_out) = view.read(|replica| {
            let mut values = Values { state: replica.state(), read: BTreeMap::new(), bytes: 0, left_out: 0 };
            let events: Vec<Event> = untold.into_iter().flat_map(|untold| values.events(untold)).collect();
            (events, values.left_out)
        });
        self.events.count_left_out(left_out);
        self.events.record(events);
    }
}

impl Values<'_> {
    fn events(&mut self, Untold { keys, dot, hlc }: Untold) -> Vec<Event> {
        let (mut events, mut changes, mut bytes) = (Vec::new(), Vec::new(), 0);
        let event = |changes| Event::Commit(CommitEvent { changes, dot, hlc });
        for key in keys {
            let change = self.change(key);
            if changes.len() >= EVENT_KEYS_MAX || (bytes + change.bytes > EVENT_BYTES_MAX && !changes.is_empty()) {
                events.push(event(std::mem::take(&mut changes)));
                bytes = 0;
            }
            bytes += change.bytes;
            changes.push(change);
        }
        events.push(event(changes));
        events
    }

    fn change(&mut self, key: Key) -> KeyChange {
        let (value, bytes) = match self.read.get(&key) {
            Some(read) => read.clone(),
            None => {
                let read = self.value(&key);
                self.read.insert(key.clone(), read.clone());
                read
            }
        };
        KeyChange { bytes: bytes + key.name().len(), key, value }
    }

    fn value(&mut self, key: &Key) -> (Known, usize) {
        let Some(object) = self.state.object(key) else { return (Known::Nothing, 0) };
        let bytes = object.content().bytes();
        if bytes > VALUE_BYTES_MAX || self.bytes + bytes > PASS_BYTES_MAX {
            self.left_out += 1;
            return (Known::TooLarge, 0);
        }
        self.bytes += bytes;
        (Known::Value(Arc::new(object.value())), usize::try_from(bytes).unwrap_or(usize::MAX))
    }
}

#[cfg(test)]
mod tests {
    use selvedge_sync::change::Change;
    use selvedge_sync::crdt::Value;
    use selvedge_sync::id::{Incarnation, NodeId, ReplicaId};
    use selvedge_sync::replica::{Config, Output, Replica};
    use selvedge_sync::scalar::Scalar;
    use selvedge_sync::time::Time;

    use super::*;

    fn key(text: &str) -> Key {
        text.parse().expect("a key")
    }

    /// The events of one commit of these changes, heard through two watches.
    fn events(changes: Vec<(Key, Change)>) -> (Vec<CommitEvent>, u64) {
        let me = ReplicaId { node: NodeId([1; 32]), incarnation: Incarnation(1) };
        let mut replica = Replica::new(me, Config::default());
        let now = Time { wall_ms: 1_000, mono_ms: 0 };
        for (id, prefix) in [(1, "gset/"), (2, "")] {
            replica.handle(Input::Watch { id, prefix: prefix.parse().expect("a prefix") }, now);
        }
        let outputs = replica.handle(Input::Commit { ticket: 0, changes, request: None }, now);
        let mut listening = Listening::new(Events::new(1, crate::events::Patience::default()));
        for output in outputs {
            if let Output::Changed { keys, dot, hlc, .. } = output {
                listening.note(keys, dot, hlc);
            }
        }
        let mut values = Values { state: replica.state(), read: BTreeMap::new(), bytes: 0, left_out: 0 };
        let events = listening.untold.into_iter().flat_map(|untold| values.events(untold));
        let commit = |event| match event {
            Event::Commit(commit) => commit,
            other => panic!("no commit: {other:?}"),
        };
        (events.map(commit).collect(), values.left_out)
    }

    fn add(name: &str, bytes: usize) -> (Key, Change) {
        (key(name), Change::Add(vec![Scalar::from("x".repeat(bytes).as_str())]))
    }

    #[test]
    fn a_commit_is_one_event_however_many_watch_it() {
        let (events, left_out) = events(vec![add("gset/a", 1), (key("gcounter/b"), Change::Increment(5))]);
        let [event] = events.as_slice() else { panic!("{events:?}") };
        let values: Vec<_> = event.changes.iter().map(|change| (change.key.to_string(), &change.value)).collect();
        let five = Known::Value(Arc::new(Value::Counter(5)));
        let x = Known::Value(Arc::new(Value::Set(vec![Scalar::from("x")])));
        assert_eq!(values, [("gcounter/b".to_owned(), &five), ("gset/a".to_owned(), &x)]);
        assert_eq!(left_out, 0);
    }

    #[test]
    fn events_are_bounded_in_keys_and_bytes() {
        let many: Vec<_> = (0..600).map(|at| (key(&format!("gcounter/{at:03}")), Change::Increment(1))).collect();
        let (many, _) = events(many);
        assert_eq!(many.iter().map(|event| event.changes.len()).collect::<Vec<_>>(), [256, 256, 88]);
        let (large, left_out) = events((0..8).map(|at| add(&format!("gset/{at}"), 50_000)).collect());
        let bytes = |event: &CommitEvent| event.changes.iter().map(|change| change.bytes).sum::<usize>();
        assert!(large.len() > 1 && large.iter().all(|event| bytes(event) <= EVENT_BYTES_MAX));
        assert_eq!((large.iter().map(|event| event.changes.len()).sum::<usize>(), left_out), (8, 0));
    }

    #[test]
    fn a_value_that_is_too_large_is_named_and_left_out() {
        let (events, left_out) = events(vec![add("gset/large", 65_536), add("gset/small", 1)]);
        assert_eq!(events.len(), 1);
        assert_eq!(events[0].changes[0].value, Known::TooLarge);
        assert!(matches!(events[0].changes[1].value, Known::Value(_)));
        assert_eq!(left_out, 1);
    }
}
