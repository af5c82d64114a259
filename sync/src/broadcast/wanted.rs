//! What is missing: who has it, and when to ask.
//!
//! Each stream has one entry, whose clock is that of the oldest commit missing. The neighbour that ought to have pushed is
//! asked first and soon, for then only a packet was lost and the tree is whole; another one is asked when that does not help,
//! and so comes into the tree. The invariant: at most [`WANTED_MAX`] entries, each asked for at most [`GRAFTS_MAX`] times.

use std::collections::BTreeMap;

use super::Want;
use crate::causal::VersionVector;
use crate::id::{NodeId, Stream};
use crate::limits::{
    GRAFT_PATIENCE_MS, GRAFT_RETRY_MS, GRAFTS_MAX, LOST_PATIENCE_MS, WANTED_MAX, WANTED_PER_NEIGHBOUR,
    WANTED_SOURCES_MAX,
};

/// Commits of one stream that others have.
#[derive(Debug)]
struct Missing {
    /// The clock runs for the commits up to this one.
    target: u64,
    due_ms: u64,
    /// The last that anybody spoke of, and its own clock.
    latest: u64,
    latest_due_ms: u64,
    /// The first that has come too early and waits here for those before.
    early: Option<u64>,
    asked: u32,
    /// Who has it; the first told us first.
    sources: Vec<NodeId>,
}

/// What a neighbour told: that it has a stream up to a commit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told {
    pub(super) from: NodeId,
    /// Whether it is pushed to, and so ought to have pushed.
    pub(super) eager: bool,
    pub(super) stream: Stream,
    pub(super) through: u64,
    /// The first commit that came too early with this, and is kept.
    pub(super) early: Option<u64>,
}

#[derive(Debug, Default)]
pub(super) struct Wanted {
    streams: BTreeMap<Stream, Missing>,
}

impl Missing {
    /// Whether anything is missing when we have what is up to `has`. When that is what the clock ran for, the rest has its own.
    fn go_on(&mut self, has: u64) -> bool {
        if self.target <= has && self.latest > has {
            (self.target, self.due_ms, self.asked) = (self.latest, self.latest_due_ms, 0);
        }
        self.target > has
    }
}

impl Wanted {
    pub(super) fn len(&self) -> usize {
        self.streams.len()
    }

    /// Notes what was told about a stream of which we have what is up to `has`; false when there is no room for that.
    pub(super) fn note(&mut self, told: &Told, has: u64, now_ms: u64) -> bool {
        let Told { from, eager, stream, through, early } = *told;
        let patience_ms = if eager { LOST_PATIENCE_MS } else { GRAFT_PATIENCE_MS };
        let due_ms = now_ms.saturating_add(patience_ms);
        if self.streams.get_mut(&stream).is_some_and(|missing| !missing.go_on(has)) {
            self.streams.remove(&stream);
        }
        if let Some(missing) = self.streams.get_mut(&stream) {
            if through > missing.latest {
                (missing.latest, missing.latest_due_ms) = (through, due_ms);
            }
            missing.early = missing.early.filter(|first| *first > has + 1).into_iter().chain(early).min();
            if missing.asked == 0 {
                // Whoever has a later commit has this one too.
                missing.due_ms = missing.due_ms.min(due_ms);
            }
            if !missing.sources.contains(&from) && missing.sources.len() < WANTED_SOURCES_MAX {
                missing.sources.push(from);
            }
            return true;
        }
        if self.streams.len() >= WANTED_MAX || self.first_told_by(from) >= WANTED_PER_NEIGHBOUR {
            return false;
        }
        let missing = Missing {
            target: through,
            due_ms,
            latest: through,
            latest_due_ms: due_ms,
            early,
            asked: 0,
            sources: vec![from],
        };
        self.streams.insert(stream, missing);
        true
    }

    fn first_told_by(&self, from: NodeId) -> usize {
        if self.streams.len() < WANTED_PER_NEIGHBOUR {
            return 0;
        }
        self.streams.values().filter(|missing| missing.sources.first() == Some(&from)).count()
    }

    /// Whom to ask for what now, and how much has been asked for in vain too often. `is_eager` says of neighbours whether they
    /// are pushed to, and of others nothing.
    pub(super) fn due(
        &mut self,
        seen: &VersionVector,
        is_eager: impl Fn(&NodeId) -> Option<bool>,
        now_ms: u64,
    ) -> (BTreeMap<NodeId, Vec<Want>>, u64) {
        let mut asks: BTreeMap<NodeId, Vec<Want>> = BTreeMap::new();
        let mut given_up = 0;
        self.streams.retain(|stream, missing| {
            let has = seen.seq(stream);
            if !missing.go_on(has) {
                return false;
            }
            if missing.due_ms > now_ms {
                return true;
            }
            missing.sources.retain(|node| is_eager(node).is_some());
            // Within the tree first.
            missing.sources.sort_by_key(|node| is_eager(node) != Some(true));
            let turn = usize::try_from(missing.asked).unwrap_or(0) % missing.sources.len().max(1);
            let Some(to) = missing.sources.get(turn).filter(|_| missing.asked < GRAFTS_MAX) else {
                given_up += 1;
                return false;
            };
            // What waits here need not come again, unless it was dropped meanwhile: the second question is for all.
            let early = missing.early.filter(|first| *first > has + 1 && missing.asked == 0);
            let through = early.map_or(missing.latest, |first| missing.latest.min(first - 1));
            let want = Want { stream: *stream, after: has, through };
            asks.entry(*to).or_default().push(want);
            missing.asked += 1;
            missing.due_ms = now_ms.saturating_add(GRAFT_RETRY_MS);
            true
        });
        (asks, given_up)
    }
}
