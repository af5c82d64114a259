//! Snapshots of whole machines that come back and are written to before anybody tells them that they are snapshots.
//!
//! By chance this is rare, for it takes a copy that everybody else is ahead of. So it is staged as well: a copy is taken early,
//! its original writes on until all know more of it, and then the copy takes its place, cut off, while clients write to it.

use super::disk::{Image, Kept};
use super::node::ForkRoom;
use super::{CrashPoint, Next, Sim};
use crate::id::Stream;

/// How often it is looked whether the time has come for the next act, at the most, in milliseconds.
const LOOK_MS: u64 = 100;
/// The most commits that everybody has to know beyond the copy.
const BEYOND_MAX: u64 = 6;
/// Keys that a commit of a snapshot touches at the most, which bounds its size.
pub(super) const KEYS_MAX: usize = 4;
/// What so many keys take at the most, in bytes, where sets are small.
const COMMIT_BYTES: usize = 1_000;
/// Of a thousand copies, how many are taken although their own commits are in doubt: nobody has confirmed them.
const DOUBTED_PERMILLE: u64 = 200;

/// A copy of a disk that will take the disk's place, once everybody else knows of so many more commits.
#[derive(Debug)]
pub(super) struct Staged {
    node: usize,
    image: Image,
    beyond: u64,
}

impl Sim<'_> {
    /// The next act of a fork, when its time has come.
    pub(super) fn stage_fork(&mut self) -> Result<(), String> {
        let in_ms = self.rng.between(1, LOOK_MS);
        self.schedule(in_ms, Next::Stage);
        match self.staged.take() {
            None => self.staged = self.copy_early(),
            Some(staged) if self.is_due(&staged) => return self.restore_copy(staged),
            Some(staged) if self.nodes[staged.node].disk.image.incarnation != staged.image.incarnation => {}
            Some(staged) => self.staged = Some(staged),
        }
        Ok(())
    }

    /// A copy of the disk of somebody who is well and has written.
    fn copy_early(&mut self) -> Option<Staged> {
        let index = self.rng.index(self.nodes.len());
        let node = &self.nodes[index];
        let own = Stream::global(node.writer());
        let has_written = node.replica.is_some() && !node.is_forgetful() && node.disk.image.seq(&own) > 0;
        let doubted = node.disk.image.doubts(&own).is_some();
        if !has_written || node.away || node.disk.image.has_orphans() || (doubted && !self.rng.chance(DOUBTED_PERMILLE))
        {
            return None;
        }
        let image = self.nodes[index].disk.image.clone();
        let beyond = self.rng.between(2, BEYOND_MAX);
        Some(Staged { node: index, image, beyond })
    }

    fn is_due(&mut self, staged: &Staged) -> bool {
        let node = &self.nodes[staged.node];
        let own = Stream::global(node.writer());
        node.joined
            && !node.away
            && node.disk.image.incarnation == staged.image.incarnation
            && self.known_to_all_others(staged.node, &own) >= staged.image.seq(&own) + staged.beyond
            && self.may_forget(staged.node)
    }

    fn restore_copy(&mut self, Staged { node, image, .. }: Staged) -> Result<(), String> {
        self.crash(node, Kept::Any)?;
        if self.may_forget(node) {
            self.coverage.count("staged snapshots");
            self.replace_disk(node, image);
            self.allow_fork(node);
            match self.rng.between(0, 3) {
                0 => self.lay_trap_at_rebirth(),
                1 => self.lay_trap_at(CrashPoint::BeforeStruckOff),
                _ => {}
            }
        }
        let in_ms = self.rng.between(1, LOOK_MS);
        self.schedule(in_ms, Next::Start { node });
        Ok(())
    }

    /// A snapshot of a whole machine comes back cut off from everybody, and clients write to it. Only while everybody else knows
    /// more of its stream than it will: a peer that lags behind it would take the second meaning of a name for the first.
    pub(super) fn allow_fork(&mut self, index: usize) {
        let own = Stream::global(self.nodes[index].writer());
        if !self.scenario.forks || self.nodes[index].forgot.is_none_or(|(stream, _)| stream != own) {
            return;
        }
        let known = self.known_to_all_others(index, &own);
        let after = self.nodes[index].disk.image.seq(&own);
        if known <= after + 1 {
            return;
        }
        self.coverage.count("snapshots that write");
        let bytes = self.scenario.config.log_bytes.saturating_sub(COMMIT_BYTES);
        self.nodes[index].fork = Some(ForkRoom { after, below: known, bytes });
        let pairs: Vec<_> = (0..self.nodes.len()).flat_map(|other| [(index, other), (other, index)]).collect();
        let for_ms = self.rng.between(1_000, 3_000);
        pairs.iter().for_each(|(from, to)| self.net.cut(*from, *to));
        self.schedule(for_ms, Next::Mend { pairs });
    }

    /// What every other disk has of a stream. Whoever has yet to join has nothing.
    fn known_to_all_others(&self, index: usize, stream: &Stream) -> u64 {
        let others = self.nodes.iter().enumerate().filter(|(other, _)| *other != index);
        others.map(|(_, node)| node.disk.image.seq(stream)).min().unwrap_or(0)
    }
}
