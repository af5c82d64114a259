//! Which call a worker takes next.
//!
//! Owns the bounded queue of each workload and the workers' turn-taking. Knows nothing of guests. The invariants: a
//! workload has at most so many calls waiting and so many running; workloads take turns, so one that is flooded delays
//! only itself; nothing waits that nobody will take up.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// The queues of all workloads; `J` is a call.
pub(super) struct Schedule<J> {
    lanes: Mutex<Lanes<J>>,
    wake: Condvar,
    waiting_max: usize,
    running_max: usize,
}

struct Lanes<J> {
    by_workload: BTreeMap<Arc<str>, Lane<J>>,
    /// Whose turn it was last.
    last: Option<Arc<str>>,
    closed: bool,
}

struct Lane<J> {
    waiting: VecDeque<J>,
    running: usize,
}

/// Why a call was not taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// As many as may wait are waiting.
    Full,
    /// The host is going down.
    Closed,
}

impl<J> Schedule<J> {
    pub(super) fn new(waiting_max: usize, running_max: usize) -> Self {
        let lanes = Lanes { by_workload: BTreeMap::new(), last: None, closed: false };
        Self { lanes: Mutex::new(lanes), wake: Condvar::new(), waiting_max, running_max: running_max.max(1) }
    }

    /// Takes a call in.
    pub(super) fn push(&self, workload: &Arc<str>, job: J) -> Result<(), Refused> {
        let mut lanes = self.lock();
        if lanes.closed {
            return Err(Refused::Closed);
        }
        let new = || Lane { waiting: VecDeque::new(), running: 0 };
        let lane = lanes.by_workload.entry(Arc::clone(workload)).or_insert_with(new);
        if lane.waiting.len() >= self.waiting_max {
            return Err(Refused::Full);
        }
        lane.waiting.push_back(job);
        drop(lanes);
        self.wake.notify_one();
        Ok(())
    }

    /// The next call, as soon as there is one; `None` once the schedule is closed. Follow it by [`Schedule::done`].
    pub(super) fn next(&self) -> Option<(Arc<str>, J)> {
        let mut lanes = self.lock();
        loop {
            if lanes.closed {
                return None;
            }
            if let Some(next) = lanes.take(self.running_max) {
                return Some(next);
            }
            lanes = self.wake.wait(lanes).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// A call that [`Schedule::next`] gave has ended.
    pub(super) fn done(&self, workload: &Arc<str>) {
        let mut lanes = self.lock();
        let Some(lane) = lanes.by_workload.get_mut(workload) else { return };
        lane.running = lane.running.saturating_sub(1);
        if lane.running == 0 && lane.waiting.is_empty() {
            lanes.by_workload.remove(workload);
        }
        drop(lanes);
        // A lane that was at its limit may have become free for a worker that sleeps.
        self.wake.notify_one();
    }

    /// Waiting and running calls of a workload.
    pub(super) fn load(&self, workload: &str) -> (usize, usize) {
        self.lock().by_workload.get(workload).map_or((0, 0), |lane| (lane.waiting.len(), lane.running))
    }

    /// Calls that are running, of all workloads.
    pub(super) fn running(&self) -> usize {
        self.lock().by_workload.values().map(|lane| lane.running).sum()
    }

    /// Refuses all further calls, drops those that wait, and sends the workers home.
    pub(super) fn close(&self) {
        let mut lanes = self.lock();
        lanes.closed = true;
        let dropped: Vec<_> = lanes.by_workload.values_mut().map(|lane| std::mem::take(&mut lane.waiting)).collect();
        drop(lanes);
        drop(dropped);
        self.wake.notify_all();
    }

    /// A worker that panicked while it held the lock left the queues whole: every change to them is one step.
    fn lock(&self) -> MutexGuard<'_, Lanes<J>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<J> Lanes<J> {
    fn take(&mut self, running_max: usize) -> Option<(Arc<str>, J)> {
        let ready = |(_, lane): &(&Arc<str>, &Lane<J>)| !lane.waiting.is_empty() && lane.running < running_max;
        let after = self.last.clone().map_or(Bound::Unbounded, Bound::Excluded);
        let found = self.by_workload.range((after, Bound::Unbounded)).find(ready).or_else(|| self.by_workload.iter().find(ready));
        let workload = Arc::clone(found?.0);
        let lane = self.by_workload.get_mut(&workload)?;
        let job = lane.waiting.pop_front()?;
        lane.running += 1;
        self.last = Some(Arc::clone(&workload));
        Some((workload, job))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(waiting_max: usize, running_max: usize, jobs: &[(&str, u32)]) -> Schedule<u32> {
        let schedule = Schedule::new(waiting_max, running_max);
        for (workload, job) in jobs {
            schedule.push(&Arc::from(*workload), *job).expect("room");
        }
        schedule
    }

    #[test]
    fn workloads_take_turns() {
        let schedule = schedule(9, 9, &[("a", 1), ("a", 2), ("a", 3), ("b", 4), ("c", 5)]);
        let order: Vec<_> = (0..5).filter_map(|_| schedule.next()).map(|(_, job)| job).collect();
        assert_eq!(order, [1, 4, 5, 2, 3]);
    }

    #[test]
    fn a_full_queue_refuses_and_does_not_hold_up_others() {
        let schedule = schedule(2, 1, &[("a", 1), ("a", 2)]);
        assert_eq!(schedule.push(&Arc::from("a"), 3), Err(Refused::Full));
        assert_eq!(schedule.push(&Arc::from("b"), 4), Ok(()));
        let (a, one) = schedule.next().expect("a call");
        assert_eq!(one, 1);
        // The one place of `a` is taken, so `b` is next although `a` has waited longer.
        assert_eq!(schedule.next().map(|(_, job)| job), Some(4));
        schedule.done(&a);
        assert_eq!(schedule.next().map(|(_, job)| job), Some(2));
        assert_eq!(schedule.load("a"), (0, 1));
    }

    #[test]
    fn closing_sends_everyone_home() {
        let schedule = schedule(2, 1, &[("a", 1)]);
        schedule.close();
        assert_eq!(schedule.next(), None);
        assert_eq!(schedule.push(&Arc::from("a"), 2), Err(Refused::Closed));
    }
}
