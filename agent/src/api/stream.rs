//! The call stream: calls as binary frames over one WebSocket, answered in whatever order they are done.
//!
//! Owns one connection from its first frame to its goodbye; `calls` is what it has under way. Runs no guests itself. The invariants: every frame that is read is
//! answered, unless the connection breaks; what a connection holds is bounded, in calls and in bytes; a side that does not
//! read, or is not there any more, is let go of and counted; and an agent that stops says so after its last answer.

mod calls;
mod flow;
mod frame;
mod outbox;
mod stats;

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::ws::{CloseFrame, Message, WebSocket, close_code};
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::SplitStream;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use self::calls::{Calls, Done, Outcome};
use self::flow::{Flow, Silence};
use self::frame::{Refused, Writer};
use self::outbox::Outbox;
pub use self::stats::{StreamFigures, StreamStats};
use super::limits::{GOODBYE_TIMEOUT, STREAM_LOOK};
use crate::service::{Caller, Service};

/// Why a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The other side said goodbye, or the connection broke.
    Gone,
    /// It sent a text.
    Text,
    /// It sent what is no frame of a WebSocket, or one that is far too large.
    Broken,
    /// It takes no answers.
    Stuck,
    /// It has not been heard of for too long.
    Silent,
    /// The agent stops.
    Closing,
}

/// How long calls that run in place may follow each other before others have the thread: what those calls left to be made durable
/// may wait for it.
const TURN: Duration = Duration::from_micros(500);

/// Serves one connection until its end, or until `closing`.
pub(super) async fn serve<S: Service>(
    socket: WebSocket,
    (service, caller): (Arc<S>, Caller),
    stats: Arc<StreamStats>,
    closing: CancellationToken,
) {
    let _open = stats.opened();
    let (sink, mut source) = socket.split();
    let mut outbox = Outbox::new(sink);
    let mut writer = Writer::default();
    let mut flow = Flow::new(Instant::now());
    let mut calls = Calls::new(service, caller);
    let mut turn = Instant::now();
    let mut look = tokio::time::interval(STREAM_LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut closing = std::pin::pin!(closing.cancelled_owned());
    let end = loop {
        // In this order: what is done is gathered, then more is read if there is room, then what was gathered is sent, and then what
        // was read is made.
        tokio::select! {
            biased;
            () = &mut closing => break End::Closing,
            Some(done) = calls.next() => {
                done.into_iter().for_each(|done| flow.done(answer(done, &mut writer, &mut outbox, &stats)));
                if outbox.is_unbearable() {
                    break End::Stuck;
                }
                if turn.elapsed() > TURN {
                    tokio::task::yield_now().await;
                    turn = Instant::now();
                }
            }
            message = source.next(), if calls.have_room() && flow.may_read(&outbox) => match heard(message, &mut flow) {
                Ok(Some(frame)) => match calls.take(&frame) {
                    Ok(()) => flow.began(frame.len()),
                    Err(refused) => refuse(&refused, &mut outbox, &stats),
                },
                Ok(None) => {}
                Err(end) => break end,
            },
            sent = outbox.send(), if !outbox.is_empty() => {
                if sent.is_err() {
                    break End::Gone;
                }
            }
            () = std::future::ready(()), if calls.are_ready() => calls.begin(),
            _ = look.tick() => match flow.silence(Instant::now()) {
                Silence::None | Silence::Ask | Silence::Gone if outbox.is_stuck() => break End::Stuck,
                Silence::None => {}
                Silence::Ask => outbox.push(Message::Ping(Bytes::new())),
                Silence::Gone => break End::Silent,
            },
        }
    };
    stats.ended(end);
    let goodbye = async {
        if end == End::Closing {
            calls.begin();
            while let Some(done) = calls.next().await {
                for done in done {
                    answer(done, &mut writer, &mut outbox, &stats);
                }
                calls.begin();
            }
        }
        say_goodbye(end, &mut outbox, &mut source).await;
    };
    // Whoever does not take the goodbye in time has had it.
    drop(tokio::time::timeout(GOODBYE_TIMEOUT, goodbye).await);
}

/// What was read: a frame, or nothing that needs an answer.
fn heard(message: Option<Result<Message, axum::Error>>, flow: &mut Flow) -> Result<Option<Bytes>, End> {
    flow.heard(Instant::now());
    match message {
        Some(Ok(Message::Binary(bytes))) => Ok(Some(bytes)),
        Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(None),
        Some(Ok(Message::Text(_))) => Err(End::Text),
        Some(Ok(Message::Close(_))) | None => Err(End::Gone),
        Some(Err(error)) => {
            tracing::debug!(%error, "a connection of the call stream broke");
            Err(End::Broken)
        }
    }
}

/// Puts an answer where it is sent from, and tells how large its frame was.
fn answer(done: Done, writer: &mut Writer, outbox: &mut Outbox, stats: &StreamStats) -> usize {
    let (is_ok, answer) = match done.outcome {
        Outcome::Encoded(id, answer) => (answer.is_ok(), writer.encoded(&id, &answer)),
        Outcome::Answered(id, answer) => (answer.is_ok(), writer.answer(&id, &answer)),
        Outcome::Refused(refused) => {
            refuse(&refused, outbox, stats);
            return done.bytes;
        }
    };
    stats.answered(is_ok);
    outbox.push(Message::Binary(answer.into()));
    done.bytes
}

fn refuse(refused: &Refused, outbox: &mut Outbox, stats: &StreamStats) {
    stats.malformed();
    outbox.push(Message::Binary(frame::refusal(refused).into()));
}

/// Says why it is over, as far as the other side is there to hear it, and waits for its goodbye.
async fn say_goodbye(end: End, outbox: &mut Outbox, source: &mut SplitStream<WebSocket>) {
    let (code, reason) = match end {
        End::Gone => (close_code::NORMAL, ""),
        End::Text => (close_code::UNSUPPORTED, "frames are binary: CBOR maps of id, workload, function, args"),
        End::Broken => (close_code::PROTOCOL, "that was no frame of a WebSocket, or far too large a one"),
        End::Silent => (close_code::AWAY, "nothing was heard for too long, no answer to a ping either"),
        End::Closing => (close_code::AWAY, "the agent is stopping; every frame that it read has been answered"),
        // There is no room for a goodbye.
        End::Stuck => return,
    };
    outbox.push(Message::Close(Some(CloseFrame { code, reason: reason.into() })));
    if outbox.send().await.is_ok() {
        while let Some(Ok(_)) = source.next().await {}
    }
}
