//! A member that gives one name to two commits: it sends some of its stream to one node and some to another, straight or through a
//! third, in two versions that part after the second commit, both signed.
//!
//! Its commits do nothing to any key, so the reference need not know them. What is checked: whoever could prove it did, at the end
//! all who run know it, and everything else converges as ever.

use super::Sim;
use crate::commit::{Batch, Commit, CommitBytes};
use crate::hlc::Hlc;
use crate::id::{Incarnation, NodeId, ReplicaId, Stream};
use crate::replica::{Input, Message};
use crate::seal::{HashKeys, Proof};

/// Who it is.
pub(super) const EQUIVOCATOR: NodeId = NodeId([0xfe; 32]);
/// The commits of which there is one version.
const SAME: u64 = 2;
/// The most commits that it writes.
pub(super) const COMMITS_MAX: usize = 6;
/// How often it sends some at the most, in milliseconds.
const EVERY_MS: u64 = 1_500;

impl Sim<'_> {
    /// Sends somebody one version of its stream.
    pub(super) fn equivocate(&mut self) -> Result<(), String> {
        let in_ms = self.rng.between(1, EVERY_MS);
        self.schedule(in_ms, super::Next::Equivocate);
        let stream = Stream::global(ReplicaId { node: EQUIVOCATOR, incarnation: Incarnation(1) });
        let (to, by, version) =
            (self.rng.index(self.nodes.len()), self.rng.index(self.nodes.len()), self.rng.between(0, 1));
        let last = 1 + self.rng.index(COMMITS_MAX) as u64;
        let commit = |seq: u64| -> CommitBytes {
            let hlc = Hlc(if seq > SAME { seq + 100 * version } else { seq });
            Commit { stream, seq, hlc, request: None, ops: Vec::new() }.encode()
        };
        let batches = vec![Batch::new(stream, 1, (1..=last).map(commit).collect()).sealed(&HashKeys)];
        let from = if by == to || self.is_shared(&self.nodes[by].id) { EQUIVOCATOR } else { self.nodes[by].id };
        self.coverage.count("streams told in two versions");
        self.feed(to, Input::Receive { from, message: Message::Commits { batches, more: false, hops: None } })
    }

    /// Whether a stream is the equivocator's.
    pub(super) fn is_equivocal(stream: &Stream) -> bool {
        stream.replica.node == EQUIVOCATOR
    }

    /// What one has proven, all know.
    pub(super) fn check_proofs(&self) -> Result<(), String> {
        if !self.scenario.equivocates {
            return Ok(());
        }
        let proven =
            |index: usize| self.nodes[index].replica.as_ref().map(|replica| replica.proofs().map(Proof::dot).count());
        let most = (0..self.nodes.len()).filter_map(proven).max().unwrap_or(0);
        match (0..self.nodes.len()).find(|index| proven(*index).is_some_and(|count| count < most)) {
            Some(index) => Err(format!("node {index} has not heard of a proof that others have")),
            None => Ok(()),
        }
    }
}
