//! Making commits again: those of an earlier incarnation of ours that nobody else has.
//!
//! An orphan keeps its stamp and its request id, so that it wins over exactly what it won over when it was made, and is made
//! again once however often a crash interrupts. It is made again whole, or not at all, and then an event names it. What it
//! observed then it supersedes now, and nothing else. Certain orphans wait until we have caught up with somebody; doubtful
//! ones until every member has been heard, and are dropped when one of them has them.

use std::collections::BTreeSet;

use super::{Event, Output, Replica};
use crate::commit::{Batch, Commit, CommitBytes, RequestId};
use crate::crdt::{Assign, Op};
use crate::id::{Dot, ReplicaId, Stream};
use crate::key::Key;
use crate::limits::{COMMIT_BYTES_MAX, ORPHANS_GRACE_MS};
use crate::planted::{self, Bug};
use crate::time::Time;

/// An orphan while it is made again.
struct Again<'a> {
    /// What it was called.
    old: Dot,
    /// What it will be called.
    new: Dot,
    /// What we wrote before the first orphan of this round was made again; later than any orphan.
    own_before: u64,
    /// The commits that are made again: nobody else ever heard of their old names.
    orphans: &'a BTreeSet<Dot>,
}

impl Replica {
    pub(super) fn make_again_if_due(&mut self, now: Time, out: &mut Vec<Output>) {
        if self.lineage.orphans().is_empty() || self.lineage.is_fenced() || self.durability.is_read_only() {
            return;
        }
        let (certain, doubtful) = (&self.lineage.orphans().certain, &self.lineage.orphans().doubtful);
        let certain = !certain.is_empty() && self.has_caught_up();
        let doubtful = !doubtful.is_empty() && self.has_heard_all(now);
        if certain || doubtful {
            // While they are all still named as waiting: struck off before they are stored again, a crash would lose them.
            self.say_if_unsaid(out);
        }
        if certain {
            let orphans = self.lineage.take_orphans(|orphans| &mut orphans.certain);
            self.make_again(&orphans, now, out);
        }
        if doubtful {
            let orphans = self.lineage.take_orphans(|orphans| &mut orphans.doubtful);
            let unknown: Vec<Batch> = orphans.into_iter().filter_map(|batch| self.unknown_part(batch)).collect();
            self.make_again(&unknown, now, out);
        }
    }

    /// Whether every member has been heard since we began, and all that it had is here.
    fn has_heard_all(&self, now: Time) -> bool {
        let goals = &self.lineage.goals;
        let reached = |member| goals.get(member).is_some_and(|goal| self.has_reached(goal));
        let waited = now.mono_ms.saturating_sub(self.lineage.began_ms) >= ORPHANS_GRACE_MS;
        // A list without members says nothing: at the start it is not known yet who belongs to it.
        waited && !self.members.is_empty() && self.members.iter().all(reached)
    }

    /// The commits of a batch that nobody had.
    fn unknown_part(&self, mut batch: Batch) -> Option<Batch> {
        let known = (self.seen.seq(&batch.stream) + 1).saturating_sub(batch.first);
        let known = usize::try_from(known).unwrap_or(usize::MAX).min(batch.commits.len());
        batch.commits.drain(..known);
        batch.first += known as u64;
        (!batch.commits.is_empty()).then_some(batch)
    }

    fn make_again(&mut self, batches: &[Batch], now: Time, out: &mut Vec<Output>) {
        let dots = |batch: &Batch| {
            let replica = batch.stream.replica;
            (batch.first..).zip(batch.commits.clone()).map(move |(seq, bytes)| (Dot { replica, seq }, bytes))
        };
        let orphans: BTreeSet<Dot> = batches.iter().flat_map(|batch| dots(batch).map(|(dot, _)| dot)).collect();
        let own_before = self.seen.seq(&self.own_stream());
        let mut commits = 0;
        for (old, bytes) in batches.iter().flat_map(dots) {
            let new = Dot { replica: self.me, seq: self.seen.seq(&self.own_stream()) + 1 };
            let again = Again { old, new, own_before, orphans: &orphans };
            match self.orphan_again(&bytes, &again, now) {
                Ok(Some((made, bytes))) => {
                    self.append(made, bytes, out);
                    commits += 1;
                }
                Ok(None) => {}
                Err(reason) => {
                    self.counters.not_made_again += 1;
                    out.push(Output::Event(Event::NotMadeAgain { dot: old, reason }));
                }
            }
        }
        self.counters.made_again += commits;
        self.durability.want_checkpoint();
        self.checkpoint_if_due(now, out);
        out.push(Output::Event(Event::MadeAgain { commits }));
    }

    /// An orphan under its new name, whole; `None` when it was made again before, or has no meaning any more.
    fn orphan_again(
        &mut self,
        bytes: &CommitBytes,
        again: &Again<'_>,
        now: Time,
    ) -> Result<Option<(Commit, CommitBytes)>, String> {
        let (old, new, stream) = (again.old, again.new, self.own_stream());
        let commit = Commit::decode(Stream { replica: old.replica, ..stream }, old.seq, bytes);
        let commit = commit.map_err(|error| error.to_string())?;
        let request = commit.request.unwrap_or_else(|| request_of(&old));
        let made = self.lineage.was_made_again(&request) || self.requests.knows_otherwise(&request, &old);
        if made && !planted::is(Bug::MadeAgainTwice) {
            return Ok(None);
        }
        let mut ops: Vec<(Key, Op)> = Vec::with_capacity(commit.ops.len());
        for (key, op) in commit.ops {
            if let Some(op) = self.op_again(&key, op, again) {
                op.validate(key.kind(), &new).map_err(|error| format!("{key}: {error}"))?;
                ops.push((key, op));
            }
        }
        if ops.is_empty() || planted::is(Bug::NeverMadeAgain) {
            return Ok(None);
        }
        let hlc = if planted::is(Bug::MadeAgainLater) { self.clock.issue(now.wall_ms) } else { commit.hlc };
        let made = Commit { stream, seq: new.seq, hlc, request: Some(request), ops };
        let bytes = made.encode();
        if bytes.len() > COMMIT_BYTES_MAX {
            return Err(format!("{} bytes are too many for one commit", bytes.len()));
        }
        Ok(Some((made, bytes)))
    }

    /// The operation under its new name; `None` when it has no meaning any more.
    fn op_again(&self, key: &Key, op: Op, again: &Again<'_>) -> Option<Op> {
        if self.retired.is_table(key) {
            return None;
        }
        let object = self.state.object(key);
        let (up, down) = object.map_or((0, 0), |object| object.totals(&self.me));
        // Above what a counter may reach, the operation is not sound, and neither is the commit.
        let raise = |total: u64, step: u64| total.saturating_add(step);
        match op {
            Op::GCounter(by) => Some(Op::GCounter(by.over(raise(up, by.step)))),
            Op::PnCounter(more, less) => {
                Some(Op::PnCounter(more.over(raise(up, more.step)), less.over(raise(down, less.step))))
            }
            Op::Fold { .. } => None,
            Op::GSet(members) => Some(Op::GSet(members)),
            Op::OrSet(assigns) => {
                let live = |member: &_| object.map_or_else(Vec::new, |object| object.dots_of_member(member));
                let assigns = assigns.into_iter().filter_map(|assign| {
                    let live = live(&assign.member);
                    self.assign_again(assign, &live, again)
                });
                Some(Op::OrSet(assigns.collect())).filter(|op| !matches!(op, Op::OrSet(assigns) if assigns.is_empty()))
            }
            Op::LwwMap(assigns) => {
                let live = |field: &str| object.map_or_else(Vec::new, |object| object.dots_of_field(field));
                let assigns = assigns.into_iter().filter_map(|assign| {
                    let live = live(&assign.member);
                    self.assign_again(assign, &live, again)
                });
                Some(Op::LwwMap(assigns.collect()))
                    .filter(|op| !matches!(op, Op::LwwMap(assigns) if assigns.is_empty()))
            }
        }
    }

    /// An assignment supersedes what it superseded when it was made: what it named, as far as that is not gone already, and
    /// its writer's own earlier dots, which now have to be named.
    fn assign_again<K, V>(&self, assign: Assign<K, V>, live: &[Dot], again: &Again<'_>) -> Option<Assign<K, V>> {
        let later = |dot: &Dot| dot.replica == again.new.replica && dot.seq <= again.own_before;
        if live.iter().any(later) {
            // We have written the member since: whatever the orphan did came before.
            return None;
        }
        let named = assign.over.iter().filter(|dot| !again.orphans.contains(*dot));
        // What lies beyond the end of a closed stream nobody will ever have: it goes without saying.
        let counts = |dot: &Dot| dot.seq <= self.retired.end_of(&Stream::global(dot.replica));
        let open = named.filter(|dot| live.contains(dot) || (!self.seen.covers(super::SCOPE, dot) && counts(dot)));
        let own = live.iter().filter(|dot| dot.replica == again.old.replica && dot.seq < again.old.seq);
        let over: BTreeSet<Dot> = open.chain(own).copied().filter(|dot| dot.replica != again.new.replica).collect();
        let pointless = assign.value.is_none() && over.is_empty() && !live.iter().any(|dot| dot.replica == self.me);
        (!pointless).then(|| Assign { over: over.into_iter().collect(), ..assign })
    }
}

/// The request id of an orphan that had none.
fn request_of(old: &Dot) -> RequestId {
    let ReplicaId { node, incarnation } = old.replica;
    let mut hasher = blake3::Hasher::new_derive_key("selvedge orphan v1");
    hasher.update(&node.0).update(&incarnation.0.to_le_bytes()).update(&old.seq.to_le_bytes());
    let mut id = [0; 16];
    id.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    RequestId(id)
}
