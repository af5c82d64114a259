//! Commits that are made again under another name: those of a snapshot that wrote before it knew that it was one, and those of
//! a member that was away until its stream was closed. Each counts once.

use super::Node;
use super::ledger::{Ledger, Made};
use crate::change::Change;
use crate::commit::{Batch, Commit};
use crate::hlc::Hlc;
use crate::id::{Dot, Stream};
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
    pub(super) fn note_again(&mut self, batch: &Batch, known: impl Fn(&Dot) -> bool) -> Result<Option<Hlc>, String> {
        let commit = read(batch)?;
        let dot = commit.dot();
        let same = |of: &Commit| {
            of.stream.replica.node == dot.replica.node && (of.request, of.hlc) == (commit.request, commit.hlc)
        };
        if let Some(fork) = self.forks.iter_mut().find(|fork| same(&fork.commit)) {
            if std::mem::replace(&mut fork.again, true) {
                return Err(format!("{:?} of a snapshot is made again twice", fork.commit.dot()));
            }
            let changes = fork.changes.clone();
            return self.note(batch, changes, None).map(Some);
        }
        let before = self.made.values().find(|made: &&Made| same(&made.commit) && made.commit.dot() != dot);
        let Some((before, changes)) = before.map(|made| (made.commit.dot(), made.changes.clone())) else {
            return Ok(None);
        };
        if known(&before) {
            return Err(format!("{before:?} is made again, although others have it"));
        }
        self.withdraw(&before);
        self.note(batch, changes, None).map(Some)
    }

    /// Every durable commit of a snapshot was made again by the end.
    pub(super) fn check_made_again(&self) -> Result<(), String> {
        match self.forks.iter().find(|fork| fork.durable && !fork.again) {
            Some(fork) => Err(format!("{:?} of a snapshot was durable, and was never made again", fork.commit.dot())),
            None => Ok(()),
        }
    }
}

/// Whether the disk of any other host holds a commit.
pub(super) fn is_known_elsewhere(nodes: &[Node], index: usize, dot: &Dot) -> bool {
    let stream = Stream::global(dot.replica);
    nodes.iter().any(|node| node.id != nodes[index].id && node.disk.image.seq(&stream) >= dot.seq)
}

fn read(batch: &Batch) -> Result<Commit, String> {
    let [bytes] = batch.commits.as_slice() else { return Err("a local commit persists as one".to_owned()) };
    Commit::decode(batch.stream, batch.first, bytes).map_err(|error| error.to_string())
}
