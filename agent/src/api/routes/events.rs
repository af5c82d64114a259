//! The route to events: a stream that does not end, in the form that browsers call server-sent events.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::sse::{Event as SseEvent, Sse};
use axum::response::{IntoResponse, Response};
use futures::StreamExt as _;
use selvedge_sync::key::KeyError;
use selvedge_sync::replica::KeyPrefix;

use super::{Answer, App};
use crate::api::problem::bad_key;
use crate::api::query::{self, Pairs};
use crate::service::{EventsWanted, Notice, Service};

const LAST_EVENT_ID: &str = "last-event-id";

pub(in crate::api) async fn listen<S: Service>(
    State(app): State<Arc<App<S>>>,
    headers: HeaderMap,
    pairs: Pairs,
) -> Answer<Response> {
    let [prefix] = query::take(pairs, ["prefix"])?;
    let parse = |text: String| text.parse::<KeyPrefix>().map_err(|error: KeyError| bad_key(&error, "prefix"));
    let prefix = prefix.map(parse).transpose()?;
    // What is no text is no id of ours either, and is answered like any other: with a reset.
    let after = headers.get(LAST_EVENT_ID).map(|id| String::from_utf8_lossy(id.as_bytes()).into_owned());
    let after = after.filter(|id| !id.is_empty());
    let notices = app.service().events(EventsWanted { prefix, after }).await?;
    // Streams end with the agent; they would hold up its end otherwise.
    let notices = notices.take_until(app.closing());
    let events = notices.map(|notice| Ok::<_, Infallible>(sse(&notice)));
    Ok(([(header::CACHE_CONTROL, "no-store")], Sse::new(events)).into_response())
}

/// An id without data is no event, but a browser remembers it, too.
fn sse(notice: &Notice) -> SseEvent {
    let id = SseEvent::default().id(notice.id.to_string());
    match &notice.event {
        None => id.comment("nothing new"),
        Some(event) => id.event(event.name()).data(serde_json::to_string(&**event).expect("an event serialises")),
    }
}
