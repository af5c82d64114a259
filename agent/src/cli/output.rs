//! What a command prints: tables or text for people, exactly one JSON document for scripts.
//!
//! The one place that writes to standard output. The invariant: with `--json` nothing but the document gets there.

use std::io::{self, Write};
use std::time::SystemTime;

use serde_json::Value;

use super::error::CliError;
use super::terminal;
pub(crate) use crate::text::{moves, printable};

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
    /// Draws `text`, as much of it as the terminal has room for; on a terminal below a row with `title` and the time.
    ///
    /// # Errors
    /// Standard output is closed or full.
    pub(crate) fn draw(&mut self, title: &str, now: SystemTime, text: &str) -> Result<(), CliError> {
        let is_first = !std::mem::replace(&mut self.drawn, true);
        if !terminal::is_one() {
            return print(&format!("{}{text}", if is_first { "" } else { "\n" }));
        }
        let (columns, rows) = terminal::size();
        let title = title_row(title, now, columns.into());
        // Two rows for the title, and the last stays free: a line end there would scroll the first one away.
        let text = fitting(text, columns.into(), usize::from(rows).saturating_sub(3));
        let text = if terminal::takes_colours() { terminal::painted(&text) } else { text };
        let text: String = text.lines().map(|line| format!("{line}{CLEAR_LINE}\n")).collect();
        let mut out = io::stdout().lock();
        // Over what is there, line by line: a screen that is cleared first flickers.
        let clear = if is_first { CLEAR } else { "" };
        let drawn = write!(out, "{clear}{HOME}{title}{CLEAR_LINE}\n{CLEAR_LINE}\n{text}{CLEAR_BELOW}");
        drawn.and_then(|()| out.flush()).map_err(CliError::Output)
    }
}

/// `title` and the time of day, in UTC as all times are here, at the two ends of a row.
fn title_row(title: &str, now: SystemTime, columns: usize) -> String {
    let time = humantime::format_rfc3339_seconds(now).to_string();
    let room = columns.saturating_sub(time.len() + 1);
    let title = if title.chars().count() <= room {
        title.to_owned()
    } else {
        title.chars().take(room.saturating_sub(1)).chain(['…']).collect()
    };
    format!("{title:room$} {time}").trim_start().chars().take(columns).collect()
}

/// The first lines of `text` that take no more than `rows` rows of a terminal, which goes on in the next row where a line is too long.
fn fitting(text: &str, columns: usize, rows: usize) -> String {
    let mut left = rows;
    let fits = |line: &&str| {
        let taken = line.trim_end().chars().count().div_ceil(columns.max(1)).max(1);
        left.checked_sub(taken).is_some_and(|rest| {
            left = rest;
            true
        })
    };
    text.lines().take_while(fits).map(|line| format!("{}\n", line.trim_end())).collect()
}

/// JSON as people like to read it.
#[must_use]
pub(crate) fn pretty(json: &Value) -> String {
    serde_json::to_string_pretty(json).expect("a JSON value can be written as JSON")
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

/// A hash or an id short enough for a table.
#[must_use]
pub(crate) fn short(text: &str, chars_max: usize) -> String {
    text.chars().take(chars_max).collect()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use serde_json::json;

    use super::*;

    #[test]
    fn a_picture_has_a_title_with_the_time_and_no_row_too_many() {
        let now = UNIX_EPOCH + Duration::from_secs(1_764_507_600);
        let time = humantime::format_rfc3339_seconds(now).to_string();
        let row = title_row("nodes at unix:/run/selvedge/api.sock, every 1 s", now, 80);
        assert!(row.len() == 80 && row.starts_with("nodes at unix:") && row.ends_with(&format!(" {time}")), "{row:?}");
        let narrow = title_row("nodes at unix:/run/selvedge/api.sock, every 1 s", now, 40);
        assert_eq!(narrow, format!("nodes at unix:/run… {time}"));
        assert_eq!(title_row("nodes", now, 10).chars().count(), 10);
        assert_eq!(fitting("a\n0123456789\nb  \nc", 5, 4), "a\n0123456789\nb\n");
        assert_eq!(fitting("a\n0123456789\nb", 5, 2), "a\n", "not half of a line");
    }

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
        assert_eq!(printable("a\u{202e}b\u{2066}"), "a\u{fffd}b\u{fffd}", "nobody turns what stands beside a name");
    }
}
