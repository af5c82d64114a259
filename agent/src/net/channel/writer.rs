//! One class's way out of a connection: a stream is opened when there is something to say, and again when it broke.
//!
//! Owns the opening and its back-off; what is written and how is the [`Outlet`]'s, which lies with the peer's [`Post`]. The
//! invariant: of a connection there is at most one stream for each class.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use libp2p::Stream;
use libp2p::swarm::ConnectionId;
use tokio::time::Sleep;

use super::super::post::{Class, Post};
use super::outlet::Outlet;

/// The pause after a stream could not be opened or broke; it doubles while that goes on.
const BACKOFF_MIN: Duration = Duration::from_millis(100);

/// The longest pause. The connection itself ends sooner when the peer is gone.
const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// Bytes that went through a stream well before it is taken for a good one, and the back-off begins anew.
const GOOD_BYTES: usize = 1024;

#[derive(Debug)]
enum State {
    Closed,
    Opening,
    /// The stream lies with the post.
    Open,
    Resting(Pin<Box<Sleep>>),
}

/// What the handler has to do for a writer.
pub(super) enum Want {
    Nothing,
    /// Open a stream.
    Stream,
}

#[derive(Debug)]
pub(super) struct Writer {
    link: ConnectionId,
    class: Class,
    state: State,
    failures: u32,
}

impl Writer {
    pub(super) const fn new(link: ConnectionId, class: Class) -> Self {
        Self { link, class, state: State::Closed, failures: 0 }
    }

    /// Whether there is a stream.
    pub(super) const fn is_open(&self) -> bool {
        matches!(self.state, State::Open)
    }

    /// Writes what waits, as far as the stream takes it.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, post: &Post) -> Want {
        loop {
            match &mut self.state {
                State::Closed if post.has(self.class) => {
                    self.state = State::Opening;
                    return Want::Stream;
                }
                State::Closed | State::Opening => return Want::Nothing,
                State::Resting(sleep) => match sleep.as_mut().poll(cx) {
                    Poll::Ready(()) => self.state = State::Closed,
                    Poll::Pending => return Want::Nothing,
                },
                State::Open => match post.pump(self.class, self.link, cx) {
                    Poll::Pending => return Want::Nothing,
                    Poll::Ready(None) => self.state = State::Closed,
                    Poll::Ready(Some(broken)) => {
                        tracing::debug!(class = ?self.class, error = %broken.error, "a stream of hints broke");
                        if broken.bytes_through >= GOOD_BYTES {
                            self.failures = 0;
                        }
                        self.rest();
                    }
                },
            }
        }
    }

    pub(super) fn opened(&mut self, stream: Stream, post: &Post) {
        post.open(self.class, Outlet::new(self.link, stream));
        self.state = State::Open;
    }

    /// The stream could not be opened.
    pub(super) fn failed(&mut self) {
        self.rest();
    }

    /// Another link writes from now on, or this one is gone.
    pub(super) fn stop(&mut self, post: &Post) {
        match self.state {
            State::Open => post.close(self.class, self.link),
            State::Opening => return,
            State::Closed | State::Resting(_) => {}
        }
        self.state = State::Closed;
    }

    fn rest(&mut self) {
        let pause = BACKOFF_MIN.saturating_mul(1 << self.failures.min(16)).min(BACKOFF_MAX);
        self.failures = self.failures.saturating_add(1);
        self.state = State::Resting(Box::pin(tokio::time::sleep(pause)));
    }
}
