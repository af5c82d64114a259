//! Routes about this host and its cluster: health, metrics, status, members, convergence.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::commits::path_error;
use super::{Answer, App};
use crate::api::guard::busy;
use crate::api::limits::WAIT_MAX;
use crate::api::media::says;
use crate::api::query::{self, Pairs};
use crate::metrics::classic;
use crate::service::{ClockReading, Health, History, Node, NodeDetail, ReachReading, Service, ServiceError, Status};

/// The newer of the two text formats, for who asks for it, as Prometheus does.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The older one, for everybody else.
const CLASSIC: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(in crate::api) async fn health<S: Service>(State(app): State<Arc<App<S>>>) -> Response {
    verdict(app.service().health())
}

pub(in crate::api) async fn ready<S: Service>(State(app): State<Arc<App<S>>>) -> Response {
    verdict(app.service().ready())
}

pub(in crate::api) async fn metrics<S: Service>(State(app): State<Arc<App<S>>>, headers: HeaderMap) -> Response {
    let text = app.service().metrics_text();
    if says(&headers, header::ACCEPT, "application/openmetrics-text") {
        ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response()
    } else {
        ([(header::CONTENT_TYPE, CLASSIC)], classic(&text)).into_response()
    }
}

pub(in crate::api) async fn status<S: Service>(State(app): State<Arc<App<S>>>) -> Json<Status> {
    Json(app.service().status())
}

pub(in crate::api) async fn nodes<S: Service>(State(app): State<Arc<App<S>>>) -> Json<Vec<Node>> {
    Json(app.service().nodes())
}

pub(in crate::api) async fn node<S: Service>(
    State(app): State<Arc<App<S>>>,
    id: Result<Path<String>, PathRejection>,
) -> Answer<Json<NodeDetail>> {
    let Path(id) = id.map_err(|rejection| path_error(&rejection))?;
    // A name names a member where it is one member's alone.
    let named = || {
        let nodes = app.service().nodes();
        let mut named = nodes.iter().filter(|node| node.name == id);
        named.next().filter(|_| named.next().is_none()).map(|node| node.id)
    };
    let node = id.parse().ok().or_else(named).and_then(|id| app.service().node(id));
    let hint = "`GET /v1/nodes` lists the members; ask by id, or by a name that only one has";
    node.map(Json).ok_or_else(|| ServiceError::not_found("unknown_node", "member", &id).at("id").hint(hint).into())
}

pub(in crate::api) async fn history<S: Service>(State(app): State<Arc<App<S>>>) -> Json<History> {
    Json(app.service().history())
}

/// Asks every connected member, so it counts among those that wait.
pub(in crate::api) async fn clocks<S: Service>(State(app): State<Arc<App<S>>>) -> Answer<Json<Vec<ClockReading>>> {
    let _permit = app.waiters.try_acquire().map_err(|_| busy("too many requests wait for other members"))?;
    Ok(Json(app.service().clocks().await))
}

/// Asks a few members, so it counts among those that wait.
pub(in crate::api) async fn reach<S: Service>(State(app): State<Arc<App<S>>>) -> Answer<Json<Vec<ReachReading>>> {
    let _permit = app.waiters.try_acquire().map_err(|_| busy("too many requests wait for other members"))?;
    Ok(Json(app.service().reach().await))
}

/// With `wait`, answers as soon as all is converged; 504 with the same body when it was not in time.
pub(in crate::api) async fn convergence<S: Service>(State(app): State<Arc<App<S>>>, pairs: Pairs) -> Answer<Response> {
    let [wait] = query::take(pairs, ["wait"])?;
    let Some(wait) = query::duration("wait", wait.as_deref(), WAIT_MAX)? else {
        return Ok(Json(app.service().convergence()).into_response());
    };
    let _permit = app.waiters.try_acquire().map_err(|_| busy("too many requests wait for convergence"))?;
    let convergence = app.service().await_converged(wait).await;
    let status = if convergence.converged { StatusCode::OK } else { StatusCode::GATEWAY_TIMEOUT };
    Ok((status, Json(convergence)).into_response())
}

fn verdict(health: Health) -> Response {
    let status = if health.ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(health)).into_response()
}
