//! How a run ended, and what it went through.

use std::collections::BTreeMap;
use std::fmt;

use super::{CrashPoint, Shape};
use crate::replica::Counters;

/// What every long campaign has to have gone through, beside all crash points and all shapes of partition.
const EXPECTED: [&str; 43] = [
    "commits",
    "bursts",
    "repeated requests",
    "requests repeated elsewhere",
    "refused commits",
    "crashes",
    "power cuts of all",
    "commits lost in crashes",
    "store failures",
    "slow disks",
    "restored backups",
    "wiped disks",
    "copied data directories",
    "new lives after amnesia",
    "members that left",
    "members dropped",
    "members that came back",
    "snapshots that write",
    "staged snapshots",
    "commits of snapshots",
    "commits made again",
    "retirements noticed",
    "replicas begun anew",
    "streams closed",
    "clock jumps of hours",
    "commits held for hours",
    "streams that wait alone",
    "lies told",
    "lies held back",
    "long idle spells",
    "gaps",
    "held commits",
    "deferred commits",
    "repairs",
    "completed repairs",
    "pages with objects",
    "states compared",
    "runs with a tree",
    "pushes along the tree",
    "relays",
    "announcements",
    "grafts",
    "prunes",
];

/// What a run went through: a suite that never saw a repair has not tested repair.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    counts: BTreeMap<&'static str, u64>,
    crashed_at: BTreeMap<CrashPoint, u64>,
    divided: BTreeMap<Shape, u64>,
    bytes: u64,
}

impl Coverage {
    /// How often something happened.
    #[must_use]
    pub fn of(&self, what: &str) -> u64 {
        self.counts.get(what).copied().unwrap_or(0)
    }

    /// Bytes of all messages sent.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What should have happened somewhere, and never did.
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        let kinds = EXPECTED.iter().filter(|what| self.of(what) == 0).map(|what| (*what).to_owned());
        let points = CrashPoint::ALL.iter().filter(|point| !self.crashed_at.contains_key(point));
        let shapes = Shape::ALL.iter().filter(|shape| !self.divided.contains_key(shape));
        let points = points.map(|point| format!("a crash at {point:?}"));
        kinds.chain(points).chain(shapes.map(|shape| format!("a partition {shape:?}"))).collect()
    }

    pub(super) fn count(&mut self, what: &'static str) {
        self.add_to(what, 1);
    }

    pub(super) fn add_to(&mut self, what: &'static str, count: u64) {
        *self.counts.entry(what).or_default() += count;
    }

    pub(super) fn crashed_at(&mut self, point: CrashPoint) {
        *self.crashed_at.entry(point).or_default() += 1;
    }

    pub(super) fn divided(&mut self, shape: Shape) {
        *self.divided.entry(shape).or_default() += 1;
    }

    pub(super) const fn sent_bytes(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    /// Adds what a replica counted in one life.
    pub(super) fn add(&mut self, counters: &Counters) {
        self.add_to("gaps", counters.gaps);
        self.add_to("held commits", counters.held);
        self.add_to("deferred commits", counters.deferred);
        self.add_to("repairs", counters.repairs);
    }

    /// The sum with another run's.
    #[must_use]
    pub fn plus(mut self, other: &Self) -> Self {
        other.counts.iter().for_each(|(what, count)| self.add_to(what, *count));
        other.crashed_at.iter().for_each(|(point, count)| *self.crashed_at.entry(*point).or_default() += count);
        other.divided.iter().for_each(|(shape, count)| *self.divided.entry(*shape).or_default() += count);
        self.bytes += other.bytes;
        self
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = self.counts.iter().map(|(what, count)| format!("{what} {count}")).collect::<Vec<_>>();
        let points = self.crashed_at.iter().map(|(point, count)| format!("{point:?} {count}")).collect::<Vec<_>>();
        let shapes = self.divided.iter().map(|(shape, count)| format!("{shape:?} {count}")).collect::<Vec<_>>();
        writeln!(f, "{}", counts.join(", "))?;
        writeln!(f, "crashes at: {}", points.join(", "))?;
        write!(f, "partitions: {}", shapes.join(", "))
    }
}

/// A hash over every event and every message, fed in large pieces because small ones cost more than they weigh.
#[derive(Default)]
pub(super) struct Trace {
    hasher: blake3::Hasher,
    waiting: Vec<u8>,
}

/// The size of a piece, in bytes.
const PIECE_BYTES: usize = 64 * 1024;

impl Trace {
    pub(super) fn note(&mut self, bytes: &[u8]) {
        self.waiting.extend_from_slice(bytes);
        if self.waiting.len() >= PIECE_BYTES {
            self.hasher.update(&self.waiting);
            self.waiting.clear();
        }
    }

    pub(super) fn finish(&mut self) -> String {
        self.hasher.update(&self.waiting);
        self.waiting.clear();
        self.hasher.finalize().to_hex().to_string()
    }
}

/// How a run that broke nothing ended.
#[derive(Clone, Debug)]
pub struct Report {
    /// A hash over every event and every message: equal for equal seeds.
    pub trace: String,
    /// Inputs that replicas handled.
    pub events: u64,
    /// Virtual milliseconds that the run covered.
    pub virtual_ms: u64,
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
        write!(f, "replay: cargo run --release -p selvedge-sync --example campaign -- --seed {} --narrate", self.seed)
    }
}

impl std::error::Error for Failure {}
