//! The automaton that finds what is listed inside of a word, and the arithmetic of lanes.
//!
//! Owns its tables, which the build script makes from `data/` (see `build/compile.rs`). The invariants: all arithmetic is in
//! integers, so a text has the same sums on every host; and two parts of a text (see `reading`) overflow no lane.

use crate::symbol::{SYMBOL_BITS, SYMBOLS};
use crate::tables::halves;

mod constants {
    include!(concat!(env!("OUT_DIR"), "/constants.rs"));
}
pub use constants::{BIAS, CALIBRATION};
use constants::{LENGTH_LANES, LIST_LANES, START, STATES};

/// Two parts of a text have fewer than 400 symbols, each of which ends two n-grams at most, and half as many words: with weights
/// of at most 500 that stays within 21 bits.
const LANE_BITS: u32 = 21;
/// Among the lists of a state: what was read so far is the beginning of an innocent word, or names people.
const SPARED: u16 = 1 << 15;

static NEXT: [u16; STATES * SYMBOLS] = halves(include_bytes!(concat!(env!("OUT_DIR"), "/next.bin")));
static HITS: [u16; STATES] = halves(include_bytes!(concat!(env!("OUT_DIR"), "/hits.bin")));

/// Explicit, implicit and action, in 64ths of a unit of log-odds.
pub type Margins = [i32; 3];

/// A place in the automaton.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State(u16);

impl State {
    /// Behind a boundary.
    pub const START: Self = Self(START);

    /// The state after `symbol`.
    #[inline(always)]
    #[must_use]
    pub fn after(self, symbol: u8) -> Self {
        // The table's length is a power of two: the mask costs less than a check, and changes nothing.
        Self(NEXT[(usize::from(self.0) << SYMBOL_BITS | usize::from(symbol)) & (STATES * SYMBOLS - 1)])
    }

    /// The lists that have an entry ending here, and whether all that was read so far weighs nothing.
    #[inline(always)]
    #[must_use]
    pub fn hit(self) -> (Lists, bool) {
        let hit = HITS[usize::from(self.0) & (STATES - 1)];
        (Lists(hit & !SPARED), hit & SPARED != 0)
    }
}

/// Some of the word lists, a bit each, in the order of `data/lists.txt`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lists(pub u16);

impl Lists {
    /// Slurs and threats: explicit by themselves.
    pub const GRAVE: Self = Self(0b1_0001);
    /// Lists of explicit toxicity: slurs, insults, profanity, what is sexual, threats.
    pub const EXPLICIT: Self = Self(0b1_1111);
    /// Taunts, which are toxic only in what they mean.
    pub const TAUNT: Self = Self(0b10_0000);
    /// Names, in the order of the bits.
    pub const NAMES: [&str; 7] = ["slur", "insult", "profanity", "sexual", "threat", "taunt", "action"];

    /// Whether any list is in both.
    #[must_use]
    pub const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Those in either.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those that are not in `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The number of each, in order.
    pub fn numbers(self) -> impl Iterator<Item = usize> {
        (0..Self::NAMES.len()).filter(move |list| self.0 >> list & 1 == 1)
    }

    /// What a word in these lists weighs more, in lanes.
    #[must_use]
    pub fn lanes(self) -> i64 {
        self.numbers().fold(0, |lanes, list| LIST_LANES[list].wrapping_add(lanes))
    }
}

/// A sum of lanes taken apart, with the bias.
#[must_use]
pub fn margins(lanes: i64) -> Margins {
    let mut rest = lanes;
    BIAS.map(|bias| {
        let lane = rest << (i64::BITS - LANE_BITS) >> (i64::BITS - LANE_BITS);
        rest = (rest - lane) >> LANE_BITS;
        bias + i32::try_from(lane).expect("21 bits fit")
    })
}

/// What a text of so many different words weighs more, in lanes.
#[inline(always)]
#[must_use]
pub fn length_lanes(words: usize) -> i64 {
    LENGTH_LANES[words.min(LENGTH_LANES.len() - 1)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_come_apart_as_they_were_put_together() {
        let extreme = (1 << (LANE_BITS - 1)) - 1;
        for weights in [[0; 3], [5, -7, 9], [-1, -1, -1], [-extreme, extreme, -extreme], [extreme; 3], [-1, 0, 0]] {
            let put = weights.iter().rev().fold(0_i64, |lanes, weight| (lanes << LANE_BITS) + i64::from(*weight));
            let expect: Margins = std::array::from_fn(|lane| weights[lane] + BIAS[lane]);
            assert_eq!(margins(put), expect);
        }
    }
}
