//! A reading of a text, word by word: what each weighs, which lists it is in, and what they come to.
//!
//! Owns the sums. A word that most people write is found as it stands, in the vocabulary; any other is normalised and, if that
//! does not make it a common one, walked. Kept between texts for its memory. The invariants: how a word was found changes
//! nothing; a word counts once, however often it is repeated; and a text that is longer than one sum is judged by its worst
//! part, or padding would hide anything.

use std::ops::Range;

use crate::automaton::{Lists, Margins, State, length_lanes, margins};
use crate::gram::{Gram, LENGTHS};
use crate::grams::weight;
use crate::key::Key;
use crate::normalise::{SEPARATOR, Sink, normalise};
use crate::phrases::Phrases;
use crate::rules::toxicity;
use crate::symbol::{QUESTION, SPACE, pattern_of};
use crate::window::Windows;
use crate::words::Known;

/// Symbols of a part. Two that follow each other are judged together, so no insult is cut in two.
pub const PART: usize = 128;
/// Symbols after which a word is cut, so that a part never has many more than it should.
pub const WORD_MAX: usize = 64;
/// So many letters that stand alone in a row look like a word in disguise.
const ALONE_MIN: usize = 3;

/// A word of a text.
#[derive(Clone, Copy, Debug)]
struct Word {
    start: usize,
    end: usize,
    /// The same for equal words, and hardly for others.
    identity: u64,
    lanes: i64,
    lists: Lists,
    /// Of one phrase with the word before, or the rest of it.
    joined: bool,
}

/// What the words of a part come to.
#[derive(Clone, Copy, Debug, Default)]
struct Part {
    lanes: i64,
    /// Words, each counted once.
    words: usize,
}

/// The words of one reading.
#[derive(Debug, Default)]
pub struct Reading {
    words: Vec<Word>,
    /// The parts that are full.
    parts: Vec<Part>,
    /// The one that is not.
    part: Part,
    /// Its symbols.
    symbols: usize,
    /// Its first word.
    from: usize,
    /// A bit for each word of it, by identity: if it is not set, the word is new.
    met: u64,
    spelling: Spelling,
    phrases: Phrases,
    /// All that were hit.
    lists: Lists,
    /// How often each counted.
    hits: [usize; Lists::NAMES.len()],
    /// Words and phrases of explicit lists.
    explicit: usize,
    /// One-letter words right before.
    alone: usize,
    odd: bool,
}

/// The word that is being spelled.
#[derive(Debug)]
struct Spelling {
    symbols: [u8; WORD_MAX],
    length: usize,
    start: usize,
    end: usize,
    /// It is the rest of a longer one.
    rest: bool,
}

impl Default for Spelling {
    fn default() -> Self {
        Self { symbols: [0; WORD_MAX], length: 0, start: 0, end: 0, rest: false }
    }
}

impl Sink for Reading {
    #[inline]
    fn take(&mut self, symbol: u8, start: usize, end: usize) {
        if symbol == SPACE {
            self.end_word();
            self.spelling.rest = false;
            return;
        }
        if self.spelling.length == WORD_MAX {
            self.end_word();
            self.spelling.rest = true;
        }
        let spelling = &mut self.spelling;
        if spelling.length == 0 {
            spelling.start = start;
        }
        spelling.symbols[spelling.length] = symbol;
        spelling.length += 1;
        spelling.end = end;
    }
}

impl Reading {
    /// Forgets everything, to read another text.
    #[inline]
    pub fn clear(&mut self) {
        self.words.clear();
        self.parts.clear();
        self.phrases.clear();
        self.part = Part::default();
        (self.symbols, self.from, self.met, self.alone, self.odd) = (0, 0, 0, 0, false);
        if self.lists != Lists::default() {
            (self.lists, self.hits, self.explicit) = (Lists::default(), [0; Lists::NAMES.len()], 0);
        }
    }

    /// Reads `text` as it stands.
    #[inline]
    pub fn read(&mut self, text: &str) {
        self.read_with(text, |key| Known::find(key).filter(|known| known.is_plain()));
    }

    #[inline(always)]
    fn read_with(&mut self, text: &str, known: impl Fn(Key) -> Option<Known>) {
        self.clear();
        let windows = Windows::of(text.as_bytes());
        let mut at = 0;
        while let Some(token) = windows.token(at) {
            match token.key.and_then(|key| Some((key, known(key)?))) {
                Some((key, known)) => self.push(known, key.identity(), at..token.end, token.end - at, false),
                None if at == token.end || text.as_bytes()[at..token.end] == *SEPARATOR.as_bytes() => {}
                None => self.read_slowly(text, at..token.end),
            }
            at = token.end + 1;
        }
    }

    /// Reads what stands between two blanks.
    #[inline(never)]
    fn read_slowly(&mut self, text: &str, token: Range<usize>) {
        self.odd |= normalise(text, token, self);
    }

    fn end_word(&mut self) {
        let Spelling { symbols, length, start, end, rest } = &self.spelling;
        let (bytes, length, rest) = (*start..*end, *length, *rest);
        let symbols = &symbols[..length];
        if symbols.is_empty() {
            return;
        }
        let key = Key::of(symbols.iter().map(|symbol| pattern_of(*symbol))).filter(|_| !rest);
        let known = key.and_then(Known::find).unwrap_or_else(|| walk(symbols));
        let identity = key.map_or_else(|| identity(symbols), Key::identity);
        // A question mark is no letter.
        let length = if symbols == [QUESTION] { 2 } else { length };
        self.spelling.length = 0;
        self.push(known, identity, bytes, length, rest);
    }

    #[inline(always)]
    fn push(&mut self, known: Known, identity: u64, bytes: Range<usize>, length: usize, joined: bool) {
        let new = self.is_new(identity);
        let Range { start, end } = bytes;
        self.words.push(Word { start, end, identity, lanes: known.lanes, lists: known.lists(), joined });
        if new {
            self.part = self.part.with(Part { lanes: known.lanes, words: 1 });
        }
        if known.is_listed() || self.phrases.have_begun() && known.number() != 0 {
            self.mark(known, new);
        } else {
            self.phrases.begin(known);
        }
        self.alone = if length == 1 { self.alone + 1 } else { 0 };
        self.odd |= self.alone >= ALONE_MIN;
        self.symbols += length + 1;
        if self.symbols >= PART {
            self.parts.push(std::mem::take(&mut self.part));
            (self.symbols, self.from, self.met) = (0, self.words.len(), 0);
        }
    }

    /// Whether no word of this part is equal.
    #[inline(always)]
    fn is_new(&mut self, identity: u64) -> bool {
        let bit = 1 << (identity >> 32 & 63);
        if self.met & bit == 0 {
            self.met |= bit;
            return true;
        }
        self.words[self.from..].iter().all(|word| word.identity != identity)
    }

    /// Notes the lists that the last word is in, or that a phrase is in which ends with it. A list counts once.
    #[inline(never)]
    fn mark(&mut self, known: Known, new: bool) {
        let (ended, words) = self.phrases.take(known);
        let further = ended.without(known.lists());
        if let Some(last) = self.words.last_mut() {
            last.lanes = last.lanes.wrapping_add(further.lanes());
        }
        self.part.lanes = self.part.lanes.wrapping_add(further.lanes());
        let counted = if new { known.lists().with(further) } else { further };
        counted.numbers().for_each(|list| self.hits[list] += 1);
        self.explicit += [known.lists(), further].iter().filter(|lists| lists.meets(Lists::EXPLICIT)).count();
        self.lists = self.lists.with(known.lists()).with(ended);
        let first = self.words.len().saturating_sub(words);
        for (at, word) in self.words[first..].iter_mut().enumerate() {
            word.lists = word.lists.with(ended);
            word.joined |= at > 0;
        }
    }

    /// Whether a closer look might find more: digits or signs inside of words, runs of a letter, letters that stand alone.
    #[must_use]
    pub fn is_odd(&self) -> bool {
        self.odd
    }

    /// How often an entry of an explicit list was hit.
    #[must_use]
    pub fn explicit(&self) -> usize {
        self.explicit
    }

    /// How often each list counted.
    #[must_use]
    pub fn hits(&self) -> [usize; Lists::NAMES.len()] {
        self.hits
    }

    /// Whether a slur or a threat was hit.
    #[must_use]
    pub fn has_grave(&self) -> bool {
        self.lists.meets(Lists::GRAVE)
    }

    /// The margins of the whole, or of the most toxic two parts of a long text.
    #[inline]
    #[must_use]
    pub fn margins(&self) -> Margins {
        let Some((first, others)) = self.parts.split_first() else { return self.part.margins() };
        let mut before = *first;
        let together = others.iter().chain([&self.part]).map(|part| {
            let both = before.with(*part).margins();
            before = *part;
            both
        });
        together.max_by_key(toxicity).unwrap_or_else(|| before.margins())
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
            .filter(move |word| weight(word) == heaviest || 2 * weight(word) >= heaviest.max(1))
            .map(|word| word.start..word.end)
    }
}

impl Part {
    #[inline(always)]
    fn with(self, other: Self) -> Self {
        Self { lanes: self.lanes.wrapping_add(other.lanes), words: self.words + other.words }
    }

    #[inline(always)]
    fn margins(self) -> Margins {
        margins(self.lanes.wrapping_add(length_lanes(self.words)))
    }
}

/// Of a word that has no key.
fn identity(symbols: &[u8]) -> u64 {
    symbols
        .iter()
        .fold(0, |identity, symbol| Key { low: identity.rotate_left(5) ^ u64::from(*symbol), high: 0 }.identity())
}

/// What a word comes to that is not in the vocabulary.
fn walk(symbols: &[u8]) -> Known {
    let (mut state, mut lists, mut sum) = (State::START, Lists::default(), 0_i64);
    let mut gram = Gram::default().with(SPACE);
    for (before, symbol) in symbols.iter().chain(&[SPACE]).enumerate() {
        state = state.after(*symbol);
        gram = gram.with(*symbol);
        for length in LENGTHS.take_while(|length| before + 2 >= *length) {
            sum = sum.wrapping_add(weight(gram.last(length)));
        }
        let (listed, spared) = state.hit();
        lists = lists.with(listed);
        if spared {
            sum = 0;
        }
    }
    Known::walked(sum.wrapping_add(lists.lanes()), lists)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn how_a_word_was_found_changes_nothing(text in "(gg|ez|fuck|you|shut up|kill|yourself|[a-z ?.0-9!]|\\PC|\\[SEPA\\]| ){0,200}") {
            let (mut quick, mut slow) = (Reading::default(), Reading::default());
            quick.read(&text);
            slow.read_with(&text, |_| None);
            prop_assert_eq!(format!("{:?}", quick.words), format!("{:?}", slow.words));
            prop_assert_eq!((quick.margins(), quick.odd, quick.explicit), (slow.margins(), slow.odd, slow.explicit));
        }
    }

    #[test]
    fn the_vocabulary_says_of_a_word_what_a_walk_says() {
        // None of them is a feature or an entry as a whole.
        for word in ["motherfucker", "classes", "peruvians", "assassin", "noobish", "reportable"] {
            let symbols: Vec<u8> = word.bytes().map(|byte| byte - b'a').collect();
            let walked = walk(&symbols);
            let known = Key::of(word.bytes()).and_then(Known::find).unwrap_or(walked);
            assert_eq!((margins(known.lanes), known.lists()), (margins(walked.lanes), walked.lists()), "{word}");
        }
    }

    #[test]
    fn a_word_counts_once() {
        let sum = |text: &str| {
            let mut reading = Reading::default();
            reading.read(text);
            reading.margins()
        };
        assert_eq!(sum("noob noob noob noob"), sum("noob"));
        assert_ne!(sum("noob team"), sum("noob"));
        assert_eq!(sum("Noob, n0 noob"), sum("noob n0"));
    }
}
