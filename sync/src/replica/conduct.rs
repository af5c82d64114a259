//! What a member may cost us: how much it may say, how much it may have us verify in vain, and what comes of repairs from it that do
//! not help.
//!
//! Owns the three measures; what is done about an offence is the network's. The invariant: a member that says whatever it likes, as
//! fast as it can, is answered a bounded number of times in a second, has as many signatures verified that bring us nothing, and is
//! repaired from ever more rarely.

use super::{Event, Message, Output, Replica};
use crate::id::NodeId;
use crate::limits::{
    ALLOWANCE_MAX, ALLOWANCE_PER_SECOND, FLOOD_STEP, FUTILE_MS, FUTILE_STEPS_MAX, KNOWN_PER_COST, VERIFYING_MAX,
    VERIFYING_PER_SECOND, VERIFYING_STEP,
};
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
    /// It gave as state what nobody may put into the agents' own sets.
    Barred,
    /// It claims to know commits of ours, time and again, and shows none.
    Unfounded,
}

/// How much of something a peer may have of us.
#[derive(Clone, Copy, Debug)]
struct Measure {
    /// At once.
    max: u64,
    per_second: u64,
    /// What is refused of it between one offence and the next.
    step: u64,
}

/// What a peer may say, in the smallest answers that there are.
const SAYING: Measure = Measure { max: ALLOWANCE_MAX, per_second: ALLOWANCE_PER_SECOND, step: FLOOD_STEP };

/// Signatures that a peer may have us verify without bringing anything new.
const VERIFYING: Measure = Measure { max: VERIFYING_MAX, per_second: VERIFYING_PER_SECOND, step: VERIFYING_STEP };

/// What a peer may still have of something for now: a bucket that fills steadily.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Allowance {
    /// How much of the bucket is used.
    used: u64,
    since_ms: u64,
    /// What was wanted of it when there was not so much, since it was last half full.
    overdrawn: u64,
}

impl Allowance {
    fn fill(&mut self, measure: Measure, now: Time) {
        let filled = now.mono_ms.saturating_sub(self.since_ms).saturating_mul(measure.per_second) / 1_000;
        if filled > 0 {
            (self.used, self.since_ms) = (self.used.saturating_sub(filled), now.mono_ms);
        }
    }

    /// Takes `cost`, if there is so much. Of something that costs nothing there is enough until the bucket is empty.
    fn take(&mut self, measure: Measure, cost: u64, now: Time) -> bool {
        self.fill(measure, now);
        let is_enough = self.used.saturating_add(cost.max(1)) <= measure.max;
        if is_enough {
            self.spend(measure, cost);
        }
        is_enough
    }

    /// Takes `cost` if there is anything left, and owes what was not there: what is given back when the cost was worth it is refused
    /// to nobody for being large.
    fn borrow(&mut self, measure: Measure, cost: u64, now: Time) -> bool {
        self.fill(measure, now);
        let is_left = self.used < measure.max;
        if is_left {
            self.spend(measure, cost);
        }
        is_left
    }

    const fn spend(&mut self, measure: Measure, cost: u64) {
        self.used = self.used.saturating_add(cost);
        if self.used <= measure.max / 2 {
            self.overdrawn = 0;
        }
    }

    const fn give_back(&mut self, cost: u64) {
        self.used = self.used.saturating_sub(cost);
    }

    /// Notes what there was not enough for; true at first, and then once for each step.
    const fn overdraw(&mut self, measure: Measure, cost: u64) -> bool {
        let before = self.overdrawn;
        self.overdrawn = before.saturating_add(if cost == 0 { 1 } else { cost });
        before == 0 || before / measure.step < self.overdrawn / measure.step
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
/// ([`Replica::charge_known`]) or are verified in vain ([`Replica::affords_verifying`]); whoever forges is told on.
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
        if allowance.take(SAYING, cost, now) {
            return true;
        }
        self.counters.throttled += 1;
        if allowance.overdraw(SAYING, cost) {
            out.push(Output::Event(Event::Offence { peer: from, what: Offence::Flood }));
        }
        false
    }

    /// Counts commits that were known and has a peer pay for them: to find that out is work too, and an honest peer repeats itself rarely.
    pub(super) fn charge_known(&mut self, from: NodeId, commits: u64, now: Time, out: &mut Vec<Output>) {
        self.counters.duplicates += commits;
        let cost = 1 + commits / KNOWN_PER_COST;
        let allowance = &mut self.peers.known.entry(from).or_default().allowance;
        if !allowance.take(SAYING, cost, now) && allowance.overdraw(SAYING, cost) {
            out.push(Output::Event(Event::Offence { peer: from, what: Offence::Flood }));
        }
    }

    /// Whether a peer may have us verify so many signatures now. What is dropped comes again by anti-entropy; so does what somebody
    /// else has meanwhile.
    pub(super) fn affords_verifying(&mut self, from: NodeId, seals: u64, now: Time, out: &mut Vec<Output>) -> bool {
        let verifying = &mut self.peers.known.entry(from).or_default().verifying;
        if verifying.borrow(VERIFYING, seals, now) {
            return true;
        }
        if verifying.overdraw(VERIFYING, seals) {
            out.push(Output::Event(Event::Offence { peer: from, what: Offence::Flood }));
        }
        false
    }

    /// What a peer had us verify was worth it.
    pub(super) fn repay_verifying(&mut self, from: NodeId, seals: u64) {
        if let Some(peer) = self.peers.known.get_mut(&from) {
            peer.verifying.give_back(seals);
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
        let taken =
            |allowance: &mut Allowance, ms| (0..).take_while(|_| allowance.take(SAYING, 1, at(ms))).count() as u64;
        assert_eq!(taken(&mut allowance, 5), ALLOWANCE_MAX);
        assert_eq!(taken(&mut allowance, 5), 0);
        assert_eq!(taken(&mut allowance, 105), ALLOWANCE_PER_SECOND / 10);
        assert_eq!(taken(&mut allowance, 1_000_000), ALLOWANCE_MAX, "and holds no more than it does");
    }

    #[test]
    fn what_is_borrowed_is_owed_unless_it_was_worth_it() {
        let mut verifying = Allowance::default();
        for _ in 0..10 {
            assert!(verifying.borrow(VERIFYING, 3 * VERIFYING_MAX, at(0)), "something is left");
            verifying.give_back(3 * VERIFYING_MAX);
        }
        assert!(verifying.borrow(VERIFYING, 3 * VERIFYING_MAX, at(0)));
        assert!(!verifying.borrow(VERIFYING, 1, at(0)) && verifying.overdraw(VERIFYING, 1));
        let until_ms = 2 * VERIFYING_MAX * 1_000 / VERIFYING_PER_SECOND;
        assert!(!verifying.borrow(VERIFYING, 1, at(until_ms)) && !verifying.overdraw(VERIFYING, 1));
        assert!(verifying.borrow(VERIFYING, 1, at(until_ms + 10)));
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
