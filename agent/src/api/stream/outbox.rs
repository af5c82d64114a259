//! Answers on their way out of one connection.
//!
//! The invariant: many answers share one write, and what is not taken is known in bytes and in time.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use axum::extract::ws::{Message, WebSocket};
use futures::Sink as _;
use futures::stream::SplitSink;

use crate::api::limits::{ANSWERS_TOGETHER_MAX, UNSENT_BYTES_BEARABLE, UNSENT_BYTES_MAX, UNSENT_PATIENCE};

/// What is to be sent, in order.
pub(super) struct Outbox {
    sink: SplitSink<WebSocket, Message>,
    waiting: VecDeque<Message>,
    bytes: usize,
    is_flushed: bool,
    stuck_since: Option<Instant>,
}

impl Outbox {
    pub(super) fn new(sink: SplitSink<WebSocket, Message>) -> Self {
        Self { sink, waiting: VecDeque::new(), bytes: 0, is_flushed: true, stuck_since: None }
    }

    pub(super) fn push(&mut self, message: Message) {
        self.bytes += size(&message);
        self.waiting.push_back(message);
    }

    /// Whether everything has been given to the system.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.is_flushed
    }

    /// Whether more may be begun that will have to be sent.
    pub(super) fn has_room(&self) -> bool {
        self.waiting.len() < ANSWERS_TOGETHER_MAX && self.bytes < UNSENT_BYTES_MAX
    }

    /// Whether so much waits that the other side cannot be meaning to read it.
    pub(super) const fn is_unbearable(&self) -> bool {
        self.bytes > UNSENT_BYTES_BEARABLE
    }

    /// Whether the other side has taken nothing for too long.
    pub(super) fn is_stuck(&self) -> bool {
        self.stuck_since.is_some_and(|since| since.elapsed() >= UNSENT_PATIENCE)
    }

    /// Sends all that waits. Where it is dropped it goes on later.
    pub(super) async fn send(&mut self) -> Result<(), axum::Error> {
        poll_fn(|context| self.poll_send(context)).await
    }

    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<Result<(), axum::Error>> {
        let polled = self.poll_all(context);
        if polled.is_pending() {
            self.stuck_since.get_or_insert_with(Instant::now);
        }
        polled
    }

    fn poll_all(&mut self, context: &mut Context<'_>) -> Poll<Result<(), axum::Error>> {
        while !self.waiting.is_empty() {
            ready!(Pin::new(&mut self.sink).poll_ready(context))?;
            let Some(message) = self.waiting.pop_front() else { break };
            self.bytes -= size(&message);
            Pin::new(&mut self.sink).start_send(message)?;
            self.is_flushed = false;
            self.stuck_since = None;
        }
        ready!(Pin::new(&mut self.sink).poll_flush(context))?;
        self.is_flushed = true;
        self.stuck_since = None;
        Poll::Ready(Ok(()))
    }
}

fn size(message: &Message) -> usize {
    match message {
        Message::Binary(bytes) | Message::Ping(bytes) | Message::Pong(bytes) => bytes.len(),
        Message::Text(text) => text.len(),
        Message::Close(_) => 0,
    }
}
