//! The receiver's plan of a repair: which ranges are left, how to ask about them, and what an answer settles.
//!
//! Pure bookkeeping over positions; merging is `repair`'s. The invariant: a range leaves the plan only when an answer said, at
//! one vector, all that the giver holds there, and what was told of our side is still so. Ranges are in order and apart.

use std::collections::{BTreeSet, VecDeque};
use std::ops::RangeInclusive;

use super::compare::{Ask, Survey};
use super::giver::Bits;
use crate::key::Key;
use crate::limits::{REPAIR_ASKS_MAX, REPAIR_ITEMS_MAX, REPAIR_PARTS_MAX, REPAIR_RANGES_MAX, REPAIR_WORDS_MAX};
use crate::planted::{self, Bug};
use crate::state::State;

/// What a question takes beside its numbers, counted in numbers.
const ASK_WORDS: usize = 3;

/// A range that has yet to be settled.
#[derive(Clone, Copy, Debug)]
struct Left {
    start: u64,
    last: u64,
    /// About how many objects we have there.
    count: u64,
    /// Whether to ask for everything, because what was told of our side did not last until the answer.
    plain: bool,
}

/// What is left of a repair.
#[derive(Debug)]
pub(super) struct Plan {
    left: VecDeque<Left>,
    /// What is being asked.
    pub(super) asks: Vec<Ask>,
    /// For each question, the range and the positions of the told hashes.
    about: Vec<(Left, Vec<u64>)>,
    /// The name of the question.
    pub(super) digest: u64,
    /// Positions of which not all could be taken, to be asked about again at the end.
    unsure: BTreeSet<u64>,
    /// Whether that end has come.
    is_second_look: bool,
}

/// What an answer amounts to.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    /// Ranges that are as the giver has them, once the following has been merged.
    pub(super) settled: Vec<RangeInclusive<u64>>,
    /// Objects that the giver does not hold.
    pub(super) absent: Vec<Key>,
    /// Positions of objects that changed here after they were told: they are asked for anew.
    pub(super) changed: BTreeSet<u64>,
    left: Vec<Left>,
}

/// What an answer says beside its vectors and its objects' content.
pub(super) struct Said<'a> {
    pub(super) last: u64,
    pub(super) equal: &'a Bits,
    /// The positions and keys of its objects.
    pub(super) there: &'a BTreeSet<(u64, &'a Key)>,
    /// Positions of which something was left out that may be sound: they are not settled, and are asked about again once all else is,
    /// which may show that it is.
    pub(super) unsure: &'a BTreeSet<u64>,
}

impl Plan {
    /// Everything is left, and about `count` objects are here.
    pub(super) fn of_all(count: usize) -> Self {
        let all = Left { start: 0, last: u64::MAX, count: count as u64, plain: false };
        let unsure = BTreeSet::new();
        Self { left: [all].into(), asks: Vec::new(), about: Vec::new(), digest: 0, unsure, is_second_look: false }
    }

    /// Whether nothing is left.
    pub(super) fn is_done(&self) -> bool {
        self.left.is_empty() && self.asks.is_empty() && (self.unsure.is_empty() || self.is_second_look)
    }

    /// Whether what is left cannot be taken for now: it was asked about twice, or is more than a repair keeps in mind.
    pub(super) fn is_barred(&self) -> bool {
        self.unsure.len() > REPAIR_RANGES_MAX || (self.is_done() && !self.unsure.is_empty())
    }

    /// How much of all positions is settled, of a thousand.
    pub(super) fn done_permille(&self) -> u16 {
        let ranges = self.left.iter().chain(self.about.iter().map(|(left, _)| left));
        let left: u128 = ranges.map(|left| u128::from(left.last - left.start) + 1).sum();
        u16::try_from(1000 - (left * 1000).div_ceil(1 << 64).min(1000)).unwrap_or(0)
    }

    /// Turns the first of what is left into questions that fit into about `bytes`.
    pub(super) fn ask(&mut self, state: &State, bytes: usize) {
        if self.left.is_empty() && !self.is_second_look {
            self.is_second_look = true;
            let unsure = std::mem::take(&mut self.unsure);
            self.left.extend(unsure.into_iter().map(|at| Left { start: at, last: at, count: 1, plain: true }));
        }
        let (mut words, items_max) = (REPAIR_WORDS_MAX.min(bytes / 8), items_max(bytes));
        let (mut asks, mut about) = (Vec::new(), Vec::new());
        while let Some(left) = self.left.front().copied() {
            let (shift, takes) = left.split(items_max, words);
            if asks.len() == REPAIR_ASKS_MAX || (!asks.is_empty() && takes + ASK_WORDS > words) {
                break;
            }
            words = words.saturating_sub(takes + ASK_WORDS);
            self.left.pop_front();
            asks.push(Ask { start: left.start, last: left.last, shift, words: Vec::new() });
            about.push((left, Vec::new()));
        }
        let survey = Survey::of(state, &asks, usize::MAX);
        let mut words =
            REPAIR_WORDS_MAX - asks.iter().map(|ask| usize::try_from(ask.count()).unwrap_or(0)).sum::<usize>();
        for (index, (ask, (left, places))) in asks.iter_mut().zip(&mut about).enumerate() {
            ask.words = survey.sums(index).iter().map(|sum| sum.sum).collect();
            if ask.shift.is_none() && !left.plain {
                // Hosts that write while they are repaired may have more by now; what is not told is sent.
                let items = survey.items(ask.start, ask.last);
                let mut told: Vec<_> = items.iter().map(|item| (item.hash, item.position)).collect();
                told.truncate(words.min(2 * items_max));
                words -= told.len();
                told.sort_unstable();
                (ask.words, *places) = told.into_iter().unzip();
            }
        }
        self.digest = Ask::digest(&asks);
        (self.asks, self.about) = (asks, about);
    }

    /// Whether an answer that ends with `last` ends where one may, and has a bit for each number that it answers.
    pub(super) fn allows(&self, last: u64, equal: &Bits) -> bool {
        let Some(index) = Ask::about(&self.asks, last) else { return false };
        let ask = &self.asks[index];
        let ends = ask.shift.is_none() || last == ask.last || ask.parts().any(|(_, end)| end == last);
        let before = self.asks[..index].iter().map(|ask| ask.words.len()).sum::<usize>();
        let answered = match ask.shift {
            None => ask.words.len(),
            Some(_) => ask.parts().take_while(|(_, end)| *end <= last).count(),
        };
        ends && equal.fits(before + answered)
    }

    /// Whether an object at `position` may be among an answer's: whether objects were asked for there.
    pub(super) fn wants(&self, position: u64) -> bool {
        Ask::about(&self.asks, position).is_some_and(|index| self.asks[index].shift.is_none())
    }

    /// What follows from an answer that is allowed, given what we hold now. What it does not settle is left to be asked.
    pub(super) fn take(&mut self, state: &State, said: &Said<'_>) -> Verdict {
        let (asks, about) = (std::mem::take(&mut self.asks), std::mem::take(&mut self.about));
        let answered = asks.partition_point(|ask| ask.start <= said.last);
        let mut clipped = asks[..answered].to_vec();
        if let Some(ask) = clipped.last_mut() {
            ask.last = ask.last.min(said.last);
        }
        let survey = Survey::of(state, &clipped, usize::MAX);
        let (mut verdict, mut bit) = (Verdict::default(), 0);
        for (index, (ask, (left, places))) in clipped.iter().zip(&about).enumerate() {
            match ask.shift {
                Some(_) => verdict.compare_parts(ask, &survey, index, (said, bit)),
                None => verdict.compare_objects(ask, places, &survey, (said, bit)),
            }
            bit += ask.words.len();
            if ask.last < left.last {
                verdict.left.push(Left { start: ask.last + 1, ..*left });
            }
        }
        verdict.left.extend(about[answered..].iter().map(|(left, _)| *left));
        for left in std::mem::take(&mut verdict.left).into_iter().rev() {
            self.left.push_front(left);
        }
        self.shorten(state.len());
        self.unsure.extend(said.unsure);
        verdict.settled = without(verdict.settled, said.unsure);
        verdict
    }

    /// Asks plainly, and in order, for everything from the first to the last of what is left.
    pub(super) fn become_plain(&mut self) {
        if let (Some(first), Some(last)) = (self.left.front().copied(), self.left.back().copied()) {
            self.left = [Left { last: last.last, plain: true, ..first }].into();
        }
    }

    /// Takes together what is beyond the bound. What lies between is compared once more, which does no harm.
    fn shorten(&mut self, count: usize) {
        if self.left.len() > REPAIR_RANGES_MAX
            && let (Some(first), Some(last)) = (self.left.get(REPAIR_RANGES_MAX).copied(), self.left.back().copied())
        {
            self.left.truncate(REPAIR_RANGES_MAX);
            self.left.push_back(Left { last: last.last, count: count as u64, plain: false, ..first });
        }
    }
}

/// How many objects of a range are compared one by one: fewer when pages are small.
fn items_max(bytes: usize) -> usize {
    (bytes / 256).clamp(2, REPAIR_ITEMS_MAX)
}

impl Left {
    /// How to ask about the range with at most about `words` numbers: the bits of each part, if its parts are compared, and how
    /// many numbers that takes. Parts are made for half as many objects as are compared one by one; a range of very many objects
    /// is compared in parts that will be compared in parts.
    fn split(&self, items_max: usize, words: usize) -> (Option<u8>, usize) {
        let count = usize::try_from(self.count).unwrap_or(usize::MAX);
        let width = self.last - self.start;
        if self.plain || width == 0 || count <= items_max {
            return (None, if self.plain { 0 } else { count.min(items_max) });
        }
        let leaves = count.div_ceil(items_max / 2);
        let parts = if leaves <= items_max { leaves } else { count.div_ceil(items_max * items_max / 2).max(8) };
        let mut bits = parts.clamp(2, REPAIR_PARTS_MAX).next_power_of_two().trailing_zeros();
        while bits > 1 && 1 << bits > words {
            bits -= 1;
        }
        let shift = (u64::BITS - width.leading_zeros()).saturating_sub(bits);
        (u8::try_from(shift).ok(), 1 << bits)
    }
}

impl Verdict {
    fn compare_parts(&mut self, ask: &Ask, survey: &Survey<'_>, index: usize, (said, bit): (&Said<'_>, usize)) {
        for (at, (((start, last), sum), told)) in ask.parts().zip(survey.sums(index)).zip(&ask.words).enumerate() {
            // Equal is what was told; if we have changed since, it is not what we have.
            if said.equal.is_set(bit + at) && sum.sum == *told {
                if !planted::is(Bug::EqualUnshown) {
                    self.settle(start, last);
                }
            } else {
                self.left.push(Left { start, last, count: sum.count, plain: false });
            }
        }
    }

    fn compare_objects(&mut self, ask: &Ask, places: &[u64], survey: &Survey<'_>, (said, bit): (&Said<'_>, usize)) {
        let items = survey.items(ask.start, ask.last);
        let now: BTreeSet<(u64, u64)> = items.iter().map(|item| (item.hash, item.position)).collect();
        let told = ask.words.iter().copied().zip(places.iter().copied()).enumerate();
        let equal: BTreeSet<_> = told.filter(|(at, _)| said.equal.is_set(bit + at)).map(|(_, told)| told).collect();
        let changed: BTreeSet<u64> =
            equal.difference(&now).map(|(_, place)| *place).filter(|place| *place <= ask.last).collect();
        for item in items {
            let spoken_of = equal.contains(&(item.hash, item.position))
                || changed.contains(&item.position)
                || said.there.contains(&(item.position, item.key));
            if !spoken_of {
                self.absent.push(item.key.clone());
            }
        }
        let mut start = Some(ask.start);
        for place in &changed {
            if let Some(start) = start.filter(|start| start < place) {
                self.settle(start, place - 1);
            }
            self.left.push(Left { start: *place, last: *place, count: 1, plain: true });
            start = place.checked_add(1);
        }
        if let Some(start) = start.filter(|start| *start <= ask.last) {
            self.settle(start, ask.last);
        }
        self.changed.extend(changed);
    }

    /// Notes a range, as one with the last if they touch.
    fn settle(&mut self, start: u64, last: u64) {
        match self.settled.last_mut() {
            Some(range) if range.end().checked_add(1) == Some(start) => *range = *range.start()..=last,
            Some(_) | None => self.settled.push(start..=last),
        }
    }
}

/// These ranges, which are in order and apart, without these positions.
fn without(ranges: Vec<RangeInclusive<u64>>, positions: &BTreeSet<u64>) -> Vec<RangeInclusive<u64>> {
    if positions.is_empty() {
        return ranges;
    }
    let mut rest = Vec::with_capacity(ranges.len());
    for range in ranges {
        let (mut start, last) = (Some(*range.start()), *range.end());
        for at in positions.range(range) {
            if let Some(from) = start.filter(|from| from < at) {
                rest.push(from..=at - 1);
            }
            start = at.checked_add(1);
        }
        rest.extend(start.filter(|from| *from <= last).map(|from| from..=last));
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_taken_out_of_ranges() {
        let check = |positions: &[u64], expect: &[RangeInclusive<u64>]| {
            let ranges = vec![0..=5, 7..=7, 10..=u64::MAX];
            assert_eq!(without(ranges, &positions.iter().copied().collect()), expect, "{positions:?}");
        };
        check(&[], &[0..=5, 7..=7, 10..=u64::MAX]);
        check(&[6, 8], &[0..=5, 7..=7, 10..=u64::MAX]);
        check(&[0, 3, 5, 7, u64::MAX], &[1..=2, 4..=4, 10..=u64::MAX - 1]);
        check(&[3, 4, 10], &[0..=2, 5..=5, 7..=7, 11..=u64::MAX]);
    }
}
