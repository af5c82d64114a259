//! One replicated object of any type, with its running content hash.
//!
//! Dispatches to the types; decides nothing itself. The invariant: `content` is always the sum over what the object holds.

use std::collections::BTreeMap;

use super::compact::Compact;
use super::content::{Content, ItemBytes};
use super::counter::Counter;
use super::dot_map::{Context, DotMap, Item, Kept, Member, Write};
use super::field::Field;
use super::grow_set::GrowSet;
use super::op::{Op, Stamped};
use super::state::ObjectState;
use super::writer::Live;
use crate::hlc::Hlc;
use crate::id::{Dot, ReplicaId};
use crate::key::{Key, Kind};
use crate::planted::{self, Bug};
use crate::scalar::Scalar;

/// One object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    data: Data,
    content: Content,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Data {
    GCounter(Counter),
    PnCounter(Counter),
    GSet(GrowSet),
    OrSet(DotMap<Compact, ()>),
    LwwMap(DotMap<Field, (Hlc, Compact)>),
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

impl Object {
    /// An object named `key` that nobody has written yet.
    #[must_use]
    pub fn new(key: &Key) -> Self {
        let data = match key.kind() {
            Kind::GCounter => Data::GCounter(Counter::default()),
            Kind::PnCounter => Data::PnCounter(Counter::default()),
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
            (Data::GCounter(counter), Op::GCounter(up)) => counter.raise(dot, up.total, 0, content),
            (Data::PnCounter(counter), Op::PnCounter(up, down)) => counter.raise(dot, up.total, down.total, content),
            (Data::GCounter(counter) | Data::PnCounter(counter), Op::Fold { up, down, from }) => {
                counter.fold(dot, (up, down), &from, context, content);
            }
            (Data::GSet(set), Op::GSet(members)) => members.into_iter().for_each(|member| set.add(member, content)),
            (Data::OrSet(set), Op::OrSet(assigns)) => {
                for assign in assigns {
                    let member = Compact::from(assign.member);
                    let write = Write { member, value: assign.value, over: &assign.over, dot };
                    set.assign(write, context, content);
                }
            }
            (Data::LwwMap(map), Op::LwwMap(assigns)) => {
                for assign in assigns {
                    let member = Field::from(assign.member.as_str());
                    let value = assign.value.map(|value| (hlc, Compact::from(value)));
                    map.assign(Write { member, value, over: &assign.over, dot }, context, content);
                }
            }
            (data, op) => unreachable!("{op:?} was validated for a {}", data.kind()),
        }
    }

    /// Merges the same object as another host holds it, which has seen `theirs`. The state has been validated.
    pub fn merge(&mut self, state: ObjectState, theirs: Context<'_>, ours: Context<'_>) {
        let content = &mut self.content;
        match (&mut self.data, state) {
            (Data::GCounter(counter), ObjectState::GCounter(state))
            | (Data::PnCounter(counter), ObjectState::PnCounter(state)) => counter.merge(state, theirs, ours, content),
            (Data::GSet(set), ObjectState::GSet(members)) => {
                members.into_iter().for_each(|member| set.add(member, content));
            }
            (Data::OrSet(set), ObjectState::OrSet(state)) => {
                set.merge(state, theirs, ours, content);
            }
            (Data::LwwMap(map), ObjectState::LwwMap(state)) => {
                map.merge(state, theirs, ours, content);
            }
            (data, state) => unreachable!("a state of {:?} was validated for {:?}", state.kind(), data.kind()),
        }
    }

    /// Forgets what was kept only for order and is not needed any more.
    pub fn settle(&mut self, context: Context<'_>) {
        match &mut self.data {
            Data::GCounter(counter) | Data::PnCounter(counter) => counter.settle(context),
            Data::GSet(_) => {}
            Data::OrSet(set) => set.settle(context),
            Data::LwwMap(map) => map.settle(context),
        }
    }

    /// How many dots the object keeps only for order.
    #[must_use]
    pub fn garbage(&self) -> usize {
        match &self.data {
            Data::GCounter(counter) | Data::PnCounter(counter) => counter.deferred_dots(),
            Data::GSet(_) => 0,
            Data::OrSet(set) => set.deferred_dots(),
            Data::LwwMap(map) => map.deferred_dots(),
        }
    }

    /// Whether a reader finds nothing in it: a set or a map from which all was removed, or to which only a removal has come.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match &self.data {
            Data::GCounter(_) | Data::PnCounter(_) | Data::GSet(_) => false,
            Data::OrSet(set) => set.is_empty(),
            Data::LwwMap(map) => map.is_empty(),
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

    /// Whether the object keeps something only until every member has seen what made it so.
    #[must_use]
    pub fn needs_settling(&self) -> bool {
        self.garbage() > 0 || self.is_forgettable()
    }

    /// The object for storing and sending.
    #[must_use]
    pub fn state(&self) -> ObjectState {
        match &self.data {
            Data::GCounter(counter) => ObjectState::GCounter(counter.state()),
            Data::PnCounter(counter) => ObjectState::PnCounter(counter.state()),
            Data::GSet(set) => ObjectState::GSet(set.members().iter().cloned().collect()),
            Data::OrSet(set) => ObjectState::OrSet(set.state()),
            Data::LwwMap(map) => ObjectState::LwwMap(map.state()),
        }
    }

    /// What a reader sees.
    #[must_use]
    pub fn value(&self) -> Value {
        match &self.data {
            Data::GCounter(counter) | Data::PnCounter(counter) => Value::Counter(counter.value()),
            Data::GSet(set) => Value::Set(set.members().iter().cloned().collect()),
            Data::OrSet(set) => Value::Set(set.sorted().into_iter().map(|(member, _)| member.scalar()).collect()),
            Data::LwwMap(map) => {
                let fields = map.iter().filter_map(|(name, entries)| Some((name.plain(), winner(entries)?.scalar())));
                Value::Map(fields.collect())
            }
        }
    }

    /// Whether a set has this member; false for other types.
    #[must_use]
    pub fn contains(&self, member: &Scalar) -> bool {
        match &self.data {
            Data::GSet(set) => set.members().contains(member),
            Data::OrSet(set) => set.entries(&member.into()).is_some(),
            Data::GCounter(_) | Data::PnCounter(_) | Data::LwwMap(_) => false,
        }
    }

    /// The value of a map's field; `None` when it is not there or the object is no map.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<Scalar> {
        match &self.data {
            Data::LwwMap(map) => map.entries(&Field::from(name)).and_then(winner).map(Compact::scalar),
            Data::GCounter(_) | Data::PnCounter(_) | Data::GSet(_) | Data::OrSet(_) => None,
        }
    }

    /// What `replica` alone has added to and taken from a counter; zeros for other types.
    #[must_use]
    pub fn totals(&self, replica: &ReplicaId) -> (u64, u64) {
        match &self.data {
            Data::GCounter(counter) | Data::PnCounter(counter) => counter.totals(replica),
            Data::GSet(_) | Data::OrSet(_) | Data::LwwMap(_) => (0, 0),
        }
    }

    /// A counter; `None` for other types.
    #[must_use]
    pub const fn as_counter(&self) -> Option<&Counter> {
        match &self.data {
            Data::GCounter(counter) | Data::PnCounter(counter) => Some(counter),
            Data::GSet(_) | Data::OrSet(_) | Data::LwwMap(_) => None,
        }
    }

    /// The live dots of a set's member.
    #[must_use]
    pub fn dots_of_member(&self, member: &Scalar) -> Vec<Dot> {
        let Data::OrSet(set) = &self.data else { return Vec::new() };
        set.entries(&member.into()).into_iter().flatten().map(Live::dot).collect()
    }

    /// The live dots of a map's field.
    #[must_use]
    pub fn dots_of_field(&self, field: &str) -> Vec<Dot> {
        let Data::LwwMap(map) = &self.data else { return Vec::new() };
        map.entries(&Field::from(field)).into_iter().flatten().map(Live::dot).collect()
    }

    /// The members of a set with observed-remove, in order, each with its live dots; nothing for other types.
    #[must_use]
    pub fn members_with_dots(&self) -> Vec<(Scalar, Vec<Dot>)> {
        let Data::OrSet(set) = &self.data else { return Vec::new() };
        let dots = |entries: &[Live<()>]| entries.iter().map(Live::dot).collect();
        set.sorted().into_iter().map(|(member, entries)| (member.scalar(), dots(entries))).collect()
    }

    /// The live dots of other writers that an assignment of this set member by `dot`'s writer supersedes.
    #[must_use]
    pub fn observed_member(&self, member: &Scalar, dot: &Dot) -> Vec<Dot> {
        if let Data::OrSet(set) = &self.data { set.observed(&member.into(), dot) } else { Vec::new() }
    }

    /// The live dots of other writers that an assignment of this map field by `dot`'s writer supersedes.
    #[must_use]
    pub fn observed_field(&self, field: &str, dot: &Dot) -> Vec<Dot> {
        if let Data::LwwMap(map) = &self.data { map.observed(&Field::from(field), dot) } else { Vec::new() }
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

/// The entry that a reader sees among concurrent ones: the greatest stamp, then the greatest writer.
fn winner(entries: &[Live<(Hlc, Compact)>]) -> Option<&Compact> {
    let stamp = |(hlc, _): &(Hlc, Compact)| if planted::is(Bug::LastComerWins) { Hlc::default() } else { *hlc };
    entries.iter().max_by_key(|entry| (stamp(&entry.value), entry.dot())).map(|entry| &entry.value.1)
}

impl Item for Compact {
    fn weight(&self) -> usize {
        Self::weight(self)
    }

    fn feed(&self, item: &mut ItemBytes) {
        Self::feed(self, item);
    }
}

impl Kept for Compact {
    type Plain = Scalar;

    fn plain(&self) -> Scalar {
        self.scalar()
    }

    fn of_plain(plain: Scalar) -> Self {
        Self::from(plain)
    }
}

impl Member for Compact {
    fn of_ref(plain: &Scalar) -> Self {
        Self::from(plain)
    }
}

impl Item for Field {
    fn weight(&self) -> usize {
        self.bytes().len()
    }

    fn feed(&self, item: &mut ItemBytes) {
        Self::feed(self, item);
    }
}

impl Kept for Field {
    type Plain = String;

    fn plain(&self) -> String {
        self.name().to_owned()
    }

    fn of_plain(plain: String) -> Self {
        Self::from(plain.as_str())
    }
}

impl Member for Field {
    fn of_ref(plain: &String) -> Self {
        Self::from(plain.as_str())
    }
}

impl Item for () {
    fn weight(&self) -> usize {
        0
    }

    fn feed(&self, _: &mut ItemBytes) {}
}

impl Kept for () {
    type Plain = ();

    fn plain(&self) {}

    fn of_plain((): ()) {}
}

impl Item for (Hlc, Compact) {
    fn weight(&self) -> usize {
        self.1.weight()
    }

    fn feed(&self, item: &mut ItemBytes) {
        item.update(&self.0.0.to_le_bytes());
        Item::feed(&self.1, item);
    }
}

impl Kept for (Hlc, Compact) {
    type Plain = Stamped;

    fn plain(&self) -> Stamped {
        (self.0, self.1.scalar())
    }

    fn of_plain((hlc, value): Stamped) -> Self {
        (hlc, Compact::from(value))
    }
}
