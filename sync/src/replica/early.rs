//! Commits that overtook their predecessors on the way: kept for a moment, so that a network without order costs no repeats.
//!
//! Frames of one peer travel on streams of their own and may arrive in any order. Nothing here counts as seen, and nothing is
//! lost when it is dropped: anti-entropy brings it again. The invariant: at most [`EARLY_BYTES_MAX`] bytes are kept.

use std::collections::BTreeMap;

use super::retire::Retired;
use super::spread::Way;
use super::{Output, Replica};
use crate::causal::VersionVector;
use crate::commit::Batch;
use crate::id::{NodeId, Stream};
use crate::limits::{EARLY_BYTES_MAX, EARLY_OVERHEAD_BYTES, GAP_PATIENCE_MS, TREE_PATIENCE_MS};
use crate::seal::Seal;
use crate::time::Time;

#[derive(Debug, Default)]
pub(super) struct Early {
    /// What came too early, and how it came.
    batches: BTreeMap<(Stream, u64), (Way, Batch)>,
    bytes: usize,
    /// When to ask for what is missing, and whom.
    gap: Option<(u64, NodeId)>,
}

impl Early {
    /// Keeps a batch whose predecessors are missing; false when there is no room.
    pub(super) fn keep(&mut self, way: Way, batch: Batch, now: Time) -> bool {
        let bytes = weight(&batch);
        if self.bytes + bytes > EARLY_BYTES_MAX {
            return false;
        }
        // The tree asks for what did not come by it; only what it does not bring is asked for here.
        let patience_ms = if way.hops.is_some() { TREE_PATIENCE_MS } else { GAP_PATIENCE_MS };
        let due_ms = now.mono_ms.saturating_add(patience_ms);
        if self.gap.is_none_or(|(due, _)| due_ms < due) {
            self.gap = Some((due_ms, way.from));
        }
        let replaced = self.batches.insert((batch.stream, batch.first), (Way { waited: true, ..way }, batch));
        self.bytes = self.bytes + bytes - replaced.as_ref().map_or(0, |(_, batch)| weight(batch));
        true
    }

    /// Gives back the first batch of `stream`, if it holds the commit at `next` or one before.
    pub(super) fn take(&mut self, stream: Stream, next: u64) -> Option<(Way, Batch)> {
        let ((_, first), _) = self.batches.range((stream, 0)..=(stream, next)).next()?;
        let (way, batch) = self.batches.remove(&(stream, *first))?;
        self.bytes -= weight(&batch);
        if self.batches.is_empty() {
            self.gap = None;
        }
        Some((way, batch))
    }

    /// Drops what is kept of a stream that is frozen.
    pub(super) fn drop_stream(&mut self, stream: &Stream) {
        self.batches.retain(|(of, _), _| of != stream);
        self.bytes = self.batches.values().map(|(_, batch)| weight(batch)).sum();
    }

    /// Drops what has been seen by another way, and what lies beyond the end of a closed stream: its predecessors never come.
    fn settle(&mut self, seen: &VersionVector, retired: &Retired) {
        let is_new =
            |stream: &Stream, first: u64, batch: &Batch| first + batch.commits.len() as u64 > seen.seq(stream) + 1;
        self.batches
            .retain(|(stream, first), (_, batch)| is_new(stream, *first, batch) && *first <= retired.end_of(stream));
        self.bytes = self.batches.values().map(|(_, batch)| weight(batch)).sum();
        if self.batches.is_empty() {
            self.gap = None;
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
