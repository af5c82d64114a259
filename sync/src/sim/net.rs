//! A simulated network: which direction of which pair is cut, and what becomes of a message.
//!
//! Owns directed cuts and the fate of messages; it carries nothing itself.

use std::collections::BTreeSet;

use super::rng::Rng;
use super::scenario::Scenario;

/// Of a thousand messages, how many are late enough to be overtaken by many others.
const STRAGGLERS_PERMILLE: u64 = 15;
/// How late a straggler may be, in milliseconds: longer than every patience of the engine.
pub(super) const STRAGGLER_MS: u64 = 7_000;

/// How long a message takes, at most, in a slow direction, in milliseconds.
const SLOW_MS: u64 = 4_000;

/// The network.
#[derive(Clone, Debug, Default)]
pub(super) struct Net {
    cut: BTreeSet<(usize, usize)>,
    slow: BTreeSet<(usize, usize)>,
    calm: bool,
}

impl Net {
    /// A network of so many nodes, of which some directions are slow.
    pub(super) fn of(nodes: usize, scenario: &Scenario, rng: &mut Rng) -> Self {
        let pairs = (0..nodes).flat_map(|from| (0..nodes).map(move |to| (from, to)));
        let slow = if scenario.slow_permille == 0 {
            BTreeSet::new()
        } else {
            pairs.filter(|_| rng.chance(scenario.slow_permille)).collect()
        };
        Self { slow, ..Self::default() }
    }

    /// From now on every message arrives once, soon.
    pub(super) fn become_calm(&mut self) {
        self.cut.clear();
        self.calm = true;
    }

    pub(super) fn is_cut(&self, from: usize, to: usize) -> bool {
        self.cut.contains(&(from, to))
    }

    pub(super) fn cut(&mut self, from: usize, to: usize) {
        self.cut.insert((from, to));
    }

    pub(super) fn mend(&mut self, from: usize, to: usize) {
        self.cut.remove(&(from, to));
    }

    /// After how many milliseconds copies of a message arrive: none when it is lost.
    pub(super) fn fate(&self, from: usize, to: usize, scenario: &Scenario, rng: &mut Rng) -> Vec<u64> {
        if self.calm {
            return vec![rng.between(1, 20)];
        }
        if self.is_cut(from, to) || rng.chance(scenario.loss_permille) {
            return Vec::new();
        }
        let copies = if rng.chance(scenario.duplicate_permille) { 2 } else { 1 };
        let mut delay = || match rng.chance(STRAGGLERS_PERMILLE) {
            true => rng.between(1, STRAGGLER_MS),
            false if self.slow.contains(&(from, to)) => rng.between(500, SLOW_MS),
            false => rng.between(1, scenario.delay_ms),
        };
        (0..copies).map(|_| delay()).collect()
    }
}
