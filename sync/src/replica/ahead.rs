//! What objects already show beyond the replica's vector, by range of key.
//!
//! A page of state may hold later commits than the vector that a repair ends with. An object must not take those commits again:
//! an element that one of them added and another removed would come back, because nothing here remembers the removal. So the
//! vector of each page is kept for its keys until the replica's own vector includes it. It outlives a restart, and our own
//! pages tell it, because the content that it speaks of does. The invariant: an object shows exactly the commits that are in
//! the replica's vector or in the vector of its range.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Included, Unbounded};

use serde::{Deserialize, Serialize};

use crate::causal::VersionVector;
use crate::key::Key;

/// Vectors by range: each holds for the keys after its own, up to and including the next; `None` is before all keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ahead {
    steps: BTreeMap<Option<Key>, VersionVector>,
}

impl Ahead {
    /// Whether no object shows more than the replica's vector.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// How many ranges there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// What the object named `key` shows beyond the replica's vector.
    #[must_use]
    pub fn of(&self, key: &Key) -> Option<&VersionVector> {
        self.steps.range((Unbounded, Excluded(Some(key.clone())))).next_back().map(|(_, vector)| vector)
    }

    /// The range that begins right after `after`: what it shows, and the last key for which that holds.
    pub(super) fn range_after(&self, after: Option<&Key>) -> (Option<&VersionVector>, Option<&Key>) {
        let after = after.cloned();
        let here = self.steps.range(..=after.clone()).next_back().map(|(_, vector)| vector);
        let end = self.steps.range((Excluded(after), Unbounded)).next().and_then(|(key, _)| key.as_ref());
        (here, end)
    }

    /// Notes that the objects after `after`, up to and including `through`, show what is in `vector`.
    pub(super) fn show(&mut self, after: Option<&Key>, through: Option<&Key>, vector: &VersionVector) {
        if through.is_some_and(|through| after.is_some_and(|after| after >= through)) {
            return;
        }
        self.split(after.cloned());
        if let Some(through) = through {
            self.split(Some(through.clone()));
        }
        let end = through.map_or(Unbounded, |through| Excluded(Some(through.clone())));
        for (_, step) in self.steps.range_mut((Included(after.cloned()), end)) {
            step.merge(vector);
        }
    }

    /// Forgets what `seen` has come to include.
    pub(super) fn settle(&mut self, seen: &VersionVector) {
        if self.steps.is_empty() {
            return;
        }
        let mut before = VersionVector::default();
        self.steps.retain(|_, vector| {
            if seen.includes(vector) {
                *vector = VersionVector::default();
            }
            let redundant = *vector == before;
            before.clone_from(vector);
            !redundant
        });
    }

    fn split(&mut self, at: Option<Key>) {
        let before = self.steps.range(..=at.clone()).next_back().map(|(_, vector)| vector.clone()).unwrap_or_default();
        self.steps.entry(at).or_insert(before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{Incarnation, NodeId, ReplicaId, Stream};
    use crate::key::Kind;

    fn key(name: &str) -> Key {
        Key::new(Kind::GSet, name).expect("a key")
    }

    fn vector(seq: u64) -> VersionVector {
        let replica = ReplicaId { node: NodeId([1; 32]), incarnation: Incarnation(1) };
        [(Stream::global(replica), seq)].into_iter().collect()
    }

    #[test]
    fn a_range_ends_with_its_last_key() {
        let mut ahead = Ahead::default();
        ahead.show(Some(&key("b")), Some(&key("d")), &vector(5));
        ahead.show(Some(&key("c")), None, &vector(7));
        let check = |name: &str, expect: u64| {
            let none = VersionVector::default();
            assert_eq!(ahead.of(&key(name)).unwrap_or(&none).commits(), expect, "{name}");
        };
        for (name, expect) in [("a", 0), ("b", 0), ("bb", 5), ("c", 5), ("cc", 7), ("d", 7), ("e", 7)] {
            check(name, expect);
        }
        assert_eq!(ahead.range_after(Some(&key("b"))).1, Some(&key("c")));
    }

    #[test]
    fn what_was_seen_is_forgotten() {
        let mut ahead = Ahead::default();
        ahead.show(None, Some(&key("b")), &vector(5));
        ahead.show(Some(&key("b")), None, &vector(7));
        ahead.settle(&vector(5));
        assert_eq!((ahead.of(&key("a")), ahead.len()), (None, 1));
        ahead.settle(&vector(7));
        assert!(ahead.is_empty());
    }
}
