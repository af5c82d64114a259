//! This host's own clock for failure detection, and how much it doubts itself.
//!
//! A host that was stopped, or is short of CPU, sees others answer late and has nobody to blame for it but itself. So its
//! clock stands still while it does, and runs slower the more it doubts: then all its time-outs are longer (the local health
//! multiplier of Lifeguard, Dadgar et al. 2018, which `foca` has not). The invariant: the clock never runs faster than
//! real time, and never ahead of the messages that waited while it stood.

use foca::{Header, Message, State};
use selvedge_sync::id::NodeId;

use super::swim::Life;
use super::wire::Packet;

/// Lateness that is noticed, in milliseconds: a scheduler's ordinary delays are below it.
const LATE_MS: u64 = 300;

/// Lateness that counts as a stall, in milliseconds: others have begun to suspect us.
const STALL_MS: u64 = 2_000;

/// Most doubt: time-outs are eight times as long then, as in Lifeguard.
const DOUBT_MAX: u64 = 7;

/// Most doubt for probes that fail: others may really be gone, and are to be found out.
const DOUBT_OF_PROBES_MAX: u64 = 2;

/// The clock.
#[derive(Debug)]
pub(super) struct Pace {
    last_ms: u64,
    own_us: u64,
    doubt: u64,
    /// Who is being probed, with which number, and whether it has answered.
    probe: Option<(NodeId, u8, bool)>,
    failed: Option<NodeId>,
}

impl Pace {
    pub(super) const fn new(now_ms: u64) -> Self {
        Self { last_ms: now_ms, own_us: 0, doubt: 0, probe: None, failed: None }
    }

    /// Milliseconds on our own clock.
    pub(super) const fn own_ms(&self) -> u64 {
        self.own_us / 1_000
    }

    pub(super) const fn doubt(&self) -> u64 {
        self.doubt
    }

    /// When time was last let pass.
    pub(super) const fn last_ms(&self) -> u64 {
        self.last_ms
    }

    /// Lets time pass, of which no more than `planned_ms` was to pass at once; whether this host was stalled meanwhile.
    pub(super) fn advance(&mut self, now_ms: u64, planned_ms: u64) -> bool {
        let passed_ms = now_ms.saturating_sub(self.last_ms);
        self.last_ms = self.last_ms.max(now_ms);
        let late_ms = passed_ms.saturating_sub(planned_ms);
        self.doubt = (self.doubt + late_ms / LATE_MS).min(DOUBT_MAX);
        // Of a gap only what was planned counts: what came in meanwhile is still to be read.
        self.own_us += passed_ms.min(planned_ms + LATE_MS) * 1_000 / (1 + self.doubt);
        late_ms >= STALL_MS
    }

    /// We say something: a probe is to be answered.
    pub(super) fn said(&mut self, header: &Header<Life>) {
        if let Message::Ping(number) = header.message {
            self.probe = Some((header.dst.node, number, false));
        }
    }

    /// Nothing that was asked before counts any more.
    pub(super) fn begin_round(&mut self) {
        (self.probe, self.failed) = (None, None);
    }

    /// Something is said to us: an answer, or that somebody missed ours.
    pub(super) fn heard(&mut self, packet: &Packet, me: Life) {
        if let Some((node, number, answered)) = &mut self.probe {
            *answered |= match &packet.header.message {
                Message::Ack(of) => of == number && packet.header.src.node == *node,
                Message::ForwardedAck { origin, probe_number } => probe_number == number && origin.node == *node,
                _ => false,
            };
        }
        let suspected =
            packet.claims.iter().flatten().any(|claim| *claim.id() == me && claim.state() == State::Suspect);
        if suspected && self.doubt < DOUBT_OF_PROBES_MAX {
            self.doubt += 1;
        }
    }

    /// A round of probing is over; whose probe failed. One that did is the other's fault; the next one, of somebody else,
    /// may be ours.
    pub(super) fn probed(&mut self) -> Option<NodeId> {
        match self.probe.take() {
            Some((_, _, true)) => {
                self.failed = None;
                self.doubt = self.doubt.saturating_sub(1);
                None
            }
            Some((node, _, false)) => {
                if self.failed.is_some_and(|before| before != node) && self.doubt < DOUBT_OF_PROBES_MAX {
                    self.doubt += 1;
                }
                self.failed = Some(node);
                Some(node)
            }
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stopped_clock_counts_nothing_and_a_late_one_runs_slower() {
        let mut pace = Pace::new(0);
        for now_ms in (100..=1_000).step_by(100) {
            assert!(!pace.advance(now_ms, 100));
        }
        assert_eq!((pace.own_ms(), pace.doubt()), (1_000, 0));
        assert!(!pace.advance(2_000, 1_000), "as planned");
        assert_eq!((pace.own_ms(), pace.doubt()), (2_000, 0));
        assert!(pace.advance(22_000, 100), "twenty seconds");
        assert!(pace.own_ms() <= 2_000 + 100 + LATE_MS);
        assert_eq!(pace.doubt(), DOUBT_MAX);
        let before = pace.own_ms();
        (22_100..=23_000).step_by(100).for_each(|now_ms| assert!(!pace.advance(now_ms, 100)));
        assert_eq!(pace.own_ms() - before, 1_000 / (1 + DOUBT_MAX));
        assert!(!pace.advance(5, 100), "backwards is no time at all");
    }
}
