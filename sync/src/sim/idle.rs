//! What an idle mesh costs: bytes, messages and inputs per member and second, when all are connected and nothing differs.

use super::{Failure, Scenario, Sim};
use crate::id::Incarnation;
use crate::replica::Input;

/// How many times a client writes before the measurement.
const REQUESTS: u64 = 40;
/// How long everything is given to become quiet, in virtual milliseconds.
const SETTLE_MS: u64 = 1_500;

/// What one member costs per virtual second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct IdleCost {
    /// Bytes sent.
    pub bytes: f64,
    /// Messages sent.
    pub messages: f64,
    /// Inputs handled, ticks among them.
    pub inputs: f64,
}

/// Measures a mesh of `nodes` members over `seconds` of virtual time. All begin with the same state on their disks.
///
/// # Errors
/// An invariant did not hold.
pub fn idle_cost(nodes: usize, seconds: u64) -> Result<IdleCost, Box<Failure>> {
    let scenario = Scenario::mild(nodes);
    let mut sim = Sim::new(1, &scenario);
    sim.measure_idle(seconds).map_err(|what| {
        Box::new(Failure { seed: 1, at_ms: sim.now_ms, what, narration: std::mem::take(&mut sim.narration).into() })
    })
}

impl Sim<'_> {
    fn measure_idle(&mut self, seconds: u64) -> Result<IdleCost, String> {
        self.net.become_calm();
        self.start(0)?;
        for _ in 0..REQUESTS {
            self.clients()?;
            self.run_until(self.now_ms + super::TICK_MS)?;
        }
        self.run_until(self.now_ms + 2 * self.scenario.config.checkpoint_ms)?;
        self.calm = true;
        let image = self.nodes[0].disk.image.clone();
        for node in &mut self.nodes[1..] {
            node.disk.image = image.with_incarnation(Incarnation(1));
        }
        // While everybody meets everybody ticks are few: they are not what is measured.
        self.idle_until_ms = self.now_ms + super::IDLE_TICK_MS;
        for index in 1..self.nodes.len() {
            self.begin_life(index)?;
            self.nodes[index].joined = true;
        }
        let members = self.members();
        for index in 0..self.nodes.len() {
            self.feed(index, Input::Members(members.clone()))?;
        }
        for index in 0..self.nodes.len() {
            (0..self.nodes.len()).filter(|other| *other != index).try_for_each(|other| self.meet(index, other))?;
            self.run_until(self.now_ms + 1)?;
        }
        self.run_until(self.idle_until_ms.max(self.now_ms) + SETTLE_MS)?;
        if !self.is_converged() {
            return Err(format!("not idle: {}", self.differences()));
        }
        let before = self.spent();
        self.run_until(self.now_ms + seconds * 1_000)?;
        let spent = self.spent();
        let each = |index: usize| (spent[index] - before[index]) / (self.nodes.len() as u64 * seconds) as f64;
        Ok(IdleCost { bytes: each(0), messages: each(1), inputs: each(2) })
    }

    fn spent(&self) -> [f64; 3] {
        [self.coverage.bytes() as f64, self.coverage.of("messages") as f64, self.handled as f64]
    }
}
