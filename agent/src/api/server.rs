//! The loop that accepts connections and the tasks that serve them.
//!
//! Owns connections and their time-outs; knows no routes. The invariant: there are never more than [`CONNECTIONS_MAX`](super::limits::CONNECTIONS_MAX) of
//! a kind, and none outlives [`DRAIN_TIMEOUT`] after the end was asked for. A newcomer beyond that takes the place of who waits.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::limits::{ACCEPT_PAUSE, CONNECTION_BUFFER_BYTES, DRAIN_TIMEOUT, HEADERS_MAX, Waits};
use super::listener::{Listener, Stream};
use super::patience::Patient;
use super::places::{Places, Seat};
use super::stream::StreamStats;
use super::worded::Worded;
use crate::service::Caller;

/// Serves all listeners until `shutdown` completes, then drains: what it began, and what others began in `tasks`.
pub(super) async fn serve(
    listeners: Vec<Listener>,
    (over_tcp, over_unix): (&Router, &Router),
    (stats, waits): (&Arc<StreamStats>, Waits),
    tasks: TaskTracker,
    shutdown: impl Future<Output = ()> + Send,
) {
    // The end of this future, however it comes, is the end of what it spawned.
    let stop = CancellationToken::new();
    let _stop_on_drop = stop.clone().drop_guard();
    let places = [(), ()].map(|()| Places::new());
    for listener in listeners {
        let routers = (over_tcp.clone(), over_unix.clone());
        let places = &places[usize::from(matches!(listener, Listener::Unix(..)))];
        let bounds = (Arc::clone(places), Arc::clone(stats), waits);
        tasks.spawn(accept(listener, routers, bounds, tasks.clone(), stop.clone()));
    }
    shutdown.await;
    stop.cancel();
    tasks.close();
    if tokio::time::timeout(DRAIN_TIMEOUT, tasks.wait()).await.is_err() {
        tracing::warn!(connections = tasks.len(), "connections of the API did not end in time");
    }
}

async fn accept(
    listener: Listener,
    (over_tcp, over_unix): (Router, Router),
    (places, stats, waits): (Arc<Places>, Arc<StreamStats>, Waits),
    tasks: TaskTracker,
    stop: CancellationToken,
) {
    loop {
        // One connection more than there are places has been taken up at the most; others wait in the kernel's bounded queue.
        let next = async {
            let stream = listener.accept().await?;
            Ok::<_, io::Error>((stream, places.seat().await))
        };
        let next = tokio::select! {
            () = stop.cancelled() => return,
            next = next => next,
        };
        let (stream, seat) = match next {
            Ok(next) => next,
            Err(error) => {
                tracing::warn!(%error, "the API could not accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let head_timeout = if places.is_crowded() { waits.head_crowded } else { waits.head };
        let serving = Serving { head_timeout, seat, stop: stop.clone(), stats: Arc::clone(&stats) };
        let place = Arc::clone(serving.seat.place());
        match stream {
            Stream::Tcp(stream) => {
                let stream = Patient::new(stream, (Arc::clone(&stats), place), waits.read);
                tasks.spawn(converse(stream, (over_tcp.clone(), None), serving));
            }
            Stream::Unix(stream) => {
                // Who cannot be told is whoever has the right to connect.
                let caller = stream.peer_cred().map_or(Caller::Token, |peer| Caller::User(peer.uid()));
                let stream = Patient::new(stream, (Arc::clone(&stats), place), waits.read);
                tasks.spawn(converse(stream, (over_unix.clone(), Some(caller)), serving));
            }
        }
    }
}

/// How one connection is served.
struct Serving {
    head_timeout: Duration,
    seat: Seat,
    stop: CancellationToken,
    stats: Arc<StreamStats>,
}

async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    (router, caller): (Router, Option<Caller>),
    Serving { head_timeout, seat, stop, stats }: Serving,
) {
    let place = seat.place();
    let router = TowerToHyperService::new(router);
    let service = service_fn(|mut request: Request<Incoming>| {
        let turn = place.turn();
        if let Some(caller) = caller {
            request.extensions_mut().insert(caller);
        }
        request.extensions_mut().insert(Arc::clone(place));
        let answer = router.call(request);
        async move { answer.await.map(|response| response.map(|body| turn.until_end_of(body))) }
    });
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(head_timeout)
        .max_headers(HEADERS_MAX)
        .max_buf_size(CONNECTION_BUFFER_BYTES);
    let serving = builder.serve_connection(TokioIo::new(Worded::new(stream)), service);
    let mut serving = pin!(serving.with_upgrades());
    let mut is_leaving = false;
    let ended = loop {
        tokio::select! {
            ended = serving.as_mut() => break ended,
            () = stop.cancelled() => {
                serving.as_mut().graceful_shutdown();
                match tokio::time::timeout(DRAIN_TIMEOUT, serving).await {
                    Ok(ended) => break ended,
                    Err(_) => return,
                }
            }
            () = place.displaced(), if !is_leaving => {
                stats.displaced();
                if place.is_idle() {
                    return;
                }
                // It has just asked after all: that is answered yet.
                is_leaving = true;
                serving.as_mut().graceful_shutdown();
            }
        }
    };
    if let Err(error) = ended {
        // Who is let go of between two requests was not late with anything.
        if error.is_timeout() && place.is_heard() {
            stats.late();
        }
        tracing::debug!(%error, "a connection of the API broke");
    }
}
