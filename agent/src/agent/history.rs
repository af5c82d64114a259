//! What was counted over the last minutes, so that whoever looks at the agent sees where it comes from.
//!
//! Owns the samples and the loop that takes them; decides nothing. The invariant: memory and time are bounded by the number of
//! samples, whatever the load.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::calls::Calls;
use crate::service::History as Document;
use crate::view::StateView;

/// Length of a step. Long enough that counting costs nothing, short enough that a dip shows.
const STEP: Duration = Duration::from_secs(5);

/// Steps kept: ten minutes.
const STEPS_MAX: usize = 120;

/// The samples. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct History(Arc<Mutex<Samples>>);

#[derive(Debug, Default)]
struct Samples {
    before: Option<Counted>,
    steps: VecDeque<Counted>,
}

/// Counters as they stand, or by how much they rose in a step; levels are levels in both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counted {
    calls: u64,
    errors: u64,
    commits: u64,
    bytes: u64,
    garbage: u64,
}

impl History {
    /// Takes samples until `stop`.
    pub(super) async fn run(self, view: StateView, calls: Calls, stop: CancellationToken) {
        let mut step = tokio::time::interval(STEP);
        step.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = step.tick() => self.take(count(&view, &calls)),
                () = stop.cancelled() => return,
            }
        }
    }

    fn take(&self, now: Counted) {
        let mut samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = samples.before.replace(now) {
            if samples.steps.len() == STEPS_MAX {
                samples.steps.pop_front();
            }
            samples.steps.push_back(now.since(before));
        }
    }

    /// What there is.
    pub(super) fn document(&self) -> Document {
        let samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |figure: fn(&Counted) -> u64| samples.steps.iter().map(figure).collect();
        Document {
            step_s: STEP.as_secs(),
            calls: of(|step| step.calls),
            errors: of(|step| step.errors),
            commits: of(|step| step.commits),
            bytes: of(|step| step.bytes),
            garbage: of(|step| step.garbage),
        }
    }
}

impl Counted {
    /// The figures of workloads go with them, so a sum may fall: then nothing is known to have come.
    const fn since(self, before: Self) -> Self {
        Self {
            calls: self.calls.saturating_sub(before.calls),
            errors: self.errors.saturating_sub(before.errors),
            commits: self.commits.saturating_sub(before.commits),
            ..self
        }
    }
}

fn count(view: &StateView, calls: &Calls) -> Counted {
    let (calls, errors) = calls.traffic().totals();
    let state = view.summary();
    Counted { calls, errors, commits: state.commits, bytes: state.bytes, garbage: state.garbage }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_told_by_step_and_the_oldest_go() {
        let history = History::default();
        let counted = |calls| Counted { calls, commits: 2 * calls, garbage: 7, ..Counted::default() };
        history.take(counted(10));
        assert_eq!(history.document().calls.len(), 0, "one look is no step");
        [13, 13, 4].into_iter().for_each(|calls| history.take(counted(calls)));
        let told = history.document();
        assert_eq!((told.calls, told.commits, told.garbage), (vec![3, 0, 0], vec![6, 0, 0], vec![7, 7, 7]));
        (0..200).for_each(|at| history.take(counted(100 + at)));
        let told = history.document();
        assert_eq!((told.calls.len(), told.errors.len(), told.calls[0]), (STEPS_MAX, STEPS_MAX, 1));
    }
}
