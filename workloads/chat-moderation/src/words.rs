//! The vocabulary: what common words come to, known before they are walked.
//!
//! Owns the look-up; the build script fills the table by walking the automaton (see `build/vocabulary.rs`). The invariant: a
//! word that is found here has the weights and lists that a walk would have given it, and those of the whole word.

use crate::automaton::Lists;
use crate::key::{Key, PLACES};
use crate::tables::rows;

/// Numbers of a place: both halves of the key, the lanes, and the rest.
const PLACE_NUMBERS: usize = 4;
static TABLE: [[u64; PLACE_NUMBERS]; PLACES] = rows(include_bytes!(concat!(env!("OUT_DIR"), "/places.bin")));

/// Of the rest: the lists.
const LISTS_MASK: u64 = 0x7f;
/// The word has nothing but Latin letters.
const PLAIN: u64 = 1 << 15;
/// Bits below the node of the phrases that begin with this word.
const NODE_BIT: u32 = 16;
/// Bits below the number of a word that is in a phrase.
const NUMBER_BIT: u32 = 32;

/// What is known of a word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Its weights in lanes, those of its lists with them.
    pub lanes: i64,
    rest: u64,
}

impl Known {
    /// A word that was walked, as it is in no phrase.
    #[must_use]
    pub fn walked(lanes: i64, lists: Lists) -> Self {
        Self { lanes, rest: u64::from(lists.0) }
    }

    /// The word of `key`, if it is common.
    #[inline(always)]
    #[must_use]
    pub fn find(key: Key) -> Option<Self> {
        let mut at = key.place();
        loop {
            let [low, high, lanes, rest] = TABLE[at & (PLACES - 1)];
            if low == key.low && high == key.high {
                return Some(Self { lanes: lanes.cast_signed(), rest });
            }
            // Half of the places are empty, so there is an end to it.
            if low == 0 {
                return None;
            }
            at += 1;
        }
    }

    /// Whether it has nothing but Latin letters.
    #[inline(always)]
    #[must_use]
    pub const fn is_plain(self) -> bool {
        self.rest & PLAIN != 0
    }

    /// Whether it is in a list.
    #[inline(always)]
    #[must_use]
    pub const fn is_listed(self) -> bool {
        self.rest & LISTS_MASK != 0
    }

    /// The lists that it is in.
    #[inline(always)]
    #[must_use]
    pub const fn lists(self) -> Lists {
        #[allow(clippy::cast_possible_truncation, reason = "seven bits")]
        Lists((self.rest & LISTS_MASK) as u16)
    }

    /// The node of the phrases that begin with this word; 0 if none does.
    #[inline(always)]
    #[must_use]
    pub const fn node(self) -> u16 {
        #[allow(clippy::cast_possible_truncation, reason = "a field of 16 bits")]
        return (self.rest >> NODE_BIT) as u16;
    }

    /// Its number among the words of phrases; 0 if it is in none.
    #[inline(always)]
    #[must_use]
    pub const fn number(self) -> u16 {
        #[allow(clippy::cast_possible_truncation, reason = "a field of 16 bits")]
        return (self.rest >> NUMBER_BIT) as u16;
    }
}
