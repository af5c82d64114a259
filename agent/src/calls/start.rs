//! Calls that come before an agent that has just started has its links.
//!
//! Such an agent remembers members and has heard none of them, so it would say of what they run that nobody runs it. Owns how long a call
//! waits for them, how many may, and what a caller hears whose own time is over first. The invariant: nothing waits once [`WINDOW`] has
//! passed, or when every member has been heard.

use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use super::answer::RETRY_AFTER_S;
use super::{Calls, not_running};
use crate::members::Status;
use crate::placement::Phase;
use crate::routing::Target;
use crate::service::{Fault, ServiceError};
use crate::spec::WorkloadName;

/// How long after the start members are waited for: as long as placement waits for those whom this host remembers.
const WINDOW: Duration = Duration::from_secs(5);

/// How often a call that waits looks again: a part of what a link takes.
const LOOK: Duration = Duration::from_millis(10);

/// Calls that may wait; each looks through all members when it looks. Others are told to come again.
const WAITERS_MAX: usize = 128;

/// How the start goes.
pub(super) struct Start {
    began: Instant,
    waiters: Semaphore,
}

impl Start {
    /// One that begins now.
    pub(super) fn now() -> Self {
        Self { began: Instant::now(), waiters: Semaphore::new(WAITERS_MAX) }
    }

    /// What is left of it.
    fn left(&self, now: Instant) -> Duration {
        WINDOW.saturating_sub(now.saturating_duration_since(self.began))
    }
}

impl Calls {
    /// The members to ask. Where the agent has just started and knows of none, it waits until there is one or nobody is missing, for
    /// `patience` at the most.
    ///
    /// # Errors
    /// The caller's time is over first, or too many wait already. Nothing was done.
    pub(super) async fn targets_soon(
        &self,
        workload: &WorkloadName,
        patience: Duration,
    ) -> Result<Vec<Target>, ServiceError> {
        let (targets, start) = (self.targets(workload), &self.parts.start);
        let window = start.left(Instant::now());
        if !targets.is_empty() || window.is_zero() || !self.awaits_any(workload) {
            return Ok(targets);
        }
        let Ok(_place) = start.waiters.try_acquire() else { return Err(self.starting(workload)) };
        let found = async {
            loop {
                tokio::time::sleep(LOOK).await;
                let targets = self.targets(workload);
                if !targets.is_empty() || !self.awaits_any(workload) {
                    return targets;
                }
            }
        };
        match tokio::time::timeout(window.min(patience), found).await {
            Ok(targets) => Ok(targets),
            // Whoever has not come by then is not there.
            Err(_) if window <= patience => Ok(Vec::new()),
            Err(_) => Err(self.starting(workload)),
        }
    }

    /// Why nobody can be asked.
    pub(super) fn nobody(&self, workload: &WorkloadName) -> ServiceError {
        match self.parts.driver.barred() {
            Some(why) => ServiceError::new(Fault::Unavailable, "no_member", why),
            // Who has not been heard of since the start is out of sight by now.
            None => {
                let sight = self.parts.members.with(|members| (members.sight().0, members.others().len() + 1));
                not_running(workload, sight)
            }
        }
    }

    /// Whether somebody may yet turn out to run it, and it does not run here.
    fn awaits_any(&self, workload: &WorkloadName) -> bool {
        let parts = &self.parts;
        if parts.wasm.is_loaded(workload.as_str()) || parts.driver.barred().is_some() {
            return false;
        }
        parts.members.with(|members| {
            // Others may have told what runs there before it is linked.
            members.unheard() > 0
                || members.each().any(|(node, status, record)| {
                    let instance = record.and_then(|record| record.instances.get(workload));
                    node != parts.me
                        && matches!(status, Status::Alive | Status::Suspect)
                        && instance.is_some_and(|instance| instance.phase == Phase::Ready)
                        && parts.net.round_trip(node).is_none()
                })
        })
    }

    fn starting(&self, workload: &WorkloadName) -> ServiceError {
        let others = self.parts.members.with(|members| members.others());
        let (linked, all) =
            (others.iter().filter(|node| self.parts.net.round_trip(**node).is_some()).count(), others.len());
        let message = format!(
            "this agent has just started and has reached {linked} of {all} other members, none of which runs `{workload}`"
        );
        ServiceError::new(Fault::Unavailable, "starting", message)
            .again_in(RETRY_AFTER_S)
            .hint("try again in a second; a call with a longer deadline (`selvedge call --deadline`) waits for them by itself")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_is_over_when_its_time_has_passed_and_stays_so() {
        let start = Start::now();
        let check =
            |after: Duration, expect: Duration| assert_eq!(start.left(start.began + after), expect, "{after:?}");
        check(Duration::ZERO, WINDOW);
        check(Duration::from_secs(3), Duration::from_secs(2));
        check(WINDOW, Duration::ZERO);
        check(WINDOW * 100, Duration::ZERO);
    }
}
