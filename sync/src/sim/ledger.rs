//! The ledger: every commit that was ever made, as it was made, and what became of it.
//!
//! Independent of the engine's own data structures; [`super::reference`] says what a reader must see. The invariant: a dot that
//! was ever durable means one commit for ever.

use std::collections::{BTreeMap, BTreeSet};

use super::again::Fork;
use super::elements::{Elements, Touched};
use crate::causal::VersionVector;
use crate::change::Change;
use crate::commit::{Batch, Commit, CommitBytes, RequestId};
use crate::hlc::Hlc;
use crate::id::{Dot, ReplicaId, Stream};
use crate::key::{Key, Kind};

/// A commit, as it was made.
#[derive(Clone, Debug)]
pub(super) struct Made {
    bytes: CommitBytes,
    pub(super) commit: Commit,
    pub(super) changes: Vec<(Key, Change)>,
    /// What its writer had seen, when its content was exactly that; else only what the operations name was observed.
    pub(super) context: Option<VersionVector>,
    pub(super) durable: bool,
    /// The members and fields that it touches, and the puts that it removes.
    pub(super) touched: Vec<Touched>,
}

/// All commits.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger {
    pub(super) made: BTreeMap<Dot, Made>,
    /// The commits that touch a key, in the order in which they were made.
    pub(super) by_key: BTreeMap<Key, Vec<Dot>>,
    pub(super) elements: Elements,
    /// What all commits together, whatever becomes of them, add to and take from each counter.
    totals: BTreeMap<Key, Sum>,
    durable: VersionVector,
    /// What snapshots wrote under names that were taken.
    pub(super) forks: Vec<Fork>,
}

/// What is added to a counter and taken from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) up: i128,
    pub(super) down: i128,
}

impl Ledger {
    /// Notes a commit that was made; returns its stamp.
    pub(super) fn note(
        &mut self,
        batch: &Batch,
        changes: Vec<(Key, Change)>,
        context: Option<VersionVector>,
    ) -> Result<Hlc, String> {
        let [bytes] = batch.commits.as_slice() else { return Err("a local commit persists as one".to_owned()) };
        let commit = Commit::decode(batch.stream, batch.first, bytes).map_err(|error| error.to_string())?;
        let (dot, hlc) = (commit.dot(), commit.hlc);
        if let Some(before) = self.made.get(&dot) {
            return Err(format!("dot {dot:?} means a second commit; durable before: {}", before.durable));
        }
        let touched = self.elements.note(&commit);
        let made = Made { bytes: bytes.clone(), commit, changes, context, durable: false, touched };
        for key in made.keys() {
            self.by_key.entry(key).or_default().push(dot);
        }
        for (key, sum) in made.sums() {
            let total = self.totals.entry(key).or_default();
            (total.up, total.down) = (total.up + sum.up, total.down + sum.down);
        }
        self.made.insert(dot, made);
        Ok(hlc)
    }

    /// Notes that a commit is on its writer's disk.
    pub(super) fn note_durable(&mut self, batch: &Batch) -> Result<(), String> {
        if self.fork_is_durable(batch) {
            return Ok(());
        }
        for (seq, bytes) in (batch.first..).zip(&batch.commits) {
            let dot = Dot { replica: batch.stream.replica, seq };
            let made = self.made.get_mut(&dot).ok_or_else(|| format!("nobody made {dot:?}, yet it is stored"))?;
            if made.bytes != *bytes {
                return Err(format!("{dot:?} is stored with other bytes than it was made with"));
            }
            made.durable = true;
            self.durable.advance(batch.stream, seq);
        }
        Ok(())
    }

    /// Forgets what a crash took before anybody else could have heard of it: commits of `replica` after `seq`.
    pub(super) fn forget_lost(&mut self, replica: ReplicaId, seq: u64) {
        let after = Dot { replica, seq: seq.saturating_add(1) }..=Dot { replica, seq: u64::MAX };
        let lost: Vec<Dot> = self.made.range(after).filter(|(_, made)| !made.durable).map(|(dot, _)| *dot).collect();
        for dot in lost {
            if let Some(made) = self.remove(&dot) {
                self.note_lost_again(&made.commit);
            }
        }
    }

    /// Forgets a durable commit that nobody else has, because its writer makes it again under another name.
    pub(super) fn withdraw(&mut self, dot: &Dot) {
        drop(self.remove(dot));
        let durable = self.made.iter().filter(|(_, made)| made.durable);
        self.durable = durable.map(|(dot, _)| (Stream::global(dot.replica), dot.seq)).collect();
    }

    fn remove(&mut self, dot: &Dot) -> Option<Made> {
        let made = self.made.remove(dot)?;
        self.elements.forget(&made.commit, &made.touched);
        for key in made.keys() {
            self.by_key.entry(key).or_default().retain(|of| of != dot);
        }
        for (key, sum) in made.sums() {
            let total = self.totals.entry(key).or_default();
            (total.up, total.down) = (total.up - sum.up, total.down - sum.down);
        }
        Some(made)
    }

    /// Checks that every commit of a batch was durable at its writer, and means what it meant there.
    pub(super) fn check_sent(&self, batch: &Batch) -> Result<(), String> {
        for (seq, bytes) in (batch.first..).zip(&batch.commits) {
            let dot = Dot { replica: batch.stream.replica, seq };
            let made = self.made.get(&dot).ok_or_else(|| format!("{dot:?} is sent, but it was lost or never made"))?;
            if !made.durable {
                return Err(format!("{dot:?} is sent before it is durable"));
            }
            if made.bytes != *bytes {
                return Err(format!("{dot:?} is sent with another meaning"));
            }
        }
        Ok(())
    }

    pub(super) fn check_dot_sent(&self, dot: &Dot) -> Result<(), String> {
        match self.made.get(dot) {
            Some(made) if made.durable => Ok(()),
            Some(_) => Err(format!("{dot:?} is shown before it is durable")),
            None => Err(format!("{dot:?} is shown, but it was lost or never made")),
        }
    }

    /// The request that the commit named by `dot` answered.
    pub(super) fn request_of(&self, dot: &Dot) -> Option<RequestId> {
        self.made.get(dot).and_then(|made| made.commit.request)
    }

    /// What was ever durable, stream by stream.
    pub(super) const fn durable(&self) -> &VersionVector {
        &self.durable
    }

    /// The latest stamp of anything that is durable or may still become so.
    pub(super) fn latest_stamp(&self) -> Hlc {
        self.made.values().map(|made| made.commit.hlc).fold(self.latest_fork(), Hlc::max)
    }

    /// The streams with a durable stamp after `stamp`.
    pub(super) fn streams_beyond(&self, stamp: Hlc) -> BTreeSet<Stream> {
        let beyond = self.made.values().filter(|made| made.durable && made.commit.hlc > stamp);
        beyond.map(|made| made.commit.stream).collect()
    }

    /// What all commits together do to a counter.
    pub(super) fn total(&self, key: &Key) -> Sum {
        self.totals.get(key).copied().unwrap_or_default()
    }
}

impl Made {
    /// Every key that the commit or what was asked for touches, once.
    fn keys(&self) -> BTreeSet<Key> {
        self.commit.ops.iter().map(|(key, _)| key).chain(self.changes.iter().map(|(key, _)| key)).cloned().collect()
    }

    /// What the commit does to counters.
    pub(super) fn sums(&self) -> Vec<(Key, Sum)> {
        let sum = |(key, change): &(Key, Change)| match change {
            Change::Increment(by) => Some((key.clone(), Sum { up: i128::from(*by), down: 0 })),
            Change::Decrement(by) => Some((key.clone(), Sum { up: 0, down: i128::from(*by) })),
            Change::Add(_) | Change::Remove(_) | Change::Put(_) | Change::RemoveFields(_) => None,
        };
        self.changes
            .iter()
            .filter(|(key, _)| matches!(key.kind(), Kind::GCounter | Kind::PnCounter))
            .filter_map(sum)
            .collect()
    }

    /// The keys whose values the commit may change.
    pub(super) fn written(&self) -> impl Iterator<Item = &Key> {
        self.commit.ops.iter().map(|(key, _)| key)
    }
}
