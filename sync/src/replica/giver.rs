//! The giver's side of a repair: one answer to one question, made from the state as it is. Nothing is kept between questions.
//!
//! An answer speaks of one vector, so it ends where what our objects show changes. It shows our own commits too, so it is held
//! until those are durable.

use super::compare::{Ask, Survey};
use super::{Ahead, Message, Output, Replica};
use crate::codec;
use crate::crdt::ObjectState;
use crate::id::NodeId;
use crate::key::Key;
use crate::planted::{self, Bug};
use crate::state::State;

/// Pages that wait until what they show of our own commits is durable. One per peer that asks, at most this many.
const PAGES_HELD_MAX: usize = 64;

/// Fewer bytes than any object and its key take in a page.
const OBJECT_BYTES_MIN: usize = 8;

/// Pages made for others, and how much of our own stream must be durable before they may go.
#[derive(Debug, Default)]
pub(super) struct Held(Vec<(u64, NodeId, Message)>);

/// Bits, the least significant first.
#[derive(Debug, Default)]
pub(super) struct Bits {
    bytes: Vec<u8>,
    len: usize,
}

/// An answer as it grows.
#[derive(Default)]
struct Answer {
    /// The last position answered so far.
    last: Option<u64>,
    equal: Bits,
    objects: Vec<(Key, ObjectState)>,
    bytes: usize,
}

impl Replica {
    pub(super) fn handle_state_request(&mut self, from: NodeId, asks: &[Ask], out: &mut Vec<Output>) {
        if !Ask::are_sound(asks) {
            self.counters.rejected += 1;
            return;
        }
        let answer = answer(&self.state, &self.repair.ahead, asks, self.config.page_bytes);
        let Some(last) = answer.last else { return };
        let message = Message::StatePage {
            seen: self.seen.clone(),
            ahead: self.repair.ahead.at(asks[0].start).0.cloned().unwrap_or_default(),
            latest: self.clock.last(),
            to: Ask::digest(asks),
            last,
            equal: answer.equal.bytes,
            objects: answer.objects,
        };
        let own = self.seen.seq(&self.own_stream());
        let held = &mut self.repair.held.0;
        held.retain(|(_, to, _)| *to != from);
        if held.len() < PAGES_HELD_MAX {
            held.push((own, from, message));
        }
        self.release_pages(out);
    }

    /// Sends the pages whose content is durable by now.
    pub(super) fn release_pages(&mut self, out: &mut Vec<Output>) {
        let durable = self.durable().seq(&self.own_stream());
        for (needs, to, message) in std::mem::take(&mut self.repair.held.0) {
            if needs <= durable || planted::is(Bug::PagesTooEarly) {
                out.push(Output::Send { to, message });
            } else {
                self.repair.held.0.push((needs, to, message));
            }
        }
    }
}

/// Answers the first of the questions, as far as one page and one vector reach.
fn answer(state: &State, ahead: &Ahead, asks: &[Ask], page_bytes: usize) -> Answer {
    let survey = Survey::of(state, asks, page_bytes / OBJECT_BYTES_MIN + 1);
    let mut answer = Answer::default();
    let (_, shown) = ahead.at(asks[0].start);
    let Some(surveyed) = survey.cut.map_or(Some(u64::MAX), |cut| cut.checked_sub(1)) else { return answer };
    let end = shown.min(surveyed);
    for (index, ask) in asks.iter().enumerate() {
        let whole = match ask.shift {
            Some(_) => answer.tell_parts(ask, &survey, index, end),
            None => answer.tell_objects(ask, &survey, end, page_bytes),
        };
        if !whole {
            break;
        }
    }
    answer
}

impl Answer {
    /// Says which parts are equal; returns whether all of them were said.
    fn tell_parts(&mut self, ask: &Ask, survey: &Survey<'_>, index: usize, end: u64) -> bool {
        for ((part, sum), told) in ask.parts().zip(survey.sums(index)).zip(&ask.words) {
            let (_, last) = part;
            if last > end && self.last.is_some() {
                return false;
            }
            // A part of which we show two vectors is not said to be equal, for that would be to say one.
            self.equal.push(last <= end && sum.sum == *told);
            self.last = Some(last);
        }
        true
    }

    /// Gives the objects that were not told; returns whether all of the range was given.
    fn tell_objects(&mut self, ask: &Ask, survey: &Survey<'_>, end: u64, page_bytes: usize) -> bool {
        if ask.start > end || self.bytes >= page_bytes {
            return false;
        }
        let mut last = ask.last.min(end);
        let mut equal = vec![false; ask.words.len()];
        let items = survey.items(ask.start, last);
        for group in items.chunk_by(|one, other| one.position == other.position) {
            if self.bytes >= page_bytes {
                // Not before the start: the range was begun with room for one object.
                last = group[0].position.saturating_sub(1);
                break;
            }
            for item in group {
                if let Ok(told) = ask.words.binary_search(&item.hash) {
                    equal[told] = true;
                    continue;
                }
                let state = item.object.state();
                self.bytes += codec::encode(&state).len() + item.key.name().len();
                self.objects.push((item.key.clone(), state));
            }
        }
        equal.into_iter().for_each(|equal| self.equal.push(equal));
        self.last = Some(last);
        last == ask.last
    }
}

impl Bits {
    pub(super) const fn of(bytes: Vec<u8>) -> Self {
        Self { bytes, len: 0 }
    }

    fn push(&mut self, bit: bool) {
        if self.len.is_multiple_of(8) {
            self.bytes.push(0);
        }
        if let Some(byte) = self.bytes.last_mut() {
            *byte |= u8::from(bit) << (self.len % 8);
        }
        self.len += 1;
    }

    /// The bit at `index`; false beyond the end.
    pub(super) fn is_set(&self, index: usize) -> bool {
        self.bytes.get(index / 8).is_some_and(|byte| byte >> (index % 8) & 1 == 1)
    }

    /// Whether these are as many bytes as `bits` take.
    pub(super) fn fits(&self, bits: usize) -> bool {
        self.bytes.len() == bits.div_ceil(8)
    }
}
