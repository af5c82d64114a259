//! A text as words of eight bytes: where its blanks are, and what stands between them.
//!
//! Owns the arithmetic on eight bytes at a time (Warren, "Hacker's Delight", 6-1); knows no letters. The invariant: what is
//! read lies within the text, and looks as if a blank stood behind it.

use crate::key::Key;

const SIZE: usize = size_of::<u64>();
/// A blank in each byte.
const BLANKS: u64 = 0x2020_2020_2020_2020;
/// What makes capital letters small, and letters of nothing else.
const SMALL: u64 = 0x2020_2020_2020_2020;
/// The highest bit of each byte.
const HIGHEST: u64 = 0x8080_8080_8080_8080;

/// A text to be cut at its blanks.
pub struct Windows<'a> {
    bytes: &'a [u8],
    /// Its last bytes, the last one highest.
    last: u64,
}

/// What stands between two blanks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// Behind its last byte.
    pub end: usize,
    /// Its bytes, capital letters made small; `None` for a long one. Whether they are letters is for others to say.
    pub key: Option<Key>,
}

impl<'a> Windows<'a> {
    /// Of a text.
    #[inline(always)]
    #[must_use]
    pub fn of(bytes: &'a [u8]) -> Self {
        let last = match (bytes.last_chunk::<8>(), bytes.first_chunk::<4>(), bytes.last_chunk::<4>(), bytes) {
            (Some(last), ..) => u64::from_le_bytes(*last),
            (None, Some(first), Some(last), _) => {
                let first = u64::from(u32::from_le_bytes(*first)) << (8 * (SIZE - bytes.len()));
                first | u64::from(u32::from_le_bytes(*last)) << 32
            }
            (.., [a]) => u64::from(*a) << 56,
            (.., [a, b]) => u64::from(*a) << 48 | u64::from(*b) << 56,
            (.., [a, b, c]) => u64::from(*a) << 40 | u64::from(*b) << 48 | u64::from(*c) << 56,
            _ => 0,
        };
        Self { bytes, last }
    }

    /// Eight bytes from `at` on, the first one lowest; blanks behind the text.
    #[inline(always)]
    fn window(&self, at: usize) -> u64 {
        match self.bytes.get(at..).map(|rest| (rest.first_chunk::<8>(), rest.len())) {
            Some((Some(chunk), _)) => u64::from_le_bytes(*chunk),
            None | Some((None, 0)) => BLANKS,
            Some((None, left)) => self.last >> (8 * (SIZE - left)) | BLANKS << (8 * left),
        }
    }

    /// What stands from `at` to the next blank, which may be nothing; `None` at the end of the text.
    #[inline(always)]
    #[must_use]
    pub fn token(&self, at: usize) -> Option<Token> {
        if at >= self.bytes.len() {
            return None;
        }
        let low = self.window(at);
        let ends = blanks(low);
        if ends != 0 {
            let key = Key { low: before(low, ends), high: 0 };
            return Some(Token { end: at + first(ends), key: Some(key) });
        }
        let high = self.window(at + SIZE);
        let ends = blanks(high);
        if ends != 0 {
            let key = Key { low: low | SMALL, high: before(high, ends) };
            return Some(Token { end: at + SIZE + first(ends), key: Some(key) });
        }
        let rest = &self.bytes[(at + 2 * SIZE).min(self.bytes.len())..];
        let length = rest.iter().position(|byte| *byte == b' ').unwrap_or(rest.len());
        Some(Token { end: (at + 2 * SIZE + length).min(self.bytes.len()), key: None })
    }
}

/// The highest bit of each byte that is a blank.
#[inline(always)]
fn blanks(bytes: u64) -> u64 {
    let others = bytes ^ BLANKS;
    !(((others & !HIGHEST) + !HIGHEST) | others) & HIGHEST
}

/// The number of the first byte that is marked.
#[inline(always)]
fn first(marks: u64) -> usize {
    (marks.trailing_zeros() / 8) as usize
}

/// The bytes before the first one that is marked, small.
#[inline(always)]
fn before(bytes: u64, marks: u64) -> u64 {
    let lowest = (marks & marks.wrapping_neg()) >> 7;
    (bytes | SMALL) & (lowest - 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn tokens_are_what_stands_between_blanks(text in "([a-zA-Z]|\\PC|  ?){0,40}") {
            let windows = Windows::of(text.as_bytes());
            let (mut at, mut found) = (0, Vec::new());
            while let Some(token) = windows.token(at) {
                let bytes = &text.as_bytes()[at..token.end];
                let small = Key::of(bytes.iter().map(|byte| byte | 0x20));
                prop_assert!(token.key == small || token.key.is_none() && bytes.len() >= 16, "{:?}", bytes);
                found.push(bytes);
                at = token.end + 1;
            }
            let mut expect: Vec<&[u8]> = text.as_bytes().split(|byte| *byte == b' ').collect();
            // Nothing stands behind the last blank.
            expect.pop_if(|last| last.is_empty());
            prop_assert_eq!(found, expect);
        }
    }
}
