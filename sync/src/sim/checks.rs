//! The invariants, as far as they can be seen from outside a replica.

use std::collections::BTreeMap;

use super::{Next, Sim};
use crate::causal::VersionVector;
use crate::crdt::{Context, ObjectState, Value};
use crate::id::{Dot, ReplicaId, Stream};
use crate::key::{Key, Kind};
use crate::replica::{Message, Replica};
use crate::state::State;

/// Of how many events one is followed by the checks that cost the whole state.
const SAMPLE: u64 = 61;
/// Of how many events one is followed by a comparison with the reference.
const SAMPLE_REFERENCE: u64 = 499;
/// What a message may weigh beyond a page: the item that overflows it, vectors and framing.
const MESSAGE_SLACK_BYTES: usize = 16 * 1024;

impl Sim<'_> {
    /// What must hold after every event.
    pub(super) fn check_after(&mut self, index: usize) -> Result<(), String> {
        let node = &mut self.nodes[index];
        let Some(replica) = &node.replica else { return Ok(()) };
        if *replica.seen() != node.watched.seen {
            if !replica.seen().includes(&node.watched.seen) {
                return Err(format!("node {index} has unseen commits: {:?}", replica.seen()));
            }
            node.watched.seen = replica.seen().clone();
        }
        if !replica.seen().includes(replica.durable()) {
            return Err(format!("node {index} has durable what it has not seen"));
        }
        if replica.log().bytes() > self.scenario.config.log_bytes {
            return Err(format!("the log of node {index} holds {} bytes", replica.log().bytes()));
        }
        if replica.is_exact() {
            let root = *self.roots.entry(replica.seen().digest()).or_insert(replica.root());
            if root != replica.root() {
                return Err(format!("node {index} has another root than others had at {:?}", replica.seen()));
            }
        }
        if self.handled.is_multiple_of(SAMPLE) {
            check_root(replica).map_err(|what| format!("node {index}: {what}"))?;
            for (key, size) in grown(replica) {
                let before = node.watched.sizes.insert(key.clone(), size);
                if before.is_some_and(|before| before > size) {
                    return Err(format!("{key} shrank from {before:?} to {size} at node {index}"));
                }
            }
        }
        if self.handled.is_multiple_of(SAMPLE_REFERENCE) && replica.is_exact() {
            self.check_values(index)?;
        }
        Ok(())
    }

    /// What must hold of every message: it shows nothing that is not durable at its writer.
    pub(super) fn check_sent(&self, from: usize, message: &Message) -> Result<(), String> {
        let own = Stream::global(self.nodes[from].writer());
        let durable = self.nodes[from].disk.image.seq(&own);
        let own_durable = |seen: &VersionVector| match seen.seq(&own) {
            told if told > durable && self.nodes[from].forgot.is_none() => {
                Err(format!("node {from} tells of {told} commits of its own; {durable} are durable"))
            }
            _ => Ok(()),
        };
        if self.quiet && !matches!(message, Message::Digest { .. }) {
            return Err(format!("node {from} says more than a digest although all are equal: {message:?}"));
        }
        match message {
            Message::Commits { batches, .. } => batches.iter().try_for_each(|batch| self.ledger.check_sent(batch)),
            Message::Vector { seen, .. } => own_durable(seen),
            Message::Recalled { batch, .. } => batch.iter().try_for_each(|batch| self.ledger.check_sent(batch)),
            Message::StatePage { seen, objects, .. } => {
                own_durable(seen)?;
                objects.iter().try_for_each(|(_, object)| self.check_shown(object))
            }
            Message::Digest { .. } | Message::Forgotten | Message::Recall { .. } | Message::StateRequest { .. } => {
                Ok(())
            }
        }
    }

    fn check_shown(&self, object: &ObjectState) -> Result<(), String> {
        let check = |dot: Dot| self.ledger.check_dot_sent(&dot);
        match object {
            ObjectState::OrSet(set) => {
                set.members.iter().flat_map(|(_, entries)| entries).try_for_each(|entry| check(entry.dot))
            }
            ObjectState::LwwMap(map) => {
                map.members.iter().flat_map(|(_, entries)| entries).try_for_each(|entry| check(entry.dot))
            }
            ObjectState::GCounter(_) | ObjectState::PnCounter(..) | ObjectState::GSet(_) => Ok(()),
        }
    }

    pub(super) fn check_size(&self, bytes: &[u8]) -> Result<(), String> {
        let limit = 3 * self.scenario.config.page_bytes + MESSAGE_SLACK_BYTES;
        if bytes.len() <= limit { Ok(()) } else { Err(format!("a message of {} bytes", bytes.len())) }
    }

    /// Whether all nodes hold the same, durably, and say so.
    pub(super) fn is_converged(&self) -> bool {
        let mut replicas = self.nodes.iter().map(|node| node.replica.as_ref());
        let Some(Some(first)) = replicas.next() else { return false };
        let same = |replica: Option<&Replica>| {
            replica.is_some_and(|replica| {
                replica.seen() == first.seen() && replica.durable() == first.seen() && replica.is_exact()
            })
        };
        same(Some(first)) && replicas.all(same)
    }

    /// How the nodes differ, for whoever reads a failure.
    pub(super) fn differences(&self) -> String {
        let show = |vector: &VersionVector| {
            let one = |(stream, seq): (Stream, u64)| {
                format!("{}.{}:{seq}", stream.replica.node.0[7], stream.replica.incarnation.0 % 100_000)
            };
            vector.iter().map(one).collect::<Vec<_>>().join(" ")
        };
        let line = |(index, node): (usize, &super::Node)| match &node.replica {
            None => format!("\n  node {index} is down"),
            Some(replica) => format!(
                "\n  node {index} root {:.8} exact {} settled {} read-only {} seen [{}] durable [{}]",
                replica.root().to_string(),
                replica.is_exact(),
                replica.is_settled(),
                replica.is_read_only(),
                show(replica.seen()),
                show(replica.durable()),
            ),
        };
        self.nodes.iter().enumerate().map(line).collect()
    }

    /// All hold every durable commit, and read exactly what follows from it.
    pub(super) fn check_expected(&mut self) -> Result<(), String> {
        let durable = self.ledger.durable();
        for index in 0..self.nodes.len() {
            let Some(replica) = &self.nodes[index].replica else { return Err("a node is down".to_owned()) };
            if !replica.seen().includes(&durable) {
                return Err(format!("durable commits are lost: {durable:?}{}", self.differences()));
            }
            check_root(replica)?;
            self.check_values(index)?;
        }
        Ok(())
    }

    fn check_values(&self, index: usize) -> Result<(), String> {
        let Some(replica) = &self.nodes[index].replica else { return Ok(()) };
        let mut expected = self.ledger.expected(replica.seen());
        expected.retain(|_, value| !is_empty(value));
        let read = replica.state().objects_after(None).map(|(key, object)| (key.clone(), object.value()));
        let read: BTreeMap<Key, Value> = read.filter(|(_, value)| !is_empty(value)).collect();
        for key in expected.keys().chain(read.keys()) {
            if expected.get(key) != read.get(key) {
                let (expected, read) = (expected.get(key), read.get(key));
                return Err(format!("node {index} reads {key} as {read:?}; the commits say {expected:?}"));
            }
        }
        Ok(())
    }

    /// After the calm: nothing is left over, nothing is under way, nothing has changed.
    pub(super) fn check_end(&mut self) -> Result<(), String> {
        if !self.is_converged() {
            return Err(format!("equality did not last:{}", self.differences()));
        }
        self.check_expected()?;
        self.coverage.exact_states += self.roots.len() as u64;
        for (index, node) in self.nodes.iter().enumerate() {
            let Some(replica) = &node.replica else { continue };
            self.coverage.add(replica.counters());
            if replica.state().garbage() > 0 {
                return Err(format!("node {index} keeps {} things that all have forgotten", replica.state().garbage()));
            }
            let kept = replica.seen().len() * self.scenario.config.log_commits_kept.max(1);
            if replica.log().commits() > kept {
                return Err(format!("node {index} keeps {} commits that all have", replica.log().commits()));
            }
        }
        let idle = |next: &Next| matches!(next, Next::Tick { .. } | Next::Deliver { .. });
        match self.scheduled.values().find(|next| !idle(next) && !matches!(next, Next::Client | Next::Fault)) {
            Some(Next::Written { node, .. }) => Err(format!("node {node} still writes although nothing changes")),
            Some(_) | None => Ok(()),
        }
    }
}

/// The root, the weight and every object's hash are those of the same content put together anew.
fn check_root(replica: &Replica) -> Result<(), String> {
    let me = ReplicaId { node: replica.me().node, incarnation: replica.me().incarnation };
    let mut anew = State::new(me);
    let nothing = VersionVector::default();
    let context = Context::of(&nothing);
    for (key, object) in replica.state().objects_after(None) {
        object.state().validate(key.kind()).map_err(|error| format!("{key}: {error}"))?;
        anew.merge(key.clone(), object.state(), context, context);
        if anew.object(key) != Some(object) {
            return Err(format!("{key} is not what its own state says"));
        }
    }
    if (anew.root(), anew.bytes()) == (replica.root(), replica.state().bytes()) {
        return Ok(());
    }
    Err(format!(
        "the root {} should be {}, {} bytes {}",
        replica.root(),
        anew.root(),
        replica.state().bytes(),
        anew.bytes()
    ))
}

/// The size of everything that may only grow.
fn grown(replica: &Replica) -> Vec<(Key, i128)> {
    let size = |(key, object): (&Key, &crate::crdt::Object)| match (key.kind(), object.value()) {
        (Kind::GCounter, Value::Counter(value)) => Some((key.clone(), value)),
        (Kind::GSet, Value::Set(members)) => Some((key.clone(), members.len() as i128)),
        (Kind::GCounter | Kind::PnCounter | Kind::GSet | Kind::OrSet | Kind::LwwMap, _) => None,
    };
    replica.state().objects_after(None).filter_map(size).collect()
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Counter(value) => *value == 0,
        Value::Set(members) => members.is_empty(),
        Value::Map(fields) => fields.is_empty(),
    }
}
