//! Comparing two states by ranges of position: what is asked, and what a state holds of it, which asking and answering take.
//!
//! A range is told either by the sums of its parts or by the hash of each object in it. Both cover dots and values (by the
//! content hash) and deferred dots, which the content hash leaves out: an object passed over as equal must not hide a removal
//! that came before its add. Objects that hold nothing count as nothing, for hosts forget them at different moments.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::codec;
use crate::crdt::{Object, ObjectState};
use crate::key::Key;
use crate::limits::{REPAIR_ASKS_MAX, REPAIR_WORDS_MAX};
use crate::planted::{self, Bug};
use crate::state::{State, mark, mix};

/// A question about one range of [`Key::position`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "AskTuple", into = "AskTuple")]
pub struct Ask {
    /// The first position.
    pub start: u64,
    /// The last position.
    pub last: u64,
    /// Parts of this many bits of position are told by their sums; `None`: objects are told one by one.
    pub shift: Option<u8>,
    /// The sums of the parts in order; or hashes of objects in ascending order, not necessarily of all. No hash at all asks
    /// plainly for everything.
    pub words: Vec<u64>,
}

type AskTuple = (u64, u64, Option<u8>, Words);

/// Numbers as one string of bytes, little-endian.
struct Words(Vec<u64>);

impl Ask {
    /// Names a question to its answer.
    #[must_use]
    pub fn digest(asks: &[Self]) -> u64 {
        first_word(&blake3::hash(&codec::encode(&asks)))
    }

    /// Whether these are questions that one may ask: in order, apart, bounded, with a sum for each part.
    pub(super) fn are_sound(asks: &[Self]) -> bool {
        let one = |ask: &Self| match ask.shift {
            _ if ask.start > ask.last => false,
            None => ask.words.is_sorted(),
            Some(shift) => shift < 64 && !ask.words.is_empty() && ask.count() == ask.words.len() as u64,
        };
        !asks.is_empty()
            && asks.len() <= REPAIR_ASKS_MAX
            && asks.iter().map(|ask| ask.words.len()).sum::<usize>() <= REPAIR_WORDS_MAX
            && asks.iter().all(one)
            && asks.is_sorted_by(|before, after| before.last < after.start)
    }

    /// How many parts are told by their sums; none when objects are told.
    pub(super) fn count(&self) -> u64 {
        self.shift.map_or(0, |shift| ((self.last - self.start) >> shift).saturating_add(1))
    }

    /// The first and the last position of each part that is told by its sum.
    pub(super) fn parts(&self) -> impl Iterator<Item = (u64, u64)> + use<> {
        let (start, last, shift) = (self.start, self.last, self.shift.unwrap_or_default());
        (0..self.count()).map(move |part| {
            let from = start + (part << shift);
            (from, from.saturating_add((1 << shift) - 1).min(last))
        })
    }

    /// The part, of those told by sums, that these positions lie in; `None` when they do not lie in a single one.
    pub(super) fn part_of(&self, start: u64, last: u64) -> Option<u64> {
        let shift = self.shift?;
        let part = start.checked_sub(self.start)? >> shift;
        (last <= self.last && (last - self.start) >> shift == part).then_some(part)
    }

    /// The index of the question about `position`, if there is one.
    pub(super) fn about(asks: &[Self], position: u64) -> Option<usize> {
        let index = asks.partition_point(|ask| ask.start <= position).checked_sub(1)?;
        (position <= asks[index].last).then_some(index)
    }
}

/// The sum over a part, and how many objects are in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) sum: u64,
    pub(super) count: u64,
}

/// An object in a range that is told by objects.
#[derive(Clone, Copy, Debug)]
pub(super) struct Item<'a> {
    pub(super) position: u64,
    pub(super) hash: u64,
    pub(super) key: &'a Key,
    pub(super) object: &'a Object,
}

/// What a state holds in the ranges of some questions.
pub(super) struct Survey<'a> {
    sums: Vec<Sum>,
    /// Where the sums of each question begin.
    firsts: Vec<usize>,
    /// In order of position and key.
    items: Vec<Item<'a>>,
    /// The position before which all items are here.
    pub(super) cut: Option<u64>,
}

impl<'a> Survey<'a> {
    /// Looks at what is asked about; keeps at most about `items_max` of the objects told one by one, the first ones. Parts
    /// beyond the cut are not summed.
    pub(super) fn of(state: &'a State, asks: &[Ask], items_max: usize) -> Self {
        let mut firsts = Vec::with_capacity(asks.len());
        let mut parts = 0;
        for ask in asks {
            firsts.push(parts);
            parts += usize::try_from(ask.count()).unwrap_or(usize::MAX);
        }
        let mut survey = Self { sums: vec![Sum::default(); parts], firsts, items: Vec::new(), cut: None };
        // The first position that has not been looked at.
        let mut next = Some(0);
        'asks: for (index, ask) in asks.iter().enumerate() {
            for range in state.ranges(ask.start, ask.last) {
                if next.is_none_or(|next| range.start < next) {
                    // Another question is about a part of the same range: its objects have been looked at for both.
                    continue;
                }
                next = range.last.checked_add(1);
                if let Some(part) = ask.part_of(range.start, range.last) {
                    survey.add(index, part, range.sum, u64::from(range.count));
                    continue;
                }
                state.objects_of(&range).for_each(|(key, object)| survey.look_at(asks, key, object, items_max));
                if survey.cut.is_some() || survey.items.len() > items_max {
                    survey.cut = survey.cut.or(next);
                    break 'asks;
                }
            }
        }
        for (_, object) in state.unsettled().filter(|(_, object)| !object.is_forgettable()) {
            let position = object.content().position();
            if let Some(index) = Ask::about(asks, position)
                && let Some(part) = asks[index].part_of(position, position)
            {
                survey.add(index, part, hash(object), 1);
            }
        }
        survey.items.sort_unstable_by_key(|item| (item.position, item.key));
        survey
    }

    /// Counts an object where it is told one by one, or in a sum of settled ones.
    fn look_at(&mut self, asks: &[Ask], key: &'a Key, object: &'a Object, items_max: usize) {
        let position = object.content().position();
        let Some(index) = Ask::about(asks, position) else { return };
        if let Some(part) = asks[index].part_of(position, position) {
            if !object.needs_settling() {
                self.add(index, part, mark(object), 1);
            }
        } else if !object.is_forgettable() && self.cut.is_none_or(|cut| position < cut) {
            self.items.push(Item { position, hash: hash(object), key, object });
            self.shrink_to(items_max);
        }
    }

    fn add(&mut self, index: usize, part: u64, sum: u64, count: u64) {
        let part = usize::try_from(part).unwrap_or(usize::MAX);
        if let Some(of) = self.sums.get_mut(self.firsts[index].saturating_add(part)) {
            of.sum = of.sum.wrapping_add(sum);
            of.count += count;
        }
    }

    /// Keeps the first `items_max` of twice as many, so that a page of a large state costs the memory of a page.
    fn shrink_to(&mut self, items_max: usize) {
        if self.items.len() / 2 < items_max {
            return;
        }
        let (_, item, _) = self.items.select_nth_unstable_by_key(items_max, |item| item.position);
        let cut = item.position;
        self.items.retain(|item| item.position < cut);
        self.cut = Some(cut);
    }

    /// The sums of the parts of question `index`.
    pub(super) fn sums(&self, index: usize) -> &[Sum] {
        let end = self.firsts.get(index + 1).copied().unwrap_or(self.sums.len());
        &self.sums[self.firsts[index]..end]
    }

    /// The objects from `start` to `last`, if they are told one by one.
    pub(super) fn items(&self, start: u64, last: u64) -> &[Item<'a>] {
        let from = self.items.partition_point(|item| item.position < start);
        let to = self.items.partition_point(|item| item.position <= last);
        &self.items[from..to.max(from)]
    }
}

/// What the two sides compare of one object.
fn hash(object: &Object) -> u64 {
    let hash = mark(object);
    if object.garbage() == 0 || planted::is(Bug::WaitingUnhashed) {
        return hash;
    }
    let dot = |bytes: Vec<u8>| first_word(&blake3::hash(&bytes));
    let deferred = match object.state() {
        ObjectState::OrSet(state) => {
            let dots = state.deferred.iter().flat_map(|(member, dots)| dots.iter().map(move |dot| (member, dot)));
            dots.fold(0, |sum: u64, named| sum.wrapping_add(dot(codec::encode(&named))))
        }
        ObjectState::LwwMap(state) => {
            let dots = state.deferred.iter().flat_map(|(field, dots)| dots.iter().map(move |dot| (field, dot)));
            dots.fold(0, |sum: u64, named| sum.wrapping_add(dot(codec::encode(&named))))
        }
        ObjectState::GCounter(_) | ObjectState::PnCounter(..) | ObjectState::GSet(_) => 0,
    };
    mix(hash ^ deferred)
}

fn first_word(hash: &blake3::Hash) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&hash.as_bytes()[..8]);
    u64::from_le_bytes(word)
}

impl From<AskTuple> for Ask {
    fn from((start, last, shift, Words(words)): AskTuple) -> Self {
        Self { start, last, shift, words }
    }
}

impl From<Ask> for AskTuple {
    fn from(ask: Ask) -> Self {
        (ask.start, ask.last, ask.shift, Words(ask.words))
    }
}

impl Serialize for Words {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let bytes: Vec<u8> = self.0.iter().flat_map(|word| word.to_le_bytes()).collect();
        serializer.serialize_bytes(&bytes)
    }
}

impl<'de> Deserialize<'de> for Words {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = serde_bytes::ByteBuf::deserialize(deserializer)?;
        let (words, rest) = bytes.as_chunks::<8>();
        if !rest.is_empty() {
            return Err(serde::de::Error::custom("half a number"));
        }
        Ok(Self(words.iter().map(|word| u64::from_le_bytes(*word)).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::causal::VersionVector;
    use crate::crdt::{Assign, Context, Op};
    use crate::hlc::Hlc;
    use crate::id::{Dot, Incarnation, NodeId, ReplicaId};
    use crate::key::Kind;
    use crate::scalar::Scalar;

    fn state(names: std::ops::Range<u64>) -> State {
        let replica = ReplicaId { node: NodeId([1; 32]), incarnation: Incarnation(1) };
        let (mut state, seen) = (State::new(replica), VersionVector::default());
        for seq in names {
            let key = Key::new(Kind::OrSet, &format!("k{seq}")).expect("a key");
            let add = Assign { member: Scalar::Null, value: Some(()), over: Vec::new() };
            state.apply(key, Op::OrSet(vec![add]), Dot { replica, seq: seq + 1 }, Hlc::default(), Context::of(&seen));
        }
        state
    }

    #[test]
    fn an_object_lies_where_its_key_says() {
        for (key, object) in state(0..50).objects_after(None) {
            assert_eq!(object.content().position(), key.position());
        }
    }

    #[test]
    fn parts_cover_a_range_once() {
        let check = |start: u64, last: u64, shift: u8, parts: u64| {
            let ask = Ask { start, last, shift: Some(shift), words: Vec::new() };
            assert_eq!((ask.count(), ask.parts().count() as u64), (parts, parts));
            let mut next = Some(start);
            for (from, to) in ask.parts() {
                assert!(Some(from) == next && from <= to, "{from} to {to} in {ask:?}");
                next = to.checked_add(1);
            }
            assert_eq!(next, last.checked_add(1));
        };
        check(0, u64::MAX, 56, 256);
        check(0, u64::MAX, 63, 2);
        check(7, 7, 0, 1);
        check(7, 70, 4, 4);
        check(u64::MAX - 9, u64::MAX, 3, 2);
        check(1, u64::MAX, 60, 16);
    }

    #[test]
    fn a_survey_keeps_the_first_objects_and_says_where_it_stopped() {
        let state = state(0..1_000);
        let asks = [Ask { start: 1 << 60, last: u64::MAX, shift: None, words: Vec::new() }];
        let all = Survey::of(&state, &asks, usize::MAX);
        let some = Survey::of(&state, &asks, 10);
        let positions =
            |survey: &Survey<'_>, last| survey.items(0, last).iter().map(|item| item.position).collect::<Vec<_>>();
        assert!(all.cut.is_none() && all.items(0, u64::MAX).len() > 900);
        let cut = some.cut.expect("there are more than it may keep");
        let kept = positions(&some, u64::MAX);
        assert!((10..20).contains(&kept.len()) && kept.is_sorted());
        assert_eq!(kept[..10], positions(&all, cut - 1)[..10]);
    }

    #[test]
    fn sums_are_of_what_is_there() {
        let everything = [Ask { start: 0, last: u64::MAX, shift: Some(62), words: Vec::new() }];
        let (one, other) = (state(0..100), state(0..101));
        let (one, other) = (Survey::of(&one, &everything, 0), Survey::of(&other, &everything, 0));
        let pairs = one.sums(0).iter().zip(other.sums(0));
        assert_eq!((one.sums(0).len(), pairs.filter(|(one, other)| one != other).count()), (4, 1));
        assert_eq!(one.sums(0).iter().map(|sum| sum.count).sum::<u64>(), 100);
    }
}
