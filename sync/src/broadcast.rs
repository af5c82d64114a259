//! The broadcast tree: how news reaches hundreds of members without its writer sending it to each.
//!
//! Plumtree (Leitão, Pereira and Rodrigues, "Epidemic Broadcast Trees", 2007) over an overlay that every member can compute.
//! A link is eager or lazy: commits are pushed along eager links at once, and announced along all. Whoever gets a commit twice
//! prunes the link that was later; whoever misses what was announced grafts the link by which it heard. So the eager links
//! become a tree, and it mends itself.
//!
//! What is broadcast are consecutive commits of streams. Therefore "this stream, up to there" announces all before, the news of
//! a tick is one entry a stream, and a gap shows by the next commit. Owns no commit and no version vector: the log has the
//! bytes, and what has been seen is an argument. The promise is anti-entropy's; everything here is bounded and may be dropped.
//!
//! Up to a number of members ([`STRAIGHT_MEMBERS_MAX`](crate::limits::STRAIGHT_MEMBERS_MAX)) nothing of this is used: a writer
//! pushes to everybody, and nobody passes it on.

mod io;
mod overlay;
mod wanted;

use std::collections::{BTreeMap, BTreeSet};

pub use self::io::{Action, Counters, Event, News, Want};
use self::overlay::Neighbour;
use self::wanted::{Told, Wanted};
use crate::causal::VersionVector;
use crate::id::{NodeId, Stream};
use crate::limits::{
    ANNOUNCE_MS, GIVEN_COMMITS_MAX, NEWS_PER_ANNOUNCE, RECENT_MS, RECENT_STREAMS_MAX, SHORTCUT_HOPS, SHORTCUT_MS,
    VOICE_MS, WANTED_COMMITS_MAX,
};
use crate::time::Time;

/// How the newest commits of a stream came here.
#[derive(Clone, Copy, Debug)]
struct Recent {
    through: u64,
    hops: u8,
    /// Who brought them, if a peer did by the tree.
    from: Option<NodeId>,
    at_ms: u64,
}

/// One member's part of the broadcast.
#[derive(Debug)]
pub struct Tree {
    me: NodeId,
    seed: u64,
    straight_members_max: usize,
    members: usize,
    /// Who can be reached, by the weight of the link.
    ranked: BTreeSet<(u64, NodeId)>,
    /// Whether somebody came or went since neighbours were last chosen.
    moved: bool,
    neighbours: BTreeMap<NodeId, Neighbour>,
    recent: BTreeMap<Stream, Recent>,
    /// The least stream that is heard these days. Its repeats alone decide what is pruned: if two streams did at once, each could
    /// cut a cycle at another place, and the tree would fall apart.
    voice: Option<Stream>,
    wanted: Wanted,
    announced_ms: Option<u64>,
    expired_ms: u64,
    counters: Counters,
}

impl Tree {
    /// The part of `me`. The seed decides who becomes whose neighbour, and is to be the same for all members: a cluster's name
    /// will do. Up to so many members commits are pushed straight.
    #[must_use]
    pub fn new(me: NodeId, seed: u64, straight_members_max: usize) -> Self {
        Self {
            me,
            seed,
            straight_members_max,
            members: 1,
            ranked: BTreeSet::new(),
            moved: false,
            neighbours: BTreeMap::new(),
            recent: BTreeMap::new(),
            voice: None,
            wanted: Wanted::default(),
            announced_ms: None,
            expired_ms: 0,
            counters: Counters::default(),
        }
    }

    /// Takes what happened and says what to send. `seen` is what the replica has applied, the event's commits among it.
    pub fn handle(&mut self, event: Event, seen: &VersionVector, now: Time) -> Vec<Action> {
        let mut out = Vec::new();
        let now_ms = now.mono_ms;
        match event {
            Event::Members(members) => (self.members, self.moved) = (members, true),
            Event::PeerUp(node) => self.handle_up(node),
            Event::PeerDown(node) => self.handle_down(node),
            Event::Made { stream, first, through } => self.handle_made(stream, first, through, now_ms, &mut out),
            Event::Fresh { from, stream, first, through, hops } => {
                self.heard(from, stream, through, hops.is_some(), &mut out);
                let Some(hops) = hops else {
                    // Whoever came to it by another way than the tree has neighbours that may miss it too, or may not.
                    self.note(None, News { stream, through, hops: u8::MAX }, now_ms);
                    if !self.is_straight() {
                        self.announce_later(stream, through, u8::MAX);
                    }
                    return out;
                };
                if let Some(neighbour) = self.neighbours.get_mut(&from) {
                    neighbour.eager = true;
                }
                self.spread(Some(from), News { stream, through, hops }, first, now_ms, &mut out);
            }
            Event::Duplicate { from, stream, through, hops } => {
                self.heard(from, stream, through, hops.is_some(), &mut out);
                if hops.is_some() {
                    self.prune(from, stream, &mut out);
                }
            }
            Event::Early { from, stream, first, through, hops } => {
                self.heard(from, stream, through, hops.is_some(), &mut out);
                if hops.is_some() {
                    self.miss(from, stream, first.saturating_sub(1), Some(first), seen.seq(&stream), now_ms);
                }
            }
            Event::Announced { from, news } => self.handle_announced(from, news, seen, now_ms, &mut out),
            Event::Grafted { from, wants } => self.handle_grafted(from, wants, seen, &mut out),
            Event::Pruned { from } => {
                if let Some(neighbour) = self.neighbours.get_mut(&from) {
                    neighbour.eager = false;
                }
            }
            Event::Linked { from, up } => self.handle_linked(from, up, &mut out),
            Event::Tick => self.handle_tick(seen, now_ms, &mut out),
        }
        out
    }

    /// Neighbours that are pushed to, and all neighbours.
    #[must_use]
    pub fn neighbours(&self) -> (Vec<NodeId>, Vec<NodeId>) {
        let eager = self.neighbours.iter().filter(|(_, neighbour)| neighbour.eager);
        (eager.map(|(node, _)| *node).collect(), self.neighbours.keys().copied().collect())
    }

    /// Entries waiting to be announced, and entries known to be missing.
    #[must_use]
    pub fn waiting(&self) -> (usize, usize) {
        (self.neighbours.values().map(Neighbour::waiting).sum(), self.wanted.len())
    }

    /// What was done since the start.
    #[must_use]
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    /// Whether there are so few members that what is made here is pushed to everybody.
    #[must_use]
    pub fn is_straight(&self) -> bool {
        self.size() <= self.straight_members_max
    }

    /// Members, or those that can be reached if somebody has not counted yet.
    fn size(&self) -> usize {
        self.members.max(self.ranked.len() + 1)
    }

    fn handle_made(&mut self, stream: Stream, first: u64, through: u64, now_ms: u64, out: &mut Vec<Action>) {
        if self.is_straight() {
            self.note(None, News { stream, through, hops: 0 }, now_ms);
            self.counters.pushed += self.ranked.len() as u64;
            let push = |(_, to): &(u64, NodeId)| Action::Push { to: *to, stream, first, through, hops: None };
            out.extend(self.ranked.iter().map(push));
        } else {
            self.spread(None, News { stream, through, hops: 0 }, first, now_ms, out);
        }
    }

    /// Pushes along the tree what has just come, and has it announced along all links.
    fn spread(&mut self, from: Option<NodeId>, news: News, first: u64, now_ms: u64, out: &mut Vec<Action>) {
        let News { stream, through, hops } = news;
        self.note(from, news, now_ms);
        self.announce_later(stream, through, hops);
        for (to, neighbour) in &self.neighbours {
            if neighbour.eager && *to != stream.replica.node && !neighbour.has(&stream, through) {
                self.counters.pushed += 1;
                out.push(Action::Push { to: *to, stream, first, through, hops: Some(hops.saturating_add(1)) });
            }
        }
    }

    /// Has all neighbours told in a moment. Those that were pushed to as well: that is how they find out that the push was lost.
    fn announce_later(&mut self, stream: Stream, through: u64, hops: u8) {
        for (to, neighbour) in &mut self.neighbours {
            let is_news = *to != stream.replica.node && !neighbour.has(&stream, through);
            if is_news && !neighbour.announce(stream, through, hops) {
                self.counters.news_dropped += 1;
            }
        }
    }

    /// Remembers how a stream's newest commits came.
    fn note(&mut self, from: Option<NodeId>, news: News, now_ms: u64) {
        let News { stream, through, hops } = news;
        if !self.recent.contains_key(&stream) && self.recent.len() >= RECENT_STREAMS_MAX {
            let oldest = self.recent.iter().min_by_key(|(_, recent)| recent.at_ms).map(|(stream, _)| *stream);
            oldest.and_then(|oldest| self.recent.remove(&oldest));
        }
        self.recent.insert(stream, Recent { through, hops, from, at_ms: now_ms });
        if self.voice.is_none_or(|voice| stream < voice) {
            self.voice = Some(stream);
        }
    }

    /// A peer has this: it need not be told. If it is no neighbour but behaves like one, it is told that.
    fn heard(&mut self, from: NodeId, stream: Stream, through: u64, is_tree: bool, out: &mut Vec<Action>) {
        match self.neighbours.get_mut(&from) {
            Some(neighbour) => neighbour.hear(stream, through),
            None if is_tree => self.disown(from, out),
            None => {}
        }
    }

    /// Leaves the tree's link to a peer whose push came later than another's, if that came by the tree too: a repeat of what
    /// anti-entropy brought, or of what the same peer did, says nothing against the link.
    fn prune(&mut self, from: NodeId, stream: Stream, out: &mut Vec<Action>) {
        let first = self.recent.get(&stream).and_then(|recent| recent.from).filter(|first| *first != from);
        let first = first.and_then(|first| self.neighbours.get(&first));
        let is_repeat = self.voice == Some(stream) && first.is_some_and(|first| first.eager);
        let Some(neighbour) = self.neighbours.get_mut(&from) else { return };
        // A push along a link that is lazy here: the prune was lost.
        if is_repeat || !neighbour.eager {
            neighbour.eager = false;
            self.counters.pruned += 1;
            out.push(Action::Prune { to: from });
        }
    }

    fn handle_announced(
        &mut self,
        from: NodeId,
        news: Vec<News>,
        seen: &VersionVector,
        now_ms: u64,
        out: &mut Vec<Action>,
    ) {
        if !self.neighbours.contains_key(&from) {
            self.disown(from, out);
            return;
        }
        for News { stream, through, hops } in news.into_iter().take(NEWS_PER_ANNOUNCE) {
            self.heard(from, stream, through, false, out);
            let has = seen.seq(&stream);
            if through > has {
                self.miss(from, stream, through, None, has, now_ms);
            } else {
                self.try_shortcut(from, News { stream, through, hops }, now_ms, out);
            }
        }
    }

    /// Notes that commits are missing which `from` has.
    fn miss(&mut self, from: NodeId, stream: Stream, through: u64, early: Option<u64>, has: u64, now_ms: u64) {
        let Some(neighbour) = self.neighbours.get(&from).filter(|_| stream.replica.node != self.me) else { return };
        let told = Told { from, eager: neighbour.eager, stream, through, early };
        if through.saturating_sub(has) > WANTED_COMMITS_MAX {
            self.counters.far_behind += 1;
        } else if !self.wanted.note(&told, has, now_ms) {
            self.counters.wants_dropped += 1;
        }
    }

    /// Takes a link into the tree that promises a shorter path. Which of the two remains is for the next push to decide: the
    /// later one is pruned. So trying cannot cut anybody off.
    fn try_shortcut(&mut self, from: NodeId, news: News, now_ms: u64, out: &mut Vec<Action>) {
        let Some(recent) = self.recent.get(&news.stream).filter(|_| self.voice == Some(news.stream)) else { return };
        let is_shorter = recent.hops != u8::MAX && news.hops.saturating_add(1 + SHORTCUT_HOPS) <= recent.hops;
        let Some(neighbour) = self.neighbours.get_mut(&from) else { return };
        let is_due = neighbour.tried_ms.is_none_or(|tried| now_ms.saturating_sub(tried) >= SHORTCUT_MS);
        if recent.through == news.through && is_shorter && is_due && !neighbour.eager {
            (neighbour.eager, neighbour.tried_ms) = (true, Some(now_ms));
            self.counters.shortcuts += 1;
            self.counters.grafted += 1;
            out.push(Action::Graft { to: from, wants: Vec::new() });
        }
    }

    fn handle_grafted(&mut self, from: NodeId, wants: Vec<Want>, seen: &VersionVector, out: &mut Vec<Action>) {
        let Some(neighbour) = self.neighbours.get_mut(&from) else {
            self.disown(from, out);
            return;
        };
        neighbour.eager = true;
        for Want { stream, after, through } in wants.into_iter().take(NEWS_PER_ANNOUNCE) {
            if stream.replica.node == from {
                continue;
            }
            let left = GIVEN_COMMITS_MAX.saturating_sub(neighbour.given).min(WANTED_COMMITS_MAX);
            if left == 0 {
                self.counters.grafts_refused += 1;
            }
            let through = through.min(seen.seq(&stream)).min(after.saturating_add(left));
            if through > after {
                neighbour.given += through - after;
                let hops = self.recent.get(&stream).map_or(u8::MAX, |recent| recent.hops).saturating_add(1);
                self.counters.pushed += 1;
                out.push(Action::Push { to: from, stream, first: after + 1, through, hops: Some(hops) });
            }
        }
    }

    fn handle_tick(&mut self, seen: &VersionVector, now_ms: u64, out: &mut Vec<Action>) {
        self.choose_if_moved(out);
        self.neighbours.values_mut().for_each(|neighbour| neighbour.given = 0);
        if now_ms.saturating_sub(self.expired_ms) >= ANNOUNCE_MS {
            self.expired_ms = now_ms;
            self.recent.retain(|_, recent| now_ms.saturating_sub(recent.at_ms) < RECENT_MS);
            let is_heard = |recent: &Recent| now_ms.saturating_sub(recent.at_ms) < VOICE_MS;
            let recent = &self.recent;
            self.neighbours.values_mut().for_each(|neighbour| neighbour.forget(|stream| recent.contains_key(stream)));
            self.voice = self.recent.iter().find(|(_, recent)| is_heard(recent)).map(|(stream, _)| *stream);
        }
        self.ask(seen, now_ms, out);
        if self.announced_ms.is_none_or(|announced| now_ms.saturating_sub(announced) >= ANNOUNCE_MS) {
            self.announce(now_ms, out);
        }
    }

    /// Asks for what is missing. Whoever is asked is of the tree from now on, if it was not before.
    fn ask(&mut self, seen: &VersionVector, now_ms: u64, out: &mut Vec<Action>) {
        let neighbours = &self.neighbours;
        let is_eager = |node: &NodeId| neighbours.get(node).map(|neighbour| neighbour.eager);
        let (grafts, given_up) = self.wanted.due(seen, is_eager, now_ms);
        self.counters.given_up += given_up;
        for (to, wants) in grafts {
            if let Some(neighbour) = self.neighbours.get_mut(&to) {
                neighbour.eager = true;
            }
            for wants in wants.chunks(NEWS_PER_ANNOUNCE) {
                self.counters.grafted += 1;
                out.push(Action::Graft { to, wants: wants.to_vec() });
            }
        }
    }

    fn announce(&mut self, now_ms: u64, out: &mut Vec<Action>) {
        for (to, neighbour) in &mut self.neighbours {
            let news = neighbour.take_news();
            if !news.is_empty() {
                self.announced_ms = Some(now_ms);
                self.counters.announced += 1;
                out.push(Action::Announce { to: *to, news });
            }
        }
    }
}
