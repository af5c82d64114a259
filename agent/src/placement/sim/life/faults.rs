//! What must hold at every second of a simulated life.
//!
//! After a side has had time to settle it never has more instances than it should, nor fewer; no workload is without an instance while a
//! host is able; loads that only go up and down move nothing. Each side of a cut is held to the workload's own policy.

use std::collections::BTreeMap;
use std::fmt;

use super::{CALM_S, DETECTED_AFTER_S, START_S, STOP_AFTER_MS, World};
use crate::spec::{Partition, WorkloadName};

/// Seconds for which too many may serve: that in which somebody is back or has begun as well, and that in which the surplus sees it.
const SURPLUS_S_MAX: u64 = 2;
/// Seconds for which too few may serve: noticed, started, and two ticks of the model for the word to get around.
const DEFICIT_S_MAX: u64 = DETECTED_AFTER_S + START_S + 2;
/// Seconds after the beginning of a cut in which its sides settle, besides the time that the workload bears.
const CUT_SETTLES_S: u64 = DEFICIT_S_MAX;

/// Something that must never be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// When, in seconds.
    pub second: u64,
    /// Which workload, by its place among all.
    pub workload: usize,
    /// On which side of the cut; 0 without one.
    pub side: usize,
    /// What.
    pub wrong: Wrong,
    /// From which all of it follows.
    pub seed: u64,
}

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// More instances served than should, for longer than it takes to settle.
    TooMany {
        /// So many.
        ready: usize,
        /// Where so many should.
        expected: usize,
    },
    /// Fewer did.
    TooFew {
        /// So many.
        ready: usize,
        /// Where so many should.
        expected: usize,
    },
    /// An instance moved though nothing but loads had changed.
    Moved,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { second, workload, side, wrong, seed } = self;
        write!(f, "seed {seed}, second {second}, side {side}, workload {workload}: ")?;
        match wrong {
            Wrong::TooMany { ready, expected } => write!(f, "{ready} serve where {expected} should"),
            Wrong::TooFew { ready, expected } => write!(f, "only {ready} serve where {expected} should"),
            Wrong::Moved => f.write_str("it moved though nothing but loads had changed"),
        }
    }
}

/// For how long each workload has been in which state, by side.
#[derive(Debug, Default)]
pub(super) struct Watch {
    states: BTreeMap<(WorkloadName, usize), State>,
    /// When a cut began or healed last.
    changed_s: u64,
    was_cut: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    surplus_s: u64,
    deficit_s: u64,
    gap_s: u64,
}

impl Watch {
    /// One of its hosts is lost: what is missing from now on is another matter.
    pub(super) fn begin_anew(&mut self, workload: &WorkloadName) {
        for side in 0..2 {
            if let Some(state) = self.states.get_mut(&(workload.clone(), side)) {
                (state.deficit_s, state.gap_s) = (0, 0);
            }
        }
    }
}

const fn counted(seconds: u64, goes_on: bool) -> u64 {
    if goes_on { seconds + 1 } else { 0 }
}

impl World {
    /// Looks at everything once.
    pub(super) fn check(&mut self) {
        let is_cut = self.is_cut();
        if is_cut != self.watch.was_cut {
            (self.watch.was_cut, self.watch.changed_s) = (is_cut, self.now_s);
            self.watch.states.clear();
        }
        if self.lived.moves > 0 && self.life.churn_s.is_none() && !self.life.partition {
            self.fault(0, 0, Wrong::Moved);
        }
        let names: Vec<WorkloadName> = self.specs.keys().cloned().collect();
        for side in 0..=usize::from(is_cut) {
            for (place, name) in names.iter().enumerate() {
                self.check_one(side, place, name);
            }
        }
    }

    fn check_one(&mut self, side: usize, place: usize, name: &WorkloadName) {
        let (ready, expected) = (self.ready(name, Some(side)), self.expected(name, side));
        let settled = self.has_settled(name);
        let state = self.watch.states.entry((name.clone(), side)).or_default();
        state.surplus_s = counted(state.surplus_s, settled && ready > expected);
        state.deficit_s = counted(state.deficit_s, settled && ready < expected);
        state.gap_s = counted(state.gap_s, settled && ready == 0 && expected > 0);
        let State { surplus_s, deficit_s, gap_s } = *state;
        self.lived.longest_surplus_s = self.lived.longest_surplus_s.max(surplus_s);
        self.lived.longest_gap_s = self.lived.longest_gap_s.max(gap_s);
        if surplus_s > SURPLUS_S_MAX {
            self.fault(side, place, Wrong::TooMany { ready, expected });
        }
        if deficit_s > DEFICIT_S_MAX {
            self.fault(side, place, Wrong::TooFew { ready, expected });
        }
    }

    /// Whether the mesh has had time to settle, after its beginning or that of a cut. What heals settles at once.
    fn has_settled(&self, name: &WorkloadName) -> bool {
        let bears_s = match self.specs[name].partition {
            Partition::StopAfter(ms) => ms / 1_000,
            Partition::KeepBoth | Partition::HomeOnly(_) => 0,
        };
        debug_assert!(bears_s == 0 || bears_s == STOP_AFTER_MS / 1_000, "there is one such policy");
        let since_s = self.now_s - self.watch.changed_s;
        self.now_s > CALM_S && (!self.watch.was_cut || since_s > CUT_SETTLES_S + bears_s)
    }

    fn fault(&mut self, side: usize, workload: usize, wrong: Wrong) {
        let fault = Fault { second: self.now_s, workload, side, wrong, seed: self.life.seed };
        self.lived.fault.get_or_insert(fault);
    }
}
