//! Commits that overtook their predecessors on the way: kept for a moment, so that a network without order costs no repeats.
//!
//! Frames of one peer travel on streams of their own and may arrive in any order. Nothing here counts as seen, and nothing is
//! lost when it is dropped: anti-entropy brings it again. The invariants: at most [`EARLY_BYTES_MAX`] bytes are kept, and
//! [`EARLY_BYTES_PER_PEER`] of one peer; who has little here is not kept out by those who have much.

use std::collections::BTreeMap;

use super::retire::Retired;
use super::spread::Way;
use super::{Output, Replica};
use crate::causal::VersionVector;
use crate::commit::Batch;
use crate::id::{NodeId, Stream};
use crate::limits::{EARLY_BYTES_MAX, EARLY_BYTES_PER_PEER, EARLY_OVERHEAD_BYTES, GAP_PATIENCE_MS, TREE_PATIENCE_MS};
use crate::seal::Seal;
use crate::time::Time;

#[derive(Debug, Default)]
pub(super) struct Early {
    /// What came too early, and how it came.
    batches: BTreeMap<(Stream, u64), (Way, Batch)>,
    /// What the batches of each peer that has any here occupy.
    held: BTreeMap<NodeId, usize>,
    /// When to ask for what is missing, and whom.
    gap: Option<(u64, NodeId)>,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// It waits.
    Found,
    /// It waits in place of fewer commits from the same one on.
    Replaced,
    /// As much was here already.
    Known,
    /// There was no room.
    None,
}

/// What came of keeping a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) how: Place,
    /// Commits for which there was no room, or no more: of this batch, or of the peer that had most here.
    pub(super) dropped: u64,
}

impl Early {
    /// Whether as much from the same commit on is kept already.
    pub(super) fn holds(&self, batch: &Batch) -> bool {
        let kept = self.batches.get(&(batch.stream, batch.first));
        kept.is_some_and(|(_, kept)| kept.commits.len() >= batch.commits.len())
    }

    /// Keeps a batch whose predecessors are missing, if there is room.
    pub(super) fn keep(&mut self, way: Way, batch: Batch, now: Time) -> Kept {
        if self.holds(&batch) {
            return Kept { how: Place::Known, dropped: 0 };
        }
        let gap = self.gap;
        let replaced = self.remove(&(batch.stream, batch.first));
        let how = if replaced.is_some() { Place::Replaced } else { Place::Found };
        let Some(dropped) = self.make_room(way.from, weight(&batch)) else {
            if let Some((way, batch)) = replaced {
                self.insert(way, batch);
                self.gap = gap;
            }
            return Kept { how: Place::None, dropped: batch.commits.len() as u64 };
        };
        // The tree asks for what did not come by it; only what it does not bring is asked for here.
        let patience_ms = if way.hops.is_some() { TREE_PATIENCE_MS } else { GAP_PATIENCE_MS };
        let due_ms = now.mono_ms.saturating_add(patience_ms);
        if self.gap.is_none_or(|(due, _)| due_ms < due) {
            self.gap = Some((due_ms, way.from));
        }
        self.insert(Way { waited: true, ..way }, batch);
        Kept { how, dropped }
    }

    /// Makes room for `bytes` of a peer at the cost of whoever has most here; `None` if that is this peer, or it has its share.
    fn make_room(&mut self, from: NodeId, bytes: usize) -> Option<u64> {
        let held = self.held.get(&from).copied().unwrap_or(0) + bytes;
        if held > EARLY_BYTES_PER_PEER {
            return None;
        }
        let mut dropped = 0;
        while self.held.values().sum::<usize>() + bytes > EARLY_BYTES_MAX {
            let (most, _) = self.held.iter().max_by_key(|(_, held)| **held).filter(|(_, most)| **most > held)?;
            let last = self.batches.iter().rfind(|(_, (way, _))| way.from == *most).map(|(at, _)| *at)?;
            dropped += self.remove(&last).map_or(0, |(_, batch)| batch.commits.len() as u64);
        }
        Some(dropped)
    }

    fn insert(&mut self, way: Way, batch: Batch) {
        *self.held.entry(way.from).or_default() += weight(&batch);
        self.batches.insert((batch.stream, batch.first), (way, batch));
    }

    fn remove(&mut self, at: &(Stream, u64)) -> Option<(Way, Batch)> {
        let (way, batch) = self.batches.remove(at)?;
        if let Some(held) = self.held.get_mut(&way.from) {
            *held -= weight(&batch);
            if *held == 0 {
                self.held.remove(&way.from);
            }
        }
        if self.batches.is_empty() {
            self.gap = None;
        }
        Some((way, batch))
    }

    /// Gives back the first batch of `stream`, if it holds the commit at `next` or one before.
    pub(super) fn take(&mut self, stream: Stream, next: u64) -> Option<(Way, Batch)> {
        let ((_, first), _) = self.batches.range((stream, 0)..=(stream, next)).next()?;
        self.remove(&(stream, *first))
    }

    /// Drops what is kept of a stream that is frozen.
    pub(super) fn drop_stream(&mut self, stream: &Stream) {
        self.drop_where(|of, _, _| of == stream);
    }

    /// Drops what has been seen by another way, and what lies beyond the end of a closed stream: its predecessors never come.
    fn settle(&mut self, seen: &VersionVector, retired: &Retired) {
        self.drop_where(|stream, first, batch| {
            first + batch.commits.len() as u64 <= seen.seq(stream) + 1 || first > retired.end_of(stream)
        });
    }

    fn drop_where(&mut self, is_idle: impl Fn(&Stream, u64, &Batch) -> bool) {
        let idle = self.batches.iter().filter(|((stream, first), (_, batch))| is_idle(stream, *first, batch));
        for at in idle.map(|(at, _)| *at).collect::<Vec<_>>() {
            drop(self.remove(&at));
        }
    }
}

impl Replica {
    /// Asks for what is still missing although it has had its time to arrive.
    pub(super) fn ask_for_gaps(&mut self, now: Time, out: &mut Vec<Output>) {
        self.early.settle(&self.seen, &self.retired);
        if let Some((due_ms, from)) = self.early.gap
            && now.mono_ms >= due_ms
        {
            self.early.gap = Some((now.mono_ms.saturating_add(GAP_PATIENCE_MS), from));
            self.ask_patiently(from, now, out);
        }
    }
}

/// What a batch occupies, so that many small ones are bounded too.
fn weight(batch: &Batch) -> usize {
    let seals = batch.seals.len() * size_of::<Seal>();
    EARLY_OVERHEAD_BYTES + seals + batch.commits.iter().map(|commit| commit.len() + EARLY_OVERHEAD_BYTES).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commit::CommitBytes;
    use crate::id::{Incarnation, ReplicaId};

    fn peer(number: u8) -> NodeId {
        NodeId([number; 32])
    }

    fn batch(of: NodeId, first: u64) -> Batch {
        let stream = Stream::global(ReplicaId { node: of, incarnation: Incarnation(1) });
        Batch::new(stream, first, vec![CommitBytes::from_bytes(&[7; 100_000])])
    }

    /// Offers a batch of a stream of its own; how many commits found no room.
    fn offer(early: &mut Early, from: NodeId, first: u64) -> u64 {
        let now = Time { wall_ms: 0, mono_ms: 0 };
        early.keep(Way { from, hops: None, waited: false }, batch(from, first), now).dropped
    }

    fn kept_of(early: &Early, from: NodeId) -> usize {
        early.batches.values().filter(|(way, _)| way.from == from).count()
    }

    #[test]
    fn each_peer_has_a_share_and_who_has_least_finds_room() {
        let mut early = Early::default();
        for number in 0..10 {
            let offers = (2..100).map(|first| offer(&mut early, peer(number), first));
            assert!(offers.sum::<u64>() > 0);
        }
        assert!(early.held.values().all(|held| *held <= EARLY_BYTES_PER_PEER), "{:?}", early.held);
        assert!(early.held.values().sum::<usize>() <= EARLY_BYTES_MAX);
        let before = kept_of(&early, peer(0));
        assert_eq!(offer(&mut early, peer(77), 2), 1, "one of somebody else's is given up");
        assert_eq!(kept_of(&early, peer(77)), 1);
        assert_eq!(offer(&mut early, peer(77), 2), 0, "it is kept already");
        assert_eq!((3..9).map(|first| offer(&mut early, peer(77), first)).sum::<u64>(), 6, "one for each");
        assert_eq!((kept_of(&early, peer(77)), kept_of(&early, peer(0)) < before), (7, true));
        assert_eq!(
            early.held.len(),
            early.batches.values().map(|(way, _)| way.from).collect::<std::collections::BTreeSet<_>>().len()
        );
    }

    #[test]
    fn what_is_taken_out_makes_room() {
        let mut early = Early::default();
        let refused = (2..100).map(|first| offer(&mut early, peer(1), first)).sum::<u64>();
        let stream = batch(peer(1), 2).stream;
        let taken = std::iter::from_fn(|| early.take(stream, 1_000)).count();
        assert_eq!((taken as u64 + refused, taken), (98, EARLY_BYTES_PER_PEER / 100_256));
        assert!(early.held.is_empty() && early.gap.is_none());
    }
}
