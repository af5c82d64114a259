//! One incoming stream: read as fast as the consumer takes what is in it, and no faster.
//!
//! Owns the stream and at most one frame that has no room yet. The invariant: while the peer's share is full, the stream is
//! not read, so that the transport holds the sender back.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::io::AsyncRead;
use libp2p::Stream;
use tokio::time::Sleep;

use super::super::conduct::Offence;
use super::super::counters::NetReason;
use super::super::desk::{Desk, Taken};
use super::super::lane::Lane;
use super::Attach;
use super::frames::{Deframer, Fault};

/// Bytes read at once.
const READ_BYTES: usize = 8 * 1024;

/// Bytes read before other tasks have their turn.
const TURN_BYTES: usize = 256 * 1024;

/// The pause after each frame of a peer that is slowed: 50 hints a second are more than an honest one needs to be heard.
const SLOWED_PAUSE: Duration = Duration::from_millis(20);

/// What came of reading.
enum Read {
    /// It goes on, although the peer did this.
    On(Offence),
    /// The stream is at its end, or cannot be read any further.
    End(Option<Offence>),
}

#[derive(Debug)]
pub(super) struct Reader {
    stream: Stream,
    deframer: Deframer,
    /// Bytes that were read and not looked at, at most [`READ_BYTES`].
    rest: Vec<u8>,
    looked_at: usize,
    /// A frame that has no room yet.
    held: Option<(Lane, Vec<u8>)>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Reader {
    pub(super) fn new(stream: Stream) -> Self {
        Self { stream, deframer: Deframer::default(), rest: Vec::new(), looked_at: 0, held: None, pause: None }
    }

    /// Reads and hands in, until the stream ends.
    pub(super) async fn run(mut self, peer: Attach) {
        loop {
            match std::future::poll_fn(|cx| self.poll(cx, &peer.desk)).await {
                Read::On(offence) => peer.accuse(offence),
                Read::End(offence) => {
                    offence.into_iter().for_each(|offence| peer.accuse(offence));
                    return;
                }
            }
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>, desk: &Desk) -> Poll<Read> {
        let mut turn = 0;
        loop {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            if let Some((lane, body)) = self.held.take() {
                match desk.hint(lane, body, cx.waker()) {
                    Taken::NotYet(body) => {
                        self.held = Some((lane, body));
                        return Poll::Pending;
                    }
                    Taken::Flood { is_offence: true } => return Poll::Ready(Read::On(Offence::Flood)),
                    Taken::Yes | Taken::Flood { is_offence: false } => {}
                }
                if desk.is_slowed() {
                    self.pause = Some(Box::pin(tokio::time::sleep(SLOWED_PAUSE)));
                    continue;
                }
            }
            let mut unread = &self.rest[self.looked_at..];
            match self.deframer.read(&mut unread) {
                Ok(frame) => self.held = frame,
                Err(fault) => return Poll::Ready(Read::End(Some(offence(fault, desk)))),
            }
            self.looked_at = self.rest.len() - unread.len();
            if self.held.is_some() {
                continue;
            }
            if turn >= TURN_BYTES {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            match ready!(self.fill(cx)) {
                Ok(0) | Err(_) => return Poll::Ready(Read::End(None)),
                Ok(bytes) => turn += bytes,
            }
        }
    }

    fn fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        // An idle stream keeps no buffer.
        (self.rest, self.looked_at) = (Vec::new(), 0);
        let mut bytes = [0; READ_BYTES];
        let count = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut bytes))?;
        self.rest.extend_from_slice(&bytes[..count]);
        Poll::Ready(Ok(count))
    }
}

fn offence(fault: Fault, desk: &Desk) -> Offence {
    match fault {
        Fault::Lane => {
            desk.count(NetReason::IncomingMalformed);
            Offence::Malformed
        }
        Fault::Oversized => {
            desk.count(NetReason::IncomingTooLarge);
            Offence::Oversized
        }
    }
}
