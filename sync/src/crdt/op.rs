//! Operations: what a commit does to one object, after its writer has turned intent into totals and observed dots.
//!
//! A commit holds at most one operation per key, and an operation at most one assignment per member: the writer folds.
//! Everything a peer sends is checked by [`Op::validate`] before it is applied; after that, applying cannot fail.

use serde::{Deserialize, Serialize};

use crate::hlc::Hlc;
use crate::id::Dot;
use crate::key::Kind;
use crate::limits::{COUNTER_TOTAL_MAX, DOTS_PER_ASSIGN_MAX, FIELD_BYTES_MAX, MEMBERS_PER_OP_MAX, SEQ_MAX};
use crate::scalar::Scalar;

/// What a commit does to one object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    /// The writer's new total in a G-counter.
    #[serde(rename = "g")]
    GCounter(u64),
    /// The writer's new totals of increments and decrements in a PN-counter.
    #[serde(rename = "p")]
    PnCounter(u64, u64),
    /// The writer's new totals in a counter of either type, which take over those of writers that have retired.
    #[serde(rename = "f")]
    Fold {
        /// All that was added, by the writer and by those it takes over.
        #[serde(rename = "u")]
        up: u64,
        /// All that was taken; nothing in a G-counter.
        #[serde(rename = "d")]
        down: u64,
        /// Whose totals these include, each with the last of its commits that they do.
        #[serde(rename = "x")]
        from: Vec<Dot>,
    },
    /// Members added to a G-set.
    #[serde(rename = "s")]
    GSet(Vec<Scalar>),
    /// Members of an OR-set that were added or removed.
    #[serde(rename = "o")]
    OrSet(Vec<Assign<Scalar, ()>>),
    /// Fields of an LWW-map that were put or removed.
    #[serde(rename = "m")]
    LwwMap(Vec<Assign<String, Scalar>>),
}

/// A member put or removed, and the dots of other writers that this supersedes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound(serialize = "K: Serialize, V: Serialize", deserialize = "K: Deserialize<'de>, V: Deserialize<'de>"))]
pub struct Assign<K, V> {
    /// The member of a set, or the field of a map.
    #[serde(rename = "k")]
    pub member: K,
    /// What was put; `None` removes.
    #[serde(rename = "v", default = "Option::default", skip_serializing_if = "Option::is_none", with = "presence")]
    pub value: Option<V>,
    /// Live dots of other writers that the writer had observed.
    #[serde(rename = "o", default = "Vec::new", skip_serializing_if = "Vec::is_empty")]
    pub over: Vec<Dot>,
}

/// Why an operation of a peer is not acceptable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpError {
    /// It belongs to another type than the key's.
    #[error("an operation of another type than its key")]
    WrongKind,
    /// A counter's total is beyond what a replica may reach.
    #[error("a counter total beyond {COUNTER_TOTAL_MAX}")]
    Total,
    /// Too many members, or too many dots for one member.
    #[error("too many members or dots in one operation")]
    TooMany,
    /// A value or a field's name is too large or empty.
    #[error("a value or a field's name of forbidden size")]
    Size,
    /// It supersedes a commit of its own writer that is not older than itself.
    #[error("an operation that observes its own future")]
    Future,
    /// It takes over totals of its own writer, or up to a commit that cannot be.
    #[error("a fold of its own writer or of a commit out of range")]
    Fold,
}

impl Op {
    /// Whether the operation is one of objects of this type.
    #[must_use]
    pub const fn fits(&self, kind: Kind) -> bool {
        match self {
            Self::GCounter(_) => matches!(kind, Kind::GCounter),
            Self::PnCounter(..) => matches!(kind, Kind::PnCounter),
            Self::Fold { .. } => matches!(kind, Kind::GCounter | Kind::PnCounter),
            Self::GSet(_) => matches!(kind, Kind::GSet),
            Self::OrSet(_) => matches!(kind, Kind::OrSet),
            Self::LwwMap(_) => matches!(kind, Kind::LwwMap),
        }
    }

    /// Checks everything that applying relies on. `dot` names the commit that holds the operation.
    ///
    /// # Errors
    /// The first bound that does not hold.
    pub fn validate(&self, kind: Kind, dot: &Dot) -> Result<(), OpError> {
        if !self.fits(kind) {
            return Err(OpError::WrongKind);
        }
        match self {
            Self::GCounter(total) => check(*total <= COUNTER_TOTAL_MAX, OpError::Total),
            Self::PnCounter(up, down) => check((*up).max(*down) <= COUNTER_TOTAL_MAX, OpError::Total),
            Self::Fold { up, down, from } => {
                let down_max = if kind == Kind::GCounter { 0 } else { COUNTER_TOTAL_MAX };
                check(*up <= COUNTER_TOTAL_MAX && *down <= down_max, OpError::Total)?;
                check(from.len() <= DOTS_PER_ASSIGN_MAX, OpError::TooMany)?;
                let other = |folded: &Dot| folded.replica != dot.replica && (1..=SEQ_MAX).contains(&folded.seq);
                check(from.iter().all(other), OpError::Fold)
            }
            Self::GSet(members) => {
                check(members.len() <= MEMBERS_PER_OP_MAX, OpError::TooMany)?;
                check(members.iter().all(Scalar::fits), OpError::Size)
            }
            Self::OrSet(assigns) => {
                check_assigns(assigns, dot)?;
                check(assigns.iter().all(|assign| assign.member.fits()), OpError::Size)
            }
            Self::LwwMap(assigns) => {
                check_assigns(assigns, dot)?;
                let field = |name: &str| (1..=FIELD_BYTES_MAX).contains(&name.len());
                let fits = |value: &Option<Scalar>| value.as_ref().is_none_or(Scalar::fits);
                check(assigns.iter().all(|assign| field(&assign.member) && fits(&assign.value)), OpError::Size)
            }
        }
    }
}

fn check(holds: bool, otherwise: OpError) -> Result<(), OpError> {
    if holds { Ok(()) } else { Err(otherwise) }
}

fn check_assigns<K, V>(assigns: &[Assign<K, V>], dot: &Dot) -> Result<(), OpError> {
    check(assigns.len() <= MEMBERS_PER_OP_MAX, OpError::TooMany)?;
    check(assigns.iter().all(|assign| assign.over.len() <= DOTS_PER_ASSIGN_MAX), OpError::TooMany)?;
    let past = |over: &Dot| over.seq > 0 && (over.replica != dot.replica || over.seq < dot.seq);
    check(assigns.iter().all(|assign| assign.over.iter().all(past)), OpError::Future)
}

/// A value written by a put, with the stamp that decides between concurrent puts.
pub type Stamped = (Hlc, Scalar);

/// `Some(())` must not look like `None` on the wire, as it would to a format that writes both as null.
mod presence {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<V: Serialize, S: Serializer>(value: &Option<V>, serializer: S) -> Result<S::Ok, S::Error> {
        value.as_slice().serialize(serializer)
    }

    pub(super) fn deserialize<'de, V: Deserialize<'de>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<V>, D::Error> {
        <[V; 1]>::deserialize(deserializer).map(|[value]| Some(value))
    }
}
