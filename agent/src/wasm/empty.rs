//! A state in which there is nothing.

use std::collections::BTreeMap;

use selvedge_sync::draft::ReadState;
use selvedge_sync::key::Key;
use selvedge_sync::scalar::Scalar;

/// A state in which nobody has written anything, for hosts that run guests apart from any agent.
#[derive(Clone, Copy, Debug, Default)]
pub struct EmptyState;

impl ReadState for EmptyState {
    fn counter(&self, _: &Key) -> Option<i128> {
        None
    }

    fn own_totals(&self, _: &Key) -> (u64, u64) {
        (0, 0)
    }

    fn contains(&self, _: &Key, _: &Scalar) -> bool {
        false
    }

    fn members(&self, _: &Key) -> Option<Vec<Scalar>> {
        None
    }

    fn field(&self, _: &Key, _: &str) -> Option<Scalar> {
        None
    }

    fn fields(&self, _: &Key) -> Option<BTreeMap<String, Scalar>> {
        None
    }
}
