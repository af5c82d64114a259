//! Hints between two peers: long-lived streams, one for each class and direction, instead of one for each hint.
//!
//! Owns the protocol and how it reaches each connection; what waits is the [`Post`]'s, what arrives the [`Desk`]'s. The
//! handles wake a connection's task directly and the task hands frames to the consumer directly, so that the swarm's own task
//! sees neither. The invariants: of several links to a peer one writes; a stream that breaks loses what was in it (counted)
//! and is opened again, ever more slowly while that fails; a class never waits for a less urgent one.

pub(super) mod frames;
mod handler;
mod reader;
mod writer;

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll};

use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, NotifyHandler, THandler, THandlerInEvent,
    THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId, StreamProtocol};

use super::conduct::Offence;
use super::desk::Desk;
use super::post::Post;
use handler::Handler;

/// What is negotiated for each stream.
const PROTOCOL: StreamProtocol = StreamProtocol::new("/selvedge/hints/1");

/// What a connection needs to know of its peer, as soon as the peer is in the table.
#[derive(Clone, Debug)]
pub(super) struct Attach {
    pub(super) post: Arc<Post>,
    pub(super) desk: Arc<Desk>,
}

/// A peer broke the protocol.
#[derive(Debug)]
pub(super) struct Misconduct {
    pub(super) peer: PeerId,
    pub(super) offence: Offence,
}

/// The behaviour: gives each connection a handler, and each handler its peer.
#[derive(Debug, Default)]
pub(super) struct Channel {
    /// Bounded by the connections: one for each that was made, until the swarm has taken it; and what handlers report.
    events: VecDeque<ToSwarm<Misconduct, Attach>>,
}

impl Channel {
    /// Tells the connection `id` of its peer. Until then it neither reads nor writes.
    pub(super) fn attach(&mut self, peer: PeerId, id: ConnectionId, attach: Attach) {
        self.events.push_back(ToSwarm::NotifyHandler { peer_id: peer, handler: NotifyHandler::One(id), event: attach });
    }
}

impl NetworkBehaviour for Channel {
    type ConnectionHandler = Handler;
    type ToSwarm = Misconduct;

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(Handler::new(id))
    }

    fn handle_established_outbound_connection(
        &mut self,
        id: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(Handler::new(id))
    }

    fn on_swarm_event(&mut self, _: FromSwarm<'_>) {}

    fn on_connection_handler_event(&mut self, peer: PeerId, _: ConnectionId, offence: THandlerOutEvent<Self>) {
        self.events.push_back(ToSwarm::GenerateEvent(Misconduct { peer, offence }));
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        // Filled by the swarm's own task only, which polls again after it has done so.
        self.events.pop_front().map_or(Poll::Pending, Poll::Ready)
    }
}
