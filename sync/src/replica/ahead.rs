//! What objects already show beyond the replica's vector, by range of position.
//!
//! A page of state may hold later commits than the vector that a repair ends with. An object must not take those commits again:
//! an element that one of them added and another removed would come back, because nothing here remembers the removal. So the
//! vector of each page is kept for its ranges until the replica's own vector includes it. It outlives a restart, and our own
//! pages tell it, because the content that it speaks of does. The invariant: an object shows exactly the commits that are in
//! the replica's vector or in the vector of its range.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::causal::VersionVector;
use crate::id::Stream;
use crate::key::Key;

/// Vectors by range of [`Key::position`]: each holds from its own position to the next. Ranges of one repair share vectors.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Stored", into = "Stored")]
pub struct Ahead {
    steps: BTreeMap<u64, Arc<VersionVector>>,
}

/// Each vector once, and the ranges that begin with which.
#[derive(Serialize, Deserialize)]
struct Stored(Vec<VersionVector>, Vec<(u64, u32)>);

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
        if self.steps.is_empty() {
            return None;
        }
        self.at(key.position()).0
    }

    /// What the object at `position` shows, and the last position for which that holds.
    pub(super) fn at(&self, position: u64) -> (Option<&VersionVector>, u64) {
        let here = self.steps.range(..=position).next_back().map(|(_, vector)| &**vector);
        let next = position.checked_add(1).and_then(|after| self.steps.range(after..).next());
        (here, next.map_or(u64::MAX, |(next, _)| next - 1))
    }

    /// How much of `stream` any object shows.
    pub(super) fn most_of(&self, stream: &Stream) -> u64 {
        self.steps.values().map(|vector| vector.seq(stream)).max().unwrap_or(0)
    }

    /// The vectors that there are; one may be told more than once.
    pub(super) fn vectors(&self) -> impl Iterator<Item = &VersionVector> {
        let mut last = None;
        let is_new = move |vector: &&Arc<VersionVector>| last.replace(Arc::as_ptr(vector)) != Some(Arc::as_ptr(vector));
        self.steps.values().filter(is_new).map(|vector| &**vector)
    }

    /// Whether `seen` includes everything that any object shows.
    pub(super) fn is_within(&self, seen: &VersionVector) -> bool {
        self.steps.values().all(|vector| seen.includes(vector))
    }

    /// Notes that the objects in these ranges show what is in `vector`.
    pub(super) fn show(&mut self, ranges: &[RangeInclusive<u64>], vector: &VersionVector) {
        // Neighbours mostly had one vector, and have one again.
        let mut last: Option<(Arc<VersionVector>, Arc<VersionVector>)> = None;
        for range in ranges.iter().filter(|range| !range.is_empty()) {
            self.split(*range.start());
            if let Some(after) = range.end().checked_add(1) {
                self.split(after);
            }
            for (_, step) in self.steps.range_mut(range.clone()) {
                let merged = match &last {
                    Some((before, merged)) if Arc::ptr_eq(before, step) => merged.clone(),
                    Some(_) | None => {
                        let mut merged = (**step).clone();
                        merged.merge(vector);
                        let known = last.as_ref().map(|(_, known)| known).filter(|known| ***known == merged);
                        known.cloned().unwrap_or_else(|| Arc::new(merged))
                    }
                };
                last = Some((std::mem::replace(step, merged.clone()), merged));
            }
        }
        self.join();
    }

    /// Forgets what `seen` has come to include.
    pub(super) fn settle(&mut self, seen: &VersionVector) {
        if self.steps.is_empty() {
            return;
        }
        let nothing = Arc::new(VersionVector::default());
        let mut last: Option<(Arc<VersionVector>, bool)> = None;
        for step in self.steps.values_mut() {
            let included = match &last {
                Some((vector, included)) if Arc::ptr_eq(vector, step) => *included,
                Some(_) | None => seen.includes(step),
            };
            last = Some((step.clone(), included));
            if included {
                *step = nothing.clone();
            }
        }
        self.join();
    }

    /// Makes one range of neighbours that show the same.
    fn join(&mut self) {
        let mut before = Arc::new(VersionVector::default());
        self.steps.retain(|_, vector| {
            let redundant = Arc::ptr_eq(vector, &before) || *vector == before;
            before = vector.clone();
            !redundant
        });
    }

    fn split(&mut self, at: u64) {
        let before = self.steps.range(..=at).next_back().map(|(_, vector)| vector.clone()).unwrap_or_default();
        self.steps.entry(at).or_insert(before);
    }
}

impl From<Ahead> for Stored {
    fn from(ahead: Ahead) -> Self {
        let mut vectors: Vec<Arc<VersionVector>> = Vec::new();
        let mut steps = Vec::new();
        for (start, vector) in ahead.steps {
            // The vectors are few, and mostly that of a range just before.
            let known = vectors.iter().rposition(|known| Arc::ptr_eq(known, &vector));
            let index = known.unwrap_or_else(|| {
                vectors.push(vector);
                vectors.len() - 1
            });
            steps.push((start, u32::try_from(index).unwrap_or(u32::MAX)));
        }
        Self(vectors.iter().map(|vector| (**vector).clone()).collect(), steps)
    }
}

impl From<Stored> for Ahead {
    fn from(Stored(vectors, steps): Stored) -> Self {
        let vectors: Vec<Arc<VersionVector>> = vectors.into_iter().map(Arc::new).collect();
        let step = |(start, index): (u64, u32)| {
            let vector = usize::try_from(index).ok().and_then(|index| vectors.get(index));
            (start, vector.cloned().unwrap_or_default())
        };
        Self { steps: steps.into_iter().map(step).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec;
    use crate::id::{Incarnation, NodeId, ReplicaId, Stream};

    fn vector(seq: u64) -> VersionVector {
        let replica = ReplicaId { node: NodeId([1; 32]), incarnation: Incarnation(1) };
        [(Stream::global(replica), seq)].into_iter().collect()
    }

    fn commits(ahead: &Ahead, position: u64) -> u64 {
        ahead.at(position).0.map_or(0, VersionVector::commits)
    }

    #[test]
    fn ranges_end_where_they_say() {
        let mut ahead = Ahead::default();
        ahead.show(&[20..=40], &vector(5));
        ahead.show(&[0..=0, 30..=u64::MAX], &vector(7));
        for (position, expect) in [(0, 7), (1, 0), (19, 0), (20, 5), (29, 5), (30, 7), (40, 7), (41, 7), (u64::MAX, 7)]
        {
            assert_eq!(commits(&ahead, position), expect, "{position}");
        }
        assert_eq!((ahead.at(21).1, ahead.at(30).1, ahead.at(0).1), (29, u64::MAX, 0));
        assert!(!ahead.is_within(&vector(6)) && ahead.is_within(&vector(7)));
    }

    #[test]
    fn what_was_seen_is_forgotten() {
        let mut ahead = Ahead::default();
        ahead.show(&[0..=9], &vector(5));
        ahead.show(&[10..=u64::MAX], &vector(7));
        ahead.settle(&vector(5));
        assert_eq!((commits(&ahead, 9), commits(&ahead, 10), ahead.len()), (0, 7, 1));
        ahead.settle(&vector(7));
        assert!(ahead.is_empty());
    }

    #[test]
    fn many_ranges_cost_their_ends_and_one_vector() {
        let mut ahead = Ahead::default();
        let ranges: Vec<_> = (0..1_000).map(|at| at << 40..=(at << 40) + 9).collect();
        ahead.show(&ranges, &vector(5));
        assert_eq!(ahead.len(), 2_000);
        let bytes = codec::encode(&ahead);
        assert!(bytes.len() < 2_000 * 13, "{} bytes", bytes.len());
        assert_eq!(codec::decode::<Ahead>(&bytes, bytes.len()).expect("decodes"), ahead);
        // What covers them all makes one of them.
        ahead.show(&[0..=u64::MAX], &vector(8));
        assert_eq!(ahead.len(), 1);
    }
}
