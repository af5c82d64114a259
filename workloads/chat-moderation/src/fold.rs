//! Readings of a text that somebody wrote to be misread: leet, letters apart, letters stretched, signs in between.
//!
//! Owns the table of leet and the reading of a text by it; judges nothing. It runs only for texts that look odd (see
//! `reading`). The invariants: there are at most seven ways to read a text, a reading has at most two symbols for a
//! byte, and every symbol keeps the bytes that it was made of.

use crate::homoglyph::{Reading, read};
use crate::normalise::{Placed, SEPARATOR, Sink};
use crate::symbol::{OTHER, SPACE, digit, is_letter};

/// So many letters that stand alone in a row are one word.
const ALONE_MIN: usize = 3;
/// A run of a letter from this length on is stretched, and then every run of its word is one letter.
const STRETCHED_MIN: usize = 3;
/// Characters of a word; a longer one is read in pieces.
const WORD_MAX: usize = 64;

/// What a reading takes ambiguous signs for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// `1` and `|`.
    one: u8,
    /// `*`, which may also stand for nothing.
    star: Option<u8>,
}

const KEYS: [Key; 7] = [
    Key { one: b'i', star: None },
    Key { one: b'l', star: None },
    Key { one: b'i', star: Some(b'u') },
    Key { one: b'i', star: Some(b'i') },
    Key { one: b'i', star: Some(b'o') },
    Key { one: b'i', star: Some(b'a') },
    Key { one: b'i', star: Some(b'e') },
];

/// A text as it is seen, whatever its signs are taken for. Kept between texts for its memory.
#[derive(Debug, Default)]
pub struct Glyphs(Vec<Glyph>);

impl Glyphs {
    /// Looks at another text.
    pub fn look(&mut self, text: &str) {
        self.0.clear();
        let mut at = 0;
        while let Some(c) = text[at..].chars().next() {
            let end = at + c.len_utf8();
            if c == '[' && text[at..].starts_with(SEPARATOR) {
                self.0.push(Glyph { seen: BLANK, start: at, end });
                at += SEPARATOR.len();
                continue;
            }
            let seen = match seen(c) {
                Reading::Space => Some(BLANK),
                Reading::Nothing => None,
                Reading::Letter => Some(FOREIGN),
                Reading::Ascii(ascii) => Some(ascii.to_ascii_lowercase()),
            };
            self.0.extend(seen.map(|seen| Glyph { seen, start: at, end }));
            at = end;
        }
    }

    /// The ways to read it that differ.
    pub fn keys(&self) -> impl Iterator<Item = Key> + use<> {
        let ones = self.0.iter().any(|glyph| matches!(glyph.seen, b'1' | b'|'));
        let stars = self.0.iter().any(|glyph| glyph.seen == b'*');
        KEYS.into_iter().filter(move |key| (key.one == b'i' || ones) && (key.star.is_none() || stars))
    }

    /// Tells `sink` the symbols as they are read by `key`. As in `normalise`, it begins behind a boundary and ends with one.
    pub fn fold(&self, key: Key, sink: &mut impl Sink) {
        let mut folding = Folding { key, sink, word: Vec::new(), alone: Vec::new() };
        for glyph in &self.0 {
            if glyph.seen == BLANK {
                folding.end_word();
            } else {
                folding.glyph(*glyph);
            }
        }
        folding.end_word();
        folding.end_alone();
    }
}

fn seen(c: char) -> Reading {
    match u8::try_from(c).ok().filter(u8::is_ascii) {
        Some(ascii) if ascii.is_ascii_whitespace() => Reading::Space,
        Some(ascii) if ascii.is_ascii_control() => Reading::Nothing,
        Some(ascii) => Reading::Ascii(ascii),
        None => read(c),
    }
}

/// A character as it is seen, in ASCII.
#[derive(Clone, Copy, Debug)]
struct Glyph {
    seen: u8,
    start: usize,
    end: usize,
}

/// A letter that none of ASCII's looks like.
const FOREIGN: u8 = 0x80;
/// What stands between words.
const BLANK: u8 = b' ';

struct Folding<'a, S> {
    key: Key,
    sink: &'a mut S,
    word: Vec<Glyph>,
    /// Letters that stood alone, right before this word.
    alone: Vec<Placed>,
}

impl<S: Sink> Folding<'_, S> {
    fn glyph(&mut self, glyph: Glyph) {
        if self.word.len() == WORD_MAX {
            self.end_word();
        }
        self.word.push(glyph);
    }

    /// Outer punctuation goes; if there is a letter in the word, signs are read as letters or dropped.
    fn end_word(&mut self) {
        let outer = |glyph: &Glyph| !glyph.seen.is_ascii_alphanumeric() && !matches!(glyph.seen, b'@' | b'$' | FOREIGN);
        while self.word.last().is_some_and(outer) {
            self.word.pop();
        }
        let from = self.word.iter().take_while(|glyph| outer(glyph)).count();
        let spelled = self.word.iter().any(|glyph| glyph.seen.is_ascii_alphabetic());
        let key = self.key;
        let symbols = self.word.drain(..).skip(from).filter_map(|glyph| {
            let symbol = symbol(glyph.seen, spelled, key)?;
            Some(Placed { symbol, start: glyph.start, end: glyph.end })
        });
        // The letter that stands alone is the usual exception; the word that does not is the rule.
        let before = self.alone.len();
        self.alone.extend(symbols);
        match &self.alone[before..] {
            [] => {}
            [one] if is_letter(one.symbol) && before < WORD_MAX => {}
            _ => {
                let word = self.alone.split_off(before);
                self.end_alone();
                tell(&word, self.sink);
            }
        }
    }

    /// Letters alone are one word from a number on.
    fn end_alone(&mut self) {
        let size = if self.alone.len() >= ALONE_MIN { self.alone.len() } else { 1 };
        self.alone.chunks(size).for_each(|word| tell(word, self.sink));
        self.alone.clear();
    }
}

/// What a sign is read as, in a word that has letters or has none.
fn symbol(seen: u8, spelled: bool, key: Key) -> Option<u8> {
    let letter = match seen {
        FOREIGN => return Some(OTHER),
        letter if letter.is_ascii_alphabetic() => letter,
        number if number.is_ascii_digit() && !spelled => return Some(digit(number)),
        b'0' => b'o',
        b'1' | b'|' => key.one,
        b'!' => b'i',
        b'3' => b'e',
        b'4' | b'@' => b'a',
        b'5' | b'$' => b's',
        b'6' | b'9' => b'g',
        b'7' | b'+' => b't',
        b'8' => b'b',
        b'2' => b'z',
        b'#' => b'h',
        b'*' => key.star?,
        _ => return None,
    };
    Some(letter - b'a')
}

/// Tells a word and the boundary behind it. In a stretched one every run is one symbol that covers its bytes.
fn tell(word: &[Placed], sink: &mut impl Sink) {
    let Some(last) = word.last() else { return };
    let stretched = word.chunk_by(|a, b| a.symbol == b.symbol).any(|run| run.len() >= STRETCHED_MIN);
    if stretched {
        for run in word.chunk_by(|a, b| a.symbol == b.symbol) {
            sink.take(run[0].symbol, run[0].start, run[run.len() - 1].end);
        }
    } else {
        word.iter().for_each(|placed| sink.take(placed.symbol, placed.start, placed.end));
    }
    sink.take(SPACE, last.end, last.end);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::symbol::pattern_of;

    fn readings(text: &str) -> Vec<Vec<Placed>> {
        let mut glyphs = Glyphs::default();
        glyphs.look(text);
        glyphs
            .keys()
            .map(|key| {
                let mut placed = Vec::new();
                glyphs.fold(key, &mut placed);
                placed
            })
            .collect()
    }

    fn written(reading: &[Placed]) -> String {
        reading.iter().map(|placed| char::from(pattern_of(placed.symbol))).collect()
    }

    #[test]
    fn disguises_come_off() {
        for (text, expect) in [
            ("1d10t", "idiot_"),
            ("f u c k you", "fuck_you_"),
            ("a b c", "abc_"),
            ("u r bad", "u_r_bad_"),
            ("f.u.c.k", "fuck_"),
            ("F_U-c*k", "fuck_"),
            ("fuuuuccckkk!!!", "fuck_"),
            ("you @$$", "you_ass_"),
            ("sh1t [SEPA] 4 u", "shit_9_u_"),
            ("(n00b)", "noob_"),
            ("20 3 100", "90_9_900_"),
            ("ｆ\u{200b}ｕ ｃ k", "fu_c_k_"),
            ("...", ""),
        ] {
            assert_eq!(written(&readings(text)[0]), expect, "{text}");
        }
        let all: Vec<_> = readings("f*ck s1ut").iter().map(|reading| written(reading)).collect();
        assert!(all.iter().any(|reading| reading.starts_with("fuck_")), "{all:?}");
        assert!(all.iter().any(|reading| reading.ends_with("slut_")), "{all:?}");
    }

    proptest! {
        #[test]
        fn any_text_has_few_readings_within_its_bytes(text in "(\\PC|[a-c0-2 ?.!@$*|]|\\[SEPA\\]|\u{200b}){0,150}") {
            let readings = readings(&text);
            prop_assert!((1..=KEYS.len()).contains(&readings.len()));
            for reading in &readings {
                prop_assert!(reading.len() <= 2 * text.len());
                let mut behind = 0;
                for placed in reading {
                    prop_assert!(behind <= placed.start && placed.start <= placed.end && placed.end <= text.len());
                    prop_assert!(text.is_char_boundary(placed.start) && text.is_char_boundary(placed.end));
                    behind = placed.end;
                }
            }
        }
    }
}
