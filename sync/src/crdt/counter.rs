//! Counters: per replica the greatest total it has announced; the value is their sum.
//!
//! An operation carries the writer's new total, not the step, so that seeing it twice, or after a repair that already held
//! it, changes nothing. Sums are taken in 128 bits and cannot overflow: each total is bounded where it enters.

use std::convert::Infallible;

use crdts::{CmRDT, CvRDT, Dot as Total, VClock};

use super::content::Content;
use crate::id::ReplicaId;

/// A counter that only grows: a vector clock of totals, as in the `crdts` crate, read without big integers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GCounter {
    totals: VClock<ReplicaId>,
}

/// A counter that goes both ways: one counter of increments and one of decrements.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PnCounter {
    /// What was added.
    pub up: GCounter,
    /// What was taken.
    pub down: GCounter,
}

impl GCounter {
    /// The sum over all replicas.
    #[must_use]
    pub fn value(&self) -> u128 {
        self.totals.dots.values().map(|total| u128::from(*total)).sum()
    }

    /// What `replica` alone has added.
    #[must_use]
    pub fn total(&self, replica: &ReplicaId) -> u64 {
        self.totals.get(replica)
    }

    /// Every replica with its total.
    pub fn totals(&self) -> impl Iterator<Item = (ReplicaId, u64)> + '_ {
        self.totals.dots.iter().map(|(replica, total)| (*replica, *total))
    }

    /// Raises the total of `replica` and keeps `content` in step; `side` tells increments from decrements.
    pub(super) fn raise(&mut self, replica: ReplicaId, total: u64, side: u8, content: &mut Content) {
        let before = self.totals.get(&replica);
        if total <= before {
            return;
        }
        let feed = |total: u64| {
            move |hasher: &mut blake3::Hasher| {
                hasher.update(&[side]);
                hasher.update(&replica.node.0);
                hasher.update(&replica.incarnation.0.to_le_bytes());
                hasher.update(&total.to_le_bytes());
            }
        };
        if before > 0 {
            content.remove(0, feed(before));
        }
        content.insert(0, feed(total));
        self.apply(Total::new(replica, total));
    }
}

impl PnCounter {
    /// What was added less what was taken.
    #[must_use]
    pub fn value(&self) -> i128 {
        let side = |counter: &GCounter| i128::try_from(counter.value()).unwrap_or(i128::MAX);
        side(&self.up) - side(&self.down)
    }
}

impl CmRDT for GCounter {
    type Op = Total<ReplicaId>;
    type Validation = Infallible;

    fn validate_op(&self, _: &Self::Op) -> Result<(), Infallible> {
        Ok(())
    }

    fn apply(&mut self, op: Self::Op) {
        self.totals.apply(op);
    }
}

impl CvRDT for GCounter {
    type Validation = Infallible;

    fn validate_merge(&self, _: &Self) -> Result<(), Infallible> {
        Ok(())
    }

    fn merge(&mut self, other: Self) {
        self.totals.merge(other.totals);
    }
}

impl CvRDT for PnCounter {
    type Validation = Infallible;

    fn validate_merge(&self, _: &Self) -> Result<(), Infallible> {
        Ok(())
    }

    fn merge(&mut self, other: Self) {
        self.up.merge(other.up);
        self.down.merge(other.down);
    }
}
