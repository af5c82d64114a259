//! Asks [`Strangers`] before a connection may begin its handshake, and tells it when the handshake has ended.
//!
//! Owns which connection is whose entry. The invariant: whatever becomes of a connection, its entry is given back once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Instant;

use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::swarm::behaviour::{ConnectionEstablished, ListenFailure};
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
    dummy,
};
use libp2p::{Multiaddr, PeerId};

use super::strangers::{Entry, Origin, Strangers};
use super::{address, lock};

/// The behaviour. It speaks nothing.
#[derive(Debug)]
pub(super) struct Doorkeeper {
    strangers: Arc<Mutex<Strangers>>,
    /// Bounded by what [`Strangers`] lets in.
    entries: HashMap<ConnectionId, Entry>,
}

impl Doorkeeper {
    pub(super) fn new(strangers: Arc<Mutex<Strangers>>) -> Self {
        Self { strangers, entries: HashMap::new() }
    }

    fn ended(&mut self, id: ConnectionId) {
        if let Some(entry) = self.entries.remove(&id) {
            lock(&self.strangers).leave(entry);
        }
    }
}

/// Where an address is, if it is an address of the Internet's.
pub(super) fn origin(address: &Multiaddr) -> Option<Origin> {
    address::socket(address).map(|socket| socket.ip().into())
}

impl NetworkBehaviour for Doorkeeper {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = std::convert::Infallible;

    fn handle_pending_inbound_connection(
        &mut self,
        id: ConnectionId,
        _: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        // Both transports know where a connection comes from.
        if let Some(origin) = origin(remote) {
            let entry = lock(&self.strangers).enter(origin, Instant::now()).map_err(ConnectionDenied::new)?;
            self.entries.insert(id, entry);
        }
        Ok(())
    }

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(ConnectionEstablished { connection_id, .. })
            | FromSwarm::ListenFailure(ListenFailure { connection_id, .. }) => self.ended(connection_id),
            // The library's enum may grow, and the rest of it is of no use here.
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}
