//! Questions go out and come in, and so do their answers.
//!
//! Owns the way of a question between the handles, the lanes and the consumer; reads no body. The invariants: each question of
//! a handle ends exactly once; a question that the consumer has no room for is answered with "busy", and counted.

use std::sync::Arc;

use libp2p::PeerId;
use libp2p::request_response::{OutboundFailure, OutboundRequestId, ResponseChannel};
use selvedge_sync::id::NodeId;
use tokio::sync::oneshot;

use super::super::counters::NetReason;
use super::super::frame::{Answer, Question, Status};
use super::super::identity::{node_of, peer_of};
use super::super::lane::Lane;
use super::super::{Ask, Body, RequestError, Way, lock};
use super::{Answering, Driver, Waiter};

impl Driver {
    /// Sends a handle's question, or tells it at once why not.
    pub(super) fn ask(&mut self, ask: Ask) {
        let Ask { to, lane, body, answer } = ask;
        // The library would dial a peer that it is not connected to and queue without a bound.
        let peer = peer_of(to).filter(|peer| self.swarm.behaviour_mut().lane(lane).is_connected(peer));
        let ticket = match peer {
            Some(_) => lock(&self.shared.peers).begin_request(to, lane).ok_or(RequestError::Saturated),
            None => Err(RequestError::NotConnected),
        };
        match (peer, ticket) {
            (Some(peer), Ok(ticket)) => {
                self.sent(to, body.len());
                let question = Question::Asked(body);
                let id = self.swarm.behaviour_mut().lane(lane).send_request(&peer, question);
                self.waiters.insert((lane, id), Waiter { ticket, answer });
            }
            (_, refused) => {
                let error = refused.err().unwrap_or(RequestError::NotConnected);
                if error == RequestError::Saturated
                    && let Some(tally) = lock(&self.shared.peers).tally(to)
                {
                    tally.count(NetReason::RequestSaturated);
                }
                // Who gave up meanwhile needs no word.
                drop(answer.send(Err(error)));
            }
        }
    }

    /// A frame that was sent has come to its end.
    pub(super) fn finish(&mut self, lane: Lane, id: OutboundRequestId, end: Result<Answer, OutboundFailure>) {
        let Some(Waiter { ticket, answer }) = self.waiters.remove(&(lane, id)) else { return };
        lock(&self.shared.peers).finish(ticket);
        let outcome = end.map_or_else(|failure| Err(request_error(&failure)), Answer::into_body);
        if let (Ok(body), Some(tally)) = (&outcome, lock(&self.shared.peers).tally(ticket.node)) {
            tally.received(body.len());
        }
        // Who gave up meanwhile needs no word.
        drop(answer.send(outcome));
    }

    /// Hands a peer's question to the consumer if there is room for it.
    pub(super) fn take_question(
        &mut self,
        lane: Lane,
        peer: &PeerId,
        question: Question,
        channel: ResponseChannel<Answer>,
    ) {
        let from = node_of(peer);
        let known = from.and_then(|node| {
            let peers = lock(&self.shared.peers);
            Some((Arc::clone(peers.desk(node)?), Arc::clone(peers.tally(node)?)))
        });
        let (Some(from), Some((desk, tally))) = (from, known) else {
            self.shared.tally.count(NetReason::IncomingRequestBusy);
            self.respond(lane, channel, Answer::empty(Status::Busy));
            return;
        };
        let body = match question {
            Question::Asked(body) => body,
            Question::Broken(offence) => {
                self.shared.penalise(from, offence);
                self.respond(lane, channel, Answer::empty(Status::Unanswered));
                return;
            }
        };
        tally.received(body.len());
        let (answer, answered) = oneshot::channel();
        if !desk.ask(lane, body, Way::Once(answer)) {
            tally.count(NetReason::IncomingRequestBusy);
            self.respond(lane, channel, Answer::empty(Status::Busy));
            return;
        }
        self.answers.push(Box::pin(async move {
            let body = answered.await.ok();
            Answering { to: from, lane, channel, body }
        }));
    }

    /// Sends the consumer's answer back.
    pub(super) fn answer(&mut self, answering: Answering) {
        let Answering { to, lane, channel, body } = answering;
        let answer = match body {
            None => Answer::empty(Status::Unanswered),
            Some(Body { bytes, .. }) if bytes.len() > lane.frame_bytes_max() => Answer::empty(Status::TooLarge),
            Some(Body { bytes, held }) => Answer { status: Status::Done, body: bytes, _held: held },
        };
        self.sent(to, answer.body.len());
        self.respond(lane, channel, answer);
    }

    fn sent(&self, to: NodeId, bytes: usize) {
        if let Some(tally) = lock(&self.shared.peers).tally(to) {
            tally.sent(bytes);
        }
    }

    fn respond(&mut self, lane: Lane, channel: ResponseChannel<Answer>, answer: Answer) {
        if self.swarm.behaviour_mut().lane(lane).send_response(channel, answer).is_err() {
            tracing::debug!(%lane, "the asker did not wait for its answer");
        }
    }
}

const fn request_error(failure: &OutboundFailure) -> RequestError {
    match failure {
        OutboundFailure::DialFailure => RequestError::NotConnected,
        OutboundFailure::Timeout => RequestError::TimedOut,
        OutboundFailure::UnsupportedProtocols => RequestError::Unsupported,
        OutboundFailure::ConnectionClosed | OutboundFailure::Io(_) => RequestError::Closed,
    }
}
