//! Counters: per replica the greatest totals it has announced; the value is their sum.
//!
//! An operation carries the writer's new totals, not the step, so that seeing it twice, or after a repair that already held
//! it, changes nothing. The share of a writer that has retired can be folded into another's: the fold adds its totals to the
//! taker's own and names the commit up to which it did. That a share was folded away is known as a removal in a set is: its
//! commit is among what was seen, and it is not here. A fold that overtakes what it takes over waits in `deferred` until that
//! has been seen.
//!
//! Invariants: at most one share per writer, in order; no share is as old as a deferred fold of its writer. Sums are taken in 128
//! bits and cannot overflow: each total is bounded where it enters.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, Serializer};
use smallvec::SmallVec;

use super::content::{Content, ItemBytes};
use super::dot_map::Context;
use crate::id::{Dot, ReplicaId};

/// What one replica has added to a counter and taken from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "(ReplicaId, u64, u64, u64)")]
pub struct Share {
    /// Who.
    pub replica: ReplicaId,
    /// The commit that last raised it; 0 when the first version of the format wrote it, which did not say.
    pub seq: u64,
    /// All that it added.
    pub up: u64,
    /// All that it took.
    pub down: u64,
}

/// A counter of either type. One that only grows has nothing in `down`.
#[expect(clippy::box_collection, reason = "nearly always absent, and one pointer is less than an empty map")]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counter {
    /// In order of replica. Most counters have one writer.
    shares: SmallVec<[Share; 1]>,
    /// Up to which of its commits a writer was folded away, where those have not been seen yet.
    deferred: Option<Box<BTreeMap<ReplicaId, u64>>>,
}

/// A [`Counter`] as it is stored and sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "(Vec<Share>, Vec<Dot>)")]
pub struct CounterState {
    /// What each replica has added and taken, in order of replica.
    pub shares: Vec<Share>,
    /// Folds that came before what they fold.
    pub deferred: Vec<Dot>,
}

impl Share {
    /// Whether the commit that last raised it is among what was seen. An unknown one is not.
    fn is_covered(&self, context: Context<'_>) -> bool {
        self.seq > 0 && context.covers(&Dot { replica: self.replica, seq: self.seq })
    }

    /// The greater of both, number by number.
    fn joined(&self, other: &Self) -> Self {
        let Self { replica, seq, up, down } = *self;
        Self { replica, seq: seq.max(other.seq), up: up.max(other.up), down: down.max(other.down) }
    }

    fn feed(&self, item: &mut ItemBytes) {
        item.update(&self.replica.node.0);
        item.update(&self.replica.incarnation.0.to_le_bytes());
        item.update(&self.up.to_le_bytes());
        item.update(&self.down.to_le_bytes());
    }
}

impl Counter {
    /// What was added less what was taken, by all.
    #[must_use]
    pub fn value(&self) -> i128 {
        self.shares.iter().map(|share| i128::from(share.up) - i128::from(share.down)).sum()
    }

    /// What `replica` alone has added and taken.
    #[must_use]
    pub fn totals(&self, replica: &ReplicaId) -> (u64, u64) {
        self.place(replica).map_or((0, 0), |place| (self.shares[place].up, self.shares[place].down))
    }

    /// What each replica has added and taken, in order of replica.
    #[must_use]
    pub fn shares(&self) -> &[Share] {
        &self.shares
    }

    /// How many folds wait for what they fold.
    #[must_use]
    pub fn deferred_dots(&self) -> usize {
        self.deferred.as_ref().map_or(0, |deferred| deferred.len())
    }

    /// Raises the writer's totals; its commit is the next of its stream.
    pub(super) fn raise(&mut self, dot: Dot, up: u64, down: u64, content: &mut Content) {
        if let Some(through) = self.folded_through(&dot.replica) {
            if through <= dot.seq {
                self.keep_deferred(|replica, _| *replica != dot.replica);
            }
            if through >= dot.seq {
                return;
            }
        }
        self.join(Share { replica: dot.replica, seq: dot.seq, up, down }, content);
    }

    /// Takes the writer's new totals, which include those of the writers in `from` up to the commits named there.
    pub(super) fn fold(
        &mut self,
        dot: Dot,
        (up, down): (u64, u64),
        from: &[Dot],
        context: Context<'_>,
        content: &mut Content,
    ) {
        self.raise(dot, up, down, content);
        from.iter().for_each(|folded| self.fold_away(folded, context, content));
    }

    /// Merges the state of another host that has seen `theirs`, into this one that has seen `ours`.
    pub(super) fn merge(&mut self, state: CounterState, theirs: Context<'_>, ours: Context<'_>, content: &mut Content) {
        if state.shares.is_empty() && state.deferred.is_empty() {
            // Folding never empties a counter: whoever shows nothing has no say on what was folded.
            return;
        }
        let mut there: BTreeMap<ReplicaId, Share> = BTreeMap::new();
        for share in state.shares {
            there.entry(share.replica).and_modify(|known| *known = known.joined(&share)).or_insert(share);
        }
        self.shares.retain(|share| {
            let gone = !there.contains_key(&share.replica) && share.is_covered(theirs);
            if gone {
                content.remove(0, |item| share.feed(item));
            }
            !gone
        });
        state.deferred.iter().for_each(|dot| self.fold_away(dot, ours, content));
        for share in there.into_values() {
            let deferred = self.folded_through(&share.replica).is_some_and(|through| through >= share.seq);
            let folded = self.place(&share.replica).is_err_and(|_| share.is_covered(ours));
            if !deferred && !folded {
                self.join(share, content);
            }
        }
    }

    /// Forgets deferred folds whose commits have all been seen.
    pub(super) fn settle(&mut self, context: Context<'_>) {
        self.keep_deferred(|replica, seq| !context.covers(&Dot { replica: *replica, seq }));
    }

    pub(super) fn state(&self) -> CounterState {
        let dot = |(replica, seq): (&ReplicaId, &u64)| Dot { replica: *replica, seq: *seq };
        let deferred = self.deferred.iter().flat_map(|deferred| deferred.iter());
        CounterState { shares: self.shares.to_vec(), deferred: deferred.map(dot).collect() }
    }

    fn folded_through(&self, replica: &ReplicaId) -> Option<u64> {
        self.deferred.as_ref().and_then(|deferred| deferred.get(replica).copied())
    }

    fn keep_deferred(&mut self, keep: impl Fn(&ReplicaId, u64) -> bool) {
        if let Some(deferred) = &mut self.deferred {
            deferred.retain(|replica, seq| keep(replica, *seq));
            if deferred.is_empty() {
                self.deferred = None;
            }
        }
    }

    fn place(&self, replica: &ReplicaId) -> Result<usize, usize> {
        self.shares.binary_search_by(|share| share.replica.cmp(replica))
    }

    /// Takes the greater of what is here and `share`.
    fn join(&mut self, share: Share, content: &mut Content) {
        match self.place(&share.replica) {
            Ok(place) => {
                let joined = self.shares[place].joined(&share);
                if (joined.up, joined.down) != (self.shares[place].up, self.shares[place].down) {
                    content.remove(0, |item| self.shares[place].feed(item));
                    content.insert(0, |item| joined.feed(item));
                }
                self.shares[place] = joined;
            }
            Err(_) if (share.up, share.down) == (0, 0) => {}
            Err(place) => {
                content.insert(0, |item| share.feed(item));
                self.shares.insert(place, share);
            }
        }
    }

    /// A writer's commits up to `dot` are in another's totals: its share goes, and does not come back.
    fn fold_away(&mut self, dot: &Dot, context: Context<'_>, content: &mut Content) {
        if let Ok(place) = self.place(&dot.replica)
            && self.shares[place].seq <= dot.seq
        {
            let share = self.shares.remove(place);
            content.remove(0, |item| share.feed(item));
        }
        if !context.covers(dot) {
            let through = self.deferred.get_or_insert_default().entry(dot.replica).or_default();
            *through = dot.seq.max(*through);
        }
    }
}

impl CounterState {
    /// What the first version of the format wrote.
    pub(super) fn of_totals(up: Vec<(ReplicaId, u64)>, down: Vec<(ReplicaId, u64)>) -> Self {
        let mut shares: BTreeMap<ReplicaId, Share> = BTreeMap::new();
        let mut note = |replica: ReplicaId, up: u64, down: u64| {
            let share = shares.entry(replica).or_insert(Share { replica, seq: 0, up: 0, down: 0 });
            (share.up, share.down) = (share.up.max(up), share.down.max(down));
        };
        up.into_iter().for_each(|(replica, total)| note(replica, total, 0));
        down.into_iter().for_each(|(replica, total)| note(replica, 0, total));
        Self { shares: shares.into_values().collect(), deferred: Vec::new() }
    }
}

impl From<(ReplicaId, u64, u64, u64)> for Share {
    fn from((replica, seq, up, down): (ReplicaId, u64, u64, u64)) -> Self {
        Self { replica, seq, up, down }
    }
}

impl From<(Vec<Share>, Vec<Dot>)> for CounterState {
    fn from((shares, deferred): (Vec<Share>, Vec<Dot>)) -> Self {
        Self { shares, deferred }
    }
}

impl Serialize for Share {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.replica, self.seq, self.up, self.down).serialize(serializer)
    }
}

impl Serialize for CounterState {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (&self.shares, &self.deferred).serialize(serializer)
    }
}
