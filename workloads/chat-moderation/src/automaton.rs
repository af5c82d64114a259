//! The automaton that reads n-grams and word lists at once: one table look-up and one addition for a symbol.
//!
//! Owns the tables, which the build script makes from `data/` (see `build/compile.rs`), and the arithmetic of lanes. The
//! invariants: all arithmetic is in integers, so a text has the same sums on every host; and a text of at most
//! [`SUM_BYTES_MAX`] bytes overflows no lane.
#![allow(long_running_const_eval, reason = "half a million entries take the compiler about a second")]

use crate::symbol::{SYMBOL_BITS, SYMBOLS};

mod constants {
    include!(concat!(env!("OUT_DIR"), "/constants.rs"));
}
pub use constants::{BIAS, CALIBRATION};
use constants::{START, STATES};

/// The longest text of one sum, in bytes: twice as many symbols and two, each of at most 1,000, stay within 19 bits.
pub const SUM_BYTES_MAX: usize = 128;
const LANE_BITS: u32 = 19;
const GRAVE_BITS: u32 = 6;
/// Bits of the lists in a hit.
const LIST_BITS: u32 = 7;
const LISTS_MASK: u16 = (1 << LIST_BITS) - 1;

static NEXT: [u16; STATES * SYMBOLS] = halves(include_bytes!(concat!(env!("OUT_DIR"), "/next.bin")));
static HITS: [u16; STATES] = halves(include_bytes!(concat!(env!("OUT_DIR"), "/hits.bin")));
static LANES: [i64; STATES] = lanes(include_bytes!(concat!(env!("OUT_DIR"), "/lanes.bin")));

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

    /// The weights of all that ends here, in lanes; below them a count of grave hits.
    #[inline(always)]
    #[must_use]
    pub fn lanes(self) -> i64 {
        LANES[usize::from(self.0) & (STATES - 1)]
    }

    /// Whether any list has an entry ending here, by the lanes of this state alone.
    #[inline(always)]
    #[must_use]
    pub const fn is_listed(lanes: i64) -> bool {
        lanes < 0
    }

    /// The lists that have an entry ending here, a bit each, and the symbols of the longest.
    #[must_use]
    pub fn hit(self) -> (Lists, usize) {
        let hit = HITS[usize::from(self.0) & (STATES - 1)];
        (Lists(hit & LISTS_MASK), usize::from(hit >> LIST_BITS))
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
}

/// A sum of lanes taken apart, with the bias.
#[must_use]
pub fn margins(lanes: i64) -> Margins {
    let mut rest = lanes >> GRAVE_BITS;
    BIAS.map(|bias| {
        let lane = rest << (i64::BITS - LANE_BITS) >> (i64::BITS - LANE_BITS);
        rest = (rest - lane) >> LANE_BITS;
        bias + i32::try_from(lane).expect("19 bits fit")
    })
}

/// Whether a slur or a threat is in a sum of lanes.
#[must_use]
pub const fn has_grave(lanes: i64) -> bool {
    lanes & ((1 << GRAVE_BITS) - 1) != 0
}

const fn halves<const N: usize>(bytes: &[u8]) -> [u16; N] {
    let mut halves = [0; N];
    let mut at = 0;
    while at < N {
        halves[at] = bytes[2 * at] as u16 | (bytes[2 * at + 1] as u16) << 8;
        at += 1;
    }
    halves
}

const fn lanes<const N: usize>(bytes: &[u8]) -> [i64; N] {
    let mut lanes = [0; N];
    let mut at = 0;
    while at < N {
        let (mut number, mut byte) = (0, 8);
        while byte > 0 {
            byte -= 1;
            number = number << 8 | bytes[8 * at + byte] as i64;
        }
        lanes[at] = number;
        at += 1;
    }
    lanes
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
            assert_eq!(margins(put << GRAVE_BITS | 33), expect);
        }
    }
}
