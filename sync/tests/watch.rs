//! What watchers are told: every change under their prefix, once per commit, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use selvedge_sync::change::Change;
use selvedge_sync::crdt::Value;
use selvedge_sync::id::{Dot, Incarnation, NodeId, ReplicaId};
use selvedge_sync::key::Key;
use selvedge_sync::limits::{KEYS_PER_CHANGE_MAX, KEYS_PER_COMMIT_MAX, WATCHES_MAX};
use selvedge_sync::replica::{Config, Input, KeyPrefix, Message, Output, Replica, WatchError};
use selvedge_sync::scalar::Scalar;
use selvedge_sync::time::Time;

const NOW: Time = Time { wall_ms: 1_800_000_000_000, mono_ms: 0 };

/// What one watch was told: keys, and the commit.
type Told = (u64, Vec<Key>, Option<Dot>);

/// A replica whose disk reports at once, and what it said.
struct Host {
    replica: Replica,
    sent: Vec<Message>,
    told: Vec<Told>,
}

impl Host {
    fn new(byte: u8, config: Config) -> Self {
        let me = ReplicaId { node: NodeId([byte; 32]), incarnation: Incarnation(1) };
        Self { replica: Replica::new(me, config), sent: Vec::new(), told: Vec::new() }
    }

    fn feed(&mut self, input: Input) {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            for output in self.replica.handle(input, NOW) {
                match output {
                    Output::Persist { token, .. } | Output::Checkpoint { token, .. } => {
                        inputs.push(Input::Persisted { token });
                    }
                    Output::Send { message, .. } => self.sent.push(message),
                    Output::Changed { watch, keys, dot, .. } => self.told.push((watch, keys, dot)),
                    Output::Watching { result, .. } => assert_eq!(result, Ok(())),
                    Output::Committed { result, .. } => drop(result.expect("the commit is made")),
                    Output::Rebirth { .. } | Output::Event(_) => {}
                }
            }
        }
    }

    fn watch(&mut self, id: u64, prefix: &str) {
        self.feed(Input::Watch { id, prefix: prefix.parse().expect("a prefix") });
    }

    fn commit(&mut self, changes: Vec<(Key, Change)>) {
        self.feed(Input::Commit { ticket: 0, changes, request: None });
    }

    fn told(&mut self) -> Vec<Told> {
        std::mem::take(&mut self.told)
    }
}

fn key(text: &str) -> Key {
    text.parse().expect("a key")
}

fn increment(text: &str) -> (Key, Change) {
    (key(text), Change::Increment(1))
}

fn pass(from: &mut Host, to: &mut Host) {
    let node = from.replica.me().node;
    from.sent.drain(..).for_each(|message| to.feed(Input::Receive { from: node, message }));
}

/// Lets two hosts talk until neither has anything to say.
fn talk(one: &mut Host, other: &mut Host) {
    one.feed(Input::PeerUp(other.replica.me().node));
    other.feed(Input::PeerUp(one.replica.me().node));
    while !(one.sent.is_empty() && other.sent.is_empty()) {
        pass(one, other);
        pass(other, one);
    }
}

#[test]
fn a_change_is_told_after_it_is_readable_and_with_its_commit() {
    let mut host = Host::new(1, Config::default());
    host.watch(7, "gcounter/ki");
    let changes = vec![increment("gcounter/kills"), increment("gcounter/deaths")];
    let outputs = host.replica.handle(Input::Commit { ticket: 0, changes, request: None }, NOW);
    let dot = Dot { replica: host.replica.me(), seq: 1 };
    let told: Vec<_> = outputs.iter().filter(|output| matches!(output, Output::Changed { .. })).collect();
    let hlc = host.replica.clock().last();
    assert_eq!(told, [&Output::Changed { watch: 7, keys: vec![key("gcounter/kills")], dot: Some(dot), hlc }]);
    assert_eq!(host.replica.state().value(&key("gcounter/kills")), Some(Value::Counter(1)));
}

#[test]
fn what_changes_nothing_is_not_told() {
    let mut host = Host::new(1, Config::default());
    host.watch(1, "");
    let add = || vec![(key("gset/seen"), Change::Add(vec![Scalar::from("x")]))];
    host.commit(add());
    assert_eq!(host.told().len(), 1);
    host.commit(add());
    host.commit(vec![(key("orset/online"), Change::Remove(vec![Scalar::from("nobody")]))]);
    assert_eq!(host.told(), []);
    host.feed(Input::Unwatch { id: 1 });
    host.commit(vec![increment("gcounter/kills")]);
    assert_eq!(host.told(), [], "nobody watches any more");
}

#[test]
fn commits_of_others_are_told_one_by_one() {
    let (mut writer, mut reader) = (Host::new(1, Config::default()), Host::new(2, Config::default()));
    reader.watch(1, "gcounter/");
    (0..3).for_each(|_| writer.commit(vec![increment("gcounter/kills"), increment("pncounter/hp")]));
    talk(&mut writer, &mut reader);
    let told = |seq| (1, vec![key("gcounter/kills")], Some(Dot { replica: writer.replica.me(), seq }));
    assert_eq!(reader.told(), [told(1), told(2), told(3)]);
    talk(&mut writer, &mut reader);
    assert_eq!(reader.told(), [], "nothing is told twice");
}

#[test]
fn a_repair_is_told_once_and_without_a_commit() {
    // Whoever keeps no log can only repair others from state.
    let config = Config { log_commits_kept: 0, log_bytes: 0, ..Config::default() };
    let (mut giver, mut lagging) = (Host::new(1, config.clone()), Host::new(2, config));
    lagging.watch(1, "gcounter/");
    (0..20).for_each(|at| giver.commit(vec![increment(&format!("gcounter/{at:02}")), increment("pncounter/hp")]));
    talk(&mut giver, &mut lagging);
    assert_eq!(lagging.replica.root(), giver.replica.root());
    assert!(lagging.replica.counters().repairs > 0, "the repair is what is tested");
    let told = lagging.told();
    assert!(told.iter().all(|(watch, _, dot)| (*watch, *dot) == (1, None)), "{told:?}");
    let keys: Vec<Key> = told.into_iter().flat_map(|(_, keys, _)| keys).collect();
    assert_eq!(keys, (0..20).map(|at| key(&format!("gcounter/{at:02}"))).collect::<Vec<_>>());
}

#[test]
fn a_commit_of_many_keys_is_told_in_parts() {
    let mut host = Host::new(1, Config::default());
    host.watch(1, "");
    let names: Vec<String> = (0..KEYS_PER_COMMIT_MAX).map(|at| format!("gset/{at:04}")).collect();
    host.commit(names.iter().map(|name| (key(name), Change::Add(vec![Scalar::from("x")]))).collect());
    let told = host.told();
    assert!(told.iter().all(|(_, keys, _)| keys.len() <= KEYS_PER_CHANGE_MAX), "a notice is bounded");
    assert_eq!(told.len(), KEYS_PER_COMMIT_MAX.div_ceil(KEYS_PER_CHANGE_MAX));
    let keys: Vec<Key> = told.into_iter().flat_map(|(_, keys, _)| keys).collect();
    assert_eq!(keys, names.iter().map(|name| key(name)).collect::<Vec<_>>());
}

#[test]
fn too_many_watches_are_refused_and_the_others_go_on() {
    let mut host = Host::new(1, Config::default());
    (0..WATCHES_MAX as u64).for_each(|id| host.watch(id, "gset/"));
    let outputs = host.replica.handle(Input::Watch { id: u64::MAX, prefix: KeyPrefix::everything() }, NOW);
    assert_eq!(outputs, [Output::Watching { watch: u64::MAX, result: Err(WatchError::TooMany) }]);
    host.commit(vec![(key("gset/seen"), Change::Add(vec![Scalar::from("x")]))]);
    assert_eq!(host.told().len(), WATCHES_MAX);
}

/// Keys and prefixes from a small alphabet, so that they meet.
fn texts() -> impl Strategy<Value = String> {
    let kind = prop_oneof![Just("gcounter"), Just("pncounter")];
    let name = prop_oneof!["[ab]{1,4}", "selvedge:[ab]{1,2}", "[aä]{1,3}"];
    (kind, name).prop_map(|(kind, name)| format!("{kind}/{name}"))
}

fn prefixes() -> impl Strategy<Value = String> {
    (texts(), 0_usize..20).prop_map(|(text, chars)| text.chars().take(chars).collect())
}

/// The agent's own keys are told to whoever names them.
fn is_told(prefix: &str, key: &Key) -> bool {
    let own = format!("{}/selvedge:", key.kind());
    let text = key.to_string();
    text.starts_with(prefix) && (!text.starts_with(&own) || prefix.starts_with(&own))
}

proptest! {
    #[test]
    fn watchers_are_told_what_a_naive_matcher_says(
        watched in prop::collection::btree_map(0_u64..40, prefixes(), 0..40),
        commits in prop::collection::vec(prop::collection::btree_set(texts(), 1..6), 1..8),
        ended in prop::collection::btree_set(0_u64..40, 0..10),
    ) {
        let (mut writer, mut reader) = (Host::new(1, Config::default()), Host::new(2, Config::default()));
        watched.iter().for_each(|(id, prefix)| reader.watch(*id, prefix));
        ended.iter().for_each(|id| reader.feed(Input::Unwatch { id: *id }));
        for names in &commits {
            writer.commit(names.iter().map(|name| increment(name)).collect());
        }
        talk(&mut writer, &mut reader);
        let mut expect = Vec::new();
        for (seq, names) in (1..).zip(&commits) {
            let keys: BTreeSet<Key> = names.iter().map(|name| key(name)).collect();
            let dot = Some(Dot { replica: writer.replica.me(), seq });
            for (watch, prefix) in watched.iter().filter(|(id, _)| !ended.contains(id)) {
                let keys: Vec<Key> = keys.iter().filter(|key| is_told(prefix, key)).cloned().collect();
                let covers = |key: &Key| prefix.parse::<KeyPrefix>().is_ok_and(|prefix| prefix.covers(key));
                prop_assert!(keys.iter().all(covers));
                if !keys.is_empty() {
                    expect.push((*watch, keys, dot));
                }
            }
        }
        prop_assert_eq!(reader.told(), expect);
        // What is told of a state as it is repaired must not depend on what was told before.
        let values = |host: &Host| -> BTreeMap<Key, Value> {
            let objects = host.replica.state().objects_after(None);
            objects.map(|(key, object)| (key.clone(), object.value())).collect()
        };
        prop_assert_eq!(values(&reader), values(&writer));
    }
}
