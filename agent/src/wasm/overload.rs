//! Which workloads have more to do on this host than it can, by their queues.
//!
//! Owns the real clock of [`Shedder`], and the news of it; what it decides is the shedder's. The invariant: to ask about a workload that is not
//! overloaded takes no lock.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::WasmHost;
use super::service::Service;
use crate::routing::shed::{Admission, Shedder, Why};

/// What is known of one workload's queue. Belongs to the workload and outlives its replacement by a newer version.
#[derive(Default)]
pub(super) struct Overload {
    shedder: Mutex<Shedder>,
    is_told: AtomicBool,
}

/// What is known of all queues together.
pub(super) struct Overloads {
    epoch: Instant,
    changed: Notify,
    late: AtomicU64,
    overloaded: AtomicU64,
}

impl Default for Overloads {
    fn default() -> Self {
        let (changed, late, overloaded) = Default::default();
        Self { epoch: Instant::now(), changed, late, overloaded }
    }
}

impl Overloads {
    /// Whether a call is let in that finds `ahead` others waiting, and whose caller has this much time left.
    pub(super) fn admit(
        &self,
        overload: &Overload,
        ahead: usize,
        patience: Option<Duration>,
        now: Instant,
    ) -> Admission {
        let patience_ms = patience.map(|patience| patience.as_secs_f64() * 1e3);
        let admission = self.with(overload, now, |shedder, now_us| shedder.admit(ahead, patience_ms, now_us));
        match admission {
            Admission::Shed { why: Why::Late, .. } => &self.late,
            Admission::Shed { why: Why::Overloaded, .. } => &self.overloaded,
            Admission::Admit => return admission,
        }
        .fetch_add(1, Ordering::Relaxed);
        admission
    }

    /// A call that has waited since then, behind so many others, has its turn.
    pub(super) fn observe(&self, overload: &Overload, since: Instant, ahead: usize) {
        let now = Instant::now();
        let waited_ms = now.saturating_duration_since(since).as_secs_f64() * 1e3;
        self.with(overload, now, |shedder, now_us| shedder.observe(waited_ms, ahead, now_us));
    }

    /// Whether a workload is overloaded.
    pub(super) fn is(&self, overload: &Overload) -> bool {
        overload.is_told.load(Ordering::Relaxed) && self.with(overload, Instant::now(), Shedder::is_overloaded)
    }

    /// Returns when a workload has become overloaded, or is no longer, since this returned last.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Calls that were turned away because they would have been late, and because of overload.
    pub(super) fn shed(&self) -> (u64, u64) {
        (self.late.load(Ordering::Relaxed), self.overloaded.load(Ordering::Relaxed))
    }

    fn with<R>(&self, overload: &Overload, now: Instant, act: impl FnOnce(&mut Shedder, u64) -> R) -> R {
        let now_us = u64::try_from(now.saturating_duration_since(self.epoch).as_micros()).unwrap_or(u64::MAX);
        let mut shedder = overload.shedder.lock().unwrap_or_else(PoisonError::into_inner);
        let result = act(&mut shedder, now_us);
        let is_now = shedder.is_overloaded(now_us);
        // Under the shedder's lock, so that the last word is the latest.
        if overload.is_told.swap(is_now, Ordering::Relaxed) != is_now {
            self.changed.notify_one();
        }
        result
    }
}

impl WasmHost {
    /// Whether more calls of `workload` come than this host can make; `None` if it cannot be called here.
    #[must_use]
    pub fn is_overloaded(&self, workload: &str) -> Option<bool> {
        let services = self.0.services();
        services.get(workload).map(|service| self.0.schedule.overloads().is(&service.load.overload))
    }

    /// The names of the workloads of which more calls come than this host can make, in order.
    #[must_use]
    pub fn overloaded(&self) -> Vec<String> {
        let is_overloaded = |service: &&Arc<Service>| self.0.schedule.overloads().is(&service.load.overload);
        let services = self.0.services();
        services.values().filter(is_overloaded).map(|service| service.program.workload.to_string()).collect()
    }

    /// Returns when a workload has become overloaded, or no longer is, since this returned last. For one waiter.
    pub async fn overload_changed(&self) {
        self.0.schedule.overloads().changed().await;
    }
}
