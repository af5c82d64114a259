//! Consistent hashing with bounded loads (Mirrokni, Thorup and Zadimoghaddam 2016).
//!
//! Owns the ring. A key goes to the first instance behind it on the ring that has room; an instance has room while its calls under
//! way are no more than [`LOAD_FACTOR`] times its part. So a key keeps its instance, one that is lost moves only its own keys, and a
//! popular key cannot drown anybody.

use selvedge_sync::id::NodeId;

use super::Target;

/// Points on the ring for each unit of weight: with this many, parts differ by some ten per cent.
pub(super) const VIRTUAL_NODES: u32 = 128;
/// How much more than its part an instance takes before its keys spill over.
pub(super) const LOAD_FACTOR: f64 = 1.25;
/// Most points on a ring. Beyond it weights are scaled down, so that a ring is some hundreds of KiB at the most.
const POINTS_MAX: u64 = 16_384;

/// Points of instances, in order of hash.
#[derive(Debug, Default)]
pub(super) struct Ring {
    made_for: Vec<(NodeId, u32)>,
    points: Vec<(u64, u16)>,
}

impl Ring {
    /// Rebuilds the ring if the instances or their weights have changed. `targets` are in the order of their ids.
    pub(super) fn renew(&mut self, targets: &[Target]) {
        let same = self.made_for.len() == targets.len()
            && self
                .made_for
                .iter()
                .zip(targets)
                .all(|((node, weight), target)| (*node, *weight) == (target.node, target.weight));
        if same {
            return;
        }
        self.made_for = targets.iter().map(|target| (target.node, target.weight)).collect();
        // The least weight is one unit: it always has its hundred points.
        let least = targets.iter().map(|target| target.weight.max(1)).min().unwrap_or(1);
        let points = |target: &Target| u64::from(target.weight.max(1)) * u64::from(VIRTUAL_NODES) / u64::from(least);
        let total: u64 = targets.iter().map(points).sum();
        self.points.clear();
        for (index, target) in (0..).zip(targets) {
            let fair = points(target) * POINTS_MAX.min(total) / total.max(1);
            for point in 0..fair.max(u64::from(VIRTUAL_NODES)) {
                self.points.push((hash(&[&target.node.0, &point.to_le_bytes()]), index));
            }
        }
        self.points.sort_unstable();
    }

    /// The index of the instance for `key`, given how many calls are under way at each, and which take no more.
    pub(super) fn pick(&self, key: &str, outstanding: &[u32], full: &[bool]) -> Option<usize> {
        let weight = |index: usize| f64::from(self.made_for[index].1.max(1));
        let weights: f64 = (0..self.made_for.len()).map(weight).sum();
        let calls: u32 = outstanding.iter().sum();
        let room = |index: usize| (LOAD_FACTOR * f64::from(calls + 1) * weight(index) / weights).ceil();
        let at = self.points.partition_point(|(point, _)| *point < hash(&[key.as_bytes()]));
        let (before, after) = self.points.split_at(at);
        let mut owners = after.iter().chain(before).map(|(_, index)| usize::from(*index));
        let takes = |index: &usize| !full[*index];
        let has_room = |index: &usize| takes(index) && f64::from(outstanding[*index]) + 1.0 <= room(*index);
        owners.clone().find(has_room).or_else(|| owners.clone().find(takes)).or_else(|| owners.next())
    }
}

/// A hash that is the same on every host.
pub(super) fn hash(parts: &[&[u8]]) -> u64 {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    let [a, b, c, d, e, f, g, h, ..] = *hasher.finalize().as_bytes();
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}
