//! Where what one peer sends is handed in: hints and questions, within its bounds, to the consumer of each lane.
//!
//! Owns the peer's backlogs and its share of gossip; queues nothing itself. The invariants: a hint that is taken is either in
//! an inbox or counted as dropped; one that is not taken stays with its sender's stream, which is then not read; what a peer has
//! handed in counts against it when it comes back.

use std::sync::{Arc, Mutex};
use std::task::Waker;
use std::time::{Duration, Instant};

use selvedge_sync::id::NodeId;

use super::backlog::Backlog;
use super::bucket::{Bucket, Rate};
use super::counters::{NetReason, PeerTally};
use super::inbox::Inboxes;
use super::lane::Lane;
use super::{NetEvent, Reply, Way, lock};

/// Hints on the members' lane: each second a member sends its record, probes and answers to probes, and after a link comes up
/// some pages of the table. This is ten times as much.
const GOSSIP: Rate = Rate { burst: 2_000, every: Duration::from_micros(2_500) };

/// Frames of a flood that make one offence.
const FLOOD_FRAMES: u64 = 64;

/// What one peer may have in here, over all its connections. What it has handed in is read to the end although it goes: so it finds
/// its share as it left it.
#[derive(Debug)]
pub(super) struct Share {
    hints: [Arc<Backlog>; Lane::ALL.len()],
    asks: Arc<Backlog>,
    gossip: Mutex<(Bucket, u64)>,
}

impl Share {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            hints: std::array::from_fn(|_| Backlog::of_hints()),
            asks: Backlog::of_asks(),
            gossip: Mutex::new((Bucket::new(now), 0)),
        }
    }

    /// Frames and bytes that the peer has handed in and that are not dealt with.
    pub(super) fn held(&self) -> (usize, usize) {
        let held = self.hints.iter().chain([&self.asks]).map(|backlog| backlog.held());
        held.fold((0, 0), |sum, more| (sum.0 + more.0, sum.1 + more.1))
    }

    /// Whether it is no different from a new one.
    pub(super) fn is_whole(&self, now: Instant) -> bool {
        self.held() == (0, 0) && lock(&self.gossip).0.is_full(now)
    }
}

/// One peer's way in.
#[derive(Debug)]
pub(super) struct Desk {
    node: NodeId,
    inboxes: Inboxes,
    share: Arc<Share>,
    tally: Arc<PeerTally>,
}

/// What became of a hint.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is on its way.
    Yes,
    /// It was dropped, as one of far too many.
    Flood {
        /// Enough of them to hold it against the peer.
        is_offence: bool,
    },
    /// There is no room: here it is again. The waker is woken when there is.
    NotYet(Vec<u8>),
}

impl Desk {
    pub(super) const fn new(node: NodeId, inboxes: Inboxes, share: Arc<Share>, tally: Arc<PeerTally>) -> Self {
        Self { node, inboxes, share, tally }
    }

    /// What is left of its peer's share when it goes.
    pub(super) const fn share(&self) -> &Arc<Share> {
        &self.share
    }

    /// Hands in a hint.
    pub(super) fn hint(&self, lane: Lane, body: Vec<u8>, task: &Waker) -> Taken {
        let bytes = body.len();
        let Some(permit) = self.share.hints[lane.index()].take_or_wait(bytes, task) else { return Taken::NotYet(body) };
        self.tally.read(lane, bytes);
        if lane == Lane::Members {
            let mut gossip = lock(&self.share.gossip);
            if !gossip.0.take(GOSSIP, Instant::now()) {
                gossip.1 += 1;
                let is_offence = gossip.1.is_multiple_of(FLOOD_FRAMES);
                drop(gossip);
                self.tally.count(NetReason::IncomingFlood);
                return Taken::Flood { is_offence };
            }
        }
        let event = NetEvent::Message { from: self.node, lane, bytes: body, reply: Reply::unwanted(permit) };
        if !self.inboxes.of(lane).push(self.node, event) {
            self.tally.count(NetReason::HintLost);
        }
        Taken::Yes
    }

    /// Hands in a question; false if the peer has too many open ones, or is not connected any more.
    pub(super) fn ask(&self, lane: Lane, body: Vec<u8>, way: Way) -> bool {
        let Some(permit) = self.share.asks.take(body.len()) else { return false };
        let event = NetEvent::Message { from: self.node, lane, bytes: body, reply: Reply::wanted(permit, way) };
        self.inboxes.of(lane).push(self.node, event)
    }

    pub(super) fn set_slowed(&self, is_slowed: bool) {
        self.share.hints.iter().for_each(|backlog| backlog.set_slowed(is_slowed));
    }

    pub(super) fn is_slowed(&self) -> bool {
        self.share.hints[Lane::Sync.index()].is_slowed()
    }

    /// A question came from the peer's line.
    pub(super) fn read(&self, lane: Lane, bytes: usize) {
        self.tally.read(lane, bytes);
    }

    /// An answer went to it.
    pub(super) fn wrote(&self, lane: Lane, bytes: usize) {
        self.tally.wrote(lane, bytes);
    }

    pub(super) fn count(&self, reason: NetReason) {
        self.tally.count(reason);
    }

    #[cfg(test)]
    pub(super) fn held(&self) -> (usize, usize) {
        self.share.held()
    }
}

#[cfg(test)]
mod tests {
    use super::super::backlog::HINTS_MAX;
    use super::*;

    const NODE: NodeId = NodeId([1; 32]);

    fn desk() -> (Desk, Inboxes) {
        let inboxes = Inboxes::joint();
        inboxes.of(Lane::Sync).up(NODE);
        let share = Arc::new(Share::new(Instant::now()));
        (Desk::new(NODE, inboxes.clone(), share, PeerTally::for_tests()), inboxes)
    }

    #[test]
    fn a_lane_that_is_full_leaves_the_frame_and_fills_no_other() {
        let (desk, _inboxes) = desk();
        let task = Waker::noop();
        for _ in 0..HINTS_MAX {
            assert_eq!(desk.hint(Lane::Sync, vec![1], task), Taken::Yes);
        }
        assert_eq!(desk.hint(Lane::Sync, vec![7], task), Taken::NotYet(vec![7]));
        assert_eq!(desk.hint(Lane::Members, vec![1], task), Taken::Yes);
        assert_eq!(desk.held(), (HINTS_MAX + 1, HINTS_MAX + 1));
    }

    #[test]
    fn gossip_beyond_all_reason_is_dropped_and_now_and_then_an_offence() {
        let (desk, inboxes) = desk();
        let mut events = super::super::NetEvents::new(Arc::clone(inboxes.of(Lane::Members)));
        let mut offences = 0;
        for _ in 0..2 * GOSSIP.burst {
            if desk.hint(Lane::Members, vec![1], Waker::noop()) == (Taken::Flood { is_offence: true }) {
                offences += 1;
            }
            while events.try_recv().is_some() {}
        }
        let dropped = desk.tally.drops()[0];
        assert_eq!(dropped.0, NetReason::IncomingFlood);
        assert_eq!(offences, dropped.1 / FLOOD_FRAMES);
        assert!(offences > 0);
    }
}
