//! The members of the mesh, as each describes itself, and how each fares.
//!
//! Owns the table: which record is newest, who is there, whom to forget. Pure: time, records and what failure detection found
//! ([`detector`]) are arguments; [`gossip`] carries them. The invariants: a record only gives way to a newer one of the same member,
//! signed by it (`sealed`), whom an authority has certified (`register`); the table is bounded.

pub mod detector;
mod fit;
mod frame;
pub mod gossip;
mod record;
mod register;
mod sealed;
mod spread;

use std::collections::{BTreeMap, BTreeSet};

use selvedge_sync::id::NodeId;
use selvedge_sync::time::Time;

use self::detector::{MEMBERS_MAX, Standing};
pub use self::fit::LeftOut;
pub use self::record::{Location, NodeRecord};
pub use self::register::{Register, Uncertified};
pub use self::sealed::Sealed;
pub use self::spread::Announcer;
use crate::placement::{Mesh, NodeFacts};

/// Addresses that are kept of one member, the newest first.
const ADDRESSES_MAX: usize = 8;

/// How a member fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It answers.
    Alive,
    /// It did not answer somebody, and may still say that it lives.
    Suspect,
    /// Nothing is expected of it: it has not answered, or is known only by what others have said of it.
    Lost,
    /// It has said that it leaves, and is none of those who are waited for.
    Left,
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
    /// How old its record is, in milliseconds.
    pub age_ms: u64,
    /// For how long it has not been there, in milliseconds: since it was last alive or suspect, or this agent started.
    pub silent_ms: u64,
}

/// Where a member was to be found, kept over restarts of this agent.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Remembered {
    /// Who.
    pub node: NodeId,
    /// Its multiaddresses.
    pub addresses: Vec<String>,
}

/// A key that two live hosts have.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Twin {
    /// Whose it is.
    pub node: NodeId,
    /// Who has heard both; this node itself, where it is.
    pub heard_by: NodeId,
}

/// The table.
#[derive(Debug)]
pub struct Members {
    me: NodeId,
    known: BTreeMap<NodeId, Known>,
    /// What others were last told of us. Its figures are older than those of our record in `known`.
    told: Option<NodeRecord>,
    /// Who was put out of the cluster, for ever.
    out: BTreeSet<NodeId>,
    /// Whose key this node has heard two hosts use.
    twins: BTreeSet<NodeId>,
    /// Counts what has changed about anybody.
    changes: u64,
}

#[derive(Debug)]
struct Known {
    record: Option<NodeRecord>,
    sealed: Option<Sealed>,
    addresses: Vec<String>,
    /// When its record was made, on our monotonic clock.
    made_ms: u64,
    /// What failure detection says of it; `None` before it says anything.
    standing: Option<Standing>,
    /// When it was last there, or this agent started: silence counts from here.
    counted_from_ms: u64,
}

impl Known {
    fn new(addresses: Vec<String>, now: Time) -> Self {
        let (made_ms, counted_from_ms) = (now.mono_ms, now.mono_ms);
        Self { record: None, sealed: None, addresses, made_ms, standing: None, counted_from_ms }
    }

    fn status(&self) -> Status {
        match (&self.record, self.standing) {
            (Some(record), _) if record.left => Status::Left,
            (Some(_), Some(Standing::Alive)) => Status::Alive,
            (Some(_), Some(Standing::Suspect)) => Status::Suspect,
            (Some(_), Some(Standing::Lost) | None) | (None, _) => Status::Lost,
        }
    }
}

impl Members {
    /// A table that knows only what is remembered.
    #[must_use]
    pub fn new(me: NodeId, remembered: Vec<Remembered>, now: Time) -> Self {
        let known = remembered.into_iter().filter(|member| member.node != me).take(MEMBERS_MAX);
        let known = known.map(|Remembered { node, addresses }| (node, Known::new(addresses, now))).collect();
        Self { me, known, told: None, out: BTreeSet::new(), twins: BTreeSet::new(), changes: 1 }
    }

    /// How we are now, and what others are being told of it, if they are.
    pub fn take_own(&mut self, record: NodeRecord, told: Option<(NodeRecord, Sealed)>, now: Time) {
        let known = self.known.entry(self.me).or_insert_with(|| Known::new(Vec::new(), now));
        known.made_ms = now.mono_ms;
        known.addresses.clone_from(&record.addresses);
        known.record = Some(record);
        if let Some((told, sealed)) = told {
            known.sealed = Some(sealed);
            self.told = Some(told);
        }
        self.changes += 1;
    }

    /// Counts up whenever something has changed about anybody: who looks at it need not look at the table.
    #[must_use]
    pub const fn changes(&self) -> u64 {
        self.changes
    }

    /// Whether a record would be news. Others' records of us are not: we know better.
    #[must_use]
    pub fn is_news(&self, record: &NodeRecord) -> bool {
        let node = &record.node;
        let known = self.known.get(node);
        let has_room = known.is_some() || self.known.len() < MEMBERS_MAX;
        let before = known.and_then(|known| known.record.as_ref());
        *node != self.me
            && !self.out.contains(node)
            && has_room
            && before.is_none_or(|before| before.version() < record.version())
    }

    /// Takes a record that its member has signed, made `age_ms` ago; returns whether it was news.
    pub fn take(&mut self, (record, sealed): (NodeRecord, Sealed), age_ms: u64, now: Time) -> bool {
        if !self.is_news(&record) {
            return false;
        }
        let known = self.known.entry(record.node).or_insert_with(|| Known::new(Vec::new(), now));
        known.made_ms = now.mono_ms.saturating_sub(age_ms);
        // A member that is found under other addresses is one member still: the newest first, older ones are worth a try.
        let before = std::mem::replace(&mut known.addresses, record.addresses.clone());
        let fresh = |address: &String| !record.addresses.contains(address);
        known.addresses.extend(before.into_iter().filter(fresh));
        known.addresses.truncate(ADDRESSES_MAX);
        if record.left {
            known.addresses.clear();
        }
        if known.record.as_ref().is_some_and(|before| before.life < record.life) {
            known.standing = None;
        }
        known.record = Some(record);
        known.sealed = Some(sealed);
        self.changes += 1;
        true
    }

    /// Takes over how members fare; returns whether that has changed for anybody.
    pub fn judge(&mut self, standings: impl Iterator<Item = (NodeId, Standing)>, now: Time) -> bool {
        let mut changed = false;
        for (node, standing) in standings {
            if let Some(known) = self.known.get_mut(&node) {
                changed |= known.standing.replace(standing) != Some(standing);
                if standing != Standing::Lost {
                    known.counted_from_ms = now.mono_ms;
                }
            }
        }
        self.changes += u64::from(changed);
        changed
    }

    /// This node has heard two hosts use the keys of these members.
    pub fn found_twins(&mut self, twins: BTreeSet<NodeId>) {
        self.twins = twins;
    }

    /// Keys that two live hosts have, by this node's own ears or another's.
    #[must_use]
    pub fn twins(&self) -> BTreeSet<Twin> {
        let present = self.known.values().filter(|known| known.status() != Status::Lost);
        let told = present
            .filter_map(|known| known.record.as_ref())
            .flat_map(|record| record.twins.iter().map(|node| Twin { node: *node, heard_by: record.node }));
        told.chain(self.twins.iter().map(|node| Twin { node: *node, heard_by: self.me })).collect()
    }

    /// Drops a member that was put out of the cluster; whatever is said of it from now on is no news.
    pub fn put_out(&mut self, node: NodeId) {
        if node != self.me {
            let was_known = self.known.remove(&node).is_some();
            self.changes += u64::from(was_known);
            self.out.insert(node);
        }
    }

    /// Who was put out.
    fn put_out_for_ever(&self) -> impl Iterator<Item = &NodeId> {
        self.out.iter()
    }

    /// Drops members silent for longer than `retire_after_ms`.
    pub fn retire(&mut self, retire_after_ms: u64, now: Time) {
        let me = self.me;
        let silent = |known: &Known| now.mono_ms.saturating_sub(known.counted_from_ms);
        let before = self.known.len();
        self.known.retain(|node, known| *node == me || silent(known) < retire_after_ms);
        self.changes += u64::from(self.known.len() < before);
    }

    /// Every member, this node included, in order of id.
    #[must_use]
    pub fn all(&self, now: Time) -> Vec<Member> {
        self.known.iter().map(|(node, known)| self.member(node, known, now)).collect()
    }

    /// Every member, with how it fares and what it last said of itself, in order of id.
    pub fn each(&self) -> impl Iterator<Item = (NodeId, Status, Option<&NodeRecord>)> {
        self.known.iter().map(move |(node, known)| (*node, self.status(node, known), known.record.as_ref()))
    }

    /// How a member fares; `None` of one that is not known.
    #[must_use]
    pub fn status_of(&self, node: &NodeId) -> Option<Status> {
        self.known.get(node).map(|known| self.status(node, known))
    }

    /// One member.
    #[must_use]
    pub fn get(&self, node: &NodeId, now: Time) -> Option<Member> {
        self.known.get(node).map(|known| self.member(node, known, now))
    }

    fn member(&self, node: &NodeId, known: &Known, now: Time) -> Member {
        let age_ms = if known.record.is_some() { now.mono_ms.saturating_sub(known.made_ms) } else { u64::MAX };
        let silent_ms = now.mono_ms.saturating_sub(known.counted_from_ms);
        Member { node: *node, record: known.record.clone(), status: self.status(node, known), age_ms, silent_ms }
    }

    fn status(&self, node: &NodeId, known: &Known) -> Status {
        let status = known.status();
        if *node == self.me && status != Status::Left { Status::Alive } else { status }
    }

    /// Every other member's id: those whose having seen a commit is awaited before it is forgotten.
    #[must_use]
    pub fn others(&self) -> BTreeSet<NodeId> {
        let stays = |(node, known): &(&NodeId, &Known)| **node != self.me && known.status() != Status::Left;
        self.known.iter().filter(stays).map(|(node, _)| *node).collect()
    }

    /// The version of each record after `after`, in order of id.
    fn versions(&self, after: Option<NodeId>) -> impl Iterator<Item = (NodeId, u64, u64)> {
        let begin = after.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        let version = |(node, known): (&NodeId, &Known)| {
            known.sealed.as_ref()?;
            let (life, beat) = known.record.as_ref()?.version();
            Some((*node, life, beat))
        };
        self.known.range((begin, std::ops::Bound::Unbounded)).filter_map(version)
    }

    /// A record to be passed on, with its age in milliseconds.
    fn sealed(&self, node: &NodeId, now: Time) -> Option<(u64, Sealed)> {
        let known = self.known.get(node)?;
        Some((now.mono_ms.saturating_sub(known.made_ms), known.sealed.clone()?))
    }

    /// How many others are known of whom nothing has been heard since this agent started, not even that they are lost.
    #[must_use]
    pub fn unheard(&self) -> usize {
        let unheard =
            |known: &Known| known.status() != Status::Left && (known.record.is_none() || known.standing.is_none());
        self.known.iter().filter(|(node, known)| **node != self.me && unheard(known)).count()
    }

    /// How many members are in sight, this node included, and how many there are. Who has left does not count, nor who has not been
    /// heard of since this agent started.
    #[must_use]
    pub fn sight(&self) -> (usize, usize) {
        let stays = |known: &Known| known.status() != Status::Left;
        let others = self.known.iter().filter(|(node, known)| **node != self.me && stays(known));
        others.fold((1, 1), |(seen, all), (_, known)| match known.standing {
            Some(Standing::Alive | Standing::Suspect) => (seen + 1, all + 1),
            Some(Standing::Lost) => (seen, all + 1),
            None => (seen, all),
        })
    }

    /// Members, of those of [`Members::sight`], that do not answer.
    pub fn silent(&self) -> impl Iterator<Item = (NodeId, Status, Option<&NodeRecord>)> {
        let is_heard_of = |known: &Known| matches!(known.standing, Some(Standing::Suspect | Standing::Lost));
        let others = self.known.iter().filter(move |(node, known)| **node != self.me && is_heard_of(known));
        let told = others.map(|(node, known)| (*node, known.status(), known.record.as_ref()));
        told.filter(|(_, status, _)| *status != Status::Left)
    }

    /// Where the others are to be found, to be kept.
    #[must_use]
    pub fn remember(&self) -> Vec<Remembered> {
        let stays = |(node, known): &(&NodeId, &Known)| **node != self.me && known.status() != Status::Left;
        let others = self.known.iter().filter(stays);
        others.map(|(node, known)| Remembered { node: *node, addresses: known.addresses.clone() }).collect()
    }

    /// Where one member is to be found, the newest address first.
    #[must_use]
    pub fn addresses(&self, node: &NodeId) -> Vec<String> {
        self.known.get(node).map(|known| known.addresses.clone()).unwrap_or_default()
    }

    /// What placement needs to know of everybody. Who is lost or has left is no candidate and does not count as running anything.
    ///
    /// Of ourselves it is what others were told, not what was measured since: everybody plans from the same figures. If each had
    /// newer ones of itself, all could find themselves the best host, or all another.
    #[must_use]
    pub fn mesh(&self, now: Time) -> Mesh {
        let facts = |member: Member| {
            let here = matches!(member.status, Status::Alive | Status::Suspect);
            let is_me = member.node == self.me;
            let age_ms = if is_me { 0 } else { member.age_ms };
            let record = if is_me { self.told.clone() } else { member.record };
            let suspected = member.status == Status::Suspect;
            let lost_ms = (member.status == Status::Lost).then_some(member.silent_ms);
            record.map(|record| NodeFacts {
                healthy: here && record.healthy,
                suspected,
                lost_ms,
                age_ms,
                ..record.facts()
            })
        };
        self.all(now).into_iter().filter_map(facts).collect()
    }
}

#[cfg(test)]
pub(crate) mod tests;
