//! Whether an entry of the table of closed streams is believed: any member can write one.
//!
//! Owns the doubt about a closing that is not what we know of its writer: that is heard, or we have more of the stream, or it is
//! our own. What we have taken counts until a majority of the members says otherwise, who know of the closing and of no commit
//! beyond it although they had time to take it: only then does this replica begin anew. When a majority has more, the closing
//! does not count. The invariant: no single member makes anybody forget anything.

use std::collections::{BTreeMap, BTreeSet};

use super::retire::Closed;
use super::{Replica, SCOPE};
use crate::causal::VersionVector;
use crate::id::{NodeId, ReplicaId, Stream};
use crate::limits::CLOSING_DOUBT_MS;
use crate::time::Time;

/// What is said of the entries of the table.
#[derive(Debug, Default)]
pub(super) struct Closings {
    /// What the table says, believed or not.
    pub(super) table: BTreeMap<ReplicaId, Closed>,
    doubts: BTreeMap<ReplicaId, Doubt>,
    /// Members that know of a closing and have more of the stream.
    denied: BTreeMap<ReplicaId, BTreeSet<NodeId>>,
    /// What a majority has confirmed.
    confirmed: BTreeMap<ReplicaId, u64>,
}

/// Doubt about a stream of which we have more.
#[derive(Debug)]
struct Doubt {
    since_ms: u64,
    /// Members that know of the closing, and of nothing beyond it some time later.
    confirmed: BTreeSet<NodeId>,
    is_told: bool,
}

/// What to make of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Believed,
    /// It counts, and we have taken what does not.
    Condemned,
    Doubted,
}

impl Closings {
    /// Notes what a peer says that it has seen.
    pub(super) fn note(&mut self, peer: NodeId, seen: &VersionVector, now: Time) {
        for (replica, closed) in &self.table {
            if !closed.by.iter().any(|dot| seen.covers(SCOPE, dot)) {
                continue;
            }
            let has_more = seen.seq(&Stream { scope: SCOPE, replica: *replica }) > closed.through;
            if has_more {
                self.denied.entry(*replica).or_default().insert(peer);
            } else if let Some(denied) = self.denied.get_mut(replica) {
                denied.remove(&peer);
            }
            if let Some(doubt) = self.doubts.get_mut(replica) {
                if has_more {
                    doubt.confirmed.remove(&peer);
                } else if now.mono_ms.saturating_sub(doubt.since_ms) >= CLOSING_DOUBT_MS {
                    doubt.confirmed.insert(peer);
                }
            }
        }
    }
}

impl Replica {
    /// Whether these are enough to decide for the members as we know them: most, or the half with the least.
    fn is_majority(&self, some: &BTreeSet<NodeId>) -> bool {
        let members = || self.members.iter().chain([&self.me.node]);
        let (size, agreed) = (members().count(), members().filter(|node| some.contains(node)).count());
        let has_least = members().min().is_some_and(|least| some.contains(least));
        2 * agreed > size || (2 * agreed == size && has_least)
    }

    /// Whether a writer may be writing under this name: it was heard lately, and we know of no later life.
    fn is_alive(&self, replica: &ReplicaId, now: Time) -> bool {
        if replica.node == self.me.node {
            return *replica == self.me;
        }
        let latest = self.seen.of_node(SCOPE, replica.node).next_back();
        let is_present = latest.is_some_and(|(stream, _)| stream.replica == *replica);
        let is_heard = self.peers.known.get(&replica.node).is_some_and(|peer| {
            let lately = |heard| now.mono_ms.saturating_sub(heard) < self.config.retire_after_ms / 2;
            peer.connected || peer.heard_ms.is_some_and(lately)
        });
        is_present && is_heard
    }

    /// What to make of an entry of the table that was not believed so far, or was.
    pub(super) fn judge(&mut self, replica: ReplicaId, closed: &Closed, was_believed: bool, now: Time) -> Verdict {
        let has_more = self.seen.seq(&Stream { scope: SCOPE, replica }) > closed.through;
        let mut denied = self.closings.denied.get(&replica).cloned().unwrap_or_default();
        if has_more {
            denied.insert(self.me.node);
        }
        let is_confirmed = self.closings.confirmed.get(&replica) == Some(&closed.through);
        let is_denied = !is_confirmed && self.is_majority(&denied);
        if !has_more {
            self.closings.doubts.remove(&replica);
            // Who began anew has heard of everybody, and knows nothing yet.
            let knows_nothing = self.lineage.before().is_some();
            let is_believed = is_confirmed || was_believed || knows_nothing || !self.is_alive(&replica, now);
            return if is_believed && !is_denied { Verdict::Believed } else { Verdict::Doubted };
        }
        let fresh = Doubt { since_ms: now.mono_ms, confirmed: BTreeSet::new(), is_told: false };
        let doubt = self.closings.doubts.entry(replica).or_insert(fresh);
        if is_denied && !std::mem::replace(&mut doubt.is_told, true) {
            self.counters.closings_denied += 1;
        }
        let confirmed = self.closings.doubts.get(&replica).map(|doubt| &doubt.confirmed);
        if is_confirmed || confirmed.is_some_and(|confirmed| self.is_majority(confirmed)) {
            self.closings.confirmed.insert(replica, closed.through);
            return Verdict::Condemned;
        }
        Verdict::Doubted
    }
}
