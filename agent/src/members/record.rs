//! What a member says of itself.

use std::collections::{BTreeMap, BTreeSet};

use selvedge_sync::id::{Incarnation, NodeId};
use serde::{Deserialize, Serialize};

use crate::placement::{Instance, NodeFacts, Origins, Resources};
use crate::rollout::Told;
use crate::spec::WorkloadName;

/// Most addresses, capabilities or workloads in a record.
pub(super) const ENTRIES_MAX: usize = 1_024;

/// A place on Earth, in degrees.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Location {
    /// Latitude, -90 to 90.
    pub lat: f64,
    /// Longitude, -180 to 180.
    pub lon: f64,
}

/// A member's description of itself. The newest by [`NodeRecord::version`] counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeRecord {
    /// Who.
    #[serde(rename = "n")]
    pub node: NodeId,
    /// Which life of its agent this is: greater than all before, whatever its clock says.
    #[serde(rename = "l")]
    pub life: u64,
    /// Counts up with every record of this life.
    #[serde(rename = "b")]
    pub beat: u64,
    /// Which round of this life: it counts up whenever others have taken it for lost.
    #[serde(rename = "r")]
    pub round: u32,
    /// The incarnation that its commits carry.
    #[serde(rename = "i")]
    pub incarnation: Incarnation,
    /// Its name for people.
    #[serde(rename = "a")]
    pub name: String,
    /// The region it is in.
    #[serde(rename = "g")]
    pub region: Option<String>,
    /// Where it stands.
    #[serde(rename = "o")]
    pub location: Option<Location>,
    /// What it can do beyond the ordinary.
    #[serde(rename = "c")]
    pub capabilities: BTreeSet<String>,
    /// What its operator says about it, by key.
    #[serde(rename = "k", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The release that it runs.
    #[serde(rename = "v")]
    pub release: String,
    /// Multiaddresses at which it can be reached.
    #[serde(rename = "m")]
    pub addresses: Vec<String>,
    /// CPU, memory and disk as measured.
    #[serde(rename = "s")]
    pub resources: Resources,
    /// Load as measured, 0 to 1.
    #[serde(rename = "w")]
    pub load: f64,
    /// Whether it calls itself healthy.
    #[serde(rename = "h")]
    pub healthy: bool,
    /// What keeps it from being so, in a sentence of at most [`NodeRecord::TEXT_BYTES_MAX`].
    #[serde(rename = "hw", default, skip_serializing_if = "Option::is_none")]
    pub ailment: Option<String>,
    /// Whether it is being emptied.
    #[serde(rename = "d")]
    pub draining: bool,
    /// Since when, in milliseconds since the Unix epoch by its own clock.
    #[serde(rename = "e", default, skip_serializing_if = "Option::is_none")]
    pub draining_since_ms: Option<u64>,
    /// Whether it has left for good, or until it is started again: its last record says so.
    #[serde(rename = "x")]
    pub left: bool,
    /// Members whose key it has heard two hosts use.
    #[serde(rename = "t")]
    pub twins: BTreeSet<NodeId>,
    /// Round trips that it measured, in milliseconds.
    #[serde(rename = "p")]
    pub rtt_ms: BTreeMap<NodeId, f64>,
    /// Calls per second that enter the mesh there, by workload.
    #[serde(rename = "q")]
    pub calls_per_s: BTreeMap<WorkloadName, f64>,
    /// What it runs.
    #[serde(rename = "u")]
    pub instances: BTreeMap<WorkloadName, Instance>,
    /// Whether its agent is about to stop. It may be back in a moment, so nothing moves for that; but whoever can calls others.
    #[serde(rename = "j", default, skip_serializing_if = "std::ops::Not::not")]
    pub parting: bool,
    /// Workloads of which it is asked for more calls than it can make: whoever can goes elsewhere.
    #[serde(rename = "z", default, skip_serializing_if = "BTreeSet::is_empty")]
    pub overloaded: BTreeSet<WorkloadName>,
    /// Where callers whose calls enter there say that they are, by workload.
    #[serde(rename = "y", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub origins: BTreeMap<WorkloadName, Origins>,
    /// What it has seen of versions that are being rolled out.
    #[serde(rename = "f", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rollouts: BTreeMap<WorkloadName, Told>,
    /// Whether it tells of rollouts at all; a release before them does not, and runs what its spec says at once.
    #[serde(rename = "tr", default, skip_serializing_if = "std::ops::Not::not")]
    pub tells_rollouts: bool,
}

impl NodeRecord {
    /// Longest text in a record, in bytes: a DNS name.
    pub const TEXT_BYTES_MAX: usize = 255;

    /// What decides which of two records is newer: the life, then the beat.
    #[must_use]
    pub const fn version(&self) -> (u64, u64) {
        (self.life, self.beat)
    }

    /// Whether the record keeps the bounds of its texts and lists. Its numbers are cleaned where they are used.
    #[must_use]
    pub fn is_sane(&self) -> bool {
        let texts =
            [&self.name, &self.release].into_iter().chain(&self.region).chain(&self.ailment).chain(&self.capabilities);
        let texts = texts.chain(self.labels.keys()).chain(self.labels.values());
        let texts = texts.chain(self.origins.values().flat_map(|origins| origins.regions.keys()));
        let lists = [
            self.addresses.len(),
            self.capabilities.len(),
            self.labels.len(),
            self.rtt_ms.len(),
            self.calls_per_s.len(),
            self.instances.len(),
            self.twins.len(),
            self.overloaded.len(),
            self.origins.len(),
            self.origins.values().map(|origins| origins.regions.len()).max().unwrap_or_default(),
            self.rollouts.len(),
        ];
        texts.chain(&self.addresses).all(|text| text.len() <= Self::TEXT_BYTES_MAX)
            && lists.iter().all(|len| *len <= ENTRIES_MAX)
            && self.rollouts.values().all(Told::is_sane)
    }

    /// The same with figures as exact as anybody needs them, which take less room: within a hundredth.
    #[must_use]
    pub fn coarse(mut self) -> Self {
        let figures = [&mut self.load, &mut self.resources.cpu_used_share];
        figures.into_iter().chain(self.rtt_ms.values_mut()).chain(self.calls_per_s.values_mut()).for_each(coarsen);
        let origins = self.origins.values_mut();
        origins.flat_map(|origins| origins.regions.values_mut().chain([&mut origins.rtt_ms])).for_each(coarsen);
        self
    }

    /// The part of it that placement looks at; its age is for the caller to fill in.
    #[must_use]
    pub fn facts(self) -> NodeFacts {
        NodeFacts {
            region: self.region,
            capabilities: self.capabilities,
            labels: self.labels,
            load: self.load,
            healthy: self.healthy,
            draining: self.draining,
            left: self.left,
            rtt_ms: self.rtt_ms,
            calls_per_s: self.calls_per_s,
            origins: self.origins,
            instances: self.instances,
            ..NodeFacts::new(self.node, self.name, self.resources)
        }
    }
}

/// Keeps six bits behind the leading one, so that CBOR writes two bytes instead of eight.
fn coarsen(figure: &mut f64) {
    const DROPPED_BITS: u32 = 46;
    *figure = f64::from_bits(figure.to_bits() >> DROPPED_BITS << DROPPED_BITS);
}
