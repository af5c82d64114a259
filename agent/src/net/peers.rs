//! Who is connected right now, how well, and what waits to be sent to them.
//!
//! Owns the links, the smoothed round-trip times and the queues of hints; touches no socket. Shared between the handle and
//! the swarm's task behind a lock that is held for moments and never across an await. The invariants: a peer is in the
//! table exactly while it has a link; each queue stays within its byte budget.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use libp2p::Multiaddr;
use libp2p::swarm::ConnectionId;
use selvedge_sync::id::NodeId;

use super::address;
use super::backlog::Backlog;
use super::lane::{HINTS_IN_FLIGHT_MAX, Lane};

/// Bytes of hints that may wait for one peer on one lane. What a slow uplink carries in a few seconds; older hints
/// help nobody, because anti-entropy has overtaken them.
const QUEUE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What a queued hint costs beside its body, in bytes, so that empty ones are bounded too.
const HINT_OVERHEAD_BYTES: usize = 64;

/// Links to one peer that are kept: two hosts that dial each other at once get one each way.
const LINKS_MAX: usize = 2;

/// Links established within this time of each other come from simultaneous dials, and both are good. Nobody dials a
/// peer that it is connected to, so a link that arrives later means that the other side has lost the elder ones.
const SIMULTANEOUS_DIAL_WINDOW: Duration = Duration::from_secs(2);

/// A link to a member, as the health and placement parts see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerLink {
    /// Who is at the other end.
    pub node: NodeId,
    /// Smoothed round-trip time (a new sample weighs one eighth, as in RFC 6298); `None` until the first ping is back.
    pub rtt: Option<Duration>,
    /// `"quic"` or `"tcp"`.
    pub transport: &'static str,
    /// The other end's address as a multiaddr.
    pub remote: String,
    /// How long the member has been connected without a break.
    pub connected_for: Duration,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) id: ConnectionId,
    pub(super) remote: Multiaddr,
    pub(super) since: Instant,
}

#[derive(Debug, Default)]
struct Outbox {
    waiting: VecDeque<Vec<u8>>,
    bytes: usize,
    in_flight: usize,
}

#[derive(Debug)]
struct Peer {
    /// Sets this presence apart from an earlier one of the same node.
    life: u64,
    since: Instant,
    /// The newest last.
    links: Vec<Link>,
    rtt: Option<Duration>,
    outboxes: [Outbox; Lane::ALL.len()],
    requests_in_flight: [usize; Lane::ALL.len()],
    backlog: Arc<Backlog>,
}

/// What a new link means.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Arrival {
    /// The peer was not connected before.
    pub(super) first: bool,
    /// Links that the new one replaces; they are to be closed.
    pub(super) replaced: Vec<ConnectionId>,
}

/// Why a hint was not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unqueued {
    NotConnected,
    QueueFull,
}

/// A hint or request that was let through, to be given back to [`PeerTable::finish`] when its end is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    pub(super) node: NodeId,
    pub(super) lane: Lane,
    life: u64,
    hint: bool,
}

/// All connected peers.
#[derive(Debug, Default)]
pub(super) struct PeerTable {
    peers: BTreeMap<NodeId, Peer>,
    /// Peers with hints that wait and room in flight for them.
    ready: BTreeSet<NodeId>,
    lives: u64,
}

impl PeerTable {
    pub(super) fn is_connected(&self, node: NodeId) -> bool {
        self.peers.contains_key(&node)
    }

    pub(super) fn links(&self, now: Instant) -> Vec<PeerLink> {
        let link = |(node, peer): (&NodeId, &Peer)| {
            let newest = peer.links.last()?;
            Some(PeerLink {
                node: *node,
                rtt: peer.rtt,
                transport: if address::is_quic(&newest.remote) { "quic" } else { "tcp" },
                remote: newest.remote.to_string(),
                connected_for: now.saturating_duration_since(peer.since),
            })
        };
        self.peers.iter().filter_map(link).collect()
    }

    pub(super) fn link_up(&mut self, node: NodeId, link: Link) -> Arrival {
        let now = link.since;
        let first = !self.peers.contains_key(&node);
        self.lives += u64::from(first);
        let life = self.lives;
        let peer = self.peers.entry(node).or_insert_with(|| Peer {
            life,
            since: now,
            links: Vec::new(),
            rtt: None,
            outboxes: Default::default(),
            requests_in_flight: [0; Lane::ALL.len()],
            backlog: Arc::default(),
        });
        peer.links.push(link);
        let kept_from = peer.links.len().saturating_sub(LINKS_MAX);
        let is_replaced = |(position, elder): &(usize, &Link)| {
            *position < kept_from || now.saturating_duration_since(elder.since) > SIMULTANEOUS_DIAL_WINDOW
        };
        Arrival {
            first,
            replaced: peer.links.iter().enumerate().filter(is_replaced).map(|(_, elder)| elder.id).collect(),
        }
    }

    /// Forgets a link; with the last one the peer and its queues. Answers how many hints went with it if it was the last.
    pub(super) fn link_down(&mut self, node: NodeId, id: ConnectionId) -> Option<usize> {
        let peer = self.peers.get_mut(&node)?;
        peer.links.retain(|link| link.id != id);
        if !peer.links.is_empty() {
            return None;
        }
        self.ready.remove(&node);
        let peer = self.peers.remove(&node)?;
        Some(peer.outboxes.iter().map(|outbox| outbox.waiting.len()).sum())
    }

    pub(super) fn measured(&mut self, node: NodeId, sample: Duration) {
        if let Some(peer) = self.peers.get_mut(&node) {
            peer.rtt = Some(peer.rtt.map_or(sample, |smoothed| (smoothed * 7 + sample) / 8));
        }
    }

    /// Puts a hint in its peer's queue.
    pub(super) fn queue(&mut self, node: NodeId, lane: Lane, body: Vec<u8>) -> Result<(), Unqueued> {
        let peer = self.peers.get_mut(&node).ok_or(Unqueued::NotConnected)?;
        let outbox = &mut peer.outboxes[lane.index()];
        let cost = body.len() + HINT_OVERHEAD_BYTES;
        if outbox.bytes + cost > QUEUE_BYTES_MAX {
            return Err(Unqueued::QueueFull);
        }
        outbox.bytes += cost;
        outbox.waiting.push_back(body);
        if outbox.in_flight < HINTS_IN_FLIGHT_MAX {
            self.ready.insert(node);
        }
        Ok(())
    }

    /// The next hint that may be sent, whoever it is for.
    pub(super) fn next_hint(&mut self) -> Option<(Ticket, Vec<u8>)> {
        while let Some(node) = self.ready.first().copied() {
            let Some(peer) = self.peers.get_mut(&node) else {
                self.ready.remove(&node);
                continue;
            };
            for lane in Lane::ALL {
                let outbox = &mut peer.outboxes[lane.index()];
                if outbox.in_flight >= HINTS_IN_FLIGHT_MAX {
                    continue;
                }
                if let Some(body) = outbox.waiting.pop_front() {
                    outbox.bytes -= body.len() + HINT_OVERHEAD_BYTES;
                    outbox.in_flight += 1;
                    return Some((Ticket { node, lane, life: peer.life, hint: true }, body));
                }
            }
            self.ready.remove(&node);
        }
        None
    }

    /// Lets a request through, or `None` if too many to this peer are unanswered (or the peer is gone).
    pub(super) fn begin_request(&mut self, node: NodeId, lane: Lane) -> Option<Ticket> {
        let peer = self.peers.get_mut(&node)?;
        let in_flight = &mut peer.requests_in_flight[lane.index()];
        if *in_flight >= lane.requests_in_flight_max() {
            return None;
        }
        *in_flight += 1;
        Some(Ticket { node, lane, life: peer.life, hint: false })
    }

    /// Gives back what a ticket held, whatever became of its frame.
    pub(super) fn finish(&mut self, ticket: Ticket) {
        let Some(peer) = self.peers.get_mut(&ticket.node).filter(|peer| peer.life == ticket.life) else { return };
        if ticket.hint {
            let outbox = &mut peer.outboxes[ticket.lane.index()];
            outbox.in_flight -= 1;
            if !outbox.waiting.is_empty() {
                self.ready.insert(ticket.node);
            }
        } else {
            peer.requests_in_flight[ticket.lane.index()] -= 1;
        }
    }

    /// What this peer's unhandled frames are charged to.
    pub(super) fn backlog(&self, node: NodeId) -> Option<&Arc<Backlog>> {
        self.peers.get(&node).map(|peer| &peer.backlog)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: NodeId = NodeId([1; 32]);

    fn link(id: usize, since: Instant) -> Link {
        Link { id: ConnectionId::new_unchecked(id), remote: "/ip4/127.0.0.1/tcp/1".parse().unwrap(), since }
    }

    #[test]
    fn simultaneous_links_both_stay_and_a_later_one_replaces_them() {
        let (mut table, start) = (PeerTable::default(), Instant::now());
        assert_eq!(table.link_up(NODE, link(1, start)), Arrival { first: true, replaced: vec![] });
        let soon = start + Duration::from_millis(100);
        assert_eq!(table.link_up(NODE, link(2, soon)), Arrival { first: false, replaced: vec![] });
        let arrival = table.link_up(NODE, link(3, start + Duration::from_secs(60)));
        assert_eq!(arrival.replaced, [ConnectionId::new_unchecked(1), ConnectionId::new_unchecked(2)]);
        assert_eq!(table.link_down(NODE, ConnectionId::new_unchecked(1)), None);
        assert_eq!(table.link_down(NODE, ConnectionId::new_unchecked(2)), None);
        assert!(table.is_connected(NODE));
        assert_eq!(table.link_down(NODE, ConnectionId::new_unchecked(3)), Some(0));
        assert!(!table.is_connected(NODE));
    }

    #[test]
    fn a_queue_keeps_to_its_bytes_and_its_flight() {
        let mut table = PeerTable::default();
        assert_eq!(table.queue(NODE, Lane::Sync, vec![]), Err(Unqueued::NotConnected));
        table.link_up(NODE, link(1, Instant::now()));
        let body = vec![0; 64 * 1024];
        let queued =
            std::iter::repeat_with(|| table.queue(NODE, Lane::Sync, body.clone())).take_while(Result::is_ok).count();
        assert_eq!(queued, QUEUE_BYTES_MAX / (body.len() + HINT_OVERHEAD_BYTES));
        assert_eq!(table.queue(NODE, Lane::Members, vec![1]), Ok(()), "a full lane does not fill another");
        let tickets: Vec<_> = std::iter::from_fn(|| table.next_hint()).map(|(ticket, _)| ticket).collect();
        assert_eq!(tickets.len(), HINTS_IN_FLIGHT_MAX + 1);
        table.finish(tickets[0]);
        assert!(table.next_hint().is_some());
        assert!(table.next_hint().is_none());
    }

    #[test]
    fn a_ticket_of_an_earlier_life_gives_nothing_back() {
        let mut table = PeerTable::default();
        table.link_up(NODE, link(1, Instant::now()));
        let ticket = table.begin_request(NODE, Lane::Call).unwrap();
        table.link_down(NODE, ConnectionId::new_unchecked(1));
        table.link_up(NODE, link(2, Instant::now()));
        table.finish(ticket);
        let begun = std::iter::from_fn(|| table.begin_request(NODE, Lane::Call)).count();
        assert_eq!(begun, Lane::Call.requests_in_flight_max());
    }

    #[test]
    fn round_trips_are_smoothed() {
        let mut table = PeerTable::default();
        table.link_up(NODE, link(1, Instant::now()));
        table.measured(NODE, Duration::from_millis(8));
        table.measured(NODE, Duration::from_millis(16));
        assert_eq!(table.links(Instant::now())[0].rtt, Some(Duration::from_millis(9)));
    }
}
