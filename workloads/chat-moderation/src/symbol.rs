//! The alphabet of the rules: what is left of a text when spelling no longer matters.
//!
//! Owns the 32 symbols and the class of every byte. Knows nothing of Unicode beyond ASCII (see `homoglyph`) and nothing
//! of order (see `normalise`). The build script reads this file too: patterns and texts cannot disagree. The invariant:
//! a symbol fits five bits.

/// How many symbols there are; the row length of the automaton.
pub const SYMBOLS: usize = 32;
/// Bits of a symbol.
pub const SYMBOL_BITS: u32 = 5;
/// The boundary between two words, whatever it was made of.
pub const SPACE: u8 = 26;
/// A question mark: "ez?" taunts, "g?" asks.
pub const QUESTION: u8 = 27;
/// The digit 8, which writes "w8" and "gr8".
pub const EIGHT: u8 = 28;
/// The digit 0, which counts what somebody has not done.
pub const ZERO: u8 = 29;
/// Any other digit.
pub const DIGIT: u8 = 30;
/// A letter that looks like none of the Latin ones.
pub const OTHER: u8 = 31;

/// A digit: its symbol is found by [`digit`].
pub const CLASS_DIGIT: u8 = 32;
/// Punctuation that may stand for a letter or split a word; a boundary unless folding finds otherwise.
pub const CLASS_LEET: u8 = 33;
/// A question mark.
pub const CLASS_QUESTION: u8 = 34;
/// An opening bracket: punctuation, or the beginning of `[SEPA]`.
pub const CLASS_BRACKET: u8 = 35;
/// A byte of a character beyond ASCII.
pub const CLASS_WIDE: u8 = 36;
/// Dropped: apostrophes ("don't" is "dont") and control characters other than white space.
pub const CLASS_SKIP: u8 = 37;

/// The class of each byte: below [`SYMBOLS`] a letter's or the boundary's symbol, otherwise one of the `CLASS_` kinds.
pub static CLASSES: [u8; 256] = classes();

/// The symbol of an ASCII digit.
#[must_use]
pub const fn digit(byte: u8) -> u8 {
    match byte {
        b'8' => EIGHT,
        b'0' => ZERO,
        _ => DIGIT,
    }
}

/// Whether `symbol` is a letter, Latin or other.
#[must_use]
pub const fn is_letter(symbol: u8) -> bool {
    symbol < SPACE || symbol == OTHER
}

/// The symbol of a character of a pattern: a lower-case letter, `_` or a blank for a boundary, `?`, `0`, `8`, `9` for any
/// other digit, `~` for another letter. `None` for anything else.
#[must_use]
pub const fn of_pattern(byte: u8) -> Option<u8> {
    match byte {
        b'a'..=b'z' => Some(byte - b'a'),
        b'_' | b' ' => Some(SPACE),
        b'?' => Some(QUESTION),
        b'0'..=b'9' => Some(digit(byte)),
        b'~' => Some(OTHER),
        _ => None,
    }
}

/// The inverse of [`of_pattern`].
#[must_use]
pub const fn pattern_of(symbol: u8) -> u8 {
    match symbol {
        0..SPACE => b'a' + symbol,
        SPACE => b'_',
        QUESTION => b'?',
        EIGHT => b'8',
        ZERO => b'0',
        DIGIT => b'9',
        _ => b'~',
    }
}

const fn classes() -> [u8; 256] {
    let mut classes = [SPACE; 256];
    let mut byte = 0;
    loop {
        classes[byte as usize] = class(byte);
        if byte == u8::MAX {
            break;
        }
        byte += 1;
    }
    classes
}

const fn class(byte: u8) -> u8 {
    match byte {
        b'a'..=b'z' => byte - b'a',
        b'A'..=b'Z' => byte - b'A',
        b'0'..=b'9' => CLASS_DIGIT,
        b'@' | b'$' | b'!' | b'|' | b'*' | b'+' | b'.' | b'-' | b'_' | b'#' => CLASS_LEET,
        b'?' => CLASS_QUESTION,
        b'[' => CLASS_BRACKET,
        0x80.. => CLASS_WIDE,
        b'\'' | b'`' | 0..=8 | 0x0e..=0x1f | 0x7f => CLASS_SKIP,
        _ => SPACE,
    }
}
