//! Objects by position: which lie in each of many equal ranges of [`Key::position`], and the sum over them, always up to date.
//!
//! Repair compares states by sums over ranges. Kept with each change, they cost a question what it asks about and not what the
//! state holds, and they speak of the state as it is. A leaf is a range with about half a dozen objects, which lie in a chain
//! through their slots: 2 to 4 bytes a key. The invariant: a sum is over the objects of its leaf that need no settling.

use indexmap::IndexMap;

use super::Slot;
use crate::crdt::{Object, Seeded};
use crate::key::Key;

type Objects = IndexMap<Key, Slot, Seeded>;

/// The end of a chain.
pub(super) const NONE: u32 = u32::MAX;

/// Leaves of a small state, as a power of two.
const BITS_MIN: u32 = 4;

/// Objects per leaf, on average, above which there are made twice as many leaves. Fewer than the parts that repair compares
/// last, so that those are made of whole leaves.
const OBJECTS_MAX: usize = 8;

/// The ranges, in order of position.
#[derive(Clone, Debug)]
pub(super) struct Leaves {
    bits: u32,
    leaves: Vec<Leaf>,
}

#[derive(Clone, Copy, Debug)]
struct Leaf {
    sum: u64,
    count: u32,
    /// The first of its objects.
    head: u32,
}

/// A range of positions, and what is in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Range {
    pub(crate) start: u64,
    pub(crate) last: u64,
    /// The sum of [`mark`] over the objects that need no settling, and how many they are.
    pub(crate) sum: u64,
    pub(crate) count: u32,
    head: u32,
}

/// What an object adds to the sum of its range; deferred dots are not in it.
pub(crate) const fn mark(object: &Object) -> u64 {
    let content = object.content();
    mix(mix(content.position()) ^ content.hash().word())
}

/// Spreads what sums must not cancel out. Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014.
pub(crate) const fn mix(word: u64) -> u64 {
    let word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

impl Default for Leaves {
    fn default() -> Self {
        Self::with_bits(BITS_MIN)
    }
}

impl Leaves {
    fn with_bits(bits: u32) -> Self {
        Self { bits, leaves: vec![Leaf { sum: 0, count: 0, head: NONE }; 1 << bits] }
    }

    /// Builds anew what is known of `objects`, with leaves for as many.
    pub(super) fn rebuild(&mut self, objects: &mut Objects) {
        let wanted = objects.len().div_ceil(OBJECTS_MAX).next_power_of_two();
        *self = Self::with_bits(wanted.trailing_zeros().max(BITS_MIN));
        for index in 0..objects.len() {
            self.link(objects, index);
        }
    }

    /// Takes in the object at `index`, which is new.
    pub(super) fn insert(&mut self, objects: &mut Objects, index: usize) {
        if objects.len() > OBJECTS_MAX << self.bits {
            self.rebuild(objects);
        } else {
            self.link(objects, index);
        }
    }

    /// Takes out the object at `index`, into whose place the last one is about to move. False when that would take more than
    /// `steps`, which are counted down: then everything has to be built anew.
    pub(super) fn swap_remove(&mut self, objects: &mut Objects, index: usize, steps: &mut usize) -> bool {
        let Some((_, slot)) = objects.get_index(index) else { return true };
        let (position, next) = (slot.object.content().position(), slot.next);
        self.change(position, settled_mark(&slot.object), None);
        let last = objects.len() - 1;
        let last_position = objects[last].object.content().position();
        self.redirect(objects, position, index, next, steps)
            && (last == index || self.redirect(objects, last_position, last, number(index), steps))
    }

    /// Whether there are far more leaves than objects.
    pub(super) const fn is_sparse(&self, objects: usize) -> bool {
        self.bits > BITS_MIN && objects < 1 << self.bits >> 1
    }

    /// An object at `position` counted as `before` and counts as `after`; what is `None` counts as nothing.
    pub(super) fn change(&mut self, position: u64, before: Option<u64>, after: Option<u64>) {
        let leaf = self.leaf(position);
        leaf.sum = leaf.sum.wrapping_sub(before.unwrap_or(0)).wrapping_add(after.unwrap_or(0));
        leaf.count = leaf.count.wrapping_sub(u32::from(before.is_some())).wrapping_add(u32::from(after.is_some()));
    }

    /// The leaves from that of `start` to that of `last`, in order.
    pub(super) fn ranges(&self, start: u64, last: u64) -> impl Iterator<Item = Range> {
        let shift = u64::BITS - self.bits;
        let leaves = (start >> shift..=last >> shift).map_while(move |index| {
            let leaf = self.leaves.get(usize::try_from(index).ok()?)?;
            Some((index << shift, leaf))
        });
        leaves.map(move |(start, leaf)| {
            let (sum, count, head) = (leaf.sum, leaf.count, leaf.head);
            Range { start, last: start | ((1 << shift) - 1), sum, count, head }
        })
    }

    fn link(&mut self, objects: &mut Objects, index: usize) {
        let Some((_, slot)) = objects.get_index_mut(index) else { return };
        let position = slot.object.content().position();
        self.change(position, None, settled_mark(&slot.object));
        let leaf = self.leaf(position);
        slot.next = leaf.head;
        leaf.head = number(index);
    }

    /// Lets what leads to the object at `index` lead to `to`.
    fn redirect(&mut self, objects: &mut Objects, position: u64, index: usize, to: u32, steps: &mut usize) -> bool {
        let index = number(index);
        let head = &mut self.leaf(position).head;
        if *head == index {
            *head = to;
            return true;
        }
        let mut at = *head;
        loop {
            let Some((_, slot)) = usize::try_from(at).ok().and_then(|at| objects.get_index_mut(at)) else {
                return false;
            };
            let Some(left) = steps.checked_sub(1) else { return false };
            *steps = left;
            if slot.next == index {
                slot.next = to;
                return true;
            }
            at = slot.next;
        }
    }

    fn leaf(&mut self, position: u64) -> &mut Leaf {
        let index = usize::try_from(position >> (u64::BITS - self.bits)).unwrap_or(0);
        &mut self.leaves[index]
    }
}

/// The objects of a range, in no order.
pub(super) fn chain<'a>(objects: &'a Objects, range: &Range) -> impl Iterator<Item = (&'a Key, &'a Object)> {
    let at = |index: u32| usize::try_from(index).ok().and_then(|index| objects.get_index(index));
    std::iter::successors(at(range.head), move |(_, slot)| at(slot.next)).map(|(key, slot)| (key, &slot.object))
}

/// What an object adds to the sum of its leaf, if it adds anything.
pub(super) fn settled_mark(object: &Object) -> Option<u64> {
    (!object.needs_settling()).then(|| mark(object))
}

/// The place of a slot. There is no memory for so many objects that it would not fit.
fn number(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(NONE)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crate::causal::VersionVector;
    use crate::crdt::{Assign, Context, Op};
    use crate::hlc::Hlc;
    use crate::id::{Dot, Incarnation, NodeId, ReplicaId, Stream};
    use crate::key::{Key, Kind};
    use crate::scalar::Scalar;
    use crate::state::{State, mark};

    fn id(byte: u8) -> ReplicaId {
        ReplicaId { node: NodeId([byte; 32]), incarnation: Incarnation(1) }
    }

    fn key(index: usize) -> Key {
        Key::new(Kind::OrSet, &format!("k{index}")).expect("a key")
    }

    /// Commit `seq` of the first replica puts or removes the only member of a set, over what is named.
    fn assign(state: &mut State, key: &Key, seq: u64, value: Option<()>, over: Vec<Dot>) {
        let assign = Assign { member: Scalar::Null, value, over };
        let (dot, seen) = (Dot { replica: id(1), seq }, VersionVector::default());
        state.apply(key.clone(), Op::OrSet(vec![assign]), dot, Hlc::default(), Context::of(&seen));
    }

    /// Each object lies in the leaf that its position says, and each sum is what adding up gives.
    fn check(state: &State) {
        let mut there = BTreeMap::new();
        let mut next = Some(0);
        for range in state.ranges(0, u64::MAX) {
            assert_eq!(next, Some(range.start));
            next = range.last.checked_add(1);
            let (mut sum, mut count) = (0_u64, 0);
            for (key, object) in state.objects_of(&range) {
                assert!((range.start..=range.last).contains(&key.position()), "{key}");
                assert!(there.insert(key.clone(), ()).is_none(), "{key} is there twice");
                if !object.needs_settling() {
                    (sum, count) = (sum.wrapping_add(mark(object)), count + 1);
                }
            }
            assert_eq!((range.sum, range.count), (sum, count), "{range:?}");
        }
        assert_eq!(next, None);
        assert!(there.into_keys().eq(state.objects_after(None).map(|(key, _)| key.clone())));
    }

    #[test]
    fn sums_follow_each_change() {
        let mut state = State::new(id(1));
        for (index, seq) in (0..1_000).zip(1..) {
            assign(&mut state, &key(index), seq, Some(()), Vec::new());
        }
        check(&state);
        let ahead = Dot { replica: id(2), seq: 1 };
        for (index, seq) in (0..1_000).zip(2_000..) {
            let over = if index % 5 == 1 { vec![ahead] } else { Vec::new() };
            assign(&mut state, &key(index), seq, (index % 3 == 0).then_some(()), over);
        }
        check(&state);
        state.forget_empty();
        check(&state);
        let before = state.len();
        let seen: VersionVector = [(Stream::global(id(2)), 1)].into_iter().collect();
        state.settle(Context::of(&seen));
        check(&state);
        state.forget_empty();
        check(&state);
        assert_eq!((before, state.len()), (334 + 133, 334));
        let mut restored = State::new(id(1));
        restored.restore(state.objects_after(None).map(|(key, object)| (key.clone(), object.state())).collect());
        check(&restored);
        assert!(
            restored.ranges(0, u64::MAX).map(|range| range.sum).eq(state.ranges(0, u64::MAX).map(|range| range.sum))
        );
    }

    #[test]
    fn names_that_crowd_in_one_leaf_are_forgotten_all_the_same() {
        let crowd: Vec<Key> = (0..).map(key).filter(|key| key.position() >> 53 == 0).take(100).collect();
        let mut state = State::new(id(1));
        for (key, seq) in crowd.iter().zip(1..) {
            assign(&mut state, key, seq, Some(()), Vec::new());
        }
        for (key, seq) in crowd.iter().skip(10).zip(1_000..) {
            assign(&mut state, key, seq, None, Vec::new());
        }
        check(&state);
        state.forget_empty();
        assert_eq!(state.len(), 10);
        check(&state);
    }
}
