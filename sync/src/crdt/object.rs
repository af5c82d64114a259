//! One replicated object of any type, with its running content hash.
//!
//! Dispatches to the types; decides nothing itself. The invariant: `content` is always the sum over what the object holds.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::content::Content;
use super::counter::{GCounter, PnCounter};
use super::dot_map::{Context, DotMap, DotMapState, Entry, Item};
use super::grow_set::GrowSet;
use super::op::{Assign, Op, OpError, Stamped};
use crate::hlc::Hlc;
use crate::id::{Dot, ReplicaId};
use crate::key::{Key, Kind};
use crate::limits::{COUNTER_TOTAL_MAX, FIELD_BYTES_MAX};
use crate::scalar::Scalar;

const UP: u8 = 0;
const DOWN: u8 = 1;

/// One object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    data: Data,
    content: Content,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Data {
    GCounter(GCounter),
    PnCounter(PnCounter),
    GSet(GrowSet),
    OrSet(DotMap<Scalar, ()>),
    LwwMap(DotMap<String, Stamped>),
}

/// What a reader sees of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// The value of a counter.
    Counter(i128),
    /// The members of a set, in order.
    Set(Vec<Scalar>),
    /// The fields of a map.
    Map(BTreeMap<String, Scalar>),
}

/// An object as it is stored and sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ObjectState {
    /// Totals by replica.
    #[serde(rename = "g")]
    GCounter(Vec<(ReplicaId, u64)>),
    /// Totals of increments and of decrements by replica.
    #[serde(rename = "p")]
    PnCounter(Vec<(ReplicaId, u64)>, Vec<(ReplicaId, u64)>),
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

impl Object {
    /// An object named `key` that nobody has written yet.
    #[must_use]
    pub fn new(key: &Key) -> Self {
        let data = match key.kind() {
            Kind::GCounter => Data::GCounter(GCounter::default()),
            Kind::PnCounter => Data::PnCounter(PnCounter::default()),
            Kind::GSet => Data::GSet(GrowSet::default()),
            Kind::OrSet => Data::OrSet(DotMap::default()),
            Kind::LwwMap => Data::LwwMap(DotMap::default()),
        };
        Self { data, content: Content::of(key) }
    }

    /// The running hash and weight of what the object holds.
    #[must_use]
    pub const fn content(&self) -> &Content {
        &self.content
    }

    /// Applies an operation of the commit named by `dot`. The operation has been validated against the key's type.
    pub fn apply(&mut self, op: Op, dot: Dot, hlc: Hlc, context: Context<'_>) {
        let content = &mut self.content;
        match (&mut self.data, op) {
            (Data::GCounter(counter), Op::GCounter(total)) => counter.raise(dot.replica, total, UP, content),
            (Data::PnCounter(counter), Op::PnCounter(up, down)) => {
                counter.up.raise(dot.replica, up, UP, content);
                counter.down.raise(dot.replica, down, DOWN, content);
            }
            (Data::GSet(set), Op::GSet(members)) => members.into_iter().for_each(|member| set.add(member, content)),
            (Data::OrSet(set), Op::OrSet(assigns)) => {
                assigns.into_iter().for_each(|assign| set.assign(assign, dot, context, content));
            }
            (Data::LwwMap(map), Op::LwwMap(assigns)) => {
                for Assign { member, value, over } in assigns {
                    let value = value.map(|value| (hlc, value));
                    map.assign(Assign { member, value, over }, dot, context, content);
                }
            }
            (data, op) => unreachable!("a {:?} was validated for {:?}", op.kind(), data.kind()),
        }
    }

    /// Merges the same object as another host holds it, which has seen `theirs`. The state has been validated.
    pub fn merge(&mut self, state: ObjectState, theirs: Context<'_>, ours: Context<'_>) {
        let content = &mut self.content;
        match (&mut self.data, state) {
            (Data::GCounter(counter), ObjectState::GCounter(totals)) => {
                totals.into_iter().for_each(|(replica, total)| counter.raise(replica, total, UP, content));
            }
            (Data::PnCounter(counter), ObjectState::PnCounter(up, down)) => {
                up.into_iter().for_each(|(replica, total)| counter.up.raise(replica, total, UP, content));
                down.into_iter().for_each(|(replica, total)| counter.down.raise(replica, total, DOWN, content));
            }
            (Data::GSet(set), ObjectState::GSet(members)) => {
                members.into_iter().for_each(|member| set.add(member, content));
            }
            (Data::OrSet(set), ObjectState::OrSet(state)) => set.merge(state, theirs, ours, content),
            (Data::LwwMap(map), ObjectState::LwwMap(state)) => map.merge(state, theirs, ours, content),
            (data, state) => unreachable!("a state of {:?} was validated for {:?}", state.kind(), data.kind()),
        }
    }

    /// Forgets what was kept only for order and is not needed any more.
    pub fn settle(&mut self, context: Context<'_>) {
        match &mut self.data {
            Data::GCounter(_) | Data::PnCounter(_) | Data::GSet(_) => {}
            Data::OrSet(set) => set.settle(context),
            Data::LwwMap(map) => map.settle(context),
        }
    }

    /// How many dots the object keeps only for order.
    #[must_use]
    pub fn garbage(&self) -> usize {
        match &self.data {
            Data::GCounter(_) | Data::PnCounter(_) | Data::GSet(_) => 0,
            Data::OrSet(set) => set.deferred_dots(),
            Data::LwwMap(map) => map.deferred_dots(),
        }
    }

    /// Whether nothing is left that a reader or a merge could miss: a set or map without members and deferred dots.
    #[must_use]
    pub fn is_forgettable(&self) -> bool {
        match &self.data {
            Data::GCounter(_) | Data::PnCounter(_) | Data::GSet(_) => false,
            Data::OrSet(set) => set.is_empty() && set.deferred_dots() == 0,
            Data::LwwMap(map) => map.is_empty() && map.deferred_dots() == 0,
        }
    }

    /// The object for storing and sending.
    #[must_use]
    pub fn state(&self) -> ObjectState {
        match &self.data {
            Data::GCounter(counter) => ObjectState::GCounter(counter.totals().collect()),
            Data::PnCounter(counter) => {
                ObjectState::PnCounter(counter.up.totals().collect(), counter.down.totals().collect())
            }
            Data::GSet(set) => ObjectState::GSet(set.members().iter().cloned().collect()),
            Data::OrSet(set) => ObjectState::OrSet(set.state()),
            Data::LwwMap(map) => ObjectState::LwwMap(map.state()),
        }
    }

    /// What a reader sees.
    #[must_use]
    pub fn value(&self) -> Value {
        match &self.data {
            Data::GCounter(counter) => Value::Counter(i128::try_from(counter.value()).unwrap_or(i128::MAX)),
            Data::PnCounter(counter) => Value::Counter(counter.value()),
            Data::GSet(set) => Value::Set(set.members().iter().cloned().collect()),
            Data::OrSet(set) => Value::Set(set.iter().map(|(member, _)| member.clone()).collect()),
            Data::LwwMap(map) => {
                let field =
                    |(name, entries): (&String, &[Entry<Stamped>])| Some((name.clone(), winner(entries)?.clone()));
                Value::Map(map.iter().filter_map(field).collect())
            }
        }
    }

    /// Whether a set has this member; false for other types.
    #[must_use]
    pub fn contains(&self, member: &Scalar) -> bool {
        match &self.data {
            Data::GSet(set) => set.members().contains(member),
            Data::OrSet(set) => set.entries(member).is_some(),
            Data::GCounter(_) | Data::PnCounter(_) | Data::LwwMap(_) => false,
        }
    }

    /// The value of a map's field; `None` when it is not there or the object is no map.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&Scalar> {
        match &self.data {
            Data::LwwMap(map) => map.entries(&name.to_owned()).and_then(winner),
            Data::GCounter(_) | Data::PnCounter(_) | Data::GSet(_) | Data::OrSet(_) => None,
        }
    }

    /// What `replica` alone has added to and taken from a counter; zeros for other types.
    #[must_use]
    pub fn totals(&self, replica: &ReplicaId) -> (u64, u64) {
        match &self.data {
            Data::GCounter(counter) => (counter.total(replica), 0),
            Data::PnCounter(counter) => (counter.up.total(replica), counter.down.total(replica)),
            Data::GSet(_) | Data::OrSet(_) | Data::LwwMap(_) => (0, 0),
        }
    }

    /// The live dots of other writers that an assignment of this set member by `dot`'s writer supersedes.
    #[must_use]
    pub fn observed_member(&self, member: &Scalar, dot: &Dot) -> Vec<Dot> {
        if let Data::OrSet(set) = &self.data { set.observed(member, dot) } else { Vec::new() }
    }

    /// The live dots of other writers that an assignment of this map field by `dot`'s writer supersedes.
    #[must_use]
    pub fn observed_field(&self, field: &str, dot: &Dot) -> Vec<Dot> {
        if let Data::LwwMap(map) = &self.data { map.observed(&field.to_owned(), dot) } else { Vec::new() }
    }
}

impl Data {
    const fn kind(&self) -> Kind {
        match self {
            Self::GCounter(_) => Kind::GCounter,
            Self::PnCounter(_) => Kind::PnCounter,
            Self::GSet(_) => Kind::GSet,
            Self::OrSet(_) => Kind::OrSet,
            Self::LwwMap(_) => Kind::LwwMap,
        }
    }
}

impl ObjectState {
    /// The type of the object.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::GCounter(_) => Kind::GCounter,
            Self::PnCounter(..) => Kind::PnCounter,
            Self::GSet(_) => Kind::GSet,
            Self::OrSet(_) => Kind::OrSet,
            Self::LwwMap(_) => Kind::LwwMap,
        }
    }

    /// Checks everything that merging relies on.
    ///
    /// # Errors
    /// The first bound that does not hold.
    pub fn validate(&self, kind: Kind) -> Result<(), OpError> {
        if self.kind() != kind {
            return Err(OpError::WrongKind);
        }
        let totals =
            |totals: &[(ReplicaId, u64)]| totals.iter().all(|(_, total)| (1..=COUNTER_TOTAL_MAX).contains(total));
        let holds = match self {
            Self::GCounter(up) => totals(up),
            Self::PnCounter(up, down) => totals(up) && totals(down),
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
}

/// The entry that a reader sees among concurrent ones: the greatest stamp, then the greatest writer.
fn winner(entries: &[Entry<Stamped>]) -> Option<&Scalar> {
    entries.iter().max_by_key(|entry| (entry.value.0, entry.dot)).map(|entry| &entry.value.1)
}

impl Item for Scalar {
    fn weight(&self) -> usize {
        Self::weight(self)
    }

    fn feed(&self, hasher: &mut blake3::Hasher) {
        Self::feed(self, hasher);
    }
}

impl Item for String {
    fn weight(&self) -> usize {
        self.len()
    }

    fn feed(&self, hasher: &mut blake3::Hasher) {
        hasher.update(&(self.len() as u64).to_le_bytes());
        hasher.update(self.as_bytes());
    }
}

impl Item for () {
    fn weight(&self) -> usize {
        0
    }

    fn feed(&self, _: &mut blake3::Hasher) {}
}

impl Item for Stamped {
    fn weight(&self) -> usize {
        self.1.weight()
    }

    fn feed(&self, hasher: &mut blake3::Hasher) {
        hasher.update(&self.0.0.to_le_bytes());
        Item::feed(&self.1, hasher);
    }
}
