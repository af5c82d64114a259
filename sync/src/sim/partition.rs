//! The shapes in which a network falls apart.

use super::{Next, Sim};
use crate::replica::Input;

/// Which pairs still hear each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shape {
    /// Two parts that hear nothing of each other.
    Halves,
    /// Two parts of which one hears the other, and not the reverse.
    OneWay,
    /// Everybody hears only two neighbours.
    Ring,
    /// Two parts, and one node that hears both.
    Bridge,
    /// One node hears nobody.
    Isolated,
    /// One pair.
    Pair,
    /// One direction of one pair.
    Deaf,
    /// Two parts that lose and find each other again and again.
    Flapping,
}

impl Shape {
    /// All of them.
    pub const ALL: [Self; 8] =
        [Self::Halves, Self::OneWay, Self::Ring, Self::Bridge, Self::Isolated, Self::Pair, Self::Deaf, Self::Flapping];
}

impl Sim<'_> {
    /// The network falls apart in some shape, for a while.
    pub(super) fn divide(&mut self) {
        let shape = Shape::ALL[self.rng.index(Shape::ALL.len())];
        let pairs = self.pairs_cut(shape);
        if pairs.is_empty() {
            return;
        }
        self.coverage.divided(shape);
        if shape == Shape::Flapping {
            let mut in_ms = 0;
            for _ in 0..self.rng.between(2, 8) {
                in_ms += self.rng.between(40, 400);
                self.schedule(in_ms, Next::Cut { pairs: pairs.clone() });
                let apart_ms = self.rng.between(5, 35);
                self.schedule(in_ms + apart_ms, Next::Mend { pairs: pairs.clone() });
            }
            return;
        }
        self.schedule(0, Next::Cut { pairs: pairs.clone() });
        let for_ms = self.rng.between(50, 4_000);
        self.schedule(for_ms, Next::Mend { pairs });
    }

    fn pairs_cut(&mut self, shape: Shape) -> Vec<(usize, usize)> {
        let count = self.nodes.len();
        let low: Vec<bool> = (0..count).map(|_| self.rng.chance(500)).collect();
        let (one, other) = (self.rng.index(count), self.rng.index(count));
        // The ring is in an order of its own, or the same nodes would always be neighbours.
        let mut place: Vec<usize> = (0..count).collect();
        (1..count).for_each(|at| place.swap(at, self.rng.index(at + 1)));
        let neighbours = |from: usize, to: usize| {
            let apart = place[from].abs_diff(place[to]);
            apart == 1 || apart == count - 1
        };
        let is_cut = |from: usize, to: usize| match shape {
            Shape::Halves | Shape::Flapping => low[from] != low[to],
            Shape::OneWay => low[from] && !low[to],
            Shape::Ring => !neighbours(from, to),
            Shape::Bridge => low[from] != low[to] && from != one && to != one,
            Shape::Isolated => from == one || to == one,
            Shape::Pair => (from, to) == (one, other) || (from, to) == (other, one),
            Shape::Deaf => (from, to) == (one, other),
        };
        let pairs = (0..count).flat_map(|from| (0..count).map(move |to| (from, to)));
        pairs.filter(|(from, to)| from != to && is_cut(*from, *to)).collect()
    }

    pub(super) fn cut(&mut self, pairs: &[(usize, usize)]) -> Result<(), String> {
        if self.calm {
            return Ok(());
        }
        for &(from, to) in pairs {
            self.net.cut(from, to);
            if self.rng.chance(400) {
                self.part(from, to)?;
            }
            if self.rng.chance(400) {
                self.part(to, from)?;
            }
        }
        Ok(())
    }

    pub(super) fn mend(&mut self, pairs: &[(usize, usize)]) -> Result<(), String> {
        for &(from, to) in pairs {
            self.net.mend(from, to);
            self.meet(from, to)?;
            self.meet(to, from)?;
        }
        Ok(())
    }

    pub(super) fn meet(&mut self, index: usize, other: usize) -> Result<(), String> {
        if self.nodes[index].id == self.nodes[other].id || self.nodes[other].replica.is_none() {
            return Ok(());
        }
        self.feed(index, Input::PeerUp(self.nodes[other].id))
    }

    /// One node notices that it cannot reach another; not while another host with the same key is still there.
    pub(super) fn part(&mut self, index: usize, other: usize) -> Result<(), String> {
        let id = self.nodes[other].id;
        if self.nodes[index].id == id || self.is_shared(&id) {
            return Ok(());
        }
        self.feed(index, Input::PeerDown(id))
    }
}
