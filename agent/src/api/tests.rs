//! The routes over real sockets, against a fake service.
//!
//! Each test is a table of requests and what they are answered; the fake is asked afterwards whether anything changed.

mod bad_input;
mod cbor;
mod client;
mod cluster;
mod events;
mod fake;
mod good_input;
mod linger;
mod page;
mod raw;
mod rights;
mod slow;
mod sockets;
mod stream;

use std::sync::Arc;

use tokio::sync::oneshot;

use self::client::{Answer, Ask};
use self::fake::Fake;
use super::limits::Waits;
use super::{Api, Credentials, Endpoint, StreamStats, Token};

const TOKEN: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const TOKEN_FILE: &str = "/var/lib/selvedge/api-token";

/// An API that serves a fake over TCP and a unix socket until it is dropped.
struct Served {
    service: Arc<Fake>,
    streams: Arc<StreamStats>,
    tcp: Endpoint,
    unix: Endpoint,
    stop: Option<oneshot::Sender<()>>,
    serving: Option<tokio::task::JoinHandle<()>>,
    _folder: tempfile::TempDir,
}

fn credentials() -> Credentials {
    Credentials { token: Token::parse(TOKEN).expect("a token"), token_file: TOKEN_FILE.into() }
}

async fn serve() -> Served {
    serve_with(Waits::default()).await
}

/// The same, that waits only so long for the other sides of connections.
async fn serve_with(waits: Waits) -> Served {
    let folder = tempfile::tempdir().expect("a folder");
    let endpoints = ["http://127.0.0.1:0".parse().expect("tcp"), Endpoint::Unix(folder.path().join("api.sock"))];
    let api = Api::bind(&endpoints, credentials()).await.expect("bound").with_waits(waits);
    let [tcp, unix] = api.endpoints() else { panic!("two endpoints") };
    let (tcp, unix) = (tcp.clone(), unix.clone());
    let service = Arc::new(Fake::default());
    let streams = api.streams();
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(api.serve(Arc::clone(&service), async move {
        // A sender that was dropped ends the test, too.
        drop(stopped.await);
    }));
    Served { service, streams, tcp, unix, stop: Some(stop), serving: Some(serving), _folder: folder }
}

impl Served {
    /// Asks over TCP, with the token.
    async fn ask(&self, ask: Ask) -> Answer {
        client::send(&self.tcp, ask.or_header("authorization", &format!("Bearer {TOKEN}"))).await
    }

    /// Begins to listen over TCP.
    async fn listen(&self, ask: Ask) -> client::Stream {
        client::Stream::open(&self.tcp, ask).await
    }

    async fn stop(&mut self) {
        drop(self.stop.take());
        self.serving.take().expect("stopped once").await.expect("no panic");
    }
}
