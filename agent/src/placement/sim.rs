//! Many agents that place at once, simulated from one seed.
//!
//! Owns a model of hosts and of what their agents see of each other; every decision is made by the real [`plan`] and the real
//! [`crate::reconcile::Reconciler`]. `herd` asks how evenly agents place that look at the same old figures, `life` what happens
//! over time. The same seed gives the same run.

mod herd;
mod life;

use selvedge_sync::id::NodeId;

pub use self::herd::{Balance, Chooser, First, Herd, herd};
pub use self::life::{Life, Lived, live};
use super::{NodeFacts, Resources, plan};

/// Memory of a simulated host, in bytes.
const MEMORY_BYTES: u64 = 32 << 30;

/// A small generator of numbers that look random: SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ (x >> 31)
    }

    /// Evenly from 0 to below 1.
    fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Evenly from 0 to below `end`.
    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % (end.max(1) as u64)).expect("below a usize")
    }
}

fn node(host: usize) -> NodeId {
    let mut id = [0; 32];
    id[..8].copy_from_slice(&(host as u64).to_be_bytes());
    // Spread over the space of ids, as keys are.
    id[8..16].copy_from_slice(&Random(host as u64).next().to_be_bytes());
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
