//! The simulator: many replicas in one process under virtual time, from one seed, with the invariants checked after every event.
//!
//! Owns a network, disks, clocks and clients that misbehave, and the reference that says what must come out. It contains no
//! rule of the engine. The invariant: the same seed and scenario give the same trace, event by event.

mod again;
mod amnesia;
mod checks;
mod clients;
mod clocks;
mod crash;
mod disk;
mod elements;
mod equivocator;
mod faults;
mod forks;
mod idle;
mod ledger;
mod minimise;
mod net;
mod node;
mod partition;
mod reference;
mod report;
mod retire;
mod rng;
mod scenario;
mod steps;
mod storing;
mod watch;
mod workload;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

pub use crash::CrashPoint;
pub use idle::{IdleCost, idle_cost};
pub use minimise::minimise;
pub use partition::Shape;
pub use report::{Coverage, Failure, Report};
pub use rng::Rng;
pub use scenario::Scenario;

use crate::crdt::ContentHash;
use crate::id::{Incarnation, NodeId, ReplicaId};
use clients::Answered;
use forks::Staged;
use ledger::Ledger;
use net::Net;
use node::Node;
use report::Trace;

/// Virtual time between two ticks of a replica, in milliseconds.
const TICK_MS: u64 = 50;
/// The same while nothing happens for hours: any pace of ticks must do, and hours then cost next to nothing.
const IDLE_TICK_MS: u64 = 20_000;
/// How long after the storm everything may take to converge, in milliseconds, once every clock has passed the latest stamp.
const CONVERGE_MS: u64 = 60_000;
/// How long the calm is watched after convergence, in milliseconds: longer than every period of the engine. A round of
/// anti-entropy comes on top, for what each has durable is known to all only after one.
const WATCH_MS: u64 = 7_000;

/// Something scheduled.
#[derive(Clone, Debug)]
enum Next {
    Tick {
        node: usize,
        life: u64,
    },
    Deliver {
        from: usize,
        to: usize,
        bytes: Vec<u8>,
    },
    Written {
        node: usize,
        life: u64,
    },
    Client,
    Fault,
    /// The next act of a fork that is staged.
    Stage,
    /// A member tells its stream in two versions.
    Equivocate,
    Start {
        node: usize,
    },
    /// The network is cut along these directed pairs.
    Cut {
        pairs: Vec<(usize, usize)>,
    },
    Mend {
        pairs: Vec<(usize, usize)>,
    },
    StoreRecovers {
        node: usize,
        life: u64,
    },
    Skew {
        node: usize,
        skew_ms: i64,
    },
    /// The others stop waiting for a member that is away.
    Dropped {
        node: usize,
    },
}

struct Sim<'a> {
    scenario: &'a Scenario,
    rng: Rng,
    now_ms: u64,
    scheduled: BTreeMap<(u64, u64), Next>,
    ticket: u64,
    nodes: Vec<Node>,
    /// Which nodes bear an id: more than one, when a data directory was copied.
    bearers: BTreeMap<NodeId, Vec<usize>>,
    /// At whom of several bearers a node's connection to their id ends, and until when.
    found: BTreeMap<(usize, NodeId), (u64, usize)>,
    net: Net,
    ledger: Ledger,
    /// The ends of closed streams, as far as anybody knows.
    ends: BTreeMap<ReplicaId, u64>,
    /// The root of every vector that was ever exact anywhere.
    roots: BTreeMap<[u8; 16], ContentHash>,
    answered: Vec<Answered>,
    /// Where the next crash waits, and how often that point is to be passed before.
    trap: Option<(CrashPoint, u64)>,
    /// The fork that is being prepared.
    staged: Option<Staged>,
    storm_end_ms: u64,
    /// Until when nobody writes and ticks are few.
    idle_until_ms: u64,
    calm: bool,
    /// Set once all are equal: from then on only digests may be sent.
    quiet: bool,
    handled: u64,
    next_sample: u64,
    coverage: Coverage,
    trace: Trace,
    narration: VecDeque<String>,
}

/// Runs one scenario from one seed.
///
/// # Errors
/// An invariant did not hold.
pub fn run(seed: u64, scenario: &Scenario) -> Result<Report, Box<Failure>> {
    let mut sim = Sim::new(seed, scenario);
    match sim.run() {
        Ok(converged_ms) => Ok(Report {
            trace: sim.trace.finish(),
            events: sim.handled,
            virtual_ms: sim.now_ms,
            converged_ms,
            coverage: sim.coverage,
        }),
        Err(what) => Err(Box::new(Failure { seed, at_ms: sim.now_ms, what, narration: sim.narration.into() })),
    }
}

impl<'a> Sim<'a> {
    fn new(seed: u64, scenario: &'a Scenario) -> Self {
        let mut rng = Rng::new(seed);
        let node = |index: usize| {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&(index as u64 + 1).to_be_bytes());
            let skew_ms = rng.between(0, 2 * scenario.skew_ms).cast_signed() - scenario.skew_ms.cast_signed();
            Node::new(NodeId(id), Incarnation(1), skew_ms)
        };
        let nodes: Vec<Node> = (0..scenario.nodes).map(node).collect();
        Self {
            scenario,
            now_ms: 0,
            scheduled: BTreeMap::new(),
            ticket: 0,
            bearers: nodes.iter().enumerate().map(|(index, node)| (node.id, vec![index])).collect(),
            found: BTreeMap::new(),
            net: Net::of(nodes.len(), scenario, &mut rng),
            nodes,
            ledger: Ledger::default(),
            ends: BTreeMap::new(),
            roots: BTreeMap::new(),
            answered: Vec::new(),
            trap: None,
            staged: None,
            storm_end_ms: scenario.storm_ms,
            idle_until_ms: 0,
            calm: false,
            quiet: false,
            handled: 0,
            next_sample: 0,
            coverage: Coverage::default(),
            trace: Trace::default(),
            narration: VecDeque::new(),
            rng,
        }
    }

    /// The storm, the calm, and the verdict: how long convergence took.
    fn run(&mut self) -> Result<u64, String> {
        self.begin()?;
        if self.scenario.nodes > self.scenario.config.straight_members_max {
            self.coverage.count("runs with a tree");
        }
        while self.now_ms < self.storm_end_ms {
            self.run_until(self.storm_end_ms)?;
        }
        self.become_calm()?;
        self.await_latest_stamp()?;
        let calm_ms = self.now_ms;
        if !self.await_convergence(calm_ms)? {
            return Ok(self.now_ms - calm_ms);
        }
        let converged_ms = self.now_ms - calm_ms;
        self.await_retirement()?;
        self.check_expected()?;
        // Stragglers of the storm are answered; only then does silence mean something.
        self.run_until((calm_ms + net::STRAGGLER_MS).max(self.now_ms) + WATCH_MS / 2)?;
        self.quiet = true;
        let round_ms = self.nodes.len() as u64 * crate::limits::ANTI_ENTROPY_MS;
        self.run_until(self.now_ms + WATCH_MS + round_ms)?;
        self.check_end()?;
        Ok(converged_ms)
    }

    /// Lets all become equal; false when a known limit is in the way.
    fn await_convergence(&mut self, since_ms: u64) -> Result<bool, String> {
        // Which of two hosts with one key answers is left to chance, and a repair takes several answers of the same.
        let patience_ms = if self.bearers.values().any(|of| of.len() > 1) { 10 * CONVERGE_MS } else { CONVERGE_MS };
        while !self.is_converged() {
            if self.now_ms > since_ms + patience_ms {
                if self.shows_beyond_ends() {
                    self.coverage.count("states beyond the end of a stream");
                    return Ok(false);
                }
                return Err(format!("not converged {patience_ms} ms after the storm: {}", self.differences()));
            }
            self.run_until(self.now_ms + 100)?;
        }
        Ok(true)
    }

    /// Starts whoever is there from the beginning, and schedules the rest.
    fn begin(&mut self) -> Result<(), String> {
        let early = self.scenario.nodes - self.scenario.joiners;
        self.start_together(early)?;
        for node in early..self.scenario.nodes {
            let at_ms = self.rng.between(1, self.scenario.storm_ms);
            self.schedule(at_ms, Next::Start { node });
        }
        self.schedule(1, Next::Client);
        if self.scenario.fault_ms > 0 {
            self.schedule(self.scenario.fault_ms, Next::Fault);
        }
        if self.scenario.stages_forks {
            self.schedule(1, Next::Stage);
        }
        if self.scenario.equivocates {
            self.schedule(1, Next::Equivocate);
        }
        Ok(())
    }

    fn schedule(&mut self, in_ms: u64, next: Next) {
        self.ticket += 1;
        self.scheduled.insert((self.now_ms + in_ms, self.ticket), next);
    }

    fn run_until(&mut self, until_ms: u64) -> Result<(), String> {
        while let Some(entry) = self.scheduled.first_entry().filter(|entry| entry.key().0 <= until_ms) {
            let ((at_ms, _), next) = entry.remove_entry();
            self.now_ms = at_ms;
            self.happen(next)?;
        }
        self.now_ms = until_ms;
        Ok(())
    }

    fn tick_ms(&self) -> u64 {
        self.idle_until_ms.saturating_sub(self.now_ms).clamp(TICK_MS, IDLE_TICK_MS)
    }

    fn running(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|index| self.nodes[*index].replica.is_some()).collect()
    }

    /// Everybody whose having seen a commit is awaited.
    fn members(&self) -> BTreeSet<NodeId> {
        self.nodes.iter().filter(|node| node.joined && !node.dropped).map(|node| node.id).collect()
    }
}
