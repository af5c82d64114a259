//! Crashes, and the named points at which one may fall.
//!
//! A point is drawn from the seed and lies in wait; whichever node passes it first loses its power there.

use super::disk::{Kept, Write};
use super::{Next, Sim};
use crate::id::Stream;

/// Where the power may go: between any two outputs of one answer, and around every durable write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CrashPoint {
    /// A commit is applied in memory; the store has not been given it.
    BeforePersist,
    /// The same for commits of others.
    BeforePersistOfOthers,
    /// The store was given a commit; its client has no answer yet.
    BeforeAnswer,
    /// A commit is durable; nobody was told.
    BeforePush,
    /// Some peers were told.
    BetweenPushes,
    /// The store has not been given a checkpoint that is due.
    BeforeCheckpoint,
    /// A checkpoint is being written; nothing of it will be found.
    DuringCheckpoint,
    /// A checkpoint is durable; the replica was not told.
    AfterCheckpoint,
    /// A group of writes is under way; nothing of it will be found.
    BeforeGroup,
    /// A part of a group of writes is durable.
    DuringGroup,
    /// A group of writes is durable; the replica was not told.
    AfterGroup,
    /// The replica was told of a part of a group.
    BetweenReports,
    /// A new incarnation was asked for; the store has not been given it.
    BeforeRebirth,
    /// A new incarnation is being written; it will not be found.
    DuringRebirth,
    /// A new incarnation is durable; the replica was not told.
    AfterRebirth,
    /// Commits that are made again are durable; the checkpoint that strikes the old ones off will not be found.
    BeforeStruckOff,
    /// A page of a repair was made and not sent.
    BeforePage,
    /// A page of a repair was taken; the next was not asked for.
    BetweenPages,
    /// The last page of a repair was taken; its checkpoint is not durable.
    AfterRepair,
    /// The store cannot write at present.
    WhileStoreFails,
    /// The process has just come back from disk.
    AfterStart,
}

impl CrashPoint {
    /// All of them.
    pub const ALL: [Self; 21] = [
        Self::BeforePersist,
        Self::BeforePersistOfOthers,
        Self::BeforeAnswer,
        Self::BeforePush,
        Self::BetweenPushes,
        Self::BeforeCheckpoint,
        Self::DuringCheckpoint,
        Self::AfterCheckpoint,
        Self::BeforeGroup,
        Self::DuringGroup,
        Self::AfterGroup,
        Self::BetweenReports,
        Self::BeforeRebirth,
        Self::DuringRebirth,
        Self::AfterRebirth,
        Self::BeforeStruckOff,
        Self::BeforePage,
        Self::BetweenPages,
        Self::AfterRepair,
        Self::WhileStoreFails,
        Self::AfterStart,
    ];
}

impl Sim<'_> {
    /// Lets the next crash wait at a point.
    pub(super) fn lay_trap(&mut self) {
        let point = CrashPoint::ALL[self.rng.index(CrashPoint::ALL.len())];
        let passes = self.rng.between(0, 8);
        let rare = matches!(
            point,
            CrashPoint::BeforeRebirth
                | CrashPoint::DuringRebirth
                | CrashPoint::AfterRebirth
                | CrashPoint::BeforeStruckOff
                | CrashPoint::BeforePage
                | CrashPoint::BetweenPages
                | CrashPoint::AfterRepair
                | CrashPoint::WhileStoreFails
                | CrashPoint::AfterStart
        );
        self.trap = Some((point, if rare { passes % 2 } else { passes }));
    }

    /// Lets the next crash wait for a new incarnation, which is rare.
    pub(super) fn lay_trap_at_rebirth(&mut self) {
        let points = [CrashPoint::BeforeRebirth, CrashPoint::DuringRebirth, CrashPoint::AfterRebirth];
        let point = points[self.rng.index(points.len())];
        self.lay_trap_at(point);
    }

    /// Whoever passes this point next loses its power there.
    pub(super) const fn lay_trap_at(&mut self, point: CrashPoint) {
        self.trap = Some((point, 0));
    }

    /// A node passes a point; true when its power went there.
    pub(super) fn reach(&mut self, index: usize, point: CrashPoint) -> Result<bool, String> {
        self.reach_keeping(index, point, Kept::Any)
    }

    fn reach_keeping(&mut self, index: usize, point: CrashPoint, kept: Kept) -> Result<bool, String> {
        let Some((_, passes)) = self.trap.as_mut().filter(|(at, _)| *at == point) else { return Ok(false) };
        if *passes > 0 {
            *passes -= 1;
            return Ok(false);
        }
        self.trap = None;
        self.coverage.crashed_at(point);
        self.crash_for_a_while(index, kept)?;
        Ok(true)
    }

    /// The points at which a group of writes is under way.
    pub(super) fn crash_while_writing(&mut self, index: usize) -> Result<bool, String> {
        if self.trap.is_none() {
            return Ok(false);
        }
        let group = self.nodes[index].disk.group();
        let (writes, place) = (group.len(), |what: fn(&Write) -> bool| group.iter().position(what));
        let checkpoint = place(|write| matches!(write, Write::Checkpoint { .. }));
        let strikes = self.nodes[index].disk.strikes_off();
        let rebirth = place(|write| matches!(write, Write::Rebirth { .. }));
        Ok(self.reach_keeping(index, CrashPoint::BeforeGroup, Kept::First(0))?
            || (writes > 1 && self.reach_keeping(index, CrashPoint::DuringGroup, Kept::Part)?)
            || match checkpoint {
                Some(at) => self.reach_keeping(index, CrashPoint::DuringCheckpoint, Kept::First(at))?,
                None => false,
            }
            || match strikes {
                Some(at) => self.reach_keeping(index, CrashPoint::BeforeStruckOff, Kept::First(at))?,
                None => false,
            }
            || match rebirth {
                Some(at) => self.reach_keeping(index, CrashPoint::DuringRebirth, Kept::First(at))?,
                None => false,
            })
    }

    /// The power of one node goes. Its peers may or may not notice.
    pub(super) fn crash(&mut self, index: usize, kept: Kept) -> Result<(), String> {
        let Some(replica) = self.nodes[index].replica.take() else { return Ok(()) };
        self.coverage.count("crashes");
        self.coverage.add(replica.counters());
        let own = Stream::global(replica.me());
        let node = &mut self.nodes[index];
        node.life += 1;
        let kept = node.disk.crash(kept, &mut self.rng);
        self.note_durable(index, &kept)?;
        let known = self.nodes[index].disk.image.seq(&own);
        self.coverage.add_to("commits lost in crashes", replica.seen().seq(&own).saturating_sub(known));
        self.ledger.forget_lost(own.replica, known);
        if self.rng.chance(500) {
            for other in self.running() {
                self.part(other, index)?;
            }
        }
        Ok(())
    }

    pub(super) fn crash_for_a_while(&mut self, index: usize, kept: Kept) -> Result<(), String> {
        self.crash(index, kept)?;
        let in_ms = self.rng.between(1, 3_000);
        if self.nodes[index].joined && !self.nodes[index].away {
            self.schedule(in_ms, Next::Start { node: index });
        }
        Ok(())
    }

    pub(super) fn crash_all(&mut self) -> Result<(), String> {
        self.coverage.count("power cuts of all");
        self.running().into_iter().try_for_each(|node| self.crash_for_a_while(node, Kept::Any))
    }
}
