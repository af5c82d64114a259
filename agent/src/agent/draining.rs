//! Emptying this agent: that its operator wants it, since when, and what is still here.
//!
//! Owns the intention and keeps it on disk, with what runs here, so that a restart changes nothing: the beacon tells the others, placement
//! acts on it. The invariants: draining is durable before it is confirmed; what has stopped here is not started again by a restart.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use selvedge_sync::codec;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::members::gossip::SharedMembers;
use crate::placement::{Instance, Phase};
use crate::reconcile::Waiting;
use crate::service::{Drained, Fault, Remaining, ServiceError};
use crate::spec::WorkloadName;
use crate::store::Store;
use crate::view::StateView;
use crate::workloads::Workloads;

/// The name under which the store keeps that this agent is being emptied.
pub(super) const DRAINING: &str = "draining";

/// Longest that is read back, in bytes: as many names of workloads as there may be, and some.
const BYTES_MAX: usize = 128 * 1_024;

/// How long the answer waits until this agent's own plan knows: its record is told within milliseconds.
const TOLD_PATIENCE: Duration = Duration::from_secs(2);

/// How often it looks whether it does.
const LOOK: Duration = Duration::from_millis(10);

/// How long to wait before what could not be stored is tried again.
const STORE_AGAIN: Duration = Duration::from_secs(1);

/// What is kept over restarts of an agent that is being emptied.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Order {
    /// Since when, in milliseconds since the Unix epoch; `None` where a release before this one has begun it.
    pub(super) since_ms: Option<u64>,
    /// What has not stopped here yet.
    pub(super) here: BTreeSet<WorkloadName>,
}

impl Order {
    /// What the store has kept. An order that cannot be read is an order all the same.
    pub(super) fn read(kept: Option<&Vec<u8>>) -> Option<Self> {
        kept.map(|bytes| codec::decode(bytes, BYTES_MAX).unwrap_or_default())
    }

    /// Since when, as RFC 3339.
    pub(super) fn since(&self) -> Option<String> {
        let at = |ms| humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_millis(ms)).to_string();
        self.since_ms.map(at)
    }
}

/// Whether this agent is being emptied. Cheap to clone.
#[derive(Clone)]
pub(super) struct Draining {
    order: Arc<Mutex<Option<Order>>>,
    /// Held by whoever writes to the store, so that the last order is the one that lasts.
    writing: Arc<tokio::sync::Mutex<()>>,
    members: SharedMembers,
    view: StateView,
    store: Store,
}

impl Draining {
    /// `order` as the store has it.
    pub(super) fn new(order: Option<Order>, members: SharedMembers, view: StateView, store: Store) -> Self {
        Self { order: Arc::new(Mutex::new(order)), writing: Arc::default(), members, view, store }
    }

    /// What the operator has ordered, if this agent is being emptied.
    pub(super) fn order(&self) -> Option<Order> {
        self.current().clone()
    }

    fn current(&self) -> MutexGuard<'_, Option<Order>> {
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins, or ends. To begin again changes nothing.
    pub(super) async fn set(&self, off: bool, workloads: &Workloads) -> Result<Drained, ServiceError> {
        let _writing = self.writing.lock().await;
        let since_ms = self.order().map_or(Some(self.view.now().wall_ms), |order| order.since_ms);
        let order = (!off).then(|| Order { since_ms, here: workloads.held().borrow().clone() });
        self.write(order.as_ref()).await?;
        *self.current() = order;
        self.members.announce();
        // An answer that says that nothing is here must not come before a plan that knows.
        let known = async {
            while self.is_told() == off {
                tokio::time::sleep(LOOK).await;
            }
        };
        if tokio::time::timeout(TOLD_PATIENCE, known).await.is_err() {
            tracing::warn!("the others have not been told yet that this agent is being emptied, or that it is not");
        }
        Ok(self.show(workloads))
    }

    fn is_told(&self) -> bool {
        let (me, now) = (self.view.read(|replica| replica.me().node), self.view.now());
        self.members.with(|members| members.mesh(now).node(&me).is_some_and(|facts| facts.draining))
    }

    async fn write(&self, order: Option<&Order>) -> Result<(), ServiceError> {
        let failed = |reason: String| {
            let message = format!("this could not be stored: {reason}");
            ServiceError::new(Fault::Unavailable, "not_stored", message)
        };
        let pending =
            self.store.set_meta(DRAINING, order.map(codec::encode)).map_err(|error| failed(error.to_string()))?;
        // What the store could not write it tries again.
        let in_doubt = |error: ServiceError| error.changed("it may take effect when this agent is started again");
        pending.durable().await.map_err(|error| in_doubt(failed(error.to_string())))
    }

    /// How it stands.
    pub(super) fn show(&self, workloads: &Workloads) -> Drained {
        let order = self.order();
        let remaining = order.as_ref().map_or_else(Vec::new, |_| remaining(&workloads.here(), &workloads.waiting()));
        Drained { draining: order.is_some(), since: order.and_then(|order| order.since()), remaining }
    }

    /// Keeps on disk what is still here, as it becomes less.
    pub(super) async fn follow(self, workloads: Workloads, stop: CancellationToken) {
        let mut held = workloads.held();
        loop {
            tokio::select! {
                changed = held.changed() => if changed.is_err() { return stop.cancelled().await },
                () = stop.cancelled() => return,
            }
            let _writing = self.writing.lock().await;
            let here = held.borrow_and_update().clone();
            let Some(order) = self.order().filter(|order| order.here != here) else { continue };
            let order = Order { here, ..order };
            if let Err(error) = self.write(Some(&order)).await {
                tracing::warn!(%error, "what still runs on this host could not be stored");
                held.mark_changed();
                tokio::select! {
                    () = tokio::time::sleep(STORE_AGAIN) => continue,
                    () = stop.cancelled() => return,
                }
            }
            *self.current() = Some(order);
        }
    }
}

/// What is still here, each with what holds it up.
fn remaining(here: &BTreeMap<WorkloadName, Instance>, waiting: &BTreeMap<WorkloadName, Waiting>) -> Vec<Remaining> {
    let there = here.iter().filter(|(_, instance)| !matches!(instance.phase, Phase::Failed { .. }));
    let told = |(workload, instance): (&WorkloadName, &Instance)| Remaining {
        workload: workload.to_string(),
        phase: instance.phase.as_str().to_owned(),
        reason: waiting.get(workload).map_or_else(|| "it has just begun".to_owned(), ToString::to_string),
        stays: matches!(waiting.get(workload), Some(Waiting::NowhereElse { .. })),
    };
    there.map(told).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::placement::Reason;
    use crate::spec::Digest;

    #[test]
    fn an_order_of_an_older_release_is_one_and_says_not_since_when() {
        assert_eq!(Order::read(None), None);
        assert_eq!(Order::read(Some(&vec![1])), Some(Order::default()));
        let order = Order { since_ms: Some(1_000), here: ["combat".parse().expect("a name")].into() };
        assert_eq!(Order::read(Some(&codec::encode(&order))), Some(order.clone()));
        assert_eq!(order.since().as_deref(), Some("1970-01-01T00:00:01Z"));
    }

    #[test]
    fn what_remains_says_what_holds_it_up() {
        let name = |name: &str| name.parse::<WorkloadName>().expect("a name");
        let instance = |phase| Instance::new(Digest([1; 32]), phase);
        let here = BTreeMap::from([
            (name("broken"), instance(Phase::failed("trap".to_owned()))),
            (name("combat"), instance(Phase::Ready)),
            (name("guess"), instance(Phase::Stopping)),
        ]);
        let kept = Waiting::NowhereElse { why: Reason::Draining, wanted: 3, placed: 2 };
        let waiting =
            BTreeMap::from([(name("combat"), kept), (name("guess"), Waiting::Draining { remaining_ms: 1_400 })]);
        let told: Vec<_> = remaining(&here, &waiting).into_iter().map(|one| (one.workload, one.reason)).collect();
        assert_eq!(
            told,
            [
                (
                    "combat".to_owned(),
                    "kept: this host is draining, and other hosts have only 2 of 3 instances".to_owned()
                ),
                ("guess".to_owned(), "draining: stops in 1s 400ms".to_owned()),
            ],
            "what has failed runs nowhere and holds nothing up"
        );
    }
}
