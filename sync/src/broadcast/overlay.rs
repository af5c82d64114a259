//! Who is whose neighbour, so that the links connect everybody and stay few.
//!
//! Every pair of members has a weight, a hash of both that both compute alike (rendezvous hashing), and each member chooses
//! those of the least weight among whom it can reach. A link exists when either end has chosen it, so the chosen are told. When
//! somebody comes or goes, only the links to and from it change. The invariant: at most [`NEIGHBOURS_MAX`] neighbours.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Unbounded};

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{Action, News, Tree};
use crate::id::{NodeId, Stream};
use crate::limits::{NEIGHBOURS_MAX, NEWS_PER_ANNOUNCE, NEWS_WAITING_MAX};

/// One end of a link.
#[derive(Debug, Default)]
pub(super) struct Neighbour {
    /// Whether we chose it.
    ours: bool,
    /// Whether it chose us.
    theirs: bool,
    /// Whether it is pushed to.
    pub(super) eager: bool,
    /// When it was last tried as a shortcut.
    pub(super) tried_ms: Option<u64>,
    /// Commits that it was given because it asked, since the last tick.
    pub(super) given: u64,
    /// What it is known to have. Whatever is forgotten here is sent once more than it had to be.
    known: BTreeMap<Stream, u64>,
    /// What it will be told: up to where, and how far from the writer that is.
    waiting: BTreeMap<Stream, (u64, u8)>,
    /// The stream with which the last announcement ended, when it did not hold all.
    told: Option<Stream>,
}

impl Neighbour {
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Notes what to tell; false when there is no room.
    pub(super) fn announce(&mut self, stream: Stream, through: u64, hops: u8) -> bool {
        let room = self.waiting.len() < NEWS_WAITING_MAX || self.waiting.contains_key(&stream);
        if room {
            self.waiting.insert(stream, (through, hops));
        }
        room
    }

    /// It has this: it need not be told.
    pub(super) fn hear(&mut self, stream: Stream, through: u64) {
        if self.known.len() < NEWS_WAITING_MAX || self.known.contains_key(&stream) {
            let known = self.known.entry(stream).or_default();
            *known = through.max(*known);
        }
        if self.waiting.get(&stream).is_some_and(|(waiting, _)| *waiting <= through) {
            self.waiting.remove(&stream);
        }
    }

    pub(super) fn has(&self, stream: &Stream, through: u64) -> bool {
        self.known.get(stream).is_some_and(|known| *known >= through)
    }

    /// Forgets what it has of streams that are not recent any more.
    pub(super) fn forget(&mut self, is_recent: impl Fn(&Stream) -> bool) {
        self.known.retain(|stream, _| is_recent(stream));
    }

    /// What fits into one announcement, taking turns when that is not all.
    pub(super) fn take_news(&mut self) -> Vec<News> {
        let start = self.told.take().filter(|_| self.waiting.len() > NEWS_PER_ANNOUNCE);
        let after = self.waiting.range((start.map_or(Unbounded, Excluded), Unbounded));
        let streams: Vec<Stream> = match start {
            None => after.map(|(stream, _)| *stream).take(NEWS_PER_ANNOUNCE).collect(),
            Some(start) => {
                let round = after.chain(self.waiting.range(..=start));
                round.map(|(stream, _)| *stream).take(NEWS_PER_ANNOUNCE).collect()
            }
        };
        let take = |stream: Stream| {
            let (through, hops) = self.waiting.remove(&stream)?;
            Some(News { stream, through, hops })
        };
        let last = streams.last().copied();
        let mut news: Vec<News> = streams.into_iter().filter_map(take).collect();
        news.sort_unstable_by_key(|news| news.stream);
        self.told = last.filter(|_| !self.waiting.is_empty());
        news
    }
}

impl Tree {
    pub(super) fn handle_up(&mut self, node: NodeId) {
        if node != self.me {
            self.ranked.insert((self.weight(node), node));
            self.moved = true;
        }
    }

    pub(super) fn handle_down(&mut self, node: NodeId) {
        self.ranked.remove(&(self.weight(node), node));
        self.neighbours.remove(&node);
        self.moved = true;
    }

    /// Chooses neighbours anew, at most once a tick: many may come at once.
    pub(super) fn choose_if_moved(&mut self, out: &mut Vec<Action>) {
        if !std::mem::take(&mut self.moved) {
            return;
        }
        // Links are made well before they are needed: not all count the members alike.
        let count = if self.size() > self.straight_members_max / 2 { own_choices(self.size()) } else { 0 };
        let chosen: BTreeSet<NodeId> = self.ranked.iter().take(count).map(|(_, node)| *node).collect();
        for (to, neighbour) in &mut self.neighbours {
            if neighbour.ours && !chosen.contains(to) {
                neighbour.ours = false;
                out.push(Action::Link { to: *to, up: false });
            }
        }
        self.neighbours.retain(|_, neighbour| neighbour.ours || neighbour.theirs);
        for to in chosen {
            if self.neighbours.get(&to).is_some_and(|neighbour| neighbour.ours) {
                continue;
            }
            if let Some(neighbour) = self.link(to) {
                neighbour.ours = true;
                out.push(Action::Link { to, up: true });
            }
        }
    }

    pub(super) fn handle_linked(&mut self, from: NodeId, up: bool, out: &mut Vec<Action>) {
        if up {
            if let Some(neighbour) = self.link(from) {
                neighbour.theirs = true;
            }
        } else if let Some(neighbour) = self.neighbours.get_mut(&from) {
            neighbour.theirs = false;
            if neighbour.ours {
                // It may not know: what told it was lost.
                out.push(Action::Link { to: from, up: true });
            } else {
                self.neighbours.remove(&from);
            }
        }
    }

    /// Tells a peer that behaves like a neighbour that it is none. If it is because we never heard of its choice, it says so again.
    pub(super) fn disown(&self, from: NodeId, out: &mut Vec<Action>) {
        if self.neighbours.len() < NEIGHBOURS_MAX && self.is_up(from) {
            out.push(Action::Link { to: from, up: false });
        }
    }

    /// The neighbour of this name, made if it can be reached and there is room. A new link begins eager, and is told what is new.
    fn link(&mut self, node: NodeId) -> Option<&mut Neighbour> {
        if !self.neighbours.contains_key(&node) {
            if !self.is_up(node) {
                return None;
            }
            if self.neighbours.len() >= NEIGHBOURS_MAX {
                self.counters.links_refused += 1;
                return None;
            }
            let mut fresh = Neighbour { eager: true, ..Neighbour::default() };
            let is_told = !self.is_straight();
            for (stream, recent) in self.recent.iter().filter(|(stream, _)| is_told && stream.replica.node != node) {
                if !fresh.announce(*stream, recent.through, recent.hops) {
                    self.counters.news_dropped += 1;
                }
            }
            self.neighbours.insert(node, fresh);
        }
        self.neighbours.get_mut(&node)
    }

    fn is_up(&self, node: NodeId) -> bool {
        self.ranked.contains(&(self.weight(node), node))
    }

    /// The weight of the link to `node`; the same at its other end.
    fn weight(&self, node: NodeId) -> u64 {
        let (low, high) = (self.me.min(node), self.me.max(node));
        xxh3_64_with_seed(&[low.0, high.0].concat(), self.seed)
    }
}

/// How many each member chooses: half of ln(n) + 3, for as many again choose it. The whole is what a random graph takes to be
/// connected with high probability; that nobody has fewer than its own choices makes it safer still.
fn own_choices(members: usize) -> usize {
    let log2 = members.max(1).ilog2() as usize;
    // ln 2 is about seven tenths.
    (log2 * 7 + 30).div_ceil(20)
}
