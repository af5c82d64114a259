//! The open stream of one class to one peer: whoever has a hint writes, the thread that queued it or the connection's task.
//!
//! Owns the stream and the buffer of what was taken from the queue for it; it lies behind a lock of its peer's [`Post`], so one
//! writes at a time. The invariants: frames that were taken are written whole and in order, or counted as lost with the stream;
//! whoever writes, it is the connection's task that the transport wakes when there is room again.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::io::AsyncWrite;
use libp2p::Stream;
use libp2p::swarm::ConnectionId;

use super::super::post::{Class, Post};

/// Bytes that are gathered for one write. What a transport sends in one go; a larger frame is written by itself.
const GATHER_BYTES: usize = 64 * 1024;

/// Capacity that an idle buffer keeps, in bytes.
const IDLE_BYTES: usize = 4 * 1024;

/// How a stream ended.
#[derive(Debug)]
pub(in crate::net) struct Broken {
    pub(super) error: io::Error,
    /// Bytes that went through it.
    pub(super) bytes_through: usize,
}

/// An open stream.
#[derive(Debug)]
pub(in crate::net) struct Outlet {
    link: ConnectionId,
    stream: Stream,
    buffer: Vec<u8>,
    /// Bytes of the buffer that are written.
    written: usize,
    /// Hints in the buffer.
    frames: usize,
    is_flushed: bool,
    bytes_through: usize,
    /// Set once: nothing more is written.
    error: Option<io::Error>,
}

impl Outlet {
    pub(super) const fn new(link: ConnectionId, stream: Stream) -> Self {
        let buffer = Vec::new();
        Self { link, stream, buffer, written: 0, frames: 0, is_flushed: true, bytes_through: 0, error: None }
    }

    pub(in crate::net) fn is_of(&self, link: ConnectionId) -> bool {
        self.link == link
    }

    /// Hints that were taken from the queue and may not have arrived whole.
    pub(in crate::net) const fn frames(&self) -> usize {
        self.frames
    }

    /// Writes what waits, as far as the stream takes it; false if it is broken, which is for the connection's task to deal with.
    pub(in crate::net) fn pump(&mut self, cx: &mut Context<'_>, class: Class, post: &Post) -> bool {
        if self.error.is_none()
            && let Poll::Ready(error) = self.write(cx, class, post)
        {
            self.error = Some(error);
        }
        self.error.is_none()
    }

    /// How it broke, if it did.
    pub(in crate::net) fn into_broken(self) -> Option<Broken> {
        let bytes_through = self.bytes_through;
        self.error.map(|error| Broken { error, bytes_through })
    }

    /// Ends only when the stream breaks.
    fn write(&mut self, cx: &mut Context<'_>, class: Class, post: &Post) -> Poll<io::Error> {
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
