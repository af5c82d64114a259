//! What is told of the replica to whoever only looks: figures, peers, and what its past still owes.
//!
//! Copied out of the replica as one, so that a look needs no lock that a pass of the driver may hold. Holds no values of keys. The
//! invariant: all parts of a summary are of one moment.

use selvedge_sync::broadcast;
use selvedge_sync::crdt::ContentHash;
use selvedge_sync::id::{Dot, ReplicaId, Stream};
use selvedge_sync::replica::{Counters, PeerView, RepairProgress, Replica};
use selvedge_sync::time::Time;

/// The replica as it was at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Whose replica it is.
    pub me: ReplicaId,
    /// The hash of all live content.
    pub root: ContentHash,
    /// How many keys hold something.
    pub keys: u64,
    /// About how many bytes their content occupies in memory.
    pub bytes: u64,
    /// How many dots and empty objects are kept only until every member has seen what made them so.
    pub garbage: u64,
    /// How many commits are applied.
    pub commits: u64,
    /// The number of the membership epoch.
    pub epoch: u64,
    /// What the replica has counted.
    pub counters: Counters,
    /// What its broadcast tree has counted.
    pub spread: broadcast::Counters,
    /// Neighbours in the broadcast tree that are pushed to, and all neighbours.
    pub neighbours: (u64, u64),
    /// What its own past still owes.
    pub past: Past,
    /// Commits that streams wait for, because a later release wrote them.
    pub unread: Vec<Dot>,
    /// How far a repair from another member's state has come, while one is under way.
    pub resync: Option<RepairProgress>,
    peers: Vec<PeerView>,
    /// The moment, on the monotonic clock.
    at_ms: u64,
}

/// What is not in order about what this node and others wrote before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Past {
    /// Whether local writes are refused, because the meaning of our own stream is not known.
    pub is_fenced: bool,
    /// Names that were given to two commits, in streams in which their writers still write.
    pub twice_named: Vec<Dot>,
    /// Commits of an earlier life of this node that wait to be made again.
    pub orphans: u64,
}

impl Summary {
    /// Sums up. Takes as long as there is garbage, and peers times streams.
    pub(super) fn of(replica: &Replica, now: Time) -> Self {
        let state = replica.state();
        let (pushed, all) = replica.neighbours();
        Self {
            me: replica.me(),
            root: replica.root(),
            keys: state.filled() as u64,
            bytes: state.bytes(),
            garbage: state.garbage() as u64,
            commits: replica.seen().commits(),
            epoch: replica.epoch(),
            counters: *replica.counters(),
            spread: replica.spread_counters(),
            neighbours: (pushed.len() as u64, all.len() as u64),
            past: Past::of(replica),
            unread: replica.unread().collect(),
            resync: replica.repair_progress(),
            peers: replica.peers(now),
            at_ms: now.mono_ms,
        }
    }

    /// Every peer that was ever heard of and is a member or connected, with what it said last as old as it is `now`.
    #[must_use]
    pub fn peers(&self, now: Time) -> Vec<PeerView> {
        let since_ms = now.mono_ms.saturating_sub(self.at_ms);
        let older = |ago: Option<u64>| ago.map(|ms| ms.saturating_add(since_ms));
        let peer = |peer: &PeerView| PeerView {
            synced_ms_ago: older(peer.synced_ms_ago),
            heard_ms_ago: older(peer.heard_ms_ago),
            ..peer.clone()
        };
        self.peers.iter().map(peer).collect()
    }
}

impl Past {
    fn of(replica: &Replica) -> Self {
        // An old stream is frozen for good; what its writer is now is what matters.
        let is_present = |stream: &Stream| {
            replica.seen().of_node(stream.scope, stream.replica.node).next_back().is_none_or(|(now, _)| now == *stream)
        };
        let proofs = replica.proofs().filter(|proof| is_present(&proof.stream));
        let orphans = replica.orphans();
        let waiting: usize = orphans.certain.iter().chain(&orphans.doubtful).map(|batch| batch.commits.len()).sum();
        Self {
            is_fenced: replica.is_fenced(),
            twice_named: proofs.map(|proof| proof.dot()).collect(),
            orphans: waiting as u64,
        }
    }
}
