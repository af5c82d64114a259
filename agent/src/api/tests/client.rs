//! A small client: one connection per request.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::http::response::Parts;
use hyper::{HeaderMap, Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;
use tokio_util::task::AbortOnDropHandle;

use crate::api::Endpoint;

/// A request.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) method: Method,
    pub(super) path: String,
    headers: Vec<(String, String)>,
    body: Bytes,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) bytes: Bytes,
    pub(super) text: String,
}

pub(super) fn get(path: &str) -> Ask {
    ask(Method::GET, path, Bytes::new())
}

pub(super) fn post(path: &str, body: impl Into<Bytes>) -> Ask {
    ask(Method::POST, path, body)
}

pub(super) fn put(path: &str, body: impl Into<Bytes>) -> Ask {
    ask(Method::PUT, path, body)
}

pub(super) fn ask(method: Method, path: &str, body: impl Into<Bytes>) -> Ask {
    Ask { method, path: path.to_owned(), headers: Vec::new(), body: body.into() }
}

impl Ask {
    pub(super) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets a header unless the request has it.
    pub(super) fn or_header(self, name: &str, value: &str) -> Self {
        if self.headers.iter().any(|(own, _)| own == name) { self } else { self.header(name, value) }
    }
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("text"))
    }
}

pub(super) async fn send(endpoint: &Endpoint, ask: Ask) -> Answer {
    match endpoint {
        Endpoint::Tcp(address) => {
            let ask = ask.or_header("host", &address.to_string());
            exchange(TcpStream::connect(address).await.expect("connected"), ask).await
        }
        Endpoint::Unix(path) => {
            let ask = ask.or_header("host", "selvedge");
            exchange(UnixStream::connect(path).await.expect("connected"), ask).await
        }
    }
}

/// An answer that does not end, and its connection.
pub(super) struct Stream {
    pub(super) status: u16,
    headers: HeaderMap,
    body: Incoming,
    read: String,
    _connection: AbortOnDropHandle<()>,
}

impl Stream {
    pub(super) async fn open(endpoint: &Endpoint, ask: Ask) -> Self {
        let (parts, body, connection) = match endpoint {
            Endpoint::Tcp(address) => {
                let ask = ask.or_header("host", &address.to_string());
                begin(TcpStream::connect(address).await.expect("connected"), ask).await
            }
            Endpoint::Unix(path) => {
                let ask = ask.or_header("host", "selvedge");
                begin(UnixStream::connect(path).await.expect("connected"), ask).await
            }
        };
        let _connection = AbortOnDropHandle::new(connection);
        Self { status: parts.status.as_u16(), headers: parts.headers, body, read: String::new(), _connection }
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("text"))
    }

    /// The lines up to the next empty one; `None` when the stream has ended.
    pub(super) async fn block(&mut self) -> Option<String> {
        loop {
            if let Some((block, rest)) = self.read.split_once("\n\n") {
                let block = block.to_owned();
                self.read = rest.to_owned();
                return Some(block);
            }
            let frame = self.body.frame().await?.expect("the stream ends in good order");
            let data = frame.into_data().expect("no trailers");
            self.read.push_str(std::str::from_utf8(&data).expect("text"));
        }
    }
}

async fn exchange(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, ask: Ask) -> Answer {
    let (parts, body, connection) = begin(stream, ask).await;
    let bytes = body.collect().await.expect("a whole body").to_bytes();
    connection.abort();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    Answer { status: parts.status.as_u16(), headers: parts.headers, bytes, text }
}

async fn begin(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ask: Ask,
) -> (Parts, Incoming, JoinHandle<()>) {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("a connection");
    // A server that refuses a body early closes the connection; that is no failure of the test.
    let connection = tokio::spawn(async move { drop(connection.await) });
    let mut request = Request::builder().method(ask.method).uri(ask.path);
    for (name, value) in &ask.headers {
        request = request.header(name, value);
    }
    let response = sender.send_request(request.body(Full::new(ask.body)).expect("a request")).await.expect("an answer");
    let (parts, body) = response.into_parts();
    (parts, body, connection)
}
