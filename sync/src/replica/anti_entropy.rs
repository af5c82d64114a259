//! Push and anti-entropy: a hint at once, and the promise about once a second.
//!
//! A digest of constant size says whether anything differs; only then are vectors exchanged, and only missing ranges follow,
//! paged by bytes. Nothing is sent that the other is known to have.

use std::ops::Bound::{Excluded, Unbounded};

use super::conduct::Futile;
use super::{Event, Message, Output, Replica, Tip};
use crate::broadcast::Event::Made;
use crate::causal::VersionVector;
use crate::commit::Batch;
use crate::crdt::ContentHash;
use crate::id::{NodeId, Stream};
use crate::limits::{
    ANTI_ENTROPY_MS, DIGEST_AFTER_CHANGE_MS, DIGESTS_PER_TICK, REQUEST_PATIENCE_MS, STREAMS_MAX, STREAMS_SHOWN_PER_MS,
    UNANSWERED_MS,
};
use crate::log::Range;
use crate::planted::{self, Bug};
use crate::time::Time;

/// What a digest says.
pub(super) struct Digest {
    pub(super) root: ContentHash,
    pub(super) vector: [u8; 16],
    pub(super) durable: bool,
    pub(super) exact: bool,
    pub(super) tip: Option<Tip>,
}

/// What a vector message says.
pub(super) struct Heard {
    pub(super) seen: VersionVector,
    pub(super) behind: Vec<(Stream, u64)>,
    pub(super) root: ContentHash,
    pub(super) tip: Option<Tip>,
}

impl Replica {
    pub(super) fn handle_tick(&mut self, now: Time, out: &mut Vec<Output>) {
        self.forget_if_due(now);
        self.continue_lineage(now, out);
        if self.lineage.is_void() {
            return;
        }
        self.continue_repair(now, out);
        self.tick_tree(now, out);
        self.look_again(now, out);
        self.ask_for_gaps(now, out);
        self.make_again_if_due(now, out);
        self.retire_if_due(now, out);
        self.checkpoint_if_due(now, out);
        self.tell_news(now, out);
        if now.mono_ms.saturating_sub(self.peers.turned_ms) >= ANTI_ENTROPY_MS {
            self.peers.turned_ms = now.mono_ms;
            self.send_turn(out);
            self.count_unanswered(now);
            self.look_at_strangers(now, out);
            self.retell_proofs(now, out);
        }
    }

    /// Sends everybody a digest soon after a change, but not after each, and a few at a time: when all members tell all others at
    /// once, what is new waits behind it. Above the straight limit only neighbours in the tree are told, and more rarely: what this
    /// costs does not depend on how many members there are.
    fn tell_news(&mut self, now: Time, out: &mut Vec<Output>) {
        let root = self.root();
        let pause_ms = if self.spread.is_straight() { DIGEST_AFTER_CHANGE_MS } else { ANTI_ENTROPY_MS };
        let news = |(at, of): (u64, ContentHash)| of != root && now.mono_ms.saturating_sub(at) >= pause_ms;
        if self.peers.untold.is_empty() && self.peers.told.is_none_or(news) {
            self.peers.told = Some((now.mono_ms, root));
            self.spread.told_all();
            let neighbours = || self.spread.neighbours().into_iter().collect();
            self.peers.untold = if self.spread.is_straight() { self.peers.connected.clone() } else { neighbours() };
        }
        for _ in 0..DIGESTS_PER_TICK {
            let Some(node) = self.peers.untold.pop_first() else { break };
            if self.peers.connected.contains(&node) {
                self.send_digest(node, out);
            }
        }
    }

    /// Sends a digest to the peer whose turn it is.
    fn send_turn(&mut self, out: &mut Vec<Output>) {
        let connected = &self.peers.connected;
        // The first turn is that of the next node after us: not all who start together begin with the same.
        let turn = self.peers.turn.unwrap_or(self.me.node);
        let next = connected.range((Excluded(turn), Unbounded)).next();
        let Some(node) = next.or(connected.first()).copied() else { return };
        self.peers.turn = Some(node);
        self.send_digest(node, out);
    }

    pub(super) fn send_digest(&mut self, to: NodeId, out: &mut Vec<Output>) {
        let offered = self.offered();
        let durable = self.durable() == &offered || self.durable().includes(&offered);
        let (vector, exact, tip) = (offered.digest(), self.is_exact(), self.tip_of(to));
        let message = Message::Digest { root: self.root(), vector, durable, exact, tip };
        self.counters.digests += 1;
        out.push(Output::Send { to, message });
    }

    /// The last commit that we have of the stream that `node` writes now, as far as we know.
    fn tip_of(&self, node: NodeId) -> Option<Tip> {
        let (stream, seq) = self.seen.of_node(super::SCOPE, node).next_back()?;
        self.log.get(&stream, seq).map(|bytes| Tip::of(stream.replica.incarnation, seq, bytes))
    }

    pub(super) fn handle_digest(&mut self, from: NodeId, digest: Digest, now: Time, out: &mut Vec<Output>) {
        self.check_tip(from, digest.tip, now, out);
        let (offered, root, exact) = (self.offered(), self.root(), self.is_exact());
        let peer = self.peers.known.entry(from).or_default();
        peer.heard_ms = Some(now.mono_ms);
        peer.root = Some(digest.root);
        if digest.vector != offered.digest() {
            let pause_ms = offered.len() as u64 / STREAMS_SHOWN_PER_MS;
            let is_early = peer.shown_ms.is_some_and(|shown| now.mono_ms.saturating_sub(shown) < pause_ms);
            if is_early || !self.spread.may_answer(now) {
                // Somebody's turn comes every second.
                self.counters.spared += 1;
                return;
            }
            peer.shown_ms = Some(now.mono_ms);
            let message = self.vector(from, true);
            out.push(Output::Send { to: from, message });
            return;
        }
        self.closings.note(from, &offered, now);
        if digest.durable && peer.durable != offered {
            // Not only what it has come to have: a peer that began anew may have less of a closed stream than it once said.
            peer.durable.clone_from(&offered);
            self.peers.moved = true;
        }
        peer.seen.clone_from(&offered);
        if digest.root == root {
            (peer.synced_ms, peer.futile) = (Some(now.mono_ms), Futile::default());
        } else if exact && digest.exact {
            self.counters.diverged += 1;
            out.push(Output::Event(Event::Diverged { peer: from }));
            self.send_heads(from, out);
            self.begin_repair(from, now, out);
        }
        self.note_goal(from, offered);
    }

    pub(super) fn handle_vector(&mut self, from: NodeId, heard: Heard, answer: bool, now: Time, out: &mut Vec<Output>) {
        self.check_memory(from, &heard.seen, now, out);
        self.check_tip(from, heard.tip, now, out);
        self.closings.note(from, &heard.seen, now);
        let durable = heard.seen.lowered(heard.behind);
        // What lies beyond the end of a closed stream does not exist for us: neither is it missing here.
        let seen = self.evidence.believed(from, self.retired.cap(&heard.seen), &self.seen);
        let missing = self.seen.missing_from(&seen) > 0;
        let peer = self.peers.known.entry(from).or_default();
        peer.heard_ms = Some(now.mono_ms);
        peer.root = Some(heard.root);
        if !peer.durable.includes(&durable) {
            peer.durable.merge(&durable);
            if peer.durable.len() > STREAMS_MAX {
                // Nobody honest says so much: what it said before is not remembered for it.
                peer.durable = durable;
            }
            self.peers.moved = true;
        }
        peer.seen.clone_from(&seen);
        self.note_goal(from, seen.clone());
        self.send_missing(from, &seen, answer, now, out);
        if answer && missing {
            self.spread.ask_later(from, now);
        }
    }

    /// Asks a peer for what we miss.
    pub(super) fn ask(&mut self, to: NodeId, now: Time, out: &mut Vec<Output>) {
        let message = self.vector(to, false);
        self.spread.note_asked(now);
        let peer = self.peers.known.entry(to).or_default();
        peer.asked_ms = Some(now.mono_ms);
        peer.awaited_ms.get_or_insert(now.mono_ms);
        out.push(Output::Send { to, message });
    }

    /// Counts those who were asked for what they say they have, and have brought nothing: the next in turn is asked anyway.
    fn count_unanswered(&mut self, now: Time) {
        let due = |at: u64| now.mono_ms.saturating_sub(at) >= UNANSWERED_MS;
        for peer in self.peers.known.values_mut() {
            if !peer.awaited_ms.is_some_and(due) {
                continue;
            }
            peer.awaited_ms = None;
            let is_missing = peer.connected && self.seen.missing_from(&self.retired.cap(&peer.seen)) > 0;
            self.counters.unanswered += u64::from(is_missing);
        }
    }

    /// Asks, unless an answer to the last question may still be on its way.
    pub(super) fn ask_patiently(&mut self, to: NodeId, now: Time, out: &mut Vec<Output>) {
        let asked = self.peers.known.get(&to).and_then(|peer| peer.asked_ms);
        if asked.is_none_or(|asked| now.mono_ms.saturating_sub(asked) >= REQUEST_PATIENCE_MS) {
            self.ask(to, now, out);
        }
    }

    fn vector(&self, to: NodeId, answer: bool) -> Message {
        let (seen, durable) = (self.offered(), self.durable());
        let behind = |(stream, seq): (Stream, u64)| {
            let stored = durable.seq(&stream);
            (stored < seq).then_some((stream, stored))
        };
        let behind = if *durable == seen { Vec::new() } else { seen.iter().filter_map(behind).collect() };
        Message::Vector { seen, behind, root: self.root(), answer, tip: self.tip_of(to) }
    }

    /// Pushes our own commits from `first` up to what is durable: to everybody connected, or along the tree.
    pub(super) fn push_own(&mut self, first: u64, now: Time, out: &mut Vec<Output>) {
        let stream = self.own_stream();
        let through = self.durable().seq(&stream);
        self.tell_tree(Made { stream, first, through }, now, out);
        if !self.spread.is_straight() {
            return;
        }
        for peer in self.peers.known.values_mut().filter(|peer| peer.connected) {
            peer.pushed = Some((through, now.mono_ms));
        }
    }

    /// Sends a peer what it misses, as far as the log and one page reach.
    ///
    /// What is on its way to it is left out when the peer only says what it has (`casually`); when it asks, it has waited. The
    /// page begins after the stream with which the last one ended: a stream that the peer cannot take holds up no other.
    fn send_missing(&mut self, to: NodeId, theirs: &VersionVector, casually: bool, now: Time, out: &mut Vec<Output>) {
        let own = self.own_stream();
        let peer = self.peers.known.get(&to);
        let on_its_way = peer.and_then(|peer| peer.pushed).filter(|_| casually);
        let on_its_way = on_its_way.filter(|(_, at)| now.mono_ms.saturating_sub(*at) < REQUEST_PATIENCE_MS);
        let recently = |(at, _): &(u64, [u8; 16])| now.mono_ms.saturating_sub(*at) < REQUEST_PATIENCE_MS;
        let answered = peer.and_then(|peer| peer.answered).filter(recently);
        if answered.is_some_and(|(_, vector)| vector == theirs.digest()) {
            // Both found out at the same moment that they differ, and asked: all that this question is about is on its way.
            return;
        }
        let mut withheld = on_its_way.is_some();
        let mut streams: Vec<_> = self.durable().iter().collect();
        if let Some(served) = peer.and_then(|peer| peer.served) {
            let begun = streams.partition_point(|(stream, _)| *stream <= served);
            streams.rotate_left(begun);
        }
        let mut batches: Vec<Batch> = Vec::new();
        let mut budget = self.config.page_bytes;
        let (mut more, mut frozen, mut forgotten) = (false, false, None);
        // A peer that only says what it has may be ahead of its own words; its own commits it surely has, or will ask for.
        for (stream, through) in streams {
            let mut has = theirs.seq(&stream);
            if casually && stream.replica.node == to && !planted::is(Bug::SentBack) {
                withheld |= has < through;
                continue;
            }
            if stream == own
                && let Some((pushed, _)) = on_its_way
            {
                has = has.max(pushed);
            }
            let settled = if casually { self.spread.settled(&stream, through) } else { through };
            if settled < through && has < through {
                withheld = true;
                self.spread.offer_again(to, now);
            }
            match self.serve(&stream, (has.saturating_add(1), settled), budget, out) {
                Range::Nothing => {}
                // Its logs are worth more to it than what is left of a frozen stream: that comes as state when all else is there.
                Range::Forgotten if self.evidence.is_frozen(&stream) => frozen = true,
                Range::Forgotten => {
                    forgotten = Some(stream);
                    break;
                }
                Range::Batch { batch, whole } => {
                    budget = budget.saturating_sub(batch.commits.iter().map(crate::commit::CommitBytes::len).sum());
                    more |= !whole;
                    batches.push(batch);
                }
            }
            if budget == 0 || more {
                more = true;
                break;
            }
        }
        if let Some(peer) = self.peers.known.get_mut(&to) {
            // The next page begins after a stream that cannot be served, which comes as state: it holds up no other.
            peer.served = forgotten.or(batches.last().map(|batch| batch.stream).filter(|_| more));
            peer.answered =
                (!withheld && forgotten.is_none() && !batches.is_empty()).then(|| (now.mono_ms, theirs.digest()));
        }
        let has_none = batches.is_empty();
        if !has_none {
            out.push(Output::Send { to, message: Message::Commits { batches, more, hops: None } });
        }
        if forgotten.is_some() || (has_none && frozen) {
            out.push(Output::Send { to, message: Message::Forgotten });
        }
    }
}
