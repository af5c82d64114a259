//! Links come and go: dials, admissions, pings, and what the consumer is told of it.
//!
//! Owns the reactions to connections; the back-off is the [`Dialer`](super::Dialer)'s and the table the
//! [`PeerTable`](super::super::peers::PeerTable)'s. The invariant: the consumer hears of each node by turns `Up` and `Down`.

use std::time::Instant;

use libp2p::core::ConnectedPoint;
use libp2p::core::transport::TransportError;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{ConnectionError, ConnectionId, DialError, ListenError};
use libp2p::{Multiaddr, PeerId, ping};

use super::super::counters::NetReason;
use super::super::dialer::Dial;
use super::super::identity::{node_of, peer_of};
use super::super::link::LinkEvent;
use super::super::meter::Wordless;
use super::super::peers::Link;
use super::super::strangers::TooMany;
use super::super::{address, doorkeeper, lock, transport};
use super::{Driver, STRANGER_LOG_INTERVAL};

/// The longest account of a failed dial that is kept, in characters.
const ERROR_CHARS_MAX: usize = 300;

impl Driver {
    /// Starts the dials that are due.
    pub(super) fn dial_due(&mut self) {
        let due = lock(&self.shared.dialer).due(Instant::now());
        for dial in due {
            let options = self.dial_options(&dial);
            let id = options.connection_id();
            self.dials.insert(id, dial.target);
            if let Err(error) = self.swarm.dial(options) {
                self.dial_failed(id, &error);
            }
        }
    }

    fn dial_options(&self, dial: &Dial) -> DialOpts {
        let new_port = self.needs_new_port(&dial.address);
        match dial.peer {
            Some(peer) => {
                let options = DialOpts::peer_id(peer)
                    .condition(PeerCondition::DisconnectedAndNotDialing)
                    .addresses(vec![dial.address.clone()]);
                if new_port { options.allocate_new_port().build() } else { options.build() }
            }
            None => {
                let options = DialOpts::unknown_peer_id().address(dial.address.clone());
                if new_port { options.allocate_new_port().build() } else { options.build() }
            }
        }
    }

    /// TCP takes a port of its own, since re-using the listener's makes a re-dial collide with the connection before it. QUIC
    /// shares the listener's socket, unless that is bound to loopback and the way leads elsewhere.
    fn needs_new_port(&self, address: &Multiaddr) -> bool {
        let to_loopback = address::socket(address).is_some_and(|socket| socket.ip().is_loopback());
        !address::is_quic(address) || (self.loopback_listener && !to_loopback)
    }

    pub(super) fn dial_failed(&mut self, id: ConnectionId, error: &DialError) {
        let Some(target) = self.dials.remove(&id) else { return };
        // The library leaves our own listeners' addresses out, and then has none.
        if matches!(error, DialError::LocalPeerId { .. } | DialError::NoAddresses) {
            lock(&self.shared.dialer).is_own(target);
            return;
        }
        match error {
            DialError::Denied { .. } => self.shared.tally.count(NetReason::ConnectionLimit),
            // Another of its addresses is being dialed; nothing was tried.
            DialError::DialPeerConditionFalse(_) => {}
            DialError::LocalPeerId { .. }
            | DialError::NoAddresses
            | DialError::Aborted
            | DialError::WrongPeerId { .. }
            | DialError::Transport(_) => self.shared.tally.count(NetReason::DialFailed),
        }
        let mut dialer = lock(&self.shared.dialer);
        let name = dialer.name(target).to_owned();
        match dialer.failed(target, in_short(causes(error)), Instant::now()) {
            Some(pause) => tracing::info!(target_node = name, %error, retry_ms = pause.as_millis(), "not reached"),
            None => tracing::debug!(target_node = name, %error, "an address was not reached"),
        }
    }

    /// Somebody's connection failed before it was one.
    pub(super) fn stranger(&mut self, from: &Multiaddr, error: &ListenError) {
        match error {
            ListenError::Denied { cause } => self.shared.tally.count(match cause.downcast_ref::<TooMany>() {
                Some(TooMany::FromThere) => NetReason::StrangerLimit,
                Some(TooMany::InAll) => NetReason::StrangersBusy,
                None => NetReason::ConnectionLimit,
            }),
            // The gate has counted it.
            ListenError::Transport(TransportError::Other(error)) if transport::is_refusal(error) => {}
            ListenError::Transport(_)
            | ListenError::Aborted
            | ListenError::WrongPeerId { .. }
            | ListenError::LocalPeerId { .. } => self.shared.tally.count(NetReason::IncomingFailed),
        }
        let now = Instant::now();
        // Scanners, balancers and `selvedge doctor` look whether the port is open; they are counted.
        let is_answered =
            matches!(error, ListenError::Transport(TransportError::Other(error)) if transport::is_answered(error));
        let quiet = is_answered
            || Wordless::caused(error)
            || self.stranger_logged.is_some_and(|last| now.saturating_duration_since(last) < STRANGER_LOG_INTERVAL);
        let error = causes(error);
        if quiet {
            tracing::debug!(%from, error, "an incoming connection was refused");
        } else {
            self.stranger_logged = Some(now);
            tracing::warn!(%from, error, "an incoming connection was refused");
        }
    }

    pub(super) fn established(&mut self, peer: &PeerId, id: ConnectionId, endpoint: &ConnectedPoint) {
        let now = Instant::now();
        let target = self.dials.remove(&id);
        let Some(node) = node_of(peer) else {
            // The gate lets no other identities through.
            self.swarm.close_connection(id);
            return;
        };
        let remote = address::split_peer(endpoint.get_remote_address().clone()).0;
        if let Some(origin) = doorkeeper::origin(&remote) {
            lock(&self.shared.strangers).is_member(origin, now);
        }
        let life = lock(&self.shared.lives).current(node);
        let link = Link { id, remote, since: now, life };
        let transport = link.transport();
        let (arrival, attach) = {
            let mut peers = lock(&self.shared.peers);
            let arrival = peers.link_up(node, link);
            (arrival, peers.attach(node, &self.shared))
        };
        if arrival.first {
            // Before its connection can hand in anything.
            self.inboxes.each().for_each(|inbox| inbox.up(node));
        }
        if let Some(attach) = attach {
            attach.desk.set_slowed(lock(&self.shared.conduct).is_slowed(node, now));
            self.swarm.behaviour_mut().channel.attach(*peer, id, attach);
        }
        for replaced in arrival.replaced {
            self.swarm.close_connection(replaced);
        }
        if let Some(target) = target {
            self.shared.tally.count(NetReason::DialOk);
            lock(&self.shared.dialer).arrived(target, node, now);
        }
        lock(&self.shared.dialer).up(node, now);
        if arrival.first {
            let remote = endpoint.get_remote_address().to_string();
            tracing::info!(%node, remote, "connected");
            self.shared.tell(node, LinkEvent::Up { transport, remote });
        }
    }

    pub(super) fn closed(&mut self, peer: &PeerId, id: ConnectionId, cause: Option<ConnectionError>) {
        let Some(node) = node_of(peer) else { return };
        if !lock(&self.shared.peers).link_down(node, id) {
            return;
        }
        let cause = cause.map_or_else(|| "closed".to_owned(), |cause| cause.to_string());
        tracing::info!(%node, cause, "disconnected");
        lock(&self.shared.dialer).down(node, Instant::now());
        self.inboxes.each().for_each(|inbox| inbox.down(node));
        self.shared.tell(node, LinkEvent::Down { cause });
    }

    pub(super) fn pinged(&mut self, event: &ping::Event) {
        let Some(node) = node_of(&event.peer) else { return };
        match &event.result {
            Ok(rtt) => {
                let is_slowed = lock(&self.shared.conduct).is_slowed(node, Instant::now());
                let mut peers = lock(&self.shared.peers);
                peers.measured(node, *rtt);
                if let Some(desk) = peers.desk(node) {
                    desk.set_slowed(is_slowed);
                }
            }
            Err(error) => {
                self.shared.tally.count(NetReason::PingUnanswered);
                tracing::info!(%node, %error, "a connection answers no pings and is closed");
                self.swarm.close_connection(event.connection);
            }
        }
    }

    /// Gives the addresses heard by the handles to the dialer.
    pub(super) fn learn(&mut self) {
        let learned = std::mem::take(&mut *lock(&self.shared.learned));
        let now = Instant::now();
        for (node, addresses) in learned {
            let connected = lock(&self.shared.peers).is_connected(node);
            lock(&self.shared.dialer).learn(node, &addresses, connected, &self.shared.tally, now);
        }
    }

    /// Closes the connections of members that do not answer.
    pub(super) fn hang_up(&mut self) {
        for node in std::mem::take(&mut *lock(&self.shared.silent)) {
            if peer_of(node).is_some_and(|peer| self.swarm.disconnect_peer_id(peer).is_ok()) {
                tracing::info!(%node, "disconnected: it does not answer");
            }
        }
    }

    /// Closes the connections of those who are no members any more, or broke the rules.
    pub(super) fn expel(&mut self) {
        let now = Instant::now();
        for node in std::mem::take(&mut *lock(&self.shared.expelled)) {
            let refused = lock(&self.shared.conduct).refused(node, now);
            if let Some((rest, _)) = refused {
                lock(&self.shared.dialer).refuse(node, now + rest);
            }
            if peer_of(node).is_none_or(|peer| self.swarm.disconnect_peer_id(peer).is_err()) {
                continue;
            }
            if let Some((rest, offence)) = refused {
                let (offence, refused_s) = (offence.name(), rest.as_secs());
                tracing::warn!(%node, offence, refused_s, "disconnected: it broke the rules");
            } else {
                self.shared.tally.count(NetReason::Expelled);
                tracing::warn!(%node, "disconnected: it is no member any more");
            }
        }
    }
}

/// What the operating system and the transports say when nobody is reached, and what that comes to.
const SHORT: [(&str, &str); 6] = [
    ("Connection refused", "connection refused"),
    ("No route to host", "no route to that host"),
    ("Network is unreachable", "that network is unreachable"),
    ("Host is unreachable", "that host is unreachable"),
    ("Timeout has been reached", "timed out"),
    ("HandshakeTimedOut", "timed out"),
];

/// The cause of a failed dial in few words where it is a usual one: libraries wrap it in each of their layers.
fn in_short(error: String) -> String {
    let usual = SHORT.iter().find(|(words, _)| error.contains(words));
    usual.map_or(error, |(_, short)| (*short).to_owned())
}

/// An error with what is behind it: the library's own words seldom say what went wrong.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text.chars().take(ERROR_CHARS_MAX).collect()
}
