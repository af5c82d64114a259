//! A reading of a text word by word: what each weighs and which lists it hits.
//!
//! Owns the walk that remembers where it has been; `batch` has the quick one. Kept between texts for its memory. The
//! invariants: both come to the same sum; and a text that is longer than one sum is judged by its worst part, or
//! padding would hide anything.

use std::ops::Range;

use crate::automaton::{Lists, Margins, SUM_BYTES_MAX, State, margins};
use crate::normalise::Sink;
use crate::rules::toxicity;
use crate::symbol::SPACE;

/// Symbols of a part. Two that follow each other are judged together, so no insult is cut in two.
const PART: usize = SUM_BYTES_MAX;
/// Symbols after which a word is cut, so that a part never has many more than it should.
const WORD_MAX: usize = 64;

#[derive(Clone, Copy, Debug)]
struct Word {
    start: usize,
    end: usize,
    /// Its first symbol.
    from: usize,
    lanes: i64,
    lists: Lists,
    /// Of one entry with the word before, or the rest of it.
    joined: bool,
}

/// The words of one reading.
#[derive(Debug)]
pub struct Record {
    words: Vec<Word>,
    state: State,
    /// Symbols so far.
    at: usize,
    explicit: usize,
    begins: bool,
}

impl Default for Record {
    fn default() -> Self {
        Self { words: Vec::new(), state: State::START, at: 0, explicit: 0, begins: true }
    }
}

impl Sink for Record {
    #[inline]
    fn take(&mut self, symbol: u8, start: usize, end: usize) {
        self.step(self.state.after(symbol), symbol, start, end);
    }
}

/// Records a text that was walked before: the states need not be found again.
pub struct Replay<'a> {
    /// Where it is written.
    pub record: &'a mut Record,
    /// After each symbol.
    pub states: std::slice::Iter<'a, State>,
}

impl Sink for Replay<'_> {
    #[inline]
    fn take(&mut self, symbol: u8, start: usize, end: usize) {
        if let Some(state) = self.states.next() {
            self.record.step(*state, symbol, start, end);
        }
    }
}

impl Record {
    /// Forgets the words, to read another text.
    pub fn clear(&mut self) {
        self.words.clear();
        (self.state, self.at, self.explicit, self.begins) = (State::START, 0, 0, true);
    }

    #[inline]
    fn step(&mut self, state: State, symbol: u8, start: usize, end: usize) {
        let long = self.words.last().is_some_and(|word| self.at - word.from >= WORD_MAX);
        if self.begins || long {
            let joined = !self.begins;
            self.words.push(Word { start, end, from: self.at, lanes: 0, lists: Lists::default(), joined });
        }
        self.state = state;
        let lanes = state.lanes();
        if let Some(word) = self.words.last_mut() {
            word.lanes = word.lanes.wrapping_add(lanes);
            if symbol != SPACE {
                word.end = end;
            }
        }
        if State::is_listed(lanes) {
            self.mark();
        }
        self.begins = symbol == SPACE;
        self.at += 1;
    }

    /// Notes what lists the state hits.
    fn mark(&mut self) {
        let (lists, symbols) = self.state.hit();
        self.explicit += usize::from(lists.meets(Lists::EXPLICIT));
        // A boundary at the entry's beginning closes the word before, which is not meant.
        let first = (self.at + 2).saturating_sub(symbols);
        for word in self.words.iter_mut().rev() {
            word.lists = Lists(word.lists.0 | lists.0);
            if word.from <= first {
                break;
            }
            word.joined = true;
        }
    }

    /// How often an entry of an explicit list was hit.
    #[must_use]
    pub fn explicit(&self) -> usize {
        self.explicit
    }

    /// Whether a slur or a threat was hit.
    #[must_use]
    pub fn has_grave(&self) -> bool {
        self.words.iter().any(|word| word.lists.meets(Lists::GRAVE))
    }

    /// The margins of the whole, or of the most toxic part of a long text.
    #[must_use]
    pub fn margins(&self) -> Margins {
        let (mut worst, mut before, mut part, mut from) = (None::<Margins>, 0_i64, 0_i64, 0);
        for (index, word) in self.words.iter().enumerate() {
            part = part.wrapping_add(word.lanes);
            let end = self.words.get(index + 1).map_or(self.at, |next| next.from);
            if end - from >= PART || index + 1 == self.words.len() {
                let together = margins(before.wrapping_add(part));
                worst =
                    Some(worst.map_or(
                        together,
                        |worst| if toxicity(&together) > toxicity(&worst) { together } else { worst },
                    ));
                (before, part, from) = (part, 0, end);
            }
        }
        worst.unwrap_or_else(|| margins(0))
    }

    /// The bytes of what hit any of `lists`, in order, without overlaps; a phrase is one span.
    pub fn listed(&self, lists: Lists) -> impl Iterator<Item = Range<usize>> {
        let mut words = self.words.iter().peekable();
        std::iter::from_fn(move || {
            let first = words.find(|word| word.lists.meets(lists))?;
            let mut end = first.end;
            while let Some(next) = words.next_if(|next| next.joined && next.lists.meets(lists)) {
                end = next.end;
            }
            Some(first.start..end)
        })
    }

    /// The bytes of the words that weigh at least half as much as the heaviest, in one lane.
    pub fn heavy(&self, lane: usize) -> impl Iterator<Item = Range<usize>> {
        let weight = move |word: &Word| margins(word.lanes)[lane] - margins(0)[lane];
        let heaviest = self.words.iter().map(weight).max().unwrap_or(0);
        self.words
            .iter()
            .filter(move |word| word.start < word.end)
            .filter(move |word| weight(word) == heaviest || 2 * weight(word) >= heaviest.max(1))
            .map(|word| word.start..word.end)
    }
}
