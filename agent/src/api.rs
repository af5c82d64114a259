//! The local API: HTTP over loopback and unix sockets.
//!
//! Owns sockets, routes, rights, limits and the form of errors. Decides nothing about state or workloads; all that goes
//! through [`Service`]. The invariant: every request ends in an answer, an error is in the one form that users know, and
//! nothing changes for a caller without the right to it.
//!
//! [`Api::bind`] comes before [`Api::serve`], so that a port that is taken is told before anything else starts, and the
//! addresses are known (port 0 is resolved) before the first request.

mod body;
mod change;
mod endpoint;
mod guard;
mod intake;
mod limits;
mod linger;
mod listener;
mod media;
mod names;
mod origin;
mod page;
mod patience;
mod places;
mod problem;
mod query;
mod routes;
mod server;
mod stream;
pub mod token;
mod worded;

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::endpoint::{Endpoint, EndpointError};
use self::guard::Guard;
use self::limits::Waits;
pub use self::listener::BindError;
use self::listener::Listener;
use self::routes::{App, router};
pub use self::stream::{StreamFigures, StreamStats};
pub use self::token::Token;
use crate::service::Service;

/// What a caller over TCP has to show before it may change something.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The token.
    pub token: Token,
    /// Where it lies, so that a refused caller on this host can find it.
    pub token_file: PathBuf,
}

/// An API that is bound to its addresses and answers nobody yet.
#[derive(Debug)]
pub struct Api {
    listeners: Vec<Listener>,
    endpoints: Vec<Endpoint>,
    credentials: Credentials,
    streams: Arc<StreamStats>,
    waits: Waits,
}

impl Api {
    /// Takes all addresses, or none of them.
    ///
    /// # Errors
    /// An address is in use, not on loopback, or not ours to take. The error names it.
    pub async fn bind(endpoints: &[Endpoint], credentials: Credentials) -> Result<Self, BindError> {
        let mut listeners = Vec::with_capacity(endpoints.len());
        for endpoint in endpoints {
            listeners.push(Listener::bind(endpoint).await?);
        }
        let endpoints = listeners.iter().map(Listener::endpoint).collect();
        Ok(Self { listeners, endpoints, credentials, streams: Arc::default(), waits: Waits::default() })
    }

    /// The addresses, in the order in which they were asked for; port 0 is resolved.
    #[must_use]
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// The same, that waits only so long for the other sides of connections.
    #[cfg(test)]
    fn with_waits(self, waits: Waits) -> Self {
        Self { waits, ..self }
    }

    /// What is counted about the call stream.
    #[must_use]
    pub fn streams(&self) -> Arc<StreamStats> {
        Arc::clone(&self.streams)
    }

    /// Answers requests until `shutdown` completes, then lets those in progress finish, for a bounded time.
    pub async fn serve<S: Service>(self, service: Arc<S>, shutdown: impl Future<Output = ()> + Send) {
        let closing = CancellationToken::new();
        let _closing_on_drop = closing.clone().drop_guard();
        let tasks = TaskTracker::new();
        let stats = Arc::clone(&self.streams);
        let app = App::new(service, self.streams, tasks.clone(), closing.clone());
        let over_unix = router(Arc::new(app.beside()), Guard::for_unix());
        let over_tcp = router(Arc::new(app), Guard::for_tcp(self.credentials));
        let shutdown = async {
            shutdown.await;
            closing.cancel();
        };
        server::serve(self.listeners, (&over_tcp, &over_unix), (&stats, self.waits), tasks, shutdown).await;
    }
}

#[cfg(test)]
mod tests;
