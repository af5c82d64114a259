//! How a run ended, and what it went through.

use std::fmt;

use crate::replica::Counters;

/// What a run went through: a suite that never saw a repair has not tested repair.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "each is a plain count of what its name says")]
pub struct Coverage {
    pub commits: u64,
    pub repeated: u64,
    pub refused: u64,
    pub messages: u64,
    pub crashes: u64,
    pub commits_lost: u64,
    pub store_failures: u64,
    pub restores: u64,
    pub rebirths: u64,
    pub wipes: u64,
    pub gaps: u64,
    pub held: u64,
    pub deferred: u64,
    pub repairs: u64,
    pub repairs_done: u64,
    pub pages: u64,
    pub exact_states: u64,
}

impl Coverage {
    /// Adds what a replica counted in one life.
    pub(super) fn add(&mut self, counters: &Counters) {
        self.gaps += counters.gaps;
        self.held += counters.held;
        self.deferred += counters.deferred;
        self.repairs += counters.repairs;
    }

    /// The sum with another run's.
    #[must_use]
    pub fn plus(mut self, other: &Self) -> Self {
        let pairs = [
            (&mut self.commits, other.commits),
            (&mut self.repeated, other.repeated),
            (&mut self.refused, other.refused),
            (&mut self.messages, other.messages),
            (&mut self.crashes, other.crashes),
            (&mut self.commits_lost, other.commits_lost),
            (&mut self.store_failures, other.store_failures),
            (&mut self.restores, other.restores),
            (&mut self.rebirths, other.rebirths),
            (&mut self.wipes, other.wipes),
            (&mut self.gaps, other.gaps),
            (&mut self.held, other.held),
            (&mut self.deferred, other.deferred),
            (&mut self.repairs, other.repairs),
            (&mut self.repairs_done, other.repairs_done),
            (&mut self.pages, other.pages),
            (&mut self.exact_states, other.exact_states),
        ];
        pairs.into_iter().for_each(|(sum, count)| *sum += count);
        self
    }
}

/// How a run that broke nothing ended.
#[derive(Clone, Debug)]
pub struct Report {
    /// A hash over every event and every message: equal for equal seeds.
    pub trace: String,
    /// Inputs that replicas handled.
    pub events: u64,
    /// Virtual milliseconds from the end of the storm until all were equal.
    pub converged_ms: u64,
    /// What happened.
    pub coverage: Coverage,
}

/// An invariant that did not hold.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The seed of the run.
    pub seed: u64,
    /// When, in virtual milliseconds.
    pub at_ms: u64,
    /// Which, and how.
    pub what: String,
    /// The last lines of the trace, when the scenario asked for them.
    pub narration: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.narration.iter().try_for_each(|line| writeln!(f, "  {line}"))?;
        writeln!(f, "seed {} broke at {} ms: {}", self.seed, self.at_ms, self.what)?;
        write!(f, "replay: SELVEDGE_SIM_SEED={} cargo test -p selvedge-sync --release --test simulation", self.seed)
    }
}

impl std::error::Error for Failure {}
