//! One outgoing stream: opened when there is something to say, filled with all that waits, flushed at once.
//!
//! Owns the stream of one class, its buffer and its back-off. The invariant: frames that were taken from the queue are
//! written whole and in order, or counted as lost with the stream.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::io::AsyncWrite;
use libp2p::Stream;
use tokio::time::Sleep;

use super::super::post::{Class, Post};

/// Bytes that are gathered for one write. What a transport sends in one go; a larger frame is written by itself.
const GATHER_BYTES: usize = 64 * 1024;

/// Capacity that an idle buffer keeps, in bytes.
const IDLE_BYTES: usize = 4 * 1024;

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
    Open(Box<Open>),
    Resting(Pin<Box<Sleep>>),
}

#[derive(Debug)]
struct Open {
    stream: Stream,
    buffer: Vec<u8>,
    /// Bytes of the buffer that are written.
    written: usize,
    /// Hints in the buffer.
    frames: usize,
    is_flushed: bool,
    bytes_through: usize,
}

/// What the handler has to do for a writer.
pub(super) enum Want {
    Nothing,
    /// Open a stream.
    Stream,
}

#[derive(Debug)]
pub(super) struct Writer {
    class: Class,
    state: State,
    failures: u32,
}

impl Writer {
    pub(super) const fn new(class: Class) -> Self {
        Self { class, state: State::Closed, failures: 0 }
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
                State::Open(open) => match open.pump(cx, self.class, post) {
                    Poll::Pending => return Want::Nothing,
                    Poll::Ready(error) => {
                        tracing::debug!(class = ?self.class, %error, "a stream of hints broke");
                        post.lost(open.frames);
                        if open.bytes_through >= GOOD_BYTES {
                            self.failures = 0;
                        }
                        self.rest();
                    }
                },
            }
        }
    }

    pub(super) fn opened(&mut self, stream: Stream) {
        self.state = State::Open(Box::new(Open {
            stream,
            buffer: Vec::new(),
            written: 0,
            frames: 0,
            is_flushed: true,
            bytes_through: 0,
        }));
    }

    /// The stream could not be opened.
    pub(super) fn failed(&mut self) {
        self.rest();
    }

    /// Another link writes from now on, or this one is gone.
    pub(super) fn stop(&mut self, post: &Post) {
        if let State::Open(open) = &self.state {
            post.lost(open.frames);
        }
        if !matches!(self.state, State::Opening) {
            self.state = State::Closed;
        }
    }

    fn rest(&mut self) {
        let pause = BACKOFF_MIN.saturating_mul(1 << self.failures.min(16)).min(BACKOFF_MAX);
        self.failures = self.failures.saturating_add(1);
        self.state = State::Resting(Box::pin(tokio::time::sleep(pause)));
    }
}

impl Open {
    /// Ends only when the stream breaks.
    fn pump(&mut self, cx: &mut Context<'_>, class: Class, post: &Post) -> Poll<io::Error> {
        loop {
            if self.written == self.buffer.len() {
                self.buffer.clear();
                self.buffer.shrink_to(IDLE_BYTES);
                self.written = 0;
                self.frames = post.take(class, &mut self.buffer, GATHER_BYTES);
                if self.frames == 0 {
                    return self.flush(cx);
                }
            }
            match ready!(Pin::new(&mut self.stream).poll_write(cx, &self.buffer[self.written..])) {
                Ok(0) => return Poll::Ready(io::ErrorKind::WriteZero.into()),
                Ok(bytes) => {
                    self.written += bytes;
                    self.bytes_through = self.bytes_through.saturating_add(bytes);
                    self.is_flushed = false;
                }
                Err(error) => return Poll::Ready(error),
            }
        }
    }

    fn flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        if !self.is_flushed {
            match ready!(Pin::new(&mut self.stream).poll_flush(cx)) {
                Ok(()) => self.is_flushed = true,
                Err(error) => return Poll::Ready(error),
            }
        }
        Poll::Pending
    }
}
