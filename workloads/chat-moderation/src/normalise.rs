//! From a text to symbols, in one pass over its bytes.
//!
//! Owns the reading that everything is judged by: case and accents go, runs of three or more become two, what stands
//! between words becomes one boundary. Undoes no leet and joins nothing (see `fold`), but says whether a text looks as if
//! it needed that. The invariant: symbols come in order with the bytes that they were made of, a boundary comes first
//! and last, and there are at most twice as many symbols as bytes, and two.

use std::ops::Range;

use crate::homoglyph::{Reading, read};
use crate::symbol::{
    CLASS_BRACKET, CLASS_DIGIT, CLASS_LEET, CLASS_QUESTION, CLASS_SKIP, CLASSES, OTHER, QUESTION, SPACE, SYMBOLS,
    digit, is_letter,
};

/// What joins messages that were sent in a row; a boundary, like white space.
pub const SEPARATOR: &str = "[SEPA]";

/// Who takes the symbols. The first boundary is not told: everything begins behind one.
pub trait Sink {
    /// The next symbol, and where in the text it comes from (in bytes).
    fn take(&mut self, symbol: u8, start: usize, end: usize);
}

/// Tells `sink` the symbols of `part` of `text`, which stands between blanks. True if folding might find more in it: digits
/// or signs inside of words, runs of a letter.
pub fn normalise(text: &str, part: Range<usize>, sink: &mut impl Sink) -> bool {
    let Range { start: mut at, end } = part;
    let text = &text[..end];
    let bytes = text.as_bytes();
    let mut stream = Stream { sink, last: SPACE, before: SPACE, odd: false };
    while at < end {
        let class = CLASSES[usize::from(bytes[at])];
        if usize::from(class) < SYMBOLS {
            stream.push(class, at, at + 1);
            at += 1;
        } else {
            at = special(text, at, class, &mut stream);
        }
    }
    stream.push(SPACE, bytes.len(), bytes.len());
    stream.odd
}

/// The stream of symbols behind the collapse of runs.
struct Stream<'a, S> {
    sink: &'a mut S,
    last: u8,
    before: u8,
    odd: bool,
}

impl<S: Sink> Stream<'_, S> {
    #[inline(always)]
    fn push(&mut self, symbol: u8, start: usize, end: usize) {
        if symbol == self.last && (symbol == SPACE || symbol == self.before) {
            self.odd |= symbol != SPACE;
            return;
        }
        self.sink.take(symbol, start, end);
        (self.before, self.last) = (self.last, symbol);
    }
}

/// What is neither an ASCII letter nor plainly a boundary. Returns where to go on.
#[inline(always)]
fn special<S: Sink>(text: &str, at: usize, class: u8, stream: &mut Stream<'_, S>) -> usize {
    let bytes = text.as_bytes();
    let after_letter = is_letter(stream.last);
    let before_letter = bytes.get(at + 1).is_some_and(|next| next.is_ascii_alphabetic() || !next.is_ascii());
    match class {
        CLASS_DIGIT => {
            stream.push(digit(bytes[at]), at, at + 1);
            stream.odd |= after_letter | before_letter;
        }
        CLASS_LEET => {
            // "a$$" and "@ss" have a letter on one side only; "end." and "-20" are no words in disguise.
            let sign_is_letter = matches!(bytes[at], b'@' | b'$');
            stream.push(SPACE, at, at + 1);
            stream.odd |= if sign_is_letter { after_letter | before_letter } else { after_letter & before_letter };
        }
        CLASS_QUESTION => {
            stream.push(SPACE, at, at);
            if stream.before != QUESTION {
                stream.push(QUESTION, at, at + 1);
            }
            stream.push(SPACE, at + 1, at + 1);
        }
        CLASS_BRACKET => {
            stream.push(SPACE, at, at + 1);
            if bytes[at..].starts_with(SEPARATOR.as_bytes()) {
                return at + SEPARATOR.len();
            }
        }
        CLASS_SKIP => {}
        _ => return wide(text, at, stream),
    }
    at + 1
}

/// A character beyond ASCII.
#[inline(always)]
fn wide<S: Sink>(text: &str, at: usize, stream: &mut Stream<'_, S>) -> usize {
    let c = text[at..].chars().next().expect("a byte above 0x7f, met in order, begins a character");
    let end = at + c.len_utf8();
    let symbol = match read(c) {
        Reading::Nothing => return end,
        Reading::Letter => OTHER,
        Reading::Space => SPACE,
        Reading::Ascii(ascii) => match CLASSES[usize::from(ascii)] {
            class if usize::from(class) < SYMBOLS => class,
            class => {
                stream.odd = true;
                if class == CLASS_DIGIT { digit(ascii) } else { SPACE }
            }
        },
    };
    stream.push(symbol, at, end);
    end
}

/// One symbol and the bytes of the text that it was made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The symbol.
    pub symbol: u8,
    /// Its first byte.
    pub start: usize,
    /// Behind its last byte.
    pub end: usize,
}

impl Sink for Vec<Placed> {
    fn take(&mut self, symbol: u8, start: usize, end: usize) {
        self.push(Placed { symbol, start, end });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::symbol::pattern_of;

    fn symbols(text: &str) -> (String, bool) {
        let mut placed = Vec::new();
        let odd = normalise(text, 0..text.len(), &mut placed);
        (placed.iter().map(|p| char::from(pattern_of(p.symbol))).collect(), odd)
    }

    #[test]
    fn spelling_that_does_not_matter_goes() {
        for (text, expect, odd) in [
            ("Hello  World", "hello_world_", false),
            ("noooooob", "noob_", true),
            ("don't", "dont_", false),
            ("a[SEPA]b [SEPA] c [x]", "a_b_c_x_", false),
            ("ez???", "ez_?_", false),
            ("g ?", "g_?_", false),
            ("w8 for 4", "w8_for_9_", true),
            ("-20 hp.", "90_hp_", false),
            ("f u c k", "f_u_c_k_", false),
            ("f.u", "f_u_", true),
            ("a$$", "a_", true),
            ("ｉｄｉｏｔ\u{200b}", "idiot_", false),
            ("жж d", "~~_d_", false),
            ("", "", false),
        ] {
            assert_eq!(symbols(text), (expect.to_owned(), odd), "{text}");
        }
    }

    proptest! {
        #[test]
        fn symbols_come_in_order_and_are_bounded(text in "(\\PC|[a-c0-2 ?.!@$\\[\\]]|\\[SEPA\\]|\u{200b}|\u{301}){0,60}") {
            let mut placed = Vec::new();
            normalise(&text, 0..text.len(), &mut placed);
            prop_assert!(placed.len() <= 2 * text.len() + 2);
            let mut behind = 0;
            for Placed { symbol, start, end } in placed {
                prop_assert!(usize::from(symbol) < SYMBOLS && behind <= start && start <= end && end <= text.len());
                prop_assert!(text.is_char_boundary(start) && text.is_char_boundary(end));
                behind = end;
            }
        }
    }
}
