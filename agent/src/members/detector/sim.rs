//! Many detectors in one process from one seed, with virtual time, loss, cuts and hosts that stand still.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt as _, SeedableRng as _};
use selvedge_sync::id::NodeId;

use super::{Detector, Standing};

/// How late a host's timer may be, in milliseconds.
const TIMER_MS: u64 = 5;

/// A frame on its way, or a record that says in which round its member is.
enum Load {
    Frame(Vec<u8>),
    Record(u64, u32),
}

pub(super) struct Host {
    pub(super) detector: Detector,
    pub(super) life: u64,
    round: u32,
    stalled_until: u64,
    /// What waits for a host that stands still.
    waiting: VecDeque<(usize, Load)>,
    pub(super) dead: bool,
    pub(super) sent: u64,
    pub(super) sent_bytes: u64,
    pub(super) ticks: u64,
}

pub(super) struct Sim {
    pub(super) hosts: Vec<Host>,
    pub(super) now_ms: u64,
    /// Lost frames in a thousand.
    pub(super) loss: u32,
    /// Ways that carry nothing, from and to.
    pub(super) cuts: BTreeSet<(usize, usize)>,
    /// What arrives when: by millisecond, then in order of sending.
    flying: BTreeMap<(u64, u64), (usize, usize, Load)>,
    number: u64,
    rng: Xoshiro256PlusPlus,
    /// Who was first called lost by whom, and when.
    pub(super) lost: BTreeMap<(usize, usize), u64>,
}

pub(super) fn node(index: usize) -> NodeId {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&(index as u64).to_be_bytes());
    NodeId(bytes)
}

pub(super) fn index(node: NodeId) -> usize {
    usize::try_from(u64::from_be_bytes(node.0[..8].try_into().expect("eight"))).expect("small")
}

impl Sim {
    /// Members that know each other's records and are all connected.
    pub(super) fn new(hosts: usize, seed: u64) -> Self {
        let mut sim = Self {
            hosts: Vec::new(),
            now_ms: 0,
            loss: 0,
            cuts: BTreeSet::new(),
            flying: BTreeMap::new(),
            number: 0,
            rng: Xoshiro256PlusPlus::seed_from_u64(seed),
            lost: BTreeMap::new(),
        };
        for at in 0..hosts {
            let mut detector = Detector::new(node(at), 1_000, seed * 10_000 + at as u64, 0);
            (0..hosts).filter(|other| *other != at).for_each(|other| detector.attest(node(other), 1_000, 0));
            sim.hosts.push(Host {
                detector,
                life: 1_000,
                round: 0,
                stalled_until: 0,
                waiting: VecDeque::new(),
                dead: false,
                sent: 0,
                sent_bytes: 0,
                ticks: 0,
            });
        }
        for at in 0..hosts {
            // Every link comes up, as in a mesh of direct connections; a large one has only some.
            for other in 0..hosts {
                if at != other && (hosts <= 128 || (at + hosts - other) % hosts <= 40) {
                    sim.hosts[at].detector.meet(node(other), 0);
                }
            }
            sim.collect(at);
        }
        sim
    }

    pub(super) fn stall(&mut self, host: usize, ms: u64) {
        self.hosts[host].stalled_until = self.now_ms + ms;
    }

    pub(super) fn run(&mut self, ms: u64) {
        let end = self.now_ms + ms;
        while self.now_ms < end {
            self.now_ms += 1;
            while let Some(entry) = self.flying.first_entry().filter(|entry| entry.key().0 <= self.now_ms) {
                let (from, to, load) = entry.remove();
                self.arrive(from, to, load);
            }
            for at in 0..self.hosts.len() {
                self.wake(at);
                if !self.hosts[at].dead
                    && self.hosts[at].stalled_until <= self.now_ms
                    && (self.now_ms + at as u64).is_multiple_of(TIMER_MS)
                    && self.hosts[at].detector.due_ms() <= self.now_ms
                {
                    self.hosts[at].detector.tick(self.now_ms);
                    self.hosts[at].ticks += 1;
                    self.collect(at);
                    self.look(at);
                }
            }
        }
    }

    fn wake(&mut self, at: usize) {
        if self.hosts[at].stalled_until > self.now_ms {
            return;
        }
        while let Some((from, load)) = self.hosts[at].waiting.pop_front() {
            self.arrive(from, at, load);
        }
    }

    fn arrive(&mut self, from: usize, to: usize, load: Load) {
        let host = &mut self.hosts[to];
        if host.dead {
            return;
        }
        if host.stalled_until > self.now_ms {
            host.waiting.push_back((from, load));
            return;
        }
        match load {
            Load::Frame(bytes) => host.detector.hear(node(from), &bytes, self.now_ms).expect("ours can be read"),
            Load::Record(life, round) => host.detector.attest(node(from), life, round),
        }
        self.collect(to);
        self.look(to);
    }

    fn collect(&mut self, at: usize) {
        let host = &mut self.hosts[at];
        let out = host.detector.take_outgoing();
        host.sent += out.len() as u64;
        host.sent_bytes += out.iter().map(|(_, bytes)| bytes.len() as u64).sum::<u64>();
        let round = host.detector.round();
        let (life, news) = (host.life, round != host.round);
        host.round = round;
        for (to, bytes) in out {
            let delay = self.rng.random_range(1..40);
            self.fly(at, index(to), delay, Load::Frame(bytes));
        }
        if news {
            for to in (0..self.hosts.len()).filter(|to| *to != at) {
                // Records travel over others too.
                let carries = |via: &usize| !self.cuts.contains(&(at, *via)) && !self.cuts.contains(&(*via, to));
                if (0..self.hosts.len()).any(|via| carries(&via)) {
                    let delay = self.rng.random_range(20..600);
                    self.number += 1;
                    self.flying.insert((self.now_ms + delay, self.number), (at, to, Load::Record(life, round)));
                }
            }
        }
    }

    fn fly(&mut self, from: usize, to: usize, delay: u64, load: Load) {
        if from == to || self.cuts.contains(&(from, to)) || self.rng.random_range(0..1_000) < self.loss {
            return;
        }
        self.number += 1;
        self.flying.insert((self.now_ms + delay, self.number), (from, to, load));
    }

    fn look(&mut self, at: usize) {
        for (about, standing) in self.hosts[at].detector.standings() {
            if standing == Standing::Lost {
                self.lost.entry((at, index(about))).or_insert(self.now_ms);
            }
        }
    }

    /// How `at` sees `about`.
    pub(super) fn sees(&self, at: usize, about: usize) -> Option<Standing> {
        self.hosts[at].detector.standings().find(|(seen, _)| *seen == node(about)).map(|(_, standing)| standing)
    }

    /// Whether all of `hosts` see each other alive.
    pub(super) fn all_alive(&self, hosts: &[usize]) -> bool {
        hosts.iter().all(|at| hosts.iter().all(|about| at == about || self.sees(*at, *about) == Some(Standing::Alive)))
    }

    /// Runs until `done`, in steps; how long it took, or `None` after `patience_ms`.
    pub(super) fn until(&mut self, patience_ms: u64, done: impl Fn(&Self) -> bool) -> Option<u64> {
        let start = self.now_ms;
        while !done(self) {
            if self.now_ms - start >= patience_ms {
                return None;
            }
            self.run(20);
        }
        Some(self.now_ms - start)
    }
}
