//! The members of the mesh, as each describes itself.
//!
//! Owns the table of records: which is newest, who is alive, whom to forget. Pure: time and records are arguments, gossip
//! carries them ([`gossip`]). The invariants: a record only gives way to a newer one of the same member; the table is bounded.

pub mod gossip;
mod record;

use std::collections::{BTreeMap, BTreeSet};

use selvedge_sync::id::NodeId;
use selvedge_sync::time::Time;

pub use self::record::{Location, NodeRecord};
use crate::placement::{Mesh, NodeFacts};

/// Members that the table holds; the network is planned for thousands, and beyond that for regions.
const MEMBERS_MAX: usize = 4096;

/// Silence after which a member counts as suspect: five of its beats.
const SUSPECT_AFTER_MS: u64 = 5_000;

/// Silence after which a member counts as lost, and what it ran is placed elsewhere.
const LOST_AFTER_MS: u64 = 10_000;

/// How a member fares, judged by when it was last heard of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Heard of within the last five seconds.
    Alive,
    /// Silent for a while.
    Suspect,
    /// Silent for so long that nothing is expected of it, or known only from before this agent started.
    Lost,
}

/// One member as the table knows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// Who it is.
    pub node: NodeId,
    /// What it last said of itself; `None` when it is only remembered from before this agent started.
    pub record: Option<NodeRecord>,
    /// How it fares.
    pub status: Status,
    /// How long ago its record was renewed, in milliseconds.
    pub age_ms: u64,
}

/// Where a member was to be found, kept over restarts of this agent.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Remembered {
    /// Who.
    pub node: NodeId,
    /// Its multiaddresses.
    pub addresses: Vec<String>,
}

/// The table.
#[derive(Debug)]
pub struct Members {
    me: NodeId,
    known: BTreeMap<NodeId, Known>,
    /// Who was put out of the cluster, for ever.
    out: BTreeSet<NodeId>,
}

#[derive(Debug)]
struct Known {
    record: Option<NodeRecord>,
    addresses: Vec<String>,
    /// When it was last heard of, or this agent started: silence counts from here, on the monotonic clock.
    counted_from_ms: u64,
}

impl Members {
    /// A table that knows only what is remembered.
    #[must_use]
    pub fn new(me: NodeId, remembered: Vec<Remembered>, now: Time) -> Self {
        let known = remembered.into_iter().filter(|member| member.node != me).take(MEMBERS_MAX).map(|member| {
            let Remembered { node, addresses } = member;
            (node, Known { record: None, addresses, counted_from_ms: now.mono_ms })
        });
        Self { me, known: known.collect(), out: BTreeSet::new() }
    }

    /// Takes a record, our own too; returns whether it is news. Others' records of us are not: we know better.
    pub fn take(&mut self, record: NodeRecord, from: NodeId, now: Time) -> bool {
        if (record.node == self.me && from != self.me) || self.out.contains(&record.node) || !record.is_sane() {
            return false;
        }
        if !self.known.contains_key(&record.node) && self.known.len() >= MEMBERS_MAX {
            return false;
        }
        let known = self.known.entry(record.node).or_insert(Known {
            record: None,
            addresses: Vec::new(),
            counted_from_ms: now.mono_ms,
        });
        if known.record.as_ref().is_some_and(|before| before.version() >= record.version()) {
            return false;
        }
        known.counted_from_ms = now.mono_ms;
        known.addresses.clone_from(&record.addresses);
        known.record = Some(record);
        true
    }

    /// Drops a member that was put out of the cluster; whatever is said of it from now on is no news.
    pub fn put_out(&mut self, node: NodeId) {
        if node != self.me {
            self.known.remove(&node);
            self.out.insert(node);
        }
    }

    /// Drops members silent for longer than `retire_after_ms`.
    pub fn retire(&mut self, retire_after_ms: u64, now: Time) {
        let me = self.me;
        let silent = |known: &Known| now.mono_ms.saturating_sub(known.counted_from_ms);
        self.known.retain(|node, known| *node == me || silent(known) < retire_after_ms);
    }

    /// Every member, this node included, in order of id.
    #[must_use]
    pub fn all(&self, now: Time) -> Vec<Member> {
        self.known.iter().map(|(node, known)| self.member(node, known, now)).collect()
    }

    /// Every member, with how it fares and what it last said of itself, in order of id.
    pub fn each(&self, now: Time) -> impl Iterator<Item = (NodeId, Status, Option<&NodeRecord>)> {
        self.known.iter().map(move |(node, known)| (*node, self.fares(node, known, now).0, known.record.as_ref()))
    }

    /// One member.
    #[must_use]
    pub fn get(&self, node: &NodeId, now: Time) -> Option<Member> {
        self.known.get(node).map(|known| self.member(node, known, now))
    }

    fn member(&self, node: &NodeId, known: &Known, now: Time) -> Member {
        let (status, age_ms) = self.fares(node, known, now);
        Member { node: *node, record: known.record.clone(), status, age_ms }
    }

    /// How a member fares, and for how long it has been silent, in milliseconds.
    fn fares(&self, node: &NodeId, known: &Known, now: Time) -> (Status, u64) {
        let heard = known.record.as_ref().map(|_| known.counted_from_ms);
        let silent = heard.map_or(u64::MAX, |heard| now.mono_ms.saturating_sub(heard));
        let status = match silent {
            _ if *node == self.me => Status::Alive,
            0..SUSPECT_AFTER_MS => Status::Alive,
            SUSPECT_AFTER_MS..LOST_AFTER_MS => Status::Suspect,
            LOST_AFTER_MS.. => Status::Lost,
        };
        (status, silent)
    }

    /// Every other member's id: those whose having seen a commit is awaited before it is forgotten.
    #[must_use]
    pub fn others(&self) -> BTreeSet<NodeId> {
        self.known.keys().filter(|node| **node != self.me).copied().collect()
    }

    /// The records that are known, to be passed on.
    pub fn records(&self) -> impl Iterator<Item = &NodeRecord> {
        self.known.values().filter_map(|known| known.record.as_ref())
    }

    /// Where the others are to be found, to be kept.
    #[must_use]
    pub fn remember(&self) -> Vec<Remembered> {
        let others = self.known.iter().filter(|(node, _)| **node != self.me);
        others.map(|(node, known)| Remembered { node: *node, addresses: known.addresses.clone() }).collect()
    }

    /// What placement needs to know of everybody. A lost member is no candidate and does not count as running anything.
    #[must_use]
    pub fn mesh(&self, now: Time) -> Mesh {
        let facts = |member: Member| {
            let healthy = member.status != Status::Lost;
            let age_ms = if member.node == self.me { 0 } else { member.age_ms };
            member.record.map(|record| NodeFacts { healthy: healthy && record.healthy, age_ms, ..record.facts() })
        };
        self.all(now).into_iter().filter_map(facts).collect()
    }
}

#[cfg(test)]
pub(crate) mod tests;
