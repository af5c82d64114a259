//! When this agent tells its supervisor that it serves.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

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
    while !(service.workloads.have_looked() && service.ready().ok) && Instant::now() < deadline {
        tokio::time::sleep(LOOK).await;
    }
    supervisor.ready(&status(&service));
    let mut every = tokio::time::interval(STATUS_EVERY);
    loop {
        every.tick().await;
        supervisor.status(&status(&service));
    }
}

/// In one line.
fn status(service: &AgentService) -> String {
    let (starting, health) = (service.ready().reasons, service.health().reasons);
    let wrong: Vec<String> = starting.into_iter().chain(health).collect();
    if wrong.is_empty() { "running, and well".to_owned() } else { format!("running; {}", wrong.join("; ")) }
}
