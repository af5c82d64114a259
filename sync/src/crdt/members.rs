//! The table behind a map of dots: which members are there, each with its live dots.
//!
//! A table costs memory of its own; a hundred thousand maps of one field should not, so that one member lies in place. Nothing
//! that leaves depends on the order in here. The invariant: no member is without a dot.

use std::hash::{BuildHasher, Hash};

use indexmap::IndexMap;
use indexmap::map::raw_entry_v1::{RawEntryApiV1, RawEntryMut};
use smallvec::SmallVec;

use super::hashing::Seeded;
use super::writer::{Live, Writer, Writers};
use crate::id::ReplicaId;

/// Live dots of one member, in order. Nearly always one.
pub(super) type Entries<V> = SmallVec<[Live<V>; 1]>;

#[derive(Clone, Debug)]
pub(super) enum Members<K, V> {
    Empty,
    One(K, Entries<V>),
    Many(Box<Table<K, V>>),
}

#[derive(Clone, Debug)]
pub(super) struct Table<K, V> {
    members: IndexMap<K, Entries<V>, Seeded>,
    /// Those that nobody around shares with us.
    writers: Writers,
}

/// What a state lends to what comes to be in it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lent<'a> {
    pub(super) seed: Seeded,
    pub(super) writers: Option<&'a Writers>,
}

/// Who knows the writers that entries are to name.
pub(super) struct Known<'a> {
    around: Option<&'a Writers>,
    own: Option<&'a mut Writers>,
}

impl Known<'_> {
    /// The writer that stands for `replica`.
    pub(super) fn writer(&mut self, replica: &ReplicaId) -> Writer {
        if let Some(known) = self.around.and_then(|around| around.get(replica)) {
            return known.clone();
        }
        self.own.as_mut().map_or_else(|| Writer::new(replica), |own| own.know(replica).clone())
    }
}

impl<K: Eq + Hash, V> Members<K, V> {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Empty => 0,
            Self::One(..) => 1,
            Self::Many(table) => table.members.len(),
        }
    }

    pub(super) fn get(&self, member: &K) -> Option<&Entries<V>> {
        match self {
            Self::One(only, entries) if only == member => Some(entries),
            Self::Empty | Self::One(..) => None,
            Self::Many(table) => table.members.get(member),
        }
    }

    /// In an order that says nothing: it depends on what came when.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &Entries<V>)> {
        let (one, many) = match self {
            Self::Empty => (None, None),
            Self::One(only, entries) => (Some((only, entries)), None),
            Self::Many(table) => (None, Some(table.members.iter())),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }

    /// Lets `act` change the entries of `member`, which are none when it is not there. It is there afterwards if any are left.
    pub(super) fn change(&mut self, member: K, lent: Lent<'_>, act: impl FnOnce(&K, &mut Entries<V>, &mut Known<'_>)) {
        let around = lent.writers;
        match self {
            Self::Many(table) => {
                table.change(member, around, act);
                if table.members.is_empty() {
                    *self = Self::Empty;
                }
            }
            Self::One(only, entries) if *only == member => {
                act(only, entries, &mut Known { around, own: None });
                if entries.is_empty() {
                    *self = Self::Empty;
                }
            }
            Self::Empty | Self::One(..) => {
                let mut entries = Entries::new();
                act(&member, &mut entries, &mut Known { around, own: None });
                if !entries.is_empty() {
                    self.add(member, entries, lent.seed);
                }
            }
        }
    }

    /// Adds a member beside at most one.
    fn add(&mut self, member: K, entries: Entries<V>, seed: Seeded) {
        *self = match std::mem::replace(self, Self::Empty) {
            Self::Empty => Self::One(member, entries),
            Self::One(only, its) => {
                let mut members = IndexMap::with_hasher(seed);
                members.extend([(only, its), (member, entries)]);
                Self::Many(Box::new(Table { members, writers: Writers::default() }))
            }
            Self::Many(mut table) => {
                table.members.insert(member, entries);
                Self::Many(table)
            }
        };
    }
}

impl<K: Eq + Hash, V> Table<K, V> {
    /// Hashes the member once, whatever becomes of it.
    fn change(&mut self, member: K, around: Option<&Writers>, act: impl FnOnce(&K, &mut Entries<V>, &mut Known<'_>)) {
        let mut known = Known { around, own: Some(&mut self.writers) };
        let hash = self.members.hasher().hash_one(&member);
        match self.members.raw_entry_mut_v1().from_hash(hash, |there| *there == member) {
            RawEntryMut::Occupied(mut place) => {
                let (member, entries) = place.get_key_value_mut();
                act(member, entries, &mut known);
                if entries.is_empty() {
                    place.swap_remove();
                    if self.members.capacity() / 8 > self.members.len() {
                        self.members.shrink_to(self.members.len() * 2);
                    }
                }
            }
            RawEntryMut::Vacant(place) => {
                let mut entries = Entries::new();
                act(&member, &mut entries, &mut known);
                if !entries.is_empty() {
                    place.insert_hashed_nocheck(hash, member, entries);
                }
            }
        }
    }
}
