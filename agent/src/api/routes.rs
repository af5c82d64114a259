//! The table of routes, and what they share.
//!
//! A new route is a line here and a function under `routes/`. The functions are thin: they read the request, ask the
//! service, and write the answer.

mod assets;
mod cluster;
mod commits;
mod events;
mod host;
mod index;
mod state;
mod stream;
mod workloads;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{delete, get, post, put};
use tokio::sync::Semaphore;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tokio_util::task::TaskTracker;

pub(super) use self::commits::call_id;
pub(super) use self::workloads::session_of;
use super::guard::{Guard, guard};
use super::intake::{Intake, intake};
use super::limits::{ASSETS_IN_ANSWERS_MIB_MAX, STREAMS_MAX, UPLOADS_MAX, WAITERS_MAX};
use super::linger::linger;
use super::names::Names;
use super::page;
use super::problem::{Problem, no_route, wrong_method};
use super::stream::StreamStats;
use crate::service::Service;

/// What every route may use, over one kind of socket.
pub(super) struct App<S> {
    service: Arc<S>,
    uploads: Arc<Semaphore>,
    /// One permit for each mebibyte of the assets that are being sent.
    assets_in_answers: Arc<Semaphore>,
    waiters: Semaphore,
    names: Arc<Mutex<Names>>,
    streams: Arc<Semaphore>,
    stream_stats: Arc<StreamStats>,
    /// What has to have ended before the API has.
    tasks: TaskTracker,
    closing: CancellationToken,
}

impl<S: Service> App<S> {
    pub(super) fn new(
        service: Arc<S>,
        stream_stats: Arc<StreamStats>,
        tasks: TaskTracker,
        closing: CancellationToken,
    ) -> Self {
        let (uploads, streams) = (Arc::new(Semaphore::new(UPLOADS_MAX)), Arc::new(Semaphore::new(STREAMS_MAX)));
        Self {
            service,
            uploads,
            assets_in_answers: Arc::new(Semaphore::new(ASSETS_IN_ANSWERS_MIB_MAX)),
            waiters: Semaphore::new(WAITERS_MAX),
            names: Arc::default(),
            streams,
            stream_stats,
            tasks,
            closing,
        }
    }

    /// The same over the other kind of socket. What anybody may do who can connect has places of its own there; uploads and streams take a
    /// right wherever they come in, and share theirs.
    pub(super) fn beside(&self) -> Self {
        Self {
            service: Arc::clone(&self.service),
            uploads: Arc::clone(&self.uploads),
            assets_in_answers: Arc::new(Semaphore::new(ASSETS_IN_ANSWERS_MIB_MAX)),
            waiters: Semaphore::new(WAITERS_MAX),
            names: Arc::clone(&self.names),
            streams: Arc::clone(&self.streams),
            stream_stats: Arc::clone(&self.stream_stats),
            tasks: self.tasks.clone(),
            closing: self.closing.clone(),
        }
    }

    pub(super) fn service(&self) -> &S {
        &self.service
    }

    fn names(&self) -> MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Comes when the API is about to end.
    fn closing(&self) -> WaitForCancellationFutureOwned {
        self.closing.clone().cancelled_owned()
    }
}

/// What a route answers.
type Answer<T> = Result<T, Problem>;

/// All routes behind one guard.
pub(super) fn router<S: Service>(app: Arc<App<S>>, rules: Guard) -> Router {
    Router::new()
        .route("/", get(page::show::<S>))
        .route("/healthz", get(host::health::<S>))
        .route("/readyz", get(host::ready::<S>))
        .route("/metrics", get(host::metrics::<S>))
        .route("/openapi.json", get(index::describe))
        .route("/v1", get(index::list))
        .route("/v1/status", get(host::status::<S>))
        .route("/v1/nodes", get(host::nodes::<S>))
        .route("/v1/nodes/{id}", get(host::node::<S>))
        .route("/v1/clocks", get(host::clocks::<S>))
        .route("/v1/reach", get(host::reach::<S>))
        .route("/v1/cluster", get(cluster::show::<S>))
        .route("/v1/cluster/authority", post(cluster::rotate::<S>))
        .route("/v1/cluster/invitations", get(cluster::invitations::<S>).post(cluster::invite::<S>))
        .route("/v1/cluster/invitations/{id}", delete(cluster::cancel::<S>))
        .route("/v1/cluster/revocations", post(cluster::revoke::<S>))
        .route("/v1/drain", get(cluster::drained::<S>).post(cluster::drain::<S>))
        .route("/v1/leave", post(cluster::leave::<S>))
        .route("/v1/convergence", get(host::convergence::<S>))
        .route("/v1/state", get(state::list::<S>))
        .route("/v1/state/{*key}", get(state::read::<S>).post(state::write::<S>))
        .route("/v1/commits", post(commits::make::<S>))
        .route("/v1/commits/{replica}/{seq}", get(commits::progress::<S>))
        .route("/v1/events", get(events::listen::<S>))
        .route("/v1/events/recent", get(events::recent::<S>))
        .route("/v1/history", get(host::history::<S>))
        .route("/v1/stream", get(stream::open::<S>))
        .route("/v1/artifacts", put(workloads::put_artifact::<S>))
        .route("/v1/assets", get(assets::list::<S>).put(assets::put::<S>))
        .route("/v1/assets/{digest}", get(assets::show::<S>).delete(assets::remove::<S>))
        .route("/v1/workloads", get(workloads::list::<S>))
        .route(
            "/v1/workloads/{name}",
            get(workloads::show::<S>).put(workloads::deploy::<S>).delete(workloads::undeploy::<S>),
        )
        .route("/v1/workloads/{name}/call/{function}", post(workloads::call::<S>))
        .route("/v1/workloads/{name}/placement", get(workloads::placement::<S>))
        .route("/v1/workloads/{name}/rollback", post(workloads::roll_back::<S>))
        .fallback(no_route)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(Arc::new(Intake::new()), intake))
        .layer(from_fn_with_state(Arc::new(rules), guard))
        .layer(from_fn(linger))
        .with_state(app)
}
