//! Commits from others: in order, once, checked before anything is applied.

use super::early::Place;
use super::spread::Way;
use super::{Event, Judgement, Output, Replica};
use crate::broadcast::Event as Tell;
use crate::commit::{Batch, Commit};
use crate::id::{Dot, NodeId};
use crate::limits::SEQ_MAX;
use crate::planted::{self, Bug};
use crate::time::Time;

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// So many commits of it were applied, or wait for their predecessors.
    Kept(u64),
    /// Its predecessors are missing, and there is no room to wait for them.
    Gap,
    /// It brought nothing, now.
    Nothing,
}

impl Replica {
    pub(super) fn handle_commits(
        &mut self,
        way: Way,
        batches: Vec<Batch>,
        more: bool,
        now: Time,
        out: &mut Vec<Output>,
    ) {
        let mut gap = false;
        let before = self.counters.commits_remote;
        for mut batch in batches {
            let stream = batch.stream;
            if self.waits_for_upgrade(&batch, now) {
                continue;
            }
            let Some(verified) = self.admits(way.from, &mut batch, now, out) else { continue };
            let count = (batch.commits.len() as u64).max(1);
            match self.take_batch(way, batch, now, out) {
                Outcome::Kept(kept) => self.repay_verifying(way.from, verified * kept / count),
                Outcome::Gap => gap = true,
                Outcome::Nothing => {}
            }
            // A run of which one commit has to wait, waits whole; what is here of it already came from somebody else, and waits too.
            while !self.spread.refuses(&stream)
                && let Some((way, early)) = self.early.take(stream, self.seen.seq(&stream) + 1)
            {
                if self.take_batch(way, early, now, out) == Outcome::Gap {
                    break;
                }
            }
        }
        let from = way.from;
        if more && self.counters.commits_remote > before {
            self.ask(from, now, out);
        } else if more {
            // Nothing of the page could be taken: to ask at once would get the same page, as fast as the network goes.
            self.ask_patiently(from, now, out);
        } else if gap {
            self.ask_patiently(from, now, out);
        }
    }

    /// Applies what is next of a batch that was admitted.
    fn take_batch(&mut self, way: Way, batch: Batch, now: Time, out: &mut Vec<Output>) -> Outcome {
        let (from, hops, stream) = (way.from, way.hops, batch.stream);
        let batch = self.within_epoch(batch);
        let count = batch.commits.len() as u64;
        let next = (self.seen.seq(&stream) + 1).max(if planted::is(Bug::GapsApplied) { batch.first } else { 0 });
        let sound = |end: &u64| batch.first > 0 && *end <= SEQ_MAX && stream.scope == super::SCOPE;
        let Some(end) = batch.first.checked_add(count).filter(sound) else {
            self.reject(
                from,
                Dot { replica: stream.replica, seq: batch.first },
                "sequence numbers or a scope out of range",
                out,
            );
            return Outcome::Nothing;
        };
        if stream == self.own_stream() {
            // Only ever an echo: what we made is here, and what we forgot is for the vectors to find.
            self.charge_known(from, count, now, out);
            return Outcome::Nothing;
        }
        if count == 0 {
            return Outcome::Nothing;
        }
        if end <= next {
            if way.waited {
                self.counters.duplicates += count;
            } else {
                self.charge_known(from, count, now, out);
                self.tell_tree(Tell::Duplicate { from, stream, through: end - 1, hops }, now, out);
            }
            return Outcome::Nothing;
        }
        if batch.first > next {
            return self.wait_for_predecessors(way, batch, now, out);
        }
        if self.durability.is_read_only() || self.durability.owes_checkpoint() {
            self.counters.deferred += count;
            return Outcome::Nothing;
        }
        self.counters.duplicates += next - batch.first;
        let skip = usize::try_from(next - batch.first).unwrap_or(usize::MAX);
        let mut applied = batch;
        applied.skip(skip);
        applied.first = next;
        let mut commits = Vec::with_capacity(applied.commits.len());
        for (seq, bytes) in (next..).zip(&applied.commits) {
            let Some(commit) = self.accept(from, stream, seq, bytes, now, out) else {
                self.spread.refuse(stream, now);
                break;
            };
            commits.push(commit);
        }
        let whole = applied.whole_runs(commits.len());
        applied.truncate(whole);
        for (commit, bytes) in commits.into_iter().zip(&applied.commits) {
            self.apply(commit, bytes.clone());
        }
        self.log.attach(&stream, &applied.seals, from != stream.replica.node);
        if applied.commits.is_empty() {
            return Outcome::Nothing;
        }
        let kept = applied.commits.len() as u64;
        self.counters.commits_remote += kept;
        if planted::is(Bug::PassedOn) {
            let message =
                |_: &NodeId| super::Message::Commits { batches: vec![applied.clone()], more: false, hops: None };
            out.extend(self.peers.connected.iter().map(|to| Output::Send { to: *to, message: message(to) }));
        }
        out.push(self.durability.append(applied));
        self.tell_tree(Tell::Fresh { from, stream, first: next, through: next + kept - 1, hops }, now, out);
        Outcome::Kept(kept)
    }

    /// Keeps a batch whose predecessors are missing, if there is room.
    fn wait_for_predecessors(&mut self, way: Way, batch: Batch, now: Time, out: &mut Vec<Output>) -> Outcome {
        let (stream, first, count) = (batch.stream, batch.first, batch.commits.len() as u64);
        self.counters.gaps += count;
        let (from, hops) = (way.from, way.hops);
        self.tell_tree(Tell::Early { from, stream, first, through: first + count - 1, hops }, now, out);
        let kept = self.early.keep(way, batch, now);
        self.counters.early_dropped += kept.dropped;
        match kept.how {
            Place::Found => Outcome::Kept(count),
            Place::Known => {
                self.charge_known(from, count, now, out);
                Outcome::Nothing
            }
            Place::Replaced => Outcome::Nothing,
            Place::None => Outcome::Gap,
        }
    }

    /// A batch without what lies beyond the end of its stream, should that be closed.
    fn within_epoch(&mut self, mut batch: Batch) -> Batch {
        let room = if planted::is(Bug::EndOfStreamIgnored) { SEQ_MAX } else { self.retired.end_of(&batch.stream) };
        let room = room.saturating_add(1).saturating_sub(batch.first);
        let room = usize::try_from(room).unwrap_or(usize::MAX);
        if batch.commits.len() > room {
            self.counters.closed += (batch.commits.len() - room) as u64;
            batch.truncate(room);
        }
        batch
    }

    /// Decodes and checks one commit; `None` when its stream has to stay where it is.
    fn accept(
        &mut self,
        from: NodeId,
        stream: crate::id::Stream,
        seq: u64,
        bytes: &crate::commit::CommitBytes,
        now: Time,
        out: &mut Vec<Output>,
    ) -> Option<Commit> {
        let dot = Dot { replica: stream.replica, seq };
        let commit = match Commit::decode(stream, seq, bytes) {
            Ok(commit) => commit,
            Err(error) if error.is_of_a_later_release() => {
                self.note_unread(dot, stream, &error, out);
                return None;
            }
            Err(error) => {
                self.reject(from, dot, &error.to_string(), out);
                return None;
            }
        };
        let ahead_ms = commit.hlc.millis().saturating_sub(now.wall_ms);
        if ahead_ms > self.config.max_drift_ms && !planted::is(Bug::FutureAccepted) {
            self.counters.held += 1;
            out.push(Output::Event(Event::Held { dot, ahead_ms }));
            return None;
        }
        let guarded = commit.ops.iter().filter(|(key, _)| key.is_reserved());
        let judgements = || guarded.clone().map(|(key, op)| self.config.guard.judge(key, op));
        if judgements().any(|judgement| judgement == Judgement::Never) {
            self.counters.barred += 1;
            self.reject(from, dot, "it writes to a key of the agents' own what nobody may", out);
            return None;
        }
        if judgements().any(|judgement| judgement == Judgement::NotYet) {
            self.counters.barred += 1;
            return None;
        }
        Some(commit)
    }

    pub(super) fn reject(&mut self, from: NodeId, dot: Dot, reason: &str, out: &mut Vec<Output>) {
        self.counters.rejected += 1;
        out.push(Output::Event(Event::Rejected { from, dot, reason: reason.to_owned() }));
    }
}
