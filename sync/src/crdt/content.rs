//! The hash of live content: a sum over the items of an object, so that it changes by what changed.
//!
//! Covers elements, dots and values, and the totals of counters; never the clocks that hosts may prune at different times. Items
//! are salted with their key, so that sums over objects are sums over the whole state. It detects mistakes and damage; it is no
//! commitment against an adversary, who could search for colliding sums.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use xxhash_rust::xxh3::xxh3_128_with_seed;

use crate::key::Key;
use crate::planted::{self, Bug};

/// A sum of 128-bit item hashes, which wraps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentHash {
    // Two words and not one number of 128 bits, which would want 16 bytes of alignment in every object.
    high: u64,
    low: u64,
}

impl ContentHash {
    /// The sum over nothing.
    pub const ZERO: Self = Self { high: 0, low: 0 };

    /// The sum with another.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self::from_number(self.number().wrapping_add(other.number()))
    }

    /// The sum without another.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self::from_number(self.number().wrapping_sub(other.number()))
    }

    /// 64 bits of it, for comparisons that another hash backs.
    #[must_use]
    pub const fn word(self) -> u64 {
        self.low
    }

    const fn number(self) -> u128 {
        ((self.high as u128) << 64) | self.low as u128
    }

    const fn from_number(number: u128) -> Self {
        let bytes = number.to_be_bytes();
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = bytes;
        Self { high: u64::from_be_bytes([a, b, c, d, e, f, g, h]), low: u64::from_be_bytes([i, j, k, l, m, n, o, p]) }
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}{:016x}", self.high, self.low)
    }
}

impl Serialize for ContentHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serde_bytes::serialize(&self.number().to_be_bytes(), serializer)
    }
}

impl<'de> Deserialize<'de> for ContentHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes: serde_bytes::ByteArray<16> = Deserialize::deserialize(deserializer)?;
        Ok(Self::from_number(u128::from_be_bytes(bytes.into_array())))
    }
}

/// The running content of one object: its hash and the bytes that its items weigh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content {
    salt: u64,
    hash: ContentHash,
    bytes: u64,
}

/// What an item weighs beside its own bytes: a dot and the links that hold it.
const ITEM_OVERHEAD_BYTES: u64 = 64;

impl Content {
    /// No content yet, for the object named `key`.
    #[must_use]
    pub fn of(key: &Key) -> Self {
        Self { salt: key.position(), hash: ContentHash::ZERO, bytes: 0 }
    }

    /// [`Key::position`] of the object's key, which is the salt.
    #[must_use]
    pub const fn position(&self) -> u64 {
        self.salt
    }

    /// The sum over the items.
    #[must_use]
    pub const fn hash(&self) -> ContentHash {
        self.hash
    }

    /// About how many bytes the items occupy in memory.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn insert(&mut self, weight: usize, feed: impl FnOnce(&mut ItemBytes)) {
        self.hash = self.hash.plus(self.item(feed));
        self.bytes += weight as u64 + ITEM_OVERHEAD_BYTES;
    }

    pub(super) fn remove(&mut self, weight: usize, feed: impl FnOnce(&mut ItemBytes)) {
        if !planted::is(Bug::ContentNotTakenOut) {
            self.hash = self.hash.minus(self.item(feed));
        }
        self.bytes = self.bytes.saturating_sub(weight as u64 + ITEM_OVERHEAD_BYTES);
    }

    fn item(&self, feed: impl FnOnce(&mut ItemBytes)) -> ContentHash {
        let mut item = ItemBytes::default();
        feed(&mut item);
        ContentHash::from_number(xxh3_128_with_seed(item.bytes(), self.salt))
    }
}

/// Room for an item on the stack: a dot, a stamp, a name and a value of a hundred bytes.
const ITEM_INLINE_BYTES: usize = 232;

/// The bytes of one item, gathered for hashing at once: that is much faster than hashing piece by piece.
pub(super) struct ItemBytes {
    inline: [u8; ITEM_INLINE_BYTES],
    len: usize,
    /// Everything, once it does not fit inline any more.
    spilled: Vec<u8>,
}

impl Default for ItemBytes {
    fn default() -> Self {
        Self { inline: [0; ITEM_INLINE_BYTES], len: 0, spilled: Vec::new() }
    }
}

impl ItemBytes {
    /// Appends bytes. Inlined, so that what has a length known beforehand is a move or two.
    #[inline]
    pub(super) fn update(&mut self, bytes: &[u8]) {
        if self.spilled.is_empty() {
            if let Some(room) = self.inline.get_mut(self.len..self.len + bytes.len()) {
                room.copy_from_slice(bytes);
                self.len += bytes.len();
                return;
            }
            self.spilled.extend_from_slice(&self.inline[..self.len]);
        }
        self.spilled.extend_from_slice(bytes);
    }

    /// Appends the first `len` bytes of what has a fixed size: a copy of that size is cheaper than one that has to look.
    #[inline]
    pub(super) fn update_short<const SIZE: usize>(&mut self, bytes: &[u8; SIZE], len: usize) {
        match self.inline.get_mut(self.len..self.len + SIZE) {
            Some(room) if self.spilled.is_empty() => {
                room.copy_from_slice(bytes);
                self.len += len;
            }
            Some(_) | None => self.update(&bytes[..len]),
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        if self.spilled.is_empty() { &self.inline[..self.len] } else { &self.spilled }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_does_not_know_the_order_and_forgets_what_was_taken() {
        let of = |number| ContentHash::from_number(number);
        let (a, b) = (of(u128::MAX - 4), of(u128::from(u64::MAX) + 7));
        assert_eq!(a.plus(b), b.plus(a));
        assert_eq!(a.plus(b).minus(a), b);
        assert_eq!(a.plus(of(5)), ContentHash::ZERO);
        assert_eq!(of(255).to_string(), format!("{:032x}", 255));
    }

    #[test]
    fn an_item_is_its_bytes_however_many() {
        for pieces in [[3, 4, 5], [100, 132, 0], [100, 133, 1], [300, 1, 2], [0, 0, 500]] {
            let mut item = ItemBytes::default();
            pieces.iter().for_each(|piece| item.update(&vec![7; *piece]));
            assert_eq!(item.bytes(), vec![7; pieces.iter().sum()], "{pieces:?}");
        }
        for before in [0, 100, 210, 211, 212, 231, 232, 300] {
            let mut item = ItemBytes::default();
            item.update(&vec![7; before]);
            item.update_short(&[7; 21], 20);
            item.update_short(&[7; 21], 0);
            item.update(&[7]);
            assert_eq!(item.bytes(), vec![7; before + 21], "{before}");
        }
    }
}
