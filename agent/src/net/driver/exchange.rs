//! Frames go out and come in: questions, hints and their answers.
//!
//! Owns the way of a frame between the handles, the lanes and the consumer; reads no body. The invariants: each question of
//! a handle ends exactly once; a frame that the consumer has no room for is dropped (a hint) or answered with "busy" (a
//! question), and counted.

use libp2p::PeerId;
use libp2p::request_response::{OutboundFailure, OutboundRequestId, ResponseChannel};
use tokio::sync::oneshot;

use super::super::counters::NetReason;
use super::super::frame::{Answer, Kind, Question, Status};
use super::super::identity::{node_of, peer_of};
use super::super::lane::Lane;
use super::super::{Ask, NetEvent, Reply, RequestError, lock};
use super::{Driver, Waiter};

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
                let question = Question { kind: Kind::Request, body };
                let id = self.swarm.behaviour_mut().lane(lane).send_request(&peer, question);
                self.waiters.insert((lane, id), Waiter { ticket, answer: Some(answer) });
            }
            (_, refused) => {
                let error = refused.err().unwrap_or(RequestError::NotConnected);
                if error == RequestError::Saturated {
                    self.shared.tally.count(NetReason::RequestSaturated);
                }
                // Who gave up meanwhile needs no word.
                drop(answer.send(Err(error)));
            }
        }
    }

    /// Sends the hints that wait, as far as their peers have room in flight.
    pub(super) fn send_hints(&mut self) {
        loop {
            let next = lock(&self.shared.peers).next_hint();
            let Some((ticket, body)) = next else { return };
            let exchange = self.swarm.behaviour_mut().lane(ticket.lane);
            match peer_of(ticket.node).filter(|peer| exchange.is_connected(peer)) {
                Some(peer) => {
                    let id = exchange.send_request(&peer, Question { kind: Kind::Hint, body });
                    self.waiters.insert((ticket.lane, id), Waiter { ticket, answer: None });
                }
                None => {
                    self.shared.tally.count(NetReason::HintLost);
                    lock(&self.shared.peers).finish(ticket);
                }
            }
        }
    }

    /// A frame that was sent has come to its end.
    pub(super) fn finish(&mut self, lane: Lane, id: OutboundRequestId, end: Result<Answer, OutboundFailure>) {
        let Some(Waiter { ticket, answer }) = self.waiters.remove(&(lane, id)) else { return };
        lock(&self.shared.peers).finish(ticket);
        let outcome = end.map_or_else(|failure| Err(request_error(&failure)), body_of);
        match (answer, outcome) {
            // Who gave up meanwhile needs no word.
            (Some(answer), outcome) => drop(answer.send(outcome)),
            (None, Ok(_)) => {}
            (None, Err(RequestError::Busy)) => self.shared.tally.count(NetReason::HintPeerBusy),
            (None, Err(_)) => self.shared.tally.count(NetReason::HintLost),
        }
        self.send_hints();
    }

    /// Hands a peer's frame to the consumer if there is room for it.
    pub(super) fn take_question(
        &mut self,
        lane: Lane,
        peer: &PeerId,
        question: Question,
        channel: ResponseChannel<Answer>,
    ) {
        let known = node_of(peer).filter(|node| self.announced.contains(node));
        let permit = known.and_then(|node| lock(&self.shared.peers).backlog(node)?.take(question.body.len()));
        let (Some(from), Some(permit), Ok(room)) = (known, permit, self.events.try_reserve()) else {
            self.shared.tally.count(match question.kind {
                Kind::Hint => NetReason::IncomingHintDropped,
                Kind::Request => NetReason::IncomingRequestBusy,
            });
            self.respond(lane, channel, Answer::empty(Status::Busy));
            return;
        };
        let (answer, answered) = match question.kind {
            Kind::Hint => (None, None),
            Kind::Request => {
                let (answer, answered) = oneshot::channel();
                (Some(answer), Some(answered))
            }
        };
        room.send(NetEvent::Message { from, lane, bytes: question.body, reply: Reply { answer, _permit: permit } });
        match answered {
            None => self.respond(lane, channel, Answer::empty(Status::Done)),
            Some(answered) => self.answers.push(Box::pin(async move { (lane, channel, answered.await.ok()) })),
        }
    }

    /// Sends the consumer's answer back.
    pub(super) fn answer(&mut self, lane: Lane, channel: ResponseChannel<Answer>, body: Option<Vec<u8>>) {
        let answer = match body {
            None => Answer::empty(Status::Unanswered),
            Some(body) if body.len() > lane.frame_bytes_max() => Answer::empty(Status::TooLarge),
            Some(body) => Answer { status: Status::Done, body },
        };
        self.respond(lane, channel, answer);
    }

    fn respond(&mut self, lane: Lane, channel: ResponseChannel<Answer>, answer: Answer) {
        if self.swarm.behaviour_mut().lane(lane).send_response(channel, answer).is_err() {
            tracing::debug!(%lane, "the asker did not wait for its answer");
        }
    }
}

fn body_of(answer: Answer) -> Result<Vec<u8>, RequestError> {
    match answer.status {
        Status::Done => Ok(answer.body),
        Status::Busy => Err(RequestError::Busy),
        Status::Unanswered => Err(RequestError::Unanswered),
        Status::TooLarge => Err(RequestError::AnswerTooLarge),
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
