//! What is durable: tokens handed to the store, and the vector that its reports add up to.
//!
//! Owns the rule that ours is sent only after it is durable, by knowing what is. The store reports tokens in order.

use std::collections::VecDeque;

use super::{Ahead, Checkpoint, Output, Replica};
use crate::causal::VersionVector;
use crate::commit::Batch;
use crate::id::Stream;
use crate::planted::{self, Bug};
use crate::time::Time;

#[derive(Debug, Default)]
pub(super) struct Durability {
    vector: VersionVector,
    next_token: u64,
    pending: VecDeque<(u64, Pending)>,
    read_only: bool,
    checkpoint_due: bool,
    checkpointed_ms: u64,
    /// Bytes of commits since the last checkpoint: what a restart would have to apply.
    logged_bytes: u64,
    /// What the objects that the store was last given have seen, and what they show beyond that.
    checkpointed: (VersionVector, Ahead),
}

#[derive(Debug)]
enum Pending {
    Append { stream: Stream, through: u64 },
    Checkpoint { vector: VersionVector },
}

impl Durability {
    /// What is durable after a restart that had to apply `logged_bytes` of commits to what was checkpointed.
    pub(super) fn starting_from(
        vector: VersionVector,
        logged_bytes: u64,
        checkpointed: (VersionVector, Ahead),
    ) -> Self {
        Self { vector, logged_bytes, checkpointed, ..Self::default() }
    }

    /// The store has begun anew: what it was given before stands for nothing. Tokens go on counting.
    pub(super) fn begin_anew(&mut self) {
        self.pending.clear();
        (self.vector, self.checkpoint_due, self.logged_bytes) = (VersionVector::default(), false, 0);
        self.checkpointed = <(VersionVector, Ahead)>::default();
    }

    pub(super) const fn vector(&self) -> &VersionVector {
        &self.vector
    }

    pub(super) const fn is_read_only(&self) -> bool {
        self.read_only
    }

    pub(super) fn become_read_only(&mut self) {
        self.read_only = true;
        if planted::is(Bug::FailureCountsAsStored) {
            self.settle(self.next_token);
        }
    }

    pub(super) const fn become_writable(&mut self) {
        self.read_only = false;
    }

    /// One checkpoint at a time: the next would only repeat what the store has not written yet.
    fn is_checkpointing(&self) -> bool {
        self.pending.iter().any(|(_, pending)| matches!(pending, Pending::Checkpoint { .. }))
    }

    /// A repair has put content here that no log row stands for: only a checkpoint makes it durable.
    pub(super) const fn want_checkpoint(&mut self) {
        self.checkpoint_due = true;
    }

    /// Whether a repair has ended whose checkpoint the store has not been given yet. The commits of others that follow stand on
    /// it, and must not be stored before it: after a crash in between, the log would begin in the air.
    pub(super) fn owes_checkpoint(&self) -> bool {
        self.checkpoint_due && !planted::is(Bug::CheckpointAfterLog)
    }

    pub(super) fn append(&mut self, batch: Batch) -> Output {
        let through = batch.first + batch.commits.len() as u64 - 1;
        self.logged_bytes += batch.commits.iter().map(|commit| commit.len() as u64).sum::<u64>();
        let token = self.token(Pending::Append { stream: batch.stream, through });
        if planted::is(Bug::StoredAtOnce) {
            self.settle(token);
        }
        Output::Persist { token, batch }
    }

    fn token(&mut self, pending: Pending) -> u64 {
        self.next_token += 1;
        self.pending.push_back((self.next_token, pending));
        self.next_token
    }

    /// Takes the store's report on everything up to `token`.
    fn settle(&mut self, token: u64) {
        while let Some((_, pending)) = self.pending.pop_front_if(|(pending, _)| *pending <= token) {
            match pending {
                Pending::Append { stream, through } => self.vector.advance(stream, through),
                Pending::Checkpoint { vector } => self.vector.merge(&vector),
            }
        }
    }
}

impl Replica {
    pub(super) fn handle_persisted(&mut self, token: u64, now: Time, out: &mut Vec<Output>) {
        let own = self.own_stream();
        let before = self.durable().seq(&own);
        self.durability.settle(token);
        self.peers.moved = true;
        if self.durable().seq(&own) > before {
            self.push_own(before + 1, now, out);
        }
        self.release_pages(out);
        if self.durability.owes_checkpoint() {
            self.checkpoint_if_due(now, out);
        }
    }

    pub(super) fn checkpoint_if_due(&mut self, now: Time, out: &mut Vec<Output>) {
        let elapsed = now.mono_ms.saturating_sub(self.durability.checkpointed_ms) >= self.config.checkpoint_ms;
        let grown = self.durability.logged_bytes >= self.config.checkpoint_bytes;
        let dirty = self.state.dirty_len() > 0;
        let due = self.durability.checkpoint_due || (dirty && (elapsed || grown));
        if !due || self.durability.read_only || self.durability.is_checkpointing() || self.lineage.is_void() {
            return;
        }
        self.durability.checkpointed_ms = now.mono_ms;
        self.checkpoint(out);
    }

    /// Tells the store from which commit on this life is in doubt, and which orphans wait, unless it knows: a checkpoint without
    /// objects, that stands for no more than the last one did. A write after a restart waits for this, and for no more.
    pub(super) fn say_if_unsaid(&mut self, out: &mut Vec<Output>) {
        if !self.lineage.has_to_say() {
            return;
        }
        let Some(orphans) = self.lineage.take_news() else { return };
        let (vector, ahead) = self.durability.checkpointed.clone();
        let token = self.durability.token(Pending::Checkpoint { vector: vector.clone() });
        // What lies beyond that vector is needed still, however short the log in memory is kept.
        let needed = |(stream, first): (Stream, u64)| (stream, first.min(vector.seq(&stream) + 1));
        let log_first = self.log.firsts().into_iter().map(needed).collect();
        let (objects, latest, orphans) = (Vec::new(), self.clock.last(), Some(orphans));
        let checkpoint = Checkpoint { vector, ahead, objects, latest, orphans, log_first };
        out.push(Output::Checkpoint { token, checkpoint });
    }

    /// Gives the store what has changed since the last time.
    fn checkpoint(&mut self, out: &mut Vec<Output>) {
        self.durability.checkpoint_due = false;
        self.durability.logged_bytes = 0;
        let vector = self.seen.clone();
        let token = self.durability.token(Pending::Checkpoint { vector: vector.clone() });
        self.repair.ahead.settle(&self.seen);
        let ahead = if planted::is(Bug::AheadUnstored) { Ahead::default() } else { self.repair.ahead.clone() };
        self.durability.checkpointed = (vector.clone(), ahead.clone());
        let mut objects = self.state.take_dirty();
        if planted::is(Bug::CheckpointLosesObject) && objects.len() > 1 {
            objects.remove(0);
        }
        let checkpoint = Checkpoint {
            vector,
            ahead,
            objects,
            latest: self.clock.last(),
            orphans: self.lineage.take_news(),
            log_first: self.log.firsts(),
        };
        out.push(Output::Checkpoint { token, checkpoint });
    }
}
