//! Many agents that place at once, simulated from one seed.
//!
//! Owns a model of hosts and of what their agents see of each other; every decision is made by the real [`plan`] and the real
//! [`crate::reconcile::Reconciler`]. `herd` asks how evenly agents place that look at the same old figures, `life` what happens
//! over time. The same seed gives the same run.

mod herd;
mod life;

use selvedge_sync::id::NodeId;

pub use self::herd::{Balance, Chooser, First, Herd, herd};
pub use self::life::{Fault, Life, Lived, Wrong, live};
use super::{NodeFacts, Resources, plan};
use crate::splitmix::SplitMix;

/// Memory of a simulated host, in bytes.
const MEMORY_BYTES: u64 = 32 << 30;

fn node(host: usize) -> NodeId {
    let mut id = [0; 32];
    id[..8].copy_from_slice(&(host as u64).to_be_bytes());
    // Spread over the space of ids, as keys are.
    id[8..16].copy_from_slice(&SplitMix::new(host as u64).draw().to_be_bytes());
    NodeId(id)
}

/// What a host with these figures says of itself.
fn facts(host: usize, cores: f64, load: f64, memory_used: u64) -> NodeFacts {
    let resources = Resources {
        cpu_total: cores,
        cpu_used_share: load,
        memory_total: MEMORY_BYTES,
        memory_free: MEMORY_BYTES.saturating_sub(memory_used),
        disk_free: None,
    };
    NodeFacts { load, age_ms: 1_000, ..NodeFacts::new(node(host), format!("n{host}"), resources) }
}

#[cfg(test)]
mod tests;
