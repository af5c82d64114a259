//! Routes to commits: making one over several keys, and asking how far one has got.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method};
use selvedge_sync::commit::RequestId;
use selvedge_sync::id::{ParseIdError, ReplicaId};
use serde::Serialize;
use serde_json::Value;

use super::{Answer, App};
use crate::api::body;
use crate::api::change::Changes;
use crate::api::limits::IDEMPOTENCY_KEY_BYTES_MAX;
use crate::api::problem::Problem;
use crate::api::query::{self, Pairs};
use crate::service::{CommitOptions, Committed, Fault, Progress, Service, ServiceError};

pub(super) const IDEMPOTENCY_KEY: &str = "idempotency-key";

#[derive(Serialize)]
pub(in crate::api) struct Made {
    commit: Committed,
}

pub(in crate::api) async fn make<S: Service>(
    State(app): State<Arc<App<S>>>,
    method: Method,
    headers: HeaderMap,
    pairs: Pairs,
    body: Body,
) -> Answer<Json<Made>> {
    let document = body::json(&headers, body).await?;
    let options = commit_options((&method, "commits"), &headers, &document, pairs)?;
    let Changes { changes, fields } = Changes::of_many(&document)?;
    match app.service().commit(changes, options).await {
        Ok(commit) => Ok(Json(Made { commit })),
        Err(error) => Err(fields.refused(&error).into()),
    }
}

pub(in crate::api) async fn progress<S: Service>(
    State(app): State<Arc<App<S>>>,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Answer<Json<Progress>> {
    let Path((replica, seq)) = path.map_err(|rejection| path_error(&rejection))?;
    let bad = |field, message: String| ServiceError::new(Fault::Caller, "bad_commit_name", message).at(field);
    let replica: ReplicaId = replica.parse().map_err(|error: ParseIdError| bad("replica", error.to_string()))?;
    let wrong = || bad("seq", format!("a sequence number is a whole number from 1 to {}", u64::MAX));
    let seq = seq.parse().ok().filter(|seq| *seq > 0).ok_or_else(wrong)?;
    match app.service().progress(replica, seq).await? {
        Some(progress) => Ok(Json(progress)),
        None => {
            let name = format!("{replica}/{seq}");
            Err(ServiceError::not_found("unknown_commit", "commit", &name)
                .hint("it may not have arrived here yet")
                .into())
        }
    }
}

/// What the query and the headers say about how to commit.
pub(super) fn commit_options(
    what: (&Method, &str),
    headers: &HeaderMap,
    document: &body::Document,
    pairs: Pairs,
) -> Result<CommitOptions, Problem> {
    let [durable] = query::take(pairs, ["durable"])?;
    let durable = query::flag("durable", durable.as_deref())?;
    Ok(CommitOptions { request: request_of(what, headers, &document.value)?, durable })
}

/// The id of a request with an `Idempotency-Key`: of what is asked for, the key, and the document. Another document under the
/// same key is another request, so that nothing is dropped because a key was used twice.
pub(super) fn request_of(
    (method, target): (&Method, &str),
    headers: &HeaderMap,
    document: &Value,
) -> Result<Option<RequestId>, Problem> {
    match headers.get(IDEMPOTENCY_KEY).map(axum::http::HeaderValue::as_bytes) {
        None => Ok(None),
        Some(key) if key.is_empty() || key.len() > IDEMPOTENCY_KEY_BYTES_MAX => {
            let message = format!("`Idempotency-Key` must have 1 to {IDEMPOTENCY_KEY_BYTES_MAX} bytes");
            Err(ServiceError::new(Fault::Caller, "bad_header", message).at(IDEMPOTENCY_KEY).into())
        }
        Some(key) => Ok(Some(request_id(method.as_str(), target, key, &document.to_string()))),
    }
}

/// The id of a call with this key, however it comes in.
pub(in crate::api) fn call_id(workload: &str, function: &str, key: &[u8], arguments: &Value) -> RequestId {
    request_id(Method::POST.as_str(), &format!("{workload}/{function}"), key, &arguments.to_string())
}

fn request_id(method: &str, target: &str, key: &[u8], document: &str) -> RequestId {
    let mut hasher = blake3::Hasher::new();
    for part in [method.as_bytes(), target.as_bytes(), key, document.as_bytes()] {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    let mut id = [0; 16];
    hasher.finalize_xof().fill(&mut id);
    RequestId(id)
}

/// A path whose parts cannot be decoded.
pub(super) fn path_error(rejection: &PathRejection) -> Problem {
    ServiceError::new(Fault::Caller, "bad_path", rejection.body_text()).at("path").into()
}
