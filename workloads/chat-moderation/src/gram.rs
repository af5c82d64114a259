//! What an n-gram is looked up by: its symbols, as one number.
//!
//! Owns the number and its hash. The build script reads this file too: tables and look-ups cannot disagree. The invariant: two
//! n-grams are equal exactly if their symbols are.

use std::ops::Range;

use crate::symbol::SYMBOL_BITS;

/// Symbols of an n-gram that is a part of a word.
pub const LENGTHS: Range<usize> = 3..5;
/// Places of the table, a power of two: twice as many as n-grams.
pub const PLACES: usize = 8_192;
/// Groups of n-grams, a power of two: each has a number of its own that leads all of them to places where nothing else is.
pub const GROUPS: usize = 2_048;

/// The last symbols of what has been read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gram(pub u64);

impl Gram {
    /// One symbol further.
    #[inline(always)]
    #[must_use]
    pub const fn with(self, symbol: u8) -> Self {
        Self(self.0 << SYMBOL_BITS | symbol as u64)
    }

    /// The last `length` symbols alone.
    #[inline(always)]
    #[must_use]
    pub const fn last(self, length: usize) -> Self {
        let above = 1 << (SYMBOL_BITS as usize * length);
        // A bit above them says how many they are, as the first may be 0.
        Self(self.0 & (above - 1) | above)
    }

    /// Its group.
    #[inline(always)]
    #[must_use]
    pub const fn group(self) -> usize {
        above(spread(self.0), GROUPS)
    }

    /// Its place of the table, by the number of its group (Belazzougui, Botelho and Dietzfelbinger, "Hash, displace, and
    /// compress", 2009).
    #[inline(always)]
    #[must_use]
    pub const fn place(self, number: u16) -> usize {
        above(spread(spread(self.0) >> 16 ^ number as u64), PLACES)
    }
}

/// Fibonacci hashing (Knuth, volume 3, section 6.4).
const fn spread(number: u64) -> u64 {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// One of `places`, a power of two.
const fn above(mixed: u64, places: usize) -> usize {
    #[allow(clippy::cast_possible_truncation, reason = "below the number of places")]
    return (mixed >> (u64::BITS - places.trailing_zeros())) as usize;
}
