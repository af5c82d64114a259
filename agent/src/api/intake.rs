//! Bodies on their way in: how much of them is held at once.
//!
//! Who sends a body slowly holds a connection, and not a place among those who work. So what is bounded is bytes that have come: a request
//! pays for its body as it arrives, and gives all back when it has been answered. Owns the account; looks into no body. The invariant: bodies
//! of all requests together hold at most [`BODIES_KIB_MAX`], apart from those that are too small to count.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::limits::{BODIES_KIB_MAX, SMALL_BODY_BYTES};

/// The room for bodies of one kind of socket.
pub(super) struct Intake(Arc<Semaphore>);

/// There is no room for what has come of a body.
#[derive(Debug, thiserror::Error)]
#[error("other requests hold all that is kept of bodies")]
pub(super) struct Crowded;

/// What one request has taken, until it is answered.
type Taken = Arc<Mutex<Option<OwnedSemaphorePermit>>>;

/// A body that pays for what has come of it.
struct Paying {
    body: Body,
    room: Arc<Semaphore>,
    taken: Taken,
    bytes: u64,
}

impl Intake {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(BODIES_KIB_MAX)))
    }
}

/// The middleware.
pub(super) async fn intake(State(intake): State<Arc<Intake>>, request: Request, next: Next) -> Response {
    // As many of these as there are connections do no harm.
    if request.body().size_hint().upper().is_some_and(|bytes| bytes <= SMALL_BODY_BYTES) {
        return next.run(request).await;
    }
    let taken = Taken::default();
    let room = Arc::clone(&intake.0);
    let paying = request.map(|body| Body::new(Paying { body, room, taken: Arc::clone(&taken), bytes: 0 }));
    let answer = next.run(paying).await;
    drop(taken);
    answer
}

impl Paying {
    fn pay(&mut self, bytes: usize) -> Result<(), Crowded> {
        self.bytes += bytes as u64;
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let has = taken.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let wanted = usize::try_from(self.bytes.div_ceil(1024)).unwrap_or(usize::MAX);
        let more = u32::try_from(wanted.saturating_sub(has)).map_err(|_| Crowded)?;
        let more = Arc::clone(&self.room).try_acquire_many_owned(more).map_err(|_| Crowded)?;
        match taken.as_mut() {
            Some(taken) => taken.merge(more),
            None => *taken = Some(more),
        }
        Ok(())
    }
}

impl HttpBody for Paying {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        let Poll::Ready(Some(Ok(frame))) = frame else { return frame };
        let paid = frame.data_ref().map_or(Ok(()), |data| self.pay(data.len()));
        Poll::Ready(Some(paid.map(|()| frame).map_err(axum::Error::new)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn bodies_pay_for_what_has_come_and_those_without_room_are_refused() {
        let room = Arc::new(Semaphore::new(3));
        let paying = |bytes: usize| {
            let (body, taken) = (Body::from(vec![7; bytes]), Taken::default());
            (Paying { body, room: Arc::clone(&room), taken: Arc::clone(&taken), bytes: 0 }, taken)
        };
        let (body, taken) = paying(1_025);
        assert_eq!(body.collect().await.expect("there is room").to_bytes().len(), 1_025);
        assert_eq!(room.available_permits(), 1, "what has come is held until the answer");
        let (body, refused) = paying(1_025);
        let error = body.collect().await.expect_err("there is none for two more");
        assert!(error.into_inner().is::<Crowded>());
        drop((taken, refused));
        assert_eq!(room.available_permits(), 3);
    }
}
