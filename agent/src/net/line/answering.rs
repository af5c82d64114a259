//! The other end of a line: questions of a peer come in, and their answers go back on the same stream.
//!
//! Owns the reading; the consumer answers, by way of the peer's [`Desk`](super::super::desk::Desk) and its bounds. The invariant: each
//! question that came whole gets one answer, if the stream lasts.

use std::future::poll_fn;
use std::sync::Arc;

use libp2p::Stream;

use super::super::backlog::Permit;
use super::super::channel::Attach;
use super::super::conduct::Offence;
use super::super::counters::NetReason;
use super::super::frame::Status;
use super::super::lane::Lane;
use super::super::{Body, Way};
use super::frames::{Deframer, Fault, Kind};
use super::pipe::{Outgoing, Pipe};

/// The way back of one question.
#[derive(Debug)]
pub(in crate::net) struct Answerer {
    pipe: Arc<Pipe>,
    id: u32,
    peer: Attach,
}

impl Answerer {
    /// Answers.
    pub(in crate::net) fn give(self, status: Status, body: Body, permit: Option<Permit>) {
        let (status, body) = if body.bytes.len() > Lane::Call.frame_bytes_max() {
            (Status::TooLarge, Body::default())
        } else {
            (status, body)
        };
        self.peer.desk.wrote(Lane::Call, body.bytes.len());
        self.pipe.push(Outgoing { kind: Kind::Answer(status), id: self.id, body, _permit: permit });
    }
}

/// Reads a peer's questions and hands them in, until its stream ends.
pub(in crate::net) async fn serve(stream: Stream, peer: Attach) {
    let (pipe, mut deframer) = (Arc::new(Pipe::new(stream)), Deframer::default());
    while let Ok(1..) = poll_fn(|cx| pipe.poll_read(cx, &mut deframer)).await {
        if let Err(offence) = take(&mut deframer, &pipe, &peer) {
            peer.accuse(offence);
            break;
        }
        tokio::task::consume_budget().await;
    }
    pipe.close();
}

/// Hands in what came.
fn take(deframer: &mut Deframer, pipe: &Arc<Pipe>, peer: &Attach) -> Result<(), Offence> {
    while let Some(frame) = deframer.next().map_err(|fault| offence(fault, peer))? {
        if frame.kind != Kind::Question || frame.has_more {
            return Err(offence(Fault::Tag, peer));
        }
        let answerer = || Answerer { pipe: Arc::clone(pipe), id: frame.id, peer: peer.clone() };
        peer.desk.read(Lane::Call, frame.body.len());
        if !peer.desk.ask(Lane::Call, frame.body.to_vec(), Way::Line(answerer())) {
            peer.desk.count(NetReason::IncomingRequestBusy);
            answerer().give(Status::Busy, Body::default(), None);
        }
    }
    Ok(())
}

/// What a fault is called, counted.
pub(super) fn offence(fault: Fault, peer: &Attach) -> Offence {
    match fault {
        Fault::Tag => {
            peer.desk.count(NetReason::IncomingMalformed);
            Offence::Malformed
        }
        Fault::Oversized => {
            peer.desk.count(NetReason::IncomingTooLarge);
            Offence::Oversized
        }
    }
}
