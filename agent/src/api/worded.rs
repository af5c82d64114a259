//! What the HTTP library answers by itself, said in the form of all our problems.
//!
//! A head that is no HTTP meets no route: hyper refuses it with a status line and nothing else. Owns the replacement of those bytes on their
//! way out. The invariants: an answer of ours passes as it is, since each has a content type; and only the first bytes of a connection are
//! looked at, which are a head for certain, so that no body can be taken for a refusal. Whoever writes nonsense later on is refused without words.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::http::StatusCode;
use bytes::{Buf as _, Bytes};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::limits::{CONNECTION_BUFFER_BYTES, HEADERS_MAX};
use super::problem::Told;
use crate::service::{Fault, ServiceError};

/// How hyper begins when it refuses a head, and how its refusals differ from answers of ours.
const REFUSAL: &[u8] = b"HTTP/1.1 4";
const EMPTY: &[u8] = b"\r\ncontent-length: 0\r\n";
const TYPED: &[u8] = b"\r\ncontent-type:";

/// A connection whose refusals say why.
pub(super) struct Worded<S> {
    stream: S,
    begun: bool,
    /// What is left to be written instead of what we were given.
    instead: Option<Bytes>,
}

impl<S> Worded<S> {
    pub(super) const fn new(stream: S) -> Self {
        Self { stream, begun: false, instead: None }
    }
}

impl<S: AsyncWrite + Unpin> Worded<S> {
    /// Writes the problem that stands for a bare refusal; `None` for anything else.
    fn replace(&mut self, bytes: &[u8], cx: &mut Context<'_>) -> Option<Poll<io::Result<usize>>> {
        if !std::mem::replace(&mut self.begun, true) {
            self.instead = problem(bytes);
        }
        self.instead.as_ref()?;
        Some(self.write_instead(bytes.len(), cx))
    }

    /// Bytes count as written when all that is written instead of them is.
    fn write_instead(&mut self, length: usize, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        while let Some(left) = self.instead.as_mut().filter(|left| left.has_remaining()) {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, left))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            left.advance(written);
        }
        self.instead = None;
        Poll::Ready(Ok(length))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Worded<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Worded<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.replace(bytes, cx) {
            Some(written) => written,
            None => Pin::new(&mut self.stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let first = slices.iter().find(|slice| !slice.is_empty());
        match first.and_then(|first| self.replace(first, cx)) {
            Some(written) => written,
            None => Pin::new(&mut self.stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// The answer that says what a bare refusal means.
fn problem(refusal: &[u8]) -> Option<Bytes> {
    let has = |part: &[u8]| refusal.windows(part.len()).any(|window| window == part);
    if !refusal.starts_with(REFUSAL) || !has(EMPTY) || has(TYPED) {
        return None;
    }
    let status = StatusCode::from_bytes(refusal.get(9..12)?).ok()?;
    let error = match status {
        StatusCode::URI_TOO_LONG => {
            ServiceError::new(Fault::TooLarge, "path_too_long", "the request's path is too long").at("path")
        }
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => {
            let message =
                format!("a request has at most {HEADERS_MAX} header fields in {CONNECTION_BUFFER_BYTES} bytes");
            ServiceError::new(Fault::TooLarge, "head_too_large", message).at("headers")
        }
        _ => ServiceError::new(Fault::Caller, "malformed_http", "the request's head is no HTTP/1.1")
            .hint("in paths and queries, bytes other than ASCII are written as %XX"),
    };
    let body = json!({"error": Told::from(&error)}).to_string();
    let reason = status.canonical_reason().unwrap_or_default();
    let (code, length) = (status.as_u16(), body.len());
    Some(Bytes::from(format!(
        "HTTP/1.1 {code} {reason}\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    )))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    /// What comes out of a connection that takes a few bytes at a time.
    async fn through(bytes: &[u8]) -> String {
        let (ours, mut theirs) = duplex(7);
        let mut ours = Worded::new(ours);
        let write = async {
            ours.write_all(bytes).await.expect("written");
            drop(ours);
        };
        let mut read = String::new();
        let (_, got) = tokio::join!(write, theirs.read_to_string(&mut read));
        got.expect("read");
        read
    }

    #[tokio::test]
    async fn a_bare_refusal_is_given_its_words_and_any_other_answer_passes() {
        for (status, code) in [("400 Bad Request", "malformed_http"), ("414 URI Too Long", "path_too_long")] {
            let bare = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 0\r\ndate: now\r\n\r\n");
            let told = through(bare.as_bytes()).await;
            let (head, body) = told.split_once("\r\n\r\n").expect("a head");
            assert!(head.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{told}");
            assert!(head.contains(&format!("content-length: {}", body.len())), "{told}");
            let body: serde_json::Value = serde_json::from_str(body).expect("JSON");
            assert_eq!((&body["error"]["code"], &body["error"]["changed"]), (&code.into(), &false.into()));
        }
        let bare = "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";
        for other in [
            &format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{bare}", bare.len()),
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 100 Continue\r\n\r\n",
            "",
        ] {
            assert_eq!(through(other.as_bytes()).await, other);
        }
    }
}
