//! Who wrote what: what others relay is believed when its writer sealed it, and a writer that gave one name to two commits is found out.
//!
//! Straight from its writer a commit is believed by the channel; from anybody else by the seal. Whoever holds two commits under one
//! name, both sealed, has a [`Proof`], keeps it and tells everybody. From then on the stream is frozen: no commit of it is taken,
//! given or asked for by name. What some have of it and others not still comes with repairs from state, so that vectors can become
//! equal, but its writer's word on it counts for nothing. What proofs are kept, and which are told, is in [`proofs`](super::proofs).
//! The invariant: a stream is frozen only with a proof that everybody can verify.

use serde::{Deserialize, Serialize};

use super::proofs::{Proofs, Whose};
use super::{Event, Message, Offence, Output, Replica, SCOPE};
use crate::causal::VersionVector;
use crate::commit::{Batch, Flaw};
use crate::id::{Dot, NodeId, Stream};
use crate::limits::{HEADS_HASHES_MAX, HEADS_PER_STREAM, PROOF_RETOLD_MS, PROOFS_TOLD, WITNESSES_MAX};
use crate::log::Range;
use crate::seal::{Proof, Testimony};
use crate::time::Time;

/// The newest commits of a stream that a replica retains, by their hashes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head(pub Stream, pub u64, pub Vec<u64>);

#[derive(Debug, Default)]
pub(super) struct Evidence {
    proofs: Proofs,
    /// The stream with which the last heads ended.
    told: Option<Stream>,
    /// When something was learned last.
    learned_ms: Option<u64>,
}

impl Evidence {
    /// What an earlier process kept; it had verified it.
    pub(super) fn of(proofs: Vec<Proof>) -> Self {
        Self { proofs: Proofs::of(proofs), told: None, learned_ms: None }
    }

    pub(super) fn is_frozen(&self, stream: &Stream) -> bool {
        self.proofs.is_about(stream)
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
    /// What proves that writers gave one name to two commits: these streams are frozen, and everybody is told.
    pub fn proofs(&self) -> impl Iterator<Item = &Proof> {
        self.evidence.proofs.kept()
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

    /// Whether a batch is to be looked at further, and for how many signatures that were verified for it; they are given back to its
    /// sender when something of it is kept. What is new, and not straight from its writer, is verified here, once.
    pub(super) fn admits(&mut self, from: NodeId, batch: &mut Batch, now: Time, out: &mut Vec<Output>) -> Option<u64> {
        let stream = batch.stream;
        let count = batch.commits.len() as u64;
        if stream == self.own_stream() || stream.scope != SCOPE {
            return Some(0);
        }
        if self.evidence.is_frozen(&stream) {
            self.counters.frozen += count;
            self.spread.refuse(stream, now);
            return None;
        }
        if !self.has_room_for(from, &stream, count, out) {
            return None;
        }
        let is_known = batch.first.saturating_add(count) <= self.seen.seq(&stream).saturating_add(1);
        let differs = self.first_difference(batch);
        // What waits already is not kept again, as long as it has to wait.
        let waits = batch.first > self.seen.seq(&stream).saturating_add(1) && self.early.holds(batch);
        if differs.is_none() && (is_known || waits) {
            return Some(0);
        }
        let mut verified = 0;
        if stream.replica.node == from {
            batch.tidy_seals();
            let sealed: usize = batch.seals.iter().filter_map(crate::seal::Seal::count).sum();
            if sealed < batch.commits.len() {
                // They are taken, for the channel says whose they are; but nobody gets them from us by name.
                self.counters.unsealed += (batch.commits.len() - sealed) as u64;
                out.push(Output::Event(Event::Offence { peer: from, what: Offence::Unsealed }));
            }
        } else {
            if differs.is_none() {
                self.counters.duplicates += skip_known(batch, self.seen.seq(&stream));
            }
            verified = self.verify(from, batch, now, out)?;
        }
        let Some(seq) = differs else { return Some(verified) };
        if let (Some(ours), Some(theirs)) =
            (self.log.testimony(&stream, seq, self.config.keys.as_ref()), batch.testimony(seq))
        {
            self.learn(Proof { stream, one: ours, other: theirs }, Some(from), now, out);
        }
        // What goes on after another commit than ours is not what goes on after ours.
        is_known.then_some(verified)
    }

    /// Looks whether the writer sealed each commit of a batch that somebody else sent; if so, with how many signatures.
    fn verify(&mut self, from: NodeId, batch: &Batch, now: Time, out: &mut Vec<Output>) -> Option<u64> {
        let (count, seals) = (batch.commits.len() as u64, batch.seals.len() as u64);
        if self.durability.is_read_only() || self.durability.owes_checkpoint() {
            // Nothing is taken at present, and by then somebody sends it again.
            self.counters.deferred += count;
            return None;
        }
        if !self.affords_verifying(from, seals, now, out) {
            self.counters.unverified += count;
            return None;
        }
        let flaw = batch.verify(self.config.keys.as_ref()).err();
        if let Some(flaw) = flaw {
            self.refuse(from, Dot { replica: batch.stream.replica, seq: batch.first }, flaw, count, out);
            return None;
        }
        Some(seals)
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

    /// Takes a proof, if it is one and new: freezes its stream, keeps it, and tells everybody else, if it is about a writer that is
    /// known here.
    fn learn(&mut self, proof: Proof, from: Option<NodeId>, now: Time, out: &mut Vec<Output>) {
        let stream = proof.stream;
        if stream.scope != SCOPE || !proof.verify(self.config.keys.as_ref()) {
            return;
        }
        let whose = self.whose(&stream.replica.node);
        let (members, me) = (&self.members, self.me.node);
        let kept = self.evidence.proofs.keep(proof.clone(), whose, |node| *node == me || members.contains(node));
        self.counters.proofs_crowded += kept.crowded_out;
        if kept.is_new {
            self.early.drop_stream(&stream);
        }
        if !kept.is_new || whose == Whose::Stranger {
            return;
        }
        self.counters.equivocations += 1;
        self.evidence.learned_ms = Some(now.mono_ms);
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

    /// What a node is to us, as far as proofs about it go.
    fn whose(&self, node: &NodeId) -> Whose {
        if *node == self.me.node || self.members.contains(node) {
            Whose::Member
        } else if self.seen.of_node(SCOPE, *node).next().is_some() {
            Whose::Writer
        } else {
            Whose::Stranger
        }
    }

    /// Takes and tells proofs about those who were strangers when they came, and have become members or written since.
    pub(super) fn look_at_strangers(&mut self, now: Time, out: &mut Vec<Output>) {
        let known = self.evidence.proofs.strangers().filter(|of| self.whose(&of.replica.node) != Whose::Stranger);
        for stream in known.copied().collect::<Vec<_>>() {
            if let Some(proof) = self.evidence.proofs.take_strange(&stream) {
                self.learn(proof, None, now, out);
            }
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
        let proofs = self.proofs().take(PROOFS_TOLD);
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

/// Drops the commits of a batch that are known to be the same here, so that nobody has to verify who wrote them; returns how many.
fn skip_known(batch: &mut Batch, seen: u64) -> u64 {
    let known = seen.saturating_add(1).saturating_sub(batch.first);
    if known > 0 {
        // Each commit that is skipped is hashed for each seal over it: there is to be one.
        batch.tidy_seals();
        batch.skip(usize::try_from(known).unwrap_or(usize::MAX));
    }
    known
}

/// Enough of a hash to find a difference; what proves it is signed.
fn short(commit: &crate::commit::CommitBytes) -> u64 {
    xxhash_rust::xxh3::xxh3_64(commit.as_bytes())
}
