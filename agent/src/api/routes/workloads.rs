//! Routes to workloads: artefacts, specs, placement, and calls.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::Value;

use super::commits::{IDEMPOTENCY_KEY, path_error, request_of};
use super::{Answer, App};
use crate::api::body;
use crate::api::guard::busy;
use crate::api::limits::{CALL_DEADLINE_MS_MAX, WAIT_MAX};
use crate::api::media::Media;
use crate::api::names::Names;
use crate::api::origin::Origin;
use crate::api::problem::Problem;
use crate::api::query::{self, Pairs};
use crate::service::{
    ArtifactInfo, CallAnswer, CallOptions, Caller, Committed, Deployed, EncodedCall, Entry, Fault, Service,
    ServiceError, Workload,
};
use crate::traces::Context;

const DEADLINE: HeaderName = HeaderName::from_static("selvedge-deadline-ms");
const SESSION: HeaderName = HeaderName::from_static("selvedge-session");
/// <https://www.w3.org/TR/trace-context/>
const TRACE: HeaderName = HeaderName::from_static("traceparent");
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

#[derive(Serialize)]
pub(in crate::api) struct Set {
    name: String,
    #[serde(flatten)]
    deployed: Deployed,
}

pub(in crate::api) async fn put_artifact<S: Service>(
    State(app): State<Arc<App<S>>>,
    headers: HeaderMap,
    pairs: Pairs,
    body: Body,
) -> Answer<Json<ArtifactInfo>> {
    let [dry_run] = query::take(pairs, ["dry_run"])?;
    let is_dry = query::flag("dry_run", dry_run.as_deref())?;
    let _permit = app.uploads.try_acquire().map_err(|_| busy("other artefacts are being received"))?;
    let wasm = body::artifact(&headers, body).await?;
    if wasm.is_empty() {
        let error = ServiceError::new(Fault::Caller, "empty_artifact", "the body is empty").at("body");
        return Err(error.hint("send a WebAssembly component").into());
    }
    Ok(Json(app.service().put_artifact(wasm, !is_dry).await?))
}

pub(in crate::api) async fn list<S: Service>(State(app): State<Arc<App<S>>>) -> Json<Vec<Workload>> {
    Json(app.service().workloads())
}

pub(in crate::api) async fn show<S: Service>(State(app): State<Arc<App<S>>>, name: Name) -> Answer<Json<Workload>> {
    let name = name_of(name)?;
    match app.service().workload(&name) {
        Some(workload) => Ok(Json(workload)),
        None => Err(ServiceError::not_found("unknown_workload", "workload", &name)
            .at("name")
            .hint("`selvedge workloads` lists them")
            .into()),
    }
}

pub(in crate::api) async fn deploy<S: Service>(
    State(app): State<Arc<App<S>>>,
    name: Name,
    headers: HeaderMap,
    pairs: Pairs,
    body: Body,
) -> Answer<Response> {
    let name = name_of(name)?;
    let [dry_run, force] = query::take(pairs, ["dry_run", "force"])?;
    let (is_dry, forced) = (query::flag("dry_run", dry_run.as_deref())?, query::flag("force", force.as_deref())?);
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
    if is_dry {
        return Ok(Json(app.service().foresee(&name, Value::Object(spec), forced).await?).into_response());
    }
    let deployed = app.service().deploy(&name, Value::Object(spec), forced).await?;
    Ok(Json(Set { name, deployed }).into_response())
}

/// With `force`, over a schema of the state too.
pub(in crate::api) async fn roll_back<S: Service>(
    State(app): State<Arc<App<S>>>,
    name: Name,
    pairs: Pairs,
) -> Answer<Json<Set>> {
    let name = name_of(name)?;
    let [force] = query::take(pairs, ["force"])?;
    let forced = query::flag("force", force.as_deref())?;
    let deployed = app.service().roll_back(&name, forced).await?;
    Ok(Json(Set { name, deployed }))
}

/// With `wait`, answers when nobody says any more that it runs the workload; 504 when that takes longer.
pub(in crate::api) async fn undeploy<S: Service>(
    State(app): State<Arc<App<S>>>,
    name: Name,
    pairs: Pairs,
) -> Answer<Json<Changed>> {
    let name = name_of(name)?;
    let [wait] = query::take(pairs, ["wait"])?;
    let wait = query::duration("wait", wait.as_deref(), WAIT_MAX)?;
    let _permit = match wait {
        Some(_) => Some(app.waiters.try_acquire().map_err(|_| busy("too many requests wait already"))?),
        None => None,
    };
    let commit = app.service().undeploy(&name, wait).await?;
    Ok(Json(Changed { name, commit }))
}

pub(in crate::api) async fn placement<S: Service>(State(app): State<Arc<App<S>>>, name: Name) -> Answer<Json<Value>> {
    Ok(Json(app.service().placement(&name_of(name)?).await?))
}

pub(in crate::api) async fn call<S: Service>(
    State(app): State<Arc<App<S>>>,
    path: Result<Path<(String, String)>, PathRejection>,
    (caller, headers): (Option<Extension<Caller>>, HeaderMap),
    pairs: Pairs,
    body: Body,
) -> Answer<Response> {
    let media = Media::of_answer(&headers);
    let called = async {
        let Path((name, function)) = path.map_err(|rejection| path_error(&rejection))?;
        let Origin { region, rtt_ms } = Origin::of(&headers)?;
        let caller = caller.map(|Extension(caller)| caller).unwrap_or_default();
        app.service().enter(&name, &Entry { caller, region: region.as_deref(), rtt_ms })?;
        let [record] = query::take(pairs, ["record"])?;
        let record = query::flag("record", record.as_deref())?;
        let bytes = body::encoded_arguments(&headers, body).await?;
        let options = CallOptions {
            deadline: deadline(&headers)?,
            request: None,
            session: session(&headers),
            record,
            trace: trace(&headers),
        };
        if !record && !headers.contains_key(IDEMPOTENCY_KEY) {
            let arguments = (Media::of_body(&headers).encoding(), &bytes[..]);
            let (answer, asked) = (media.encoding(), Instant::now());
            let call = EncodedCall { name: &name, function: &function, arguments, answer, options, asked };
            if let Some(Some(answer)) = app.service().calls_encoded(&[call]).await.pop() {
                return Ok(answered(answer?, media, &mut app.names()));
            }
        }
        let arguments = body::arguments(&headers, &bytes)?;
        let request = request_of((&Method::POST, &format!("{name}/{function}")), &headers, &arguments)?;
        let answer = app.service().call(&name, &function, arguments, CallOptions { request, ..options }).await?;
        if record && answer.recording.is_none() {
            return Err(not_recorded(&answer).into());
        }
        let CallAnswer { result, node, commit, overrun, recording } = answer;
        let result = media.encoding().encode(&result);
        Ok(answered(CallAnswer { result, node, commit, overrun, recording }, media, &mut app.names()))
    };
    called.await.map_err(|problem: Problem| problem.shown_as(media))
}

/// The result of a call, or its recording where there is one, with who ran it and what it wrote.
fn answered(answer: CallAnswer<Vec<u8>>, media: Media, names: &mut Names) -> Response {
    let mut response = match answer.recording {
        None => media.encoded(answer.result),
        Some(recording) => ([(CONTENT_TYPE, "application/json")], recording).into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(NODE, visible(names.node(answer.node)));
    if let Some(commit) = &answer.commit {
        headers.insert(COMMIT, visible(&names.commit(commit)));
    }
    if let Some(overrun) = &answer.overrun {
        headers.insert(OVERRUN, visible(overrun));
    }
    response
}

/// The call was answered, and not recorded.
fn not_recorded(answer: &CallAnswer) -> ServiceError {
    let message = match &answer.overrun {
        Some(why) => format!("the call was given its workload's default answer ({why}), and that is no call to record"),
        None => format!("the call was made on {}, which runs a release that records nothing", answer.node),
    };
    let error = ServiceError::new(Fault::Unavailable, "not_recorded", message);
    match &answer.commit {
        Some(commit) => error.changed(format!("what the call wrote is commit {}", commit.name())),
        None => error,
    }
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

fn session(headers: &HeaderMap) -> Option<u64> {
    headers.get(SESSION).map(|text| session_of(text.as_bytes()))
}

/// One that cannot be read is none, as its standard has it.
fn trace(headers: &HeaderMap) -> Option<Context> {
    headers.get(TRACE)?.to_str().ok()?.parse().ok()
}

/// What a caller says belongs together, as the number that routing looks at.
pub(in crate::api) fn session_of(text: &[u8]) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *blake3::hash(text).as_bytes();
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

fn name_of(name: Name) -> Result<String, Problem> {
    name.map(|Path(name)| name).map_err(|rejection| path_error(&rejection))
}

/// Ids are letters, digits and dots.
fn visible(id: &str) -> HeaderValue {
    HeaderValue::from_str(id).expect("an id has only characters that a header may hold")
}
