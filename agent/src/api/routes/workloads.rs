//! Routes to workloads: artefacts, specs, placement, and calls.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::Value;

use super::commits::{path_error, request_of};
use super::{Answer, App};
use crate::api::body;
use crate::api::guard::busy;
use crate::api::limits::CALL_DEADLINE_MS_MAX;
use crate::api::problem::Problem;
use crate::service::{ArtifactInfo, CallOptions, Committed, Fault, Service, ServiceError, Workload};

const DEADLINE: HeaderName = HeaderName::from_static("selvedge-deadline-ms");
const NODE: HeaderName = HeaderName::from_static("selvedge-node");
const COMMIT: HeaderName = HeaderName::from_static("selvedge-commit");
/// Why the answer is the workload's default.
const OVERRUN: HeaderName = HeaderName::from_static("selvedge-overrun");

/// A path that names a workload.
type Name = Result<Path<String>, PathRejection>;

#[derive(Serialize)]
pub(in crate::api) struct Changed {
    name: String,
    commit: Committed,
}

pub(in crate::api) async fn put_artifact<S: Service>(
    State(app): State<Arc<App<S>>>,
    headers: HeaderMap,
    body: Body,
) -> Answer<Json<ArtifactInfo>> {
    let _permit = app.uploads.try_acquire().map_err(|_| busy("other artefacts are being received"))?;
    let wasm = body::artifact(&headers, body).await?;
    if wasm.is_empty() {
        let error = ServiceError::new(Fault::Caller, "empty_artifact", "the body is empty").at("body");
        return Err(error.hint("send a WebAssembly component").into());
    }
    Ok(Json(app.service().put_artifact(wasm).await?))
}

pub(in crate::api) async fn list<S: Service>(State(app): State<Arc<App<S>>>) -> Json<Vec<Workload>> {
    Json(app.service().workloads())
}

pub(in crate::api) async fn show<S: Service>(State(app): State<Arc<App<S>>>, name: Name) -> Answer<Json<Workload>> {
    let name = name_of(name)?;
    match app.service().workload(&name) {
        Some(workload) => Ok(Json(workload)),
        None => Err(ServiceError::not_found("unknown_workload", "workload", &name).at("name").into()),
    }
}

pub(in crate::api) async fn deploy<S: Service>(
    State(app): State<Arc<App<S>>>,
    name: Name,
    headers: HeaderMap,
    body: Body,
) -> Answer<Json<Changed>> {
    let name = name_of(name)?;
    let Value::Object(mut spec) = body::json(&headers, body).await?.value else {
        let message = "a spec is an object";
        let error = ServiceError::new(Fault::WrongValue, "wrong_type", message).at("body");
        return Err(error.hint(r#"send {"artifact":"<digest>","replicas":1}"#).into());
    };
    // What GET shows beside the spec may come back as it was.
    spec.remove("status");
    if spec.remove("name").is_some_and(|own| own != *name) {
        let message = "the spec names another workload than the path";
        return Err(ServiceError::new(Fault::Caller, "wrong_name", message).at("name").into());
    }
    let commit = app.service().deploy(&name, Value::Object(spec)).await?;
    Ok(Json(Changed { name, commit }))
}

pub(in crate::api) async fn undeploy<S: Service>(State(app): State<Arc<App<S>>>, name: Name) -> Answer<Json<Changed>> {
    let name = name_of(name)?;
    let commit = app.service().undeploy(&name).await?;
    Ok(Json(Changed { name, commit }))
}

pub(in crate::api) async fn placement<S: Service>(State(app): State<Arc<App<S>>>, name: Name) -> Answer<Json<Value>> {
    Ok(Json(app.service().placement(&name_of(name)?).await?))
}

pub(in crate::api) async fn call<S: Service>(
    State(app): State<Arc<App<S>>>,
    path: Result<Path<(String, String)>, PathRejection>,
    headers: HeaderMap,
    body: Body,
) -> Answer<Response> {
    let Path((name, function)) = path.map_err(|rejection| path_error(&rejection))?;
    let nothing = || body::Document { value: Value::Array(Vec::new()), rounded: false };
    let document = body::json_or_nothing(&headers, body).await?.unwrap_or_else(nothing);
    let request = request_of((&Method::POST, &format!("{name}/{function}")), &headers, &document)?;
    let options = CallOptions { deadline: deadline(&headers)?, request };
    let arguments = match document.value {
        arguments @ (Value::Array(_) | Value::Object(_)) => arguments,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            let message = "the arguments must be an array, or an object by parameter name";
            return Err(ServiceError::new(Fault::WrongValue, "wrong_type", message).at("body").into());
        }
    };
    let answer = app.service().call(&name, &function, arguments, options).await?;
    let mut response = Json(answer.result).into_response();
    let headers = response.headers_mut();
    headers.insert(NODE, visible(&answer.node.to_string()));
    if let Some(commit) = answer.commit {
        headers.insert(COMMIT, visible(&format!("{}/{}", commit.replica, commit.seq)));
    }
    if let Some(overrun) = answer.overrun {
        headers.insert(OVERRUN, visible(&overrun));
    }
    Ok(response)
}

fn deadline(headers: &HeaderMap) -> Result<Option<Duration>, Problem> {
    let Some(value) = headers.get(DEADLINE) else { return Ok(None) };
    match value.to_str().ok().and_then(|text| text.trim().parse().ok()) {
        Some(ms @ 1..=CALL_DEADLINE_MS_MAX) => Ok(Some(Duration::from_millis(ms))),
        _ => {
            let message = format!("`Selvedge-Deadline-Ms` must be a whole number from 1 to {CALL_DEADLINE_MS_MAX}");
            Err(ServiceError::new(Fault::Caller, "bad_header", message).at(DEADLINE.as_str()).into())
        }
    }
}

fn name_of(name: Name) -> Result<String, Problem> {
    name.map(|Path(name)| name).map_err(|rejection| path_error(&rejection))
}

/// Ids are letters, digits and dots.
fn visible(id: &str) -> HeaderValue {
    HeaderValue::from_str(id).expect("an id has only characters that a header may hold")
}
