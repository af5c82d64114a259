//! Whether this agent serves: for its supervisor, and for whoever sends traffic.
//!
//! The invariant: an agent that is well and merely about to stop, or being emptied, has started all the same; only traffic is to go elsewhere.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::departure::Departure;
use super::figures;
use super::service::AgentService;
use crate::service::Service;
use crate::supervisor::Supervisor;

/// How long workloads are waited for that are to run here again. Whatever was compiled before is there within a fraction of it;
/// what has to be compiled or fetched comes later, and the rest of the agent is of use meanwhile.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often it is looked.
const LOOK: Duration = Duration::from_millis(5);

/// How often the supervisor is told how the agent is, for people.
const STATUS_EVERY: Duration = Duration::from_secs(10);

/// Tells the supervisor when the agent serves, and from then on how it is.
pub(super) async fn tell(service: Arc<AgentService>, supervisor: Supervisor) {
    let deadline = Instant::now() + PATIENCE;
    while !begun(&service).is_empty() && Instant::now() < deadline {
        tokio::time::sleep(LOOK).await;
    }
    supervisor.ready(&status(&service));
    let mut every = tokio::time::interval(STATUS_EVERY);
    loop {
        every.tick().await;
        supervisor.status(&status(&service));
    }
}

/// Why traffic should go to other hosts, in sentences; nothing if it need not.
pub(super) fn reasons(service: &AgentService) -> Vec<String> {
    parting(&service.departure).into_iter().chain(service.health.unfit()).chain(begun(service)).collect()
}

/// That this agent is on its way out.
fn parting(departure: &Departure) -> Option<String> {
    let why = if departure.is_parting() {
        "this agent is stopping"
    } else if departure.draining.order().is_some() {
        "this agent is being drained; `selvedge drain --off` ends that"
    } else if departure.is_draining() {
        "this agent is leaving the cluster"
    } else {
        return None;
    };
    Some(why.to_owned())
}

/// What of the start is not done.
fn begun(service: &AgentService) -> Vec<String> {
    if service.workloads.have_looked() {
        figures::starting(&service.workloads)
    } else {
        vec!["this agent has just started, and has not seen yet what it is to run".to_owned()]
    }
}

/// In one line.
fn status(service: &AgentService) -> String {
    let health = service.health().reasons;
    let wrong: Vec<String> = begun(service).into_iter().chain(health).collect();
    if wrong.is_empty() { "running, and well".to_owned() } else { format!("running; {}", wrong.join("; ")) }
}
