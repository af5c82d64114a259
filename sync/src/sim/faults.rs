//! What goes wrong in a run, how nodes start, and how everything is mended at the end.

use super::disk::Kept;
use super::{CrashPoint, Next, Sim};
use crate::replica::Input;

/// How long a disk stays slow, at most, in milliseconds.
const SLOW_MS: u64 = 3_000;

impl Sim<'_> {
    /// One fault of a random kind.
    pub(super) fn fault(&mut self) -> Result<(), String> {
        let node = self.rng.index(self.nodes.len());
        let other = self.rng.index(self.nodes.len());
        match self.rng.between(0, 27) {
            0 | 1 => self.crash_for_a_while(node, Kept::Any)?,
            2..=7 => self.lay_trap(),
            8..=13 => self.divide(),
            14 | 15 => self.store_fails(node)?,
            16 => self.become_slow(node),
            17 | 18 => self.jump(node),
            19 => self.back_up(node),
            20 | 21 => self.restore()?,
            22 if self.rng.chance(500) => self.wipe(node)?,
            22 | 23 => self.lie(node, other)?,
            24 if self.rng.chance(300) => self.copy(node),
            24 | 25 => self.leave(node)?,
            26 if self.rng.chance(250) => self.crash_all()?,
            _ if self.rng.chance(150) => self.rest(),
            _ => self.lay_trap(),
        }
        Ok(())
    }

    /// Starts the first `count` nodes at once: each is told who there is, and meets the others, only once.
    pub(super) fn start_together(&mut self, count: usize) -> Result<(), String> {
        for index in 0..count {
            self.begin_life(index)?;
            self.nodes[index].joined = true;
        }
        for index in 0..count {
            self.feed(index, Input::Members(self.members()))?;
        }
        for (index, other) in (0..count).flat_map(|index| (0..count).map(move |other| (index, other))) {
            if index != other {
                self.meet(index, other)?;
            }
        }
        Ok(())
    }

    pub(super) fn begin_life(&mut self, index: usize) -> Result<(), String> {
        let node = &mut self.nodes[index];
        node.start(&self.scenario.config, self.now_ms)?;
        let life = node.life;
        let first_tick = self.rng.between(1, super::TICK_MS);
        self.schedule(first_tick, Next::Tick { node: index, life });
        Ok(())
    }

    pub(super) fn start(&mut self, index: usize) -> Result<(), String> {
        if self.nodes[index].replica.is_some() {
            return Ok(());
        }
        self.begin_life(index)?;
        let node = &mut self.nodes[index];
        let is_new = !std::mem::replace(&mut node.joined, true);
        let is_back = std::mem::take(&mut node.dropped);
        node.away = false;
        if is_back {
            self.coverage.count("members that came back");
            if self.scenario.retires() && !self.calm && self.rng.chance(300) {
                self.lay_trap_at_rebirth();
            }
        }
        for of in if is_new || is_back { self.running() } else { vec![index] } {
            self.feed(of, Input::Members(self.members()))?;
        }
        if !self.calm && self.reach(index, CrashPoint::AfterStart)? {
            return Ok(());
        }
        for other in self.running() {
            if other != index && !self.net.is_cut(index, other) && !self.net.is_cut(other, index) {
                self.meet(index, other)?;
                self.meet(other, index)?;
            }
        }
        Ok(())
    }

    fn store_fails(&mut self, node: usize) -> Result<(), String> {
        if self.nodes[node].disk.failing || self.nodes[node].replica.is_none() {
            return Ok(());
        }
        self.coverage.count("store failures");
        // A part of what failed may be on the disk all the same.
        let done = self.nodes[node].disk.fail(&mut self.rng);
        self.note_durable(node, &done)?;
        let in_ms = self.rng.between(10, 3_000);
        self.schedule(in_ms, Next::StoreRecovers { node, life: self.nodes[node].life });
        self.feed(node, Input::StoreFailed)?;
        self.reach(node, CrashPoint::WhileStoreFails).map(drop)
    }

    pub(super) fn store_recovers(&mut self, node: usize) -> Result<(), String> {
        if !std::mem::take(&mut self.nodes[node].disk.failing) {
            return Ok(());
        }
        self.feed(node, Input::StoreRecovered)?;
        self.nodes[node].disk.resume();
        if self.nodes[node].disk.start() {
            self.begin_writing(node);
        }
        Ok(())
    }

    fn become_slow(&mut self, node: usize) {
        self.coverage.count("slow disks");
        self.nodes[node].slow_until_ms = self.now_ms + self.rng.between(10, SLOW_MS);
    }

    /// Mends everything: all run, all are connected, all clocks agree within the drift.
    pub(super) fn become_calm(&mut self) -> Result<(), String> {
        self.calm = true;
        self.trap = None;
        self.net.become_calm();
        let absent: Vec<usize> = (0..self.nodes.len()).filter(|index| self.stays_away(*index)).collect();
        for index in 0..self.nodes.len() {
            let skew = self.nodes[index].skew_ms;
            self.nodes[index].skew_ms = skew.clamp(-100, 100);
            if absent.contains(&index) {
                continue;
            }
            self.start(index)?;
            self.store_recovers(index)?;
        }
        for index in 0..self.nodes.len() {
            for other in (0..self.nodes.len()).filter(|other| *other != index) {
                self.meet(index, other)?;
            }
        }
        self.await_absent(&absent)
    }
}
