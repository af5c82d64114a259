//! What is left of a request's body when its answer is ready: read and dropped, so that the answer arrives.
//!
//! A client that is still writing its request finds its connection reset when the server closes on a body that it has not read:
//! the answer, which says why, is lost with it, and with a connection that is kept the next request meets the reset. Owns the
//! reading and its bounds; looks into no body. The invariants: a body that was read whole costs nothing more; nothing is read of
//! one that the client has announced and waits with (`Expect: 100-continue`), nor of one that is announced as larger than would be
//! read; and where anything was not read, the answer says that the connection closes.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use super::limits::{LINGER_BYTES_MAX, LINGER_KEPT_BYTES_MAX, LINGER_TIMEOUT};

/// Where a body goes that nobody wants to read any further.
type Rest = Arc<Mutex<Option<Body>>>;

/// A body that is given back when it is dropped before its end.
struct Lent {
    body: Body,
    has_ended: bool,
    rest: Rest,
}

/// The middleware: outside of everything that may answer without reading.
pub(super) async fn linger(request: Request, next: Next) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    let may_be_read = may_be_read(request.headers());
    let rest = Rest::default();
    let lent = request.map(|body| Body::new(Lent { body, has_ended: false, rest: Arc::clone(&rest) }));
    let mut response = next.run(lent).await;
    let left = rest.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(left) = left
        && !(may_be_read && drain(left).await.is_some_and(|bytes| bytes <= LINGER_KEPT_BYTES_MAX))
    {
        // Whatever has not come by now is not waited for.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Whether the rest of a body is on its way, and no more than would be read of it.
fn may_be_read(headers: &HeaderMap) -> bool {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    !headers.contains_key(header::EXPECT) && length.is_none_or(|length| length <= LINGER_BYTES_MAX)
}

/// Reads to the end, or as far as the bounds go; the bytes if it came to the end.
async fn drain(mut body: Body) -> Option<u64> {
    let reading = async {
        let mut bytes = 0;
        while let Some(frame) = body.frame().await {
            bytes += frame.ok()?.data_ref().map_or(0, |data| data.len() as u64);
            if bytes > LINGER_BYTES_MAX {
                return None;
            }
        }
        Some(bytes)
    };
    // What did not come in time is the sender's loss.
    tokio::time::timeout(LINGER_TIMEOUT, reading).await.ok().flatten()
}

impl HttpBody for Lent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        self.has_ended = frame.is_none();
        Poll::Ready(frame)
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
        if !self.has_ended && !self.body.is_end_stream() {
            let body = std::mem::take(&mut self.body);
            *self.rest.lock().unwrap_or_else(PoisonError::into_inner) = Some(body);
        }
    }
}
