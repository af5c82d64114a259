//! Clients: they ask some node for something, one by one or in bursts, and repeat themselves, at the same node or another.

use super::forks::KEYS_MAX;
use super::steps::Asked;
use super::watch::holds;
use super::{Sim, workload};
use crate::change::Change;
use crate::commit::RequestId;
use crate::id::Dot;
use crate::key::Key;
use crate::replica::{Committed, Input};

/// Of a thousand times that a client comes, how often it brings a burst.
const BURST_PERMILLE: u64 = 15;
/// The most requests of a burst.
const BURST_MAX: u64 = 40;
/// Of a thousand requests, how many repeat an earlier one.
const REPEAT_PERMILLE: u64 = 60;

/// An answered request that a client may repeat.
pub(super) struct Answered {
    request: RequestId,
    changes: Vec<(Key, Change)>,
    node: usize,
    life: u64,
    dot: Dot,
}

impl Sim<'_> {
    /// One request, or a burst of them, all to one node at one moment.
    pub(super) fn clients(&mut self) -> Result<(), String> {
        let writable = |index: &usize| self.nodes[*index].takes_writes();
        let able: Vec<usize> = (0..self.nodes.len()).filter(writable).collect();
        if able.is_empty() {
            return Ok(());
        }
        let node = able[self.rng.index(able.len())];
        let burst = self.rng.chance(BURST_PERMILLE);
        let requests = if burst { self.rng.between(2, BURST_MAX) } else { 1 };
        if burst {
            self.coverage.count("bursts");
        }
        (0..requests).try_for_each(|_| self.client(node))
    }

    /// A client asks a node for something, perhaps for what it had asked before.
    fn client(&mut self, node: usize) -> Result<(), String> {
        let retry = (!self.answered.is_empty() && self.rng.chance(REPEAT_PERMILLE))
            .then(|| self.rng.index(self.answered.len()));
        let (request, changes) = match retry {
            Some(index) => (Some(self.answered[index].request), self.answered[index].changes.clone()),
            None => {
                let mut id = [0; 16];
                id[..8].copy_from_slice(&self.rng.draw().to_be_bytes());
                (self.rng.chance(500).then_some(RequestId(id)), workload::changes(self.scenario, &mut self.rng))
            }
        };
        if self.nodes[node].is_forked() && (changes.len() > KEYS_MAX || !self.nodes[node].takes_writes()) {
            return Ok(());
        }
        let known = request.is_some_and(|request| self.is_known(node, request));
        self.ticket += 1;
        let input = Input::Commit { ticket: self.ticket, changes: changes.clone(), request };
        self.feed_asked(node, input, Asked { changes: &changes, request, known })
    }

    /// Whether a node must know the answer to a request: it gave it in this life, or its log holds the commit, wherever that
    /// was made and however often the node has restarted since.
    fn is_known(&mut self, node: usize, request: RequestId) -> bool {
        let Some(replica) = &self.nodes[node].replica else { return false };
        let life = self.nodes[node].life;
        let answers = || self.answered.iter().filter(|answered| answered.request == request);
        let here = answers().any(|answered| (answered.node, answered.life) == (node, life));
        let logged = answers()
            .any(|answered| self.ledger.request_of(&answered.dot) == Some(request) && holds(replica, &answered.dot));
        if logged && !here {
            self.coverage.count("requests repeated elsewhere");
        }
        here || logged
    }

    /// What holds of every answer: a repeated request has one commit, and it is that request's own.
    pub(super) fn committed(&mut self, node: usize, committed: Committed, asked: Asked<'_>) -> Result<(), String> {
        let Some(request) = asked.request.filter(|_| !self.nodes[node].is_forked()) else { return Ok(()) };
        if committed.repeated {
            self.coverage.count("repeated requests");
        }
        if asked.known && !committed.repeated {
            return Err(format!("a repeated request was counted twice: {:?}", committed.dot));
        }
        if self.ledger.request_of(&committed.dot) != Some(request) {
            return Err(format!("a repeated request was answered with another's commit: {:?}", committed.dot));
        }
        let life = self.nodes[node].life;
        let (changes, dot) = (asked.changes.to_vec(), committed.dot);
        self.answered.push(Answered { request, changes, node, life, dot });
        Ok(())
    }
}
