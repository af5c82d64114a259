//! The part of the channel that lives on one connection, in the connection's own task.
//!
//! Opens the outgoing streams of hints and gives each incoming one a task of its own, so that a hint that arrives wakes its
//! reader and not all that is spoken on the connection; decides nothing about peers. The invariant: it has at most one outgoing
//! stream for each class and a few incoming ones, whatever the peer does, and they end with it.

use std::convert::Infallible;
use std::task::{Context, Poll};

use futures::future::Either;
use libp2p::Stream;
use libp2p::StreamProtocol;
use libp2p::core::upgrade::{ReadyUpgrade, SelectUpgrade};
use libp2p::swarm::handler::{ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound};
use libp2p::swarm::{ConnectionHandler, ConnectionHandlerEvent, ConnectionId, StreamUpgradeError, SubstreamProtocol};
use tokio::task::JoinSet;

use super::super::conduct::Offence;
use super::super::counters::NetReason;
use super::super::line;
use super::super::post::Class;
use super::reader::Reader;
use super::writer::{Want, Writer};
use super::{Attach, PROTOCOL};

/// Incoming streams: one for each class and one for calls, and as many again whose end has not been noticed yet.
const READERS_MAX: usize = 2 * (Class::ALL.len() + 1);

/// How often a line for calls is opened on one connection. Where it breaks again and again, calls go without.
const LINES_MAX: u32 = 16;

/// What an outgoing stream is for.
#[derive(Clone, Copy, Debug)]
pub(in crate::net) enum Opening {
    Hints(Class),
    Line,
}

/// What an incoming one is for: hints, or calls.
type Incoming = Either<Stream, Stream>;

#[derive(Debug)]
pub(in crate::net) struct Handler {
    id: ConnectionId,
    peer: Option<Attach>,
    writers: [Writer; Class::ALL.len()],
    readers: JoinSet<()>,
    /// Incoming streams that came before the peer was known; as few.
    early: Vec<Incoming>,
    /// The task of the line for our calls.
    line: JoinSet<()>,
    is_line_opening: bool,
    lines_opened: u32,
}

impl Handler {
    pub(super) fn new(id: ConnectionId) -> Self {
        let writers = Class::ALL.map(|class| Writer::new(id, class));
        let (readers, line) = (JoinSet::new(), JoinSet::new());
        Self { id, peer: None, writers, readers, early: Vec::new(), line, is_line_opening: false, lines_opened: 0 }
    }

    fn take_stream(&mut self, stream: Incoming) {
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
            Some(peer) => drop(match stream {
                Either::Left(hints) => self.readers.spawn(Reader::new(hints).run(peer.clone())),
                Either::Right(calls) => self.readers.spawn(line::serve(calls, peer.clone())),
            }),
            None => self.early.push(stream),
        }
    }

    /// Whether a line for our calls is to be opened.
    fn wants_line(&mut self, peer: &Attach) -> bool {
        while self.line.try_join_next().is_some() {}
        let is_wanted = peer.lines.is_wanted() && self.line.is_empty() && !self.is_line_opening;
        if !is_wanted || self.lines_opened >= LINES_MAX || !peer.post.writes(self.id) {
            return false;
        }
        self.is_line_opening = true;
        self.lines_opened += 1;
        true
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
    type InboundProtocol = SelectUpgrade<ReadyUpgrade<StreamProtocol>, ReadyUpgrade<StreamProtocol>>;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = Opening;

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol> {
        let both = SelectUpgrade::new(ReadyUpgrade::new(PROTOCOL), ReadyUpgrade::new(line::PROTOCOL));
        SubstreamProtocol::new(both, ())
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, Opening, Self::ToBehaviour>> {
        let Some(peer) = self.peer.clone() else { return Poll::Pending };
        let wanted = match self.poll_writers(cx, &peer) {
            Some(class) => (PROTOCOL, Opening::Hints(class)),
            None if self.wants_line(&peer) => (line::PROTOCOL, Opening::Line),
            None => return Poll::Pending,
        };
        let protocol = SubstreamProtocol::new(ReadyUpgrade::new(wanted.0), wanted.1);
        Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol })
    }

    fn on_behaviour_event(&mut self, peer: Attach) {
        self.peer = Some(peer);
        for stream in std::mem::take(&mut self.early) {
            self.take_stream(stream);
        }
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<'_, Self::InboundProtocol, Self::OutboundProtocol, (), Opening>,
    ) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol, .. }) => {
                self.take_stream(protocol);
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol, info }) => {
                // Asked for only once the peer is known.
                let Some(peer) = self.peer.clone() else { return };
                match info {
                    Opening::Hints(class) => self.writers[class.index()].opened(protocol, &peer.post),
                    Opening::Line => {
                        self.is_line_opening = false;
                        let id = self.id;
                        self.line.spawn(async move { peer.lines.carry(id, protocol, &peer).await });
                    }
                }
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info, error }) => {
                tracing::debug!(stream = ?info, %error, "a stream could not be opened");
                match info {
                    Opening::Hints(class) => self.writers[class.index()].failed(),
                    Opening::Line => {
                        self.is_line_opening = false;
                        if matches!(error, StreamUpgradeError::NegotiationFailed) {
                            // An older member, which knows none.
                            self.lines_opened = LINES_MAX;
                        }
                    }
                }
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
