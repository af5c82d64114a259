//! What a member says of itself.

use std::collections::{BTreeMap, BTreeSet};

use selvedge_sync::id::{Incarnation, NodeId};
use serde::{Deserialize, Serialize};

use crate::placement::{Instance, NodeFacts, Resources};
use crate::spec::WorkloadName;

/// Longest text in a record, in bytes: a DNS name.
const TEXT_BYTES_MAX: usize = 255;

/// Most addresses, capabilities or workloads in a record.
const ENTRIES_MAX: usize = 1_024;

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
    pub node: NodeId,
    /// Which life of its agent this is: greater than all before, whatever its clock says.
    pub life: u64,
    /// Counts up with every record of this life.
    pub beat: u64,
    /// The incarnation that its commits carry.
    pub incarnation: Incarnation,
    /// Its name for people.
    pub name: String,
    /// The region it is in.
    pub region: Option<String>,
    /// Where it stands.
    pub location: Option<Location>,
    /// What it can do beyond the ordinary.
    pub capabilities: BTreeSet<String>,
    /// The release that it runs.
    pub release: String,
    /// Multiaddresses at which it can be reached.
    pub addresses: Vec<String>,
    /// CPU, memory and disk as measured.
    pub resources: Resources,
    /// Load as measured, 0 to 1.
    pub load: f64,
    /// Whether it calls itself healthy.
    pub healthy: bool,
    /// Whether it is being emptied.
    pub draining: bool,
    /// Round trips that it measured, in milliseconds.
    pub rtt_ms: BTreeMap<NodeId, f64>,
    /// Calls per second that enter the mesh there, by workload.
    pub calls_per_s: BTreeMap<WorkloadName, f64>,
    /// What it runs.
    pub instances: BTreeMap<WorkloadName, Instance>,
}

impl NodeRecord {
    /// What decides which of two records is newer: the life, then the beat.
    #[must_use]
    pub const fn version(&self) -> (u64, u64) {
        (self.life, self.beat)
    }

    /// Whether the record keeps the bounds of its texts and lists. Its numbers are cleaned where they are used.
    #[must_use]
    pub fn is_sane(&self) -> bool {
        let texts = [&self.name, &self.release].into_iter().chain(&self.region).chain(&self.capabilities);
        let lists = [
            self.addresses.len(),
            self.capabilities.len(),
            self.rtt_ms.len(),
            self.calls_per_s.len(),
            self.instances.len(),
        ];
        texts.chain(&self.addresses).all(|text| text.len() <= TEXT_BYTES_MAX)
            && lists.iter().all(|len| *len <= ENTRIES_MAX)
    }

    /// The part of it that placement looks at; its age is for the caller to fill in.
    #[must_use]
    pub fn facts(self) -> NodeFacts {
        NodeFacts {
            region: self.region,
            capabilities: self.capabilities,
            load: self.load,
            healthy: self.healthy,
            draining: self.draining,
            rtt_ms: self.rtt_ms,
            calls_per_s: self.calls_per_s,
            instances: self.instances,
            ..NodeFacts::new(self.node, self.name, self.resources)
        }
    }
}
