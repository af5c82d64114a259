//! What a member may cost us: how much it may say, and what comes of repairs from it that do not help.
//!
//! Owns the two measures; what is done about an offence is the network's. The invariant: a member that says whatever it likes, as
//! fast as it can, is answered a bounded number of times in a second, and repaired from ever more rarely.

use super::{Event, Message, Output, Replica};
use crate::id::NodeId;
use crate::limits::{ALLOWANCE_MAX, ALLOWANCE_PER_SECOND, FLOOD_STEP, FUTILE_MS, FUTILE_STEPS_MAX, KNOWN_PER_COST};
use crate::time::Time;

/// What no honest member does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Offence {
    /// It passed on commits without their writer's seal.
    Unsealed,
    /// It passed on commits with a seal that is none, or sealed its own so.
    Forged,
    /// It told of a proof that proves nothing.
    FalseProof,
    /// It said more than anybody has to.
    Flood,
    /// Repairs from it promise much and bring nothing.
    Futile,
    /// It claims to know commits of ours, time and again, and shows none.
    Unfounded,
}

/// What a peer may still say for now: a bucket that fills steadily.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Allowance {
    /// How much of [`ALLOWANCE_MAX`] is used.
    used: u64,
    since_ms: u64,
    /// What was wanted of it when there was not so much, since it was last half full.
    overdrawn: u64,
}

impl Allowance {
    /// Takes `cost`, if there is so much. Of something that costs nothing there is enough until the bucket is empty.
    fn take(&mut self, cost: u64, now: Time) -> bool {
        let filled = now.mono_ms.saturating_sub(self.since_ms).saturating_mul(ALLOWANCE_PER_SECOND) / 1_000;
        if filled > 0 {
            (self.used, self.since_ms) = (self.used.saturating_sub(filled), now.mono_ms);
        }
        let is_enough = self.used.saturating_add(cost.max(1)) <= ALLOWANCE_MAX;
        if is_enough {
            self.used += cost;
            if self.used <= ALLOWANCE_MAX / 2 {
                self.overdrawn = 0;
            }
        }
        is_enough
    }

    /// Notes what there was not enough for; true at first, and then once for each [`FLOOD_STEP`].
    const fn overdraw(&mut self, cost: u64) -> bool {
        let before = self.overdrawn;
        self.overdrawn = before.saturating_add(if cost == 0 { 1 } else { cost });
        before == 0 || before / FLOOD_STEP < self.overdrawn / FLOOD_STEP
    }
}

/// What one peer had us do in vain, one after the other: repairs that did not help, claims that were not shown.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Futile {
    times: u32,
    until_ms: u64,
}

impl Futile {
    /// Notes one more; true when there have been so many that it is no accident.
    pub(super) const fn note(&mut self, now: Time) -> bool {
        if self.times < FUTILE_STEPS_MAX {
            self.times += 1;
        }
        self.until_ms = now.mono_ms.saturating_add(FUTILE_MS << (self.times - 1));
        self.times == FUTILE_STEPS_MAX
    }

    /// Whether the next has to wait.
    pub(super) const fn waits(&self, now: Time) -> bool {
        now.mono_ms < self.until_ms
    }
}

/// What a message costs whoever gets it, in the smallest answers that there are. Commits are paid for when they turn out to be known
/// ([`Replica::charge_known`]); new ones are verified, and whoever forges is told on.
const fn cost_of(message: &Message) -> u64 {
    match message {
        Message::Commits { .. } | Message::StatePage { .. } | Message::Recalled { .. } => 0,
        Message::Digest { .. } | Message::Announce(_) | Message::Prune | Message::Link(_) => 1,
        Message::Vector { .. }
        | Message::StateRequest { .. }
        | Message::Recall { .. }
        | Message::Forgotten
        | Message::Graft(_) => 4,
        Message::Witness { .. } | Message::Proof(_) => 16,
        Message::Heads { .. } => 128,
    }
}

impl Replica {
    /// Whether a peer may say this now. What is dropped, its sender asks for again if it has to.
    pub(super) fn affords(&mut self, from: NodeId, message: &Message, now: Time, out: &mut Vec<Output>) -> bool {
        let cost = cost_of(message);
        let allowance = &mut self.peers.known.entry(from).or_default().allowance;
        if allowance.take(cost, now) {
            return true;
        }
        self.counters.throttled += 1;
        if allowance.overdraw(cost) {
            out.push(Output::Event(Event::Offence { peer: from, what: Offence::Flood }));
        }
        false
    }

    /// Counts commits that were known and has a peer pay for them: to find that out is work too, and an honest peer repeats itself rarely.
    pub(super) fn charge_known(&mut self, from: NodeId, commits: u64, now: Time, out: &mut Vec<Output>) {
        self.counters.duplicates += commits;
        let cost = 1 + commits / KNOWN_PER_COST;
        let allowance = &mut self.peers.known.entry(from).or_default().allowance;
        if !allowance.take(cost, now) && allowance.overdraw(cost) {
            out.push(Output::Event(Event::Offence { peer: from, what: Offence::Flood }));
        }
    }

    /// Notes whether a repair from `peer` has helped.
    pub(super) fn note_repair(&mut self, peer: NodeId, has_helped: bool, now: Time, out: &mut Vec<Output>) {
        let futile = &mut self.peers.known.entry(peer).or_default().futile;
        if has_helped {
            *futile = Futile::default();
        } else if futile.note(now) {
            out.push(Output::Event(Event::Offence { peer, what: Offence::Futile }));
        }
    }

    /// Notes a claim about our stream for which nothing was shown; whether its claimant is to be believed all the same.
    pub(super) fn note_claim(&mut self, peer: NodeId, now: Time, out: &mut Vec<Output>) -> bool {
        let is_too_often = self.peers.known.entry(peer).or_default().unfounded.note(now);
        if is_too_often {
            out.push(Output::Event(Event::Offence { peer, what: Offence::Unfounded }));
        }
        !is_too_often
    }

    /// Whether claims of `peer` about our stream are not heard for now.
    pub(super) fn is_doubtful(&self, peer: &NodeId, now: Time) -> bool {
        self.peers.known.get(peer).is_some_and(|peer| peer.unfounded.waits(now))
    }

    /// Whether a repair from `peer` has to wait, because the last ones did not help.
    pub(super) fn is_futile(&self, peer: &NodeId, now: Time) -> bool {
        self.peers.known.get(peer).is_some_and(|peer| peer.futile.waits(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(ms: u64) -> Time {
        Time { wall_ms: ms, mono_ms: ms }
    }

    #[test]
    fn an_allowance_fills_again() {
        let mut allowance = Allowance::default();
        let taken = |allowance: &mut Allowance, ms| (0..).take_while(|_| allowance.take(1, at(ms))).count() as u64;
        assert_eq!(taken(&mut allowance, 5), ALLOWANCE_MAX);
        assert_eq!(taken(&mut allowance, 5), 0);
        assert_eq!(taken(&mut allowance, 105), ALLOWANCE_PER_SECOND / 10);
        assert_eq!(taken(&mut allowance, 1_000_000), ALLOWANCE_MAX, "and holds no more than it does");
    }

    #[test]
    fn repairs_that_do_not_help_come_ever_more_rarely() {
        let mut futile = Futile::default();
        let mut waits = Vec::new();
        for _ in 0..FUTILE_STEPS_MAX + 3 {
            futile.note(at(0));
            waits.push((0..).step_by(1_000).find(|ms| !futile.waits(at(*ms))).expect("not for ever"));
        }
        assert!(waits.is_sorted() && waits[0] == FUTILE_MS, "{waits:?}");
        assert_eq!(waits.last(), Some(&(FUTILE_MS << (FUTILE_STEPS_MAX - 1))));
    }
}
