//! The route to the call stream: a WebSocket, if there is room for one more.

use std::sync::Arc;

use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{Extension, State};
use axum::response::Response;

use super::{Answer, App};
use crate::api::guard::busy;
use crate::api::limits::{FRAME_BYTES_MAX, STREAMS_MAX};
use crate::api::stream;
use crate::service::{Caller, Fault, Service, ServiceError};

pub(in crate::api) async fn open<S: Service>(
    State(app): State<Arc<App<S>>>,
    caller: Option<Extension<Caller>>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Answer<Response> {
    let upgrade = upgrade.map_err(|rejection| {
        ServiceError::new(Fault::Caller, "no_websocket", rejection.body_text())
            .hint("this route is a WebSocket (RFC 6455, version 13); docs/calls.md describes its frames")
    })?;
    let Ok(permit) = Arc::clone(&app.streams).try_acquire_owned() else {
        app.stream_stats.turned_away();
        return Err(busy(&format!("{STREAMS_MAX} call streams are open already")).into());
    };
    // One that is a little too large is still read, so that it can be answered.
    let upgrade = upgrade.max_message_size(2 * FRAME_BYTES_MAX).max_frame_size(2 * FRAME_BYTES_MAX);
    let (service, stats, closing) = (Arc::clone(&app.service), Arc::clone(&app.stream_stats), app.closing.clone());
    let (caller, task) = (caller.map(|Extension(caller)| caller).unwrap_or_default(), app.tasks.token());
    Ok(upgrade.on_upgrade(async move |socket| {
        stream::serve(socket, (service, caller), stats, closing).await;
        drop((permit, task));
    }))
}
