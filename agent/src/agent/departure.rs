//! Leaving the mesh in good order.
//!
//! Owns the intention; the beacon tells it, placement acts on it. The invariant: who leaves says so before it stops, and says what it
//! could not hand over.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use selvedge_sync::id::{Dot, Stream};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::draining::Draining;
use super::papers;
use super::service::AgentService;
use crate::members::Status;
use crate::members::gossip::SharedMembers;
use crate::service::{Fault, Leaving, ServiceError};
use crate::spec::WorkloadName;
use crate::view::StateView;

/// How long leaving waits for others to take over: a workload is fetched and compiled in less.
const HAND_OVER_PATIENCE: Duration = Duration::from_secs(30);

/// Workloads that are named one by one where they would end.
const ENDS_TOLD_MAX: usize = 8;

/// How often it looks whether they have.
const LOOK: Duration = Duration::from_millis(50);

/// How long the loop of membership may take to say farewell.
const FAREWELL_PATIENCE: Duration = Duration::from_secs(5);

/// How long the farewell has to reach others, and the answer its caller, before the connections close.
const ON_ITS_WAY: Duration = Duration::from_millis(500);

/// What the operator wants of this agent. Cheap to clone.
#[derive(Clone)]
pub(super) struct Departure {
    members: SharedMembers,
    view: StateView,
    pub(super) draining: Draining,
    leaving: Arc<AtomicBool>,
    left: Arc<AtomicBool>,
    parting: Arc<AtomicBool>,
    stop: CancellationToken,
}

impl Departure {
    /// `stop` ends this agent.
    pub(super) fn new(members: SharedMembers, view: StateView, draining: Draining, stop: CancellationToken) -> Self {
        let (leaving, left, parting) = Default::default();
        Self { members, view, draining, leaving, left, parting, stop }
    }

    /// Whether nothing new is to be placed here.
    pub(super) fn is_draining(&self) -> bool {
        self.draining.order().is_some() || self.leaving.load(Ordering::Acquire)
    }

    /// This agent is about to stop: callers elsewhere are to go elsewhere, while it still answers.
    pub(super) fn part(&self) {
        self.parting.store(true, Ordering::Release);
        self.members.announce();
    }

    /// Whether it is about to stop.
    pub(super) fn is_parting(&self) -> bool {
        self.parting.load(Ordering::Acquire)
    }

    /// Whether this agent is none of those any more who are waited for.
    pub(super) fn has_left(&self) -> bool {
        self.left.load(Ordering::Acquire)
    }

    /// Whether another member has everything that this one has written, durable.
    fn is_backed_up(&self) -> bool {
        self.view.read(|replica| {
            let me = replica.me();
            let seq = replica.seen().seq(&Stream::global(me));
            seq == 0 || replica.progress(&Dot { replica: me, seq }).is_some_and(|progress| !progress.seen_by.is_empty())
        })
    }
}

/// Hands over, says farewell, and has the agent stop once this was answered.
pub(super) async fn leave(service: &AgentService, forced: bool) -> Result<Leaving, ServiceError> {
    let departure = &service.departure;
    if !forced {
        refuse_if_dear(service)?;
    }
    if departure.leaving.swap(true, Ordering::AcqRel) {
        return Err(ServiceError::new(Fault::Conflict, "leaving", "this agent is leaving already"));
    }
    departure.members.announce();
    // Whoever asked may hang up; that this agent leaves stands.
    let task = tokio::spawn(hand_over(service.departure.clone(), Remains::of(service)));
    task.await.map_err(|_| {
        ServiceError::new(Fault::Internal, "stopped", "the agent stopped meanwhile")
            .changed("the others may have heard that it leaves")
    })
}

/// Says all that would be lost at once: whoever forces it is to know.
fn refuse_if_dear(service: &AgentService) -> Result<(), ServiceError> {
    let only_here = ends_with_us(&service.workloads.only_here());
    if papers::is_last_authority(service) {
        let more = only_here.map_or_else(String::new, |ends| format!("; besides, {ends}"));
        let message = format!(
            "only this host is known to hold the cluster's authority key: while it is away nobody can invite, renew a certificate or revoke, and members whose certificates expire meanwhile fall out{more}"
        );
        return Err(ServiceError::new(Fault::Conflict, "last_authority", message).hint(
            "`selvedge leave --force` leaves all the same; keep its data directory, with which it can come back",
        ));
    }
    let refused = |message| {
        ServiceError::new(Fault::Conflict, "nowhere_else", message).hint(
            "deploy it with rules that another host meets, or undeploy it; `selvedge leave --force` leaves all the same",
        )
    };
    only_here.map_or(Ok(()), |message| Err(refused(message)))
}

/// Which workloads would end that no other host may take over, as a sentence; `None` where there are none.
fn ends_with_us(only_here: &[(WorkloadName, String)]) -> Option<String> {
    if only_here.is_empty() {
        return None;
    }
    let told = only_here.iter().take(ENDS_TOLD_MAX).map(|(name, why)| format!("`{name}` ({why})"));
    let told = told.collect::<Vec<_>>().join(", ");
    let more = only_here.len().saturating_sub(ENDS_TOLD_MAX);
    let more = if more > 0 { format!(", and {more} more") } else { String::new() };
    Some(format!("what runs here would end, for no other host may take it over: {told}{more}"))
}

/// What is to be handed over, seen from the parts that know.
struct Remains {
    workloads: crate::workloads::Workloads,
    members: SharedMembers,
    view: StateView,
}

impl Remains {
    fn of(service: &AgentService) -> Self {
        let (workloads, members) = (service.workloads.clone(), service.members.clone());
        Self { workloads, members, view: service.view.clone() }
    }

    /// What nobody else has, in sentences.
    fn reasons(&self, departure: &Departure) -> Vec<String> {
        let me = self.view.read(|replica| replica.me().node);
        let others = self
            .members
            .with(|members| members.each().filter(|(node, status, _)| *node != me && *status == Status::Alive).count());
        let mut reasons = Vec::new();
        if others == 0 {
            reasons.push("no other member is there to take anything over".to_owned());
        }
        if !departure.is_backed_up() {
            reasons.push("no other member has confirmed everything that was written here".to_owned());
        }
        let here = self.workloads.here();
        let running = here.iter().filter(|(_, instance)| instance.runs());
        reasons.extend(running.map(|(name, _)| format!("`{name}` still runs here")));
        reasons
    }
}

async fn hand_over(departure: Departure, remains: Remains) -> Leaving {
    let deadline = Instant::now() + HAND_OVER_PATIENCE;
    let alone = remains.members.with(|members| members.others().is_empty());
    let reasons = loop {
        let reasons = remains.reasons(&departure);
        if reasons.is_empty() || alone || Instant::now() >= deadline {
            break reasons;
        }
        tokio::time::sleep(LOOK).await;
    };
    departure.left.store(true, Ordering::Release);
    if tokio::time::timeout(FAREWELL_PATIENCE, departure.members.farewell()).await.is_err() {
        tracing::warn!("nobody was told that this agent leaves");
    }
    tracing::info!(handed_over = reasons.is_empty(), ?reasons, "left");
    let stop = departure.stop.clone();
    tokio::spawn(async move {
        tokio::time::sleep(ON_ITS_WAY).await;
        stop.cancel();
    });
    Leaving { handed_over: reasons.is_empty(), reasons }
}
