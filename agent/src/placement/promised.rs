//! What one plan has given to hosts that do not show it yet.
//!
//! Figures are as old as the last word of their host, and a plan that forgot what it has just placed would place everything on
//! whoever looked idle a second ago. So would several agents that each place something of their own at the same time. The
//! invariant: a host is taken for as busy as it will be if everybody who sees the same figures places as this plan has.

use std::collections::{BTreeMap, BTreeSet};

use selvedge_sync::id::NodeId;

use crate::spec::WorkloadName;

/// Cores that an instance is presumed to keep busy until its host has measured it: a small workload under load.
pub(super) const PRESUMED_CORES: f64 = 0.1;
/// Most agents that are taken to place something at the same time; more of them would make every host look full at once, and what
/// is near the callers would no longer count.
const DECIDERS_MAX: usize = 16;

/// What was promised to whom.
#[derive(Debug, Default)]
pub(super) struct Promised {
    deciders: usize,
    hosts: BTreeMap<NodeId, Promise>,
}

/// What one host was promised.
#[derive(Clone, Debug, Default)]
pub(super) struct Promise {
    /// Memory of what will run there, in bytes.
    pub(super) memory: u64,
    /// What will run there.
    pub(super) workloads: BTreeSet<WorkloadName>,
    /// Cores that are presumed to be kept busy, by this plan and by others that see the same.
    pub(super) cores: f64,
}

impl Promised {
    /// Nothing yet, in a mesh where so many agents may be placing at the same time.
    pub(super) fn among(agents: usize) -> Self {
        Self { deciders: agents.clamp(1, DECIDERS_MAX), hosts: BTreeMap::new() }
    }

    /// Takes note of a placement.
    pub(super) fn promise(&mut self, node: NodeId, workload: &WorkloadName, memory: u64) {
        let promise = self.hosts.entry(node).or_default();
        promise.memory = promise.memory.saturating_add(memory);
        promise.workloads.insert(workload.clone());
        promise.cores += PRESUMED_CORES * self.deciders as f64;
    }

    /// What `node` was promised.
    pub(super) fn to(&self, node: &NodeId) -> Option<&Promise> {
        self.hosts.get(node)
    }
}
