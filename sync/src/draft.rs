//! A draft: changes gathered for one commit, readable as if they were already applied.
//!
//! Owns the folding of several changes to one object into one, and the overlay that lets a guest read its own writes. Applies
//! nothing. The invariant: a draft that was dropped has left no trace.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use crate::change::{Change, ChangeError};
use crate::key::{Key, Kind};
use crate::limits::COUNTER_TOTAL_MAX;
use crate::scalar::Scalar;

/// Read access to the replicated state, for whoever needs no more than that.
pub trait ReadState {
    /// The value of a counter; `None` when nobody has written it.
    fn counter(&self, key: &Key) -> Option<i128>;
    /// What this replica itself has added to and taken from a counter so far.
    fn own_totals(&self, key: &Key) -> (u64, u64);
    /// Whether a set has this member.
    fn contains(&self, key: &Key, member: &Scalar) -> bool;
    /// The members of a set, in order; `None` when nobody has written it.
    fn members(&self, key: &Key) -> Option<Vec<Scalar>>;
    /// The value of a map's field.
    fn field(&self, key: &Key, field: &str) -> Option<Scalar>;
    /// The fields of a map; `None` when nobody has written it.
    fn fields(&self, key: &Key) -> Option<BTreeMap<String, Scalar>>;
}

impl<S: ReadState + ?Sized> ReadState for &S {
    fn counter(&self, key: &Key) -> Option<i128> {
        (**self).counter(key)
    }

    fn own_totals(&self, key: &Key) -> (u64, u64) {
        (**self).own_totals(key)
    }

    fn contains(&self, key: &Key, member: &Scalar) -> bool {
        (**self).contains(key, member)
    }

    fn members(&self, key: &Key) -> Option<Vec<Scalar>> {
        (**self).members(key)
    }

    fn field(&self, key: &Key, field: &str) -> Option<Scalar> {
        (**self).field(key, field)
    }

    fn fields(&self, key: &Key) -> Option<BTreeMap<String, Scalar>> {
        (**self).fields(key)
    }
}

/// The folded changes to one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Folded {
    /// What to add and what to take.
    Counter { up: u64, down: u64 },
    /// Members to add.
    Grow(BTreeSet<Scalar>),
    /// Members to add (true) or to remove (false).
    Set(BTreeMap<Scalar, bool>),
    /// Fields to put, or to remove (`None`).
    Map(BTreeMap<String, Option<Scalar>>),
}

/// What to do to a counter in one step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Added if nobody has written the counter; that writes it, even with 0.
    pub initial: u64,
    /// What to add.
    pub up: u64,
    /// What to take; 0 for a G-counter.
    pub down: u64,
}

/// Changes over a state that stays as it is. `S` is the state, a reference to it, or whatever else reads it.
pub struct Draft<S: ReadState> {
    base: S,
    folded: BTreeMap<Key, Folded>,
}

impl<S: ReadState> Draft<S> {
    /// An empty draft over `base`.
    #[must_use]
    pub const fn new(base: S) -> Self {
        Self { base, folded: BTreeMap::new() }
    }

    /// What the draft reads through.
    pub const fn base_mut(&mut self) -> &mut S {
        &mut self.base
    }

    /// How many objects the draft touches.
    #[must_use]
    pub fn len(&self) -> usize {
        self.folded.len()
    }

    /// Whether nothing was changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.folded.is_empty()
    }

    /// Adds a change.
    ///
    /// # Errors
    /// The change does not fit the key's type, breaks a bound, or would overflow the counter. The draft stays as it was.
    pub fn change(&mut self, key: &Key, change: Change) -> Result<(), ChangeError> {
        change.validate(key)?;
        let base = &self.base;
        if let Some(folded) = self.folded.get_mut(key) {
            return folded.add(change, || base.own_totals(key));
        }
        let mut folded = Folded::empty(key.kind());
        folded.add(change, || base.own_totals(key))?;
        self.folded.insert(key.clone(), folded);
        Ok(())
    }

    /// Starts, raises and lowers a counter, all or nothing. What neither starts it nor moves it changes nothing.
    ///
    /// # Errors
    /// The key is no counter that can do so, or the counter would overflow. The draft stays as it was.
    pub fn count(&mut self, key: Key, by: Count) -> Result<(), ChangeError> {
        Change::Increment(by.up).validate(&key)?;
        if by.down > 0 {
            Change::Decrement(by.down).validate(&key)?;
        }
        let (base, moves) = (&self.base, by.up > 0 || by.down > 0);
        match self.folded.entry(key) {
            Entry::Occupied(_) if !moves => Ok(()),
            Entry::Occupied(mut known) => {
                let own = base.own_totals(known.key());
                known.get_mut().raise((by.up, by.down), own)
            }
            Entry::Vacant(new) => {
                let exists = base.counter(new.key()).is_some();
                if exists && !moves {
                    return Ok(());
                }
                let (initial, own) = if exists { (0, base.own_totals(new.key())) } else { (by.initial, (0, 0)) };
                let mut folded = Folded::empty(new.key().kind());
                folded.raise((by.up.checked_add(initial).ok_or(ChangeError::Overflow)?, by.down), own)?;
                new.insert(folded);
                Ok(())
            }
        }
    }

    /// The value of a counter with the draft's own changes.
    #[must_use]
    pub fn counter(&self, key: &Key) -> Option<i128> {
        let base = self.base.counter(key);
        match self.folded.get(key) {
            Some(Folded::Counter { up, down }) => Some(base.unwrap_or(0) + i128::from(*up) - i128::from(*down)),
            Some(Folded::Grow(_) | Folded::Set(_) | Folded::Map(_)) | None => base,
        }
    }

    /// Whether a set has this member, with the draft's own changes.
    #[must_use]
    pub fn contains(&self, key: &Key, member: &Scalar) -> bool {
        let folded = match self.folded.get(key) {
            Some(Folded::Grow(added)) => added.contains(member).then_some(true),
            Some(Folded::Set(members)) => members.get(member).copied(),
            Some(Folded::Counter { .. } | Folded::Map(_)) | None => None,
        };
        folded.unwrap_or_else(|| self.base.contains(key, member))
    }

    /// The members of a set, with the draft's own changes.
    #[must_use]
    pub fn members(&self, key: &Key) -> Option<Vec<Scalar>> {
        let base = self.base.members(key);
        let mut members: BTreeSet<Scalar> = match self.folded.get(key) {
            Some(Folded::Grow(_) | Folded::Set(_)) => base.unwrap_or_default().into_iter().collect(),
            Some(Folded::Counter { .. } | Folded::Map(_)) | None => return base,
        };
        match self.folded.get(key) {
            Some(Folded::Grow(added)) => members.extend(added.iter().cloned()),
            Some(Folded::Set(changed)) => {
                members.retain(|member| changed.get(member) != Some(&false));
                members.extend(changed.iter().filter(|(_, there)| **there).map(|(member, _)| member.clone()));
            }
            Some(Folded::Counter { .. } | Folded::Map(_)) | None => {}
        }
        Some(members.into_iter().collect())
    }

    /// The value of a map's field, with the draft's own changes.
    #[must_use]
    pub fn field(&self, key: &Key, field: &str) -> Option<Scalar> {
        if let Some(Folded::Map(fields)) = self.folded.get(key)
            && let Some(value) = fields.get(field)
        {
            return value.clone();
        }
        self.base.field(key, field)
    }

    /// The fields of a map, with the draft's own changes.
    #[must_use]
    pub fn fields(&self, key: &Key) -> Option<BTreeMap<String, Scalar>> {
        let base = self.base.fields(key);
        let Some(Folded::Map(changed)) = self.folded.get(key) else { return base };
        let mut fields = base.unwrap_or_default();
        for (field, value) in changed {
            match value {
                Some(value) => fields.insert(field.clone(), value.clone()),
                None => fields.remove(field),
            };
        }
        Some(fields)
    }

    /// The draft as plain changes, at most two per object, ready to be committed.
    #[must_use]
    pub fn into_changes(mut self) -> Vec<(Key, Change)> {
        self.take_changes()
    }

    /// The same, and the draft is empty again.
    #[must_use]
    pub fn take_changes(&mut self) -> Vec<(Key, Change)> {
        let folded = std::mem::take(&mut self.folded);
        folded.into_iter().flat_map(|(key, folded)| folded.into_changes().map(move |c| (key.clone(), c))).collect()
    }

    /// Drops all changes.
    pub fn discard(&mut self) {
        self.folded.clear();
    }

    pub(crate) fn into_folded(self) -> BTreeMap<Key, Folded> {
        self.folded
    }
}

impl Folded {
    const fn empty(kind: Kind) -> Self {
        match kind {
            Kind::GCounter | Kind::PnCounter => Self::Counter { up: 0, down: 0 },
            Kind::GSet => Self::Grow(BTreeSet::new()),
            Kind::OrSet => Self::Set(BTreeMap::new()),
            Kind::LwwMap => Self::Map(BTreeMap::new()),
        }
    }

    /// Adds a change; one that overflows changes nothing.
    fn add(&mut self, change: Change, own_totals: impl Fn() -> (u64, u64)) -> Result<(), ChangeError> {
        match (self, change) {
            (counter @ Self::Counter { .. }, Change::Increment(by)) => counter.raise((by, 0), own_totals())?,
            (counter @ Self::Counter { .. }, Change::Decrement(by)) => counter.raise((0, by), own_totals())?,
            (Self::Grow(added), Change::Add(members)) => added.extend(members),
            (Self::Set(set), Change::Add(members)) => set.extend(members.into_iter().map(|member| (member, true))),
            (Self::Set(set), Change::Remove(members)) => set.extend(members.into_iter().map(|member| (member, false))),
            (Self::Map(map), Change::Put(fields)) => {
                map.extend(fields.into_iter().map(|(field, value)| (field, Some(value))));
            }
            (Self::Map(map), Change::RemoveFields(fields)) => {
                map.extend(fields.into_iter().map(|field| (field, None)));
            }
            (folded, change) => unreachable!("`{}` was validated for {folded:?}", change.name()),
        }
        Ok(())
    }

    /// Adds to and takes from a counter, of which this replica has `own` already; what overflows changes nothing.
    fn raise(&mut self, (by_up, by_down): (u64, u64), own: (u64, u64)) -> Result<(), ChangeError> {
        let raised = |pending: u64, by: u64, own: u64| {
            let total = pending.checked_add(by).and_then(|sum| own.checked_add(sum));
            total.filter(|total| *total <= COUNTER_TOTAL_MAX).map(|total| total - own).ok_or(ChangeError::Overflow)
        };
        let Self::Counter { up, down } = self else { unreachable!("a change of a counter was validated for {self:?}") };
        (*up, *down) = (raised(*up, by_up, own.0)?, raised(*down, by_down, own.1)?);
        Ok(())
    }

    fn into_changes(self) -> impl Iterator<Item = Change> {
        let (first, second) = match self {
            Self::Counter { up, down: 0 } => (Some(Change::Increment(up)), None),
            Self::Counter { up: 0, down } => (None, Some(Change::Decrement(down))),
            Self::Counter { up, down } => (Some(Change::Increment(up)), Some(Change::Decrement(down))),
            Self::Grow(members) => (Some(Change::Add(members.into_iter().collect())), None),
            Self::Set(members) => {
                let (added, removed): (Vec<_>, Vec<_>) = members.into_iter().partition(|(_, there)| *there);
                let names = |members: Vec<(Scalar, bool)>| members.into_iter().map(|(member, _)| member).collect();
                (
                    some_unless_empty(names(added)).map(Change::Add),
                    some_unless_empty(names(removed)).map(Change::Remove),
                )
            }
            Self::Map(fields) => {
                let (mut put, mut removed) = (Vec::new(), Vec::new());
                for (field, value) in fields {
                    match value {
                        Some(value) => put.push((field, value)),
                        None => removed.push(field),
                    }
                }
                (some_unless_empty(put).map(Change::Put), some_unless_empty(removed).map(Change::RemoveFields))
            }
        };
        first.into_iter().chain(second)
    }
}

fn some_unless_empty<T>(items: Vec<T>) -> Option<Vec<T>> {
    (!items.is_empty()).then_some(items)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A state that holds one counter, to which this replica has brought `own`.
    struct One(Option<(u64, u64)>);

    impl ReadState for One {
        fn counter(&self, _: &Key) -> Option<i128> {
            self.0.map(|(up, down)| i128::from(up) - i128::from(down))
        }
        fn own_totals(&self, _: &Key) -> (u64, u64) {
            self.0.unwrap_or_default()
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

    /// What `count` stands for, change by change.
    fn one_by_one(draft: &mut Draft<One>, key: &Key, by: Count) -> Result<(), ChangeError> {
        if draft.counter(key).is_none() {
            draft.change(key, Change::Increment(by.initial))?;
        }
        if by.up > 0 {
            draft.change(key, Change::Increment(by.up))?;
        }
        if by.down > 0 {
            draft.change(key, Change::Decrement(by.down))?;
        }
        Ok(())
    }

    #[test]
    fn what_is_no_counter_is_not_counted() {
        let mut draft = Draft::new(One(None));
        let key = Key::new(Kind::GSet, "a").expect("a name");
        assert!(matches!(draft.count(key, Count::default()), Err(ChangeError::WrongKind { .. })));
        assert!(draft.is_empty());
    }

    #[test]
    fn a_count_is_its_changes_in_one_step_or_none_of_them() {
        const AMOUNTS: [u64; 5] = [0, 1, 7, COUNTER_TOTAL_MAX, u64::MAX];
        let amounts = || AMOUNTS.into_iter().flat_map(|a| AMOUNTS.into_iter().map(move |b| (a, b)));
        let bases = [None, Some((0, 0)), Some((5, 9)), Some((COUNTER_TOTAL_MAX, 1))];
        for (kind, base, before) in [Kind::GCounter, Kind::PnCounter].into_iter().flat_map(|kind| {
            bases.into_iter().flat_map(move |base| [None, Some(3)].into_iter().map(move |before| (kind, base, before)))
        }) {
            let key = Key::new(kind, "a").expect("a name");
            for ((initial, up), down) in amounts().flat_map(|pair| AMOUNTS.into_iter().map(move |down| (pair, down))) {
                let by = Count { initial, up, down };
                let [mut at_once, mut in_turn] = [One(base), One(base)].map(Draft::new);
                for draft in [&mut at_once, &mut in_turn] {
                    if let Some(before) = before {
                        let _may_overflow = draft.change(&key, Change::Increment(before));
                    }
                }
                let untouched = at_once.folded.clone();
                let (seen, expect) = (at_once.count(key.clone(), by), one_by_one(&mut in_turn, &key, by));
                assert_eq!(seen.is_ok(), expect.is_ok(), "{kind} {base:?} {before:?} {by:?}: {seen:?} {expect:?}");
                let expect = if expect.is_ok() { in_turn.folded } else { untouched };
                assert_eq!(at_once.folded, expect, "{kind} {base:?} {before:?} {by:?}");
            }
        }
    }
}
