//! What goes wrong in a run, and how everything is mended at the end.

use super::disk::Image;
use super::{Next, Sim};
use crate::id::{Incarnation, Stream};
use crate::replica::Input;

/// The furthest that a clock jumps, in milliseconds: several times the drift that is accepted.
const JUMP_MS: u64 = 3_000;

impl Sim<'_> {
    /// One fault of a random kind.
    pub(super) fn fault(&mut self) -> Result<(), String> {
        let node = self.rng.index(self.nodes.len());
        let other = self.rng.index(self.nodes.len());
        match self.rng.between(0, 15) {
            0..=2 => self.crash_for_a_while(node),
            3 => self.divide(),
            4 => self.separate(node, other, false),
            5 => self.separate(node, other, true),
            6 => self.isolate(node),
            7 => self.flap(node, other),
            8 | 9 => self.store_fails(node),
            10 => self.jump(node),
            11 => {
                self.nodes[node].backup = Some(self.nodes[node].disk.image.clone());
                Ok(())
            }
            12 | 13 => self.restore(),
            14 if self.rng.chance(500) => self.wipe(node),
            _ => self.crash_all(),
        }
    }

    pub(super) fn start(&mut self, index: usize) -> Result<(), String> {
        if self.nodes[index].replica.is_some() {
            return Ok(());
        }
        let node = &mut self.nodes[index];
        node.start(&self.scenario.config, self.now_ms)?;
        let life = node.life;
        let is_new = !std::mem::replace(&mut node.joined, true);
        let first_tick = self.rng.between(1, super::TICK_MS);
        self.schedule(first_tick, Next::Tick { node: index, life });
        for of in if is_new { self.running() } else { vec![index] } {
            self.feed(of, Input::Members(self.members()))?;
        }
        for other in self.running() {
            if other != index && !self.net.is_cut(index, other) && !self.net.is_cut(other, index) {
                self.meet(index, other)?;
                self.meet(other, index)?;
            }
        }
        Ok(())
    }

    fn meet(&mut self, index: usize, other: usize) -> Result<(), String> {
        self.feed(index, Input::PeerUp(self.nodes[other].id))
    }

    fn part(&mut self, index: usize, other: usize) -> Result<(), String> {
        self.feed(index, Input::PeerDown(self.nodes[other].id))
    }

    /// The power of one node goes. Its peers may or may not notice.
    fn crash(&mut self, index: usize) -> Result<(), String> {
        let Some(replica) = self.nodes[index].replica.take() else { return Ok(()) };
        self.coverage.crashes += 1;
        self.coverage.add(replica.counters());
        let own = Stream::global(replica.me());
        let node = &mut self.nodes[index];
        node.life += 1;
        let kept = node.disk.crash(&mut self.rng);
        self.note_durable(index, &kept)?;
        let known = self.nodes[index].disk.image.seq(&own);
        self.coverage.commits_lost += replica.seen().seq(&own).saturating_sub(known);
        self.ledger.forget_lost(own.replica, known);
        if self.rng.chance(500) {
            for other in self.running() {
                self.part(other, index)?;
            }
        }
        Ok(())
    }

    fn crash_for_a_while(&mut self, index: usize) -> Result<(), String> {
        self.crash(index)?;
        let in_ms = self.rng.between(1, 3_000);
        if self.nodes[index].joined {
            self.schedule(in_ms, Next::Start { node: index });
        }
        Ok(())
    }

    fn crash_all(&mut self) -> Result<(), String> {
        if self.rng.chance(800) {
            return Ok(());
        }
        self.running().into_iter().try_for_each(|node| self.crash_for_a_while(node))
    }

    pub(super) fn cut(&mut self, from: usize, to: usize) -> Result<(), String> {
        if self.calm {
            return Ok(());
        }
        self.net.cut(from, to);
        if self.rng.chance(400) {
            self.part(from, to)?;
        }
        if self.rng.chance(400) {
            self.part(to, from)?;
        }
        Ok(())
    }

    pub(super) fn mend(&mut self, from: usize, to: usize) -> Result<(), String> {
        self.net.mend(from, to);
        self.meet(from, to)?;
        self.meet(to, from)
    }

    fn cut_for_a_while(&mut self, from: usize, to: usize) -> Result<(), String> {
        self.cut(from, to)?;
        let in_ms = self.rng.between(50, 4_000);
        self.schedule(in_ms, Next::Mend { from, to });
        Ok(())
    }

    fn separate(&mut self, node: usize, other: usize, both_ways: bool) -> Result<(), String> {
        if node == other {
            return Ok(());
        }
        if both_ways {
            self.cut_for_a_while(other, node)?;
        }
        self.cut_for_a_while(node, other)
    }

    fn isolate(&mut self, node: usize) -> Result<(), String> {
        (0..self.nodes.len()).try_for_each(|other| self.separate(node, other, true))
    }

    fn divide(&mut self) -> Result<(), String> {
        let at = self.rng.index(self.nodes.len());
        for low in 0..at {
            for high in at..self.nodes.len() {
                self.separate(low, high, true)?;
            }
        }
        Ok(())
    }

    fn flap(&mut self, node: usize, other: usize) -> Result<(), String> {
        let mut in_ms = 0;
        for _ in 0..self.rng.between(2, 8) {
            in_ms += self.rng.between(10, 400);
            if node != other {
                self.schedule(in_ms, Next::Cut { from: node, to: other });
                self.schedule(in_ms + 20, Next::Mend { from: node, to: other });
            }
        }
        Ok(())
    }

    fn store_fails(&mut self, node: usize) -> Result<(), String> {
        if self.nodes[node].disk.failing || self.nodes[node].replica.is_none() {
            return Ok(());
        }
        self.coverage.store_failures += 1;
        self.nodes[node].disk.failing = true;
        let in_ms = self.rng.between(10, 3_000);
        self.schedule(in_ms, Next::StoreRecovers { node, life: self.nodes[node].life });
        self.feed(node, Input::StoreFailed)
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

    /// A clock jumps, and is set right after a while.
    fn jump(&mut self, node: usize) -> Result<(), String> {
        let before = self.nodes[node].skew_ms;
        let by = self.rng.between(0, 2 * JUMP_MS).cast_signed() - JUMP_MS.cast_signed();
        self.nodes[node].skew_ms += by;
        let in_ms = self.rng.between(10, 3_000);
        self.schedule(in_ms, Next::Skew { node, skew_ms: before });
        Ok(())
    }

    /// Every stream that this node has ever written, with what of it was ever durable.
    fn written_by(&self, index: usize) -> Vec<(Stream, u64)> {
        let id = self.nodes[index].id;
        self.ledger.durable().iter().filter(|(stream, _)| stream.replica.node == id).collect()
    }

    /// Whether what `index` may forget is in safe hands: every commit of its own that is durable is durable elsewhere too, and
    /// no other node is still catching up after it forgot something itself.
    fn may_forget(&mut self, index: usize) -> bool {
        self.note_remembered();
        let elsewhere = |(stream, known): &(Stream, u64)| {
            let mut others = self.nodes.iter().enumerate().filter(|(other, _)| *other != index);
            others.any(|(_, peer)| peer.disk.image.seq(stream) >= *known)
        };
        self.nodes[index].joined
            && self.nodes.iter().all(|node| node.forgot.is_none())
            && self.written_by(index).iter().all(elsewhere)
    }

    /// An old copy of a disk takes its place. Half the time the agent notices, and takes a new incarnation at once.
    fn restore(&mut self) -> Result<(), String> {
        let kept: Vec<usize> = (0..self.nodes.len()).filter(|index| self.nodes[*index].backup.is_some()).collect();
        if kept.is_empty() {
            return Ok(());
        }
        let index = kept[self.rng.index(kept.len())];
        self.crash(index)?;
        if self.may_forget(index)
            && let Some(image) = self.nodes[index].backup.clone()
        {
            self.coverage.restores += 1;
            let noticed = self.rng.chance(500);
            let incarnation = if noticed { self.unused_incarnation(index) } else { image.incarnation };
            let mut image = image;
            image.incarnation = incarnation;
            self.replace_disk(index, image);
        }
        let in_ms = self.rng.between(1, 1_000);
        self.schedule(in_ms, Next::Start { node: index });
        Ok(())
    }

    /// A disk is lost; the node comes back with an empty one and a new incarnation.
    fn wipe(&mut self, index: usize) -> Result<(), String> {
        self.crash(index)?;
        if self.may_forget(index) {
            self.coverage.wipes += 1;
            let incarnation = self.unused_incarnation(index);
            self.replace_disk(index, Image::blank(incarnation));
            self.nodes[index].backup = None;
        }
        if self.nodes[index].joined {
            self.schedule(1, Next::Start { node: index });
        }
        Ok(())
    }

    fn replace_disk(&mut self, index: usize, image: Image) {
        let written = self.written_by(index);
        let forgotten = |(stream, known): &(Stream, u64)| *known > image.seq(stream);
        // Of all streams that it forgot, the one that it would write again is the one to wait for.
        let again = |(stream, _): &(Stream, u64)| stream.replica.incarnation == image.incarnation;
        let lost: Vec<_> = written.into_iter().filter(forgotten).collect();
        let node = &mut self.nodes[index];
        node.forgot = lost.iter().find(|lost| again(lost)).or(lost.last()).copied();
        node.disk.image = image;
        node.reported = crate::causal::VersionVector::default();
    }

    fn unused_incarnation(&self, index: usize) -> Incarnation {
        let used = self.written_by(index).into_iter().map(|(stream, _)| stream.replica.incarnation.0);
        Incarnation(used.max().unwrap_or(0).max(self.nodes[index].disk.image.incarnation.0) + 1)
    }

    /// Who has caught up with what it forgot may forget again.
    pub(super) fn note_remembered(&mut self) {
        for node in &mut self.nodes {
            let Some((stream, seq)) = node.forgot else { continue };
            if node
                .replica
                .as_ref()
                .is_some_and(|replica| replica.me() != stream.replica && replica.durable().seq(&stream) >= seq)
            {
                node.forgot = None;
            }
        }
    }

    /// Mends everything: all run, all are connected, all clocks agree within the drift.
    pub(super) fn become_calm(&mut self) -> Result<(), String> {
        self.calm = true;
        self.net.become_calm();
        for index in 0..self.nodes.len() {
            let skew = self.nodes[index].skew_ms;
            self.nodes[index].skew_ms = skew.clamp(-100, 100);
            self.start(index)?;
            self.store_recovers(index)?;
        }
        for index in 0..self.nodes.len() {
            for other in (0..self.nodes.len()).filter(|other| *other != index) {
                self.meet(index, other)?;
            }
        }
        Ok(())
    }
}
