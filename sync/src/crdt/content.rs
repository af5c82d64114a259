//! The hash of live content: a sum over the items of an object, so that it changes by what changed.
//!
//! Covers elements, dots and values; never the clocks that hosts may prune at different times. Items are salted with their
//! key, so that sums over objects are sums over the whole state. It detects mistakes and damage; it is no commitment against
//! an adversary, who could search for colliding sums.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::key::Key;

/// A sum of 256-bit item hashes, in four lanes that wrap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ContentHash([u64; 4]);

impl ContentHash {
    /// The sum over nothing.
    pub const ZERO: Self = Self([0; 4]);

    /// The sum with another.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self(std::array::from_fn(|lane| self.0[lane].wrapping_add(other.0[lane])))
    }

    /// The sum without another.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self(std::array::from_fn(|lane| self.0[lane].wrapping_sub(other.0[lane])))
    }

    /// 64 bits of it, for comparisons that another hash backs.
    #[must_use]
    pub const fn word(self) -> u64 {
        self.0[0]
    }

    fn of(hash: &blake3::Hash) -> Self {
        let bytes = hash.as_bytes();
        Self(std::array::from_fn(|lane| {
            let mut word = [0; 8];
            word.copy_from_slice(&bytes[lane * 8..][..8]);
            u64::from_le_bytes(word)
        }))
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|lane| write!(f, "{:016x}", lane.swap_bytes()))
    }
}

/// The running content of one object: its hash and the bytes that its items weigh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content {
    salt: [u8; 32],
    hash: ContentHash,
    bytes: u64,
}

/// What an item weighs beside its own bytes: a dot and the links that hold it.
const ITEM_OVERHEAD_BYTES: u64 = 64;

impl Content {
    /// No content yet, for the object named `key`.
    #[must_use]
    pub fn of(key: &Key) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&[key.kind() as u8]);
        hasher.update(key.name().as_bytes());
        Self { salt: *hasher.finalize().as_bytes(), hash: ContentHash::default(), bytes: 0 }
    }

    /// [`Key::position`] of the object's key: the salt begins with it.
    #[must_use]
    pub fn position(&self) -> u64 {
        let mut position = [0; 8];
        position.copy_from_slice(&self.salt[..8]);
        u64::from_be_bytes(position)
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

    pub(super) fn insert(&mut self, weight: usize, feed: impl FnOnce(&mut blake3::Hasher)) {
        self.hash = self.hash.plus(self.item(feed));
        self.bytes += weight as u64 + ITEM_OVERHEAD_BYTES;
    }

    pub(super) fn remove(&mut self, weight: usize, feed: impl FnOnce(&mut blake3::Hasher)) {
        self.hash = self.hash.minus(self.item(feed));
        self.bytes = self.bytes.saturating_sub(weight as u64 + ITEM_OVERHEAD_BYTES);
    }

    fn item(&self, feed: impl FnOnce(&mut blake3::Hasher)) -> ContentHash {
        let mut hasher = blake3::Hasher::new_keyed(&self.salt);
        feed(&mut hasher);
        ContentHash::of(&hasher.finalize())
    }
}
