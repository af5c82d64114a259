//! Callers that wait for their commit, and for the disk.
//!
//! Owns their replies. Decides nothing. The invariant: each is answered once, in the order of what happens.

use std::collections::BTreeMap;

use selvedge_sync::causal::VersionVector;
use selvedge_sync::id::{Incarnation, Stream};
use selvedge_sync::replica::Committed;
use tokio::sync::oneshot;

use super::handle::{Answer, Reply};

/// The ticket of a commit whose maker has its answer already.
pub(super) const NOBODY: u64 = 0;

/// Callers whose answer is not known yet.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    next_ticket: u64,
    applied: BTreeMap<u64, Reply>,
    durable: BTreeMap<(Stream, u64), Vec<oneshot::Sender<()>>>,
}

impl Waiting {
    pub(super) fn expect(&mut self, reply: Reply) -> u64 {
        self.next_ticket += 1;
        self.applied.insert(self.next_ticket, reply);
        self.next_ticket
    }

    pub(super) fn answer(&mut self, ticket: u64, result: Answer) {
        let Some(reply) = self.applied.remove(&ticket) else { return };
        if let (Ok(Committed { dot, .. }), Some(durable)) = (&result, reply.durable) {
            self.durable.entry((Stream::global(dot.replica), dot.seq)).or_default().push(durable);
        }
        // The caller may have gone; the commit stands all the same.
        drop(reply.applied.send(result));
    }

    /// A new incarnation is durable, and with it, for the store keeps order, every commit of those before it: as a commit, or as
    /// one that is to be made again.
    pub(super) fn answer_before(&mut self, incarnation: Incarnation) {
        let earlier = |(stream, _): &&(Stream, u64)| stream.replica.incarnation != incarnation;
        let done: Vec<_> = self.durable.keys().filter(earlier).copied().collect();
        self.tell(done);
    }

    /// Whether anybody waits for the disk.
    pub(super) fn awaits_durable(&self) -> bool {
        !self.durable.is_empty() || self.applied.values().any(|reply| reply.durable.is_some())
    }

    pub(super) fn answer_durable(&mut self, durable: &VersionVector) {
        let done: Vec<_> = self.durable.keys().filter(|(stream, seq)| durable.seq(stream) >= *seq).copied().collect();
        self.tell(done);
    }

    fn tell(&mut self, done: Vec<(Stream, u64)>) {
        for waiter in done.iter().filter_map(|commit| self.durable.remove(commit)).flatten() {
            if waiter.send(()).is_err() {
                tracing::debug!("the caller of a commit that is now durable has gone");
            }
        }
    }
}
