//! The stream of a line, read by one task and written by whoever has something to say.
//!
//! Owns the stream, what waits to be written and the buffer of what is on its way. A thread that has a question or an answer writes it
//! itself: waking a task for that costs more than the write. The invariants: frames are written whole; large bodies take turns,
//! part by part; whoever writes, it is the line's task that the transport wakes when there is room again.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll, Waker, ready};

use futures::io::{AsyncRead, AsyncWrite};
use libp2p::Stream;

use super::super::backlog::Permit;
use super::super::{Body, lock};
use super::frames::{self, Deframer, Frame, Kind, PART_BYTES_MAX};

/// Bytes that are gathered for one write: what a transport sends in one go.
const GATHER_BYTES: usize = 64 * 1024;

/// Capacity that an idle buffer keeps, in bytes.
const IDLE_BYTES: usize = 4 * 1024;

/// Bytes read at once.
const READ_BYTES: usize = 8 * 1024;

/// Bodies that may wait to be written before nothing more is read: whoever does not read our answers is not heard. Twice as many as
/// questions of one peer may be open, so that nobody gets there who reads.
const WAITING_MAX: usize = 512;

/// A body on its way, and how much of it is written.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) kind: Kind,
    pub(super) id: u32,
    pub(super) body: Body,
    /// Held for its drop: the room that the question took.
    pub(super) _permit: Option<Permit>,
}

#[derive(Debug)]
struct State {
    stream: Stream,
    /// Each with how many of its bytes are in the buffer or written.
    waiting: VecDeque<(Outgoing, usize)>,
    buffer: Vec<u8>,
    /// Bytes of the buffer that are written.
    written: usize,
    is_flushed: bool,
    is_over: bool,
    /// The task that reads, once it does.
    task: Option<Waker>,
}

/// The stream.
#[derive(Debug)]
pub(super) struct Pipe(Mutex<State>);

impl Pipe {
    pub(super) const fn new(stream: Stream) -> Self {
        Self(Mutex::new(State {
            stream,
            waiting: VecDeque::new(),
            buffer: Vec::new(),
            written: 0,
            is_flushed: true,
            is_over: false,
            task: None,
        }))
    }

    /// Writes a body, as far as the stream takes it now. One that is over drops it.
    pub(super) fn push(&self, outgoing: Outgoing) {
        let mut state = lock(&self.0);
        if state.is_over {
            return;
        }
        state.waiting.push_back((outgoing, 0));
        // Before the task has begun, it is the task's.
        let Some(task) = state.task.clone() else { return };
        if state.pump(&mut Context::from_waker(&task)).is_err() {
            state.end();
            drop(state);
            task.wake();
        }
    }

    /// Takes back a question of which nothing is in the buffer yet.
    pub(super) fn withdraw(&self, id: u32) {
        lock(&self.0).waiting.retain(|(outgoing, sent)| outgoing.id != id || *sent > 0);
    }

    /// Bodies that wait to be written.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        lock(&self.0).waiting.len()
    }

    /// Reads for the line's task, and writes what waits. Nought bytes: the stream is at its end.
    pub(super) fn poll_read(&self, cx: &mut Context<'_>, into: &mut Deframer) -> Poll<io::Result<usize>> {
        let mut state = lock(&self.0);
        if state.is_over {
            return Poll::Ready(Ok(0));
        }
        if !state.task.as_ref().is_some_and(|task| task.will_wake(cx.waker())) {
            state.task = Some(cx.waker().clone());
        }
        state.pump(cx)?;
        if state.waiting.len() > WAITING_MAX {
            return Poll::Pending;
        }
        let mut bytes = [0; READ_BYTES];
        let count = ready!(Pin::new(&mut state.stream).poll_read(cx, &mut bytes))?;
        drop(state);
        into.feed(&bytes[..count]);
        Poll::Ready(Ok(count))
    }

    /// Nothing is written any more.
    pub(super) fn close(&self) {
        lock(&self.0).end();
    }
}

impl State {
    fn end(&mut self) {
        self.is_over = true;
        self.waiting.clear();
    }

    /// Writes what waits until there is no more of it or no room.
    fn pump(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.poll_pump(cx) {
            Poll::Ready(Err(error)) => Err(error),
            Poll::Ready(Ok(())) | Poll::Pending => Ok(()),
        }
    }

    fn poll_pump(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.written == self.buffer.len() {
                self.buffer.clear();
                self.buffer.shrink_to(IDLE_BYTES);
                self.written = 0;
                self.gather();
                if self.buffer.is_empty() {
                    break;
                }
            }
            match ready!(Pin::new(&mut self.stream).poll_write(cx, &self.buffer[self.written..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                bytes => self.written += bytes,
            }
            self.is_flushed = false;
        }
        if !self.is_flushed {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.is_flushed = true;
        }
        Poll::Ready(Ok(()))
    }

    /// Moves a part of each body to the buffer, in turn, until that is full.
    fn gather(&mut self) {
        while self.buffer.len() < GATHER_BYTES
            && let Some((outgoing, sent)) = self.waiting.pop_front()
        {
            let rest = &outgoing.body.bytes[sent..];
            let part = &rest[..rest.len().min(PART_BYTES_MAX)];
            let has_more = part.len() < rest.len();
            frames::write(&mut self.buffer, &Frame { kind: outgoing.kind, id: outgoing.id, has_more, body: part });
            let sent = sent + part.len();
            if has_more {
                self.waiting.push_back((outgoing, sent));
            }
        }
    }
}
