//! Replicas that all reach each other, under virtual time: a network with delay and loss, disks that take a moment, and counts of
//! what was said. Nothing crashes here; that is the simulator's business.

use std::collections::BTreeMap;

use selvedge_sync::change::Change;
use selvedge_sync::id::{Incarnation, NodeId, ReplicaId};
use selvedge_sync::key::{Key, Kind};
use selvedge_sync::replica::{Config, Input, Message, Output, Replica};
use selvedge_sync::sim::Rng;
use selvedge_sync::time::Time;

const WALL_MS: u64 = 1_800_000_000_000;
/// Time between two ticks of a replica, in milliseconds.
const TICK_MS: u64 = 50;
/// What a message takes, at least and at most, in milliseconds.
const DELAY_MS: (u64, u64) = (10, 30);
/// What a write to the disk takes, at most, in milliseconds.
const DISK_MS: u64 = 5;

pub(crate) struct Mesh {
    replicas: Vec<Replica>,
    queue: BTreeMap<u64, Vec<(usize, Input)>>,
    rng: Rng,
    loss_permille: u64,
    pub(crate) now_ms: u64,
    made: u64,
    /// Commits in messages that arrived, whoever needed them.
    arrived: u64,
    /// Messages that carried commits of others along the tree.
    pub(crate) relayed: u64,
    sent: BTreeMap<&'static str, u64>,
    bytes: u64,
}

fn node(index: usize) -> NodeId {
    let mut name = [0; 32];
    name[..8].copy_from_slice(&(index as u64 + 1).to_be_bytes());
    NodeId(name)
}

fn index(node: NodeId) -> usize {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&node.0[..8]);
    usize::try_from(u64::from_be_bytes(bytes) - 1).expect("a member of this mesh")
}

impl Mesh {
    /// So many members, all of which know and reach each other.
    pub(crate) fn new(members: usize, loss_permille: u64) -> Self {
        let id = |index| ReplicaId { node: node(index), incarnation: Incarnation(1) };
        let config = Config { broadcast_seed: 7, ..Config::default() };
        let mut mesh = Self {
            replicas: (0..members).map(|index| Replica::new(id(index), config.clone())).collect(),
            queue: BTreeMap::new(),
            rng: Rng::new(members as u64),
            loss_permille,
            now_ms: 0,
            made: 0,
            arrived: 0,
            relayed: 0,
            sent: BTreeMap::new(),
            bytes: 0,
        };
        for at in 0..members {
            mesh.feed(at, Input::Members((0..members).map(node).collect()));
            (0..members).filter(|other| *other != at).for_each(|other| mesh.feed(at, Input::PeerUp(node(other))));
        }
        mesh
    }

    /// Lets each of these write every so many milliseconds, for so long.
    pub(crate) fn write_for(&mut self, writers: &[usize], every_ms: u64, ms: u64) {
        for round in 0..ms {
            for (turn, at) in writers.iter().enumerate() {
                // Not all at the same moment.
                if round % every_ms == turn as u64 * 37 % every_ms {
                    let changes = vec![(Key::new(Kind::GCounter, "hits").expect("a key"), Change::Increment(1))];
                    self.feed(*at, Input::Commit { ticket: 0, changes, request: None });
                    self.made += 1;
                }
            }
            self.run(1);
        }
    }

    /// Lets time pass.
    pub(crate) fn run(&mut self, ms: u64) {
        for _ in 0..ms {
            self.now_ms += 1;
            for (at, input) in self.queue.remove(&self.now_ms).unwrap_or_default() {
                if let Input::Receive { message: Message::Commits { batches, .. }, .. } = &input {
                    self.arrived += batches.iter().map(|batch| batch.commits.len() as u64).sum::<u64>();
                }
                self.feed(at, input);
            }
            let ticks = (0..self.replicas.len()).filter(|at| (self.now_ms + *at as u64 * 7).is_multiple_of(TICK_MS));
            ticks.collect::<Vec<_>>().into_iter().for_each(|at| self.feed(at, Input::Tick));
        }
    }

    fn feed(&mut self, at: usize, input: Input) {
        let now = Time { wall_ms: WALL_MS + self.now_ms, mono_ms: self.now_ms };
        for output in self.replicas[at].handle(input, now) {
            match output {
                Output::Persist { token, .. } | Output::Checkpoint { token, .. } => {
                    // In order: what is stored later is never reported sooner.
                    self.queue.entry(self.now_ms + DISK_MS).or_default().push((at, Input::Persisted { token }));
                }
                Output::Send { to, message } => self.send(at, to, message),
                Output::Committed { result, .. } => assert!(result.is_ok(), "{result:?}"),
                Output::Event(event) => panic!("member {at}: {event:?}"),
                Output::Rebirth { .. } | Output::Watching { .. } | Output::Changed { .. } => {}
            }
        }
    }

    fn send(&mut self, from: usize, to: NodeId, message: Message) {
        let what = match &message {
            Message::Commits { hops, batches, .. } => {
                let is_own = batches.iter().all(|batch| batch.stream.replica.node == node(from));
                self.relayed += u64::from(hops.is_some() && !is_own);
                if hops.is_some() { "pushes along the tree" } else { "other commits" }
            }
            Message::Digest { .. } => "digests",
            Message::Vector { .. } => "vectors",
            Message::Announce(_) => "announcements",
            Message::Graft(_) => "grafts",
            Message::Prune => "prunes",
            Message::Link(_) => "links",
            Message::Recall { .. } | Message::Recalled { .. } => "recalls",
            Message::Forgotten | Message::StateRequest { .. } | Message::StatePage { .. } => "repairs",
            Message::Heads { .. } | Message::Witness { .. } | Message::Proof(_) => "evidence",
        };
        *self.sent.entry(what).or_default() += 1;
        self.bytes += message.encode().len() as u64;
        if !self.rng.chance(self.loss_permille) {
            let at_ms = self.now_ms + self.rng.between(DELAY_MS.0, DELAY_MS.1);
            let input = Input::Receive { from: node(from), message };
            self.queue.entry(at_ms).or_default().push((index(to), input));
        }
    }

    /// How many members miss something.
    pub(crate) fn behind(&self) -> usize {
        self.replicas.iter().filter(|replica| replica.seen().commits() < self.made).count()
    }

    pub(crate) fn is_converged(&self) -> bool {
        self.behind() == 0 && self.replicas.iter().all(|replica| replica.root() == self.replicas[0].root())
    }

    /// Copies of a commit that a member received, on average.
    pub(crate) fn copies(&self) -> f64 {
        let applied: u64 = self.replicas.iter().map(|replica| replica.counters().commits_remote).sum();
        self.arrived as f64 / applied as f64
    }

    /// How many messages of a kind were sent.
    pub(crate) fn count(&self, what: &str) -> u64 {
        self.sent.get(what).copied().unwrap_or(0)
    }

    #[expect(clippy::print_stdout, reason = "the figures are for whoever reads the run")]
    pub(crate) fn report(&self, what: &str, settled_ms: u64) {
        let each = |number: u64| number as f64 / self.replicas.len() as f64 / (self.now_ms as f64 / 1_000.0);
        let sent: Vec<_> = self.sent.iter().map(|(kind, count)| format!("{kind} {:.2}", each(*count))).collect();
        println!(
            "{what}: {} commits, copies {:.3}, all have all {settled_ms} ms after the last; per member and second: {:.0} bytes, {}",
            self.made,
            self.copies(),
            each(self.bytes),
            sent.join(", ")
        );
    }
}
