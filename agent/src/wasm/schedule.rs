//! Which call runs where and when.
//!
//! Owns the bounded queue of each workload, the workers' turn-taking, and the count of what runs. Knows nothing of guests. The
//! invariants: a workload has at most so many calls waiting and so many running, on workers and elsewhere together; workloads
//! take turns, so one that is flooded delays only itself; nothing waits that nobody will take up.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::overload::{Overload, Overloads};
use crate::routing::shed::{Admission, Why};

/// The queues of all workloads; `J` is a call.
pub(super) struct Schedule<J> {
    lanes: Mutex<Lanes<J>>,
    wake: Condvar,
    waiting_max: usize,
    overloads: Arc<Overloads>,
}

/// What one workload has on its hands. Belongs to the workload and outlives its replacement by a newer version.
#[derive(Default)]
pub(super) struct Load {
    waiting: AtomicUsize,
    running: AtomicUsize,
    pub(super) overload: Overload,
}

struct Lanes<J> {
    by_workload: BTreeMap<Arc<str>, Lane<J>>,
    /// Whose turn it was last.
    last: Option<Arc<str>>,
    closed: bool,
}

struct Lane<J> {
    waiting: VecDeque<Waiting<J>>,
    load: Arc<Load>,
    /// As the latest call said; a workload that was replaced may have another limit.
    running_max: usize,
}

/// A call in line.
struct Waiting<J> {
    job: J,
    since: Instant,
    /// How many were before it when it came.
    ahead: usize,
}

/// Why a call was not taken in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Refused {
    /// As many as may wait are waiting.
    Full,
    /// It would wait for too long.
    Shed {
        /// Why that is too long.
        why: Why,
        /// How long it would have been, in milliseconds.
        expected_ms: f64,
        /// When to try again, in milliseconds.
        retry_after_ms: u64,
    },
    /// The host is going down.
    Closed,
}

impl Load {
    /// Calls that wait, and calls that run.
    pub(super) fn now(&self) -> (usize, usize) {
        (self.waiting.load(Ordering::SeqCst), self.running.load(Ordering::SeqCst))
    }

    /// Takes one of `running_max` places, if one is free.
    fn enter(&self, running_max: usize) -> bool {
        let more = |running: usize| (running < running_max).then_some(running + 1);
        self.running.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).is_ok()
    }

    fn leave(&self) {
        self.running.fetch_sub(1, Ordering::SeqCst);
    }
}

impl<J> Schedule<J> {
    pub(super) fn new(waiting_max: usize) -> Self {
        let lanes = Lanes { by_workload: BTreeMap::new(), last: None, closed: false };
        Self { lanes: Mutex::new(lanes), wake: Condvar::new(), waiting_max, overloads: Arc::default() }
    }

    /// Which workloads are overloaded.
    pub(super) const fn overloads(&self) -> &Arc<Overloads> {
        &self.overloads
    }

    /// Takes a call in, of a workload that may have `running_max` running at one time, whose caller has this much time left.
    pub(super) fn push(
        &self,
        workload: &Arc<str>,
        load: &Arc<Load>,
        running_max: usize,
        (job, patience): (J, Option<Duration>),
    ) -> Result<(), Refused> {
        let now = Instant::now();
        let mut lanes = self.lock();
        if lanes.closed {
            return Err(Refused::Closed);
        }
        let new = || Lane { waiting: VecDeque::new(), load: Arc::clone(load), running_max };
        let lane = lanes.by_workload.entry(Arc::clone(workload)).or_insert_with(new);
        if lane.waiting.len() >= self.waiting_max {
            return Err(Refused::Full);
        }
        let ahead = lane.waiting.len();
        match self.overloads.admit(&load.overload, ahead, patience, now) {
            Admission::Admit => {}
            Admission::Shed { why, expected_ms, retry_after_ms } => {
                return Err(Refused::Shed { why, expected_ms, retry_after_ms });
            }
        }
        lane.running_max = running_max.max(1);
        lane.waiting.push_back(Waiting { job, since: now, ahead });
        lane.load.waiting.fetch_add(1, Ordering::SeqCst);
        drop(lanes);
        self.wake.notify_one();
        Ok(())
    }

    /// The next call, as soon as there is one; `None` once the schedule is closed. Follow it by [`Schedule::done`].
    pub(super) fn next(&self) -> Option<(Arc<Load>, J)> {
        let mut lanes = self.lock();
        loop {
            if lanes.closed {
                return None;
            }
            if let Some((load, next)) = lanes.take() {
                drop(lanes);
                self.overloads.observe(&load.overload, next.since, next.ahead);
                return Some((load, next.job));
            }
            lanes = self.wake.wait(lanes).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Takes a place for a call that runs where it was asked for, past the queue: only if nobody of this workload waits. Follow
    /// it by [`Schedule::done`].
    pub(super) fn enter(load: &Load, running_max: usize) -> bool {
        load.waiting.load(Ordering::SeqCst) == 0 && load.enter(running_max.max(1))
    }

    /// A call that had a place has ended.
    pub(super) fn done(&self, load: &Load) {
        load.leave();
        // Its lane may have been at its limit, and the worker that saw that may sleep. Who counts as waiting by now has not been
        // looked at by anyone who saw this place taken; who comes later sees it free.
        if load.waiting.load(Ordering::SeqCst) > 0 {
            drop(self.lock());
            self.wake.notify_one();
        }
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
    fn take(&mut self) -> Option<(Arc<Load>, Waiting<J>)> {
        let ready = |(_, lane): &(&Arc<str>, &Lane<J>)| !lane.waiting.is_empty() && lane.load.enter(lane.running_max);
        let after = self.last.clone().map_or(Bound::Unbounded, Bound::Excluded);
        let found = self
            .by_workload
            .range((after, Bound::Unbounded))
            .find(ready)
            .or_else(|| self.by_workload.iter().find(ready));
        let workload = Arc::clone(found?.0);
        let lane = self.by_workload.get_mut(&workload).expect("a lane that was just found is there");
        let (load, job) = (Arc::clone(&lane.load), lane.waiting.pop_front().expect("a lane that is ready has a call"));
        load.waiting.fetch_sub(1, Ordering::SeqCst);
        // What is empty goes, so that names which nobody calls any more do not gather here.
        if lane.waiting.is_empty() {
            self.by_workload.remove(&workload);
        }
        self.last = Some(workload);
        Some((load, job))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A schedule, and what each workload has on its hands.
    struct Desk(Schedule<u32>, BTreeMap<&'static str, Arc<Load>>, usize);

    impl Desk {
        fn new(waiting_max: usize, running_max: usize) -> Self {
            Self(Schedule::new(waiting_max), BTreeMap::new(), running_max)
        }

        fn push(&mut self, workload: &'static str, job: u32) -> Result<(), Refused> {
            let load = self.1.entry(workload).or_default();
            self.0.push(&Arc::from(workload), load, self.2, (job, None))
        }
    }

    #[test]
    fn workloads_take_turns() {
        let mut desk = Desk::new(9, 9);
        for (workload, job) in [("a", 1), ("a", 2), ("a", 3), ("b", 4), ("c", 5)] {
            desk.push(workload, job).expect("room");
        }
        let order: Vec<_> = (0..5).filter_map(|_| desk.0.next()).map(|(_, job)| job).collect();
        assert_eq!(order, [1, 4, 5, 2, 3]);
    }

    #[test]
    fn a_full_queue_refuses_and_does_not_hold_up_others() {
        let mut desk = Desk::new(2, 1);
        desk.push("a", 1).expect("room");
        desk.push("a", 2).expect("room");
        assert_eq!(desk.push("a", 3), Err(Refused::Full));
        assert_eq!(desk.push("b", 4), Ok(()));
        let (a, one) = desk.0.next().expect("a call");
        assert_eq!(one, 1);
        // The one place of `a` is taken, so `b` is next although `a` has waited longer.
        assert_eq!(desk.0.next().map(|(_, job)| job), Some(4));
        desk.0.done(&a);
        assert_eq!(desk.0.next().map(|(_, job)| job), Some(2));
        assert_eq!(a.now(), (0, 1));
    }

    #[test]
    fn who_runs_past_the_queue_has_a_place_like_any_other() {
        let mut desk = Desk::new(2, 1);
        let a = Arc::clone(desk.1.entry("a").or_default());
        assert!(Schedule::<u32>::enter(&a, 1));
        assert!(!Schedule::<u32>::enter(&a, 1), "the one place is taken");
        desk.push("a", 1).expect("room");
        desk.0.done(&a);
        assert!(!Schedule::<u32>::enter(&a, 1), "somebody waits");
        assert_eq!(desk.0.next().map(|(_, job)| job), Some(1));
    }

    #[test]
    fn a_worker_that_sleeps_is_woken_for_the_place_that_became_free() {
        let mut desk = Desk::new(2, 1);
        let a = Arc::clone(desk.1.entry("a").or_default());
        assert!(Schedule::<u32>::enter(&a, 1));
        desk.push("a", 7).expect("room");
        let schedule = &desk.0;
        std::thread::scope(|scope| {
            let worker = scope.spawn(|| schedule.next().map(|(_, job)| job));
            schedule.done(&a);
            assert_eq!(worker.join().expect("no panic"), Some(7));
        });
    }

    #[test]
    fn closing_sends_everyone_home() {
        let mut desk = Desk::new(2, 1);
        desk.push("a", 1).expect("room");
        desk.0.close();
        assert!(desk.0.next().is_none());
        assert_eq!(desk.push("a", 2), Err(Refused::Closed));
    }
}
