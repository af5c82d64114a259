//! Version vectors: which commits of which streams have been seen.
//!
//! Built on the vector clock of the `crdts` crate, keyed by stream. Because commits of a stream apply in order and without
//! gaps, one number per stream says it all. Copies share one clock until one of them changes, for what is known of each of a
//! thousand peers is usually the same; and the digest is a running sum, so that nobody pays for the number of streams. Streams
//! that move again and again are added up when somebody asks. The invariant: a vector only grows.

use std::cmp::Ordering;
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;

use crdts::VClock;
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::id::{Dot, Incarnation, NodeId, ReplicaId, Scope, Stream};
use crate::limits::SEQ_MAX;

/// The highest sequence number seen of each stream.
#[derive(Debug, Default)]
pub struct VersionVector {
    clock: Arc<VClock<Stream>>,
    /// The wrapping sum over the hashes of all entries, but for those that have moved.
    sum: u128,
    /// At most [`MOVED_MAX`] streams, and what the sum holds of each.
    moved: Vec<(Stream, u64)>,
}

/// Streams that are not added up at once: a few writers are busy at a time, and hashing twice costs more than the rest of an
/// advance.
const MOVED_MAX: usize = 8;

impl Clone for VersionVector {
    fn clone(&self) -> Self {
        Self { clock: self.clock.clone(), sum: self.total(), moved: Vec::new() }
    }
}

impl PartialEq for VersionVector {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.clock, &other.clock) || (self.total() == other.total() && self.clock == other.clock)
    }
}

impl Eq for VersionVector {}

impl VersionVector {
    /// The highest sequence number seen of `stream`; 0 when none was.
    #[must_use]
    pub fn seq(&self, stream: &Stream) -> u64 {
        self.clock.get(stream)
    }

    /// Notes that `stream` has been seen up to and including `seq`. Never goes back.
    pub fn advance(&mut self, stream: Stream, seq: u64) {
        let is_shared = Arc::strong_count(&self.clock) > 1;
        if seq == 0 || (is_shared && seq <= self.seq(&stream)) {
            // Nothing new: no reason to part from those that share the clock.
            return;
        }
        let has_moved = self.moved.iter().any(|(moved, _)| *moved == stream);
        if !has_moved && self.moved.len() == MOVED_MAX {
            self.sum = self.total();
            self.moved.clear();
        }
        // One search, for this happens with every commit; the clock's own operation would make three of it.
        let before = Arc::make_mut(&mut self.clock).dots.entry(stream).or_insert(0);
        if seq > *before {
            if !has_moved {
                self.moved.push((stream, *before));
            }
            *before = seq;
        }
    }

    /// The sum over all entries as they are now.
    fn total(&self) -> u128 {
        let rise = |(stream, before): &(Stream, u64)| {
            entry_hash(stream, self.seq(stream)).wrapping_sub(entry_hash(stream, *before))
        };
        self.moved.iter().map(rise).fold(self.sum, u128::wrapping_add)
    }

    /// Takes the greater of both, stream by stream.
    pub fn merge(&mut self, other: &Self) {
        if self == other || self.includes(other) {
            return;
        }
        if other.includes(self) {
            self.clone_from(other);
            return;
        }
        other.iter().for_each(|(stream, seq)| self.advance(stream, seq));
    }

    /// The same but for `stream`, of which only what is up to `seq` is left.
    #[must_use]
    pub fn with_only(&self, stream: &Stream, seq: u64) -> Self {
        self.lowered([(*stream, seq)])
    }

    /// The same but for the streams named, of which only what is up to the numbers beside them is left.
    #[must_use]
    pub fn lowered(&self, to: impl IntoIterator<Item = (Stream, u64)>) -> Self {
        let mut lowered = self.clone();
        for (stream, seq) in to {
            let before = lowered.seq(&stream);
            if before > seq {
                let sum = lowered.sum.wrapping_sub(entry_hash(&stream, before));
                lowered.sum = sum.wrapping_add(entry_hash(&stream, seq));
                let dots = &mut Arc::make_mut(&mut lowered.clock).dots;
                if seq == 0 {
                    dots.remove(&stream);
                } else {
                    dots.insert(stream, seq);
                }
            }
        }
        lowered
    }

    /// Whether the commit named by `dot` in `scope` has been seen.
    #[must_use]
    pub fn covers(&self, scope: Scope, dot: &Dot) -> bool {
        self.seq(&Stream { scope, replica: dot.replica }) >= dot.seq
    }

    /// Whether everything in `other` has been seen.
    #[must_use]
    pub fn includes(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.clock, &other.clock)
            || matches!(self.clock.partial_cmp(&other.clock), Some(Ordering::Equal | Ordering::Greater))
    }

    /// How many commits of `other` have not been seen.
    #[must_use]
    pub fn missing_from(&self, other: &Self) -> u64 {
        if self == other {
            return 0;
        }
        other.iter().map(|(stream, seq)| seq.saturating_sub(self.seq(&stream))).fold(0, u64::saturating_add)
    }

    /// The lesser of both, stream by stream: what both have seen.
    #[must_use]
    pub fn common(&self, other: &Self) -> Self {
        if other.includes(self) {
            return self.clone();
        }
        if self.includes(other) {
            return other.clone();
        }
        let lesser = self.iter().map(|(stream, seq)| (stream, seq.min(other.seq(&stream))));
        lesser.filter(|(_, seq)| *seq > 0).collect()
    }

    /// Every stream with its highest sequence number, in order of stream.
    pub fn iter(&self) -> impl Iterator<Item = (Stream, u64)> + '_ {
        self.clock.dots.iter().map(|(stream, seq)| (*stream, *seq))
    }

    /// The streams of `node` in `scope`, in order of incarnation.
    #[must_use]
    pub fn of_node(&self, scope: Scope, node: NodeId) -> impl DoubleEndedIterator<Item = (Stream, u64)> + '_ {
        let stream = |incarnation| Stream { scope, replica: ReplicaId { node, incarnation: Incarnation(incarnation) } };
        self.clock.dots.range(stream(0)..=stream(u64::MAX)).map(|(stream, seq)| (*stream, *seq))
    }

    /// Every stream with its highest sequence number, in order of stream, beginning after `after`.
    pub fn after(&self, after: Option<&Stream>) -> impl Iterator<Item = (Stream, u64)> + '_ {
        let range = (after.map_or(Unbounded, |after| Excluded(*after)), Unbounded);
        self.clock.dots.range(range).map(|(stream, seq)| (*stream, *seq))
    }

    /// How many streams have been seen.
    #[must_use]
    pub fn len(&self) -> usize {
        self.clock.dots.len()
    }

    /// Whether nothing has been seen.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.clock.is_empty()
    }

    /// How many commits the vector stands for.
    #[must_use]
    pub fn commits(&self) -> u64 {
        self.iter().map(|(_, seq)| seq).fold(0, u64::saturating_add)
    }

    /// A hash of constant size that is equal for equal vectors. It detects differences; it is no commitment.
    #[must_use]
    pub fn digest(&self) -> [u8; 16] {
        self.total().to_le_bytes()
    }
}

/// The share of one entry in the digest; nothing for a stream of which nothing was seen.
fn entry_hash(stream: &Stream, seq: u64) -> u128 {
    if seq == 0 {
        return 0;
    }
    let mut bytes = [0; 52];
    bytes[..4].copy_from_slice(&stream.scope.0.to_le_bytes());
    bytes[4..36].copy_from_slice(&stream.replica.node.0);
    bytes[36..44].copy_from_slice(&stream.replica.incarnation.0.to_le_bytes());
    bytes[44..].copy_from_slice(&seq.to_le_bytes());
    xxhash_rust::xxh3::xxh3_128(&bytes)
}

impl FromIterator<(Stream, u64)> for VersionVector {
    fn from_iter<I: IntoIterator<Item = (Stream, u64)>>(pairs: I) -> Self {
        let mut vector = Self::default();
        for (stream, seq) in pairs {
            vector.advance(stream, seq);
        }
        vector
    }
}

impl Serialize for VersionVector {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for VersionVector {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = VersionVector;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("pairs of stream and sequence number")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut pairs: A) -> Result<VersionVector, A::Error> {
                let mut vector = VersionVector::default();
                while let Some((stream, seq)) = pairs.next_element::<(Stream, u64)>()? {
                    if !(1..=SEQ_MAX).contains(&seq) {
                        return Err(serde::de::Error::custom("a version vector with a sequence number out of range"));
                    }
                    vector.advance(stream, seq);
                }
                Ok(vector)
            }
        }
        deserializer.deserialize_seq(Pairs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{Incarnation, NodeId, ReplicaId};

    fn stream(byte: u8) -> Stream {
        Stream::global(ReplicaId { node: NodeId([byte; 32]), incarnation: Incarnation(1) })
    }

    fn vector(pairs: &[(u8, u64)]) -> VersionVector {
        pairs.iter().map(|(byte, seq)| (stream(*byte), *seq)).collect()
    }

    #[test]
    fn includes_is_a_partial_order() {
        let (low, high, aside) = (vector(&[(1, 2)]), vector(&[(1, 3), (2, 1)]), vector(&[(1, 1), (2, 5)]));
        assert!(high.includes(&low) && !low.includes(&high));
        assert!(!high.includes(&aside) && !aside.includes(&high));
        assert!(low.includes(&low) && low.includes(&VersionVector::default()));
    }

    #[test]
    fn missing_counts_what_the_other_has_more() {
        assert_eq!(vector(&[(1, 2)]).missing_from(&vector(&[(1, 5), (2, 4)])), 7);
        assert_eq!(vector(&[(1, 9)]).missing_from(&vector(&[(1, 5)])), 0);
    }

    #[test]
    fn common_is_the_lesser_of_both() {
        assert_eq!(vector(&[(1, 5), (2, 1)]).common(&vector(&[(1, 3), (3, 9)])), vector(&[(1, 3)]));
    }

    #[test]
    fn digests_are_equal_exactly_for_equal_vectors() {
        assert_eq!(vector(&[(1, 2), (2, 3)]).digest(), vector(&[(2, 3), (1, 2)]).digest());
        assert_ne!(vector(&[(1, 2)]).digest(), vector(&[(1, 3)]).digest());
    }

    #[test]
    fn digests_add_up_whatever_moved_and_when_somebody_asked() {
        let mut vector = VersionVector::default();
        for step in 0..10_000_u64 {
            let byte = [step % 3, step * 7 % 19, step / 100 % 40][usize::try_from(step % 3).expect("small")];
            vector.advance(stream(u8::try_from(byte).expect("small")), step / 5);
            let expect = vector.iter().map(|(stream, seq)| entry_hash(&stream, seq)).fold(0, u128::wrapping_add);
            assert_eq!(vector.digest(), expect.to_le_bytes());
            if step % 50 == 0 {
                assert_eq!((vector.clone().digest(), vector.clone() == vector), (vector.digest(), true));
                let lowered = vector.with_only(&stream(1), 3);
                let expect = lowered.iter().map(|(stream, seq)| entry_hash(&stream, seq)).fold(0, u128::wrapping_add);
                assert_eq!(lowered.digest(), expect.to_le_bytes());
            }
        }
    }
}
