//! Room for instances: all workloads share one pool.
//!
//! Owns who gives way when the pool is used up: an instance that waits for a call, of the workload that has most of those. The
//! invariant: no start fails for want of room while an instance of a loaded workload is idle.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use super::error::LoadError;
use super::instance::Warm;
use super::program::Program;
use super::service::Service;
use super::source::Source;

/// The workloads that can be called, by name.
pub(super) type Services = RwLock<BTreeMap<String, Arc<Service>>>;

/// Starts an instance of `program`, which reads what `source` makes. Idle instances give way to it, one at a time, for as long as
/// the pool has no room.
///
/// # Errors
/// It does not start within its limits, or all instances that there may be are in use.
pub(super) fn start(program: &Program, services: &Services, source: impl Fn() -> Source) -> Result<Warm, LoadError> {
    loop {
        match Warm::start(program, source()) {
            // What became free may have gone to another start in the meantime; then the next one gives way.
            Err(LoadError::Host(_)) if give_way(services) => {}
            started => return started,
        }
    }
}

/// Ends an idle instance of the workload that has most of them. `false` when none is idle.
fn give_way(services: &Services) -> bool {
    let idle = |service: &Arc<Service>| (service.idle(), Arc::clone(service));
    let most = {
        let services = services.read().unwrap_or_else(PoisonError::into_inner);
        services.values().map(idle).max_by_key(|(idle, _)| *idle)
    };
    let Some((1.., service)) = most else { return false };
    // A call may have taken the last one meanwhile. Then this ends none, and looks again.
    service.end_idle();
    true
}
