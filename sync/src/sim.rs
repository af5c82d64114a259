//! The simulator: many replicas in one process under virtual time, from one seed, with the invariants checked after every event.
//!
//! Owns a network, disks, clocks and clients that misbehave, and the reference that says what must come out. It contains no
//! rule of the engine. The invariant: the same seed and scenario give the same trace, event by event.

mod checks;
mod clients;
mod disk;
mod faults;
mod ledger;
mod net;
mod node;
mod report;
mod rng;
mod scenario;
mod workload;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

pub use report::{Coverage, Failure, Report};
pub use rng::Rng;
pub use scenario::Scenario;

use crate::causal::VersionVector;
use crate::change::Change;
use crate::commit::RequestId;
use crate::crdt::ContentHash;
use crate::id::{Incarnation, NodeId};
use crate::key::Key;
use crate::replica::{Event, Input, Message, Output};
use clients::Answered;
use disk::Write;
use ledger::Ledger;
use net::Net;
use node::Node;

/// Virtual time between two ticks of a replica, in milliseconds.
const TICK_MS: u64 = 50;
/// How long after the storm everything may take to converge, in milliseconds: clocks that ran ahead are waited for.
const CONVERGE_MS: u64 = 60_000;
/// How long the calm is watched after convergence, in milliseconds: longer than every period of the engine. A round of
/// anti-entropy comes on top, for what each has durable is known to all only after one.
const WATCH_MS: u64 = 7_000;
/// Lines of narration kept for a failure.
const NARRATION_LINES: usize = 2_000;

/// Something scheduled.
#[derive(Clone, Debug)]
enum Next {
    Tick { node: usize, life: u64 },
    Deliver { from: usize, to: usize, bytes: Vec<u8> },
    Written { node: usize, life: u64 },
    Client,
    Fault,
    Start { node: usize },
    Cut { from: usize, to: usize },
    Mend { from: usize, to: usize },
    StoreRecovers { node: usize, life: u64 },
    Skew { node: usize, skew_ms: i64 },
}

struct Sim<'a> {
    scenario: &'a Scenario,
    rng: Rng,
    now_ms: u64,
    scheduled: BTreeMap<(u64, u64), Next>,
    ticket: u64,
    nodes: Vec<Node>,
    net: Net,
    ledger: Ledger,
    /// The root of every vector that was ever exact anywhere.
    roots: BTreeMap<[u8; 16], ContentHash>,
    answered: Vec<Answered>,
    calm: bool,
    /// Set once all are equal: from then on only digests may be sent.
    quiet: bool,
    handled: u64,
    coverage: Coverage,
    trace: blake3::Hasher,
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
            trace: sim.trace.finalize().to_hex().to_string(),
            events: sim.handled,
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
        let nodes = (0..scenario.nodes).map(node).collect();
        Self {
            scenario,
            rng,
            now_ms: 0,
            scheduled: BTreeMap::new(),
            ticket: 0,
            nodes,
            net: Net::default(),
            ledger: Ledger::default(),
            roots: BTreeMap::new(),
            answered: Vec::new(),
            calm: false,
            quiet: false,
            handled: 0,
            coverage: Coverage::default(),
            trace: blake3::Hasher::new(),
            narration: VecDeque::new(),
        }
    }

    /// The storm, the calm, and the verdict: how long convergence took.
    fn run(&mut self) -> Result<u64, String> {
        let early = self.scenario.nodes - self.scenario.joiners;
        for node in 0..self.scenario.nodes {
            let at_ms = if node < early { 0 } else { self.rng.between(1, self.scenario.storm_ms) };
            self.schedule(at_ms, Next::Start { node });
        }
        self.schedule(1, Next::Client);
        if self.scenario.fault_ms > 0 {
            self.schedule(self.scenario.fault_ms, Next::Fault);
        }
        self.run_until(self.scenario.storm_ms)?;
        self.become_calm()?;
        let calm_ms = self.now_ms;
        while !self.is_converged() {
            if self.now_ms > calm_ms + CONVERGE_MS {
                return Err(format!("not converged {CONVERGE_MS} ms after the storm: {}", self.differences()));
            }
            self.run_until(self.now_ms + 100)?;
        }
        let converged_ms = self.now_ms - calm_ms;
        self.check_expected()?;
        // Stragglers of the storm are answered; only then does silence mean something.
        self.run_until((calm_ms + net::STRAGGLER_MS).max(self.now_ms) + WATCH_MS / 2)?;
        self.quiet = true;
        let round_ms = self.nodes.len() as u64 * crate::limits::ANTI_ENTROPY_MS;
        self.run_until(self.now_ms + WATCH_MS + round_ms)?;
        self.check_end()?;
        Ok(converged_ms)
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

    fn happen(&mut self, next: Next) -> Result<(), String> {
        match next {
            Next::Tick { node, life } if self.nodes[node].life == life => {
                self.schedule(TICK_MS, Next::Tick { node, life });
                self.feed(node, Input::Tick)
            }
            Next::Written { node, life } if self.nodes[node].life == life => self.written(node),
            Next::StoreRecovers { node, life } if self.nodes[node].life == life => self.store_recovers(node),
            Next::Tick { .. } | Next::Written { .. } | Next::StoreRecovers { .. } => Ok(()),
            Next::Deliver { from, to, bytes } => {
                let message = Message::decode(&bytes).map_err(|error| format!("what was sent is refused: {error}"))?;
                self.feed(to, Input::Receive { from: self.nodes[from].id, message })
            }
            Next::Client => {
                let in_ms = self.rng.between(1, 2 * self.scenario.client_ms);
                if !self.calm {
                    self.schedule(in_ms, Next::Client);
                }
                self.client()
            }
            Next::Fault => {
                let in_ms = self.rng.between(1, 2 * self.scenario.fault_ms);
                if self.calm {
                    return Ok(());
                }
                self.schedule(in_ms, Next::Fault);
                self.fault()
            }
            Next::Start { node } => self.start(node),
            Next::Cut { from, to } => self.cut(from, to),
            Next::Mend { from, to } => self.mend(from, to),
            Next::Skew { node, skew_ms } => {
                self.nodes[node].skew_ms = skew_ms;
                Ok(())
            }
        }
    }

    fn feed(&mut self, node: usize, input: Input) -> Result<(), String> {
        self.feed_commit(node, input, &[])
    }

    /// Gives a node an input and carries out what it answers.
    fn feed_commit(&mut self, index: usize, input: Input, changes: &[(Key, Change)]) -> Result<(), String> {
        let node = &mut self.nodes[index];
        let time = node.time(self.now_ms);
        let Some(replica) = &mut node.replica else { return Ok(()) };
        self.handled += 1;
        self.trace.update(&self.now_ms.to_le_bytes());
        self.trace.update(&[u8::try_from(index % 256).unwrap_or(0)]);
        if self.scenario.narrate && input != Input::Tick {
            if self.narration.len() == NARRATION_LINES {
                self.narration.pop_front();
            }
            self.narration.push_back(format!("{} node {index} <- {input:?}", self.now_ms));
        }
        let asked = match &input {
            Input::Commit { request, .. } => *request,
            _ => None,
        };
        let context = (!changes.is_empty() && replica.is_settled()).then(|| replica.seen().clone());
        for output in replica.handle(input, time) {
            self.carry_out(index, output, changes, context.as_ref(), asked)?;
        }
        self.check_after(index)
    }

    fn carry_out(
        &mut self,
        index: usize,
        output: Output,
        changes: &[(Key, Change)],
        context: Option<&VersionVector>,
        asked: Option<RequestId>,
    ) -> Result<(), String> {
        if self.scenario.narrate {
            self.narration.push_back(format!("{} node {index}      -> {output:?}", self.now_ms));
        }
        match output {
            Output::Persist { token, batch } => {
                let own =
                    self.nodes[index].replica.as_ref().is_some_and(|replica| replica.me() == batch.stream.replica);
                if own {
                    self.coverage.commits += 1;
                    self.ledger.note(&batch, changes.to_vec(), context.cloned())?;
                }
                self.write(index, Write::Append { token, batch });
                Ok(())
            }
            Output::Checkpoint { token, checkpoint } => {
                self.write(index, Write::Checkpoint { token, checkpoint });
                Ok(())
            }
            Output::Rebirth { incarnation, fresh } => {
                self.write(index, Write::Rebirth { incarnation, fresh });
                Ok(())
            }
            Output::Send { to, message } => self.send(index, to, &message),
            Output::Committed { result: Ok(committed), .. } => self.committed(index, committed, changes, asked),
            Output::Committed { result: Err(_), .. } => {
                self.coverage.refused += 1;
                Ok(())
            }
            Output::Event(event) => self.note_event(index, &event),
            Output::Watching { .. } | Output::Changed { .. } => unreachable!("nobody watches"),
        }
    }

    fn note_event(&mut self, index: usize, event: &Event) -> Result<(), String> {
        match event {
            Event::Rejected { .. } | Event::Diverged { .. } => Err(format!("node {index}: {event:?}")),
            Event::Amnesia { .. } if self.nodes[index].forgot.is_none() => Err(format!("node {index}: {event:?}")),
            Event::Amnesia { .. } => {
                self.coverage.rebirths += 1;
                Ok(())
            }
            Event::RepairDone { .. } => {
                self.coverage.repairs_done += 1;
                Ok(())
            }
            Event::Held { .. } | Event::RepairBegun { .. } => Ok(()),
        }
    }

    fn send(&mut self, from: usize, to: NodeId, message: &Message) -> Result<(), String> {
        self.check_sent(from, message)?;
        let Some(to) = self.nodes.iter().position(|node| node.id == to) else {
            return Err("sent to nobody".to_owned());
        };
        let bytes = message.encode();
        self.check_size(&bytes)?;
        self.trace.update(&bytes);
        self.coverage.messages += 1;
        self.coverage.pages += u64::from(matches!(message, Message::StatePage { .. }));
        for in_ms in self.net.fate(from, to, self.scenario, &mut self.rng) {
            self.schedule(in_ms, Next::Deliver { from, to, bytes: bytes.clone() });
        }
        Ok(())
    }

    fn write(&mut self, index: usize, write: Write) {
        if self.nodes[index].disk.push(write) {
            self.begin_writing(index);
        }
    }

    fn begin_writing(&mut self, node: usize) {
        let in_ms = self.rng.between(1, self.scenario.disk_ms);
        self.schedule(in_ms, Next::Written { node, life: self.nodes[node].life });
    }

    /// A group of writes is durable: reported one by one, or by the last of them.
    fn written(&mut self, index: usize) -> Result<(), String> {
        if self.nodes[index].disk.failing {
            return Ok(());
        }
        let done = self.nodes[index].disk.finish();
        if self.nodes[index].disk.start() {
            self.begin_writing(index);
        }
        self.note_durable(index, &done)?;
        let all = self.rng.chance(500);
        let mut last = None;
        for write in done {
            match write {
                Write::Append { token, .. } | Write::Checkpoint { token, .. } if all => {
                    self.feed(index, Input::Persisted { token })?;
                }
                Write::Append { token, .. } | Write::Checkpoint { token, .. } => last = Some(token),
                Write::Rebirth { incarnation, .. } => {
                    if let Some(token) = last.take() {
                        self.feed(index, Input::Persisted { token })?;
                    }
                    self.feed(index, Input::Reborn(incarnation))?;
                }
            }
        }
        if let Some(token) = last {
            self.feed(index, Input::Persisted { token })?;
        }
        let node = &mut self.nodes[index];
        if let Some(replica) = &node.replica {
            node.reported = replica.durable().clone();
        }
        Ok(())
    }

    /// Notes what has reached the disk of its writer.
    fn note_durable(&mut self, index: usize, done: &[Write]) -> Result<(), String> {
        for write in done {
            if let Write::Append { batch, .. } = write
                && batch.stream.replica.node == self.nodes[index].id
            {
                self.ledger.note_durable(batch)?;
            }
        }
        Ok(())
    }

    fn running(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|index| self.nodes[*index].replica.is_some()).collect()
    }

    fn members(&self) -> BTreeSet<NodeId> {
        self.nodes.iter().filter(|node| node.joined).map(|node| node.id).collect()
    }
}
