//! What a word is looked up by: its characters, as two numbers.
//!
//! Owns the key and its hash. The build script reads this file too: tables and look-ups cannot disagree. The invariant: two
//! keys are equal exactly if the words are.

/// The longest word that has a key, in bytes.
pub const KEY_BYTES_MAX: usize = 16;
/// Places of the vocabulary, a power of two: twice as many as words, so that most lie where they are looked for first.
pub const PLACES: usize = 8_192;

/// Up to 16 bytes of a pattern (see `symbol::of_pattern`), the first one lowest; the rest is zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Key {
    /// The first eight.
    pub low: u64,
    /// The others.
    pub high: u64,
}

impl Key {
    /// The key of a pattern, byte by byte; `None` if it is too long.
    #[must_use]
    pub fn of(pattern: impl ExactSizeIterator<Item = u8>) -> Option<Self> {
        if pattern.len() > KEY_BYTES_MAX {
            return None;
        }
        Some(pattern.enumerate().fold(Self::default(), |Self { low, high }, (at, byte)| match at {
            0..8 => Self { low: low | u64::from(byte) << (8 * at), high },
            _ => Self { low, high: high | u64::from(byte) << (8 * at - 64) },
        }))
    }

    /// A number that hardly any other key has, and none of another word of up to eight bytes.
    #[inline(always)]
    #[must_use]
    pub fn identity(self) -> u64 {
        // An odd number near 2^64 divided by the golden ratio (Knuth, volume 3, section 6.4).
        (self.low ^ self.high.rotate_left(29)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    /// The place of the vocabulary to begin at.
    #[inline(always)]
    #[must_use]
    pub fn place(self) -> usize {
        #[allow(clippy::cast_possible_truncation, reason = "below the number of places")]
        return (self.identity() >> (u64::BITS - PLACES.trailing_zeros())) as usize;
    }
}
