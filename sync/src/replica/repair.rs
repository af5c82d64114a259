//! Repair from state: for a peer that is behind the retained log, or whose root differs at an equal vector.
//!
//! The receiver asks page by page, in order of key; the giver keeps nothing between pages. Our vector advances only when the
//! last page is in, to the vector of the first. Commits go on being applied meanwhile: what an object shows beyond our vector
//! is known ([`Ahead`]), and it takes nothing twice.

use std::collections::BTreeSet;

use super::{Ahead, Event, Message, Output, Replica, SCOPE};
use crate::causal::VersionVector;
use crate::codec;
use crate::crdt::{Context, ObjectState};
use crate::id::NodeId;
use crate::key::Key;
use crate::limits::{REPAIR_PATIENCE_MS, REQUEST_PATIENCE_MS};
use crate::time::Time;

/// Pages that wait until what they show of our own commits is durable. One per peer that asks, at most this many.
const PAGES_HELD_MAX: usize = 64;

#[derive(Debug, Default)]
pub(super) struct RepairState {
    current: Option<Repair>,
    pub(super) ahead: Ahead,
    /// Pages made for others, and how much of our own stream must be durable before they may go.
    held: Vec<(u64, NodeId, Message)>,
}

#[derive(Debug)]
struct Repair {
    from: NodeId,
    /// The vector of the first page.
    target: Option<VersionVector>,
    after: Option<Key>,
    /// When the page was last asked for.
    asked_ms: u64,
    /// When the last page came.
    advanced_ms: u64,
}

/// What a page says.
pub(super) struct Page {
    pub(super) seen: VersionVector,
    pub(super) ahead: VersionVector,
    pub(super) after: Option<Key>,
    pub(super) objects: Vec<(Key, ObjectState)>,
    pub(super) next: Option<Key>,
}

impl Page {
    /// What its objects show.
    fn shown(&self) -> VersionVector {
        let mut shown = self.seen.clone();
        shown.merge(&self.ahead);
        shown
    }

    /// Whether it leads on, holds only what lies between its ends, in order, and speaks of the scope that there is.
    fn is_sound(&self) -> bool {
        let after_start = |key: &Key| self.after.as_ref().is_none_or(|after| key > after);
        let within = |key: &Key| after_start(key) && self.next.as_ref().is_none_or(|next| key <= next);
        self.next.as_ref().is_none_or(after_start)
            && self.objects.iter().all(|(key, _)| within(key))
            && self.objects.is_sorted_by(|(before, _), (after, _)| before < after)
            && self.seen.iter().chain(self.ahead.iter()).all(|(stream, _)| stream.scope == SCOPE)
    }
}

impl RepairState {
    /// Gives up the repair under way, if it is from `node` or `node` is `None`. What its pages brought stays: it is true.
    pub(super) fn abandon(&mut self, node: Option<NodeId>) {
        if self.current.as_ref().is_some_and(|repair| node.is_none_or(|node| node == repair.from)) {
            self.current = None;
        }
    }
}

impl Replica {
    pub(super) fn handle_forgotten(&mut self, from: NodeId, now: Time, out: &mut Vec<Output>) {
        self.begin_repair(from, now, out);
    }

    pub(super) fn begin_repair(&mut self, from: NodeId, now: Time, out: &mut Vec<Output>) {
        if self.repair.current.is_some() || self.durability.is_read_only() {
            return;
        }
        self.counters.repairs += 1;
        self.repair.current =
            Some(Repair { from, target: None, after: None, asked_ms: now.mono_ms, advanced_ms: now.mono_ms });
        out.push(Output::Event(Event::RepairBegun { from }));
        out.push(Output::Send { to: from, message: Message::StateRequest { after: None } });
    }

    /// Asks again for a page that does not come, and gives up a repair whose giver has fallen silent; anti-entropy will begin
    /// it anew with whoever answers.
    pub(super) fn continue_repair(&mut self, now: Time, out: &mut Vec<Output>) {
        let Some(repair) = &mut self.repair.current else { return };
        if now.mono_ms.saturating_sub(repair.advanced_ms) >= REPAIR_PATIENCE_MS {
            self.repair.abandon(None);
        } else if now.mono_ms.saturating_sub(repair.asked_ms) >= REQUEST_PATIENCE_MS {
            repair.asked_ms = now.mono_ms;
            out.push(Output::Send { to: repair.from, message: Message::StateRequest { after: repair.after.clone() } });
        }
    }

    /// Makes a page. It shows our own commits too, so it is held until those are durable.
    pub(super) fn handle_state_request(&mut self, from: NodeId, after: Option<Key>, out: &mut Vec<Output>) {
        let mut objects = Vec::new();
        let mut bytes = 0;
        let mut next = None;
        // A page has one vector, so it ends where what its objects show changes.
        let (ahead, end) = self.repair.ahead.range_after(after.as_ref());
        for (key, object) in self.state.objects_after(after.as_ref()) {
            if end.is_some_and(|end| key > end) {
                next = end.cloned();
                break;
            }
            if bytes >= self.config.page_bytes {
                next = objects.last().map(|(key, _): &(Key, ObjectState)| key.clone());
                break;
            }
            let state = object.state();
            bytes += codec::encode(&state).len() + key.name().len();
            objects.push((key.clone(), state));
        }
        let message = Message::StatePage {
            seen: self.seen.clone(),
            ahead: ahead.cloned().unwrap_or_default(),
            after,
            objects,
            next,
        };
        let own = self.seen.seq(&self.own_stream());
        self.repair.held.retain(|(_, to, _)| *to != from);
        if self.repair.held.len() < PAGES_HELD_MAX {
            self.repair.held.push((own, from, message));
        }
        self.release_pages(out);
    }

    /// Sends the pages whose content is durable by now.
    pub(super) fn release_pages(&mut self, out: &mut Vec<Output>) {
        let durable = self.durable().seq(&self.own_stream());
        for (needs, to, message) in std::mem::take(&mut self.repair.held) {
            if needs <= durable {
                out.push(Output::Send { to, message });
            } else {
                self.repair.held.push((needs, to, message));
            }
        }
    }

    pub(super) fn handle_state_page(&mut self, from: NodeId, page: Page, now: Time, out: &mut Vec<Output>) {
        let Some(repair) = &self.repair.current else { return };
        if repair.from != from || repair.after != page.after {
            return;
        }
        let target = repair.target.clone().unwrap_or_else(|| page.seen.clone());
        if !page.seen.includes(&target) {
            // A page from before the repair, late; or the giver restarted and lost what was not durable there.
            return;
        }
        if !page.is_sound() {
            self.counters.rejected += 1;
            self.repair.abandon(None);
            return;
        }
        if !self.observe_stamps(&page, now, out) {
            return;
        }
        self.check_memory(from, &page.shown(), now, out);
        self.repair.current = Some(Repair {
            from,
            target: Some(target.clone()),
            after: page.next.clone(),
            asked_ms: now.mono_ms,
            advanced_ms: now.mono_ms,
        });
        self.merge_page(&page);
        if let Some(next) = page.next {
            out.push(Output::Send { to: from, message: Message::StateRequest { after: Some(next) } });
            return;
        }
        self.repair.current = None;
        let own = self.own_stream();
        for (stream, seq) in target.iter().filter(|(stream, _)| *stream != own) {
            self.seen.advance(stream, seq);
        }
        self.state.settle(Context::of(&self.seen));
        self.repair.ahead.settle(&self.seen);
        self.durability.want_checkpoint();
        self.checkpoint_if_due(now, out);
        out.push(Output::Event(Event::RepairDone { from }));
        self.ask(from, now, out);
    }

    /// Takes note of the stamps in a page; false when one is from too far ahead: then the page waits, as its commit would.
    fn observe_stamps(&mut self, page: &Page, now: Time, out: &mut Vec<Output>) -> bool {
        let entries = page.objects.iter().flat_map(|(_, object)| match object {
            ObjectState::LwwMap(map) => map.members.as_slice(),
            ObjectState::GCounter(_) | ObjectState::PnCounter(..) | ObjectState::GSet(_) | ObjectState::OrSet(_) => &[],
        });
        let stamps = entries.flat_map(|(_, entries)| entries).map(|entry| (entry.value.0, entry.dot));
        let Some((hlc, dot)) = stamps.max() else { return true };
        let ahead_ms = hlc.millis().saturating_sub(now.wall_ms);
        if ahead_ms > self.config.max_drift_ms {
            self.counters.held += 1;
            out.push(Output::Event(Event::Held { dot, ahead_ms }));
            return false;
        }
        self.clock.observe(hlc);
        true
    }

    fn merge_page(&mut self, page: &Page) {
        let theirs = Context { ahead: Some(&page.ahead), ..Context::of(&page.seen) };
        let (seen, ahead) = (&self.seen, &self.repair.ahead);
        let ours = |key: &Key| Context { ahead: ahead.of(key), ..Context::of(seen) };
        let there: BTreeSet<Key> = page.objects.iter().map(|(key, _)| key.clone()).collect();
        self.state.merge_absence((page.after.as_ref(), page.next.as_ref()), &there, theirs, ours);
        for (key, object) in &page.objects {
            self.state.merge(key.clone(), object.clone(), theirs, ours(key));
        }
        self.repair.ahead.show(page.after.as_ref(), page.next.as_ref(), &page.shown());
    }
}
