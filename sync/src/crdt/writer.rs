//! Writers as entries name them: one piece of memory for each replica, which all that it wrote shares.
//!
//! A replica's id has 40 bytes, more than most of what it writes. Owns sharing only; what an entry means is its holder's. The
//! invariant: two that name the same replica are equal, whether they share or not.

use std::sync::Arc;

use super::dot_map::Entry;
use crate::id::{Dot, ReplicaId};

/// A replica, shared.
#[derive(Clone, Debug)]
pub(super) struct Writer(Arc<ReplicaId>);

impl Writer {
    pub(super) fn new(replica: &ReplicaId) -> Self {
        Self(Arc::new(*replica))
    }

    pub(super) fn replica(&self) -> &ReplicaId {
        &self.0
    }

    pub(super) fn is(&self, replica: &ReplicaId) -> bool {
        *self.0 == *replica
    }
}

impl PartialEq for Writer {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

impl Eq for Writer {}

/// Replicas that are shared.
#[derive(Clone, Debug, Default)]
pub(crate) struct Writers {
    /// In order.
    known: Vec<(ReplicaId, Writer)>,
    /// The place of the last that was asked for, which is often asked for again.
    last: usize,
}

impl Writers {
    /// The writer that stands for `replica`, if it is known.
    pub(super) fn get(&self, replica: &ReplicaId) -> Option<&Writer> {
        self.place(replica).ok().map(|place| &self.known[place].1)
    }

    /// Takes note of a replica that is about to be named.
    pub(crate) fn note(&mut self, replica: &ReplicaId) {
        self.last = self.place(replica).unwrap_or_else(|_| self.add(replica));
    }

    /// The writer that stands for `replica`, which is known from now on.
    pub(super) fn know(&mut self, replica: &ReplicaId) -> &Writer {
        self.note(replica);
        &self.known[self.last].1
    }

    fn place(&self, replica: &ReplicaId) -> Result<usize, usize> {
        if self.known.get(self.last).is_some_and(|(last, _)| last == replica) {
            return Ok(self.last);
        }
        self.known.binary_search_by(|(known, _)| known.cmp(replica))
    }

    fn add(&mut self, replica: &ReplicaId) -> usize {
        if self.known.len() == self.known.capacity() {
            // Before there is memory for more, those whose entries are all gone make room: so few are kept for nothing.
            self.known.retain(|(_, writer)| Arc::strong_count(&writer.0) > 1);
        }
        let place = self.known.partition_point(|(known, _)| known < replica);
        self.known.insert(place, (*replica, Writer::new(replica)));
        place
    }
}

/// An [`Entry`] in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Live<V> {
    pub(super) writer: Writer,
    pub(super) seq: u64,
    pub(super) value: V,
}

impl<V> Live<V> {
    pub(super) fn dot(&self) -> Dot {
        Dot { replica: *self.writer.replica(), seq: self.seq }
    }

    /// Whether the commit named by `dot` wrote it.
    pub(super) fn is(&self, dot: &Dot) -> bool {
        self.seq == dot.seq && self.writer.is(&dot.replica)
    }

    /// Whether the writer of `dot` wrote it in an earlier commit.
    pub(super) fn precedes(&self, dot: &Dot) -> bool {
        self.seq < dot.seq && self.writer.is(&dot.replica)
    }

    /// As it is stored and sent.
    pub(super) fn entry<P>(&self, plain: impl FnOnce(&V) -> P) -> Entry<P> {
        Entry { dot: self.dot(), value: plain(&self.value) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{Incarnation, NodeId};

    #[test]
    fn writers_are_shared_and_forgotten() {
        let id = |byte| ReplicaId { node: NodeId([byte; 32]), incarnation: Incarnation(1) };
        let mut writers = Writers::default();
        let kept: Vec<Writer> = [9, 3, 5].iter().map(|byte| writers.know(&id(*byte)).clone()).collect();
        assert!(Arc::ptr_eq(&writers.know(&id(3)).0, &kept[1].0));
        assert!(writers.get(&id(5)).is_some() && writers.get(&id(4)).is_none());
        for incarnation in 0..1_000 {
            writers.know(&ReplicaId { incarnation: Incarnation(incarnation), ..id(7) });
        }
        assert!(writers.known.len() <= 8, "{} known, three used", writers.known.len());
        assert!(kept.iter().all(|writer| Arc::ptr_eq(&writers.get(writer.replica()).expect("used").0, &writer.0)));
        assert!(writers.known.is_sorted_by(|(before, _), (after, _)| before < after));
    }
}
