//! The one task that owns the swarm.
//!
//! Owns the loop and the order to shut down in; what happens to links is in [`links`], what happens to frames in [`exchange`].
//! The invariant: nothing in here waits for anything but the next event, so that a slow consumer or peer never stops the swarm.

mod exchange;
mod links;

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use libp2p::PeerId;
use libp2p::request_response::{self, OutboundFailure, OutboundRequestId, ResponseChannel};
use libp2p::swarm::{ConnectionId, Swarm, SwarmEvent};
use selvedge_sync::id::NodeId;
use tokio::sync::{mpsc, oneshot};

use super::behaviour::{Behaviour, BehaviourEvent};
use super::dialer::Target;
use super::frame::{self, Answer, Question};
use super::identity::node_of;
use super::inbox::Inboxes;
use super::lane::Lane;
use super::peers::Ticket;
use super::{Ask, Body, RequestError, Shared, lock};

/// The longest that closing all connections politely may take.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(1);

/// Strangers are reported at most this often; all are counted.
const STRANGER_LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Who waits for the end of a frame that was sent.
#[derive(Debug)]
struct Waiter {
    ticket: Ticket,
    answer: oneshot::Sender<Result<Vec<u8>, RequestError>>,
}

/// An answer of the consumer on its way back.
struct Answering {
    to: NodeId,
    lane: Lane,
    channel: ResponseChannel<Answer>,
    /// `None` if the consumer gave none.
    body: Option<Body>,
}

/// The swarm and everything that only its task touches.
pub(super) struct Driver {
    swarm: Swarm<Behaviour>,
    shared: Arc<Shared>,
    asks: mpsc::Receiver<Ask>,
    inboxes: Inboxes,
    /// What each dial under way is for.
    dials: HashMap<ConnectionId, Target>,
    /// Bounded by the tickets that the peer table gives out.
    waiters: HashMap<(Lane, OutboundRequestId), Waiter>,
    /// Bounded by the permits of the peers' backlogs.
    answers: FuturesUnordered<BoxFuture<'static, Answering>>,
    /// A listener is bound to loopback, and must not be used to dial elsewhere.
    loopback_listener: bool,
    stranger_logged: Option<Instant>,
}

impl Driver {
    pub(super) fn new(
        swarm: Swarm<Behaviour>,
        shared: Arc<Shared>,
        asks: mpsc::Receiver<Ask>,
        inboxes: Inboxes,
        loopback_listener: bool,
    ) -> Self {
        Self {
            swarm,
            shared,
            asks,
            inboxes,
            dials: HashMap::new(),
            waiters: HashMap::new(),
            answers: FuturesUnordered::new(),
            loopback_listener,
            stranger_logged: None,
        }
    }

    /// Runs until it is told to stop, or until nobody holds a handle any more.
    pub(super) async fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        self.dial_due();
        loop {
            let next_dial = lock(&shared.dialer).next_due();
            tokio::select! {
                () = shared.stop.cancelled() => break,
                event = self.swarm.select_next_some() => self.handle_swarm(event),
                ask = self.asks.recv() => match ask {
                    Some(ask) => self.ask(ask),
                    None => break,
                },
                () = shared.work.notified() => {
                    self.learn();
                    self.expel();
                    self.hang_up();
                }
                Some(answering) = self.answers.next() => self.answer(answering),
                () = sleep_until(next_dial) => self.dial_due(),
            }
        }
        self.close().await;
    }

    fn handle_swarm(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(event) => self.handle_behaviour(event),
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                self.established(&peer_id, connection_id, &endpoint);
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, cause, .. } => {
                self.closed(&peer_id, connection_id, cause);
            }
            SwarmEvent::OutgoingConnectionError { connection_id, error, .. } => self.dial_failed(connection_id, &error),
            SwarmEvent::IncomingConnectionError { send_back_addr, error, .. } => self.stranger(&send_back_addr, &error),
            SwarmEvent::NewListenAddr { address, .. } => {
                lock(&self.shared.bound).insert(address);
            }
            SwarmEvent::ExpiredListenAddr { address, .. } => {
                lock(&self.shared.bound).remove(&address);
            }
            SwarmEvent::ListenerClosed { addresses, reason, .. } => {
                tracing::warn!(?addresses, ?reason, "a listener closed");
                lock(&self.shared.bound).retain(|bound| !addresses.contains(bound));
            }
            SwarmEvent::ListenerError { error, .. } => tracing::warn!(%error, "a listener failed"),
            // The library's enum may grow, and the rest of it is of no use here.
            _ => {}
        }
    }

    fn handle_behaviour(&mut self, event: BehaviourEvent) {
        match event {
            BehaviourEvent::Door(never) | BehaviourEvent::Limits(never) | BehaviourEvent::Channel(never) => {
                match never {}
            }
            BehaviourEvent::Ping(event) => self.pinged(&event),
            BehaviourEvent::Sync(event) => self.handle_exchange(Lane::Sync, event),
            BehaviourEvent::Members(event) => self.handle_exchange(Lane::Members, event),
            BehaviourEvent::Call(event) => self.handle_exchange(Lane::Call, event),
            BehaviourEvent::Artifact(event) => self.handle_exchange(Lane::Artifact, event),
        }
    }

    fn handle_exchange(&mut self, lane: Lane, event: request_response::Event<Question, Answer>) {
        use request_response::{Event, Message};
        match event {
            Event::Message { peer, message: Message::Request { request, channel, .. }, .. } => {
                self.take_question(lane, &peer, request, channel);
            }
            Event::Message { message: Message::Response { request_id, response }, .. } => {
                self.finish(lane, request_id, Ok(response));
            }
            Event::OutboundFailure { peer, request_id, error, .. } => {
                if let OutboundFailure::Io(error) = &error {
                    self.hold_against(&peer, error);
                }
                self.finish(lane, request_id, Err(error));
            }
            // The asker has been told or is gone.
            Event::InboundFailure { peer, error, .. } => {
                tracing::debug!(%peer, %lane, %error, "an answer was not delivered");
            }
            Event::ResponseSent { .. } => {}
        }
    }

    /// A frame that broke the rules is its sender's offence.
    fn hold_against(&self, peer: &PeerId, error: &io::Error) {
        if let (Some(node), Some(offence)) = (node_of(peer), frame::offence(error)) {
            self.shared.penalise(node, offence);
        }
    }

    /// Closes every connection, waiting a moment for the other sides to hear of it.
    async fn close(mut self) {
        let peers: Vec<_> = self.swarm.connected_peers().copied().collect();
        for peer in peers {
            // It may have gone by itself meanwhile.
            self.swarm.disconnect_peer_id(peer).unwrap_or_default();
        }
        let farewell = async {
            while self.swarm.network_info().num_peers() > 0 {
                if let SwarmEvent::ConnectionClosed { peer_id, connection_id, cause, .. } =
                    self.swarm.select_next_some().await
                {
                    self.closed(&peer_id, connection_id, cause);
                }
            }
        };
        if tokio::time::timeout(FAREWELL_TIMEOUT, farewell).await.is_err() {
            tracing::debug!("some connections did not close in time and were cut");
        }
        self.inboxes.each().for_each(|inbox| inbox.close());
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
