//! Read access to the replicated state, for everybody but the driver.
//!
//! The driver alone changes the replica; everybody else reads it in place, under a lock that is held for the length of a
//! closure. The invariant: a [`StateView`] cannot change anything, and nobody awaits while holding it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use selvedge_sync::draft::ReadState;
use selvedge_sync::key::Key;
use selvedge_sync::replica::Replica;
use selvedge_sync::scalar::Scalar;
use selvedge_sync::time::Time;

/// Reads the replica. Cheap to clone.
#[derive(Clone, Debug)]
pub struct StateView {
    replica: Arc<RwLock<Replica>>,
    /// How many wait to read.
    awaiting: Arc<AtomicUsize>,
    epoch: Instant,
}

/// The one handle that may change the replica. Held by the driver; not cloneable.
#[derive(Debug)]
pub struct StateOwner {
    replica: Arc<RwLock<Replica>>,
}

/// Puts a replica where one owner may change it and many may read it.
#[must_use]
pub fn share(replica: Replica) -> (StateOwner, StateView) {
    let replica = Arc::new(RwLock::new(replica));
    (
        StateOwner { replica: Arc::clone(&replica) },
        StateView { replica, awaiting: Arc::default(), epoch: Instant::now() },
    )
}

impl StateView {
    /// Reads. Keep it short: the driver waits meanwhile.
    pub fn read<R>(&self, read: impl FnOnce(&Replica) -> R) -> R {
        if let Ok(replica) = self.replica.try_read() {
            return read(&replica);
        }
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
        write(&mut self.replica.write().unwrap_or_else(PoisonError::into_inner))
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
pub fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
