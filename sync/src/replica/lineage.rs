//! Whether our own stream still means here what it means elsewhere, and what follows when it does not.
//!
//! A restored backup, a snapshot of a whole machine or a clone has forgotten commits of its own, and may have written others
//! under their names. It finds out from the first peer that knows better: by the length of its stream, or by its tip. Then
//! local writes wait, the peer is asked what it has of the stream, and what is different there was written under used names.
//! When nothing was, a new incarnation is all it takes. Otherwise this replica begins anew: the store keeps only the commits
//! that nobody else has, everything else comes back from the peers, and those commits are made again (`reissue`). The same
//! happens to a member that comes back after its streams were closed (`retire`). The invariant: no dot of ours ever means two
//! commits at those who have heard of it, and no durable commit is dropped.

use std::collections::{BTreeMap, BTreeSet};

use super::early::Early;
use super::local::Requests;
use super::repair::RepairState;
use super::{Event, Fresh, Message, Orphans, Output, Replica, SCOPE, Tip};
use crate::causal::VersionVector;
use crate::commit::{Batch, Commit, RequestId};
use crate::crdt::Seeded;
use crate::id::{Dot, Incarnation, NodeId, ReplicaId, Stream};
use crate::limits::{RECALL_PATIENCE_MS, REQUEST_PATIENCE_MS, SEQ_MAX};
use crate::log::{Log, Range};
use crate::planted::{self, Bug};
use crate::state::State;
use crate::time::Time;

#[derive(Debug, Default)]
pub(super) struct Lineage {
    fence: Option<Fence>,
    orphans: Orphans,
    /// How far our own stream had got when this process began: what follows was written in this life.
    began_at: u64,
    /// When this replica began, or began anew.
    pub(super) began_ms: u64,
    /// What peers had seen when we first heard them since then.
    pub(super) goals: BTreeMap<NodeId, VersionVector>,
    /// Who has not seen this commit knows no more than we did when we began anew, and is not listened to.
    required: Option<Dot>,
    /// What readers see until the repair is done.
    before: Option<Box<State>>,
}

/// Why local writes wait.
#[derive(Debug)]
enum Fence {
    /// A peer was asked what it has of our stream.
    Recalling { peer: NodeId, next: u64, asked_ms: u64, since_ms: u64 },
    /// The store was asked for a new incarnation; `Some` when it begins anew.
    Reborn(Option<Orphans>),
}

impl Lineage {
    pub(super) fn with(orphans: Orphans, began_at: u64) -> Self {
        Self { orphans, began_at, ..Self::default() }
    }

    pub(super) const fn is_fenced(&self) -> bool {
        self.fence.is_some()
    }

    /// Whether the store was asked to begin anew and has not said that it did.
    pub(super) const fn is_void(&self) -> bool {
        matches!(self.fence, Some(Fence::Reborn(Some(_))))
    }

    pub(super) fn before(&self) -> Option<&State> {
        self.before.as_deref()
    }

    pub(super) const fn orphans(&self) -> &Orphans {
        &self.orphans
    }

    pub(super) fn take_orphans(&mut self, pick: impl FnOnce(&mut Orphans) -> &mut Vec<Batch>) -> Vec<Batch> {
        std::mem::take(pick(&mut self.orphans))
    }

    /// Whether what somebody had seen when we began anew is here by now.
    pub(super) fn has_caught_up(&self, seen: &VersionVector) -> bool {
        self.goals.values().any(|goal| seen.includes(goal))
    }

    fn is_waiting(&self) -> bool {
        !self.orphans.is_empty() || self.before.is_some()
    }
}

impl Replica {
    /// A peer has seen more of our stream than we remember: this directory is a restored backup or a copy.
    pub(super) fn check_memory(&mut self, peer: NodeId, theirs: &VersionVector, now: Time, out: &mut Vec<Output>) {
        let known = theirs.seq(&self.own_stream());
        if known > self.seen.seq(&self.own_stream()) {
            self.doubt(peer, known, now, out);
        }
    }

    /// A peer's last commit of our stream is not the one that we made: this is a snapshot that has written since.
    pub(super) fn check_tip(&mut self, peer: NodeId, tip: Option<Tip>, now: Time, out: &mut Vec<Output>) {
        let Some(tip) = tip.filter(|tip| tip.0 == self.me.incarnation) else { return };
        let ours = self.log.get(&self.own_stream(), tip.1).map(|bytes| Tip::of(tip.0, tip.1, bytes));
        if ours.is_some_and(|ours| ours != tip) {
            self.doubt(peer, tip.1, now, out);
        }
    }

    fn doubt(&mut self, peer: NodeId, known: u64, now: Time, out: &mut Vec<Output>) {
        if self.lineage.is_fenced() {
            return;
        }
        let own = self.own_stream();
        out.push(Output::Event(Event::Amnesia { peer, known, own: self.seen.seq(&own) }));
        let Some((next, _)) = self.log.retained(&own) else { return self.conclude(None, now, out) };
        let (asked_ms, since_ms) = (now.mono_ms, now.mono_ms);
        self.lineage.fence = Some(Fence::Recalling { peer, next, asked_ms, since_ms });
        out.push(Output::Send { to: peer, message: Message::Recall { incarnation: self.me.incarnation, from: next } });
    }

    /// Tells a peer what we have of its stream.
    pub(super) fn handle_recall(&self, from: NodeId, incarnation: Incarnation, first: u64, out: &mut Vec<Output>) {
        let stream = Stream { scope: SCOPE, replica: ReplicaId { node: from, incarnation } };
        let begin = self.log.retained(&stream).map_or(first, |(retained, _)| first.max(retained));
        let batch = match self.log.range(&stream, begin, self.durable().seq(&stream), self.config.page_bytes) {
            Range::Batch { batch, .. } => Some(batch),
            Range::Nothing | Range::Forgotten => None,
        };
        out.push(Output::Send { to: from, message: Message::Recalled { known: self.seen.seq(&stream), batch } });
    }

    /// Compares what a peer has of our stream with what we have: from the first difference on, it is two streams.
    pub(super) fn handle_recalled(
        &mut self,
        from: NodeId,
        known: u64,
        batch: Option<Batch>,
        now: Time,
        out: &mut Vec<Output>,
    ) {
        let own = self.own_stream();
        let Some(Fence::Recalling { peer, next, asked_ms, .. }) = &mut self.lineage.fence else { return };
        let last = self.seen.seq(&own);
        let Some(batch) = batch.filter(|batch| batch.stream == own && (*next..=SEQ_MAX).contains(&batch.first)) else {
            if *peer == from {
                self.conclude(Some(self.lineage.began_at + 1), now, out);
            }
            return;
        };
        if *peer != from {
            return;
        }
        if batch.first > last {
            return self.conclude(Some(self.lineage.began_at + 1), now, out);
        }
        for (seq, bytes) in (batch.first..=last).zip(&batch.commits) {
            let differs = self.log.get(&own, seq).is_some_and(|ours| ours != bytes);
            if differs && !planted::is(Bug::ForkUnnoticed) {
                return self.conclude(Some(seq), now, out);
            }
            *next = seq + 1;
        }
        if *next > last || *next > known || batch.commits.is_empty() {
            // All that both have is the same. What only the peer has was written before we forgot it.
            return self.conclude(None, now, out);
        }
        *asked_ms = now.mono_ms;
        let message = Message::Recall { incarnation: self.me.incarnation, from: *next };
        out.push(Output::Send { to: from, message });
    }

    /// Asks again, and decides without an answer when none comes: what this process wrote was written under used names.
    pub(super) fn continue_lineage(&mut self, now: Time, out: &mut Vec<Output>) {
        if self.lineage.before.is_some() && self.lineage.has_caught_up(&self.seen) {
            self.lineage.before = None;
        }
        let Some(Fence::Recalling { peer, next, asked_ms, since_ms }) = &mut self.lineage.fence else { return };
        if now.mono_ms.saturating_sub(*since_ms) >= RECALL_PATIENCE_MS {
            let began_at = self.lineage.began_at;
            self.conclude(Some(began_at + 1), now, out);
        } else if now.mono_ms.saturating_sub(*asked_ms) >= REQUEST_PATIENCE_MS {
            *asked_ms = now.mono_ms;
            let message = Message::Recall { incarnation: self.me.incarnation, from: *next };
            out.push(Output::Send { to: *peer, message });
        }
    }

    /// Ends the doubt: our commits from `first` on are nobody's but ours.
    fn conclude(&mut self, first: Option<u64>, now: Time, out: &mut Vec<Output>) {
        let orphans = first.map_or_else(Vec::new, |first| self.written_from(self.own_stream(), first));
        if orphans.is_empty() {
            self.rebirth(None, now, out);
        } else {
            self.begin_anew(orphans, None, now, out);
        }
    }

    /// The commits of a stream of ours from `first` on, as far as they are retained.
    pub(super) fn written_from(&self, own: Stream, first: u64) -> Vec<Batch> {
        let Some((retained, last)) = self.log.retained(&own) else { return Vec::new() };
        match self.log.range(&own, first.max(retained), last, usize::MAX) {
            Range::Batch { batch, .. } => vec![batch],
            Range::Nothing | Range::Forgotten => Vec::new(),
        }
    }

    /// Asks the store to forget everything but `orphans`, and what waits to be made again already.
    pub(super) fn begin_anew(&mut self, orphans: Vec<Batch>, required: Option<Dot>, now: Time, out: &mut Vec<Output>) {
        let mut all = self.lineage.orphans.clone();
        // What is beyond the end of a closed stream may yet have reached a member that had not heard of the closing.
        let doubtful = required.is_some();
        if doubtful { &mut all.doubtful } else { &mut all.certain }.extend(orphans);
        self.lineage.required = required;
        self.rebirth(Some(all), now, out);
    }

    fn rebirth(&mut self, fresh: Option<Orphans>, now: Time, out: &mut Vec<Output>) {
        // Greater than every life of this node that anybody here has heard of: the clock alone could name one of them again.
        let vectors = self.peers.known.values().map(|peer| &peer.seen).chain([&self.seen]);
        let lives = vectors.filter_map(|vector| vector.of_node(SCOPE, self.me.node).next_back());
        let last = lives.map(|(stream, _)| stream.replica.incarnation).fold(self.me.incarnation, Incarnation::max);
        let incarnation = Incarnation(now.wall_ms.max(last.0.saturating_add(1)));
        self.lineage.fence = Some(Fence::Reborn(fresh.clone()));
        out.push(Output::Rebirth { incarnation, fresh: fresh.map(|orphans| Fresh { orphans }) });
    }

    pub(super) fn handle_reborn(&mut self, incarnation: Incarnation, now: Time, out: &mut Vec<Output>) {
        self.me.incarnation = if planted::is(Bug::RebirthKeepsName) { self.me.incarnation } else { incarnation };
        self.peers.known.values_mut().for_each(|peer| peer.pushed = None);
        match self.lineage.fence.take() {
            Some(Fence::Reborn(Some(orphans))) => self.start_from_nothing(orphans, now, out),
            Some(Fence::Reborn(None) | Fence::Recalling { .. }) | None => {
                self.state.become_replica(self.me);
                self.lineage.began_at = 0;
            }
        }
    }

    /// The store holds nothing but the orphans now, and so do we. What readers saw, they go on seeing until it is repaired.
    fn start_from_nothing(&mut self, orphans: Orphans, now: Time, out: &mut Vec<Output>) {
        let before = std::mem::replace(&mut self.state, State::seeded(self.me, Seeded(self.config.hash_seed)));
        self.requests.forget(&requests_of(&orphans.certain));
        out.push(Output::Event(Event::BegunAnew { orphans: count(&orphans.certain) + count(&orphans.doubtful) }));
        self.seen = VersionVector::default();
        self.log = Log::default();
        self.early = Early::default();
        self.repair = RepairState::default();
        self.durability.begin_anew();
        self.retired.look_again();
        let required = self.lineage.required.take();
        self.lineage =
            Lineage { orphans, required, before: Some(before.into()), began_ms: now.mono_ms, ..Lineage::default() };
        self.peers.connected.clone().into_iter().for_each(|node| self.send_digest(node, out));
    }

    /// Notes what a peer had seen when it was first heard since we began, as long as anything waits for that.
    pub(super) fn note_goal(&mut self, peer: NodeId, seen: VersionVector) {
        if self.lineage.is_waiting() && self.is_informed(&seen) {
            self.lineage.goals.entry(peer).or_insert(seen);
        }
    }

    /// Whether whoever has seen this has heard of what made us begin anew.
    fn is_informed(&self, seen: &VersionVector) -> bool {
        let covers = |dot: &Dot| self.seen.covers(SCOPE, dot) || seen.covers(SCOPE, dot);
        self.lineage.required.as_ref().is_none_or(covers)
    }

    /// Whether a message may bring content: not from a peer that knows less than what made us begin anew.
    pub(super) fn trusts(&self, from: NodeId, message: &Message) -> bool {
        let informed = || self.peers.known.get(&from).is_some_and(|peer| self.is_informed(&peer.seen));
        let brings = matches!(message, Message::Commits { .. } | Message::StatePage { .. } | Message::Forgotten);
        !brings || self.lineage.required.is_none() || informed()
    }
}

fn count(batches: &[Batch]) -> u64 {
    batches.iter().map(|batch| batch.commits.len() as u64).sum()
}

fn requests_of(batches: &[Batch]) -> BTreeSet<RequestId> {
    let commits = batches.iter().flat_map(|batch| (batch.first..).zip(&batch.commits).map(|of| (batch.stream, of)));
    let request = |(stream, (seq, bytes))| Commit::decode(stream, seq, bytes).ok()?.request;
    commits.filter_map(request).collect()
}

impl Requests {
    /// Whether the request was answered by another commit than the one named `old`.
    pub(super) fn knows_otherwise(&self, request: &RequestId, old: &Dot) -> bool {
        self.answer(request).is_some_and(|answer| answer.dot != *old)
    }
}
