//! Members with the dots that put them there: the one mechanism behind the OR-set and the LWW-map.
//!
//! A member is present while at least one of its dots is live. An assignment supersedes the dots that its writer had observed;
//! a concurrent one is not observed and survives. No tombstones: that a dot was removed is known because the version vector
//! covers it and it is not here. The one exception is a removal that arrives before the add it observed (another writer's
//! stream was faster): its dot waits in `deferred` until the vector covers it.
//!
//! Invariants: at most one live dot per writer and member; no live dot is deferred; every deferred dot is not yet covered.
//! Source: Bieniusa et al., "An optimized conflict-free replicated set", 2012, with the per-set clock replaced by the stream's.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::content::{Content, ItemBytes};
use super::op::Assign;
use crate::causal::VersionVector;
use crate::id::{Dot, Scope};

/// What has been seen, in the scope that an object lives in.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The scope of the object.
    pub scope: Scope,
    /// All that was seen.
    pub seen: &'a VersionVector,
    /// What this object has seen beyond that.
    pub ahead: Option<&'a VersionVector>,
}

impl<'a> Context<'a> {
    /// The context of an object of everybody's that has seen exactly `seen`.
    #[must_use]
    pub const fn of(seen: &'a VersionVector) -> Self {
        Self { scope: Scope::GLOBAL, seen, ahead: None }
    }
}

impl Context<'_> {
    /// Whether the commit named by `dot` is among what was seen.
    #[must_use]
    pub fn covers(&self, dot: &Dot) -> bool {
        self.seen.covers(self.scope, dot) || self.ahead.is_some_and(|ahead| ahead.covers(self.scope, dot))
    }
}

/// A live dot of a member, and the value that it wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry<V> {
    /// Which commit wrote it.
    #[serde(rename = "d")]
    pub dot: Dot,
    /// What it wrote.
    #[serde(rename = "v")]
    pub value: V,
}

/// How members and values feed the content hash.
pub trait Item {
    /// Bytes beyond a machine word or two.
    fn weight(&self) -> usize;
    /// Feeds the item to a hash, unambiguously.
    fn feed(&self, item: &mut ItemBytes);
}

/// Members with their live dots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DotMap<K, V> {
    members: BTreeMap<K, Vec<Entry<V>>>,
    deferred: BTreeMap<K, BTreeSet<Dot>>,
}

impl<K, V> Default for DotMap<K, V> {
    fn default() -> Self {
        Self { members: BTreeMap::new(), deferred: BTreeMap::new() }
    }
}

/// A [`DotMap`] as it is stored and sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DotMapState<K, V> {
    /// Members with their live dots, in order of member.
    #[serde(rename = "m")]
    pub members: Vec<(K, Vec<Entry<V>>)>,
    /// Dots whose removal came before them.
    #[serde(rename = "x")]
    pub deferred: Vec<(K, Vec<Dot>)>,
}

impl<K: Ord + Clone + Item, V: Clone + Item> DotMap<K, V> {
    /// The live dots of a member; `None` when it is not there.
    #[must_use]
    pub fn entries(&self, member: &K) -> Option<&[Entry<V>]> {
        self.members.get(member).map(Vec::as_slice)
    }

    /// Every member with its live dots, in order of member.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &[Entry<V>])> {
        self.members.iter().map(|(member, entries)| (member, entries.as_slice()))
    }

    /// Whether no member is there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// How many dots wait for the add that they remove.
    #[must_use]
    pub fn deferred_dots(&self) -> usize {
        self.deferred.values().map(BTreeSet::len).sum()
    }

    /// The dots that an assignment of `member` by the writer of `dot` has to name: those of other writers. The writer's own
    /// earlier dots go without saying.
    pub(super) fn observed(&self, member: &K, dot: &Dot) -> Vec<Dot> {
        let entries = self.members.get(member).into_iter().flatten();
        entries.map(|entry| entry.dot).filter(|observed| observed.replica != dot.replica).collect()
    }

    /// Applies one assignment of the commit named by `dot`. `value` makes the value of an entry from what was assigned.
    pub(super) fn assign(&mut self, assign: Assign<K, V>, dot: Dot, context: Context<'_>, content: &mut Content) {
        let Assign { member, value, over } = assign;
        for observed in &over {
            self.drop_dot(&member, |entry| entry.dot == *observed, content);
            if !context.covers(observed) {
                self.deferred.entry(member.clone()).or_default().insert(*observed);
            }
        }
        self.drop_dot(&member, |entry| entry.dot.replica == dot.replica && entry.dot.seq < dot.seq, content);
        if let Some(value) = value {
            self.insert(member.clone(), Entry { dot, value }, content);
        }
        self.undefer(&member, &dot);
    }

    /// Merges the state of another host that has seen `theirs`, into this one that has seen `ours`.
    pub(super) fn merge(
        &mut self,
        state: DotMapState<K, V>,
        theirs: Context<'_>,
        ours: Context<'_>,
        content: &mut Content,
    ) {
        let their_members: BTreeMap<K, Vec<Entry<V>>> = state.members.into_iter().collect();
        let missing = |member: &K, dot: &Dot| {
            !their_members.get(member).is_some_and(|entries| entries.iter().any(|entry| entry.dot == *dot))
        };
        let mut gone = Vec::new();
        for (member, entries) in &self.members {
            let removed = |entry: &&Entry<V>| theirs.covers(&entry.dot) && missing(member, &entry.dot);
            gone.extend(entries.iter().filter(removed).map(|entry| (member.clone(), entry.dot)));
        }
        for (member, dot) in gone {
            self.drop_dot(&member, |entry| entry.dot == dot, content);
        }
        for (member, dots) in state.deferred {
            for dot in dots {
                self.drop_dot(&member, |entry| entry.dot == dot, content);
                if !ours.covers(&dot) {
                    self.deferred.entry(member.clone()).or_default().insert(dot);
                }
            }
        }
        for (member, entries) in their_members {
            for entry in entries.into_iter().filter(|entry| !ours.covers(&entry.dot)) {
                self.insert(member.clone(), entry, content);
            }
        }
    }

    /// Forgets deferred dots that the vector has come to cover: their adds are in what was seen, or never come again.
    pub(super) fn settle(&mut self, context: Context<'_>) {
        self.deferred.retain(|_, dots| {
            dots.retain(|dot| !context.covers(dot));
            !dots.is_empty()
        });
    }

    pub(super) fn state(&self) -> DotMapState<K, V> {
        DotMapState {
            members: self.members.iter().map(|(member, entries)| (member.clone(), entries.clone())).collect(),
            deferred: self
                .deferred
                .iter()
                .map(|(member, dots)| (member.clone(), dots.iter().copied().collect()))
                .collect(),
        }
    }

    /// Inserts an entry, unless it was removed before it came or its writer has since written the member again.
    fn insert(&mut self, member: K, entry: Entry<V>, content: &mut Content) {
        if self.deferred.get(&member).is_some_and(|dots| dots.contains(&entry.dot)) {
            return;
        }
        let same_writer = |other: &Entry<V>| other.dot.replica == entry.dot.replica;
        let newer = |other: &Entry<V>| same_writer(other) && other.dot.seq >= entry.dot.seq;
        if self.members.get(&member).is_some_and(|entries| entries.iter().any(newer)) {
            return;
        }
        self.drop_dot(&member, same_writer, content);
        content.insert(member.weight() + entry.value.weight(), |item| feed_entry(&member, &entry, item));
        let entries = self.members.entry(member).or_default();
        let place = entries.partition_point(|other| other.dot < entry.dot);
        entries.insert(place, entry);
    }

    /// The commit that a removal was waiting for has come: from now on the vector covers its dot.
    fn undefer(&mut self, member: &K, dot: &Dot) {
        if let Some(dots) = self.deferred.get_mut(member)
            && dots.remove(dot)
            && dots.is_empty()
        {
            self.deferred.remove(member);
        }
    }

    fn drop_dot(&mut self, member: &K, gone: impl Fn(&Entry<V>) -> bool, content: &mut Content) {
        let Some(entries) = self.members.get_mut(member) else { return };
        entries.retain(|entry| {
            let gone = gone(entry);
            if gone {
                content.remove(member.weight() + entry.value.weight(), |item| feed_entry(member, entry, item));
            }
            !gone
        });
        if entries.is_empty() {
            self.members.remove(member);
        }
    }
}

fn feed_entry<K: Item, V: Item>(member: &K, entry: &Entry<V>, item: &mut ItemBytes) {
    member.feed(item);
    item.update(&entry.dot.replica.node.0);
    item.update(&entry.dot.replica.incarnation.0.to_le_bytes());
    item.update(&entry.dot.seq.to_le_bytes());
    entry.value.feed(item);
}
