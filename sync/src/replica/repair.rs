//! Repair from state: for a peer that is behind the retained log, or whose root differs at an equal vector. The receiver's side.
//!
//! The receiver asks how ranges of its state differ from the giver's, ever finer where they do; the giver keeps nothing between
//! questions. Each answer asserts what the giver holds in some ranges at one vector, its own (what it has seen and what those
//! ranges show beyond that): we merge what differs, and note that vector for all of them, the equal ones too. Our own vector
//! advances only when the last answer is in, to the vector of the first. Commits go on being applied meanwhile: what an object
//! shows beyond our vector is known ([`Ahead`]), and it takes nothing twice.

use std::collections::BTreeSet;

use super::giver::{Bits, Held};
use super::guard::Guarded;
use super::plan::{Plan, Said};
use super::{Ahead, Event, Message, Output, RepairEnd, RepairProgress, Replica, SCOPE};
use crate::causal::VersionVector;
use crate::crdt::{Context, ObjectState};
use crate::hlc::Hlc;
use crate::id::NodeId;
use crate::key::Key;
use crate::limits::{AHEAD_RANGES_MAX, REPAIR_EMPTY_PAGES_MAX, REPAIR_PATIENCE_MS, REQUEST_PATIENCE_MS};
use crate::planted::{self, Bug};
use crate::time::Time;

#[derive(Debug, Default)]
pub(super) struct RepairState {
    current: Option<Repair>,
    pub(super) ahead: Ahead,
    pub(super) held: Held,
    /// The giver of the last repair, if it was given up.
    failed: Option<NodeId>,
}

#[derive(Debug)]
struct Repair {
    from: NodeId,
    /// The vector of the first answer.
    target: Option<VersionVector>,
    plan: Plan,
    /// When the question was last sent.
    asked_ms: u64,
    /// When the last answer was taken.
    advanced_ms: u64,
    /// Whether an answer waits for our clock.
    waits: bool,
    answers: u64,
    objects: u64,
    /// Answers that ended early and brought nothing.
    empty: u32,
    /// Whether any answer changed something here.
    has_changed: bool,
    /// Whether any did, or has shown that the giver has what we have not.
    has_helped: bool,
}

/// An object of an answer, and where it is.
pub(super) type Positioned = (u64, Key, ObjectState);

/// What an answer says.
pub(super) struct Page {
    pub(super) seen: VersionVector,
    pub(super) ahead: VersionVector,
    pub(super) latest: Hlc,
    pub(super) to: u64,
    pub(super) last: u64,
    pub(super) equal: Vec<u8>,
    pub(super) objects: Vec<(Key, ObjectState)>,
}

/// An answer that was checked.
struct Answer {
    seen: VersionVector,
    ahead: VersionVector,
    /// Both together: what its ranges show.
    shown: VersionVector,
    latest: Hlc,
    last: u64,
    equal: Bits,
    objects: Vec<Positioned>,
}

impl Page {
    /// The answer, if it speaks of what was asked, in order, and of the scope that there is.
    fn checked(self, plan: &Plan) -> Option<Answer> {
        let mut shown = self.seen.clone();
        shown.merge(&self.ahead);
        let equal = Bits::of(self.equal);
        let objects: Vec<_> = self.objects.into_iter().map(|(key, object)| (key.position(), key, object)).collect();
        let sound = plan.allows(self.last, &equal)
            && objects.iter().all(|(position, ..)| *position <= self.last && plan.wants(*position))
            && objects.is_sorted_by(|before, after| (before.0, &before.1) < (after.0, &after.1))
            && shown.iter().all(|(stream, _)| stream.scope == SCOPE);
        let Self { seen, ahead, latest, last, .. } = self;
        sound.then_some(Answer { seen, ahead, shown, latest, last, equal, objects })
    }
}

impl Replica {
    pub(super) fn handle_forgotten(&mut self, from: NodeId, now: Time, out: &mut Vec<Output>) {
        self.begin_repair(from, now, out);
    }

    /// Begins a repair from `from`; after one that was given up, from the next peer that has something for us.
    pub(super) fn begin_repair(&mut self, from: NodeId, now: Time, out: &mut Vec<Output>) {
        if self.repair.current.is_some() || self.durability.is_read_only() {
            return;
        }
        let from = self.repair.failed.and_then(|failed| self.giver_after(failed)).unwrap_or(from);
        if self.is_futile(&from, now) {
            return;
        }
        self.counters.repairs += 1;
        self.repair.current = Some(Repair {
            from,
            target: None,
            plan: Plan::of_all(self.state.len()),
            asked_ms: now.mono_ms,
            advanced_ms: now.mono_ms,
            waits: false,
            answers: 0,
            objects: 0,
            empty: 0,
            has_changed: false,
            has_helped: false,
        });
        out.push(Output::Event(Event::RepairBegun { from }));
        self.ask_for_state(now, out);
    }

    /// The next connected peer that is known to have what we have not.
    fn giver_after(&self, failed: NodeId) -> Option<NodeId> {
        let root = self.root();
        let differs = |node: &NodeId| {
            let peer = self.peers.known.get(node);
            peer.is_some_and(|peer| {
                self.seen.missing_from(&peer.seen) > 0
                    || (peer.seen == self.seen && peer.root.is_some_and(|of| of != root))
            })
        };
        let givers: Vec<_> = self.peers.connected.iter().copied().filter(differs).collect();
        givers.iter().find(|node| **node > failed).or(givers.first()).copied()
    }

    /// How far the repair under way has come; `None` when there is none.
    #[must_use]
    pub fn repair_progress(&self) -> Option<RepairProgress> {
        self.repair.current.as_ref().map(|repair| RepairProgress {
            from: repair.from,
            done_permille: repair.plan.done_permille(),
            answers: repair.answers,
            objects: repair.objects,
        })
    }

    /// Asks the next question.
    fn ask_for_state(&mut self, now: Time, out: &mut Vec<Output>) {
        let Some(repair) = &mut self.repair.current else { return };
        repair.plan.ask(&self.state, self.config.page_bytes);
        repair.asked_ms = now.mono_ms;
        let message = Message::StateRequest { asks: repair.plan.asks.clone() };
        out.push(Output::Send { to: repair.from, message });
    }

    /// Asks again when no answer comes, and gives up a repair that does not get on; anti-entropy will begin it anew, with
    /// another giver if there is one.
    pub(super) fn continue_repair(&mut self, now: Time, out: &mut Vec<Output>) {
        let Some(repair) = &mut self.repair.current else { return };
        if now.mono_ms.saturating_sub(repair.advanced_ms) >= REPAIR_PATIENCE_MS {
            let why = if repair.waits { RepairEnd::Future } else { RepairEnd::Silent };
            self.abandon_repair(why, out);
        } else if now.mono_ms.saturating_sub(repair.asked_ms) >= REQUEST_PATIENCE_MS {
            repair.asked_ms = now.mono_ms;
            let message = Message::StateRequest { asks: repair.plan.asks.clone() };
            out.push(Output::Send { to: repair.from, message });
        }
    }

    /// Gives up the repair under way if it is from `node`, which has gone.
    pub(super) fn abandon_repair_from(&mut self, node: NodeId, out: &mut Vec<Output>) {
        if self.repair.current.as_ref().is_some_and(|repair| repair.from == node) {
            self.abandon_repair(RepairEnd::Gone, out);
        }
    }

    /// Gives up the repair under way. What its answers brought stays: it is true.
    fn abandon_repair(&mut self, why: RepairEnd, out: &mut Vec<Output>) {
        let Some(repair) = self.repair.current.take() else { return };
        self.repair.failed = Some(repair.from);
        self.counters.repairs_abandoned += 1;
        out.push(Output::Event(Event::RepairAbandoned { from: repair.from, why }));
    }

    pub(super) fn handle_state_page(&mut self, from: NodeId, page: Page, now: Time, out: &mut Vec<Output>) {
        let Some(repair) = self.repair.current.as_ref().filter(|repair| repair.from == from) else { return };
        if repair.plan.digest != page.to {
            return;
        }
        let regressed = repair.target.as_ref().is_some_and(|target| !page.seen.includes(target));
        if regressed && !planted::is(Bug::GiverMayRegress) {
            // The giver restarted and lost what was not durable there.
            self.abandon_repair(RepairEnd::Regressed, out);
            return;
        }
        let Some(answer) = page.checked(&repair.plan) else {
            self.counters.rejected += 1;
            self.note_repair(from, false, now, out);
            self.abandon_repair(RepairEnd::Unsound, out);
            return;
        };
        let of_its_own = self.evidence.believed(from, answer.shown.clone(), &self.seen) != answer.shown;
        if of_its_own || self.retired.is_exceeded_by(&answer.shown) {
            // It was away and does not know yet that what it has does not count; or its own stream is frozen.
            self.abandon_repair(RepairEnd::Closed, out);
            return;
        }
        if !self.has_room_for_all(&answer.shown) {
            self.counters.rejected += 1;
            self.note_repair(from, false, now, out);
            self.abandon_repair(RepairEnd::Unsound, out);
            return;
        }
        if !self.observe_stamps(&answer, now, out) {
            if let Some(repair) = &mut self.repair.current {
                repair.waits = true;
            }
            return;
        }
        self.check_memory(from, &answer.shown, now, out);
        self.go_on(from, answer, now, out);
    }

    /// Takes an answer that is sound, and asks the next question or ends the repair.
    fn go_on(&mut self, from: NodeId, answer: Answer, now: Time, out: &mut Vec<Output>) {
        let Guarded { objects, unsure } = self.guarded(from, answer.objects, now, out);
        let answer = Answer { objects, ..answer };
        let Some(mut repair) = self.repair.current.take() else { return };
        let idle = answer.objects.is_empty() && repair.plan.asks.last().is_some_and(|ask| ask.last > answer.last);
        repair.empty += u32::from(idle);
        repair.objects += answer.objects.len() as u64;
        repair.answers += 1;
        (repair.asked_ms, repair.advanced_ms, repair.waits) = (now.mono_ms, now.mono_ms, false);
        let target = repair.target.get_or_insert_with(|| answer.seen.clone()).clone();
        let before = self.root();
        self.take_answer(&mut repair.plan, answer, &unsure);
        repair.has_changed |= self.root() != before;
        repair.has_helped |= repair.has_changed || !self.seen.includes(&target);
        if planted::is(Bug::VectorTooEarly) {
            self.seen.merge(&target);
        }
        let (is_done, is_idle) = (repair.plan.is_done(), repair.empty > REPAIR_EMPTY_PAGES_MAX);
        let is_barred = repair.plan.is_barred();
        if is_done || is_idle || is_barred {
            // What the giver has and cannot show to be sound is of no help.
            let has_helped = if is_barred { repair.has_changed } else { repair.has_helped };
            self.note_repair(from, has_helped, now, out);
        }
        self.repair.current = Some(repair);
        if is_barred {
            self.abandon_repair(RepairEnd::Barred, out);
        } else if is_done {
            self.finish_repair(from, &target, now, out);
        } else if is_idle {
            self.abandon_repair(RepairEnd::Unsound, out);
        } else {
            self.ask_for_state(now, out);
        }
    }

    fn finish_repair(&mut self, from: NodeId, target: &VersionVector, now: Time, out: &mut Vec<Output>) {
        (self.repair.current, self.repair.failed) = (None, None);
        let own = self.own_stream();
        for (stream, seq) in target.iter().filter(|(stream, _)| *stream != own) {
            self.seen.advance(stream, seq);
        }
        self.state.settle(Context::of(&self.seen));
        self.repair.ahead.settle(&self.seen);
        self.retired.look_again();
        self.durability.want_checkpoint();
        self.checkpoint_if_due(now, out);
        out.push(Output::Event(Event::RepairDone { from }));
        self.ask(from, now, out);
    }

    /// Takes note of the stamps in an answer; false when one is from too far ahead: then it waits, as its commit would.
    fn observe_stamps(&mut self, answer: &Answer, now: Time, out: &mut Vec<Output>) -> bool {
        let entries = answer.objects.iter().flat_map(|(_, _, object)| match object {
            ObjectState::LwwMap(map) => map.members.as_slice(),
            ObjectState::GCounter(_) | ObjectState::PnCounter(..) | ObjectState::GSet(_) | ObjectState::OrSet(_) => &[],
        });
        let stamps = entries.flat_map(|(_, entries)| entries).map(|entry| (entry.value.0, entry.dot));
        let ahead_ms = |hlc: Hlc| hlc.millis().saturating_sub(now.wall_ms);
        let max_drift_ms = if planted::is(Bug::FutureInPages) { u64::MAX } else { self.config.max_drift_ms };
        if let Some((hlc, dot)) = stamps.max().filter(|(hlc, _)| ahead_ms(*hlc) > max_drift_ms) {
            self.counters.held += 1;
            out.push(Output::Event(Event::Held { dot, ahead_ms: ahead_ms(hlc) }));
            return false;
        }
        // A stamp that is in no object decides nothing any more: one from too far ahead is not worth waiting for.
        if ahead_ms(answer.latest) <= max_drift_ms {
            self.clock.observe(answer.latest);
        }
        true
    }

    /// Merges what an answer says; of what is at the positions that are `unsure`, something was left out of it.
    fn take_answer(&mut self, plan: &mut Plan, answer: Answer, unsure: &BTreeSet<u64>) {
        let there: BTreeSet<_> = answer.objects.iter().map(|(position, key, _)| (*position, key)).collect();
        let said = Said { last: answer.last, equal: &answer.equal, there: &there, unsure };
        let verdict = plan.take(&self.state, &said);
        let theirs = Context { ahead: Some(&answer.ahead), ..Context::of(&answer.seen) };
        let (seen, ahead) = (&self.seen, &self.repair.ahead);
        let ours = |key: &Key| Context { ahead: ahead.of(key), ..Context::of(seen) };
        for key in verdict.absent.into_iter().filter(|_| !planted::is(Bug::AbsenceIgnored)) {
            let ours = ours(&key);
            self.state.merge_absence(key, theirs, ours);
        }
        for (position, key, object) in answer.objects.into_iter().skip(usize::from(planted::is(Bug::PageLosesObject))) {
            if !verdict.changed.contains(&position) {
                let ours = ours(&key);
                self.state.merge(key, object, theirs, ours);
            }
        }
        if !self.seen.includes(&answer.shown) {
            self.repair.ahead.show(&verdict.settled, &answer.shown);
        }
        if self.repair.ahead.len() > AHEAD_RANGES_MAX {
            plan.become_plain();
        }
    }
}
