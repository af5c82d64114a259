//! Clocks that are wrong: by seconds, by hours, and a liar whose stamp lies eight thousand years ahead.
//!
//! A stamp from far ahead stays with its stream for ever, because a hybrid clock never runs backwards: after a host's clock was
//! set right, its stream waits elsewhere until time has come. Virtual time costs nothing, so the end of a run waits too.

use super::node::EPOCH_MS;
use super::{IDLE_TICK_MS, Next, Sim};
use crate::commit::{Batch, Commit};
use crate::crdt::{Assign, Op};
use crate::hlc::Hlc;
use crate::id::{Dot, Incarnation, NodeId, ReplicaId, Stream};
use crate::key::{Key, Kind};
use crate::replica::{Input, Message};
use crate::scalar::Scalar;
use crate::seal::HashKeys;

/// The furthest that a clock jumps, in milliseconds, when it stays within what happens on healthy hosts.
const JUMP_MS: u64 = 3_000;
/// The least and the most of a jump of hours, in milliseconds.
const HOURS_MS: (u64, u64) = (1_800_000, 3 * 3_600_000);
/// Noon of the last day of the year 9999, in milliseconds since the epoch.
const YEAR_9999_MS: u64 = 253_402_257_600_000;
/// Who claims to have written then.
pub(super) const LIAR: NodeId = NodeId([0xff; 32]);

impl Sim<'_> {
    /// A clock jumps, and is set right after a while.
    pub(super) fn jump(&mut self, node: usize) {
        let before = self.nodes[node].skew_ms;
        let hours = self.scenario.far_clocks && self.rng.chance(300);
        let by = if hours {
            self.coverage.count("clock jumps of hours");
            let by = self.rng.between(HOURS_MS.0, HOURS_MS.1).cast_signed();
            if self.rng.chance(500) { by } else { -by }
        } else {
            self.rng.between(0, 2 * JUMP_MS).cast_signed() - JUMP_MS.cast_signed()
        };
        self.nodes[node].skew_ms += by;
        let in_ms = self.rng.between(10, 3_000);
        self.schedule(in_ms, Next::Skew { node, skew_ms: before });
    }

    /// Somebody relays a commit from the year 9999.
    pub(super) fn lie(&mut self, to: usize, from: usize) -> Result<(), String> {
        if self.nodes[to].id == self.nodes[from].id {
            return Ok(());
        }
        let stream = Stream::global(ReplicaId { node: LIAR, incarnation: Incarnation(1) });
        let key = Key::new(Kind::LwwMap, "k0").map_err(|error| error.to_string())?;
        let put =
            Assign { member: "f0".to_owned(), value: Some(Scalar::Text("for ever".to_owned())), over: Vec::new() };
        let hlc = Hlc::from_millis(YEAR_9999_MS);
        let commit = Commit { stream, seq: 1, hlc, request: None, ops: vec![(key, Op::LwwMap(vec![put]))] };
        let batches = vec![Batch::new(stream, 1, vec![commit.encode()]).sealed(&HashKeys)];
        self.coverage.count("lies told");
        self.feed(
            to,
            Input::Receive {
                from: self.nodes[from].id,
                message: Message::Commits { batches, more: false, hops: None },
            },
        )
    }

    pub(super) fn note_held(&mut self, dot: Dot, ahead_ms: u64) {
        if dot.replica.node == LIAR {
            self.coverage.count("lies held back");
        } else if ahead_ms > JUMP_MS * 2 {
            self.coverage.count("commits held for hours");
        }
    }

    /// For hours nobody writes and nothing fails.
    pub(super) fn rest(&mut self) {
        let hours_ms = self.rng.between(HOURS_MS.0, HOURS_MS.1);
        self.coverage.count("long idle spells");
        self.idle_until_ms = self.now_ms + hours_ms;
        self.storm_end_ms += hours_ms;
    }

    /// Lets time pass until no clock is behind the latest stamp. Nothing else may have to wait for it.
    pub(super) fn await_latest_stamp(&mut self) -> Result<(), String> {
        let latest_ms = self.ledger.latest_stamp().millis();
        let wall_ms = EPOCH_MS + self.now_ms;
        if latest_ms <= wall_ms + JUMP_MS * 2 {
            return Ok(());
        }
        let repairs = self.repairs();
        self.run_until(self.now_ms + super::CONVERGE_MS)?;
        // A page of a repair waits as a whole, and all that it holds with it.
        if self.repairs() == repairs {
            self.check_others_do_not_wait()?;
        }
        self.idle_until_ms = self.now_ms + latest_ms.saturating_sub(EPOCH_MS + self.now_ms);
        self.run_until(self.idle_until_ms + IDLE_TICK_MS)
    }

    fn repairs(&self) -> u64 {
        let count = |node: &super::Node| node.replica.as_ref().map_or(0, |replica| replica.counters().repairs);
        self.nodes.iter().map(count).sum()
    }

    /// Only streams with a stamp ahead of time may differ: the offending ones wait, and nobody else's.
    fn check_others_do_not_wait(&mut self) -> Result<(), String> {
        let due_ms = EPOCH_MS + self.now_ms + self.scenario.config.max_drift_ms;
        let offending = self.ledger.streams_beyond(Hlc::from_millis(due_ms.saturating_sub(2 * JUMP_MS)));
        // Of a closed stream there may be more than counts.
        let waits = |stream: &Stream| offending.contains(stream) || self.ends.contains_key(&stream.replica);
        for (stream, seq) in self.ledger.durable().iter().filter(|(stream, _)| !waits(stream)) {
            for (index, node) in self.nodes.iter().enumerate() {
                if let Some(replica) = &node.replica
                    && replica.seen().seq(&stream) < seq
                {
                    return Err(format!("node {index} waits for {stream:?}, which no stamp holds up"));
                }
            }
        }
        self.coverage.count("streams that wait alone");
        Ok(())
    }
}
