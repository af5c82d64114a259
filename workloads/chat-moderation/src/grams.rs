//! The model's n-grams: what each weighs.
//!
//! Owns the look-up; the build script fills the table (see `build/grams.rs`). Looked up one by one and not walked: no look-up waits
//! for another, and it is over after one place. The invariant: an n-gram that is not in the model
//! weighs nothing.

use crate::gram::{GROUPS, Gram, PLACES};
use crate::tables::{halves, rows};

static TABLE: [[u64; 2]; PLACES] = rows(include_bytes!(concat!(env!("OUT_DIR"), "/grams.bin")));
static NUMBERS: [u16; GROUPS] = halves(include_bytes!(concat!(env!("OUT_DIR"), "/groups.bin")));

/// The weights of `gram`, in lanes.
#[inline(always)]
#[must_use]
pub fn weight(gram: Gram) -> i64 {
    let [there, lanes] = TABLE[gram.place(NUMBERS[gram.group()])];
    if there == gram.0 { lanes.cast_signed() } else { 0 }
}
