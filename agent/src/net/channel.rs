//! Long-lived streams between two peers: one for the hints of each class and direction, and one for the calls of each side.
//!
//! Owns how they reach each connection; what waits is the [`Post`]'s, what arrives the [`Desk`]'s, what calls say the [`line`](super::line)'s. The
//! handles write to an open stream directly and each incoming stream hands frames to the consumer directly, so that the swarm's
//! own task sees neither. The invariants: of several links to a peer one writes; a stream that breaks loses what was in it (counted)
//! and is opened again, ever more slowly while that fails; a class never waits for a less urgent one.

pub(super) mod frames;
mod handler;
pub(super) mod outlet;
mod reader;
mod writer;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, NotifyHandler, THandler, THandlerInEvent,
    THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId, StreamProtocol};
use selvedge_sync::id::NodeId;

use super::conduct::Offence;
use super::desk::Desk;
use super::line::Lines;
use super::post::Post;
use super::shared::Shared;
use handler::Handler;

/// What is negotiated for each stream of hints.
const PROTOCOL: StreamProtocol = StreamProtocol::new("/selvedge/hints/1");

/// What a connection needs to know of its peer, as soon as the peer is in the table.
#[derive(Clone, Debug)]
pub(super) struct Attach {
    pub(super) node: NodeId,
    pub(super) post: Arc<Post>,
    pub(super) desk: Arc<Desk>,
    pub(super) lines: Arc<Lines>,
    pub(super) shared: Arc<Shared>,
}

impl Attach {
    /// The peer broke the protocol.
    pub(super) fn accuse(&self, offence: Offence) {
        self.shared.penalise(self.node, offence);
    }
}

/// The behaviour: gives each connection a handler, and each handler its peer.
#[derive(Debug, Default)]
pub(super) struct Channel {
    /// Bounded by the connections: one for each that was made, until the swarm has taken it.
    events: VecDeque<ToSwarm<Infallible, Attach>>,
}

impl Channel {
    /// Tells the connection `id` of its peer. Until then it neither reads nor writes.
    pub(super) fn attach(&mut self, peer: PeerId, id: ConnectionId, attach: Attach) {
        self.events.push_back(ToSwarm::NotifyHandler { peer_id: peer, handler: NotifyHandler::One(id), event: attach });
    }
}

impl NetworkBehaviour for Channel {
    type ConnectionHandler = Handler;
    type ToSwarm = Infallible;

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

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        // Filled by the swarm's own task only, which polls again after it has done so.
        self.events.pop_front().map_or(Poll::Pending, Poll::Ready)
    }
}
