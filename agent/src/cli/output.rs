//! What a command prints: tables or text for people, exactly one JSON document for scripts.
//!
//! The one place that writes to standard output. The invariant: with `--json` nothing but the document gets there.

use std::io::{self, Write};

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde_json::Value;

use super::error::CliError;
use super::terminal;

/// Clears a terminal (ECMA-48, as those below).
const CLEAR: &str = "\x1b[2J";
/// Goes to the top of a terminal.
const HOME: &str = "\x1b[H";
/// Clears the rest of a line.
const CLEAR_LINE: &str = "\x1b[K";
/// Clears all that is below.
const CLEAR_BELOW: &str = "\x1b[J";
/// What a table shows where nothing is known.
pub(crate) const UNKNOWN: &str = "-";

/// Prints `text` and a line end.
///
/// # Errors
/// Standard output is closed or full.
pub(crate) fn print(text: &str) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", text.trim_end()).and_then(|()| out.flush()).map_err(CliError::Output)
}

/// Prints `json` when it was asked for, otherwise what `text` makes of it.
///
/// # Errors
/// Standard output is closed or full.
pub(crate) fn print_either(as_json: bool, json: &Value, text: impl FnOnce(&Value) -> String) -> Result<(), CliError> {
    if as_json { print(&pretty(json)) } else { print(&text(json)) }
}

/// Prints a line for people to standard error, where it is lost if nobody reads it.
pub(crate) fn note(text: &str) {
    // A closed stderr is no reason to fail a command that works.
    drop(writeln!(io::stderr().lock(), "{text}"));
}

/// Prints a table, or several with text between them: in colours where the terminal takes them.
///
/// # Errors
/// Standard output is closed or full.
pub(crate) fn print_table(text: &str) -> Result<(), CliError> {
    if terminal::takes_colours() { print(&terminal::painted(text)) } else { print(text) }
}

/// Prints `json` when it was asked for, otherwise the table that `text` makes of it.
///
/// # Errors
/// Standard output is closed or full.
pub(crate) fn print_shown(as_json: bool, json: &Value, text: impl FnOnce(&Value) -> String) -> Result<(), CliError> {
    if as_json { print(&pretty(json)) } else { print_table(&text(json)) }
}

/// What is drawn again and again: in the place of what was there on a terminal, one block after the other elsewhere.
#[derive(Debug, Default)]
pub(crate) struct Screen {
    drawn: bool,
}

impl Screen {
    /// Draws `text`, as much of it as the terminal has room for.
    ///
    /// # Errors
    /// Standard output is closed or full.
    pub(crate) fn draw(&mut self, text: &str) -> Result<(), CliError> {
        let is_first = !std::mem::replace(&mut self.drawn, true);
        if !terminal::is_one() {
            return print(&format!("{}{text}", if is_first { "" } else { "\n" }));
        }
        // The last row stays free: a line end there would scroll the first one away.
        let room = usize::from(terminal::size().1).saturating_sub(1);
        let painted = if terminal::takes_colours() { terminal::painted(text) } else { text.to_owned() };
        let text: String = painted.lines().take(room).map(|line| format!("{line}{CLEAR_LINE}\n")).collect();
        let mut out = io::stdout().lock();
        // Over what is there, line by line: a screen that is cleared first flickers.
        let drawn = write!(out, "{}{HOME}{text}{CLEAR_BELOW}", if is_first { CLEAR } else { "" });
        drawn.and_then(|()| out.flush()).map_err(CliError::Output)
    }
}

/// JSON as people like to read it.
#[must_use]
pub(crate) fn pretty(json: &Value) -> String {
    serde_json::to_string_pretty(json).expect("a JSON value can be written as JSON")
}

/// An empty table with these column titles; `>` before one has the column's figures stand to the right. On a terminal, cells wrap
/// so that rows fit into it.
#[must_use]
pub(crate) fn table(titles: &[&str]) -> Table {
    let mut table = Table::new();
    let shown = titles.iter().map(|title| title.trim_start_matches('>').to_uppercase());
    table.load_style(presets::NOTHING).set_header(shown);
    if terminal::is_one() {
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(terminal::size().0);
    }
    for (column, title) in table.column_iter_mut().zip(titles) {
        if title.starts_with('>') {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// What lies at `pointer` (RFC 6901) as a cell: text without quotes, [`UNKNOWN`] for nothing.
#[must_use]
pub(crate) fn cell(json: &Value, pointer: &str) -> String {
    match json.pointer(pointer) {
        None | Some(Value::Null) => UNKNOWN.to_owned(),
        Some(Value::String(text)) => printable(text),
        Some(Value::Array(items)) if items.is_empty() => UNKNOWN.to_owned(),
        Some(Value::Array(items)) if items.iter().all(Value::is_string) => {
            printable(&items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", "))
        }
        Some(other) => other.to_string(),
    }
}

/// Text from elsewhere on one line and without control characters: another member's name must not move our cursor.
#[must_use]
pub(crate) fn printable(text: &str) -> String {
    let shown = |c: char| match c {
        '\n' | '\r' | '\t' => ' ',
        c if c.is_control() => '\u{fffd}',
        c => c,
    };
    text.chars().map(shown).collect()
}

/// A hash or an id short enough for a table.
#[must_use]
pub(crate) fn short(text: &str, chars_max: usize) -> String {
    text.chars().take(chars_max).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn cells_are_plain() {
        let json = json!({"a": {"b": "x"}, "n": 5, "l": ["p", "q"], "e": [], "z": null, "evil": "a\u{1b}[2Jb"});
        let check = |pointer: &str, expect: &str| assert_eq!(cell(&json, pointer), expect, "{pointer}");
        check("/a/b", "x");
        check("/n", "5");
        check("/l", "p, q");
        check("/e", "-");
        check("/z", "-");
        check("/none", "-");
        check("/evil", "a\u{fffd}[2Jb");
        assert_eq!(printable("two\nlines"), "two lines", "what is only broken into lines is no attack");
    }
}
