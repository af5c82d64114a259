//! Read access to the replicated state, for everybody but the driver.
//!
//! The driver alone changes the replica; everybody else reads it in place, under a lock that is held for the length of a
//! closure, or looks at a [`Summary`], for which nobody waits. The invariants: a [`StateView`] cannot change anything, and nobody
//! awaits while holding it; a summary is as new as the last pass, or as the one before that while a pass goes on.

mod summary;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, TryLockError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use selvedge_sync::draft::ReadState;
use selvedge_sync::key::Key;
use selvedge_sync::replica::Replica;
use selvedge_sync::scalar::Scalar;
use selvedge_sync::time::Time;
use tokio::runtime::{Handle, RuntimeFlavor};

pub use self::summary::{Past, Summary};

/// Least time between two summaries of the owner: what is seen while a pass goes on is older than it by no more.
const SUMMARY_PAUSE_MIN: Duration = Duration::from_millis(1);

/// How many times as long as the last summary took the owner goes without another: in a large mesh they cost no more than a
/// hundredth of its time, either.
const SUMMARY_REST: u32 = 100;

/// Reads the replica. Cheap to clone.
#[derive(Clone, Debug)]
pub struct StateView {
    replica: Arc<RwLock<Replica>>,
    summary: Arc<Mutex<Arc<Summary>>>,
    /// How many wait to read.
    awaiting: Arc<AtomicUsize>,
    epoch: Instant,
}

/// The one handle that may change the replica. Held by the driver; not cloneable.
#[derive(Debug)]
pub struct StateOwner {
    view: StateView,
    /// Whether something was changed since the last summary.
    is_untold: bool,
    /// When the next summary may be made.
    due: Instant,
}

/// Puts a replica where one owner may change it and many may read it.
#[must_use]
pub fn share(replica: Replica) -> (StateOwner, StateView) {
    let epoch = Instant::now();
    let summary = Summary::of(&replica, Time { wall_ms: wall_ms(), mono_ms: 0 });
    let view = StateView {
        replica: Arc::new(RwLock::new(replica)),
        summary: Arc::new(Mutex::new(Arc::new(summary))),
        awaiting: Arc::default(),
        epoch,
    };
    (StateOwner { view: view.clone(), is_untold: false, due: epoch }, view)
}

impl StateView {
    /// Reads. Keep it short: the driver waits meanwhile.
    pub fn read<R>(&self, read: impl FnOnce(&Replica) -> R) -> R {
        match self.at_once() {
            Some(replica) => read(&replica),
            None => self.wait_and_read(read),
        }
    }

    /// The same, for loops of the agent's own: while they wait for a pass, the other tasks of their thread go on elsewhere, so that none of
    /// them is held up by a driver that hangs. That costs more than a pass does, so it is not for calls.
    pub fn read_aside<R>(&self, read: impl FnOnce(&Replica) -> R) -> R {
        let can_step_aside =
            || Handle::try_current().is_ok_and(|runtime| runtime.runtime_flavor() == RuntimeFlavor::MultiThread);
        match self.at_once() {
            Some(replica) => read(&replica),
            None if can_step_aside() => tokio::task::block_in_place(|| self.wait_and_read(read)),
            None => self.wait_and_read(read),
        }
    }

    /// Reads, unless the driver makes a pass just now.
    pub fn try_read<R>(&self, read: impl FnOnce(&Replica) -> R) -> Option<R> {
        self.at_once().map(|replica| read(&replica))
    }

    /// What the replica looks like: now, or, while the driver makes a pass, before it. Waits for nobody.
    #[must_use]
    pub fn summary(&self) -> Arc<Summary> {
        self.try_read(|replica| Arc::new(Summary::of(replica, self.now())))
            .unwrap_or_else(|| Arc::clone(&self.summary.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Takes the state as a pass does, for a test of who waits meanwhile.
    #[cfg(test)]
    pub(crate) fn hold(&self) -> std::sync::RwLockWriteGuard<'_, Replica> {
        self.replica.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn at_once(&self) -> Option<RwLockReadGuard<'_, Replica>> {
        match self.replica.try_read() {
            Ok(replica) => Some(replica),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    fn wait_and_read<R>(&self, read: impl FnOnce(&Replica) -> R) -> R {
        self.awaiting.fetch_add(1, Ordering::Relaxed);
        let replica = self.replica.read().unwrap_or_else(PoisonError::into_inner);
        self.awaiting.fetch_sub(1, Ordering::Relaxed);
        read(&replica)
    }

    /// Whether somebody waits to read. Asked by whoever may put off its next change.
    pub(crate) fn is_awaited(&self) -> bool {
        self.awaiting.load(Ordering::Relaxed) > 0
    }

    /// This moment on the clocks that the replica is given.
    #[must_use]
    pub fn now(&self) -> Time {
        Time { wall_ms: wall_ms(), mono_ms: millis(self.epoch.elapsed()) }
    }
}

impl StateOwner {
    /// Changes the replica.
    pub fn write<R>(&mut self, write: impl FnOnce(&mut Replica) -> R) -> R {
        // Before, and not after: while nothing is being changed, whoever looks sums up what there is.
        if self.is_untold {
            self.tell();
        }
        self.is_untold = true;
        write(&mut self.view.replica.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes a summary, unless the last one is too young.
    fn tell(&mut self) {
        let begun = Instant::now();
        if begun < self.due {
            return;
        }
        let summary = Arc::new(self.view.read(|replica| Summary::of(replica, self.view.now())));
        let before = std::mem::replace(&mut *self.view.summary.lock().unwrap_or_else(PoisonError::into_inner), summary);
        // Whoever reads does not wait until it is gone.
        drop(before);
        let ended = Instant::now();
        self.due = ended + (ended.duration_since(begun) * SUMMARY_REST).max(SUMMARY_PAUSE_MIN);
        self.is_untold = false;
    }
}

impl ReadState for StateView {
    fn counter(&self, key: &Key) -> Option<i128> {
        self.read(|replica| replica.readable().counter(key))
    }

    fn own_totals(&self, key: &Key) -> (u64, u64) {
        self.read(|replica| replica.readable().own_totals(key))
    }

    fn contains(&self, key: &Key, member: &Scalar) -> bool {
        self.read(|replica| replica.readable().contains(key, member))
    }

    fn members(&self, key: &Key) -> Option<Vec<Scalar>> {
        self.read(|replica| replica.readable().members(key))
    }

    fn field(&self, key: &Key, field: &str) -> Option<Scalar> {
        self.read(|replica| replica.readable().field(key, field))
    }

    fn fields(&self, key: &Key) -> Option<BTreeMap<String, Scalar>> {
        self.read(|replica| replica.readable().fields(key))
    }
}

/// Milliseconds since the Unix epoch; 0 on a host whose clock stands before it.
#[must_use]
pub fn wall_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, millis)
}

/// A duration in whole milliseconds, saturating.
#[must_use]
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use selvedge_sync::change::Change;
    use selvedge_sync::id::{Incarnation, NodeId, ReplicaId};
    use selvedge_sync::replica::{Config, Input};

    use super::*;

    fn shared() -> (StateOwner, StateView) {
        share(Replica::new(ReplicaId { node: NodeId([1; 32]), incarnation: Incarnation(1) }, Config::default()))
    }

    fn increment(replica: &mut Replica) {
        let changes = vec![("gcounter/kills".parse().expect("a key"), Change::Increment(1))];
        let now = Time { wall_ms: 1_000, mono_ms: 0 };
        drop(replica.handle(Input::Commit { ticket: 0, changes, request: None }, now));
    }

    #[test]
    fn a_summary_is_of_now_or_of_before_the_pass_and_waits_for_nobody() {
        let (mut owner, view) = shared();
        assert_eq!((view.summary().commits, view.summary().keys), (0, 0));
        owner.write(increment);
        assert_eq!((view.summary().commits, view.summary().keys), (1, 1), "of now");
        let during = owner.write(|replica| {
            increment(replica);
            assert_eq!(view.try_read(|_| ()), None);
            view.summary()
        });
        assert_eq!(during.commits, 1, "of before the pass");
        assert_eq!((view.summary().commits, view.summary().keys), (2, 1));
        assert_ne!(view.summary().root, during.root);
    }

    #[test]
    fn summaries_of_the_owner_are_no_more_than_its_time_is_worth() {
        let (mut owner, view) = shared();
        owner.write(increment);
        owner.due = Instant::now() + Duration::from_secs(3_600);
        assert_eq!(owner.write(|_| view.summary().commits), 0, "the last is too young");
        owner.due = Instant::now();
        assert_eq!(owner.write(|_| view.summary().commits), 1);
        assert!(owner.due >= Instant::now() - SUMMARY_PAUSE_MIN);
    }
}
