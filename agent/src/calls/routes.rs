//! Whom a call is forwarded to: the routers of all workloads, and what members say of themselves.
//!
//! Owns one [`Router`] for each workload that is called; the choice is theirs. The invariant: a workload that is routed in the
//! ordinary way and runs here is answered here without a look at any of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use arc_swap::ArcSwap;
use selvedge_sync::id::NodeId;

use super::Calls;
use super::answer::{DEADLINE_EXCEEDED, EXPIRED};
use crate::members::{Location, NodeRecord, Status};
use crate::placement::Phase;
use crate::routing::{Call, Ended, Router, Target, believe_weights, distance_km};
use crate::service::{CallAnswer, CallOptions, Fault, ServiceError};
use crate::spec::{Routing, Spec, WorkloadName};

/// Workloads whose routers are kept; names that nobody deployed are not routed at all.
const WORKLOADS_MAX: usize = 1_024;
/// Measured load from which a host has hardly any processor time left.
const SATURATED_LOAD: f64 = 0.95;

/// The routers.
pub(super) struct Routes {
    /// Strategies of workloads that are not routed in the ordinary way.
    unusual: ArcSwap<BTreeMap<WorkloadName, Routing>>,
    routers: Mutex<BTreeMap<WorkloadName, Router>>,
    seed: u64,
}

/// A call to a member that is under way. Dropped without an answer, as when its caller hangs up, it counts as abandoned.
pub(super) struct Asked {
    calls: Calls,
    workload: WorkloadName,
    node: NodeId,
    began: Instant,
    is_answered: bool,
}

impl Routes {
    pub(super) fn new(seed: u64) -> Self {
        Self { unusual: ArcSwap::default(), routers: Mutex::default(), seed }
    }

    /// Takes note of what is deployed: how it is routed, and what can be forgotten.
    pub(super) fn deployed(&self, specs: &BTreeMap<WorkloadName, Spec>, is_member: impl Fn(&NodeId) -> bool) {
        let unusual = |(name, spec): (&WorkloadName, &Spec)| {
            (spec.routing != Routing::default()).then(|| (name.clone(), spec.routing))
        };
        let unusual: BTreeMap<_, _> = specs.iter().filter_map(unusual).collect();
        if **self.unusual.load() != unusual {
            self.unusual.store(Arc::new(unusual));
        }
        self.routers.lock().unwrap_or_else(PoisonError::into_inner).retain(|name, router| {
            router.retain(&is_member);
            specs.contains_key(name)
        });
    }

    /// Whether an instance here answers whatever others there are.
    pub(super) fn prefers_here(&self, workload: &WorkloadName) -> bool {
        !self.unusual.load().contains_key(workload)
    }

    fn with<R>(&self, workload: &WorkloadName, act: impl FnOnce(&mut Router) -> R) -> Option<R> {
        let mut routers = self.routers.lock().unwrap_or_else(PoisonError::into_inner);
        if !routers.contains_key(workload) && routers.len() >= WORKLOADS_MAX {
            return None;
        }
        let routing = self.unusual.load().get(workload).copied().unwrap_or_default();
        let router = routers.entry(workload.clone()).or_insert_with(|| Router::new(routing, self.seed));
        router.route_by(routing);
        Some(act(router))
    }
}

impl Calls {
    /// Whom to ask next; `tried` were asked in vain. A further attempt has to be within the budget of retries, unless it is `for_free`.
    pub(super) fn next(
        &self,
        workload: &WorkloadName,
        targets: &[Target],
        options: CallOptions,
        (tried, for_free): (&[NodeId], bool),
    ) -> Option<Asked> {
        let now_ms = self.parts.view.now().mono_ms;
        let session = options.session.map(|session| format!("{session:016x}"));
        let call = Call { caller: Some(&self.parts.me_text), session: session.as_deref() };
        let node = self.parts.routes.with(workload, |router| {
            if tried.is_empty() {
                router.budget.deposit(now_ms);
            } else if !for_free && !router.budget.withdraw(now_ms) {
                return None;
            }
            let node = router.pick(targets, call, tried, now_ms)?;
            router.begin(node, now_ms);
            Some(node)
        });
        let node = node.flatten()?;
        Some(Asked { calls: self.clone(), workload: workload.clone(), node, began: Instant::now(), is_answered: false })
    }

    /// Members that say they have the workload and are connected, this one included.
    pub(super) fn targets(&self, workload: &WorkloadName) -> Vec<Target> {
        let me = self.parts.me;
        self.parts.members.with(|members| {
            let own = members.each().find_map(|(node, _, record)| record.filter(|_| node == me));
            let target = |(node, status, record): (NodeId, Status, Option<&NodeRecord>)| {
                let record = record?;
                let phase = &record.instances.get(workload)?.phase;
                let suspect = match status {
                    Status::Alive => false,
                    Status::Suspect => true,
                    Status::Lost | Status::Left => return None,
                };
                let draining = match phase {
                    Phase::Ready => record.parting,
                    Phase::Stopping => true,
                    Phase::Starting | Phase::Failed { .. } => return None,
                };
                let is_here = node == me;
                let (rtt_ms, overloaded) = if is_here {
                    (Some(0.0), self.parts.wasm.is_overloaded(workload.as_str())?)
                } else {
                    let rtt = self.parts.net.round_trip(node)?;
                    (rtt.map(|rtt| rtt.as_secs_f64() * 1e3), record.overloaded.contains(workload))
                };
                let saturated = record.load >= SATURATED_LOAD;
                let target = Target { is_here, suspect, draining, overloaded, saturated, rtt_ms, ..Target::new(node) };
                Some(target_of(own, record, target))
            };
            let mut targets = members.each().filter_map(target).collect::<Vec<_>>();
            believe_weights(&mut targets);
            targets
        })
    }
}

impl Asked {
    /// Who was asked.
    pub(super) const fn node(&self) -> NodeId {
        self.node
    }

    /// Takes note of how the member answered. `is_hurried`: its caller gave it less time than the workload's own.
    pub(super) fn answered(mut self, answer: &Result<CallAnswer, ServiceError>, is_hurried: bool) {
        self.is_answered = true;
        self.end(ended(answer, is_hurried));
    }

    fn now_and_took_ms(&self) -> (u64, f64) {
        (self.calls.parts.view.now().mono_ms, self.began.elapsed().as_secs_f64() * 1e3)
    }

    fn end(&self, ended: Ended) {
        let (now_ms, took_ms) = self.now_and_took_ms();
        self.calls.parts.routes.with(&self.workload, |router| router.end(self.node, ended, took_ms, now_ms));
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        if !self.is_answered {
            let (now_ms, took_ms) = self.now_and_took_ms();
            self.calls.parts.routes.with(&self.workload, |router| router.give_up(self.node, took_ms, now_ms));
        }
    }
}

/// What an answer says of the member that gave it.
fn ended<R>(answer: &Result<R, ServiceError>, is_hurried: bool) -> Ended {
    let Err(error) = answer else { return Ended::Answered };
    match error.fault() {
        Fault::Busy { .. } => Ended::Busy,
        // The member is well and says so: nobody else's calls should go elsewhere for it.
        Fault::TimedOut if error.code() == EXPIRED || is_hurried && error.code() == DEADLINE_EXCEEDED => {
            Ended::Abandoned
        }
        Fault::Unavailable | Fault::TimedOut => Ended::Failed,
        Fault::Internal => Ended::Broke,
        Fault::Caller
        | Fault::Unauthorized
        | Fault::Forbidden
        | Fault::NotFound
        | Fault::WrongMethod
        | Fault::Conflict
        | Fault::TooLarge
        | Fault::WrongValue => Ended::Answered,
    }
}

/// Adds what follows from where the two are, and how large the member is.
fn target_of(own: Option<&NodeRecord>, record: &NodeRecord, target: Target) -> Target {
    let place = |location: Location| (location.lat, location.lon);
    let distance = own.and_then(|own| Some(distance_km(place(own.location?), place(record.location?))));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to what a host may have")]
    let weight = record.resources.cpu_total.clamp(1.0, 4_096.0) as u32;
    let same_region = own.is_some_and(|own| own.region == record.region);
    Target { same_region, distance_km: distance, weight, ..target }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hurried_caller_says_nothing_of_whom_it_asked() {
        let error = |fault, code: &'static str| Err::<(), _>(ServiceError::new(fault, code, ""));
        let late = || error(Fault::TimedOut, DEADLINE_EXCEEDED);
        assert_eq!(ended(&late(), true), Ended::Abandoned);
        assert_eq!(ended(&late(), false), Ended::Failed, "the workload's own time was not enough");
        assert_eq!(ended(&error(Fault::TimedOut, EXPIRED), false), Ended::Abandoned);
        assert_eq!(ended(&error(Fault::TimedOut, "forward_timed_out"), true), Ended::Failed, "it did not answer");
        assert_eq!(ended(&error(Fault::Internal, "trap"), false), Ended::Broke);
        assert_eq!(ended(&Ok(()), true), Ended::Answered);
    }
}
