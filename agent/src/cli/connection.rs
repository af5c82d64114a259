//! One keep-alive HTTP/1.1 connection to an agent.
//!
//! Owns connecting, the framing of a request and the bound on an answer; knows no routes, tokens or exit codes. The
//! invariant: one request at a time, and after an error the connection is not used again.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::{TcpStream, UnixStream};

use super::address::ApiAddr;

/// Bytes of an answer that are read at most: four times what an agent lets a call return.
pub(crate) const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Time for a connection to be accepted. An agent that is near takes microseconds.
pub(crate) const CONNECT_PATIENCE: Duration = Duration::from_secs(5);

/// The commit that holds what a call wrote.
const COMMIT_HEADER: &str = "selvedge-commit";

/// What was heard last of a stream of events.
const LAST_EVENT_ID: &str = "last-event-id";

/// What to ask.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    /// HTTP method.
    pub(crate) method: Method,
    /// Path and query, percent-encoded.
    pub(crate) path: String,
    /// The body; none for reads.
    pub(crate) body: Option<AskBody>,
    /// Makes a retry of a write harmless.
    pub(crate) idempotency_key: Option<String>,
    /// What else is said of it.
    pub(crate) headers: Vec<(&'static str, String)>,
}

/// What a request carries.
#[derive(Clone, Debug)]
pub(crate) enum AskBody {
    /// A JSON document.
    Json(Bytes),
    /// A WebAssembly component.
    Wasm(Bytes),
}

impl AskBody {
    /// How many bytes there are to send.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Json(bytes) | Self::Wasm(bytes) => bytes.len(),
        }
    }
}

impl Ask {
    /// A read of `path`.
    #[must_use]
    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self { method: Method::GET, path: path.into(), body: None, idempotency_key: None, headers: Vec::new() }
    }

    /// A removal of what is at `path`.
    #[must_use]
    pub(crate) fn delete(path: impl Into<String>) -> Self {
        Self { method: Method::DELETE, path: path.into(), body: None, idempotency_key: None, headers: Vec::new() }
    }

    /// `json` sent to `path`.
    #[must_use]
    pub(crate) fn post(path: impl Into<String>, json: &Value) -> Self {
        Self {
            method: Method::POST,
            path: path.into(),
            body: Some(AskBody::json(json)),
            idempotency_key: None,
            headers: Vec::new(),
        }
    }

    /// `body` placed at `path`.
    #[must_use]
    pub(crate) fn put(path: impl Into<String>, body: AskBody) -> Self {
        Self { method: Method::PUT, path: path.into(), body: Some(body), idempotency_key: None, headers: Vec::new() }
    }
}

impl AskBody {
    /// A JSON document.
    #[must_use]
    pub(crate) fn json(json: &Value) -> Self {
        Self::Json(json.to_string().into())
    }
}

/// What came back.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// HTTP status.
    pub(crate) status: u16,
    /// The commit that holds what was written, as `REPLICA/SEQ`.
    pub(crate) commit: Option<String>,
    /// The body.
    pub(crate) body: Bytes,
}

impl Answer {
    /// Whether the agent did what it was asked to.
    #[must_use]
    pub(crate) const fn is_success(&self) -> bool {
        self.status >= 200 && self.status < 300
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// It is none.
    pub(crate) fn json(&self) -> Result<Value, serde_json::Error> {
        if self.body.is_empty() { Ok(Value::Null) } else { serde_json::from_slice(&self.body) }
    }
}

/// Why there is no answer. Whether anything changed is known only for [`ConnectionError::Connect`]: nothing did.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectionError {
    /// Nobody accepts connections there.
    #[error("{0}")]
    Connect(#[source] std::io::Error),
    /// Nobody accepted the connection within [`CONNECT_PATIENCE`].
    #[error("it did not accept a connection within {} s", CONNECT_PATIENCE.as_secs())]
    ConnectTimeout,
    /// The connection broke, or what came is no HTTP.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// The request cannot be expressed in HTTP: the caller's fault.
    #[error("the request is malformed: {0}")]
    Request(String),
    /// The answer is larger than [`ANSWER_BYTES_MAX`], or ended early.
    #[error("the answer could not be read: {0}")]
    Body(String),
}

/// A connection that serves one request after another.
pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    host: String,
    token: Option<String>,
}

impl Connection {
    /// Connects to `addr`; `token` goes with each request that changes something.
    ///
    /// # Errors
    /// Nobody accepts the connection in time.
    pub(crate) async fn open(addr: &ApiAddr, token: Option<String>) -> Result<Self, ConnectionError> {
        let connecting = async {
            match addr {
                ApiAddr::Tcp { host, port } => {
                    let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(ConnectionError::Connect)?;
                    // A request is one small packet: waiting to merge it with the next would only add latency.
                    stream.set_nodelay(true).map_err(ConnectionError::Connect)?;
                    Self::shake(TokioIo::new(stream)).await
                }
                ApiAddr::Unix(path) => {
                    let stream = UnixStream::connect(path).await.map_err(ConnectionError::Connect)?;
                    Self::shake(TokioIo::new(stream)).await
                }
            }
        };
        let connected = tokio::time::timeout(CONNECT_PATIENCE, connecting).await;
        let sender = connected.map_err(|_| ConnectionError::ConnectTimeout)??;
        Ok(Self { sender, host: addr.host_header(), token })
    }

    async fn shake<T>(io: T) -> Result<SendRequest<Full<Bytes>>, ConnectionError>
    where
        T: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    {
        let (sender, connection) = handshake(io).await.map_err(|error| ConnectionError::Broken(chain(&error)))?;
        // Ends by itself when the sender is dropped; what it fails with reaches the request that waits.
        tokio::spawn(connection);
        Ok(sender)
    }

    /// Whether the agent has closed the connection, as it does with one that was idle for long.
    pub(crate) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Replaces the token for what is sent from now on.
    pub(crate) fn set_token(&mut self, token: String) {
        self.token = Some(token);
    }

    /// Sends `ask` and reads the whole answer. Has no deadline of its own.
    ///
    /// # Errors
    /// The connection broke or the answer is too large; open another one.
    pub(crate) async fn send(&mut self, ask: &Ask) -> Result<Answer, ConnectionError> {
        let request = self.request(ask)?;
        let broken = |error: hyper::Error| ConnectionError::Broken(chain(&error));
        self.sender.ready().await.map_err(broken)?;
        let response = self.sender.send_request(request).await.map_err(broken)?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| ConnectionError::Body(error.to_string()))?.to_bytes();
        Ok(Answer { status: head.status.as_u16(), commit: header(&head.headers, COMMIT_HEADER), body })
    }

    /// Sends `ask` and returns the body of a success, to be read as it comes; a refusal is read whole. `last_id` is what was
    /// heard last of the same stream.
    ///
    /// # Errors
    /// The connection broke, or a refusal is too large.
    pub(crate) async fn stream(
        mut self,
        ask: &Ask,
        last_id: Option<&str>,
    ) -> Result<Result<Incoming, Answer>, ConnectionError> {
        let mut request = self.request(ask)?;
        if let Some(id) = last_id {
            let id =
                id.parse().map_err(|_| ConnectionError::Request("an event has an id that is no text".to_owned()))?;
            request.headers_mut().insert(LAST_EVENT_ID, id);
        }
        let broken = |error: hyper::Error| ConnectionError::Broken(chain(&error));
        let (head, body) = self.sender.send_request(request).await.map_err(broken)?.into_parts();
        if head.status.is_success() {
            return Ok(Ok(body));
        }
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| ConnectionError::Body(error.to_string()))?.to_bytes();
        Ok(Err(Answer { status: head.status.as_u16(), commit: None, body }))
    }

    fn request(&self, ask: &Ask) -> Result<Request<Full<Bytes>>, ConnectionError> {
        let mut request = Request::builder().method(&ask.method).uri(&ask.path).header(HOST, &self.host);
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        if let Some(key) = &ask.idempotency_key {
            request = request.header("Idempotency-Key", key);
        }
        for (name, value) in &ask.headers {
            request = request.header(*name, value);
        }
        let body = match &ask.body {
            None => Bytes::new(),
            Some(AskBody::Json(json)) => {
                request = request.header(CONTENT_TYPE, "application/json");
                json.clone()
            }
            Some(AskBody::Wasm(wasm)) => {
                request = request.header(CONTENT_TYPE, "application/wasm");
                wasm.clone()
            }
        };
        request.body(Full::new(body)).map_err(|error| ConnectionError::Request(error.to_string()))
    }
}

fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

/// An error with its causes: hyper keeps the telling part in the source.
fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(error.source(), |cause| cause.source())
        .fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// Percent-encodes one segment of a path. A `/` inside a name becomes part of the name.
#[must_use]
pub(crate) fn segment(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~:@".contains(&byte) {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").expect("writing to a string cannot fail");
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_one_segment() {
        assert_eq!(segment("player:42"), "player:42");
        assert_eq!(segment("a/b c?ä%"), "a%2Fb%20c%3F%C3%A4%25");
    }
}
