//! The part of the channel that lives on one connection, in the connection's own task.
//!
//! Owns the connection's streams of hints; decides nothing about peers. The invariant: it has at most one outgoing stream
//! for each class and a few incoming ones, whatever the peer does.

use std::collections::VecDeque;
use std::task::{Context, Poll};

use libp2p::Stream;
use libp2p::StreamProtocol;
use libp2p::core::upgrade::ReadyUpgrade;
use libp2p::swarm::handler::{ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound};
use libp2p::swarm::{ConnectionHandler, ConnectionHandlerEvent, ConnectionId, SubstreamProtocol};

use super::super::conduct::Offence;
use super::super::counters::NetReason;
use super::super::post::Class;
use super::reader::{Read, Reader};
use super::writer::{Want, Writer};
use super::{Attach, PROTOCOL};

/// Incoming streams: one for each class, and as many again whose end has not been noticed yet.
const READERS_MAX: usize = 2 * Class::ALL.len();

/// Offences that wait to be reported; the peer is disconnected long before.
const REPORTS_MAX: usize = 16;

#[derive(Debug)]
pub(in crate::net) struct Handler {
    id: ConnectionId,
    peer: Option<Attach>,
    writers: [Writer; Class::ALL.len()],
    readers: Vec<Reader>,
    reports: VecDeque<Offence>,
}

impl Handler {
    pub(super) fn new(id: ConnectionId) -> Self {
        Self { id, peer: None, writers: Class::ALL.map(Writer::new), readers: Vec::new(), reports: VecDeque::new() }
    }

    fn report(&mut self, offence: Offence) {
        if self.reports.len() < REPORTS_MAX {
            self.reports.push_back(offence);
        }
    }

    fn take_stream(&mut self, stream: Stream) {
        if self.readers.len() < READERS_MAX {
            self.readers.push(Reader::new(stream));
        } else {
            // Dropped, which resets it.
            if let Some(peer) = &self.peer {
                peer.desk.count(NetReason::IncomingFlood);
            }
            self.report(Offence::Flood);
        }
    }

    fn poll_readers(&mut self, cx: &mut Context<'_>, peer: &Attach) {
        let mut position = 0;
        while position < self.readers.len() {
            match self.readers[position].poll(cx, &peer.desk) {
                Poll::Pending => position += 1,
                Poll::Ready(Read::On(offence)) => offence.into_iter().for_each(|offence| self.report(offence)),
                Poll::Ready(Read::End(offence)) => {
                    drop(self.readers.swap_remove(position));
                    offence.into_iter().for_each(|offence| self.report(offence));
                }
            }
        }
    }

    /// The class for which a stream is to be opened, if there is one.
    fn poll_writers(&mut self, cx: &mut Context<'_>, peer: &Attach) -> Option<Class> {
        if !peer.post.is_writer(self.id, cx.waker()) {
            self.writers.iter_mut().for_each(|writer| writer.stop(&peer.post));
            return None;
        }
        let mut writers = Class::ALL.into_iter().zip(&mut self.writers);
        writers.find_map(|(class, writer)| matches!(writer.poll(cx, &peer.post), Want::Stream).then_some(class))
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Attach;
    type ToBehaviour = Offence;
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
        if let Some(offence) = self.reports.pop_front() {
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(offence));
        }
        let Some(peer) = self.peer.clone() else { return Poll::Pending };
        if let Some(class) = self.poll_writers(cx, &peer) {
            let protocol = SubstreamProtocol::new(ReadyUpgrade::new(PROTOCOL), class);
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
        }
        self.poll_readers(cx, &peer);
        match self.reports.pop_front() {
            Some(offence) => Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(offence)),
            None => Poll::Pending,
        }
    }

    fn on_behaviour_event(&mut self, peer: Attach) {
        self.peer = Some(peer);
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
                self.writers[info.index()].opened(protocol);
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
