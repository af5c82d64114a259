//! The question what our own stream means elsewhere: who is asked, what is answered, and what it takes to be believed.
//!
//! Begun by a claim, or because the stream is frozen; ended by `lineage`, which owns what follows. A claim is proven by a commit
//! that we signed and do not have, or have another of. One for which nothing is shown still makes for a new life, for a name used
//! twice costs more than a life; ever more rarely, and after a few times no more. The invariant: a frozen stream is not written to,
//! and is left only when somebody has said what he has of it.

use std::collections::BTreeSet;
use std::ops::Bound::{Excluded, Unbounded};

use super::lineage::Fence;
use super::{Event, Message, Output, Replica, SCOPE};
use crate::commit::{Batch, CommitBytes};
use crate::id::{Incarnation, NodeId, ReplicaId, Stream};
use crate::limits::{RECALL_MS_MAX, REQUEST_PATIENCE_MS, SEQ_MAX};
use crate::log::Range;
use crate::planted::{self, Bug};
use crate::time::Time;

/// A question about our stream, from one peer to the next until one retains what tells.
#[derive(Debug)]
pub(super) struct Recall {
    peer: NodeId,
    /// Who began the doubt.
    claimant: NodeId,
    /// Before this commit, others have the same.
    next: u64,
    /// From this commit on at the latest, others have another.
    fork: u64,
    asked_ms: u64,
    /// When the question was first put to anybody.
    begun_ms: u64,
    /// Peers that could not tell.
    vague: BTreeSet<NodeId>,
    /// Whether a commit of ours was shown that we do not have.
    is_proven: bool,
}

impl Replica {
    pub(super) fn doubt(&mut self, peer: NodeId, known: u64, now: Time, out: &mut Vec<Output>) {
        if self.lineage.is_fenced() || self.is_doubtful(&peer, now) {
            return;
        }
        out.push(Output::Event(Event::Amnesia { peer, known, own: self.seen.seq(&self.own_stream()) }));
        self.question(peer, now, out);
    }

    /// Nobody takes our stream any more, so nothing is written to it: asks the next peer that is there what it has of it.
    pub(super) fn leave_frozen(&mut self, now: Time, out: &mut Vec<Output>) {
        let asked = match self.lineage.fence {
            None => None,
            Some(Fence::Frozen(asked)) => asked,
            Some(Fence::Recalling(_) | Fence::Reborn(_)) => return,
        };
        if !self.evidence.is_frozen(&self.own_stream()) {
            return;
        }
        self.lineage.fence = Some(Fence::Frozen(asked));
        let connected = &self.peers.connected;
        let next = asked.and_then(|asked| connected.range((Excluded(asked), Unbounded)).next());
        if let Some(peer) = next.or(connected.first()).copied() {
            self.question(peer, now, out);
        }
    }

    fn question(&mut self, peer: NodeId, now: Time, out: &mut Vec<Output>) {
        let own = self.own_stream();
        self.lineage.informed = self.peers.known.get(&peer).map(|peer| peer.seen.clone()).unwrap_or_default();
        let Some((next, _)) = self.log.retained(&own) else { return self.end_unproven(peer, None, now, out) };
        let (asked_ms, begun_ms) = (now.mono_ms, now.mono_ms);
        let vague = BTreeSet::new();
        let is_proven = false;
        self.recall(Recall { peer, claimant: peer, next, fork: u64::MAX, asked_ms, begun_ms, vague, is_proven }, out);
    }

    fn recall(&mut self, recall: Recall, out: &mut Vec<Output>) {
        let message = Message::Recall { incarnation: self.me.incarnation, from: recall.next };
        out.push(Output::Send { to: recall.peer, message });
        self.lineage.fence = Some(Fence::Recalling(recall));
    }

    /// Tells a peer what we have of its stream.
    pub(super) fn handle_recall(&mut self, from: NodeId, incarnation: Incarnation, first: u64, out: &mut Vec<Output>) {
        let stream = Stream { scope: SCOPE, replica: ReplicaId { node: from, incarnation } };
        let known = self.durable().seq(&stream);
        let begin = self.log.retained(&stream).map_or(first, |(retained, _)| first.max(retained));
        // Frozen or not: its writer has to know what it wrote.
        let served = self.log.serve(&stream, (begin, known), self.config.page_bytes, self.config.keys.as_ref());
        let batch = match served.range {
            Range::Batch { batch, .. } => Some(batch),
            Range::Nothing | Range::Forgotten => None,
        };
        out.push(Output::Send { to: from, message: Message::Recalled { incarnation, known, batch } });
    }

    /// Compares what a peer has of our stream with what we have: from the first difference on, it is two streams.
    pub(super) fn handle_recalled(
        &mut self,
        from: NodeId,
        (incarnation, known): (Incarnation, u64),
        batch: Option<Batch>,
        now: Time,
        out: &mut Vec<Output>,
    ) {
        let own = self.own_stream();
        let last = self.seen.seq(&own);
        let batch = batch.filter(|batch| batch.stream == own && self.have_signed(from, batch, now, out));
        if let Some(batch) = &batch {
            self.note_same(batch);
        }
        let this_one = |recall: &Recall| recall.peer == from && self.me.incarnation == incarnation;
        let Some(Fence::Recalling(recall)) = &mut self.lineage.fence else { return };
        if !this_one(recall) {
            return;
        }
        let asked = recall.next;
        let is_frozen = self.evidence.is_frozen(&own);
        let within = |batch: &Batch| (asked..=SEQ_MAX).contains(&batch.first) && !batch.commits.is_empty();
        let Some(batch) = batch.filter(within) else {
            // All that it has may be the same, and the doubt not explained: what it has seen is not durable there yet.
            // Who has shown all that we have shows the rest as soon as it is durable there, or not at all.
            let is_vague = known >= asked && asked <= last;
            if is_vague || !recall.vague.is_empty() || is_frozen || recall.is_proven {
                self.ask_another(now, out);
            }
            return;
        };
        recall.is_proven |= batch.first + batch.commits.len() as u64 > last + 1;
        for (seq, bytes) in (batch.first..=last).zip(&batch.commits) {
            let differs = self.log.get(&own, seq).is_some_and(|ours| ours != bytes);
            if differs && !planted::is(Bug::ForkUnnoticed) {
                recall.fork = recall.fork.min(seq);
                if seq > batch.first || batch.first == asked {
                    return self.conclude(Some(seq), now, out);
                }
                // What this peer does not retain any more was compared by nobody.
                return self.ask_another(now, out);
            }
            recall.next = seq + 1;
        }
        if batch.first > last {
            return self.ask_another(now, out);
        }
        if recall.next > last {
            // All that both have is the same. What only the peer has was written before we forgot it, if it shows that it has any.
            // But another may have shown a difference, and what one has shown no other can take back.
            let fork = recall.fork;
            if fork <= last || recall.is_proven || is_frozen {
                return self.conclude((fork <= last).then_some(fork), now, out);
            }
        }
        let next = recall.next;
        recall.asked_ms = now.mono_ms;
        let message = Message::Recall { incarnation, from: next };
        out.push(Output::Send { to: from, message });
    }

    /// Whether we signed all of a batch: what we never signed we never wrote, whoever says so. Who answers our question owes us nothing
    /// for looking.
    fn have_signed(&mut self, from: NodeId, batch: &Batch, now: Time, out: &mut Vec<Output>) -> bool {
        let seals = batch.seals.len() as u64;
        if !self.affords_verifying(from, seals, now, out) {
            self.counters.unverified += batch.commits.len() as u64;
            return false;
        }
        let have_signed = batch.verify(self.config.keys.as_ref()).is_ok();
        let fence = self.lineage.fence.as_ref();
        let is_asked = matches!(fence, Some(Fence::Recalling(of)) if of.peer == from && of.next <= batch.first);
        if have_signed && is_asked {
            self.repay_verifying(from, seals);
        }
        have_signed
    }

    /// What anybody shows of our stream that is the same here is not ours alone, whether it was asked just now or before.
    fn note_same(&mut self, batch: &Batch) {
        let same = |(seq, theirs): &(u64, &CommitBytes)| self.log.get(&batch.stream, *seq) == Some(*theirs);
        let shown = (batch.first..).zip(&batch.commits).take_while(same).last();
        if let (Some((seq, _)), Some(after)) = (shown, &mut self.lineage.orphans.unconfirmed_after) {
            *after = (*after).max(seq);
        }
    }

    /// Asks the next peer the same. When none can tell, what nobody has confirmed is ours alone.
    fn ask_another(&mut self, now: Time, out: &mut Vec<Output>) {
        let Some(Fence::Recalling(mut recall)) = self.lineage.fence.take() else { return };
        recall.vague.insert(recall.peer);
        let in_time = now.mono_ms.saturating_sub(recall.begun_ms) < RECALL_MS_MAX;
        let next = self.peers.connected.iter().find(|peer| !recall.vague.contains(*peer));
        if let Some(peer) = next.filter(|_| in_time) {
            (recall.peer, recall.asked_ms) = (*peer, now.mono_ms);
            return self.recall(recall, out);
        }
        let first = recall.next.max(self.unconfirmed()).min(recall.fork);
        let first = Some(first).filter(|first| *first <= self.seen.seq(&self.own_stream()));
        if recall.fork < u64::MAX || recall.is_proven {
            return self.conclude(first, now, out);
        }
        self.end_unproven(recall.claimant, first, now, out);
    }

    /// Ends a doubt for which nobody has shown a reason. It may be sound all the same, for who has something as state cannot show
    /// it: so it is acted on, but each time its claimant is heard less, and in the end not at all.
    fn end_unproven(&mut self, claimant: NodeId, first: Option<u64>, now: Time, out: &mut Vec<Output>) {
        if self.evidence.is_frozen(&self.own_stream()) || self.note_claim(claimant, now, out) {
            return self.conclude(first, now, out);
        }
        self.lineage.fence = None;
    }

    /// The first of our commits that nobody has confirmed.
    fn unconfirmed(&self) -> u64 {
        self.lineage.orphans.unconfirmed_after.map_or(1, |after| after + 1)
    }

    /// Asks again as long as the peer is there. When it goes without an answer, local writes go on: the next that is met asks
    /// the same question, and nothing is lost by then. Not so when our stream is frozen: then they wait for an answer.
    pub(super) fn continue_lineage(&mut self, now: Time, out: &mut Vec<Output>) {
        if self.lineage.before.is_some() && self.has_caught_up() {
            self.lineage.before = None;
        }
        self.continue_recall(now, out);
        self.leave_frozen(now, out);
    }

    fn continue_recall(&mut self, now: Time, out: &mut Vec<Output>) {
        let own = self.own_stream();
        let Some(Fence::Recalling(recall)) = &mut self.lineage.fence else { return };
        let is_there = self.peers.connected.contains(&recall.peer);
        let waited = now.mono_ms.saturating_sub(recall.asked_ms) >= REQUEST_PATIENCE_MS;
        let silent = now.mono_ms.saturating_sub(recall.begun_ms) >= RECALL_MS_MAX;
        if !recall.vague.is_empty() {
            // The one whose word began the doubt has answered; nobody else has to.
            if !is_there || waited {
                self.ask_another(now, out);
            }
        } else if !is_there || silent {
            let (claimant, has_shown_all) = (recall.claimant, recall.next > self.seen.seq(&own));
            let is_frozen = self.evidence.is_frozen(&own);
            self.lineage.fence = is_frozen.then_some(Fence::Frozen(Some(claimant)));
            if has_shown_all {
                self.end_unproven(claimant, None, now, out);
            } else if silent && !is_frozen {
                self.note_claim(claimant, now, out);
            }
        } else if waited {
            recall.asked_ms = now.mono_ms;
            let message = Message::Recall { incarnation: self.me.incarnation, from: recall.next };
            out.push(Output::Send { to: recall.peer, message });
        }
    }
}
