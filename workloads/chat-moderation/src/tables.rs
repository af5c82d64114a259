//! Tables that the build script wrote, as arrays.
//!
//! Owns the reading of their bytes, all of it while compiling. The invariant: numbers are little-endian, as they were written.
#![allow(long_running_const_eval, reason = "a hundred thousand numbers take the compiler a moment")]

/// Numbers of 16 bits.
pub(crate) const fn halves<const N: usize>(bytes: &[u8]) -> [u16; N] {
    let mut halves = [0; N];
    let mut at = 0;
    while at < N {
        halves[at] = bytes[2 * at] as u16 | (bytes[2 * at + 1] as u16) << 8;
        at += 1;
    }
    halves
}

/// Rows of numbers of 64 bits.
pub(crate) const fn rows<const WIDTH: usize, const N: usize>(bytes: &[u8]) -> [[u64; WIDTH]; N] {
    let mut rows = [[0; WIDTH]; N];
    let mut at = 0;
    while at < bytes.len() {
        let number = at / 8;
        rows[number / WIDTH][number % WIDTH] |= (bytes[at] as u64) << (8 * (at % 8));
        at += 1;
    }
    rows
}
