//! The composition root: configuration → build → spawn → drain.

use tokio_util::sync::CancellationToken;

use crate::config::Config;

/// Why the agent could not start, or failed.
#[derive(Debug, thiserror::Error)]
#[error("the agent is not built yet")]
pub struct AgentError;

/// Runs the agent until `shutdown` is cancelled.
///
/// # Errors
/// It could not start, or a part of it failed.
pub async fn run(config: Config, shutdown: CancellationToken) -> Result<(), AgentError> {
    drop((config, shutdown));
    Err(AgentError)
}
