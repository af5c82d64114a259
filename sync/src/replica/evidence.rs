//! Who wrote what: what others relay is believed when its writer sealed it, and a writer that gave one name to two commits is found out.
//!
//! Straight from its writer a commit is believed by the channel; from anybody else by the seal. Whoever holds two commits under one
//! name, both sealed, has a [`Proof`], keeps it and tells everybody. From then on the stream is frozen: no commit of it is taken,
//! given or asked for by name. What some have of it and others not still comes with repairs from state, so that vectors can become
//! equal, but its writer's word on it counts for nothing. The invariant: a stream is frozen only with a proof that everybody can verify.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Event, Message, Offence, Output, Replica, SCOPE};
use crate::causal::VersionVector;
use crate::commit::{Batch, Flaw};
use crate::id::{Dot, NodeId, Stream};
use crate::limits::{
    HEADS_HASHES_MAX, HEADS_PER_STREAM, PROOF_RETOLD_MS, PROOFS_MAX, PROOFS_PER_NODE, PROOFS_TOLD, WITNESSES_MAX,
};
use crate::log::Range;
use crate::seal::{Proof, Testimony};
use crate::time::Time;

/// The newest commits of a stream that a replica retains, by their hashes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head(pub Stream, pub u64, pub Vec<u64>);

#[derive(Debug, Default)]
pub(super) struct Evidence {
    proofs: BTreeMap<Stream, Proof>,
    /// The stream with which the last heads ended.
    told: Option<Stream>,
    /// When something was learned last.
    learned_ms: Option<u64>,
}

impl Evidence {
    /// What an earlier process kept; it had verified it.
    pub(super) fn of(proofs: Vec<Proof>) -> Self {
        let proofs = proofs.into_iter().map(|proof| (proof.stream, proof)).take(PROOFS_MAX).collect();
        Self { proofs, told: None, learned_ms: None }
    }

    pub(super) fn is_frozen(&self, stream: &Stream) -> bool {
        self.proofs.contains_key(stream)
    }

    /// Keeps a proof that was verified, the newest few of each node; whether it says something new.
    pub(super) fn keep(&mut self, proof: Proof) -> bool {
        let stream = proof.stream;
        if self.is_frozen(&stream) {
            return false;
        }
        let of_node = |of: &&Stream| of.replica.node == stream.replica.node;
        let oldest = self.proofs.keys().find(of_node).copied();
        if self.proofs.keys().filter(of_node).count() >= PROOFS_PER_NODE
            && let Some(oldest) = oldest
        {
            if stream < oldest {
                return false;
            }
            self.proofs.remove(&oldest);
        }
        if self.proofs.len() >= PROOFS_MAX {
            return false;
        }
        self.proofs.insert(stream, proof);
        true
    }

    /// What a peer says that it has seen; of a frozen stream in which it goes on writing, no more than we have. Who has begun
    /// another is the one who has its old one for sure, and may be the only one.
    pub(super) fn believed(&self, peer: NodeId, seen: VersionVector, ours: &VersionVector) -> VersionVector {
        let present = seen.of_node(SCOPE, peer).next_back();
        match present {
            Some((stream, seq)) if self.is_frozen(&stream) && seq > ours.seq(&stream) => {
                seen.with_only(&stream, ours.seq(&stream))
            }
            Some(_) | None => seen,
        }
    }
}

impl Replica {
    /// What proves that writers gave one name to two commits: these streams are frozen.
    pub fn proofs(&self) -> impl Iterator<Item = &Proof> {
        self.evidence.proofs.values()
    }

    /// What a peer may be given of a stream: sealed, and not frozen. What is ours is sealed now, for it leaves now.
    pub(super) fn serve(&mut self, stream: &Stream, range: (u64, u64), budget: usize, out: &mut Vec<Output>) -> Range {
        if range.0 > range.1 {
            return Range::Nothing;
        }
        if self.evidence.is_frozen(stream) {
            return Range::Forgotten;
        }
        let range = (range.0, range.1.min(self.shown_through(stream)));
        let keys = self.config.keys.as_ref();
        if stream.replica.node == self.me.node {
            self.log.seal(stream, range.1, keys);
        }
        let served = self.log.serve(stream, range, budget, keys);
        if let Some(seq) = served.forged {
            self.refuse(stream.replica.node, Dot { replica: stream.replica, seq }, Flaw::Forged, 1, out);
        }
        served.range
    }

    /// How far a stream may be signed, given and shown: of ours only what is durable. A crash takes the rest and its names are given
    /// again; whoever holds a seal over the first meaning of one would prove against us what we never did.
    fn shown_through(&self, stream: &Stream) -> u64 {
        if stream.replica.node == self.me.node { self.durable().seq(stream) } else { u64::MAX }
    }

    /// Whether a batch is to be looked at further. What is new, and not straight from its writer, is verified here, once.
    pub(super) fn admits(&mut self, from: NodeId, batch: &mut Batch, now: Time, out: &mut Vec<Output>) -> bool {
        let stream = batch.stream;
        let count = batch.commits.len() as u64;
        if stream == self.own_stream() || stream.scope != SCOPE {
            return true;
        }
        if self.evidence.is_frozen(&stream) {
            self.counters.frozen += count;
            self.spread.refuse(stream, now);
            return false;
        }
        if !self.has_room_for(from, &stream, count, out) {
            return false;
        }
        let is_known = batch.first.saturating_add(count) <= self.seen.seq(&stream).saturating_add(1);
        let differs = self.first_difference(batch);
        if is_known && differs.is_none() {
            return true;
        }
        let dot = Dot { replica: stream.replica, seq: batch.first };
        if stream.replica.node == from {
            batch.tidy_seals();
            let sealed: usize = batch.seals.iter().filter_map(crate::seal::Seal::count).sum();
            if sealed < batch.commits.len() {
                // They are taken, for the channel says whose they are; but nobody gets them from us by name.
                self.counters.unsealed += (batch.commits.len() - sealed) as u64;
                out.push(Output::Event(Event::Offence { peer: from, what: Offence::Unsealed }));
            }
        } else if let Err(flaw) = batch.verify(self.config.keys.as_ref()) {
            self.refuse(from, dot, flaw, count, out);
            return false;
        }
        let Some(seq) = differs else { return true };
        if let (Some(ours), Some(theirs)) =
            (self.log.testimony(&stream, seq, self.config.keys.as_ref()), batch.testimony(seq))
        {
            self.learn(Proof { stream, one: ours, other: theirs }, Some(from), now, out);
        }
        // What goes on after another commit than ours is not what goes on after ours.
        is_known
    }

    /// The first commit of a batch of which we have another.
    fn first_difference(&self, batch: &Batch) -> Option<u64> {
        let (first, _) = self.log.retained(&batch.stream)?;
        let skip = usize::try_from(first.saturating_sub(batch.first)).unwrap_or(usize::MAX);
        let differs =
            |(seq, theirs)| self.log.get(&batch.stream, seq).is_some_and(|ours| ours != theirs).then_some(seq);
        let last = self.seen.seq(&batch.stream);
        (batch.first..=last).zip(&batch.commits).skip(skip).find_map(differs)
    }

    fn refuse(&mut self, from: NodeId, dot: Dot, flaw: Flaw, commits: u64, out: &mut Vec<Output>) {
        let (count, what) = match flaw {
            Flaw::Unsealed => (&mut self.counters.unsealed, Offence::Unsealed),
            Flaw::Forged => (&mut self.counters.forged, Offence::Forged),
        };
        *count += commits;
        self.reject(from, dot, &flaw.to_string(), out);
        out.push(Output::Event(Event::Offence { peer: from, what }));
    }

    /// Takes a proof, if it is one and new: freezes its stream, keeps it, and tells everybody else.
    fn learn(&mut self, proof: Proof, from: Option<NodeId>, now: Time, out: &mut Vec<Output>) {
        let stream = proof.stream;
        if stream.scope != SCOPE || !proof.verify(self.config.keys.as_ref()) || !self.evidence.keep(proof.clone()) {
            return;
        }
        self.counters.equivocations += 1;
        self.evidence.learned_ms = Some(now.mono_ms);
        self.early.drop_stream(&stream);
        let others: Vec<NodeId> = self.peers.connected.iter().copied().filter(|to| Some(*to) != from).collect();
        let message = || Message::Proof(Box::new(proof.clone()));
        out.extend(others.into_iter().map(|to| Output::Send { to, message: message() }));
        out.push(Output::Event(Event::Equivocation { proof: Box::new(proof.clone()) }));
        if stream == self.own_stream() {
            // Somebody else has our key and our past: a copy, or we are the copy. A new incarnation is nobody's but ours.
            if let Some(peer) = from.or(self.peers.connected.first().copied()) {
                self.doubt(peer, proof.dot().seq, now, out);
            }
            self.leave_frozen(now, out);
        }
    }

    pub(super) fn handle_proof(&mut self, from: NodeId, proof: Proof, now: Time, out: &mut Vec<Output>) {
        if self.evidence.is_frozen(&proof.stream) {
            return;
        }
        if proof.verify(self.config.keys.as_ref()) {
            self.learn(proof, Some(from), now, out);
        } else {
            self.counters.forged += 1;
            out.push(Output::Event(Event::Offence { peer: from, what: Offence::FalseProof }));
        }
    }

    /// For a while after something was learned, tells it again to the peer whose turn it is: a message may be lost.
    pub(super) fn retell_proofs(&mut self, now: Time, out: &mut Vec<Output>) {
        let recent = |at: u64| now.mono_ms.saturating_sub(at) < PROOF_RETOLD_MS;
        if let Some(to) = self.peers.turn.filter(|to| self.peers.connected.contains(to))
            && self.evidence.learned_ms.is_some_and(recent)
        {
            self.tell_proofs(to, out);
        }
    }

    /// Tells a peer that has come what proofs there are, the newest first.
    pub(super) fn tell_proofs(&self, to: NodeId, out: &mut Vec<Output>) {
        let proofs = self.evidence.proofs.values().rev().take(PROOFS_TOLD);
        out.extend(proofs.map(|proof| Output::Send { to, message: Message::Proof(Box::new(proof.clone())) }));
    }

    /// Shows a peer whose vector is ours, and whose root is not, by which commits we mean what we have.
    pub(super) fn send_heads(&mut self, to: NodeId, out: &mut Vec<Output>) {
        let mut streams: Vec<Stream> = self.seen.iter().map(|(stream, _)| stream).collect();
        let begun = self.evidence.told.map_or(0, |told| streams.partition_point(|stream| *stream <= told));
        streams.rotate_left(begun);
        let (mut heads, mut room) = (Vec::new(), HEADS_HASHES_MAX);
        streams.retain(|stream| !self.evidence.is_frozen(stream));
        for stream in streams {
            let Some((first, last)) = self.log.retained(&stream) else { continue };
            let last = last.min(self.shown_through(&stream));
            if first > last {
                continue;
            }
            let first = first.max(last.saturating_sub(HEADS_PER_STREAM - 1));
            let hashes: Vec<u64> = (first..=last).filter_map(|seq| self.log.get(&stream, seq)).map(short).collect();
            if hashes.len() > room {
                break;
            }
            room -= hashes.len();
            self.evidence.told = Some(stream);
            heads.push(Head(stream, first, hashes));
        }
        if !heads.is_empty() {
            out.push(Output::Send { to, message: Message::Heads { heads } });
        }
    }

    /// Compares what a peer has with what we have, and says what the writers signed where that is something else.
    pub(super) fn handle_heads(&mut self, from: NodeId, heads: &[Head], out: &mut Vec<Output>) {
        let keys = self.config.keys.as_ref();
        let total: usize = heads.iter().map(|Head(_, _, hashes)| hashes.len()).sum();
        if total > HEADS_HASHES_MAX {
            self.counters.rejected += 1;
            return;
        }
        let differs = |Head(stream, first, hashes): &Head| {
            let shown = self.shown_through(stream);
            let of = |(seq, theirs): (u64, &u64)| {
                self.log.get(stream, seq).is_some_and(|ours| short(ours) != *theirs).then_some((*stream, seq))
            };
            (*first..=shown).zip(hashes).find_map(of)
        };
        let found: Vec<(Stream, u64)> = heads.iter().filter_map(differs).take(WITNESSES_MAX).collect();
        for (stream, seq) in found {
            if stream.replica.node == self.me.node {
                self.log.seal(&stream, seq, keys);
            }
            if let Some(testimony) = self.log.testimony(&stream, seq, keys) {
                out.push(Output::Send { to: from, message: Message::Witness { stream, testimony } });
            }
        }
    }

    pub(super) fn handle_witness(&mut self, stream: Stream, theirs: Testimony, now: Time, out: &mut Vec<Output>) {
        if stream == self.own_stream() || self.evidence.is_frozen(&stream) {
            return;
        }
        if let Some(ours) = self.log.testimony(&stream, theirs.seal.from, self.config.keys.as_ref()) {
            self.learn(Proof { stream, one: ours, other: theirs }, None, now, out);
        }
    }
}

/// Enough of a hash to find a difference; what proves it is signed.
fn short(commit: &crate::commit::CommitBytes) -> u64 {
    xxhash_rust::xxh3::xxh3_64(commit.as_bytes())
}
