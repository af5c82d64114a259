//! How many streams there may be: each is remembered for as long as there is a cluster, so that nobody may invent as many as it likes.
//!
//! Owns the bounds where streams enter our vector: with a commit, and with a repair. The invariant: a vector of ours is never so long
//! that an honest peer refuses to read it.

use std::collections::BTreeSet;

use super::{Ahead, Event, Offence, Output, Replica, SCOPE};
use crate::causal::VersionVector;
use crate::id::{NodeId, Stream};
use crate::limits::{
    INCARNATIONS_MAX, INCARNATIONS_RELAYED_MAX, STREAMS_FOREIGN_MAX, STREAMS_HELD_MAX, STREAMS_REPAIRED_MAX,
};

impl Replica {
    /// Whether the first commits of a stream that is new here may be taken from `from`; counts them if not. What is refused needs no
    /// verification. A writer is told on for itself; who relays may have had the room that is not here.
    pub(super) fn has_room_for(&mut self, from: NodeId, stream: &Stream, commits: u64, out: &mut Vec<Output>) -> bool {
        let node = stream.replica.node;
        if node == self.me.node || self.seen.seq(stream) > 0 {
            return true;
        }
        let of_node = if from == node { INCARNATIONS_MAX } else { INCARNATIONS_RELAYED_MAX };
        let in_all = if self.members.contains(&node) { STREAMS_HELD_MAX } else { STREAMS_FOREIGN_MAX };
        let lives = self.seen.of_node(SCOPE, node).filter(|(stream, _)| self.retired.is_open(stream));
        let is_prolific = lives.take(of_node).count() == of_node;
        if !is_prolific && self.seen.len() < in_all {
            return true;
        }
        self.counters.crowded += commits;
        if is_prolific && from == node {
            out.push(Output::Event(Event::Offence { peer: from, what: Offence::Flood }));
        }
        false
    }

    /// Whether a repair that shows all this leaves room for the streams of members.
    pub(super) fn has_room_for_all(&self, shown: &VersionVector) -> bool {
        let new = || shown.iter().map(|(stream, _)| stream).filter(|stream| self.seen.seq(stream) == 0);
        let at_most =
            self.seen.len() + shown.len() + self.repair.ahead.vectors().map(VersionVector::len).sum::<usize>();
        if at_most <= STREAMS_REPAIRED_MAX || new().next().is_none() {
            return true;
        }
        let beyond = streams_beyond(&self.repair.ahead, &self.seen).into_iter().chain(new()).collect::<BTreeSet<_>>();
        self.seen.len() + beyond.len() <= STREAMS_REPAIRED_MAX
    }
}

/// The streams that objects show and that are not in `seen`.
fn streams_beyond(ahead: &Ahead, seen: &VersionVector) -> BTreeSet<Stream> {
    let streams = ahead.vectors().flat_map(VersionVector::iter).map(|(stream, _)| stream);
    streams.filter(|stream| seen.seq(stream) == 0).collect()
}
