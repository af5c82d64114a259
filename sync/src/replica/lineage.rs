//! Whether our own stream still means here what it means elsewhere, and what follows when it does not.
//!
//! A restored backup, a snapshot of a whole machine or a clone has forgotten commits of its own, and may have written others
//! under their names. It finds out from the first peer that knows better: by the length of its stream, or by its tip. Then
//! local writes wait, the peer is asked what it has of the stream, and what is different there was written under used names.
//! When nothing was, a new incarnation is all it takes. Otherwise this replica begins anew: the store keeps only the commits
//! that nobody else has, everything else comes back from the peers, and those commits are made again (`reissue`). The same
//! happens to a member that comes back after its streams were closed (`retire`). The invariant: no dot of ours ever means two
//! commits at those who have heard of it, and no durable commit is dropped. Where a snapshot of a whole machine wrote, and a peer
//! that lagged took what it wrote for the first meaning of a name, neither holds for that name (docs/decisions.md).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::early::Early;
use super::local::Requests;
use super::recall::Recall;
use super::repair::RepairState;
use super::{Event, Fresh, Message, Orphans, Output, Replica, SCOPE};
use crate::causal::VersionVector;
use crate::commit::{Batch, Commit, CommitBytes, RequestId};
use crate::crdt::Seeded;
use crate::id::{Dot, Incarnation, NodeId, Stream};
use crate::log::{Log, Range};
use crate::planted::{self, Bug};
use crate::state::State;
use crate::time::Time;

/// The last commit that a replica has of the receiver's own stream, so that a writer finds out at the first contact when its
/// stream means something else here: a restored snapshot may have written under names that were used before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tip(pub Incarnation, pub u64, pub u64);

impl Tip {
    /// The tip that `bytes`, the commit at `seq` of a node's life `incarnation`, makes.
    #[must_use]
    pub fn of(incarnation: Incarnation, seq: u64, bytes: &CommitBytes) -> Self {
        Self(incarnation, seq, xxhash_rust::xxh3::xxh3_64(bytes.as_bytes()))
    }
}

#[derive(Debug, Default)]
pub(super) struct Lineage {
    pub(super) fence: Option<Fence>,
    pub(super) orphans: Orphans,
    /// What a peer must have seen to say how far the others have got: as much as whoever made us begin anew.
    pub(super) informed: VersionVector,
    /// How far our stream had got when this life began.
    start: u64,
    /// Whether anybody has shown to know a commit of this life: then nobody who can be met knows another under its name. That
    /// somebody knows what was there before says nothing, for it may lag behind, or have said so long ago.
    confirmed: bool,
    /// Whether the store does not know yet that this life is in doubt.
    unsaid: bool,
    /// When this replica began, or began anew.
    pub(super) began_ms: u64,
    /// What peers had seen when we first heard them since then.
    pub(super) goals: BTreeMap<NodeId, VersionVector>,
    /// Who has not seen this commit knows no more than we did when we began anew, and is not listened to.
    required: Option<Dot>,
    /// What readers see until the repair is done.
    pub(super) before: Option<Box<State>>,
    /// How many commits would have to be made again, but are not retained any more.
    missing: u64,
    /// What the store was last given of the orphans.
    given: Summary,
    /// The requests of commits that the log holds beyond the last checkpoint: orphans that were made again before the crash, and
    /// that no checkpoint has struck off.
    made_again: BTreeSet<RequestId>,
}

/// Which orphans there are: they are only ever taken all at once, so their number tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Summary {
    certain: u64,
    doubtful: u64,
    unconfirmed_after: Option<u64>,
}

impl Summary {
    fn of(orphans: &Orphans) -> Self {
        let Orphans { certain, doubtful, unconfirmed_after } = orphans;
        Self { certain: count(certain), doubtful: count(doubtful), unconfirmed_after: *unconfirmed_after }
    }
}

/// Why local writes wait.
#[derive(Debug)]
pub(super) enum Fence {
    /// A peer was asked what it has of our stream.
    Recalling(Recall),
    /// Our stream is frozen, nobody takes it any more, and nobody has said yet what of it he has; who was asked last.
    Frozen(Option<NodeId>),
    /// The store was asked for a new incarnation; `Some` when it begins anew.
    Reborn(Option<Orphans>),
}

impl Lineage {
    /// What was left by a life that ended with our stream at `own`. Unless that life was confirmed, what it wrote without is
    /// still in doubt; and from here on, what this one writes is. What was said of a stream that went further than ours was said of
    /// another life: this one has written nothing yet, or it would have said so first.
    pub(super) fn with(mut orphans: Orphans, own: u64, made_again: BTreeSet<RequestId>) -> Self {
        let given = Summary::of(&orphans);
        orphans.unconfirmed_after = orphans.unconfirmed_after.filter(|after| *after <= own);
        let unsaid = orphans.unconfirmed_after.is_none();
        orphans.unconfirmed_after.get_or_insert(own);
        Self { orphans, start: own, unsaid, given, made_again, ..Self::default() }
    }

    /// Whether an orphan with this request was made again before the crash that this life began after.
    pub(super) fn was_made_again(&self, request: &RequestId) -> bool {
        self.made_again.contains(request)
    }

    /// How far our own stream is known elsewhere, as far as we know.
    pub(super) fn confirmed_through(&self) -> u64 {
        self.orphans.unconfirmed_after.unwrap_or(0)
    }

    /// Whether the store has yet to learn from which commit on this life is in doubt: it has to before the first of them counts.
    pub(super) fn has_to_say(&mut self) -> bool {
        std::mem::take(&mut self.unsaid) && !self.confirmed
    }

    pub(super) const fn is_fenced(&self) -> bool {
        self.fence.is_some()
    }

    /// Whether local writes wait: until it is known what our stream means, and until what we had is back, for a draft over less
    /// than readers see would do other things than its writer meant.
    pub(super) const fn holds_writes(&self) -> bool {
        self.fence.is_some() || self.before.is_some()
    }

    /// Whether the store was asked to begin anew and has not said that it did.
    pub(super) const fn is_void(&self) -> bool {
        matches!(self.fence, Some(Fence::Reborn(Some(_))))
    }

    pub(super) fn before(&self) -> Option<&State> {
        self.before.as_deref()
    }

    pub(super) const fn orphans(&self) -> &Orphans {
        &self.orphans
    }

    /// What the store is to remember, when that is something new: of a life that was confirmed, the next need not doubt what it
    /// wrote.
    pub(super) fn take_news(&mut self) -> Option<Orphans> {
        let unconfirmed_after = self.orphans.unconfirmed_after.filter(|_| !self.confirmed);
        let now = Summary { unconfirmed_after, ..Summary::of(&self.orphans) };
        let before = std::mem::replace(&mut self.given, now);
        (before != now).then(|| Orphans { unconfirmed_after, ..self.orphans.clone() })
    }

    pub(super) fn take_orphans(&mut self, pick: impl FnOnce(&mut Orphans) -> &mut Vec<Batch>) -> Vec<Batch> {
        std::mem::take(pick(&mut self.orphans))
    }

    fn is_waiting(&self) -> bool {
        !self.orphans.is_empty() || self.before.is_some()
    }
}

impl Replica {
    /// A peer has seen more of our stream than we remember: this directory is a restored backup or a copy.
    pub(super) fn check_memory(&mut self, peer: NodeId, theirs: &VersionVector, now: Time, out: &mut Vec<Output>) {
        let known = theirs.seq(&self.own_stream());
        if known > self.seen.seq(&self.own_stream()) {
            self.doubt(peer, known, now, out);
        }
    }

    /// A peer's last commit of our stream is the one that we made; or it is not, and this is a snapshot that has written since.
    pub(super) fn check_tip(&mut self, peer: NodeId, tip: Option<Tip>, now: Time, out: &mut Vec<Output>) {
        let Some(tip) = tip.filter(|tip| tip.0 == self.me.incarnation) else { return };
        match self.log.get(&self.own_stream(), tip.1).map(|bytes| Tip::of(tip.0, tip.1, bytes) == tip) {
            Some(true) => self.confirm(tip.1),
            Some(false) => self.doubt(peer, tip.1, now, out),
            None => {}
        }
    }

    /// Our stream is known elsewhere as we know it, up to and including `seq`.
    fn confirm(&mut self, seq: u64) {
        if self.lineage.is_fenced() {
            return;
        }
        let after = &mut self.lineage.orphans.unconfirmed_after;
        *after = Some(after.unwrap_or(0).max(seq));
        if seq > self.lineage.start && !std::mem::replace(&mut self.lineage.confirmed, true) {
            self.durability.want_checkpoint();
        }
    }

    /// Ends the doubt: our commits from `first` on are nobody's but ours.
    pub(super) fn conclude(&mut self, first: Option<u64>, now: Time, out: &mut Vec<Output>) {
        match first {
            None => self.rebirth(None, now, out),
            Some(first) => {
                let certain = self.retained_from(self.own_stream(), first);
                self.begin_anew(Orphans { certain, ..Orphans::default() }, first, None, now, out);
            }
        }
    }

    /// The commits of a stream from `first` on, as far as they are retained.
    pub(super) fn retained_from(&self, stream: Stream, first: u64) -> Vec<Batch> {
        let Some((retained, last)) = self.log.retained(&stream) else { return Vec::new() };
        match self.log.range(&stream, first.max(retained), last, usize::MAX) {
            Range::Batch { batch, .. } => vec![batch],
            Range::Nothing | Range::Forgotten => Vec::new(),
        }
    }

    /// Asks the store to forget everything but what is to be made again: `orphans`, of our own stream from `first` on, and what
    /// waits already.
    pub(super) fn begin_anew(
        &mut self,
        orphans: Orphans,
        first: u64,
        required: Option<Dot>,
        now: Time,
        out: &mut Vec<Output>,
    ) {
        let own = self.seen.seq(&self.own_stream());
        let wanted = (own + 1).saturating_sub(first);
        let missing = wanted.saturating_sub(count(&orphans.certain) + count(&orphans.doubtful));
        let mut all = std::mem::take(&mut self.lineage.orphans);
        all.certain.extend(orphans.certain);
        all.doubtful.extend(orphans.doubtful);
        all.unconfirmed_after = None;
        self.lineage.required = required;
        self.lineage.missing = missing;
        self.rebirth(Some(all), now, out);
    }

    fn rebirth(&mut self, fresh: Option<Orphans>, now: Time, out: &mut Vec<Output>) {
        // Greater than every life of this node that anybody here has heard of: the clock alone could name one of them again.
        let vectors = self.peers.known.values().map(|peer| &peer.seen).chain([&self.seen]);
        let lives = vectors.filter_map(|vector| vector.of_node(SCOPE, self.me.node).next_back());
        let last = lives.map(|(stream, _)| stream.replica.incarnation).fold(self.me.incarnation, Incarnation::max);
        // Where the clock is behind, two hosts with one key would both take the next number, but for what tells them apart.
        let apart = blake3::hash(&[self.me.incarnation.0.to_le_bytes(), now.mono_ms.to_le_bytes()].concat());
        let apart = u64::from(u16::from_le_bytes([apart.as_bytes()[0], apart.as_bytes()[1]]));
        let incarnation = Incarnation(now.wall_ms.max(last.0.saturating_add(1 + apart)));
        self.lineage.fence = Some(Fence::Reborn(fresh.clone()));
        out.push(Output::Rebirth { incarnation, fresh: fresh.map(|orphans| Fresh { orphans }) });
    }

    pub(super) fn handle_reborn(&mut self, incarnation: Incarnation, now: Time, out: &mut Vec<Output>) {
        self.me.incarnation = if planted::is(Bug::RebirthKeepsName) { self.me.incarnation } else { incarnation };
        self.retired.forget();
        self.peers.known.values_mut().for_each(|peer| peer.pushed = None);
        match self.lineage.fence.take() {
            Some(Fence::Reborn(Some(orphans))) => self.start_from_nothing(orphans, now, out),
            Some(Fence::Reborn(None) | Fence::Recalling(_) | Fence::Frozen(_)) | None => {
                self.state.become_replica(self.me);
                self.lineage.orphans.unconfirmed_after = Some(0);
                (self.lineage.start, self.lineage.confirmed, self.lineage.unsaid) = (0, false, true);
            }
        }
    }

    /// The store holds nothing but the orphans now, and so do we. What readers saw, they go on seeing until it is repaired.
    fn start_from_nothing(&mut self, orphans: Orphans, now: Time, out: &mut Vec<Output>) {
        let before = std::mem::replace(&mut self.state, State::seeded(self.me, Seeded(self.config.hash_seed)));
        self.requests.forget(&requests_of(&orphans.certain));
        out.push(Output::Event(Event::BegunAnew {
            orphans: count(&orphans.certain) + count(&orphans.doubtful),
            missing: self.lineage.missing,
        }));
        self.seen = VersionVector::default();
        self.log = Log::default();
        self.early = Early::default();
        self.spread.begin_anew();
        self.repair = RepairState::default();
        self.durability.begin_anew();
        self.retired.look_again();
        let (required, given) = (self.lineage.required.take(), Summary::of(&orphans));
        let (before, began_ms) = (Some(before.into()), now.mono_ms);
        self.lineage = Lineage { orphans, required, given, before, began_ms, ..Lineage::default() };
        self.peers.connected.clone().into_iter().for_each(|node| self.send_digest(node, out));
    }

    /// Notes what a peer had seen when it was first heard since we began, as long as anything waits for that.
    pub(super) fn note_goal(&mut self, peer: NodeId, seen: VersionVector) {
        let enough = !seen.is_empty() && seen.includes(&self.lineage.informed);
        if self.lineage.is_waiting() && enough && self.is_informed(&seen) {
            self.lineage.goals.entry(peer).or_insert(seen);
        }
    }

    /// Whether what somebody had seen when we began anew is here by now.
    pub(super) fn has_caught_up(&self) -> bool {
        self.lineage.goals.values().any(|goal| self.has_reached(goal))
    }

    /// Whether all of this is here that counts: who told of it may not have heard yet that a stream was closed.
    pub(super) fn has_reached(&self, goal: &VersionVector) -> bool {
        self.seen.includes(&self.retired.cap(goal))
    }

    /// Whether whoever has seen this has heard of what made us begin anew.
    fn is_informed(&self, seen: &VersionVector) -> bool {
        let covers = |dot: &Dot| self.seen.covers(SCOPE, dot) || seen.covers(SCOPE, dot);
        self.lineage.required.as_ref().is_none_or(covers)
    }

    /// Whether a message may bring content: not from a peer that knows less than what made us begin anew.
    pub(super) fn trusts(&self, from: NodeId, message: &Message) -> bool {
        let informed = || self.peers.known.get(&from).is_some_and(|peer| self.is_informed(&peer.seen));
        let brings = matches!(message, Message::Commits { .. } | Message::StatePage { .. } | Message::Forgotten);
        !brings || self.lineage.required.is_none() || informed()
    }
}

fn count(batches: &[Batch]) -> u64 {
    batches.iter().map(|batch| batch.commits.len() as u64).sum()
}

pub(super) fn requests_of(batches: &[Batch]) -> BTreeSet<RequestId> {
    let commits = batches.iter().flat_map(|batch| (batch.first..).zip(&batch.commits).map(|of| (batch.stream, of)));
    let request = |(stream, (seq, bytes))| Commit::decode(stream, seq, bytes).ok()?.request;
    commits.filter_map(request).collect()
}

impl Requests {
    /// Whether the request was answered by another commit than the one named `old`.
    pub(super) fn knows_otherwise(&self, request: &RequestId, old: &Dot) -> bool {
        self.answer(request).is_some_and(|answer| answer.dot != *old)
    }
}
