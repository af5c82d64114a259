//! The loop that accepts connections and the tasks that serve them.
//!
//! Owns connections and their time-outs; knows no routes. The invariant: there are never more than [`CONNECTIONS_MAX`] of
//! a kind, and none outlives [`DRAIN_TIMEOUT`] after the end was asked for.

use std::future::Future;
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
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::limits::{ACCEPT_PAUSE, CONNECTION_BUFFER_BYTES, CONNECTIONS_MAX, DRAIN_TIMEOUT, HEADERS_MAX, Waits};
use super::listener::{Listener, Stream};
use super::patience::Patient;
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
    let permits = [(), ()].map(|()| Arc::new(Semaphore::new(CONNECTIONS_MAX)));
    for listener in listeners {
        let routers = (over_tcp.clone(), over_unix.clone());
        let permits = &permits[usize::from(matches!(listener, Listener::Unix(..)))];
        let bounds = (Arc::clone(permits), Arc::clone(stats), waits);
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
    (permits, stats, waits): (Arc<Semaphore>, Arc<StreamStats>, Waits),
    tasks: TaskTracker,
    stop: CancellationToken,
) {
    loop {
        let next = async {
            // The permit comes first: beyond the limit, connections wait in the kernel's bounded queue.
            let permit = Arc::clone(&permits).acquire_owned().await.expect("the semaphore is never closed");
            (listener.accept().await, permit)
        };
        let (stream, permit) = tokio::select! {
            () = stop.cancelled() => return,
            next = next => next,
        };
        let (stop, stats) = (stop.clone(), Arc::clone(&stats));
        let is_crowded = permits.available_permits() < CONNECTIONS_MAX / 2;
        let serving = Serving { head_timeout: if is_crowded { waits.head_crowded } else { waits.head }, stop };
        match stream {
            Ok(Stream::Tcp(stream)) => {
                let router = over_tcp.clone();
                tasks.spawn(async move {
                    converse(Patient::new(stream, Arc::clone(&stats), waits.read), (router, None), serving, &stats)
                        .await;
                    drop(permit);
                });
            }
            Ok(Stream::Unix(stream)) => {
                let router = over_unix.clone();
                // Who cannot be told is whoever has the right to connect.
                let caller = stream.peer_cred().map_or(Caller::Token, |peer| Caller::User(peer.uid()));
                tasks.spawn(async move {
                    converse(
                        Patient::new(stream, Arc::clone(&stats), waits.read),
                        (router, Some(caller)),
                        serving,
                        &stats,
                    )
                    .await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the API could not accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// How one connection is served.
struct Serving {
    head_timeout: Duration,
    stop: CancellationToken,
}

async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    (router, caller): (Router, Option<Caller>),
    Serving { head_timeout, stop }: Serving,
    stats: &StreamStats,
) {
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        if let Some(caller) = caller {
            request.extensions_mut().insert(caller);
        }
        router.call(request)
    });
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(head_timeout)
        .max_headers(HEADERS_MAX)
        .max_buf_size(CONNECTION_BUFFER_BYTES);
    let serving = builder.serve_connection(TokioIo::new(Worded::new(stream)), service);
    let mut serving = pin!(serving.with_upgrades());
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = stop.cancelled() => {
            serving.as_mut().graceful_shutdown();
            match tokio::time::timeout(DRAIN_TIMEOUT, serving).await {
                Ok(ended) => ended,
                Err(_) => return,
            }
        }
    };
    if let Err(error) = ended {
        if error.is_timeout() {
            stats.late();
        }
        tracing::debug!(%error, "a connection of the API broke");
    }
}
