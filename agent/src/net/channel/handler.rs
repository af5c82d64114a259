//! The part of the channel that lives on one connection, in the connection's own task.
//!
//! Opens the outgoing streams of hints and gives each incoming one a task of its own, so that a hint that arrives wakes its
//! reader and not all that is spoken on the connection; decides nothing about peers. The invariant: it has at most one outgoing
//! stream for each class and a few incoming ones, whatever the peer does, and they end with it.

use std::convert::Infallible;
use std::task::{Context, Poll};

use libp2p::Stream;
use libp2p::StreamProtocol;
use libp2p::core::upgrade::ReadyUpgrade;
use libp2p::swarm::handler::{ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound};
use libp2p::swarm::{ConnectionHandler, ConnectionHandlerEvent, ConnectionId, SubstreamProtocol};
use tokio::task::JoinSet;

use super::super::conduct::Offence;
use super::super::counters::NetReason;
use super::super::post::Class;
use super::reader::Reader;
use super::writer::{Want, Writer};
use super::{Attach, PROTOCOL};

/// Incoming streams: one for each class, and as many again whose end has not been noticed yet.
const READERS_MAX: usize = 2 * Class::ALL.len();

#[derive(Debug)]
pub(in crate::net) struct Handler {
    id: ConnectionId,
    peer: Option<Attach>,
    writers: [Writer; Class::ALL.len()],
    readers: JoinSet<()>,
    /// Incoming streams that came before the peer was known; as few.
    early: Vec<Stream>,
}

impl Handler {
    pub(super) fn new(id: ConnectionId) -> Self {
        let writers = Class::ALL.map(|class| Writer::new(id, class));
        Self { id, peer: None, writers, readers: JoinSet::new(), early: Vec::new() }
    }

    fn take_stream(&mut self, stream: Stream) {
        // Those that have ended make room.
        while self.readers.try_join_next().is_some() {}
        match &self.peer {
            _ if self.readers.len() + self.early.len() >= READERS_MAX => {
                // Dropped, which resets it.
                if let Some(peer) = &self.peer {
                    peer.desk.count(NetReason::IncomingFlood);
                    peer.accuse(Offence::Flood);
                }
            }
            Some(peer) => drop(self.readers.spawn(Reader::new(stream).run(peer.clone()))),
            None => self.early.push(stream),
        }
    }

    /// The class for which a stream is to be opened, if there is one.
    fn poll_writers(&mut self, cx: &mut Context<'_>, peer: &Attach) -> Option<Class> {
        if !peer.post.is_writer(self.id, cx.waker()) {
            self.writers.iter_mut().for_each(|writer| writer.stop(&peer.post));
            return None;
        }
        for class in Class::ALL {
            // Where there is too little room for both, news goes first; the post wakes this task when it is through.
            let waits =
                class == Class::Bulk && self.writers[Class::Sync.index()].is_open() && peer.post.has(Class::Sync);
            if !waits && matches!(self.writers[class.index()].poll(cx, &peer.post), Want::Stream) {
                return Some(class);
            }
        }
        None
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Attach;
    type ToBehaviour = Infallible;
    type InboundProtocol = ReadyUpgrade<StreamProtocol>;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = Class;

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol> {
        SubstreamProtocol::new(ReadyUpgrade::new(PROTOCOL), ())
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, Class, Self::ToBehaviour>> {
        let Some(peer) = self.peer.clone() else { return Poll::Pending };
        if let Some(class) = self.poll_writers(cx, &peer) {
            let protocol = SubstreamProtocol::new(ReadyUpgrade::new(PROTOCOL), class);
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
        }
        Poll::Pending
    }

    fn on_behaviour_event(&mut self, peer: Attach) {
        self.peer = Some(peer);
        for stream in std::mem::take(&mut self.early) {
            self.take_stream(stream);
        }
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<'_, Self::InboundProtocol, Self::OutboundProtocol, (), Class>,
    ) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol, .. }) => {
                self.take_stream(protocol);
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol, info }) => {
                // Asked for only once the peer is known.
                if let Some(peer) = &self.peer {
                    self.writers[info.index()].opened(protocol, &peer.post);
                }
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info, error }) => {
                tracing::debug!(class = ?info, %error, "a stream of hints could not be opened");
                self.writers[info.index()].failed();
            }
            // The library's enum may grow, and the rest of it is of no use here.
            _ => {}
        }
    }
}

impl Drop for Handler {
    fn drop(&mut self) {
        if let Some(peer) = &self.peer {
            self.writers.iter_mut().for_each(|writer| writer.stop(&peer.post));
            peer.post.forget(self.id);
        }
    }
}
