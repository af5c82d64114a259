//! The route to events: a stream that does not end, in the form that browsers call server-sent events.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, header};
use axum::response::sse::{Event as SseEvent, Sse};
use axum::response::{IntoResponse, Response};
use futures::StreamExt as _;
use selvedge_sync::key::KeyError;
use selvedge_sync::replica::KeyPrefix;

use super::{Answer, App};
use crate::api::problem::bad_key;
use crate::api::query::{self, Pairs};
use crate::service::{Caller, EventsWanted, Fault, Kinds, Notice, ParseKindsError, PastEvent, Service, ServiceError};

const LAST_EVENT_ID: &str = "last-event-id";

pub(in crate::api) async fn listen<S: Service>(
    State(app): State<Arc<App<S>>>,
    caller: Option<Extension<Caller>>,
    headers: HeaderMap,
    pairs: Pairs,
) -> Answer<Response> {
    let [prefix, kinds] = query::take(pairs, ["prefix", "kinds"])?;
    let parse = |text: String| text.parse::<KeyPrefix>().map_err(|error: KeyError| bad_key(&error, "prefix"));
    let prefix = prefix.map(parse).transpose()?;
    let kinds = kinds.as_deref().map(kinds_of).transpose()?;
    if prefix.is_some() && kinds.as_ref().is_some_and(|kinds| !kinds.has_commits()) {
        let message = "`prefix` is about commits, which `kinds` leaves out";
        return Err(ServiceError::new(Fault::Caller, "bad_parameter", message).at("prefix").into());
    }
    // What is no text is no id of ours either, and is answered like any other: with a reset.
    let after = headers.get(LAST_EVENT_ID).map(|id| String::from_utf8_lossy(id.as_bytes()).into_owned());
    let after = after.filter(|id| !id.is_empty());
    // Who the caller is, is known of those who had to have the right to connect.
    let wanted = EventsWanted { kinds, prefix, after, by_right: caller.is_some() };
    let notices = app.service().events(wanted).await?;
    // Streams end with the agent; they would hold up its end otherwise.
    let notices = notices.take_until(app.closing());
    let events = notices.map(|notice| Ok::<_, Infallible>(sse(&notice)));
    Ok(([(header::CACHE_CONTROL, "no-store")], Sse::new(events)).into_response())
}

/// What happened lately, commits left aside, the latest first.
pub(in crate::api) async fn recent<S: Service>(State(app): State<Arc<App<S>>>) -> Json<Vec<PastEvent>> {
    Json(app.service().past_events())
}

fn kinds_of(text: &str) -> Answer<Kinds> {
    let hint = format!("the kinds are {}", Kinds::ALL.join(", "));
    let bad = |error: ParseKindsError| ServiceError::new(Fault::Caller, "bad_parameter", error.to_string());
    Ok(text.parse().map_err(|error| bad(error).at("kinds").hint(hint))?)
}

/// An id without data is no event, but a browser remembers it, too.
fn sse(notice: &Notice) -> SseEvent {
    let id = SseEvent::default().id(notice.id.to_string());
    match &notice.event {
        None => id.comment("nothing new"),
        Some(event) => id.event(event.name()).data(serde_json::to_string(&**event).expect("an event serialises")),
    }
}
