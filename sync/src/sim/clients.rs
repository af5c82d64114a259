//! Clients: they ask some node for something, and repeat themselves.

use super::{Sim, workload};
use crate::change::Change;
use crate::commit::RequestId;
use crate::key::Key;
use crate::replica::{Committed, Input};

/// An answered request that a client may repeat.
pub(super) struct Answered {
    request: RequestId,
    changes: Vec<(Key, Change)>,
    node: usize,
    life: u64,
}

impl Sim<'_> {
    /// A client asks some node for something, perhaps for what it had asked before.
    pub(super) fn client(&mut self) -> Result<(), String> {
        let writable = |index: &usize| self.nodes[*index].takes_writes();
        let able: Vec<usize> = (0..self.nodes.len()).filter(writable).collect();
        if able.is_empty() || self.calm {
            return Ok(());
        }
        let node = able[self.rng.index(able.len())];
        let retry = (!self.answered.is_empty() && self.rng.chance(60)).then(|| self.rng.index(self.answered.len()));
        let (request, changes) = match retry {
            Some(index) => (Some(self.answered[index].request), self.answered[index].changes.clone()),
            None => {
                let mut id = [0; 16];
                id[..8].copy_from_slice(&self.rng.draw().to_be_bytes());
                (self.rng.chance(500).then_some(RequestId(id)), workload::changes(self.scenario, &mut self.rng))
            }
        };
        self.ticket += 1;
        self.feed_commit(node, Input::Commit { ticket: self.ticket, changes: changes.clone(), request }, &changes)
    }

    /// What holds of every answer: a repeated request has one commit, and it is that request's own.
    pub(super) fn committed(
        &mut self,
        node: usize,
        committed: Committed,
        changes: &[(Key, Change)],
        asked: Option<RequestId>,
    ) -> Result<(), String> {
        let Some(request) = asked else { return Ok(()) };
        let life = self.nodes[node].life;
        let here = |answered: &Answered| (answered.request, answered.node, answered.life) == (request, node, life);
        let before = self.answered.iter().any(here);
        self.coverage.repeated += u64::from(committed.repeated);
        if before && !committed.repeated {
            return Err(format!("a repeated request was counted twice: {:?}", committed.dot));
        }
        if self.ledger.request_of(&committed.dot) != Some(request) {
            return Err(format!("a repeated request was answered with another's commit: {:?}", committed.dot));
        }
        if !before {
            self.answered.push(Answered { request, changes: changes.to_vec(), node, life });
        }
        Ok(())
    }
}
