//! The way back of an answer, whichever way its question came.
//!
//! Owns what the consumer holds until it answers. The invariants: a question is answered once, if only by the drop of this; the room that it
//! took is given back when its answer is on its way.

use std::any::Any;

use tokio::sync::oneshot;

use super::backlog::Permit;
use super::frame::Status;
use super::line::Answerer;
#[cfg(doc)]
use super::{Lane, Net, RequestError};

/// The way back to whoever asked. Dropped unused, it ends the question as [`RequestError::Unanswered`].
#[derive(Debug)]
pub struct Reply {
    way: Option<Way>,
    /// Held for its drop: it gives the sender's room back.
    permit: Option<Permit>,
}

/// How an answer goes back.
#[derive(Debug)]
pub(super) enum Way {
    /// On the stream that its question came on.
    Once(oneshot::Sender<Body>),
    /// On the line of its asker.
    Line(Answerer),
}

/// The body of an answer, or of a question, on its way.
#[derive(Debug, Default)]
pub(super) struct Body {
    pub(super) bytes: Vec<u8>,
    /// Held for its drop, until the bytes are given to the connection or it is gone.
    pub(super) held: Option<Box<dyn Any + Send>>,
}

impl Reply {
    pub(super) const fn wanted(permit: Permit, way: Way) -> Self {
        Self { way: Some(way), permit: Some(permit) }
    }

    pub(super) const fn unwanted(permit: Permit) -> Self {
        Self { way: None, permit: Some(permit) }
    }

    /// Answers. For a hint, and for an asker that has given up or is gone, this does nothing. An answer above
    /// [`Lane::frame_bytes_max`] reaches the asker as [`RequestError::AnswerTooLarge`].
    pub fn send(self, bytes: Vec<u8>) {
        self.give(Body { bytes, held: None });
    }

    /// The same; `held` is dropped once the answer has been given to the asker's connection, or cannot be any more. So what waits for
    /// an asker that does not read can be counted.
    pub fn send_holding(self, bytes: Vec<u8>, held: impl Send + 'static) {
        self.give(Body { bytes, held: Some(Box::new(held)) });
    }

    fn give(mut self, body: Body) {
        match self.way.take() {
            // The receiver is gone only if the network stopped.
            Some(Way::Once(answer)) => drop(answer.send(body)),
            Some(Way::Line(answerer)) => answerer.give(Status::Done, body, self.permit.take()),
            None => {}
        }
    }

    /// Whether anybody waits for an answer: no for what came by [`Net::send`].
    #[must_use]
    pub const fn is_wanted(&self) -> bool {
        self.way.is_some()
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if let Some(Way::Line(answerer)) = self.way.take() {
            answerer.give(Status::Unanswered, Body::default(), self.permit.take());
        }
    }
}
