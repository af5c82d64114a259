//! Phrases: words of the lists that are a hit only in a row.
//!
//! Owns the walk over the steps that the build script found (see `build/vocabulary.rs`). The invariant: whatever phrase ends
//! with a word is seen, however many overlap.

use crate::automaton::Lists;
use crate::words::Known;

include!(concat!(env!("OUT_DIR"), "/phrases.rs"));

/// Words of the longest phrase.
pub const PHRASE_WORDS_MAX: usize = 8;

/// Phrases that have begun: the node of each, the oldest first, and the words so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Phrases {
    begun: [(u16, usize); PHRASE_WORDS_MAX],
    length: usize,
}

impl Phrases {
    /// Forgets what has begun.
    pub fn clear(&mut self) {
        self.length = 0;
    }

    /// Whether a phrase has begun.
    #[inline(always)]
    #[must_use]
    pub const fn have_begun(&self) -> bool {
        self.length > 0
    }

    /// Begins with `word` while nothing else has begun.
    #[inline(always)]
    pub fn begin(&mut self, word: Known) {
        self.begun[0] = (word.node(), 1);
        self.length = usize::from(word.node() != 0);
    }

    /// Takes the next word, and tells the lists of the phrases that end with it and the words of the longest.
    pub fn take(&mut self, word: Known) -> (Lists, usize) {
        let (mut ended, mut longest, mut length) = (Lists::default(), 0, 0);
        for at in 0..self.length {
            let (node, words) = self.begun[at];
            let Some([_, to, lists]) = steps(node).iter().find(|[by, ..]| *by == word.number()) else { continue };
            if *lists != 0 {
                (ended, longest) = (ended.with(Lists(*lists)), longest.max(words + 1));
            }
            self.begun[length] = (*to, words + 1);
            length += 1;
        }
        // The oldest has as many words as there may be; each of the others has fewer.
        if word.node() != 0 && length < PHRASE_WORDS_MAX {
            self.begun[length] = (word.node(), 1);
            length += 1;
        }
        self.length = length;
        (ended, longest)
    }
}

/// The steps from a node.
fn steps(node: u16) -> &'static [[u16; 3]] {
    let at = usize::from(node);
    FIRSTS.get(at..at + 2).map_or(&[], |ends| &STEPS[usize::from(ends[0])..usize::from(ends[1])])
}
