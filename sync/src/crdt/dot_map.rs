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
use std::hash::Hash;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::content::{Content, ItemBytes};
use super::hashing::Seeded;
use super::members::{Entries, Lent, Members};
use super::writer::{Live, Writers};
use crate::causal::VersionVector;
use crate::id::{Dot, ReplicaId, Scope};
use crate::planted::{self, Bug};

/// What has been seen, in the scope that an object lives in.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The scope of the object.
    pub scope: Scope,
    /// All that was seen.
    pub seen: &'a VersionVector,
    /// What this object has seen beyond that.
    pub ahead: Option<&'a VersionVector>,
    /// The seed of tables that come to be. Says nothing about what was seen; a state lends its own to what it changes.
    pub seed: Seeded,
    /// The writers whose names entries that come to be share. Says nothing about what was seen either.
    pub(crate) writers: Option<&'a Writers>,
}

impl<'a> Context<'a> {
    /// The context of an object of everybody's that has seen exactly `seen`.
    #[must_use]
    pub const fn of(seen: &'a VersionVector) -> Self {
        Self { scope: Scope::GLOBAL, seen, ahead: None, seed: Seeded(0), writers: None }
    }
}

impl Context<'_> {
    fn lent(&self) -> Lent<'_> {
        Lent { seed: self.seed, writers: self.writers }
    }

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
pub(super) trait Item {
    /// Bytes beyond a machine word or two.
    fn weight(&self) -> usize;
    /// Feeds the item to a hash, unambiguously.
    fn feed(&self, item: &mut ItemBytes);
}

/// What members and values are: how they are kept, and how they are stored and sent.
pub(super) trait Kept: Clone + Eq + Item {
    /// Stored and sent.
    type Plain: Ord;
    fn plain(&self) -> Self::Plain;
    fn of_plain(plain: Self::Plain) -> Self;
}

/// What members are.
pub(super) trait Member: Ord + Hash + Kept {
    /// The member that stands for `plain`, which stays where it is.
    fn of_ref(plain: &Self::Plain) -> Self;
}

/// Members with their live dots.
#[derive(Clone, Debug)]
#[expect(clippy::box_collection, reason = "nearly always absent, and one pointer is less than an empty map")]
pub(super) struct DotMap<K, V> {
    members: Members<K, V>,
    deferred: Option<Box<BTreeMap<K, BTreeSet<Dot>>>>,
}

/// An assignment as a map of dots takes it.
pub(super) struct Write<'a, K, V> {
    pub(super) member: K,
    pub(super) value: Option<V>,
    pub(super) over: &'a [Dot],
    pub(super) dot: Dot,
}

impl<K, V> Default for DotMap<K, V> {
    fn default() -> Self {
        Self { members: Members::Empty, deferred: None }
    }
}

impl<K: Member, V: Kept> PartialEq for DotMap<K, V> {
    fn eq(&self, other: &Self) -> bool {
        let same = |(member, entries): (&K, &Entries<V>)| other.members.get(member) == Some(entries);
        self.members.len() == other.members.len() && self.members.iter().all(same) && self.deferred == other.deferred
    }
}

impl<K: Member, V: Kept> Eq for DotMap<K, V> {}

/// A dot map as it is stored and sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DotMapState<K, V> {
    /// Members with their live dots, in order of member.
    #[serde(rename = "m")]
    pub members: Vec<(K, Vec<Entry<V>>)>,
    /// Dots whose removal came before them.
    #[serde(rename = "x")]
    pub deferred: Vec<(K, Vec<Dot>)>,
}

impl<K: Member, V: Kept> DotMap<K, V> {
    /// The live dots of a member; `None` when it is not there.
    pub(super) fn entries(&self, member: &K) -> Option<&[Live<V>]> {
        self.members.get(member).map(SmallVec::as_slice)
    }

    /// Every member with its live dots, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &[Live<V>])> {
        self.members.iter().map(|(member, entries)| (member, entries.as_slice()))
    }

    /// Every member with its live dots, in order of member.
    pub(super) fn sorted(&self) -> Vec<(&K, &[Live<V>])> {
        let mut sorted: Vec<_> = self.iter().collect();
        sorted.sort_unstable_by_key(|(member, _)| *member);
        sorted
    }

    /// Whether no member is there.
    pub(super) fn is_empty(&self) -> bool {
        self.members.len() == 0
    }

    /// How many dots wait for the add that they remove.
    pub(super) fn deferred_dots(&self) -> usize {
        self.deferred.iter().flat_map(|deferred| deferred.values()).map(BTreeSet::len).sum()
    }

    /// The dots that an assignment of `member` by the writer of `dot` has to name: those of other writers. The writer's own
    /// earlier dots go without saying.
    pub(super) fn observed(&self, member: &K, dot: &Dot) -> Vec<Dot> {
        let entries = self.members.get(member).into_iter().flatten();
        entries.map(Live::dot).filter(|observed| observed.replica != dot.replica).collect()
    }

    /// Applies one assignment of the commit named by its dot.
    pub(super) fn assign(&mut self, write: Write<'_, K, V>, context: Context<'_>, content: &mut Content) {
        let Write { member, value, over, dot } = write;
        for observed in over.iter().filter(|observed| !context.covers(observed)) {
            self.defer(&member, *observed);
        }
        // The commit that a removal was waiting for has come: from now on the vector covers its dot.
        let removed = self.undefer(&member, &dot);
        let value = value.filter(|_| !removed);
        let superseded = |entry: &Live<V>| {
            (entry.precedes(&dot) && !planted::is(Bug::OwnOlderStays)) || over.iter().any(|observed| entry.is(observed))
        };
        self.members.change(member, context.lent(), |member, entries, known| match (entries.as_mut_slice(), value) {
            // By far the most frequent case: a writer writes once more what nobody else wrote since.
            ([entry], Some(value)) if superseded(entry) => {
                count_out(member, entry, content);
                if !entry.writer.is(&dot.replica) {
                    entry.writer = known.writer(&dot.replica);
                }
                (entry.seq, entry.value) = (dot.seq, value);
                count_in(member, entry, content);
            }
            (_, value) => {
                drop_where(member, entries, superseded, content);
                if let Some(value) = value {
                    place(
                        member,
                        entries,
                        dot,
                        || Live { writer: known.writer(&dot.replica), seq: dot.seq, value },
                        content,
                    );
                }
            }
        });
    }

    /// Merges the state of another host that has seen `theirs`, into this one that has seen `ours`.
    pub(super) fn merge(
        &mut self,
        state: DotMapState<K::Plain, V::Plain>,
        theirs: Context<'_>,
        ours: Context<'_>,
        content: &mut Content,
    ) {
        if !self.is_empty() && !planted::is(Bug::RemovalsUnmerged) {
            self.drop_absent(&state, theirs, content);
        }
        for (member, dots) in state.deferred {
            let member = K::of_plain(member);
            for dot in dots {
                self.drop_dot(&member, dot, content);
                if !ours.covers(&dot) {
                    self.defer(&member, dot);
                }
            }
        }
        for (member, entries) in state.members {
            let member = K::of_plain(member);
            let deferred = self.deferred.as_ref().and_then(|deferred| deferred.get(&member));
            let removed = |dot: &Dot| deferred.is_some_and(|dots| dots.contains(dot));
            self.members.change(member, ours.lent(), |member, held, known| {
                for entry in entries {
                    if ours.covers(&entry.dot) {
                        agree(member, held, entry, content);
                    } else if !removed(&entry.dot) {
                        // Unless it was removed before it came, or its writer has since written the member again.
                        let Entry { dot, value } = entry;
                        drop_where(member, held, |entry| entry.precedes(&dot), content);
                        let live =
                            || Live { writer: known.writer(&dot.replica), seq: dot.seq, value: V::of_plain(value) };
                        place(member, held, dot, live, content);
                    }
                }
            });
        }
    }

    /// Drops what the other host has seen and does not hold any more.
    fn drop_absent(&mut self, state: &DotMapState<K::Plain, V::Plain>, theirs: Context<'_>, content: &mut Content) {
        let there: BTreeMap<K, &[Entry<V::Plain>]> =
            state.members.iter().map(|(member, entries)| (K::of_ref(member), entries.as_slice())).collect();
        let missing = |member: &K, dot: &Dot| {
            !there.get(member).is_some_and(|entries| entries.iter().any(|entry| entry.dot == *dot))
        };
        let mut gone = Vec::new();
        for (member, entries) in self.members.iter() {
            let removed = |dot: &Dot| theirs.covers(dot) && missing(member, dot);
            gone.extend(entries.iter().map(Live::dot).filter(removed).map(|dot| (member.clone(), dot)));
        }
        for (member, dot) in gone {
            self.drop_dot(&member, dot, content);
        }
    }

    /// Forgets deferred dots that the vector has come to cover: their adds are in what was seen, or never come again.
    pub(super) fn settle(&mut self, context: Context<'_>) {
        let Some(deferred) = &mut self.deferred else { return };
        deferred.retain(|_, dots| {
            dots.retain(|dot| !context.covers(dot));
            !dots.is_empty()
        });
        if deferred.is_empty() {
            self.deferred = None;
        }
    }

    pub(super) fn state(&self) -> DotMapState<K::Plain, V::Plain> {
        let plain = |entries: &[Live<V>]| entries.iter().map(|entry| entry.entry(V::plain)).collect();
        let members = self.sorted().into_iter().map(|(member, entries)| (member.plain(), plain(entries)));
        let deferred = self.deferred.iter().flat_map(|deferred| deferred.iter());
        DotMapState {
            members: members.collect(),
            deferred: deferred.map(|(member, dots)| (member.plain(), dots.iter().copied().collect())).collect(),
        }
    }

    fn defer(&mut self, member: &K, dot: Dot) {
        if planted::is(Bug::RemovalsDoNotWait) {
            return;
        }
        self.deferred.get_or_insert_default().entry(member.clone()).or_default().insert(dot);
    }

    /// Strikes a dot from those that wait; returns whether it did.
    fn undefer(&mut self, member: &K, dot: &Dot) -> bool {
        let Some(deferred) = &mut self.deferred else { return false };
        let Some(dots) = deferred.get_mut(member) else { return false };
        let removed = dots.remove(dot);
        if dots.is_empty() {
            deferred.remove(member);
        }
        if deferred.is_empty() {
            self.deferred = None;
        }
        removed
    }

    fn drop_dot(&mut self, member: &K, dot: Dot, content: &mut Content) {
        if self.members.get(member).is_some() {
            self.members.change(member.clone(), Lent::default(), |member, entries, _| {
                drop_where(member, entries, |entry| entry.is(&dot), content);
            });
        }
    }
}

fn drop_where<K: Item, V: Item>(
    member: &K,
    entries: &mut Entries<V>,
    gone: impl Fn(&Live<V>) -> bool,
    content: &mut Content,
) {
    if let [entry] = entries.as_slice() {
        if gone(entry) {
            count_out(member, entry, content);
            entries.clear();
        }
        return;
    }
    entries.retain(|entry| {
        let gone = gone(entry);
        if gone {
            count_out(member, entry, content);
        }
        !gone
    });
}

/// Puts the entry of `dot` where it belongs, unless its writer has written the member since, or it is there.
fn place<K: Item, V: Item>(
    member: &K,
    entries: &mut Entries<V>,
    dot: Dot,
    live: impl FnOnce() -> Live<V>,
    content: &mut Content,
) {
    if entries.iter().any(|other| other.seq >= dot.seq && other.writer.is(&dot.replica)) {
        return;
    }
    let live = live();
    count_in(member, &live, content);
    if entries.is_empty() {
        entries.push(live);
        return;
    }
    let place = entries.partition_point(|other| other.dot() < dot);
    entries.insert(place, live);
}

/// One name can mean two puts, when a snapshot of a whole machine wrote and somebody who lagged took it for the first: the
/// greater stays, at both, or they would repair each other for ever.
fn agree<K: Item, V: Kept>(member: &K, entries: &mut Entries<V>, other: Entry<V::Plain>, content: &mut Content) {
    let Some(held) = entries.iter_mut().find(|held| held.is(&other.dot)) else { return };
    if held.value.plain() < other.value {
        count_out(member, held, content);
        held.value = V::of_plain(other.value);
        count_in(member, held, content);
    }
}

fn count_in<K: Item, V: Item>(member: &K, entry: &Live<V>, content: &mut Content) {
    content.insert(member.weight() + entry.value.weight(), |item| feed_entry(member, entry, item));
}

fn count_out<K: Item, V: Item>(member: &K, entry: &Live<V>, content: &mut Content) {
    content.remove(member.weight() + entry.value.weight(), |item| feed_entry(member, entry, item));
}

fn feed_entry<K: Item, V: Item>(member: &K, entry: &Live<V>, item: &mut ItemBytes) {
    member.feed(item);
    let ReplicaId { node, incarnation } = entry.writer.replica();
    item.update(&node.0);
    item.update(&incarnation.0.to_le_bytes());
    item.update(&entry.seq.to_le_bytes());
    entry.value.feed(item);
}
