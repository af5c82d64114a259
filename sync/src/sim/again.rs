//! Commits that are made again under another name: those of a snapshot that wrote before it knew that it was one, and those of
//! a member that was away until its stream was closed. Each counts once.

use std::collections::BTreeMap;

use super::Node;
use super::ledger::{Ledger, Made};
use crate::change::Change;
use crate::commit::{Batch, Commit};
use crate::crdt::Op;
use crate::hlc::Hlc;
use crate::id::{Dot, ReplicaId, Stream};
use crate::key::Key;

/// A commit under a name that means another elsewhere.
#[derive(Clone, Debug)]
pub(super) struct Fork {
    batch: Batch,
    commit: Commit,
    changes: Vec<(Key, Change)>,
    durable: bool,
    again: bool,
}

/// Who else has a commit that is made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Elsewhere {
    /// Nobody: it lives on under its new name alone.
    Unknown,
    /// Somebody, but nobody could say so: it counts under both names.
    Untold,
    /// Somebody who could have said so.
    Known,
}

impl Ledger {
    /// Notes a commit that a snapshot made under a name that is taken.
    pub(super) fn note_fork(&mut self, batch: &Batch, changes: Vec<(Key, Change)>) -> Result<(), String> {
        let commit = read(batch)?;
        self.forks.push(Fork { batch: batch.clone(), commit, changes, durable: false, again: false });
        Ok(())
    }

    /// Whether these commits are a snapshot's, which are on its disk now.
    pub(super) fn fork_is_durable(&mut self, batch: &Batch) -> bool {
        let mut forks = self.forks.iter_mut().filter(|fork| fork.batch == *batch);
        forks.next_back().map(|fork| fork.durable = true).is_some()
    }

    /// Notes a commit that no client asked for, when it is an earlier one of the same node made again: the same request and
    /// stamp under a new name. Returns its stamp; `None` when it is nothing of the kind.
    pub(super) fn note_again(
        &mut self,
        batch: &Batch,
        known: impl Fn(&Dot) -> Elsewhere,
    ) -> Result<Option<Hlc>, String> {
        let commit = read(batch)?;
        let dot = commit.dot();
        let same = |of: &Commit| is_again(of, &commit);
        if let Some(fork) = self.forks.iter_mut().find(|fork| same(&fork.commit)) {
            if std::mem::replace(&mut fork.again, true) {
                return Err(format!("{:?} of a snapshot is made again twice", fork.commit.dot()));
            }
            let changes = fork.changes.clone();
            return self.note(batch, changes, None).map(Some);
        }
        let before = self.made.values().find(|made: &&Made| same(&made.commit) && made.commit.dot() != dot);
        let Some((before, changes, durable)) =
            before.map(|made| (made.commit.clone(), made.changes.clone(), made.durable))
        else {
            return Ok(None);
        };
        let (before, commit) = (before.dot(), before);
        match known(&before) {
            Elsewhere::Known => return Err(format!("{before:?} is made again, although others have it")),
            Elsewhere::Untold => {}
            Elsewhere::Unknown => {
                self.withdraw(&before);
                // From now on it is like a snapshot's: should a crash take its new name from it, it is made again.
                let batch = Batch::new(commit.stream, before.seq, vec![commit.encode()]);
                self.forks.push(Fork { batch, commit, changes: changes.clone(), durable, again: true });
            }
        }
        self.note(batch, changes, None).map(Some)
    }

    /// Notes that a crash took a commit that had been made again, perhaps, from its writer's disk.
    pub(super) fn note_lost_again(&mut self, lost: &Commit) {
        let again = self.forks.iter_mut().filter(|fork| is_again(&fork.commit, lost));
        again.for_each(|fork| fork.again = false);
    }

    /// The latest stamp of what snapshots wrote: made again, it keeps that.
    pub(super) fn latest_fork(&self) -> Hlc {
        self.forks.iter().map(|fork| fork.commit.hlc).max().unwrap_or_default()
    }

    /// Every durable commit of a snapshot was made again by the end.
    pub(super) fn check_made_again(&self) -> Result<(), String> {
        // A request that was repeated to the snapshot is answered by the commit that it forgot.
        let repeated =
            |of: &Commit| of.request.is_some() && self.made.values().any(|made| made.commit.request == of.request);
        let open = |fork: &&Fork| !fork.again && means_something(&fork.commit) && !repeated(&fork.commit);
        match self.forks.iter().filter(|fork| fork.durable).find(open) {
            Some(fork) => Err(format!("{:?} of a snapshot was durable, and was never made again", fork.commit.dot())),
            None => Ok(()),
        }
    }
}

impl Ledger {
    /// Forgets what lies beyond the ends of closed streams and was not made again because it could mean nothing any more.
    pub(super) fn withdraw_pointless(&mut self, ends: &BTreeMap<ReplicaId, u64>) {
        let beyond = |made: &&Made| ends.get(&made.commit.stream.replica).is_some_and(|end| made.commit.seq > *end);
        let repeated = |of: &Commit| {
            let others = self.made.values().filter(|made| made.commit.dot() != of.dot());
            of.request.is_some() && others.filter(|made| !beyond(made)).any(|made| made.commit.request == of.request)
        };
        let is_pointless = |made: &&Made| !means_something(&made.commit) || repeated(&made.commit);
        let pointless = self.made.values().filter(beyond).filter(is_pointless);
        let dots: Vec<Dot> = pointless.map(|made| made.commit.dot()).collect();
        dots.iter().for_each(|dot| self.withdraw(dot));
    }
}

/// Whether a commit is an earlier one of the same node, made again. One that had no request id has one from then on.
fn is_again(of: &Commit, commit: &Commit) -> bool {
    of.stream.replica.node == commit.stream.replica.node
        && of.hlc == commit.hlc
        && (of.request.is_none() || of.request == commit.request)
}

/// Whether a commit cannot have lost its meaning, whatever came to be meanwhile: what adds to a counter or a set that only grows.
/// What it did to an element may have been done otherwise, and a closing or a taking over is not done again.
fn means_something(commit: &Commit) -> bool {
    commit.ops.iter().any(|(_, op)| matches!(op, Op::GCounter(_) | Op::PnCounter(..) | Op::GSet(_)))
}

/// Whether the disk of any other host that takes part holds a commit.
pub(super) fn is_known_elsewhere(nodes: &[Node], ends: &BTreeMap<ReplicaId, u64>, index: usize, dot: &Dot) -> bool {
    let stream = Stream::global(dot.replica);
    // Who is away, or has to begin anew, does not count: what it has goes with it.
    let counts = |node: &&Node| !node.away && !node.dropped && !ends.contains_key(&node.writer());
    let others = nodes.iter().filter(|node| node.id != nodes[index].id).filter(counts);
    others.into_iter().any(|node| node.disk.image.seq(&stream) >= dot.seq)
}

fn read(batch: &Batch) -> Result<Commit, String> {
    let [bytes] = batch.commits.as_slice() else { return Err("a local commit persists as one".to_owned()) };
    Commit::decode(batch.stream, batch.first, bytes).map_err(|error| error.to_string())
}
