//! What is left of a request's body when its answer is ready: read and dropped, so that the answer arrives.
//!
//! A client that writes its whole request before it reads finds its connection reset when the server closes on a body that it
//! has not read, and the answer, which says why, is lost with it. Owns the reading and its bounds; looks into no body. The
//! invariants: a body that was read whole costs nothing more; nothing is read of one that the client has announced and waits with
//! (`Expect: 100-continue`), nor of one that is announced as larger than would be read.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use super::limits::{LINGER_ABOVE_BYTES, LINGER_BYTES_MAX, LINGER_TIMEOUT};

/// Where a body goes that nobody wants to read any further.
type Rest = Arc<Mutex<Option<Body>>>;

/// A body that is given back when it is dropped before its end.
struct Lent {
    body: Body,
    rest: Rest,
}

/// The middleware: outside of everything that may answer without reading.
pub(super) async fn linger(request: Request, next: Next) -> Response {
    if !may_be_left(request.headers()) {
        return next.run(request).await;
    }
    let rest = Rest::default();
    let lent = request.map(|body| Body::new(Lent { body, rest: Arc::clone(&rest) }));
    let mut response = next.run(lent).await;
    let left = rest.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(left) = left {
        drain(left).await;
        // Whatever has not come by now is not waited for.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Whether enough of a body may be left unread for its sender not to hear the answer, and whether reading it would help.
fn may_be_left(headers: &HeaderMap) -> bool {
    if headers.contains_key(header::EXPECT) {
        return false;
    }
    let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    match length {
        Some(length) => (LINGER_ABOVE_BYTES..=LINGER_BYTES_MAX).contains(&length),
        None => headers.contains_key(header::TRANSFER_ENCODING),
    }
}

/// Reads to the end, or as far as the bounds go.
async fn drain(mut body: Body) {
    let reading = async {
        let mut bytes = 0;
        while let Some(Ok(frame)) = body.frame().await {
            bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
            if bytes > LINGER_BYTES_MAX {
                break;
            }
        }
    };
    // What did not come in time is the sender's loss.
    drop(tokio::time::timeout(LINGER_TIMEOUT, reading).await);
}

impl HttpBody for Lent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if !self.body.is_end_stream() {
            let body = std::mem::take(&mut self.body);
            *self.rest.lock().unwrap_or_else(PoisonError::into_inner) = Some(body);
        }
    }
}
