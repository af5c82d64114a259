//! A line to a peer: one stream that stays open, for all small questions of the lane of calls and their answers.
//!
//! Owns the asker's end. A question on a stream of its own costs two negotiations and the turns of six tasks; on a line it is written
//! by whoever asks, and its answer read by the line's task alone. The first question to a peer goes the other way and has a line
//! opened meanwhile; so does one that is large, and all of them to a peer that knows no lines. The invariants: a question ends exactly
//! once; what came of those on a line that breaks is not known, and they are told so.

mod answering;
mod frames;
mod pipe;

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use libp2p::swarm::ConnectionId;
use libp2p::{Stream, StreamProtocol};
use tokio::sync::oneshot;

pub(super) use self::answering::{Answerer, serve};
use self::frames::{Deframer, Kind, PART_BYTES_MAX};
use self::pipe::{Outgoing, Pipe};
use super::channel::Attach;
use super::conduct::Offence;
use super::frame::Answer;
use super::lane::Lane;
use super::{Body, RequestError, lock};

/// What is negotiated for a line.
pub(super) const PROTOCOL: StreamProtocol = StreamProtocol::new("/selvedge/calls/1");

/// The longest question that goes by a line, in bytes.
pub(super) const QUESTION_BYTES_MAX: usize = PART_BYTES_MAX;

/// The open lines to one peer, one for each link at most.
#[derive(Debug, Default)]
pub(super) struct Lines {
    open: Mutex<Vec<(ConnectionId, Arc<Line>)>>,
    is_wanted: AtomicBool,
}

impl Lines {
    /// The line to ask on. `None`: there is none, and one is wanted from now on.
    pub(super) fn current(&self) -> Option<Arc<Line>> {
        let line = lock(&self.open).last().map(|(_, line)| Arc::clone(line));
        self.is_wanted.store(line.is_none(), Ordering::Release);
        line
    }

    /// Whether somebody would have had use for a line, and there was none.
    pub(super) fn is_wanted(&self) -> bool {
        self.is_wanted.load(Ordering::Acquire)
    }

    /// Carries a line on a stream that was opened for it, until it breaks.
    pub(super) async fn carry(&self, link: ConnectionId, stream: Stream, peer: &Attach) {
        let line = Arc::new(Line { pipe: Pipe::new(stream), asked: Mutex::default() });
        lock(&self.open).push((link, Arc::clone(&line)));
        self.is_wanted.store(false, Ordering::Release);
        let _open = Open { lines: self, line: Arc::clone(&line) };
        if let Err(offence) = line.read(peer).await {
            peer.accuse(offence);
        }
    }
}

/// A line while its task runs. Dropped with it, as when the connection closes, it ends the line.
struct Open<'a> {
    lines: &'a Lines,
    line: Arc<Line>,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        lock(&self.lines.open).retain(|(_, line)| !Arc::ptr_eq(line, &self.line));
        self.line.pipe.close();
        let mut asked = lock(&self.line.asked);
        asked.is_over = true;
        // Their askers hear that it is closed.
        asked.waiting.clear();
    }
}

/// One line.
#[derive(Debug)]
pub(super) struct Line {
    pipe: Pipe,
    asked: Mutex<Asked>,
}

#[derive(Debug, Default)]
struct Asked {
    last: u32,
    /// Bounded by the tickets that the peer table gives out.
    waiting: HashMap<u32, Waiting>,
    is_over: bool,
}

#[derive(Debug)]
struct Waiting {
    answer: oneshot::Sender<Answer>,
    /// What has come of it.
    body: Vec<u8>,
}

/// A question that was asked. Dropped, nobody waits for its answer any more.
pub(super) struct Question {
    line: Arc<Line>,
    id: u32,
    answered: oneshot::Receiver<Answer>,
}

impl Line {
    /// Asks; or gives the question back, if the line has broken.
    pub(super) fn ask(self: Arc<Self>, body: Vec<u8>) -> Result<Question, Vec<u8>> {
        let (answer, answered) = oneshot::channel();
        let id = {
            let mut asked = lock(&self.asked);
            if asked.is_over {
                return Err(body);
            }
            let mut id = asked.last.wrapping_add(1);
            while asked.waiting.contains_key(&id) {
                id = id.wrapping_add(1);
            }
            asked.last = id;
            asked.waiting.insert(id, Waiting { answer, body: Vec::new() });
            id
        };
        self.pipe.push(Outgoing { kind: Kind::Question, id, body: Body { bytes: body, held: None }, _permit: None });
        Ok(Question { line: self, id, answered })
    }

    /// Questions that wait to be written.
    #[cfg(test)]
    pub(super) fn unwritten(&self) -> usize {
        self.pipe.waiting()
    }

    /// Reads answers until the stream ends.
    async fn read(&self, peer: &Attach) -> Result<(), Offence> {
        let mut deframer = Deframer::default();
        while let Ok(1..) = poll_fn(|cx| self.pipe.poll_read(cx, &mut deframer)).await {
            self.take(&mut deframer, peer)?;
            tokio::task::consume_budget().await;
        }
        Ok(())
    }

    /// Gives what came to those who wait for it. What nobody waits for any more is passed over.
    fn take(&self, deframer: &mut Deframer, peer: &Attach) -> Result<(), Offence> {
        while let Some(frame) = deframer.next().map_err(|fault| answering::offence(fault, peer))? {
            let Kind::Answer(status) = frame.kind else {
                return Err(answering::offence(frames::Fault::Tag, peer));
            };
            let mut asked = lock(&self.asked);
            let Some(waiting) = asked.waiting.get_mut(&frame.id) else { continue };
            if waiting.body.len() + frame.body.len() > Lane::Call.frame_bytes_max() {
                return Err(answering::offence(frames::Fault::Oversized, peer));
            }
            waiting.body.extend_from_slice(frame.body);
            if !frame.has_more
                && let Some(Waiting { answer, body }) = asked.waiting.remove(&frame.id)
            {
                drop(asked);
                peer.desk.read(Lane::Call, body.len());
                // Who gave up meanwhile needs no word.
                drop(answer.send(Answer { status, body, _held: None }));
            }
        }
        Ok(())
    }
}

impl Question {
    /// Waits for its answer.
    pub(super) async fn answer(mut self) -> Result<Answer, RequestError> {
        (&mut self.answered).await.map_err(|_| RequestError::Closed)
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        let was_answered = lock(&self.line.asked).waiting.remove(&self.id).is_none();
        if !was_answered {
            // The other side may not read for long: what waits for it is no more than what somebody waits for.
            self.line.pipe.withdraw(self.id);
        }
    }
}
