//! Who is connected right now, how well, and over which of several links.
//!
//! Owns the links, the last round-trip times and the count of open requests; what waits to be sent is each peer's
//! [`Post`], what comes in goes to its [`Desk`]. Touches no socket. Shared between the handle and the swarm's task behind a lock that is
//! held for moments and never across an await. The invariants: a peer is in the table exactly while it has a link; of its
//! links one carries our hints; whoever comes back has no more room here than whoever stayed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use libp2p::Multiaddr;
use libp2p::swarm::ConnectionId;
use selvedge_sync::id::NodeId;

use super::address;
use super::channel::Attach;
use super::conduct::Conduct;
use super::counters::{PeerTally, Tally};
use super::desk::{Desk, Share};
use super::inbox::Inboxes;
use super::lane::Lane;
use super::line::{Line, Lines};
use super::link::PeerLink;
use super::post::Post;
use super::shared::Shared;

/// Links to one peer that are kept: two hosts that dial each other at once get one each way.
const LINKS_MAX: usize = 2;

/// Links established within this time of each other come from simultaneous dials, and both are good. Nobody dials a
/// peer that it is connected to, so a link that arrives later means that the other side has lost the elder ones.
const SIMULTANEOUS_DIAL_WINDOW: Duration = Duration::from_secs(2);

/// Round trips of which the median counts: a pause that both of two links meet leaves three that are true, and what has really
/// changed is believed after three pings of one link, half a minute.
const ROUND_TRIPS: usize = 5;

/// One connection.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) id: ConnectionId,
    pub(super) remote: Multiaddr,
    pub(super) since: Instant,
    /// The number of the process at the other end.
    pub(super) life: Option<u64>,
}

#[derive(Debug)]
struct Peer {
    /// Sets this presence apart from an earlier one of the same node.
    life: u64,
    since: Instant,
    /// The newest last.
    links: Vec<Link>,
    rtt: RoundTrips,
    requests_in_flight: [usize; Lane::ALL.len()],
    post: Arc<Post>,
    desk: Arc<Desk>,
    lines: Arc<Lines>,
    tally: Arc<PeerTally>,
    /// The link that carries our hints.
    writer: ConnectionId,
}

/// The last round trips to a peer.
#[derive(Debug, Default)]
struct RoundTrips {
    last: [Duration; ROUND_TRIPS],
    /// How many were measured.
    count: usize,
}

impl RoundTrips {
    fn add(&mut self, sample: Duration) {
        self.last[self.count % ROUND_TRIPS] = sample;
        self.count += 1;
    }

    /// The median of the last ones, of two in the middle the lower: one that spans a pause of either host says nothing of the way.
    fn typical(&self) -> Option<Duration> {
        let mut last = self.last;
        let known = &mut last[..self.count.min(ROUND_TRIPS)];
        known.sort_unstable();
        known.get(known.len().checked_sub(1)? / 2).copied()
    }
}

/// What a new link means.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Arrival {
    /// The peer was not connected before.
    pub(super) first: bool,
    /// Links that the new one replaces; they are to be closed.
    pub(super) replaced: Vec<ConnectionId>,
}

/// A request that was let through, to be given back to [`PeerTable::finish`] when its end is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    pub(super) node: NodeId,
    pub(super) lane: Lane,
    life: u64,
}

/// All connected peers.
#[derive(Debug)]
pub(super) struct PeerTable {
    peers: BTreeMap<NodeId, Peer>,
    /// Of those who have gone, what they have handed in and nobody has read yet.
    gone: BTreeMap<NodeId, Arc<Share>>,
    lives: u64,
    tally: Arc<Tally>,
    inboxes: Inboxes,
}

impl PeerTable {
    pub(super) const fn new(tally: Arc<Tally>, inboxes: Inboxes) -> Self {
        Self { peers: BTreeMap::new(), gone: BTreeMap::new(), lives: 0, tally, inboxes }
    }

    pub(super) fn is_connected(&self, node: NodeId) -> bool {
        self.peers.contains_key(&node)
    }

    pub(super) fn links(&self, conduct: &Conduct, now: Instant) -> Vec<PeerLink> {
        let link = |(node, peer): (&NodeId, &Peer)| {
            let newest = peer.links.last()?;
            let (queued_frames, queued_bytes) = peer.post.waiting();
            let (bytes_in, bytes_out) = peer.tally.bytes();
            Some(PeerLink {
                node: *node,
                rtt: peer.rtt.typical(),
                transport: newest.transport(),
                remote: newest.remote.to_string(),
                connected_for: now.saturating_duration_since(peer.since),
                score: conduct.score(*node, now),
                is_slowed: peer.desk.is_slowed(),
                bytes_in,
                bytes_out,
                queued_frames,
                queued_bytes,
                drops: peer.tally.drops(),
            })
        };
        self.peers.iter().filter_map(link).collect()
    }

    pub(super) fn link_up(&mut self, node: NodeId, link: Link) -> Arrival {
        let (now, id, process) = (link.since, link.id, link.life);
        let first = !self.peers.contains_key(&node);
        self.lives += u64::from(first);
        let (life, all, inboxes, gone) = (self.lives, &self.tally, &self.inboxes, &mut self.gone);
        let peer = self.peers.entry(node).or_insert_with(|| {
            let tally = Arc::new(PeerTally::new(Arc::clone(all)));
            let share = gone.remove(&node).unwrap_or_else(|| Arc::new(Share::new(now)));
            Peer {
                life,
                since: now,
                links: Vec::new(),
                rtt: RoundTrips::default(),
                requests_in_flight: [0; Lane::ALL.len()],
                post: Arc::new(Post::new(Arc::clone(&tally))),
                desk: Arc::new(Desk::new(node, inboxes.clone(), share, Arc::clone(&tally))),
                lines: Arc::default(),
                tally,
                writer: id,
            }
        });
        peer.links.push(link);
        let kept_from = peer.links.len().saturating_sub(LINKS_MAX);
        let is_replaced = |(position, elder): &(usize, &Link)| {
            *position < kept_from
                || now.saturating_duration_since(elder.since) > SIMULTANEOUS_DIAL_WINDOW
                || elder.life != process
        };
        let replaced: Vec<_> = peer.links.iter().enumerate().filter(is_replaced).map(|(_, elder)| elder.id).collect();
        if replaced.contains(&peer.writer) {
            peer.writer = id;
        }
        peer.post.set_writer(peer.writer);
        Arrival { first, replaced }
    }

    /// Forgets a link; with the last one the peer and its queues. Answers whether it was the last.
    pub(super) fn link_down(&mut self, node: NodeId, id: ConnectionId) -> bool {
        let Some(peer) = self.peers.get_mut(&node) else { return false };
        peer.links.retain(|link| link.id != id);
        if let Some(newest) = peer.links.last() {
            if peer.writer == id {
                peer.writer = newest.id;
                peer.post.set_writer(newest.id);
            }
            return false;
        }
        peer.post.abandon();
        let share = Arc::clone(peer.desk.share());
        self.peers.remove(&node);
        let now = Instant::now();
        self.gone.retain(|_, share| !share.is_whole(now));
        self.gone.insert(node, share);
        true
    }

    pub(super) fn measured(&mut self, node: NodeId, sample: Duration) {
        if let Some(peer) = self.peers.get_mut(&node) {
            peer.rtt.add(sample);
        }
    }

    /// The round trip to a peer, if it is connected; none before the first is measured.
    pub(super) fn round_trip(&self, node: NodeId) -> Option<Option<Duration>> {
        self.peers.get(&node).map(|peer| peer.rtt.typical())
    }

    /// Where hints to a peer are queued.
    pub(super) fn post(&self, node: NodeId) -> Option<&Arc<Post>> {
        self.peers.get(&node).map(|peer| &peer.post)
    }

    /// Where what comes from a peer is handed in.
    pub(super) fn desk(&self, node: NodeId) -> Option<&Arc<Desk>> {
        self.peers.get(&node).map(|peer| &peer.desk)
    }

    /// What a connection to a peer needs.
    pub(super) fn attach(&self, node: NodeId, shared: &Arc<Shared>) -> Option<Attach> {
        let Peer { post, desk, lines, .. } = self.peers.get(&node)?;
        let (post, desk, lines) = (Arc::clone(post), Arc::clone(desk), Arc::clone(lines));
        Some(Attach { node, post, desk, lines, shared: Arc::clone(shared) })
    }

    /// The line to a peer, for a question. `None`: there is none (yet).
    pub(super) fn line(&self, node: NodeId) -> Option<Arc<Line>> {
        let peer = self.peers.get(&node)?;
        let line = peer.lines.current();
        if line.is_none() {
            peer.post.wake_writer();
        }
        line
    }

    /// What passes between a peer and us.
    pub(super) fn tally(&self, node: NodeId) -> Option<&Arc<PeerTally>> {
        self.peers.get(&node).map(|peer| &peer.tally)
    }

    /// Lets a request through, or `None` if too many to this peer are unanswered (or the peer is gone).
    pub(super) fn begin_request(&mut self, node: NodeId, lane: Lane) -> Option<Ticket> {
        let peer = self.peers.get_mut(&node)?;
        let in_flight = &mut peer.requests_in_flight[lane.index()];
        if *in_flight >= lane.requests_in_flight_max() {
            return None;
        }
        *in_flight += 1;
        Some(Ticket { node, lane, life: peer.life })
    }

    /// Gives back what a ticket held, whatever became of its frame.
    pub(super) fn finish(&mut self, ticket: Ticket) {
        let Some(peer) = self.peers.get_mut(&ticket.node).filter(|peer| peer.life == ticket.life) else { return };
        peer.requests_in_flight[ticket.lane.index()] -= 1;
    }
}

impl Link {
    pub(super) fn transport(&self) -> &'static str {
        if address::is_quic(&self.remote) { "quic" } else { "tcp" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: NodeId = NodeId([1; 32]);

    fn table() -> PeerTable {
        PeerTable::new(Arc::default(), Inboxes::joint())
    }

    fn writes(table: &PeerTable, id: usize) -> bool {
        table.post(NODE).unwrap().is_writer(ConnectionId::new_unchecked(id), std::task::Waker::noop())
    }

    #[test]
    fn one_link_writes_and_another_takes_over() {
        let (mut table, start) = (table(), Instant::now());
        table.link_up(NODE, link(1, start));
        table.link_up(NODE, link(2, start));
        assert!(writes(&table, 1) && !writes(&table, 2), "the first keeps writing");
        table.link_down(NODE, ConnectionId::new_unchecked(1));
        assert!(writes(&table, 2), "the other takes over");
        table.link_up(NODE, link(3, start + SIMULTANEOUS_DIAL_WINDOW * 2));
        assert!(writes(&table, 3), "the one that replaces it takes over at once");
    }

    fn link(id: usize, since: Instant) -> Link {
        Link { id: ConnectionId::new_unchecked(id), remote: "/ip4/127.0.0.1/tcp/1".parse().unwrap(), since, life: None }
    }

    #[test]
    fn simultaneous_links_both_stay_and_a_later_one_replaces_them() {
        let (mut table, start) = (table(), Instant::now());
        assert_eq!(table.link_up(NODE, link(1, start)), Arrival { first: true, replaced: vec![] });
        let soon = start + Duration::from_millis(100);
        assert_eq!(table.link_up(NODE, link(2, soon)), Arrival { first: false, replaced: vec![] });
        let arrival = table.link_up(NODE, link(3, start + Duration::from_secs(60)));
        assert_eq!(arrival.replaced, [ConnectionId::new_unchecked(1), ConnectionId::new_unchecked(2)]);
        assert!(!table.link_down(NODE, ConnectionId::new_unchecked(1)));
        assert!(!table.link_down(NODE, ConnectionId::new_unchecked(2)));
        assert!(table.is_connected(NODE));
        assert!(table.link_down(NODE, ConnectionId::new_unchecked(3)));
        assert!(!table.is_connected(NODE));
    }

    #[test]
    fn another_process_with_the_key_replaces_the_links_of_the_first_at_once() {
        let (mut table, start) = (table(), Instant::now());
        table.link_up(NODE, Link { life: Some(1), ..link(1, start) });
        let arrival = table.link_up(NODE, Link { life: Some(2), ..link(2, start) });
        assert_eq!(arrival.replaced, [ConnectionId::new_unchecked(1)]);
        assert!(writes(&table, 2));
    }

    #[test]
    fn a_ticket_of_an_earlier_life_gives_nothing_back() {
        let mut table = table();
        table.link_up(NODE, link(1, Instant::now()));
        let ticket = table.begin_request(NODE, Lane::Call).unwrap();
        table.link_down(NODE, ConnectionId::new_unchecked(1));
        table.link_up(NODE, link(2, Instant::now()));
        table.finish(ticket);
        let begun = std::iter::from_fn(|| table.begin_request(NODE, Lane::Call)).count();
        assert_eq!(begun, Lane::Call.requests_in_flight_max());
    }

    #[test]
    fn whoever_goes_and_comes_back_finds_its_share_as_it_left_it() {
        use super::super::backlog::HINTS_MAX;
        use super::super::desk::Taken;
        let (mut table, inboxes) = (table(), Inboxes::joint());
        table.inboxes = inboxes.clone();
        inboxes.of(Lane::Sync).up(NODE);
        let task = std::task::Waker::noop();
        let mut taken = 0;
        for id in 0..10 {
            table.link_up(NODE, link(id, Instant::now()));
            let desk = Arc::clone(table.desk(NODE).unwrap());
            taken += std::iter::from_fn(|| (desk.hint(Lane::Sync, vec![1], task) == Taken::Yes).then_some(())).count();
            table.link_down(NODE, ConnectionId::new_unchecked(id));
        }
        assert_eq!(taken, HINTS_MAX, "and not ten times as many");
        let mut events = super::super::NetEvents::new(Arc::clone(inboxes.of(Lane::Sync)));
        while events.try_recv().is_some() {}
        table.link_up(NODE, link(10, Instant::now()));
        assert_eq!(table.desk(NODE).unwrap().hint(Lane::Sync, vec![1], task), Taken::Yes, "what was read made room");
        assert!(table.gone.is_empty());
    }

    #[test]
    fn a_pause_of_either_host_does_not_count_as_distance() {
        let mut table = table();
        table.link_up(NODE, link(1, Instant::now()));
        let mut after = |ms: u64| {
            table.measured(NODE, Duration::from_millis(ms));
            let told = table.links(&Conduct::default(), Instant::now())[0].rtt;
            assert_eq!(table.round_trip(NODE), Some(told));
            told.map(|rtt| rtt.as_millis())
        };
        assert_eq!([8, 9, 7].map(&mut after), [Some(8), Some(8), Some(8)]);
        // Both links of the peer have met the pause.
        assert_eq!([4_000, 3_500, 8, 9, 8].map(&mut after), [8, 9, 9, 9, 9].map(Some));
        assert_eq!([8, 8].map(&mut after), [Some(8); 2]);
        // A way that has become longer is believed with the third.
        assert_eq!([60, 61, 62].map(&mut after), [8, 8, 60].map(Some));
        assert_eq!(table.round_trip(NodeId([2; 32])), None);
    }
}
