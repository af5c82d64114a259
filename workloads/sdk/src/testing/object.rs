//! The values of the state: counters, sets and maps as one host sees them.
//!
//! Owns the objects and their order; checks nothing. What makes a CRDT of each lies in the agent: to one call they are plain
//! values. The invariant: members and fields are in the order in which an agent gives them.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use super::limits::ITEM_OVERHEAD_BYTES;
use crate::state::Scalar;

/// The type of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Gcounter,
    Pncounter,
    Gset,
    Orset,
    Lwwmap,
}

impl Kind {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Gcounter => "gcounter",
            Self::Pncounter => "pncounter",
            Self::Gset => "gset",
            Self::Orset => "orset",
            Self::Lwwmap => "lwwmap",
        }
    }
}

/// An object.
#[derive(Clone, Debug)]
pub(crate) enum Object {
    /// What was added and what was taken.
    Counter { up: u64, down: u64 },
    /// Members.
    Set(BTreeSet<Member>),
    /// Fields.
    Map(BTreeMap<String, Scalar>),
}

impl Object {
    pub(super) const fn empty(kind: Kind) -> Self {
        match kind {
            Kind::Gcounter | Kind::Pncounter => Self::Counter { up: 0, down: 0 },
            Kind::Gset | Kind::Orset => Self::Set(BTreeSet::new()),
            Kind::Lwwmap => Self::Map(BTreeMap::new()),
        }
    }

    /// A counter's value.
    fn total(&self) -> i128 {
        match self {
            Self::Counter { up, down } => i128::from(*up) - i128::from(*down),
            Self::Set(_) | Self::Map(_) => 0,
        }
    }

    /// A G-counter's value.
    pub(crate) fn grown(&self) -> u64 {
        u64::try_from(self.total()).unwrap_or(u64::MAX)
    }

    /// A PN-counter's value, as far as it can be said.
    pub(crate) fn saturated(&self) -> i64 {
        let total = self.total();
        i64::try_from(total).unwrap_or(if total < 0 { i64::MIN } else { i64::MAX })
    }

    pub(crate) fn contains(&self, member: &Scalar) -> bool {
        match self {
            Self::Set(members) => members.contains(&Member(member.clone())),
            Self::Counter { .. } | Self::Map(_) => false,
        }
    }

    pub(crate) fn members(&self) -> Vec<Scalar> {
        match self {
            Self::Set(members) => members.iter().map(|member| member.0.clone()).collect(),
            Self::Counter { .. } | Self::Map(_) => Vec::new(),
        }
    }

    pub(crate) fn field(&self, field: &str) -> Option<Scalar> {
        match self {
            Self::Map(fields) => fields.get(field).cloned(),
            Self::Counter { .. } | Self::Set(_) => None,
        }
    }

    pub(crate) fn entries(&self) -> Vec<(String, Scalar)> {
        match self {
            Self::Map(fields) => fields.iter().map(|(field, value)| (field.clone(), value.clone())).collect(),
            Self::Counter { .. } | Self::Set(_) => Vec::new(),
        }
    }

    /// About how many bytes its items occupy in an agent.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Counter { .. } => ITEM_OVERHEAD_BYTES,
            Self::Set(members) => members.iter().map(|member| weight(&member.0) + ITEM_OVERHEAD_BYTES).sum(),
            Self::Map(fields) => {
                fields.iter().map(|(field, value)| field.len() + weight(value) + ITEM_OVERHEAD_BYTES).sum()
            }
        }
    }
}

/// Bytes of a value beyond a machine word or two.
pub(super) fn weight(scalar: &Scalar) -> usize {
    match scalar {
        Scalar::Null | Scalar::Boolean(_) | Scalar::Integer(_) | Scalar::Number(_) => 0,
        Scalar::Text(text) => text.len(),
        Scalar::Bytes(bytes) => bytes.len(),
    }
}

/// A value in the order of the state: by type, then by value, floats by IEEE total order.
#[derive(Clone, Debug)]
pub(crate) struct Member(pub(super) Scalar);

impl PartialEq for Member {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Member {}

impl PartialOrd for Member {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Member {
    fn cmp(&self, other: &Self) -> Ordering {
        let rank = |scalar: &Scalar| match scalar {
            Scalar::Null => 0,
            Scalar::Boolean(_) => 1,
            Scalar::Integer(_) => 2,
            Scalar::Number(_) => 3,
            Scalar::Text(_) => 4,
            Scalar::Bytes(_) => 5,
        };
        match (&self.0, &other.0) {
            (Scalar::Boolean(a), Scalar::Boolean(b)) => a.cmp(b),
            (Scalar::Integer(a), Scalar::Integer(b)) => a.cmp(b),
            (Scalar::Number(a), Scalar::Number(b)) => a.total_cmp(b),
            (Scalar::Text(a), Scalar::Text(b)) => a.cmp(b),
            (Scalar::Bytes(a), Scalar::Bytes(b)) => a.cmp(b),
            (a, b) => rank(a).cmp(&rank(b)),
        }
    }
}
