//! What a command prints: tables or text for people, exactly one JSON document for scripts.
//!
//! The one place that writes to standard output. The invariant: with `--json` nothing but the document gets there.

use std::io::{self, IsTerminal, Write};

use comfy_table::{Table, presets};
use serde_json::Value;

use super::error::CliError;

/// Clears a terminal and goes to its top.
const CLEAR: &str = "\x1b[H\x1b[2J";
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

/// Replaces what a terminal shows by `text`; elsewhere, appends it.
///
/// # Errors
/// Standard output is closed or full.
pub(crate) fn redraw(text: &str) -> Result<(), CliError> {
    if io::stdout().is_terminal() { print(&format!("{CLEAR}{text}")) } else { print(&format!("{text}\n\n")) }
}

/// JSON as people like to read it.
#[must_use]
pub(crate) fn pretty(json: &Value) -> String {
    serde_json::to_string_pretty(json).expect("a JSON value can be written as JSON")
}

/// An empty table with these column titles.
#[must_use]
pub(crate) fn table(titles: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(titles.iter().map(|title| title.to_uppercase()));
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

/// Text from elsewhere without control characters: another member's name must not move our cursor.
#[must_use]
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
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
    }
}
