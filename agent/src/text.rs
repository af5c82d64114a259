//! Text from elsewhere, made fit for one line: of a terminal, of a log, of a message in which a line end means something.
//!
//! Owns what becomes of characters that are none, and where a text that is too long is cut. The invariants: what comes out has no control
//! character, a line end being one, and is no longer than was asked for.

/// What stands where the rest was left out.
const CUT: char = '…';

/// The text on one line and without what moves things: another member's name must not move our cursor, nor what stands beside it.
#[must_use]
pub(crate) fn printable(text: &str) -> String {
    let shown = |c: char| match c {
        '\n' | '\r' | '\t' => ' ',
        c if moves(c) => char::REPLACEMENT_CHARACTER,
        c => c,
    };
    text.chars().map(shown).collect()
}

/// Whether a terminal does something else with this character than show it: a control, a line's end, or what turns the direction of
/// text (Unicode Standard Annex 9, explicit directional formatting).
#[must_use]
pub(crate) fn moves(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{61c}')
}

/// The text as [`printable`] has it, in at most `bytes_max` bytes, which are at least the three of the sign that something was left out.
#[must_use]
pub(crate) fn line(text: &str, bytes_max: usize) -> String {
    // Nothing that is printed becomes shorter, so what lies behind the bound need not be looked at.
    let looked_at = &text[..text.floor_char_boundary(bytes_max.saturating_add(1))];
    let mut line = printable(looked_at);
    if line.len() > bytes_max || looked_at.len() < text.len() {
        line.truncate(line.floor_char_boundary(bytes_max - CUT.len_utf8()));
        line.push(CUT);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_and_fits() {
        let check = |text: &str, bytes_max, expect: &str| assert_eq!(line(text, bytes_max), expect, "{text:?}");
        check("two\nlines", 9, "two lines");
        check("a\u{1b}[2Jb\u{85}", 20, "a\u{fffd}[2Jb\u{fffd}");
        check("ten bytes.", 10, "ten bytes.");
        check("ten bytes, and some", 10, "ten byt…");
        check("äöüäöü", 12, "äöüäöü");
        check("äöüäöüä", 12, "äöüä…");
        check("äöüäöüäöü", 11, "äöüä…");
        check("\0\0\0\0", 9, "\u{fffd}\u{fffd}…");
        check("", 3, "");
    }
}
