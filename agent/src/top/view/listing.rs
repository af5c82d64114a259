//! A list: rows in columns, of which one row is chosen.
//!
//! Owns which columns there is room for, and the order of rows. The invariant: a column that is shown is wide enough to be read; what
//! there is no room for is left out from the least important on.

use std::cmp::Ordering;

use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{HighlightSpacing, Row as TableRow, Table};

use super::{style, titled};
use crate::cli::terminal::Tone;
use crate::top::ui::List;

/// What stands before the chosen row; the others have as much room there.
const CHOSEN: &str = "▸ ";

/// A column.
pub(super) struct Column {
    pub(super) title: &'static str,
    /// Fewest columns of the terminal that it takes.
    pub(super) width: u16,
    /// The least ones are shown first.
    pub(super) rank: u8,
    pub(super) side: Side,
}

/// Where the text of a column stands. What stands to the left gets what room is left over.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// Texts.
    Left,
    /// Texts of a known length.
    LeftFixed,
    /// Figures.
    Right,
}

/// What stands in a row and a column.
pub(super) struct Cell {
    text: String,
    tone: Tone,
    /// What it is ordered by; its text where there is none.
    figure: Option<f64>,
}

/// A row.
pub(super) struct Row {
    /// What tells it apart.
    pub(super) id: String,
    /// As many as there are columns.
    pub(super) cells: Vec<Cell>,
}

/// The list.
pub(super) struct Listing<'a> {
    pub(super) title: String,
    pub(super) columns: &'a [Column],
    pub(super) rows: Vec<Row>,
}

impl Cell {
    /// A word of our tables, in its tone.
    pub(super) fn word(text: String) -> Self {
        Self { tone: Tone::of(&text), text, figure: None }
    }

    /// A text from elsewhere, which has no tone whatever it says.
    pub(super) fn plain(text: String) -> Self {
        Self { text, tone: Tone::Plain, figure: None }
    }

    /// A figure and how it is written; a dash where it is not known.
    pub(super) fn figure(figure: Option<f64>, written: impl FnOnce(f64) -> String) -> Self {
        Self { text: figure.map_or_else(|| "-".to_owned(), written), tone: Tone::Plain, figure }
    }

    /// The same in a tone.
    pub(super) fn toned(self, tone: Tone) -> Self {
        Self { tone, ..self }
    }
}

impl Listing<'_> {
    /// Draws it, with the chosen row in sight.
    pub(super) fn draw(mut self, frame: &mut Frame, area: Rect, list: &mut List, filter: &str, has_focus: bool) {
        let all = self.rows.len();
        if !filter.is_empty() {
            let wanted = filter.to_lowercase();
            self.rows.retain(|row| row.cells.iter().any(|cell| cell.text.to_lowercase().contains(&wanted)));
        }
        if let Some(column) = list.sorted_by {
            self.rows.sort_by(|a, b| compare(&a.cells[column], &b.cells[column], list.is_reversed));
        } else if list.is_reversed {
            self.rows.reverse();
        }
        list.settle(self.rows.iter().map(|row| row.id.clone()).collect());
        let shown = self.rows.len();
        let room = usize::from(area.height).saturating_sub(2);
        let told = match (shown < all, shown > room) {
            (true, _) => format!("{}: {shown} of {all} have it", self.title),
            (false, true) => format!("{} ({} more)", self.title, shown - room),
            (false, false) => self.title.clone(),
        };
        let widths = self.widths(area.width);
        let header = widths.iter().map(|(at, width)| self.heading(*at, *width, list));
        let header = TableRow::new(header).style(Style::new().add_modifier(Modifier::BOLD));
        let rows = self.rows.iter().map(|row| {
            TableRow::new(widths.iter().map(|(at, width)| placed(&row.cells[*at], &self.columns[*at], *width)))
        });
        let table = Table::new(rows, widths.iter().map(|(_, width)| Constraint::Length(*width)))
            .header(header)
            .block(titled(told))
            .highlight_spacing(HighlightSpacing::Always)
            .highlight_symbol(if has_focus { CHOSEN } else { "  " })
            .row_highlight_style(if has_focus { Style::new().add_modifier(Modifier::BOLD) } else { Style::new() });
        frame.render_stateful_widget(table, area, &mut list.table);
    }

    /// Which columns there is room for, and how wide each is.
    fn widths(&self, room: u16) -> Vec<(usize, u16)> {
        let mut by_rank: Vec<usize> = (0..self.columns.len()).collect();
        by_rank.sort_by_key(|at| self.columns[*at].rank);
        let mut left = room.saturating_sub(2);
        let mut shown = Vec::new();
        for at in by_rank {
            let width = self.columns[at].width + u16::from(!shown.is_empty());
            if width > left {
                break;
            }
            left -= width;
            shown.push(at);
        }
        shown.sort_unstable();
        // Texts get what is left: each as much as it needs, the first ones first.
        let mut widths = Vec::new();
        for at in shown {
            let column = &self.columns[at];
            let needs = self.rows.iter().map(|row| Span::raw(&row.cells[at].text).width()).max().unwrap_or(0);
            let more = u16::try_from(needs).unwrap_or(u16::MAX).saturating_sub(column.width).min(left);
            let more = if column.side == Side::Left { more } else { 0 };
            left -= more;
            widths.push((at, column.width + more));
        }
        widths
    }

    fn heading(&self, at: usize, width: u16, list: &List) -> Line<'static> {
        let column = &self.columns[at];
        let order = match (list.sorted_by == Some(at), list.is_reversed) {
            (false, _) => "",
            (true, false) => "▲",
            (true, true) => "▼",
        };
        let title = fitted(&format!("{}{order}", column.title.to_uppercase()), width);
        Line::raw(title).alignment(column.alignment())
    }
}

impl Column {
    const fn alignment(&self) -> Alignment {
        match self.side {
            Side::Left | Side::LeftFixed => Alignment::Left,
            Side::Right => Alignment::Right,
        }
    }
}

fn placed(cell: &Cell, column: &Column, width: u16) -> Line<'static> {
    Line::styled(fitted(&cell.text, width), style(cell.tone)).alignment(column.alignment())
}

/// Figures by size and before texts; what is not known stands last whichever way round the others are.
fn compare(a: &Cell, b: &Cell, is_reversed: bool) -> Ordering {
    let turned = |order: Ordering| if is_reversed { order.reverse() } else { order };
    match (a.figure, b.figure) {
        (Some(a), Some(b)) => turned(a.total_cmp(&b)),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => turned(a.text.cmp(&b.text)),
    }
}

/// `text`, cut so that it takes at most `width` columns, and then it says so.
pub(super) fn fitted(text: &str, width: u16) -> String {
    let width = usize::from(width);
    if Span::raw(text).width() <= width {
        return text.to_owned();
    }
    let mut cut = text.to_owned();
    while !cut.is_empty() && Span::raw(cut.as_str()).width() + 1 > width {
        cut.pop();
    }
    cut.push('…');
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_ordered_by_size_and_unknown_ones_stand_last() {
        let figures = [Some(9.0), None, Some(10.0), Some(0.5)];
        let sorted = |is_reversed| {
            let mut cells: Vec<Cell> =
                figures.iter().map(|figure| Cell::figure(*figure, |figure| figure.to_string())).collect();
            cells.sort_by(|a, b| compare(a, b, is_reversed));
            cells.into_iter().map(|cell| cell.text).collect::<Vec<_>>()
        };
        assert_eq!(sorted(false), ["0.5", "9", "10", "-"]);
        assert_eq!(sorted(true), ["10", "9", "0.5", "-"]);
    }

    #[test]
    fn what_does_not_fit_is_cut_by_columns_and_not_by_characters() {
        assert_eq!(fitted("frankfurt", 9), "frankfurt");
        assert_eq!(fitted("frankfurt", 6), "frank…");
        assert_eq!(fitted("東京東京", 5), "東京…");
        assert_eq!(fitted("ab", 0), "…");
    }
}
