//! The invariants, as far as they can be seen from outside a replica.

use super::equivocator;
use super::ledger::Ledger;
use super::{Next, Node, Sim};
use crate::causal::VersionVector;
use crate::crdt::{Context, ObjectState, Value};
use crate::id::{Dot, NodeId, ReplicaId, Stream};
use crate::key::Key;
use crate::replica::{Checkpoint, Message, Replica};
use crate::seal::HashKeys;
use crate::state::State;

/// After how many events the checks that cost the whole state come again, at the least.
const SAMPLE: u64 = 61;
/// Bytes of state for which they wait one event more, so that they cost the same share of any run.
const SAMPLE_BYTES: u64 = 150;
/// Of how many events with news one is followed by a comparison of what is new with the reference.
const SAMPLE_REFERENCE: u64 = 9;
/// Of how many full samples one compares everything with the reference.
const SAMPLE_EVERYTHING: u64 = 8;
/// What a message may weigh beyond a page: the item or the sealed run that overflows it, vectors and framing.
const MESSAGE_SLACK_BYTES: usize = 32 * 1024;

impl Sim<'_> {
    /// What must hold after every event: cheap checks of what is new always, costly ones of everything now and then.
    pub(super) fn check_after(&mut self, index: usize) -> Result<(), String> {
        self.check_node(index).map_err(|what| format!("node {index} {what}"))
    }

    /// No message drags a clock far ahead.
    pub(super) fn check_clock(&mut self, index: usize, is_received: bool) -> Result<(), String> {
        let node = &mut self.nodes[index];
        let most_ms = node.time(self.now_ms).wall_ms + self.scenario.config.max_drift_ms;
        let Some(replica) = &node.replica else { return Ok(()) };
        node.watch.check_clock(replica, most_ms, is_received).map_err(|what| format!("node {index} {what}"))
    }

    /// What a node takes for stable is on the disk of every member that never forgot anything.
    fn check_stable(&self, index: usize) -> Result<(), String> {
        let Some(replica) = &self.nodes[index].replica else { return Ok(()) };
        let stable = replica.stable();
        let member = |(other, node): &(usize, &Node)| {
            *other != index && node.joined && !node.dropped && !node.has_forgotten && !self.is_shared(&node.id)
        };
        for (other, node) in self.nodes.iter().enumerate().filter(member) {
            if let Some((stream, seq)) = stable.iter().find(|(stream, seq)| node.disk.image.seq(stream) < *seq) {
                return Err(format!("takes {seq} commits of {stream:?} for stable; node {other} has not all of them"));
            }
        }
        Ok(())
    }

    fn check_node(&mut self, index: usize) -> Result<(), String> {
        if self.nodes[index].is_forked() || self.is_outlived(index) {
            return Ok(());
        }
        let Node { replica, watch, .. } = &mut self.nodes[index];
        let Some(replica) = replica.as_ref() else { return Ok(()) };
        let news = watch.follow(replica, &self.ledger)?;
        watch.check_news(&news, replica, &self.ledger)?;
        if replica.log().bytes() > self.scenario.config.log_bytes {
            return Err(format!("keeps {} bytes of log", replica.log().bytes()));
        }
        let now = (replica.root(), replica.is_exact());
        if watch.compared != Some(now) {
            watch.compared = Some(now);
            if now.1 && *self.roots.entry(replica.seen().digest()).or_insert(now.0) != now.0 {
                return Err(format!("has another root than others had at {:?}", replica.seen()));
            }
        }
        if self.handled.is_multiple_of(SAMPLE_REFERENCE) && replica.is_exact() {
            for key in &news.keys {
                check_value(key, replica, &self.ledger)?;
            }
        }
        if self.handled >= self.next_sample {
            self.next_sample = self.handled + SAMPLE + replica.state().bytes() / SAMPLE_BYTES;
            check_root(replica)?;
            watch.check_all(replica, &self.ledger)?;
            self.check_memory(index)?;
            self.check_stable(index)?;
            self.check_ends(index)?;
            if self.rng.chance(1000 / SAMPLE_EVERYTHING) {
                self.check_values(index)?;
            }
        }
        Ok(())
    }

    /// What a node keeps beside the state is bounded by what there is.
    fn check_memory(&self, index: usize) -> Result<(), String> {
        let node = &self.nodes[index];
        let Some(replica) = &node.replica else { return Ok(()) };
        let peers = replica.peers(node.time(self.now_ms)).len();
        if peers > self.nodes.len() {
            return Err(format!("keeps {peers} peers of {}", self.nodes.len()));
        }
        let removed = self.ledger.elements.removals;
        let garbage = replica.state().garbage();
        if garbage > removed + replica.state().len() {
            return Err(format!("keeps {garbage} things for order only; {removed} puts were ever removed"));
        }
        if replica.log().commits() > self.ledger.made.len() + equivocator::COMMITS_MAX {
            return Err(format!("keeps {} commits", replica.log().commits()));
        }
        Ok(())
    }

    /// Ranges of keys that show more than the vector: never more than there are keys, and their ends.
    pub(super) fn check_checkpoint(&self, index: usize, checkpoint: &Checkpoint) -> Result<(), String> {
        let most = 2 * self.ledger.by_key.len() + 2;
        if checkpoint.ahead.len() > most {
            return Err(format!("node {index} keeps {} ranges that are ahead", checkpoint.ahead.len()));
        }
        Ok(())
    }

    /// What must hold of every message: it shows nothing that is not durable at its writer.
    pub(super) fn check_sent(&self, from: usize, to: NodeId, message: &Message) -> Result<(), String> {
        let own = Stream::global(self.nodes[from].writer());
        let durable = self.nodes[from].disk.image.seq(&own);
        let own_durable = |seen: &VersionVector| match seen.seq(&own) {
            told if told > durable && self.nodes[from].forgot.is_none() => {
                Err(format!("node {from} tells of {told} commits of its own; {durable} are durable"))
            }
            _ => Ok(()),
        };
        if self.nodes[from].is_forked() || self.is_outlived(from) {
            return Ok(());
        }
        // What is meant for one of two hosts with one key may come to the other, and begin something there at any time.
        let shared = [to, self.nodes[from].id].iter().any(|id| self.is_shared(id));
        if self.quiet && !shared && !matches!(message, Message::Digest { .. } | Message::Proof(_)) {
            return Err(format!("node {from} says more than a digest although all are equal: {message:?}"));
        }
        match message {
            Message::Commits { batches, .. } => batches.iter().try_for_each(|batch| {
                batch.verify(&HashKeys).map_err(|flaw| format!("node {from} sends {flaw}: {batch:?}"))?;
                if Self::is_equivocal(&batch.stream) { Ok(()) } else { self.ledger.check_sent(batch) }
            }),
            Message::Vector { seen, .. } => own_durable(seen),
            Message::Announce(news) => {
                own_durable(&news.iter().map(|news| (news.stream, news.through)).collect::<VersionVector>())
            }
            Message::Recalled { batch, .. } => batch.iter().try_for_each(|batch| self.ledger.check_sent(batch)),
            Message::StatePage { seen, objects, .. } => {
                own_durable(seen)?;
                objects.iter().try_for_each(|(_, object)| self.check_shown(object))
            }
            Message::Digest { .. } | Message::Forgotten | Message::Recall { .. } | Message::StateRequest { .. } => {
                Ok(())
            }
            Message::Heads { .. } | Message::Witness { .. } | Message::Proof(_) => Ok(()),
            Message::Graft(_) | Message::Prune | Message::Link(_) => Ok(()),
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
                replica.orphans().is_empty()
                    && replica.seen() == first.seen()
                    && replica.durable() == first.seen()
                    && replica.is_exact()
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
        let line = |(index, node): (usize, &Node)| match &node.replica {
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
        self.ledger.check_made_again()?;
        self.ledger.withdraw_pointless(&self.ends);
        let durable = self.ledger.durable();
        for index in 0..self.nodes.len() {
            let Some(replica) = &self.nodes[index].replica else { return Err("a node is down".to_owned()) };
            if !replica.seen().includes(durable) {
                return Err(format!("durable commits are lost: {durable:?}{}", self.differences()));
            }
            check_root(replica)?;
            self.check_values(index).map_err(|what| format!("node {index} {what}"))?;
        }
        Ok(())
    }

    fn check_values(&self, index: usize) -> Result<(), String> {
        let exact = |replica: &&Replica| replica.is_exact() && !self.is_outlived(index);
        let Some(replica) = self.nodes[index].replica.as_ref().filter(exact) else {
            return Ok(());
        };
        self.ledger.by_key.keys().try_for_each(|key| check_value(key, replica, &self.ledger))?;
        match replica.state().objects_after(None).find(|(key, _)| !self.ledger.by_key.contains_key(key)) {
            Some((key, object)) if !is_empty(&object.value()) => Err(format!("reads {key}, which nobody wrote")),
            Some(_) | None => Ok(()),
        }
    }

    /// After the calm: nothing is left over, nothing is under way, nothing has changed.
    pub(super) fn check_end(&mut self) -> Result<(), String> {
        if !self.is_converged() {
            return Err(format!("equality did not last:{}", self.differences()));
        }
        self.check_proofs()?;
        self.check_expected()?;
        self.coverage.add_to("states compared", self.roots.len() as u64);
        for (index, node) in self.nodes.iter().enumerate() {
            let Some(replica) = &node.replica else { continue };
            self.coverage.add(replica.counters());
            // Which of two hosts with one key is told what all have is left to chance, which may keep it from one for long.
            let twins = self.bearers.get(&node.id).map_or(0, Vec::len) > 1;
            if replica.state().garbage() > 0 && !twins {
                return Err(format!(
                    "node {index} keeps {} things that all have forgotten; what it knows to be everywhere is {}what it has seen",
                    replica.state().garbage(),
                    if replica.stable() == *replica.seen() { "" } else { "less than " }
                ));
            }
            let kept = replica.seen().len() * self.scenario.config.log_commits_kept.max(1);
            if replica.log().commits() > kept && !twins {
                return Err(format!("node {index} keeps {} commits that all have", replica.log().commits()));
            }
        }
        // Nor is the quiet of two hosts with one key, or of those who talk to either, looked at.
        let shared = self.bearers.values().any(|bearers| bearers.len() > 1);
        match self.scheduled.values().find(|next| matches!(next, Next::Written { .. }) && !shared) {
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

/// One object reads exactly as the commits say.
fn check_value(key: &Key, replica: &Replica, ledger: &Ledger) -> Result<(), String> {
    let read = replica.state().value(key).filter(|value| !is_empty(value));
    let expected = ledger.expected_of(key, replica.seen()).filter(|value| !is_empty(value));
    if read == expected || ledger.is_folded_early(key, replica.seen()) {
        return Ok(());
    }
    Err(format!("reads {key} as {read:?}; the commits say {expected:?}"))
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Counter(value) => *value == 0,
        Value::Set(members) => members.is_empty(),
        Value::Map(fields) => fields.is_empty(),
    }
}
