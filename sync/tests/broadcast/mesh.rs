//! Many members with their trees in one process, and a network between them that loses and delays. Nothing but the tree
//! delivers: there is no anti-entropy here, so whatever arrives arrived by the tree.

use std::collections::{BTreeMap, BTreeSet};

use selvedge_sync::broadcast::{Action, Event, News, Tree, Want};
use selvedge_sync::causal::VersionVector;
use selvedge_sync::id::{Incarnation, NodeId, ReplicaId, Stream};
use selvedge_sync::limits::{NEIGHBOURS_MAX, NEWS_WAITING_MAX, STRAIGHT_MEMBERS_MAX, WANTED_MAX};
use selvedge_sync::time::Time;

pub(crate) const TICK_MS: u64 = 50;

/// How the network is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Network {
    pub(crate) loss_permille: u64,
    /// The shortest and the longest delay of a link, evenly spread.
    pub(crate) delay_ms: (u64, u64),
    /// So many messages in a thousand take ten times as long.
    pub(crate) slow_permille: u64,
}

impl Network {
    pub(crate) const fn losing(loss_permille: u64) -> Self {
        Self { loss_permille, delay_ms: (10, 30), slow_permille: 0 }
    }
}

#[derive(Clone, Debug)]
enum Message {
    Push { stream: Stream, first: u64, through: u64, hops: Option<u8> },
    Announce(Vec<News>),
    Prune,
    Graft(Vec<Want>),
    Link(bool),
}

struct Member {
    tree: Tree,
    seen: VersionVector,
    /// Commits that came too early: stream and first, then the last and how they came.
    early: BTreeMap<(Stream, u64), (u64, usize, Option<u8>)>,
    is_up: bool,
    side: u8,
    tick_at: u64,
}

/// What was counted. Copies are commits in pushes that arrived, whoever needed them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) copies: u64,
    pub(crate) applied: u64,
    pub(crate) announcements: u64,
    pub(crate) news: u64,
    pub(crate) grafts: u64,
    pub(crate) prunes: u64,
    pub(crate) links: u64,
    /// How many commits were applied so many milliseconds after they were made, and after so many links.
    pub(crate) latency_ms: BTreeMap<u64, u64>,
    pub(crate) hops: BTreeMap<u64, u64>,
}

pub(crate) struct Mesh {
    seed: u64,
    drawn: u64,
    pub(crate) network: Network,
    members: Vec<Member>,
    queue: BTreeMap<u64, Vec<(usize, usize, Message)>>,
    made_ms: BTreeMap<Stream, Vec<u64>>,
    pub(crate) now_ms: u64,
    pub(crate) totals: Totals,
    /// All that was sent, folded into one number.
    pub(crate) trace: u64,
}

pub(crate) fn node(index: usize) -> NodeId {
    let mut name = [0; 32];
    name[..8].copy_from_slice(&(index as u64 + 1).to_be_bytes());
    NodeId(name)
}

fn index(node: NodeId) -> usize {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&node.0[..8]);
    usize::try_from(u64::from_be_bytes(bytes) - 1).expect("a member of this mesh")
}

pub(crate) fn stream(index: usize) -> Stream {
    Stream::global(ReplicaId { node: node(index), incarnation: Incarnation(1) })
}

impl Mesh {
    /// So many members, all of which reach each other.
    pub(crate) fn new(count: usize, seed: u64, network: Network) -> Self {
        let (queue, made_ms) = (BTreeMap::new(), BTreeMap::new());
        let mut mesh = Self {
            seed,
            drawn: seed,
            network,
            members: Vec::new(),
            queue,
            made_ms,
            now_ms: 0,
            totals: Totals::default(),
            trace: seed,
        };
        (0..count).for_each(|_| mesh.join());
        mesh
    }

    /// A new member, to which state has been copied (which is what a repair does), and whom everybody reaches at once.
    pub(crate) fn join(&mut self) {
        let at = self.members.len();
        let tree = Tree::new(node(at), 7 ^ self.seed, STRAIGHT_MEMBERS_MAX);
        let seen = self.members.first().map(|first| first.seen.clone()).unwrap_or_default();
        let tick_at = self.between(0, TICK_MS - 1);
        self.members.push(Member { tree, seen, early: BTreeMap::new(), is_up: true, side: 0, tick_at });
        (0..=at).for_each(|member| self.handle(member, Event::Members(at + 1)));
        self.meet(at);
    }

    /// Members who lost each other find each other again.
    fn meet(&mut self, at: usize) {
        for other in (0..self.members.len()).filter(|other| *other != at) {
            if self.reach(at, other) {
                self.handle(other, Event::PeerUp(node(at)));
                self.handle(at, Event::PeerUp(node(other)));
            }
        }
    }

    fn reach(&self, one: usize, other: usize) -> bool {
        let (one, other) = (&self.members[one], &self.members[other]);
        one.is_up && other.is_up && one.side == other.side
    }

    /// The process is gone. Nobody is told yet.
    pub(crate) fn crash(&mut self, at: usize) {
        self.members[at].is_up = false;
    }

    /// The others notice.
    pub(crate) fn notice(&mut self, at: usize) {
        (0..self.members.len()).filter(|other| *other != at).for_each(|other| {
            self.handle(other, Event::PeerDown(node(at)));
        });
    }

    /// The process comes back with what was on disk and an empty memory.
    pub(crate) fn restart(&mut self, at: usize) {
        let count = self.members.len();
        let member = &mut self.members[at];
        (member.is_up, member.tree) = (true, Tree::new(node(at), 7 ^ self.seed, STRAIGHT_MEMBERS_MAX));
        member.early.clear();
        self.handle(at, Event::Members(count));
        self.meet(at);
    }

    /// Cuts the network: what is sent between sides is lost.
    pub(crate) fn cut(&mut self, side: impl Fn(usize) -> u8) {
        self.members.iter_mut().enumerate().for_each(|(at, member)| member.side = side(at));
    }

    /// Everybody notices whom it does not reach any more.
    pub(crate) fn notice_cut(&mut self) {
        self.for_pairs(|mesh, one, other| {
            if !mesh.reach(one, other) {
                mesh.handle(one, Event::PeerDown(node(other)));
            }
        });
    }

    /// Everybody notices whom it reaches.
    pub(crate) fn notice_all(&mut self) {
        self.for_pairs(|mesh, one, other| {
            if mesh.reach(one, other) {
                mesh.handle(one, Event::PeerUp(node(other)));
            }
        });
    }

    /// Tells every member how many there are, as it sees it.
    pub(crate) fn recount(&mut self, counts: impl Fn(usize) -> usize) {
        (0..self.members.len()).for_each(|at| self.handle(at, Event::Members(counts(at))));
    }

    fn for_pairs(&mut self, mut act: impl FnMut(&mut Self, usize, usize)) {
        for one in 0..self.members.len() {
            (0..self.members.len()).filter(|other| *other != one).for_each(|other| act(self, one, other));
        }
    }

    /// A member makes one commit.
    pub(crate) fn write(&mut self, at: usize) {
        let (stream, now_ms) = (stream(at), self.now_ms);
        let made = self.made_ms.entry(stream).or_default();
        made.push(now_ms);
        let seq = made.len() as u64;
        self.members[at].seen.advance(stream, seq);
        self.handle(at, Event::Made { stream, first: seq, through: seq });
    }

    /// Lets the members in `writers` write in turn, each so often a second, for so long.
    pub(crate) fn write_for(&mut self, writers: &[usize], per_second: u64, ms: u64) {
        let end = self.now_ms + ms;
        let gap = 1_000 / per_second;
        while self.now_ms < end {
            let now_ms = self.now_ms;
            for (turn, at) in writers.iter().enumerate() {
                // Spread over the gap, so that many writers do not write in step.
                if now_ms % gap == turn as u64 * 37 % gap && self.members[*at].is_up {
                    self.write(*at);
                }
            }
            self.run(1);
        }
    }

    /// Lets time pass.
    pub(crate) fn run(&mut self, ms: u64) {
        for _ in 0..ms {
            self.now_ms += 1;
            for (from, to, message) in self.queue.remove(&self.now_ms).unwrap_or_default() {
                if self.reach(from, to) {
                    self.receive(from, to, message);
                }
            }
            for at in 0..self.members.len() {
                if self.members[at].is_up && self.now_ms % TICK_MS == self.members[at].tick_at {
                    self.handle(at, Event::Tick);
                    self.check(at);
                }
            }
        }
    }

    /// Members that are up and do not have all that was made.
    pub(crate) fn behind(&self) -> Vec<usize> {
        let all: VersionVector = self.made_ms.iter().map(|(stream, made)| (*stream, made.len() as u64)).collect();
        let is_behind = |(_, member): &(usize, &Member)| member.is_up && !member.seen.includes(&all);
        self.members.iter().enumerate().filter(is_behind).map(|(at, _)| at).collect()
    }

    pub(crate) fn tree(&self, at: usize) -> &Tree {
        &self.members[at].tree
    }

    /// Whether all that are up are connected by links, and how many each has; eager ones only, if so asked.
    pub(crate) fn links(&self, eager: bool) -> (bool, Vec<usize>) {
        let up: BTreeSet<usize> = (0..self.members.len()).filter(|at| self.members[*at].is_up).collect();
        let of = |at: usize| {
            let (pushed, all) = self.tree(at).neighbours();
            if eager { pushed } else { all }
        };
        let (mut reached, mut open) = (BTreeSet::new(), up.iter().copied().take(1).collect::<Vec<_>>());
        while let Some(at) = open.pop() {
            if reached.insert(at) {
                open.extend(of(at).into_iter().map(index).filter(|next| up.contains(next)));
            }
        }
        (reached == up, up.iter().map(|at| of(*at).len()).collect())
    }

    /// The number below which so many in a thousand lie.
    pub(crate) fn quantile(of: &BTreeMap<u64, u64>, permille: u64) -> u64 {
        let all: u64 = of.values().sum();
        let mut left = all * permille / 1_000;
        for (value, count) in of {
            if *count >= left {
                return *value;
            }
            left -= count;
        }
        0
    }

    fn check(&self, at: usize) {
        let tree = &self.members[at].tree;
        let (waiting, wanted) = tree.waiting();
        assert!(tree.neighbours().1.len() <= NEIGHBOURS_MAX);
        assert!(waiting <= NEIGHBOURS_MAX * NEWS_WAITING_MAX && wanted <= WANTED_MAX);
    }

    fn receive(&mut self, from: usize, to: usize, message: Message) {
        let sender = node(from);
        match message {
            Message::Push { stream, first, through, hops } => self.take(from, to, stream, (first, through), hops),
            Message::Announce(news) => self.handle(to, Event::Announced { from: sender, news }),
            Message::Prune => self.handle(to, Event::Pruned { from: sender }),
            Message::Graft(wants) => self.handle(to, Event::Grafted { from: sender, wants }),
            Message::Link(up) => self.handle(to, Event::Linked { from: sender, up }),
        }
    }

    /// What a replica does with commits: in order, once, and what came too early is kept for a moment.
    fn take(&mut self, from: usize, to: usize, stream: Stream, (first, through): (u64, u64), hops: Option<u8>) {
        self.totals.copies += through + 1 - first;
        let has = self.members[to].seen.seq(&stream);
        if through <= has {
            return self.handle(to, Event::Duplicate { from: node(from), stream, through, hops });
        }
        if first > has + 1 {
            self.members[to].early.insert((stream, first), (through, from, hops));
            return self.handle(to, Event::Early { from: node(from), stream, first, through, hops });
        }
        self.apply(from, to, stream, through, hops);
        loop {
            let next = (stream, self.members[to].seen.seq(&stream) + 1);
            let early = &mut self.members[to].early;
            let Some(key) = early.range((stream, 0)..=next).next().map(|(key, _)| *key) else { return };
            let (through, from, hops) = early.remove(&key).expect("it has just been found");
            self.apply(from, to, stream, through, hops);
        }
    }

    fn apply(&mut self, from: usize, to: usize, stream: Stream, through: u64, hops: Option<u8>) {
        let has = self.members[to].seen.seq(&stream);
        if through <= has {
            return;
        }
        self.members[to].seen.advance(stream, through);
        let made = &self.made_ms[&stream];
        for seq in has + 1..=through {
            let ms = self.now_ms - made[usize::try_from(seq - 1).expect("an index")];
            *self.totals.latency_ms.entry(ms).or_default() += 1;
            *self.totals.hops.entry(u64::from(hops.unwrap_or(1))).or_default() += 1;
            self.totals.applied += 1;
        }
        self.handle(to, Event::Fresh { from: node(from), stream, first: has + 1, through, hops });
    }

    fn handle(&mut self, at: usize, event: Event) {
        let now = Time { wall_ms: self.now_ms, mono_ms: self.now_ms };
        let member = &mut self.members[at];
        for action in member.tree.handle(event, &member.seen, now) {
            self.send(at, action);
        }
    }

    fn send(&mut self, from: usize, action: Action) {
        let (to, message) = match action {
            Action::Push { to, stream, first, through, hops } => (to, Message::Push { stream, first, through, hops }),
            Action::Announce { to, news } => {
                (self.totals.announcements, self.totals.news) =
                    (self.totals.announcements + 1, self.totals.news + news.len() as u64);
                (to, Message::Announce(news))
            }
            Action::Prune { to } => {
                self.totals.prunes += 1;
                (to, Message::Prune)
            }
            Action::Graft { to, wants } => {
                self.totals.grafts += 1;
                (to, Message::Graft(wants))
            }
            Action::Link { to, up } => {
                self.totals.links += 1;
                (to, Message::Link(up))
            }
        };
        let to = index(to);
        let what = match &message {
            Message::Push { first, through, hops, .. } => [1, *first, *through, hops.map_or(0, u64::from)],
            Message::Announce(news) => [2, news.len() as u64, news.iter().map(|news| news.through).sum(), 0],
            Message::Prune => [3, 0, 0, 0],
            Message::Graft(wants) => [4, wants.len() as u64, wants.iter().map(|want| want.through).sum(), 0],
            Message::Link(up) => [5, u64::from(*up), 0, 0],
        };
        for word in [self.now_ms, from as u64, to as u64].into_iter().chain(what) {
            self.trace = (self.trace ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(17);
        }
        let (least, most) = self.network.delay_ms;
        let slow = if self.chance(self.network.slow_permille) { 10 } else { 1 };
        let at = self.now_ms + self.between(least, most) * slow;
        if !self.chance(self.network.loss_permille) {
            self.queue.entry(at).or_default().push((from, to, message));
        }
    }

    /// The next pseudo-random number (splitmix64; Steele, Lea and Flood, 2014).
    fn draw(&mut self) -> u64 {
        self.drawn = self.drawn.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.drawn;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.draw() % (most - least + 1)
    }

    fn chance(&mut self, permille: u64) -> bool {
        self.draw() % 1_000 < permille
    }
}
