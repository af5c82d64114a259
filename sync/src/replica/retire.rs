//! Retirement: streams whose writer was silent for so long that nobody waits for it any more are closed, and the epoch goes on
//! without it.
//!
//! The closed streams are replicated state themselves: an OR-set of (writer, last commit that counts), so that equal vectors
//! mean equal epochs. One is closed only by a majority of the epoch (or the half with its least member), when all of it has
//! the same commits of the writer durable. What the writer made beyond that nobody takes: when it comes back, it finds itself
//! closed, begins anew under another incarnation, and makes again what only it has (`lineage`, `reissue`). Its shares of
//! counters are taken over by the member that closed it, once all members know. The invariant: a closed stream never grows.

use std::collections::{BTreeMap, BTreeSet};

use super::closing::Verdict;
use super::{Event, Orphans, Output, Replica, SCOPE};
use crate::causal::VersionVector;
use crate::commit::Commit;
use crate::crdt::{Assign, ContentHash, Op};
use crate::id::{Dot, Incarnation, NodeId, ReplicaId, Stream};
use crate::key::{Key, Kind, RESERVED_PREFIX};
use crate::limits::{COMMIT_BYTES_MAX, FOLD_DOTS_PER_COMMIT, FOLDS_PER_COMMIT, FORGET_MS, MEMBERS_PER_OP_MAX, SEQ_MAX};
use crate::planted::{self, Bug};
use crate::scalar::Scalar;
use crate::time::Time;

/// Bytes of an entry: node, incarnation, sequence number.
const ENTRY_BYTES: usize = 48;

/// The streams that are closed, as the state says.
#[derive(Debug)]
pub(super) struct Retired {
    key: Key,
    /// What the table was read from.
    read: Option<ContentHash>,
    /// Whether the table may have changed since.
    stale: bool,
    /// The last commit that counts of each closed writer, and who takes its shares over.
    closed: BTreeMap<ReplicaId, Closed>,
    /// Writers whose shares were all taken over.
    folded: BTreeSet<ReplicaId>,
    /// Streams of earlier lives of members: how far they had got when they were last seen to grow, and when that was.
    quiet: BTreeMap<Stream, (u64, u64)>,
    looked_ms: u64,
    /// How many streams there were when none of them could be one to close. `None`: that is not known any more.
    unsuspected: Option<usize>,
    /// The greatest number of members that we ever belonged to, less those whose streams were closed since.
    most_members: usize,
}

/// Where a stream ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Closed {
    pub(super) through: u64,
    /// The commits that closed it; several members may have done so at the same time.
    pub(super) by: BTreeSet<Dot>,
}

impl Default for Retired {
    fn default() -> Self {
        let key = Key::new(Kind::OrSet, &format!("{RESERVED_PREFIX}retired")).expect("a sound name");
        let (closed, folded, quiet) = Default::default();
        Self { key, read: None, stale: true, closed, folded, quiet, looked_ms: 0, unsuspected: None, most_members: 0 }
    }
}

impl Retired {
    pub(super) fn is_table(&self, key: &Key) -> bool {
        *key == self.key
    }

    /// The state was changed otherwise than by one commit.
    pub(super) const fn look_again(&mut self) {
        (self.stale, self.unsuspected) = (true, None);
    }

    /// Draws all consequences anew, for a new incarnation.
    pub(super) fn forget(&mut self) {
        self.look_again();
        self.read = None;
        self.closed.clear();
    }

    /// Notes that a commit touches `key`.
    pub(super) fn note(&mut self, key: &Key) {
        self.stale |= key.is_reserved();
    }

    /// The last commit of `stream` that counts.
    pub(super) fn end_of(&self, stream: &Stream) -> u64 {
        self.closed.get(&stream.replica).map_or(SEQ_MAX, |closed| closed.through)
    }

    /// Whether `stream` is not closed.
    pub(super) fn is_open(&self, stream: &Stream) -> bool {
        !self.closed.contains_key(&stream.replica)
    }

    /// A vector without what lies beyond the ends of closed streams.
    pub(super) fn cap(&self, vector: &VersionVector) -> VersionVector {
        let ends = self.closed.iter();
        vector.lowered(ends.map(|(replica, closed)| (Stream { scope: SCOPE, replica: *replica }, closed.through)))
    }

    /// What somebody who has seen `vector` need not wait for: that, and what lies beyond the ends that it has reached. A commit
    /// may name puts from there, which its writer had seen before it heard of the closing; they never come.
    pub(super) fn beyond(&self, vector: &VersionVector) -> VersionVector {
        let mut beyond = vector.clone();
        for (replica, closed) in &self.closed {
            let stream = Stream { scope: SCOPE, replica: *replica };
            if vector.seq(&stream) == closed.through {
                beyond.advance(stream, SEQ_MAX);
            }
        }
        beyond
    }

    /// Whether somebody who has seen `vector` has taken commits that do not count.
    pub(super) fn is_exceeded_by(&self, vector: &VersionVector) -> bool {
        let beyond = |(replica, closed): (&ReplicaId, &Closed)| {
            vector.seq(&Stream { scope: SCOPE, replica: *replica }) > closed.through
        };
        self.closed.iter().any(beyond)
    }
}

impl Replica {
    /// How many writers were closed so far: the number of the membership epoch.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.retired.closed.len() as u64
    }

    /// The closed streams, with the last commit of each that counts.
    pub fn retired(&self) -> impl Iterator<Item = (ReplicaId, u64)> + '_ {
        self.retired.closed.iter().map(|(replica, closed)| (*replica, closed.through))
    }

    /// Reads the table again when it may have changed, and draws the consequences.
    pub(super) fn look_at_retired(&mut self, now: Time, out: &mut Vec<Output>) {
        if !std::mem::take(&mut self.retired.stale) {
            return;
        }
        let hash = self.state.object(&self.retired.key).map(|object| object.content().hash());
        if hash != self.retired.read {
            (self.retired.read, self.retired.unsuspected) = (hash, None);
            self.read_table();
        }
        let (mut orphans, mut required) = (Orphans::default(), None);
        let table = std::mem::take(&mut self.closings.table);
        for (replica, closed) in &table {
            let before = self.retired.closed.get(replica);
            let (is_old, was_believed) = (before == Some(closed), before.is_some());
            match self.judge(*replica, closed, was_believed, now) {
                Verdict::Doubted => {
                    let was_closed = self.retired.closed.remove(replica).is_some();
                    self.retired.unsuspected = self.retired.unsuspected.filter(|_| !was_closed);
                    continue;
                }
                Verdict::Condemned if self.lineage.is_fenced() => continue,
                Verdict::Condemned if !is_old => {
                    required = required.or(closed.by.first().copied());
                    if replica.node == self.me.node {
                        // A member may have taken them before it heard of the closing; it will have begun anew once all are heard.
                        let stream = Stream { scope: SCOPE, replica: *replica };
                        orphans.doubtful.extend(self.retained_from(stream, closed.through + 1));
                    }
                }
                Verdict::Believed | Verdict::Condemned => {}
            }
            if !is_old {
                self.close(*replica, closed.clone(), out);
            }
        }
        self.closings.table = table;
        if required.is_some() && !self.lineage.is_fenced() && !planted::is(Bug::ReturnerGoesOn) {
            // We were away for too long, or have taken what does not count: what we hold cannot be told from what everybody
            // holds. What we wrote beyond the end of our stream the others do not take under its old name; what they have of a
            // stream of ours that goes on is found out when all have been heard.
            let own = self.own_stream();
            if self.retired.is_open(&own) {
                orphans.doubtful.extend(self.retained_from(own, 1));
            }
            let first = self.retired.end_of(&own).min(self.seen.seq(&own)) + 1;
            self.begin_anew(orphans, first, required, now, out);
        }
    }

    /// Reads the table: of several ends of a stream the last counts.
    fn read_table(&mut self) {
        let table = self.state.object(&self.retired.key).map_or_else(Vec::new, |table| table.members_with_dots());
        self.closings.table.clear();
        for (entry, dots) in table {
            let Some((replica, through)) = parse(&entry) else { continue };
            let closed = self.closings.table.entry(replica).or_insert(Closed { through, by: BTreeSet::new() });
            closed.through = closed.through.max(through);
            closed.by.extend(dots);
        }
        let table = &self.closings.table;
        self.retired.closed.retain(|replica, _| table.contains_key(replica));
    }

    /// Believes that a stream is closed.
    fn close(&mut self, replica: ReplicaId, closed: Closed, out: &mut Vec<Output>) {
        self.retired.folded.remove(&replica);
        self.retired.unsuspected = None;
        out.push(Output::Event(Event::Retired { replica, through: closed.through }));
        if !self.members.contains(&replica.node) && replica.node != self.me.node {
            self.retired.most_members = self.retired.most_members.saturating_sub(1);
        }
        self.retired.closed.insert(replica, closed);
    }

    /// About once a second: closes whom nobody waits for any more, and takes over the shares of those who were closed.
    pub(super) fn retire_if_due(&mut self, now: Time, out: &mut Vec<Output>) {
        if now.mono_ms.saturating_sub(self.retired.looked_ms) < FORGET_MS {
            return;
        }
        self.retired.looked_ms = now.mono_ms;
        self.retired.stale = true;
        if self.lineage.is_fenced() || self.durability.is_read_only() || self.durability.owes_checkpoint() {
            return;
        }
        let entries: Vec<Scalar> = self.due_for_retirement(now).into_iter().map(entry).collect();
        if !entries.is_empty() {
            let assign = |member| Assign { member, value: Some(()), over: Vec::new() };
            let ops = vec![(self.retired.key.clone(), Op::OrSet(entries.into_iter().map(assign).collect()))];
            self.retired.look_again();
            self.commit_own(ops, now, out);
            return;
        }
        self.fold_if_due(now, out);
    }

    /// The streams to close now, with their last commits that count.
    fn due_for_retirement(&mut self, now: Time) -> Vec<(ReplicaId, u64)> {
        // While everybody who writes is a member under one name, nobody is counted again and again.
        if self.retired.unsuspected == Some(self.seen.len()) {
            return Vec::new();
        }
        let mut writers: BTreeMap<NodeId, Vec<(Stream, u64)>> = BTreeMap::new();
        for (stream, seq) in self.seen.iter().filter(|(stream, seq)| self.retired.end_of(stream) != *seq) {
            if self.retired.is_open(&stream) {
                writers.entry(stream.replica.node).or_default().push((stream, seq));
            }
        }
        let silent = |node: &NodeId| {
            let heard = self.peers.known.get(node).and_then(|peer| peer.heard_ms).unwrap_or(0);
            let gone = *node != self.me.node && !self.members.contains(node) && !self.peers.connected.contains(node);
            gone && now.mono_ms.saturating_sub(heard) >= self.config.retire_after_ms
        };
        let suspect = |(node, streams): (&NodeId, &Vec<(Stream, u64)>)| {
            streams.len() > 1 || (*node != self.me.node && !self.members.contains(node))
        };
        if !writers.iter().any(suspect) {
            self.retired.unsuspected = Some(self.seen.len());
            self.retired.quiet.clear();
            return Vec::new();
        }
        let gone: BTreeSet<NodeId> = writers.keys().copied().filter(silent).collect();
        let old_lives = self.old_lives(&writers, now);
        if (gone.is_empty() && old_lives.is_empty()) || !self.is_majority_without(&gone, &writers) {
            return Vec::new();
        }
        let gone =
            writers.iter().filter(|(node, _)| gone.contains(node)).flat_map(|(_, streams)| streams.iter().copied());
        let all = gone.chain(old_lives);
        let all = all.filter(|(stream, seq)| self.is_everywhere(stream, *seq));
        all.map(|(stream, seq)| (stream.replica, seq)).take(MEMBERS_PER_OP_MAX).collect()
    }

    /// Streams of earlier incarnations of members that have been quiet for as long: nobody writes them any more.
    fn old_lives(&mut self, writers: &BTreeMap<NodeId, Vec<(Stream, u64)>>, now: Time) -> Vec<(Stream, u64)> {
        let earlier = |(_, streams): (&NodeId, &Vec<(Stream, u64)>)| streams[..streams.len() - 1].to_vec();
        let waiting = |stream: &Stream| stream.replica.node == self.me.node && !self.lineage.orphans().is_empty();
        let streams: BTreeMap<Stream, u64> =
            writers.iter().flat_map(earlier).filter(|(stream, _)| !waiting(stream)).collect();
        let quiet = &mut self.retired.quiet;
        quiet.retain(|stream, (seq, _)| streams.get(stream) == Some(seq));
        for (stream, seq) in streams {
            quiet.entry(stream).or_insert((seq, now.mono_ms));
        }
        let long = |(_, (_, since)): &(&Stream, &(u64, u64))| {
            now.mono_ms.saturating_sub(*since) >= self.config.retire_after_ms
        };
        quiet.iter().filter(long).map(|(stream, (seq, _))| (*stream, *seq)).collect()
    }

    /// Whether those who stay may decide for the epoch, and we are the one to say so: the least of them.
    fn is_majority_without(&self, gone: &BTreeSet<NodeId>, writers: &BTreeMap<NodeId, Vec<(Stream, u64)>>) -> bool {
        let staying: BTreeSet<NodeId> = self.members.iter().copied().chain([self.me.node]).collect();
        let epoch: BTreeSet<NodeId> = staying.iter().chain(writers.keys()).chain(gone).copied().collect();
        // Who never wrote is no writer, but was a member all the same.
        let size = epoch.len().max(self.retired.most_members);
        let half = 2 * staying.len() == size && epoch.len() == size && staying.first() == epoch.first();
        let all_here = self.members.iter().all(|node| self.peers.connected.contains(node));
        (2 * staying.len() > size || half) && all_here && staying.first() == Some(&self.me.node)
    }

    /// Whether all members have exactly this much of a stream, durably.
    fn is_everywhere(&self, stream: &Stream, seq: u64) -> bool {
        let exactly = |node: &NodeId| {
            let peer = self.peers.known.get(node);
            peer.is_some_and(|peer| peer.durable.seq(stream) == seq && peer.seen.seq(stream) == seq)
        };
        self.durable().seq(stream) == seq && self.members.iter().all(exactly)
    }

    /// Takes over the shares of closed writers in counters, when all members know that they are closed and by whom.
    fn fold_if_due(&mut self, now: Time, out: &mut Vec<Output>) {
        let open = self.retired.closed.keys().filter(|replica| !self.retired.folded.contains(replica));
        let due: BTreeSet<ReplicaId> = open.filter(|replica| self.heir_of(replica) == Some(self.me)).copied().collect();
        if due.is_empty() {
            return;
        }
        let mut dots = 0;
        let mut ops = Vec::new();
        let mut holding = false;
        for key in self.state.counters_holding(&due) {
            holding = true;
            let Some(op) = self.state.fold_of(key, &due, &self.seen, self.me) else { continue };
            dots += if let Op::Fold { from, .. } = &op { from.len() } else { 0 };
            if ops.len() == FOLDS_PER_COMMIT || (dots > FOLD_DOTS_PER_COMMIT && !ops.is_empty()) {
                break;
            }
            ops.push((key.clone(), op));
        }
        if ops.is_empty() {
            if !holding {
                self.retired.folded.extend(due);
            }
            return;
        }
        self.commit_own(ops, now, out);
    }

    /// Who takes over the shares of a closed writer: the least of those who closed it, or the heir of that one, should it be
    /// closed too. `None` while not everybody can know: two that took over the same share would count it twice.
    fn heir_of(&self, replica: &ReplicaId) -> Option<ReplicaId> {
        let mut of = *replica;
        for _ in 0..=self.retired.closed.len() {
            let closed = self.retired.closed.get(&of)?;
            if !self.is_settled_closing(&of, closed) && !planted::is(Bug::FoldedTooEarly) {
                return None;
            }
            of = closed.by.first()?.replica;
            if !self.retired.closed.contains_key(&of) {
                return Some(of);
            }
        }
        None
    }

    /// Notes how many members there are, ourselves among them.
    pub(super) fn note_members(&mut self) {
        self.retired.unsuspected = None;
        self.retired.most_members = self.retired.most_members.max(self.members.len() + 1);
    }

    /// Whether every member knows that a writer was closed and has exactly what counts of it, and we know of all who closed it.
    fn is_settled_closing(&self, replica: &ReplicaId, closed: &Closed) -> bool {
        let stream = Stream { scope: SCOPE, replica: *replica };
        let knows = |node: &NodeId| {
            let peer = self.peers.known.get(node);
            peer.is_some_and(|peer| {
                closed.by.iter().all(|dot| peer.durable.covers(SCOPE, dot))
                    && peer.durable.seq(&stream) == closed.through
                    && self.seen.includes(&peer.seen)
            })
        };
        self.seen.seq(&stream) == closed.through && self.members.iter().all(knows)
    }

    /// Commits operations of the agent's own.
    fn commit_own(&mut self, ops: Vec<(Key, Op)>, now: Time, out: &mut Vec<Output>) {
        let stream = self.own_stream();
        let seq = self.seen.seq(&stream) + 1;
        let commit = Commit { stream, seq, hlc: self.clock.issue(now.wall_ms), request: None, ops };
        let bytes = commit.encode();
        // 4,096 entries of 48 bytes, or 5,120 shares of some fifty and 256 names: the greatest fills two thirds of it.
        assert!(bytes.len() <= COMMIT_BYTES_MAX, "the bounds on closings and takings over keep them within one commit");
        self.append(commit, bytes, out);
    }
}

fn entry((replica, through): (ReplicaId, u64)) -> Scalar {
    let mut bytes = Vec::with_capacity(ENTRY_BYTES);
    bytes.extend(replica.node.0);
    bytes.extend(replica.incarnation.0.to_be_bytes());
    bytes.extend(through.to_be_bytes());
    Scalar::Bytes(bytes)
}

/// What an entry says; `None` when it is none of ours.
fn parse(entry: &Scalar) -> Option<(ReplicaId, u64)> {
    let Scalar::Bytes(bytes) = entry else { return None };
    let (node, rest) = bytes.split_first_chunk::<32>()?;
    let (incarnation, rest) = rest.split_first_chunk::<8>()?;
    let (through, rest) = rest.split_first_chunk::<8>()?;
    let replica = ReplicaId { node: NodeId(*node), incarnation: Incarnation(u64::from_be_bytes(*incarnation)) };
    rest.is_empty().then_some((replica, u64::from_be_bytes(*through)))
}
