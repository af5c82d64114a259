//! Tables that fit: into the width of the terminal by leaving out what is least asked for, and elsewhere whole.
//!
//! Owns which columns give way. The invariant: no word is broken while there is a column left that may go, and what was left out is named.

use std::fmt;

use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Row, Table, presets};

use super::terminal;

/// Characters that a column of sentences has at least, before other columns give way to it.
const WRAPPED_CHARS_MIN: usize = 16;
/// Blanks around each cell.
const PADDING_CHARS: usize = 2;

/// A table under way.
pub(crate) struct Rows {
    table: Table,
    columns: Vec<Column>,
}

#[derive(Clone)]
struct Column {
    title: String,
    is_figure: bool,
    wraps: bool,
    may_go: bool,
}

/// An empty table with these column titles. Marks before one say what the column is: `>` has its figures stand to the right, `~` lets its
/// cells take several lines on a narrow terminal, `?` has the whole column left out there, the last of them first.
#[must_use]
pub(crate) fn table(titles: &[&str]) -> Rows {
    let column = |title: &&str| {
        let (name, marks) = (title.trim_start_matches(['>', '~', '?']), |mark: char| {
            title.chars().take_while(|c| ['>', '~', '?'].contains(c)).any(|c| c == mark)
        });
        Column { title: name.to_uppercase(), is_figure: marks('>'), wraps: marks('~'), may_go: marks('?') }
    };
    let columns: Vec<Column> = titles.iter().map(column).collect();
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(columns.iter().map(|column| &column.title));
    for (shown, column) in table.column_iter_mut().zip(&columns) {
        if column.is_figure {
            shown.set_cell_alignment(CellAlignment::Right);
        }
    }
    Rows { table, columns }
}

impl Rows {
    /// Adds a row with a cell for each title.
    pub(crate) fn add_row(&mut self, row: impl Into<Row>) {
        self.table.add_row(row);
    }

    /// The table as it fits into so many columns of a terminal.
    fn fitting(&self, room: usize) -> String {
        let mut table = self.table.clone();
        let widths: Vec<usize> = table.column_max_content_widths().into_iter().map(usize::from).collect();
        let least = |at: usize| {
            let width = if self.columns[at].wraps { widths[at].min(WRAPPED_CHARS_MIN) } else { widths[at] };
            width + PADDING_CHARS
        };
        let mut shown: Vec<usize> = (0..self.columns.len()).collect();
        for at in (0..self.columns.len()).rev().filter(|at| self.columns[*at].may_go) {
            if shown.iter().map(|at| least(*at)).sum::<usize>() > room {
                shown.retain(|other| *other != at);
            }
        }
        let fits = shown.iter().map(|at| least(*at)).sum::<usize>() <= room;
        for (at, column) in table.column_iter_mut().enumerate() {
            if !shown.contains(&at) {
                column.set_constraint(ColumnConstraint::Hidden);
            } else if fits && !self.columns[at].wraps {
                column.set_constraint(ColumnConstraint::ContentWidth);
            }
        }
        let room = u16::try_from(room).unwrap_or(u16::MAX);
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(room);
        let gone = self.columns.iter().enumerate().filter(|(at, _)| !shown.contains(at));
        let gone: Vec<String> = gone.map(|(_, column)| column.title.to_lowercase()).collect();
        let note = if gone.is_empty() { String::new() } else { format!("\n (no room for {})", gone.join(", ")) };
        format!("{table}{note}")
    }
}

impl fmt::Display for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if terminal::is_one() {
            f.write_str(&self.fitting(terminal::size().0.into()))
        } else {
            fmt::Display::fmt(&self.table, f)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_give_way_from_the_last_on_and_words_stay_whole() {
        let mut rows = table(&["name", "?id", ">load", "~note", "?>free", "?release"]);
        rows.add_row(["edge-1", "NW35fRo3", "100 %", "compiling a component of some size", "20.3 GiB", "0.1.0"]);
        let lines = |room: usize| rows.fitting(room).lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>();
        assert_eq!(
            lines(100),
            [
                " NAME    ID         LOAD  NOTE                                    FREE  RELEASE",
                " edge-1  NW35fRo3  100 %  compiling a component of some size  20.3 GiB  0.1.0"
            ]
        );
        let narrow = lines(50);
        assert!(narrow.iter().all(|line| line.chars().count() <= 50), "{narrow:#?}");
        assert!(narrow[0].contains("ID") && !narrow[0].contains("FREE"), "{narrow:#?}");
        assert_eq!(narrow.last().map(String::as_str), Some(" (no room for free, release)"));
        assert!(["edge-1", "NW35fRo3", "compiling"].iter().all(|word| narrow[1].contains(word)), "{narrow:#?}");
        assert_eq!(lines(36).last().map(String::as_str), Some(" (no room for id, free, release)"));
        assert!(!lines(12).is_empty(), "where nothing fits, words are broken");
        assert!(!rows.to_string().contains("no room"), "elsewhere than on a terminal it is whole");
    }
}
