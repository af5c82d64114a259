//! Writes on their way to the disk of a node, and the reports that follow.

use super::disk::Write;
use super::watch::Watch;
use super::{CrashPoint, Next, Sim};
use crate::causal::VersionVector;
use crate::replica::Input;

/// How long a group of writes takes, at most, while the disk is slow, in milliseconds.
const SLOW_MS: u64 = 2_500;

impl Sim<'_> {
    pub(super) fn write(&mut self, index: usize, write: Write) {
        if self.nodes[index].disk.push(write) {
            self.begin_writing(index);
        }
    }

    pub(super) fn begin_writing(&mut self, node: usize) {
        let slow = self.now_ms < self.nodes[node].slow_until_ms;
        let most_ms = if slow { SLOW_MS.max(self.scenario.disk_ms) } else { self.scenario.disk_ms };
        let in_ms = self.rng.between(1, most_ms);
        self.schedule(in_ms, Next::Written { node, life: self.nodes[node].life });
    }

    /// A group of writes is durable: reported one by one, or by the last of them.
    pub(super) fn written(&mut self, index: usize) -> Result<(), String> {
        if self.nodes[index].disk.failing || self.crash_while_writing(index)? {
            return Ok(());
        }
        let done = self.nodes[index].disk.finish();
        if self.nodes[index].disk.start() {
            self.begin_writing(index);
        }
        self.note_durable(index, &done)?;
        let checkpoint = done.iter().any(|write| matches!(write, Write::Checkpoint { .. }));
        let rebirth = done.iter().any(|write| matches!(write, Write::Rebirth { .. }));
        if self.reach(index, CrashPoint::AfterGroup)?
            || (checkpoint && self.reach(index, CrashPoint::AfterCheckpoint)?)
            || (rebirth && self.reach(index, CrashPoint::AfterRebirth)?)
        {
            return Ok(());
        }
        self.report(index, done)?;
        let node = &mut self.nodes[index];
        if let Some(replica) = &node.replica {
            node.reported = replica.durable().clone();
        }
        Ok(())
    }

    fn report(&mut self, index: usize, done: Vec<Write>) -> Result<(), String> {
        let all = self.rng.chance(500);
        let mut last = None;
        let mut reported = false;
        for write in done {
            if reported && self.reach(index, CrashPoint::BetweenReports)? {
                return Ok(());
            }
            match write {
                Write::Append { token, .. } | Write::Checkpoint { token, .. } if all => {
                    self.feed(index, Input::Persisted { token })?;
                    reported = true;
                }
                Write::Append { token, .. } | Write::Checkpoint { token, .. } => last = Some(token),
                Write::Rebirth { incarnation, .. } => {
                    if let Some(token) = last.take() {
                        self.feed(index, Input::Persisted { token })?;
                    }
                    self.feed(index, Input::Reborn(incarnation))?;
                    reported = true;
                }
            }
        }
        last.map_or(Ok(()), |token| self.feed(index, Input::Persisted { token }))
    }

    /// A replica holds nothing of what it held before: what it has seen begins anew.
    pub(super) fn begin_to_watch(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        if let Some(replica) = &node.replica {
            node.watch = Watch::of(replica);
        }
    }

    /// Notes what has reached the disk of its writer.
    pub(super) fn note_durable(&mut self, index: usize, done: &[Write]) -> Result<(), String> {
        for write in done {
            match write {
                Write::Append { batch, .. } if batch.stream.replica.node == self.nodes[index].id => {
                    self.ledger.note_durable(batch)?;
                }
                Write::Rebirth { fresh: Some(_), .. } => {
                    self.coverage.count("stores begun anew");
                    let node = &mut self.nodes[index];
                    (node.reported, node.has_forgotten) = (VersionVector::default(), true);
                }
                Write::Append { .. } | Write::Checkpoint { .. } | Write::Rebirth { .. } => {}
            }
        }
        Ok(())
    }
}
