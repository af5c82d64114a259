//! Push and anti-entropy: a hint at once, and the promise about once a second.
//!
//! A digest of constant size says whether anything differs; only then are vectors exchanged, and only missing ranges follow,
//! paged by bytes. Nothing is sent that the other is known to have.

use super::{Event, Message, Output, Replica};
use crate::causal::VersionVector;
use crate::commit::Batch;
use crate::crdt::ContentHash;
use crate::id::NodeId;
use crate::limits::{ANTI_ENTROPY_MS, DIGEST_AFTER_CHANGE_MS, REQUEST_PATIENCE_MS};
use crate::log::Range;
use crate::time::Time;

/// What a digest says.
pub(super) struct Digest {
    pub(super) root: ContentHash,
    pub(super) vector: [u8; 16],
    pub(super) durable: bool,
    pub(super) exact: bool,
}

/// What a vector message says.
pub(super) struct Heard {
    pub(super) seen: VersionVector,
    pub(super) durable: VersionVector,
    pub(super) root: ContentHash,
}

impl Replica {
    pub(super) fn handle_tick(&mut self, now: Time, out: &mut Vec<Output>) {
        self.forget_if_due(now);
        self.continue_repair(now, out);
        self.ask_for_gaps(now, out);
        self.checkpoint_if_due(now, out);
        let root = self.root();
        for node in self.connected() {
            let sent = self.peers.known.get(&node).and_then(|peer| peer.digest);
            let changed =
                sent.is_none_or(|(at, of)| of != root && now.mono_ms.saturating_sub(at) >= DIGEST_AFTER_CHANGE_MS);
            if changed {
                self.send_digest(node, now, out);
            }
        }
        if now.mono_ms.saturating_sub(self.peers.turned_ms) >= ANTI_ENTROPY_MS {
            self.peers.turned_ms = now.mono_ms;
            self.send_turn(now, out);
        }
    }

    /// Sends a digest to the peer whose turn it is, unless it had one just now.
    fn send_turn(&mut self, now: Time, out: &mut Vec<Output>) {
        let connected = self.connected();
        let after = |turn: NodeId| connected.iter().copied().find(|node| *node > turn);
        let Some(node) = self.peers.turn.and_then(after).or(connected.first().copied()) else { return };
        self.peers.turn = Some(node);
        self.send_digest(node, now, out);
    }

    pub(super) fn send_digest(&mut self, to: NodeId, now: Time, out: &mut Vec<Output>) {
        let offered = self.offered();
        let message = Message::Digest {
            root: self.root(),
            vector: offered.digest(),
            durable: self.durable().includes(&offered),
            exact: self.is_exact(),
        };
        if let Some(peer) = self.peers.known.get_mut(&to) {
            peer.digest = Some((now.mono_ms, self.state.root()));
        }
        self.counters.digests += 1;
        out.push(Output::Send { to, message });
    }

    pub(super) fn handle_digest(&mut self, from: NodeId, digest: Digest, now: Time, out: &mut Vec<Output>) {
        let (offered, root, exact) = (self.offered(), self.root(), self.is_exact());
        let peer = self.peers.known.entry(from).or_default();
        peer.heard_ms = Some(now.mono_ms);
        peer.root = Some(digest.root);
        if digest.vector != offered.digest() {
            let message = self.vector(true);
            out.push(Output::Send { to: from, message });
            return;
        }
        if digest.durable {
            peer.durable.merge(&offered);
        }
        peer.seen = offered;
        if digest.root == root {
            peer.synced_ms = Some(now.mono_ms);
        } else if exact && digest.exact {
            self.counters.diverged += 1;
            out.push(Output::Event(Event::Diverged { peer: from }));
            self.begin_repair(from, now, out);
        }
    }

    pub(super) fn handle_vector(&mut self, from: NodeId, heard: Heard, answer: bool, now: Time, out: &mut Vec<Output>) {
        self.check_memory(from, &heard.seen, now, out);
        let missing = self.seen.missing_from(&heard.seen) > 0;
        let peer = self.peers.known.entry(from).or_default();
        peer.heard_ms = Some(now.mono_ms);
        peer.root = Some(heard.root);
        peer.durable.merge(&heard.durable);
        peer.seen.clone_from(&heard.seen);
        self.send_missing(from, &heard.seen, answer, now, out);
        if answer && missing {
            self.ask(from, now, out);
        }
    }

    /// Asks a peer for what we miss.
    pub(super) fn ask(&mut self, to: NodeId, now: Time, out: &mut Vec<Output>) {
        let message = self.vector(false);
        self.peers.known.entry(to).or_default().asked_ms = Some(now.mono_ms);
        out.push(Output::Send { to, message });
    }

    /// Asks, unless an answer to the last question may still be on its way.
    pub(super) fn ask_patiently(&mut self, to: NodeId, now: Time, out: &mut Vec<Output>) {
        let asked = self.peers.known.get(&to).and_then(|peer| peer.asked_ms);
        if asked.is_none_or(|asked| now.mono_ms.saturating_sub(asked) >= REQUEST_PATIENCE_MS) {
            self.ask(to, now, out);
        }
    }

    fn vector(&self, answer: bool) -> Message {
        Message::Vector { seen: self.offered(), durable: self.durable().clone(), root: self.root(), answer }
    }

    /// Pushes our own commits from `first` up to what is durable to everybody connected.
    pub(super) fn push_own(&mut self, first: u64, now: Time, out: &mut Vec<Output>) {
        let own = self.own_stream();
        let through = self.durable().seq(&own);
        let mut from = first;
        while let Range::Batch { batch, .. } = self.log.range(&own, from, through, self.config.page_bytes) {
            from += batch.commits.len() as u64;
            for to in self.connected() {
                let message = Message::Commits { batches: vec![batch.clone()], more: false };
                out.push(Output::Send { to, message });
            }
        }
        for peer in self.peers.known.values_mut().filter(|peer| peer.connected) {
            peer.pushed = Some((through, now.mono_ms));
        }
    }

    /// Sends a peer what it misses, as far as the log and one page reach.
    ///
    /// What was pushed just now is left out when the peer only says what it has (`casually`); when it asks, it has waited. The
    /// page begins after the stream with which the last one ended: a stream that the peer cannot take holds up no other.
    fn send_missing(&mut self, to: NodeId, theirs: &VersionVector, casually: bool, now: Time, out: &mut Vec<Output>) {
        let own = self.own_stream();
        let peer = self.peers.known.get(&to);
        let on_its_way = peer.and_then(|peer| peer.pushed).filter(|_| casually);
        let on_its_way = on_its_way.filter(|(_, at)| now.mono_ms.saturating_sub(*at) < REQUEST_PATIENCE_MS);
        let mut streams: Vec<_> = self.durable().iter().collect();
        if let Some(served) = peer.and_then(|peer| peer.served) {
            let begun = streams.partition_point(|(stream, _)| *stream <= served);
            streams.rotate_left(begun);
        }
        let mut batches: Vec<Batch> = Vec::new();
        let mut budget = self.config.page_bytes;
        let mut more = false;
        // A peer that only says what it has may be ahead of its own words; its own commits it surely has, or will ask for.
        for (stream, through) in streams.into_iter().filter(|(stream, _)| !(casually && stream.replica.node == to)) {
            let mut has = theirs.seq(&stream);
            if stream == own
                && let Some((pushed, _)) = on_its_way
            {
                has = has.max(pushed);
            }
            match self.log.range(&stream, has.saturating_add(1), through, budget) {
                Range::Nothing => {}
                Range::Forgotten => {
                    out.push(Output::Send { to, message: Message::Forgotten });
                    return;
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
            peer.served = batches.last().map(|batch| batch.stream).filter(|_| more);
        }
        if !batches.is_empty() {
            out.push(Output::Send { to, message: Message::Commits { batches, more } });
        }
    }
}
