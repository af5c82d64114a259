//! Writers that forgot, went away or came back: whose commits count, and that none that was durable is lost or counted twice.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use selvedge_sync::change::Change;
use selvedge_sync::commit::{Batch, RequestId};
use selvedge_sync::crdt::{ObjectState, Value};
use selvedge_sync::id::{Incarnation, NodeId, ReplicaId, Stream};
use selvedge_sync::key::Key;
use selvedge_sync::replica::{Config, Event, Input, Orphans, Output, Recovery, Replica};
use selvedge_sync::scalar::Scalar;
use selvedge_sync::time::Time;

#[path = "epochs/again.rs"]
mod again;
#[path = "epochs/lives.rs"]
mod lives;

const WALL_MS: u64 = 1_800_000_000_000;
const RETIRE_MS: u64 = 60_000;

/// What a restart would find.
#[derive(Clone, Default)]
struct Disk {
    incarnation: u64,
    recovery: Recovery,
    objects: BTreeMap<Key, ObjectState>,
    /// How many checkpoints were written, and how many of them with what waits to be made again.
    checkpoints: usize,
    orphans_written: usize,
}

impl Disk {
    fn write(&mut self, output: &Output) {
        match output {
            Output::Persist { batch, .. } => self.recovery.log.push(batch.clone()),
            Output::Checkpoint { checkpoint, .. } => {
                self.recovery.vector.merge(&checkpoint.vector);
                self.recovery.ahead = checkpoint.ahead.clone();
                self.recovery.latest = checkpoint.latest;
                self.checkpoints += 1;
                if let Some(orphans) = &checkpoint.orphans {
                    self.orphans_written += 1;
                    self.recovery.orphans = orphans.clone();
                }
                for (key, row) in &checkpoint.objects {
                    match row {
                        Some(row) => drop(self.objects.insert(key.clone(), row.state().expect("a row"))),
                        None => drop(self.objects.remove(key)),
                    }
                }
                for (stream, first) in &checkpoint.log_first {
                    self.recovery.log.retain(|batch| batch.stream != *stream || batch.first >= *first);
                }
            }
            Output::Rebirth { incarnation, fresh } => {
                self.incarnation = incarnation.0;
                if let Some(fresh) = fresh {
                    let incarnation = self.incarnation;
                    *self = Self { incarnation, ..Self::default() };
                    self.recovery.orphans = fresh.orphans.clone();
                }
            }
            Output::Send { .. }
            | Output::Committed { .. }
            | Output::Event(_)
            | Output::Watching { .. }
            | Output::Changed { .. } => {}
        }
    }

    fn recovery(&self) -> Recovery {
        Recovery { objects: self.objects.clone().into_iter().collect(), ..self.recovery.clone() }
    }
}

/// A few replicas on a wire without latency that can be cut, with disks without latency that can be swapped.
struct Mesh {
    nodes: Vec<Option<Replica>>,
    disks: Vec<Disk>,
    connected: BTreeSet<(usize, usize)>,
    now_ms: u64,
    requests_remembered: usize,
    events: Vec<(usize, Event)>,
    /// All that was written to any disk, in order.
    journal: Vec<(usize, Output)>,
}

fn node(index: usize) -> NodeId {
    NodeId([u8::try_from(index + 1).expect("few"); 32])
}

fn key(text: &str) -> Key {
    text.parse().expect("a key")
}

impl Mesh {
    fn of(count: usize) -> Self {
        let (nodes, disks) = ((0..count).map(|_| None).collect(), vec![Disk::default(); count]);
        let (connected, events, requests_remembered) = (BTreeSet::new(), Vec::new(), 65_536);
        let journal = Vec::new();
        let mut mesh = Self { nodes, disks, connected, now_ms: 0, requests_remembered, events, journal };
        (0..count).for_each(|index| mesh.start(index));
        mesh
    }

    fn start(&mut self, index: usize) {
        let me = ReplicaId { node: node(index), incarnation: Incarnation(self.disks[index].incarnation) };
        let requests_remembered = self.requests_remembered;
        let config =
            Config { retire_after_ms: RETIRE_MS, log_commits_kept: 64, requests_remembered, ..Config::default() };
        let replica = Replica::recover(me, config, self.disks[index].recovery()).expect("recovers");
        self.nodes[index] = Some(replica);
    }

    /// The power goes at `index`; what it finds at the next start may be an older `disk`.
    fn restart(&mut self, index: usize, disk: Option<Disk>) {
        self.cut(index);
        self.disks[index] = disk.unwrap_or_else(|| self.disks[index].clone());
        self.start(index);
    }

    fn replica(&self, index: usize) -> &Replica {
        self.nodes[index].as_ref().expect("runs")
    }

    fn time(&self) -> Time {
        Time { wall_ms: WALL_MS + self.now_ms, mono_ms: self.now_ms }
    }

    fn feed(&mut self, index: usize, input: Input) {
        let mut inputs = VecDeque::from([(index, input)]);
        for steps in 0.. {
            assert!(steps < 5_000, "talk without end at one moment");
            let Some((index, input)) = inputs.pop_front() else { return };
            let now = self.time();
            for output in self.nodes[index].as_mut().expect("runs").handle(input, now) {
                self.disks[index].write(&output);
                if matches!(output, Output::Persist { .. } | Output::Checkpoint { .. }) {
                    self.journal.push((index, output.clone()));
                }
                match output {
                    Output::Persist { token, .. } | Output::Checkpoint { token, .. } => {
                        inputs.push_back((index, Input::Persisted { token }));
                    }
                    Output::Rebirth { incarnation, .. } => inputs.push_back((index, Input::Reborn(incarnation))),
                    Output::Send { to, message } => {
                        let to = (0..self.nodes.len()).find(|other| node(*other) == to).expect("somebody");
                        if self.connected.contains(&(index, to)) {
                            inputs.push_back((to, Input::Receive { from: node(index), message }));
                        }
                    }
                    Output::Committed { result, .. } => drop(result.expect("is taken")),
                    Output::Event(event) => self.events.push((index, event)),
                    Output::Watching { .. } | Output::Changed { .. } => {}
                }
            }
        }
    }

    fn connect(&mut self, some: &[usize]) {
        for (at, other) in some.iter().flat_map(|at| some.iter().map(move |other| (*at, *other))) {
            if at != other && self.connected.insert((at, other)) {
                self.feed(at, Input::PeerUp(node(other)));
            }
        }
    }

    fn cut(&mut self, index: usize) {
        for other in (0..self.nodes.len()).filter(|other| *other != index) {
            if self.connected.remove(&(index, other)) | self.connected.remove(&(other, index)) {
                self.feed(index, Input::PeerDown(node(other)));
                self.feed(other, Input::PeerDown(node(index)));
            }
        }
    }

    fn members(&mut self, of: &[usize], members: &[usize]) {
        let members: BTreeSet<NodeId> = members.iter().map(|index| node(*index)).collect();
        of.iter().for_each(|index| self.feed(*index, Input::Members(members.clone())));
    }

    fn write(&mut self, index: usize, text: &str, change: Change) {
        self.write_as(index, text, change, None);
    }

    fn write_as(&mut self, index: usize, text: &str, change: Change, request: Option<RequestId>) {
        self.feed(index, Input::Commit { ticket: 0, changes: vec![(key(text), change)], request });
    }

    fn pass(&mut self, ms: u64) {
        for _ in 0..ms / 250 {
            self.now_ms += 250;
            (0..self.nodes.len()).for_each(|index| self.feed(index, Input::Tick));
        }
    }

    fn value(&self, index: usize, text: &str) -> Value {
        self.replica(index).readable().value(&key(text)).expect("somebody wrote it")
    }

    /// All have the same, and read `expected` under `text`.
    fn check(&self, text: &str, expected: &Value) {
        for index in 0..self.nodes.len() {
            assert_eq!(self.replica(index).root(), self.replica(0).root(), "node {index}: {:?}", self.events);
            assert_eq!(self.value(index, text), *expected, "node {index}: {:?}", self.events);
        }
    }

    fn lives(&self, index: usize) -> BTreeSet<u64> {
        let streams = self.replica(0).seen().iter().map(|(stream, _)| stream.replica);
        streams.filter(|replica| replica.node == node(index)).map(|replica| replica.incarnation.0).collect()
    }
}

fn put(field: &str, value: &str) -> Change {
    Change::Put([(field.to_owned(), Scalar::from(value))].into())
}

fn texts(members: &[&str]) -> Value {
    Value::Set(members.iter().map(|member| Scalar::from(*member)).collect())
}

fn fields(pairs: &[(&str, &str)]) -> Value {
    Value::Map(pairs.iter().map(|(field, value)| ((*field).to_owned(), Scalar::from(*value))).collect())
}

/// Three that know each other, and one counter, set and map that all have written.
fn acquainted() -> Mesh {
    let mut mesh = Mesh::of(3);
    mesh.members(&[0, 1, 2], &[0, 1, 2]);
    mesh.connect(&[0, 1, 2]);
    for index in 0..3 {
        mesh.write(index, "gcounter/kills", Change::Increment(10));
        mesh.write(index, "pncounter/gold", Change::Decrement(1));
        mesh.write(index, "orset/online", Change::Add(vec![format!("p{index}").as_str().into()]));
    }
    mesh.write(2, "lwwmap/match", put("map", "castle"));
    mesh.write(2, "lwwmap/match", put("mode", "duel"));
    mesh.pass(5_000);
    mesh.check("gcounter/kills", &Value::Counter(30));
    mesh
}

/// The third goes away for longer than it is waited for.
fn lost_for_long(mesh: &mut Mesh) {
    mesh.pass(RETIRE_MS + 5_000);
    for (index, expected) in [(0, 1), (1, 1)] {
        assert_eq!(mesh.replica(index).epoch(), expected, "{:?}", mesh.events);
    }
}

#[test]
fn who_comes_back_after_the_horizon_begins_anew_and_loses_nothing() {
    let mut mesh = acquainted();
    mesh.cut(2);
    mesh.members(&[0, 1], &[0, 1]);
    mesh.pass(1_000);
    mesh.write(2, "gcounter/kills", Change::Increment(5));
    mesh.write(2, "gcounter/kills", Change::Increment(2));
    mesh.write(2, "lwwmap/match", put("map", "bridge"));
    mesh.write(2, "lwwmap/match", put("mode", "raid"));
    mesh.write(2, "orset/online", Change::Remove(vec!["p0".into()]));
    mesh.write(2, "orset/online", Change::Add(vec!["p9".into()]));
    mesh.pass(1_000);
    mesh.write(0, "lwwmap/match", put("map", "harbour"));
    mesh.write(0, "orset/online", Change::Remove(vec!["p2".into()]));
    lost_for_long(&mut mesh);

    mesh.members(&[0, 1, 2], &[0, 1, 2]);
    mesh.connect(&[0, 1, 2]);
    mesh.pass(16_000);
    assert_eq!(mesh.lives(2).len(), 2, "the old life and the new");
    mesh.check("gcounter/kills", &Value::Counter(37));
    mesh.check("pncounter/gold", &Value::Counter(-3));
    // What was put later elsewhere wins over what was put earlier here, although that was made again afterwards.
    mesh.check("lwwmap/match", &fields(&[("map", "harbour"), ("mode", "raid")]));
    mesh.check("orset/online", &texts(&["p1", "p9"]));
    assert!(mesh.replica(2).orphans().is_empty());
}

#[test]
fn the_shares_of_a_closed_writer_are_taken_over_once() {
    let mut mesh = acquainted();
    mesh.cut(2);
    mesh.members(&[0, 1], &[0, 1]);
    lost_for_long(&mut mesh);
    let gone = ReplicaId { node: node(2), incarnation: Incarnation(0) };
    for index in [0, 1] {
        let holding = mesh.replica(index).state().counters_holding(&[gone].into()).count();
        assert_eq!(holding, 0, "node {index}");
        assert_eq!(mesh.value(index, "gcounter/kills"), Value::Counter(30));
        assert_eq!(mesh.value(index, "pncounter/gold"), Value::Counter(-3));
    }
}

#[test]
fn a_minority_closes_nobody() {
    let mut mesh = acquainted();
    mesh.cut(0);
    mesh.members(&[0], &[0]);
    mesh.members(&[1, 2], &[1, 2]);
    mesh.pass(RETIRE_MS + 5_000);
    assert_eq!([0, 1, 2].map(|index| mesh.replica(index).epoch()), [0, 1, 1]);
    mesh.members(&[0, 1, 2], &[0, 1, 2]);
    mesh.connect(&[0, 1, 2]);
    mesh.pass(10_000);
    mesh.check("gcounter/kills", &Value::Counter(30));
    assert_eq!(mesh.lives(0).len(), 1, "it has written nothing since, so its new life is not known yet");
}

#[test]
fn nobody_is_closed_while_a_member_is_out_of_reach() {
    let mut mesh = acquainted();
    mesh.cut(2);
    mesh.cut(1);
    mesh.members(&[0, 1], &[0, 1]);
    mesh.pass(RETIRE_MS + 5_000);
    assert_eq!([0, 1].map(|index| mesh.replica(index).epoch()), [0, 0]);
}

#[test]
fn a_snapshot_that_wrote_before_it_met_anybody_loses_neither_past_nor_present() {
    let mut mesh = acquainted();
    let snapshot = mesh.disks[1].clone();
    mesh.write(1, "gcounter/kills", Change::Increment(100));
    mesh.write(1, "orset/online", Change::Add(vec!["old".into()]));
    mesh.pass(2_000);
    mesh.restart(1, Some(snapshot));
    let request = RequestId([7; 16]);
    mesh.write_as(1, "gcounter/kills", Change::Increment(1_000), Some(request));
    mesh.write(1, "orset/online", Change::Add(vec!["new".into()]));
    mesh.write(1, "orset/online", Change::Add(vec!["newer".into()]));
    mesh.members(&[1], &[0, 1, 2]);
    mesh.connect(&[0, 1, 2]);
    mesh.pass(10_000);
    mesh.check("gcounter/kills", &Value::Counter(1_130));
    mesh.check("orset/online", &texts(&["new", "newer", "old", "p0", "p1", "p2"]));
    // The client whose request was answered before the snapshot found out may repeat itself.
    mesh.write_as(1, "gcounter/kills", Change::Increment(1_000), Some(request));
    mesh.pass(2_000);
    mesh.check("gcounter/kills", &Value::Counter(1_130));
}

#[test]
fn a_crash_while_commits_are_made_again_makes_none_twice() {
    let mut mesh = acquainted();
    let snapshot = mesh.disks[1].clone();
    mesh.write(1, "gcounter/kills", Change::Increment(100));
    mesh.pass(2_000);
    mesh.restart(1, Some(snapshot));
    mesh.write(1, "gcounter/kills", Change::Increment(1_000));
    mesh.write(1, "gcounter/kills", Change::Increment(3));
    mesh.members(&[1], &[0, 1, 2]);
    mesh.connect(&[0, 1, 2]);
    let before = mesh.disks[1].recovery.orphans.clone();
    mesh.pass(5_000);
    mesh.check("gcounter/kills", &Value::Counter(1_133));
    assert!(mesh.disks[1].recovery.orphans.is_empty());
    // As if the crash had come between the commits and the checkpoint that says that they are made.
    let orphans = if before.is_empty() { orphans_of(&mesh) } else { before };
    assert!(!orphans.is_empty(), "{:?}", mesh.events);
    let mut disk = mesh.disks[1].clone();
    disk.recovery.orphans = orphans;
    mesh.restart(1, Some(disk));
    mesh.members(&[1], &[0, 1, 2]);
    mesh.connect(&[0, 1, 2]);
    mesh.pass(5_000);
    mesh.check("gcounter/kills", &Value::Counter(1_133));
}

/// The commits that node 1 made again, under the names that they had before.
fn orphans_of(mesh: &Mesh) -> Orphans {
    let old = Stream::global(ReplicaId { node: node(1), incarnation: Incarnation(0) });
    let mine = Stream::global(mesh.replica(1).me());
    let again = mesh.disks[1].recovery.log.iter().filter(|batch| batch.stream == mine);
    let commits: Vec<_> = again.flat_map(|batch| batch.commits.clone()).collect();
    Orphans { certain: vec![Batch::new(old, 4, commits)], doubtful: Vec::new(), unconfirmed_after: None }
}

#[test]
fn a_store_that_lost_its_objects_gives_back_what_only_its_log_had() {
    let mut mesh = acquainted();
    mesh.cut(1);
    mesh.write(1, "gcounter/kills", Change::Increment(7));
    let own = Stream::global(mesh.replica(1).me());
    let log: Vec<Batch> = mesh.disks[1].recovery.log.iter().filter(|batch| batch.stream == own).cloned().collect();
    let mut disk = Disk { incarnation: 9, ..Disk::default() };
    disk.recovery.orphans = Orphans { certain: Vec::new(), doubtful: log, unconfirmed_after: None };
    mesh.restart(1, Some(disk));
    mesh.members(&[1], &[0, 1, 2]);
    mesh.connect(&[0, 1]);
    mesh.pass(15_000);
    assert_eq!(mesh.value(0, "gcounter/kills"), Value::Counter(30), "one member was not heard yet");
    mesh.connect(&[0, 1, 2]);
    mesh.pass(15_000);
    mesh.check("gcounter/kills", &Value::Counter(37));
    mesh.check("orset/online", &texts(&["p0", "p1", "p2"]));
}
