//! The broadcast tree within the replica: what happened goes in, and what the tree wants sent comes out with commits from the log.
//!
//! Owns how much a peer is given because it asks, and the patience of anti-entropy: what is new and on its way to everybody is not
//! given by another way, and above the straight limit not asked for either. Knows no commit by heart and decides no neighbour. The
//! invariants: of our own stream nothing leaves that is not durable here, and what a peer asks for costs at most a page a tick.

use std::collections::BTreeMap;

use super::{Config, Message, Output, Replica, SCOPE};
use crate::broadcast::{Action, Counters, Event, News, Tree, Want};
use crate::causal::VersionVector;
use crate::commit::{Batch, CommitBytes};
use crate::id::{NodeId, Stream};
use crate::limits::{
    REFUSED_MS, REQUEST_PATIENCE_MS, STRAIGHT_SETTLE_MS, TREE_SETTLE_MS, VECTOR_MS, VECTORS_AT_ONCE, WANTED_MAX,
};
use crate::log::Range;
use crate::time::Time;

/// How commits came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way {
    pub(super) from: NodeId,
    /// See [`Message::Commits`].
    pub(super) hops: Option<u8>,
    /// Whether they came too early and waited here. That others brought them meanwhile says nothing against the peer.
    pub(super) waited: bool,
}

#[derive(Debug)]
pub(super) struct Spread {
    tree: Tree,
    /// Bytes that each peer was given since the last tick because it asked.
    given: BTreeMap<NodeId, usize>,
    /// Questions that were not answered because the peer had been given a page.
    refused_grafts: u64,
    /// Streams whose next commit was not taken, and until when it is not asked for.
    refused: BTreeMap<Stream, u64>,
    settled: Option<Settled>,
    /// Who has what we miss, and when to ask for it if it has not come by itself.
    asks: BTreeMap<NodeId, u64>,
    /// Who was not given what was on its way to it, and when to tell it again what is here.
    offers: BTreeMap<NodeId, u64>,
    /// How many digests may be answered at once, and since when another one may.
    answers: (u32, u64),
    /// When anybody was last asked for what we miss.
    asked_ms: Option<u64>,
}

/// What was durable here some time ago.
#[derive(Debug)]
struct Settled {
    older: VersionVector,
    newer: VersionVector,
    /// When `newer` was so.
    at_ms: u64,
}

impl Spread {
    pub(super) fn of(me: NodeId, config: &Config) -> Self {
        Self {
            tree: Tree::new(me, config.broadcast_seed, config.straight_members_max),
            given: BTreeMap::new(),
            refused_grafts: 0,
            refused: BTreeMap::new(),
            settled: None,
            asks: BTreeMap::new(),
            offers: BTreeMap::new(),
            answers: (VECTORS_AT_ONCE, 0),
            asked_ms: None,
        }
    }

    /// Whether all are pushed to straight.
    pub(super) fn is_straight(&self) -> bool {
        self.tree.is_straight()
    }

    /// Who is told that something changed, when not everybody is.
    pub(super) fn neighbours(&self) -> Vec<NodeId> {
        self.tree.neighbours().1
    }

    /// A commit of this stream was not taken: it would not be a moment later either.
    pub(super) fn refuse(&mut self, stream: Stream, now: Time) {
        if self.refused.len() < WANTED_MAX || self.refused.contains_key(&stream) {
            self.refused.insert(stream, now.mono_ms.saturating_add(REFUSED_MS));
        }
    }

    /// Whether commits of this stream are not asked for at present, because one was not taken.
    pub(super) fn refuses(&self, stream: &Stream) -> bool {
        self.refused.contains_key(stream)
    }

    /// How much of what is durable here has been so for long enough: the rest is on its way to everybody.
    pub(super) fn settled(&self, stream: &Stream, durable: u64) -> u64 {
        self.settled.as_ref().map_or(durable, |settled| settled.older.seq(stream).min(durable))
    }

    /// A peer has what we miss: it is asked for unless it comes meanwhile.
    pub(super) fn ask_later(&mut self, from: NodeId, now: Time) {
        let due_ms = now.mono_ms.saturating_add(self.settle_ms());
        self.asks.entry(from).or_insert(due_ms);
    }

    /// A peer was not given what is on its way to it: it is told again what is here. Above the straight limit, its turn comes.
    pub(super) fn offer_again(&mut self, to: NodeId, now: Time) {
        if self.is_straight() {
            self.offers.entry(to).or_insert(now.mono_ms.saturating_add(2 * STRAIGHT_SETTLE_MS));
        }
    }

    /// Everybody is being told what is here.
    pub(super) fn told_all(&mut self) {
        self.offers.clear();
    }

    /// How long what is new is left to those who bring it.
    fn settle_ms(&self) -> u64 {
        if self.is_straight() { STRAIGHT_SETTLE_MS } else { TREE_SETTLE_MS }
    }

    /// Whether a digest that differs may be answered: with very many members, and all of them told of each change, vectors would
    /// be all that is ever said. Where all are pushed to straight, always.
    pub(super) fn may_answer(&mut self, now: Time) -> bool {
        if self.is_straight() {
            return true;
        }
        let (left, since_ms) = &mut self.answers;
        let more = now.mono_ms.saturating_sub(*since_ms) / VECTOR_MS;
        if more > 0 {
            *left = left.saturating_add(u32::try_from(more).unwrap_or(u32::MAX)).min(VECTORS_AT_ONCE);
            *since_ms = now.mono_ms;
        }
        let may = *left > 0;
        *left = left.saturating_sub(1);
        may
    }

    /// Whether a difference may be asked for: what one peer is giving, a second need not. Where all are pushed to straight, always.
    pub(super) fn may_ask(&self, now: Time) -> bool {
        let waits = |asked: u64| now.mono_ms.saturating_sub(asked) < REQUEST_PATIENCE_MS;
        self.is_straight() || !self.asked_ms.is_some_and(waits)
    }

    pub(super) const fn note_asked(&mut self, now: Time) {
        self.asked_ms = Some(now.mono_ms);
    }

    /// What was durable before may not be any more.
    pub(super) fn begin_anew(&mut self) {
        self.settled = None;
        self.refused.clear();
    }

    fn look_back(&mut self, durable: &VersionVector, now: Time) {
        let (now_ms, pause_ms) = (now.mono_ms, self.settle_ms());
        let fresh = || Settled { older: durable.clone(), newer: durable.clone(), at_ms: now_ms };
        let settled = self.settled.get_or_insert_with(fresh);
        if now_ms.saturating_sub(settled.at_ms) >= pause_ms {
            settled.older = std::mem::replace(&mut settled.newer, durable.clone());
            settled.at_ms = now_ms;
        }
    }
}

impl Replica {
    /// What the broadcast tree did so far.
    #[must_use]
    pub fn spread_counters(&self) -> Counters {
        let counters = self.spread.tree.counters();
        Counters { grafts_refused: counters.grafts_refused + self.spread.refused_grafts, ..counters }
    }

    /// Neighbours in the broadcast tree that are pushed to, and all neighbours.
    #[must_use]
    pub fn neighbours(&self) -> (Vec<NodeId>, Vec<NodeId>) {
        self.spread.tree.neighbours()
    }

    /// Tells the tree what happened and sends what follows.
    pub(super) fn tell_tree(&mut self, event: Event, now: Time, out: &mut Vec<Output>) {
        let mut pushes = Vec::new();
        for action in self.spread.tree.handle(event, &self.seen, now) {
            match action {
                Action::Push { to, stream, first, through, hops } => pushes.push((to, (stream, first, through, hops))),
                Action::Graft { to, wants } => self.send_graft(to, wants, out),
                Action::Announce { to, news } => out.push(Output::Send { to, message: Message::Announce(news) }),
                Action::Prune { to } => out.push(Output::Send { to, message: Message::Prune }),
                Action::Link { to, up } => out.push(Output::Send { to, message: Message::Link(up) }),
            }
        }
        // All pushes that follow from one event are of the same commits.
        pushes.sort_unstable();
        if let Some((_, what)) = pushes.first().copied() {
            let targets: Vec<NodeId> = pushes.into_iter().map(|(to, _)| to).collect();
            self.push(&targets, what, out);
        }
    }

    /// Sends the commits from `first` through `through` to all of these, in as many pages as it takes.
    fn push(&mut self, to: &[NodeId], what: (Stream, u64, u64, Option<u8>), out: &mut Vec<Output>) {
        let (stream, mut first, through, hops) = what;
        while let Some(batch) = self.page(&stream, (first, through), self.config.page_bytes, out) {
            first += batch.commits.len() as u64;
            for to in to {
                let message = Message::Commits { batches: vec![batch.clone()], more: false, hops };
                out.push(Output::Send { to: *to, message });
            }
        }
    }

    /// What may be given of these commits, as far as a page goes; of our own stream, only what is durable.
    fn page(
        &mut self,
        stream: &Stream,
        (first, through): (u64, u64),
        budget: usize,
        out: &mut Vec<Output>,
    ) -> Option<Batch> {
        let through = if *stream == self.own_stream() { through.min(self.durable().seq(stream)) } else { through };
        match self.serve(stream, (first, through), budget, out) {
            Range::Batch { batch, .. } => Some(batch),
            Range::Nothing | Range::Forgotten => None,
        }
    }

    /// Asks for what is missing, but for what would not be taken.
    fn send_graft(&self, to: NodeId, mut wants: Vec<Want>, out: &mut Vec<Output>) {
        let all = wants.len();
        let read_only = self.durability.is_read_only();
        wants.retain(|want| !read_only && !self.spread.refused.contains_key(&want.stream));
        if all == 0 || !wants.is_empty() {
            out.push(Output::Send { to, message: Message::Graft(wants) });
        }
    }

    pub(super) fn handle_announced(&mut self, from: NodeId, news: Vec<News>, now: Time, out: &mut Vec<Output>) {
        // What lies beyond the end of a closed stream does not exist for us.
        let capped = |news: News| News { through: news.through.min(self.retired.end_of(&news.stream)), ..news };
        let news = news.into_iter().filter(|news| news.stream.scope == SCOPE).map(capped).collect();
        self.tell_tree(Event::Announced { from, news }, now, out);
    }

    /// Gives a neighbour what it misses, in one message: what does not fit, it asks for again.
    pub(super) fn handle_grafted(&mut self, from: NodeId, mut wants: Vec<Want>, now: Time, out: &mut Vec<Output>) {
        wants.retain(|want| want.stream.scope == SCOPE);
        let mut letters: BTreeMap<Option<u8>, Vec<Batch>> = BTreeMap::new();
        for action in self.spread.tree.handle(Event::Grafted { from, wants }, &self.seen, now) {
            match action {
                Action::Push { stream, first, through, hops, .. } => {
                    let given = self.spread.given.get(&from).copied().unwrap_or(0);
                    let Some(left) = self.config.page_bytes.checked_sub(given).filter(|left| *left > 0) else {
                        self.spread.refused_grafts += 1;
                        continue;
                    };
                    let Some(batch) = self.page(&stream, (first, through), left, out) else { continue };
                    let bytes: usize = batch.commits.iter().map(CommitBytes::len).sum();
                    self.spread.given.insert(from, given.saturating_add(bytes));
                    letters.entry(hops).or_default().push(batch);
                }
                Action::Link { to, up } => out.push(Output::Send { to, message: Message::Link(up) }),
                // A question is answered with commits, or not at all.
                Action::Announce { .. } | Action::Graft { .. } | Action::Prune { .. } => {}
            }
        }
        for (hops, batches) in letters {
            out.push(Output::Send { to: from, message: Message::Commits { batches, more: false, hops } });
        }
    }

    /// Lets the tree ask and announce, unless nothing may be said at present.
    pub(super) fn tick_tree(&mut self, now: Time, out: &mut Vec<Output>) {
        self.spread.given.clear();
        self.spread.refused.retain(|_, until_ms| *until_ms > now.mono_ms);
        let durable = self.durability.vector();
        self.spread.look_back(durable, now);
        if !self.lineage.is_fenced() {
            self.tell_tree(Event::Tick, now, out);
        }
    }

    /// Asks for what has not come by itself, and tells again whoever was to get something by itself.
    pub(super) fn look_again(&mut self, now: Time, out: &mut Vec<Output>) {
        for from in take_due(&mut self.spread.asks, now) {
            let missing = |seen: &VersionVector| self.seen.missing_from(&self.retired.cap(seen)) > 0;
            let peer = self.peers.known.get(&from).filter(|peer| peer.connected);
            if peer.is_none_or(|peer| !missing(&peer.seen)) {
                continue;
            }
            if self.spread.may_ask(now) {
                self.ask(from, now, out);
            } else {
                self.counters.spared += 1;
            }
        }
        for to in take_due(&mut self.spread.offers, now) {
            if self.peers.connected.contains(&to) {
                self.send_digest(to, out);
            }
        }
    }
}

/// Takes out those whose time has come.
fn take_due(of: &mut BTreeMap<NodeId, u64>, now: Time) -> Vec<NodeId> {
    let due: Vec<NodeId> = of.iter().filter(|(_, due_ms)| **due_ms <= now.mono_ms).map(|(node, _)| *node).collect();
    of.retain(|_, due_ms| *due_ms > now.mono_ms);
    due
}
