//! The choice among admissible hosts: sticky, and the same everywhere.
//!
//! Owns ranking and stickiness. Measured scores are never quite equal, so hosts are ranked by score in steps of
//! [`SCORE_STEP`], and within a step by rendezvous hash: many workloads spread over equal hosts instead of herding onto
//! the one that is a thousandth better, and every agent picks the same one.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use selvedge_sync::id::NodeId;

use super::{Candidate, Move};
use crate::spec::WorkloadName;

/// Scores that round to the same step rank as equal. A hundredth is below what measurements resolve.
const SCORE_STEP: f64 = 0.01;

/// Ranks `candidates`, the best first, marks the chosen ones, and returns the moves among them.
///
/// Hosts that run the workload come first, so that nothing moves without need. A free slot goes to the best host; one
/// where the workload has failed is taken only when no other is left. Then a challenger displaces the worst running
/// instance while it is better by more than `threshold`.
pub(super) fn choose(
    workload: &WorkloadName,
    candidates: &mut [Candidate],
    wanted: usize,
    threshold: f64,
) -> Vec<Move> {
    let hashes: BTreeMap<NodeId, [u8; 32]> =
        candidates.iter().map(|candidate| (candidate.node, rendezvous(workload, &candidate.node))).collect();
    candidates.sort_by(|a, b| rank(a, b).then_with(|| hashes.get(&b.node).cmp(&hashes.get(&a.node))));

    let mut slots = wanted;
    for incumbents in [true, false] {
        for candidate in candidates.iter_mut().filter(|candidate| candidate.runs() == incumbents).take(slots) {
            candidate.chosen = true;
            slots -= 1;
        }
    }
    displace(candidates, threshold)
}

/// The better one is `Less`, so that it sorts to the front.
fn rank(a: &Candidate, b: &Candidate) -> Ordering {
    let step = |candidate: &Candidate| (candidate.score / SCORE_STEP).round();
    a.failed().cmp(&b.failed()).then_with(|| step(b).total_cmp(&step(a)))
}

fn displace(candidates: &mut [Candidate], threshold: f64) -> Vec<Move> {
    let mut moves = Vec::new();
    loop {
        let worst = (0..candidates.len())
            .filter(|&index| candidates[index].chosen && candidates[index].runs())
            .min_by(|&a, &b| candidates[a].score.total_cmp(&candidates[b].score));
        let best = (0..candidates.len()).find(|&index| {
            let candidate = &candidates[index];
            !candidate.chosen && !candidate.runs() && !candidate.failed()
        });
        let (Some(worst), Some(best)) = (worst, best) else { return moves };
        let gain = candidates[best].score - candidates[worst].score;
        if gain <= threshold {
            return moves;
        }
        candidates[worst].chosen = false;
        candidates[best].chosen = true;
        moves.push(Move { from: candidates[worst].node, to: candidates[best].node, gain });
    }
}

/// Rendezvous (highest random weight) hashing, Thaler and Ravishankar 1998, with BLAKE3 as the hash.
fn rendezvous(workload: &WorkloadName, node: &NodeId) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(workload.as_str().as_bytes());
    // The node's key has a fixed length and comes last, so no two pairs hash the same bytes.
    hasher.update(&node.0);
    *hasher.finalize().as_bytes()
}
