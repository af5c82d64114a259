//! The answer of placement, in full: what `explain` shows is what was decided, not a second computation.

use std::collections::BTreeSet;

use selvedge_sync::id::NodeId;
use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use super::{Phase, Reason, Terms, Weights};
use crate::spec::{Digest, Partition, WorkloadName};

/// Where one workload should run, and why there.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explanation {
    /// The workload.
    pub workload: WorkloadName,
    /// What should run.
    pub artifact: Digest,
    /// Instances that there should be; more than are chosen when too few hosts are admissible.
    pub wanted: usize,
    /// Whether that is one on each admissible host.
    pub everywhere: bool,
    /// What becomes of it on a host that is cut off.
    #[serde(serialize_with = "as_text")]
    pub partition: Partition,
    /// What the terms counted for.
    pub weights: Weights,
    /// Hosts that may run it, the best first.
    pub candidates: Vec<Candidate>,
    /// Hosts that may not, in the order of their ids.
    pub rejected: Vec<Rejected>,
    /// Chosen hosts that displace a running instance because they are better, not because one is missing.
    pub moves: Vec<Move>,
    /// The chosen among the candidates, for who asks often.
    #[serde(skip)]
    pub(super) chosen: BTreeSet<NodeId>,
}

impl Explanation {
    /// The chosen hosts.
    #[must_use]
    pub fn chosen(&self) -> BTreeSet<NodeId> {
        self.chosen.clone()
    }

    /// Whether `node` is chosen.
    #[must_use]
    pub fn chooses(&self, node: &NodeId) -> bool {
        self.chosen.contains(node)
    }

    /// Why `node` was rejected, if it was.
    #[must_use]
    pub fn rejection(&self, node: &NodeId) -> Option<&Reason> {
        self.rejected.iter().find(|rejected| rejected.node == *node).map(|rejected| &rejected.reason)
    }

    /// Whether `node` goes on with its instance although it was rejected, because too few others may run it.
    #[must_use]
    pub fn keeps(&self, node: &NodeId) -> bool {
        self.rejected.iter().any(|rejected| rejected.keeps && rejected.node == *node)
    }

    /// The hosts that are to run it: the chosen, and those that keep it.
    pub fn holders(&self) -> impl Iterator<Item = NodeId> {
        self.chosen
            .iter()
            .copied()
            .chain(self.rejected.iter().filter(|rejected| rejected.keeps).map(|rejected| rejected.node))
    }

    /// Instances that no admissible host is left for.
    #[must_use]
    pub fn missing(&self) -> usize {
        self.wanted.saturating_sub(self.chosen.len())
    }
}

fn as_text<S: Serializer>(partition: &Partition, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(partition)
}

/// A host that may run the workload.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Candidate {
    /// The host.
    pub node: NodeId,
    /// Its name.
    pub name: String,
    /// Its region, where it has one.
    pub region: Option<String>,
    /// The weighted sum of the terms, 0 to 1.
    pub score: f64,
    /// The score term by term.
    pub terms: Terms,
    /// The measured values that the terms were made from.
    pub inputs: Inputs,
    /// Whether it is to run the workload.
    pub chosen: bool,
}

impl Candidate {
    /// Whether the workload runs there already, or is starting.
    #[must_use]
    pub const fn runs(&self) -> bool {
        match self.inputs.phase {
            Some(Phase::Starting | Phase::Ready) => true,
            Some(Phase::Stopping | Phase::Failed { .. }) | None => false,
        }
    }

    /// Whether the workload has failed there and not been started since.
    #[must_use]
    pub const fn failed(&self) -> bool {
        matches!(self.inputs.phase, Some(Phase::Failed { .. }))
    }
}

/// The values behind a score.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Inputs {
    /// Share of the CPU in use, 0 to 1, with what the same plan is presumed to add.
    pub cpu_used_share: f64,
    /// Memory of the host in bytes.
    pub memory_total: u64,
    /// Free memory in bytes, less what the same plan promised to other workloads.
    pub memory_free: u64,
    /// Memory in bytes that placing here would still take: nothing where it already runs.
    pub memory_needed: u64,
    /// Share of the memory that is left after placing, 0 to 1.
    pub memory_left_share: f64,
    /// Load, 0 to 1, with what the same plan is presumed to add.
    pub load: f64,
    /// Workloads that the same plan has just given to the host.
    pub promised: usize,
    /// Whether the host claims to be idler than hosts are that run as much; the figures shown are those that count.
    pub doubted: bool,
    /// Round trip from the callers, weighted by their calls, in milliseconds.
    pub round_trip_ms: f64,
    /// The round trip at which the latency term is 0, in milliseconds.
    pub round_trip_limit_ms: f64,
    /// Hosts whose round trip counted.
    pub callers: usize,
    /// Those of them to which none has been measured; each counted with the limit.
    pub callers_unmeasured: usize,
    /// Affinity rules that hold here.
    pub rules_held: usize,
    /// Affinity rules in the spec.
    pub rules: usize,
    /// Age of the host's figures in milliseconds.
    pub age_ms: u64,
    /// Whether the host does not answer at present: what it said may not be so any more.
    pub suspected: bool,
    /// What they weigh for it: 1 as long as they are fresh, then less, 0 when they are stale.
    pub freshness: f64,
    /// How far the workload has got on this host, if it is there at all.
    #[serde(flatten)]
    pub phase: Option<Phase>,
}

/// A host that may not run the workload.
#[derive(Clone, Debug, PartialEq)]
pub struct Rejected {
    /// The host.
    pub node: NodeId,
    /// Its name.
    pub name: String,
    /// The first constraint that it violates.
    pub reason: Reason,
    /// How far the workload has got there all the same, if it is there at all.
    pub phase: Option<Phase>,
    /// Whether what is there stays until a candidate takes it over, since there are too few.
    pub keeps: bool,
}

/// `{node, name, reason: {code, …}, message, phase, keeps}`: the reason for scripts, the message for people. `phase` is a word, or
/// null where nothing of it is there; a failure is said beside it as `failure`.
impl Serialize for Rejected {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let failure = match &self.phase {
            Some(Phase::Failed { reason }) => Some(reason),
            Some(Phase::Starting | Phase::Ready | Phase::Stopping) | None => None,
        };
        let mut map = serializer.serialize_struct("Rejected", 7)?;
        map.serialize_field("node", &self.node)?;
        map.serialize_field("name", &self.name)?;
        map.serialize_field("reason", &self.reason)?;
        map.serialize_field("message", &self.reason.to_string())?;
        map.serialize_field("phase", &self.phase.as_ref().map(Phase::as_str))?;
        map.serialize_field("failure", &failure)?;
        map.serialize_field("keeps", &self.keeps)?;
        map.end()
    }
}

/// A running instance that should make way for a better host.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Move {
    /// The host that runs it.
    pub from: NodeId,
    /// The host that should.
    pub to: NodeId,
    /// By how much its score is better.
    pub gain: f64,
}
