//! The grow-only set. Ours rather than the `crdts` crate's because that one cannot be read without copying it.

use std::collections::BTreeSet;
use std::convert::Infallible;

use crdts::{CmRDT, CvRDT};

use super::content::Content;
use crate::scalar::Scalar;

/// A set that only grows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GrowSet {
    members: BTreeSet<Scalar>,
}

impl GrowSet {
    /// The members, in order.
    #[must_use]
    pub const fn members(&self) -> &BTreeSet<Scalar> {
        &self.members
    }

    pub(super) fn add(&mut self, member: Scalar, content: &mut Content) {
        if !self.members.contains(&member) {
            content.insert(member.weight(), |item| member.feed(|bytes| item.update(bytes)));
            self.apply(member);
        }
    }
}

impl CmRDT for GrowSet {
    type Op = Scalar;
    type Validation = Infallible;

    fn validate_op(&self, _: &Scalar) -> Result<(), Infallible> {
        Ok(())
    }

    fn apply(&mut self, member: Scalar) {
        self.members.insert(member);
    }
}

impl CvRDT for GrowSet {
    type Validation = Infallible;

    fn validate_merge(&self, _: &Self) -> Result<(), Infallible> {
        Ok(())
    }

    fn merge(&mut self, other: Self) {
        self.members.extend(other.members);
    }
}
