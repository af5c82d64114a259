//! What is known of each peer: what it has seen, what is durable there, and what follows for forgetting.

use std::collections::{BTreeMap, BTreeSet};

use super::conduct::{Allowance, Futile};
use super::{Output, Replica};
use crate::causal::VersionVector;
use crate::commit::Commit;
use crate::crdt::ContentHash;
use crate::id::{Dot, NodeId, Stream};
use crate::key::Key;
use crate::limits::FORGET_MS;
use crate::log::Range;
use crate::planted::{self, Bug};
use crate::time::Time;

#[derive(Debug, Default)]
pub(super) struct Peers {
    pub(super) known: BTreeMap<NodeId, Peer>,
    /// Those that can be reached.
    pub(super) connected: BTreeSet<NodeId>,
    /// The peer whose turn it was last.
    pub(super) turn: Option<NodeId>,
    pub(super) turned_ms: u64,
    /// When telling everybody that something changed last began, and of which root.
    pub(super) told: Option<(u64, ContentHash)>,
    /// Who has not had its digest yet.
    pub(super) untold: BTreeSet<NodeId>,
    /// Whether something was acknowledged, or somebody came or went, since we last forgot: an idle replica does not count
    /// its members again and again.
    pub(super) moved: bool,
    forgot_ms: u64,
}

/// What is known of one peer, from what it said itself.
#[derive(Debug, Default)]
pub(super) struct Peer {
    pub(super) connected: bool,
    pub(super) seen: VersionVector,
    pub(super) durable: VersionVector,
    pub(super) root: Option<ContentHash>,
    /// When roots and vectors were last equal, on our monotonic clock.
    pub(super) synced_ms: Option<u64>,
    /// When it was last heard.
    pub(super) heard_ms: Option<u64>,
    /// When we last asked it for what we miss.
    pub(super) asked_ms: Option<u64>,
    /// When it was first asked for it since it last brought anything.
    pub(super) awaited_ms: Option<u64>,
    /// When it was last shown our vector because its digest was another.
    pub(super) shown_ms: Option<u64>,
    /// How far our own stream was pushed to it, and when.
    pub(super) pushed: Option<(u64, u64)>,
    /// The stream with which the last page of missing commits ended, when there was more.
    pub(super) served: Option<Stream>,
    /// When it was last sent all that it missed, as far as a page goes, and the digest of what it had then.
    pub(super) answered: Option<(u64, [u8; 16])>,
    /// What it may still say for now.
    pub(super) allowance: Allowance,
    /// What it may still have us verify in vain.
    pub(super) verifying: Allowance,
    /// Repairs from it that did not help.
    pub(super) futile: Futile,
    /// What it said of our stream without showing it.
    pub(super) unfounded: Futile,
}

/// What an operator sees of a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerView {
    /// Who it is.
    pub node: NodeId,
    /// Whether it can be reached.
    pub connected: bool,
    /// Its root, as it last said.
    pub root: Option<ContentHash>,
    /// Whether that is our root now.
    pub root_equal: bool,
    /// How many commits one of us has that the other is not known to have; the greater of both directions.
    pub lag_commits: u64,
    /// How long ago roots were last equal, in milliseconds.
    pub synced_ms_ago: Option<u64>,
    /// How long ago it was last heard, in milliseconds.
    pub heard_ms_ago: Option<u64>,
}

/// Keys that were written by commits which a peer is not known to have seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unseen {
    /// The keys, in order.
    pub keys: BTreeSet<Key>,
    /// Whether there may be more of them.
    pub more: bool,
}

/// How far a commit has got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Whether it is durable here.
    pub durable: bool,
    /// The members that have it durable, as far as they have said.
    pub seen_by: Vec<NodeId>,
    /// Whether every member has.
    pub stable: bool,
}

impl Replica {
    pub(super) fn handle_peer_up(&mut self, node: NodeId, out: &mut Vec<Output>) {
        let peer = self.peers.known.entry(node).or_default();
        peer.connected = true;
        (peer.asked_ms, peer.awaited_ms, peer.pushed, peer.served, peer.answered) = (None, None, None, None, None);
        self.peers.connected.insert(node);
        self.send_digest(node, out);
    }

    pub(super) fn handle_peer_down(&mut self, node: NodeId, out: &mut Vec<Output>) {
        if let Some(peer) = self.peers.known.get_mut(&node) {
            peer.connected = false;
        }
        self.peers.connected.remove(&node);
        self.peers.moved = true;
        self.abandon_repair_from(node, out);
    }

    /// What every member is known to have durable.
    #[must_use]
    pub fn stable(&self) -> VersionVector {
        let nothing = VersionVector::default();
        let durable = |node: &NodeId| self.peers.known.get(node).map_or(&nothing, |peer| &peer.durable);
        let asked = self.members.iter().skip(usize::from(planted::is(Bug::StableWithoutAll)));
        asked.fold(self.durable().clone(), |stable, node| stable.common(durable(node)))
    }

    /// Every peer that was ever heard of and is a member or connected.
    #[must_use]
    pub fn peers(&self, now: Time) -> Vec<PeerView> {
        let ago = |then: Option<u64>| then.map(|then| now.mono_ms.saturating_sub(then));
        let current = |(node, peer): &(&NodeId, &Peer)| peer.connected || self.members.contains(node);
        let view = |(node, peer): (&NodeId, &Peer)| PeerView {
            node: *node,
            connected: peer.connected,
            root: peer.root,
            root_equal: peer.root == Some(self.root()),
            lag_commits: peer.seen.missing_from(&self.seen).max(self.seen.missing_from(&peer.seen)),
            synced_ms_ago: ago(peer.synced_ms),
            heard_ms_ago: ago(peer.heard_ms),
        };
        self.peers.known.iter().filter(current).map(view).collect()
    }

    /// Which keys the commits write that are here and that `node` is not known to have seen: `keys_max` at the most, out of `bytes_max`
    /// bytes of commits. What the other has and we lack, its vector counts and does not name. `None` for whoever was never heard.
    #[must_use]
    pub fn unseen_by(&self, node: &NodeId, keys_max: usize, bytes_max: usize) -> Option<Unseen> {
        let theirs = &self.peers.known.get(node)?.seen;
        let (mut unseen, mut budget) = (Unseen::default(), bytes_max);
        for (stream, through) in self.seen.iter() {
            let batch = match self.log.range(&stream, theirs.seq(&stream) + 1, through, budget) {
                Range::Nothing => continue,
                Range::Forgotten => {
                    unseen.more = true;
                    continue;
                }
                Range::Batch { batch, whole } => {
                    unseen.more |= !whole;
                    batch
                }
            };
            for (seq, bytes) in (batch.first..).zip(&batch.commits) {
                budget = budget.saturating_sub(bytes.len());
                let commit = Commit::decode(stream, seq, bytes);
                unseen.keys.extend(commit.into_iter().flat_map(|commit| commit.ops).map(|(key, _)| key));
            }
            if unseen.keys.len() > keys_max || budget == 0 {
                unseen.more = true;
                break;
            }
        }
        while unseen.keys.len() > keys_max {
            unseen.keys.pop_last();
        }
        Some(unseen)
    }

    /// How far a commit has got; `None` when it has not been seen here.
    #[must_use]
    pub fn progress(&self, dot: &Dot) -> Option<Progress> {
        if !self.seen.covers(super::SCOPE, dot) {
            return None;
        }
        let has = |vector: &VersionVector| vector.covers(super::SCOPE, dot);
        let seen_by = self.peers.known.iter().filter(|(_, peer)| has(&peer.durable)).map(|(node, _)| *node).collect();
        let durable = has(self.durable());
        let everywhere = |node| self.peers.known.get(node).is_some_and(|peer| has(&peer.durable));
        Some(Progress { durable, seen_by, stable: durable && self.members.iter().all(everywhere) })
    }

    /// Forgets what every member has seen, within the bounds.
    pub(super) fn forget_if_due(&mut self, now: Time) {
        if !self.peers.moved || now.mono_ms.saturating_sub(self.peers.forgot_ms) < FORGET_MS {
            return;
        }
        (self.peers.forgot_ms, self.peers.moved) = (now.mono_ms, false);
        let stable = self.stable();
        // The last commit of every stream stays: it is the tip by which a writer that forgot finds out.
        let keep = self.config.log_commits_kept.max(1);
        // What others count of our stream while we are in doubt about it may be other commits than ours.
        let doubted = Some(self.own_stream()).filter(|own| {
            let known = |peer: &Peer| peer.seen.seq(own) > self.seen.seq(own);
            self.lineage.is_fenced() || self.peers.known.values().any(known)
        });
        let droppable = |stream: &Stream, seq: u64, kept: usize| {
            kept > keep && seq <= stable.seq(stream) && Some(*stream) != doubted
        };
        self.log.forget_while(droppable);
        let settled = if stable == self.seen { self.retired.beyond(&self.seen) } else { self.seen.clone() };
        self.state.settle(crate::crdt::Context::of(&settled));
        self.repair.ahead.settle(&self.seen);
        if stable == self.seen {
            self.state.forget_empty();
        }
        // When a silent writer was last heard decides when its stream is closed; nobody else is remembered.
        let (members, seen, retired) = (&self.members, &self.seen, &self.retired);
        let writes = |node| seen.of_node(super::SCOPE, node).any(|(stream, _)| retired.is_open(&stream));
        self.peers.known.retain(|node, peer| peer.connected || members.contains(node) || writes(*node));
    }
}
