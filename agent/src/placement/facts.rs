//! What placement knows about each host.
//!
//! Owns the facts and their cleaning: they were measured by other members, so no number in them is trusted. The
//! invariant of a [`Mesh`]: every number is finite and within its range, every collection is bounded, and hosts come in
//! the order of their ids.

use std::collections::{BTreeMap, BTreeSet};

use selvedge_sync::id::NodeId;
use serde::{Deserialize, Serialize};

use super::Stage;
use crate::spec::{Digest, Revision, Spec, WorkloadName};

/// Most cores that a host is believed to have; the largest machines sold have a quarter of that.
const CPU_TOTAL_MAX: f64 = 4_096.0;
/// Most memory or disk that a host is believed to have, in bytes: 1 PiB, so that sums cannot overflow.
const BYTES_MAX: u64 = 1 << 50;
/// Longest round trip that is believed, in milliseconds: above a minute a host counts as unreachable.
const RTT_MS_MAX: f64 = 60_000.0;
/// Most calls per second that are believed to enter at one host for one workload.
const CALLS_PER_S_MAX: f64 = 1e9;
/// Most entries in each map or set of one host's facts: as many members, or workloads, as one mesh is planned for.
const ENTRIES_MAX: usize = 1_024;
/// Longest reason for a failure that is kept, in bytes: two lines of a terminal. Reasons quote what workloads say, and travel in
/// their host's record, which others refuse when it is too long.
const REASON_BYTES_MAX: usize = 256;

/// CPU, memory and disk of a host.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Resources {
    /// Cores that the agent may use; a fraction where a control group limits it.
    pub cpu_total: f64,
    /// Share of them in use, 0 to 1.
    pub cpu_used_share: f64,
    /// Memory that the agent may use, in bytes.
    pub memory_total: u64,
    /// Memory that is still to be had, in bytes.
    pub memory_free: u64,
    /// Free space where the agent keeps its data, in bytes; `None` where it cannot be measured.
    pub disk_free: Option<u64>,
}

/// How far an instance has got.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case")]
pub enum Phase {
    /// Being fetched, compiled or warmed up.
    Starting,
    /// Answers calls.
    Ready,
    /// Finishes its calls and takes no new ones.
    Stopping,
    /// Did not start, or died; tried again after a back-off.
    Failed {
        /// What went wrong, for people.
        reason: String,
    },
}

/// One workload on one host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// What runs.
    pub digest: Digest,
    /// How far it has got.
    #[serde(flatten)]
    pub phase: Phase,
    /// Which revision of its workload runs; `None` where an older release says no more than the digest.
    #[serde(default, rename = "v", skip_serializing_if = "Option::is_none")]
    pub revision: Option<Revision>,
    /// What was to take its place and could not be started; what runs goes on meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Refused>,
    /// How far its start has got, while it is starting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<Stage>,
    /// Whether its failure lies in what is to run, so that trying it again on this host is no use.
    #[serde(default, skip_serializing_if = "is_false")]
    pub permanent: bool,
}

/// A version of a workload that could not be started beside the one that runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// What was to run.
    pub digest: Digest,
    /// Which revision of its workload that was; `None` where an older release says no more than the digest.
    #[serde(default, rename = "v", skip_serializing_if = "Option::is_none")]
    pub revision: Option<Revision>,
    /// What went wrong, for people.
    pub reason: String,
}

impl Refused {
    /// Whether this is what could not be started of `spec`.
    #[must_use]
    pub fn is_of(&self, spec: &Spec) -> bool {
        self.digest == spec.artifact && self.revision.is_none_or(|own| own == spec.revision())
    }
}

impl Phase {
    /// The phase in one word, as in JSON.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Stopping => "stopping",
            Self::Failed { .. } => "failed",
        }
    }

    /// It could not be started, for this reason, of which as much is kept as a host tells others.
    #[must_use]
    pub fn failed(mut reason: String) -> Self {
        shorten(&mut reason);
        Self::Failed { reason }
    }
}

impl Instance {
    /// An instance that nothing was to replace.
    #[must_use]
    pub const fn new(digest: Digest, phase: Phase) -> Self {
        Self { digest, phase, revision: None, refused: None, stage: None, permanent: false }
    }

    /// An instance made from `spec`.
    #[must_use]
    pub fn made_from(spec: &Spec, phase: Phase) -> Self {
        Self { revision: Some(spec.revision()), ..Self::new(spec.artifact, phase) }
    }

    /// Whether it was made from what `spec` says now. One that names no revision is judged by its artefact.
    #[must_use]
    pub fn is_of(&self, spec: &Spec) -> bool {
        self.digest == spec.artifact && self.revision.is_none_or(|own| own == spec.revision())
    }

    /// Whether it runs or is about to: such a host keeps its instance unless there is a reason to move.
    #[must_use]
    pub const fn runs(&self) -> bool {
        match self.phase {
            Phase::Starting | Phase::Ready => true,
            Phase::Stopping | Phase::Failed { .. } => false,
        }
    }
}

/// What one host says of itself, and how old that is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NodeFacts {
    /// The host.
    pub node: NodeId,
    /// Its name, for people and for `node=` rules.
    pub name: String,
    /// Its region, where it has one.
    pub region: Option<String>,
    /// What it can do beyond the ordinary.
    pub capabilities: BTreeSet<String>,
    /// What its operator says about it.
    pub labels: BTreeMap<String, String>,
    /// Its measured resources.
    pub resources: Resources,
    /// Its measured load, 0 (idle) to 1 (saturated).
    pub load: f64,
    /// Whether failure detection and its own checks call it healthy.
    pub healthy: bool,
    /// Whether it does not answer at present, and may yet say that it lives.
    pub suspected: bool,
    /// For how long it has been silent, in milliseconds, where failure detection has given it up.
    pub lost_ms: Option<u64>,
    /// Whether it is being emptied by its operator.
    pub draining: bool,
    /// Whether it has left for good, or until it is started again.
    pub left: bool,
    /// Round trips that it measured to other hosts, in milliseconds.
    pub rtt_ms: BTreeMap<NodeId, f64>,
    /// Calls that enter the mesh at this host, per second and workload.
    pub calls_per_s: BTreeMap<WorkloadName, f64>,
    /// Where the callers behind these say that they are, by workload.
    pub origins: BTreeMap<WorkloadName, Origins>,
    /// Age of all this, in milliseconds; 0 for the own host.
    pub age_ms: u64,
    /// What it runs.
    pub instances: BTreeMap<WorkloadName, Instance>,
    /// Workloads that it was chosen for and has not begun with, as this agent has seen.
    pub passed_over: BTreeSet<WorkloadName>,
    /// Workloads that ran here when this agent was stopped while it was being emptied. Only the own host's are known.
    pub resumes: BTreeSet<WorkloadName>,
}

/// Where the callers of one workload say that they are, of those whose calls enter at one host.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Origins {
    /// Calls per second from callers that say that they are in another region than the host, by region.
    #[serde(rename = "r", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub regions: BTreeMap<String, f64>,
    /// Mean round trip to the host of the others, in milliseconds, as measured by those who say so; 0 where nobody does.
    #[serde(rename = "m", default)]
    pub rtt_ms: f64,
}

impl Origins {
    fn clean(&mut self) {
        self.regions.retain(|_, calls| calls.is_finite() && *calls > 0.0);
        self.regions.values_mut().for_each(|calls| *calls = calls.min(CALLS_PER_S_MAX));
        truncate(&mut self.regions);
        self.rtt_ms = clamped(self.rtt_ms, RTT_MS_MAX, 0.0);
    }
}

impl NodeFacts {
    /// Facts of an idle, healthy host that runs nothing and knows nobody.
    #[must_use]
    pub fn new(node: NodeId, name: impl Into<String>, resources: Resources) -> Self {
        Self {
            node,
            name: name.into(),
            region: None,
            capabilities: BTreeSet::new(),
            labels: BTreeMap::new(),
            resources,
            load: 0.0,
            healthy: true,
            suspected: false,
            lost_ms: None,
            draining: false,
            left: false,
            rtt_ms: BTreeMap::new(),
            calls_per_s: BTreeMap::new(),
            origins: BTreeMap::new(),
            age_ms: 0,
            instances: BTreeMap::new(),
            passed_over: BTreeSet::new(),
            resumes: BTreeSet::new(),
        }
    }

    /// Clamps what is out of range and drops what is no number. An unknown share counts as all of it, an unknown round
    /// trip as not measured: a host gains nothing by sending nonsense.
    fn clean(mut self) -> Self {
        let resources = &mut self.resources;
        resources.cpu_total = clamped(resources.cpu_total, CPU_TOTAL_MAX, 0.0);
        resources.cpu_used_share = clamped(resources.cpu_used_share, 1.0, 1.0);
        resources.memory_total = resources.memory_total.min(BYTES_MAX);
        resources.memory_free = resources.memory_free.min(resources.memory_total);
        resources.disk_free = resources.disk_free.map(|bytes| bytes.min(BYTES_MAX));
        self.load = clamped(self.load, 1.0, 1.0);

        let node = self.node;
        self.rtt_ms.retain(|to, rtt_ms| *to != node && rtt_ms.is_finite() && *rtt_ms >= 0.0);
        self.rtt_ms.values_mut().for_each(|rtt_ms| *rtt_ms = rtt_ms.min(RTT_MS_MAX));
        self.calls_per_s.retain(|_, calls| calls.is_finite() && *calls > 0.0);
        self.calls_per_s.values_mut().for_each(|calls| *calls = calls.min(CALLS_PER_S_MAX));
        truncate(&mut self.rtt_ms);
        truncate(&mut self.calls_per_s);
        self.origins.values_mut().for_each(Origins::clean);
        truncate(&mut self.origins);
        truncate(&mut self.instances);
        truncate(&mut self.labels);
        while self.capabilities.len() > ENTRIES_MAX {
            self.capabilities.pop_last();
        }
        for instance in self.instances.values_mut() {
            if let Phase::Failed { reason } = &mut instance.phase {
                shorten(reason);
            }
            if let Some(Refused { reason, .. }) = &mut instance.refused {
                shorten(reason);
            }
        }
        self
    }
}

/// All hosts that are known, cleaned and in the order of their ids.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Mesh(BTreeMap<NodeId, NodeFacts>);

impl Mesh {
    /// One host's facts.
    #[must_use]
    pub fn node(&self, node: &NodeId) -> Option<&NodeFacts> {
        self.0.get(node)
    }

    /// All hosts, in the order of their ids.
    pub fn nodes(&self) -> impl Iterator<Item = &NodeFacts> {
        self.0.values()
    }

    /// Passes over hosts that were chosen and have not begun.
    pub fn pass_over<'a>(&mut self, pairs: impl IntoIterator<Item = &'a (WorkloadName, NodeId)>) {
        for (workload, node) in pairs {
            if let Some(facts) = self.0.get_mut(node) {
                facts.passed_over.insert(workload.clone());
            }
        }
    }

    /// Has `node` go on with what it ran before its agent was started again, where nobody else may.
    pub fn resume(&mut self, node: &NodeId, workloads: &BTreeSet<WorkloadName>) {
        if let Some(facts) = self.0.get_mut(node) {
            facts.resumes.clone_from(workloads);
        }
    }

    /// The round trip between two hosts in milliseconds, or `None` where neither has measured it. The figure of `from`
    /// counts first: a host that wants work cannot claim to be near its callers.
    #[must_use]
    pub fn rtt_ms(&self, from: &NodeId, to: &NodeId) -> Option<f64> {
        if from == to {
            return Some(0.0);
        }
        let measured_by = |one: &NodeId, other: &NodeId| self.0.get(one)?.rtt_ms.get(other).copied();
        measured_by(from, to).or_else(|| measured_by(to, from))
    }
}

/// Takes facts in any order. Each host is to come once; of two facts about one host the fresher one counts.
impl FromIterator<NodeFacts> for Mesh {
    fn from_iter<I: IntoIterator<Item = NodeFacts>>(facts: I) -> Self {
        let mut nodes: BTreeMap<NodeId, NodeFacts> = BTreeMap::new();
        for facts in facts {
            if nodes.get(&facts.node).is_none_or(|known| facts.age_ms < known.age_ms) {
                nodes.insert(facts.node, facts.clean());
            }
        }
        Self(nodes)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks in this way")]
const fn is_false(flag: &bool) -> bool {
    !*flag
}

/// Cuts a reason for a failure to what a host tells of it.
fn shorten(reason: &mut String) {
    reason.truncate(reason.floor_char_boundary(REASON_BYTES_MAX));
}

fn clamped(value: f64, max: f64, unknown: f64) -> f64 {
    if value.is_nan() { unknown } else { value.clamp(0.0, max) }
}

fn truncate<K: Ord, V>(map: &mut BTreeMap<K, V>) {
    while map.len() > ENTRIES_MAX {
        map.pop_last();
    }
}
