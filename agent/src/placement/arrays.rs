//! The hosts that one workload may run on, as arrays: all that a decision reads, and in the order in which it reads it.
//!
//! Owns scores and the search for the best. Terms lie apart from each other, so that scoring thousands of hosts is a few passes over
//! plain numbers. Measured scores are never quite equal: hosts within two hundredths of the best count as equal to it, and the one with the
//! greatest rendezvous hash is taken (Thaler and Ravishankar 1998). So workloads spread over equal hosts instead of herding onto the
//! one that is a little better, and every agent picks the same one.

use selvedge_sync::id::NodeId;

use super::{Terms, Weights};
use crate::splitmix::mix;

/// Scores that are no worse than the best by more than this count as equal to it. Loads that differ by two per cent do so.
pub(super) const TIE: f64 = 0.02;

/// Hosts that are looked at together in the search for those that equal the best.
const RUN: usize = 64;

/// What a host has of the workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Slot {
    /// Nothing, and it could run it.
    Free,
    /// An instance that runs, or is about to.
    Running,
    /// One that did not start: the last resort.
    Failed,
    /// It may not run it.
    Unfit,
}

/// Hosts as arrays. A host is known by the order in which it was pushed.
#[derive(Clone, Debug, Default)]
pub struct Arrays {
    resource: Vec<f64>,
    latency: Vec<f64>,
    load: Vec<f64>,
    affinity: Vec<f64>,
    /// What makes a host that is not free worse than any: 0 or minus infinity.
    taken: Vec<f64>,
    slots: Vec<Slot>,
    hashes: Vec<u64>,
    regions: Vec<u16>,
}

impl Arrays {
    /// Adds a host. `hash` is its own of [`hash`]; `region` is any number that hosts of one region have in common.
    pub fn push(&mut self, terms: &Terms, slot: Slot, hash: u64, region: u16) {
        self.resource.push(terms.resource);
        self.latency.push(terms.latency);
        self.load.push(terms.load);
        self.affinity.push(terms.affinity);
        self.taken.push(if slot == Slot::Free { 0.0 } else { f64::NEG_INFINITY });
        self.slots.push(slot);
        self.hashes.push(hash);
        self.regions.push(region);
    }

    /// How many hosts there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// What a host has of the workload.
    #[must_use]
    pub fn slot(&self, host: usize) -> Slot {
        self.slots[host]
    }

    pub(super) fn region(&self, host: usize) -> u16 {
        self.regions[host]
    }

    /// The score of every host, in the order of the hosts.
    #[must_use]
    pub fn scores(&self, weights: &Weights) -> Vec<f64> {
        self.scored(weights).collect()
    }

    fn scored(&self, weights: &Weights) -> impl Iterator<Item = f64> {
        let Terms { resource, latency, load, affinity } = *weights.terms();
        let terms = self.resource.iter().zip(&self.latency).zip(self.load.iter().zip(&self.affinity));
        terms.map(move |((a, b), (c, d))| resource * a + latency * b + load * c + affinity * d)
    }

    /// The best host with `slot` in a region that is `open`; among equals, those within `tie` of the best, by the hash of `workload`.
    pub(super) fn best(
        &self,
        scores: &[f64],
        (slot, tie): (Slot, f64),
        workload: u64,
        open: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let hosts =
            || scores.iter().zip(&self.slots).enumerate().filter(|(host, (_, has))| **has == slot && open(*host));
        let greatest = hosts().map(|(_, (score, _))| *score).fold(f64::NEG_INFINITY, f64::max);
        let equal = hosts().filter(|(_, (score, _))| **score >= greatest - tie);
        equal.map(|(host, _)| host).max_by_key(|host| (self.rendezvous(workload, *host), self.hashes[*host]))
    }

    /// The one host for a workload that runs nowhere: what a decision is at its plainest, and the same as a choice of one.
    /// `workload` is its [`hash`]; `scores` is room that the caller keeps from one decision to the next.
    pub fn decide(&self, weights: &Weights, workload: u64, scores: &mut Vec<f64>) -> Option<usize> {
        scores.clear();
        scores.extend(self.scored(weights).zip(&self.taken).map(|(score, taken)| score + taken));
        let greatest = greatest(scores);
        if greatest == f64::NEG_INFINITY {
            return None;
        }
        let least = greatest - TIE;
        // Few hosts are as good as the best: most runs of hosts are passed over at a glance.
        let near = scores.chunks(RUN).enumerate().filter(|(_, run)| self::greatest(run) >= least);
        let equal = near.flat_map(|(at, run)| {
            let equal = run.iter().enumerate().filter(|(_, score)| **score >= least);
            equal.map(move |(host, _)| at * RUN + host)
        });
        equal.max_by_key(|host| (self.rendezvous(workload, *host), self.hashes[*host]))
    }

    /// What ranks hosts of equal score for a workload.
    pub(super) fn rendezvous(&self, workload: u64, host: usize) -> u64 {
        mixed(workload, self.hashes[host])
    }
}

/// The greatest of the scores; minus infinity if there is none. In eight lanes, which a processor compares side by side.
fn greatest(scores: &[f64]) -> f64 {
    let greater = |a: f64, b: f64| if b > a { b } else { a };
    let (chunks, rest) = scores.as_chunks::<8>();
    let mut lanes = [f64::NEG_INFINITY; 8];
    for chunk in chunks {
        lanes.iter_mut().zip(chunk).for_each(|(lane, score)| *lane = greater(*lane, *score));
    }
    lanes.iter().chain(rest).fold(f64::NEG_INFINITY, |a, b| greater(a, *b))
}

/// A host's hash, or a workload's by the bytes of its name.
#[must_use]
pub fn hash(bytes: &[u8]) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *blake3::hash(bytes).as_bytes();
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

/// A node's [`hash`].
#[must_use]
pub fn node_hash(node: &NodeId) -> u64 {
    hash(&node.0)
}

/// Mixes two hashes into one.
const fn mixed(a: u64, b: u64) -> u64 {
    mix(a ^ b.rotate_left(32))
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::super::choose::{Quota, choose};
    use super::*;

    proptest! {
        #[test]
        fn a_decision_is_a_choice_of_one(
            hosts in vec((0.0..1.0, 0.0..1.0, 0.9..1.0, 0..4_u8), 0..200),
            workload in any::<u64>(),
        ) {
            let (mut arrays, weights) = (Arrays::default(), Weights::default());
            for (number, (resource, latency, load, slot)) in (0_u64..).zip(hosts) {
                // What runs or has failed is another tier; here hosts are free or not.
                let slot = if slot == 0 { Slot::Unfit } else { Slot::Free };
                arrays.push(&Terms { resource, latency, load, affinity: 1.0 }, slot, mix(number), 0);
            }
            let choice = choose(&arrays, &arrays.scores(&weights), workload, &Quota::Any(1), 0.1);
            let chosen = if arrays.len() > 1 { choice.chosen.iter().position(|chosen| *chosen) } else { arrays.decide(&weights, workload, &mut Vec::new()) };
            prop_assert_eq!(arrays.decide(&weights, workload, &mut Vec::new()), chosen);
        }
    }
}
