//! Objects as they are stored and sent: plain data, checked before it is merged.
//!
//! Owns the shapes and their bounds. The first version of the format knew counters without the commits that raised them; those
//! are read too, and say 0 where the commit is unknown.

use serde::{Deserialize, Serialize};

use super::counter::{CounterState, Share};
use super::dot_map::{DotMapState, Entry};
use super::op::{OpError, Stamped};
use crate::id::{Dot, ReplicaId};
use crate::key::Kind;
use crate::limits::{COUNTER_TOTAL_MAX, FIELD_BYTES_MAX, SEQ_MAX};
use crate::scalar::Scalar;

/// An object as it is stored and sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "EveryVersion")]
pub enum ObjectState {
    /// Shares by replica, none of which takes anything.
    #[serde(rename = "c")]
    GCounter(CounterState),
    /// Shares by replica.
    #[serde(rename = "n")]
    PnCounter(CounterState),
    /// Members.
    #[serde(rename = "s")]
    GSet(Vec<Scalar>),
    /// Members with their dots.
    #[serde(rename = "o")]
    OrSet(DotMapState<Scalar, ()>),
    /// Fields with their dots, stamps and values.
    #[serde(rename = "m")]
    LwwMap(DotMapState<String, Stamped>),
}

/// All shapes that are read.
#[derive(Deserialize)]
#[serde(rename = "ObjectState")]
enum EveryVersion {
    #[serde(rename = "g")]
    GCounterTotals(Vec<(ReplicaId, u64)>),
    #[serde(rename = "p")]
    PnCounterTotals(Vec<(ReplicaId, u64)>, Vec<(ReplicaId, u64)>),
    #[serde(rename = "c")]
    GCounter(CounterState),
    #[serde(rename = "n")]
    PnCounter(CounterState),
    #[serde(rename = "s")]
    GSet(Vec<Scalar>),
    #[serde(rename = "o")]
    OrSet(DotMapState<Scalar, ()>),
    #[serde(rename = "m")]
    LwwMap(DotMapState<String, Stamped>),
}

impl From<EveryVersion> for ObjectState {
    fn from(state: EveryVersion) -> Self {
        match state {
            EveryVersion::GCounterTotals(up) => Self::GCounter(CounterState::of_totals(up, Vec::new())),
            EveryVersion::PnCounterTotals(up, down) => Self::PnCounter(CounterState::of_totals(up, down)),
            EveryVersion::GCounter(state) => Self::GCounter(state),
            EveryVersion::PnCounter(state) => Self::PnCounter(state),
            EveryVersion::GSet(members) => Self::GSet(members),
            EveryVersion::OrSet(state) => Self::OrSet(state),
            EveryVersion::LwwMap(state) => Self::LwwMap(state),
        }
    }
}

impl ObjectState {
    /// The type of the object.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::GCounter(_) => Kind::GCounter,
            Self::PnCounter(_) => Kind::PnCounter,
            Self::GSet(_) => Kind::GSet,
            Self::OrSet(_) => Kind::OrSet,
            Self::LwwMap(_) => Kind::LwwMap,
        }
    }

    /// Those whose entries a set or a map holds, as often as it does: whose names are worth sharing.
    pub(crate) fn replicas(&self) -> impl Iterator<Item = &ReplicaId> {
        let (set, map) = match self {
            Self::OrSet(state) => (state.members.as_slice(), &[][..]),
            Self::LwwMap(state) => (&[][..], state.members.as_slice()),
            Self::GCounter(_) | Self::PnCounter(_) | Self::GSet(_) => (&[][..], &[][..]),
        };
        let of_set = set.iter().flat_map(|(_, entries)| entries).map(|entry| &entry.dot.replica);
        of_set.chain(map.iter().flat_map(|(_, entries)| entries).map(|entry| &entry.dot.replica))
    }

    /// Checks everything that merging relies on.
    ///
    /// # Errors
    /// The first bound that does not hold.
    pub fn validate(&self, kind: Kind) -> Result<(), OpError> {
        if self.kind() != kind {
            return Err(OpError::WrongKind);
        }
        let holds = match self {
            Self::GCounter(state) => check_counter(state, 0),
            Self::PnCounter(state) => check_counter(state, COUNTER_TOTAL_MAX),
            Self::GSet(members) => members.iter().all(Scalar::fits),
            Self::OrSet(state) => {
                state
                    .members
                    .iter()
                    .all(|(member, entries)| member.fits() && entries.iter().all(|entry| entry.dot.seq > 0))
                    && state.deferred.iter().all(|(member, _)| member.fits())
            }
            Self::LwwMap(state) => {
                let field = |name: &str| (1..=FIELD_BYTES_MAX).contains(&name.len());
                let entry = |entry: &Entry<Stamped>| entry.dot.seq > 0 && entry.value.1.fits();
                state.members.iter().all(|(name, entries)| field(name) && entries.iter().all(entry))
                    && state.deferred.iter().all(|(name, _)| field(name))
            }
        };
        if holds { Ok(()) } else { Err(OpError::Size) }
    }

    /// Says of a counter's shares that the first version of the format wrote which commit raised them last: one that is no later
    /// than `seq` of their writer, which is right where nothing later has been seen.
    pub fn name_unknown(&mut self, seq: impl Fn(&ReplicaId) -> u64) {
        match self {
            Self::GCounter(state) | Self::PnCounter(state) => {
                state
                    .shares
                    .iter_mut()
                    .filter(|share| share.seq == 0)
                    .for_each(|share| share.seq = seq(&share.replica));
            }
            Self::GSet(_) | Self::OrSet(_) | Self::LwwMap(_) => {}
        }
    }
}

fn check_counter(state: &CounterState, down_max: u64) -> bool {
    let share = |share: &Share| {
        (1..=COUNTER_TOTAL_MAX).contains(&share.up.max(share.down)) && share.down <= down_max && share.seq <= SEQ_MAX
    };
    let deferred = |dot: &Dot| (1..=SEQ_MAX).contains(&dot.seq);
    state.shares.iter().all(share) && state.deferred.iter().all(deferred)
}
