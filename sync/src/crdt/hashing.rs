//! How tables of members and of keys are hashed: fast, and by a seed.
//!
//! Names and members are chosen by players and guests. Whoever knew the seed could choose them so that they collide, and every
//! access would cost the size of the table; so the seed is an argument, which an agent draws at random. Nothing that leaves a
//! table depends on it: what is read in order is sorted first.

use std::hash::{BuildHasher, Hasher};

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Makes the hashers of one table.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seeded(pub u64);

/// Folds what it is given into one word, piece by piece: the hash of the pieces before is the seed of the next.
#[derive(Clone, Copy, Debug)]
pub struct SeededHasher(u64);

impl BuildHasher for Seeded {
    type Hasher = SeededHasher;

    fn build_hasher(&self) -> SeededHasher {
        SeededHasher(self.0)
    }
}

impl Hasher for SeededHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64_with_seed(bytes, self.0);
    }

    /// What ends a text, and types: they only have to tell apart what is otherwise the same.
    fn write_u8(&mut self, byte: u8) {
        self.0 = self.0.rotate_left(8) ^ u64::from(byte);
    }
}
