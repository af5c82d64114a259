//! The composition root: from a configuration to a running agent, in steps.
//!
//! Opens what is on disk, builds and binds the parts, spawns them, and on the way down drains in the opposite order. The only
//! place that sees all parts. The invariants: what can be refused is refused before anything is bound; an agent that says that
//! it runs can be called.

mod assets;
mod beacon;
mod build;
mod clocks;
mod data;
mod departure;
mod deployments;
mod draining;
mod figures;
mod founding;
mod ground;
mod health;
mod history;
mod identity;
mod listeners;
mod logging;
mod lookout;
mod membership;
mod notary;
mod office;
mod others;
mod papers;
mod pulse;
mod reach;
mod readiness;
mod reserved;
mod running;
mod service;
mod settings;
mod signpost;
mod standing;
mod switchboard;
mod vetting;
mod warning;
mod whom;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

pub use self::founding::{FoundingError, JoinStage, Member, enroll, found, join};
pub use self::ground::GroundError;
pub(crate) use self::ground::{check as check_ground, open_above};
pub use self::identity::IdentityError;
pub(crate) use self::identity::read_node;
pub(crate) use self::settings::code_folder;
use self::signpost::Signpost;
pub(crate) use self::standing::now_s;
use crate::calls::Calls;
use crate::config::{Config, WasmConfig};
use crate::driver::DriverHandle;
use crate::net::Net;
use crate::runtime_info::RuntimeInfo;
use crate::store::TAKEN_AWAY;
use crate::supervisor::Supervisor;
use crate::view::StateView;

/// Why the agent did not start, or did not stop cleanly. Nothing that was durable is lost.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The data directory or its store.
    #[error(transparent)]
    Store(#[from] crate::store::StoreError),
    /// The data directory is not this agent's alone.
    #[error(transparent)]
    Ground(#[from] GroundError),
    /// The node's key.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// What the store holds is not what a store of ours holds.
    #[error("the data directory cannot be read back: {0}")]
    Recover(#[from] selvedge_sync::replica::RecoverError),
    /// The cluster's files.
    #[error(transparent)]
    Cluster(#[from] crate::cluster::FolderError),
    /// The certificate is not this node's.
    #[error(
        "this agent's own papers cannot be used: {0}; remove the folder `cluster` in its data directory and join again"
    )]
    Papers(#[from] crate::cluster::Refusal),
    /// The network.
    #[error(transparent)]
    Net(#[from] crate::net::NetError),
    /// The API's addresses.
    #[error(transparent)]
    Api(#[from] crate::api::BindError),
    /// The API's token.
    #[error(transparent)]
    Token(#[from] crate::api::token::TokenError),
    /// The guest host.
    #[error(transparent)]
    Wasm(#[from] crate::wasm::WasmError),
    /// The folders of artefacts and assets.
    #[error(transparent)]
    Blobs(#[from] crate::blobs::BlobError),
    /// This host cannot be measured.
    #[error(transparent)]
    Measure(#[from] crate::resources::MeasureError),
    /// The operating system grants no thread.
    #[error("the operating system grants no thread: {0}")]
    Thread(#[source] std::io::Error),
    /// The system gives no randomness.
    #[error("the system gives no randomness: {0}")]
    Randomness(#[from] getrandom::Error),
    /// The disk did not take in time what the agent had acknowledged; what is not durable elsewhere is lost.
    #[error("stopped although not everything that was acknowledged is on the disk, after {} s of waiting for it", .0.as_secs())]
    Undrained(std::time::Duration),
    /// The store did not close in time: its disk hangs.
    #[error("stopped although the store has not closed within {} s: its disk hangs", .0.as_secs())]
    Unclosed(std::time::Duration),
    /// A part of the agent ended although nobody asked it to.
    #[error("{0} ended unexpectedly; the agent stops, and what it acknowledged as durable is on disk")]
    Ended(&'static str),
}

/// What runs inside an agent, for a program that holds one in its own process and is to see more than the API shows.
#[derive(Debug)]
pub struct Inside {
    /// Reads the state.
    pub view: StateView,
    /// Changes it.
    pub driver: DriverHandle,
    /// Talks to the others.
    pub net: Net,
    /// Makes calls, here or where they can be made.
    pub calls: Calls,
}

/// Takes from `next` what a running agent can take, and names the sections that differ otherwise and count from the next start on.
#[must_use]
pub fn reload(running: &mut Config, next: &Config) -> Vec<&'static str> {
    logging::set_level(next.log.level);
    running.log.level = next.log.level;
    let differs = [
        ("node", running.node != next.node),
        ("cluster", running.cluster.certificate_lifetime != next.cluster.certificate_lifetime),
        ("net", running.net != next.net),
        ("api", running.api != next.api),
        ("state", running.state != next.state),
        ("wasm", WasmConfig { compiler: running.wasm.compiler.clone(), ..next.wasm.clone() } != running.wasm),
        ("assets", running.assets != next.assets),
        ("placement", running.placement != next.placement),
        ("log", running.log != next.log),
    ];
    differs.into_iter().filter_map(|(section, differs)| differs.then_some(section)).collect()
}

/// Runs the agent until `stop`, then drains it.
///
/// # Errors
/// It could not start; or a part of it ended on its own, or did not close cleanly.
pub async fn run(config: Config, stop: CancellationToken) -> Result<(), AgentError> {
    run_with(config, stop, drop).await
}

/// The same, and tells `supervisor` how it is.
///
/// # Errors
/// As those of [`run`].
pub async fn run_supervised(config: Config, stop: CancellationToken, supervisor: Supervisor) -> Result<(), AgentError> {
    run_whole(config, stop, supervisor, drop).await
}

/// The same; `running` is called once all parts run.
///
/// # Errors
/// As those of [`run`].
pub async fn run_with(config: Config, stop: CancellationToken, running: impl FnOnce(Inside)) -> Result<(), AgentError> {
    run_whole(config, stop, Supervisor::nobody(), running).await
}

async fn run_whole(
    config: Config,
    stop: CancellationToken,
    supervisor: Supervisor,
    running: impl FnOnce(Inside),
) -> Result<(), AgentError> {
    logging::init(&config.log);
    let data_dir = config.node.data_dir.clone();
    let data = data::open(&config).await?;
    // Whoever stops us stops this; that we leave stops only us.
    let stop = stop.child_token();
    let (parts, inlets) = build::build(config, data, supervisor.clone(), stop.clone()).await?;
    let info = RuntimeInfo {
        pid: std::process::id(),
        node: parts.net.node().to_string(),
        api: parts.api.endpoints().iter().map(ToString::to_string).collect(),
        listen: parts.net.listen_addresses(),
        started: humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string(),
    };
    let service = &parts.service;
    let inside = Inside {
        view: service.view.clone(),
        driver: service.driver.clone(),
        net: parts.net.clone(),
        calls: service.calls.clone(),
    };
    let store = service.store.clone();
    let is_away = move || store.stats().failing.as_deref() == Some(TAKEN_AWAY);
    let service = Arc::clone(service);
    let _pulse = pulse::begin(service.view.clone(), service.driver.clone())?;
    let loops = running::spawn(parts, inlets);
    tracing::info!(node = info.node, api = ?info.api, listen = ?info.listen, "running");
    let signpost = Signpost::put_up(info, data_dir, is_away);
    running(inside);
    let telling = AbortOnDropHandle::new(tokio::spawn(readiness::tell(service, supervisor.clone())));
    let ended = loops.until(stop, &supervisor).await;
    drop(telling);
    signpost.take_down().await;
    tracing::info!("stopped");
    ended
}

#[cfg(test)]
mod tests;
