//! Lines in rows of a width.
//!
//! Owns where a line is cut. The invariant: what is counted is what is drawn: each row fits, and no word is lost.

use ratatui::style::Style;
use ratatui::text::{Line, Span};

/// What stands where a row goes on that is not shown.
const CUT: &str = "…";

/// One character as a terminal shows it, how it looks, and its columns.
type Cell<'a> = (&'a str, Style, usize);

/// All lines, each in as many rows as it takes. They end with words; a word that is longer than a row is cut.
pub(super) fn wrapped(lines: &[Line<'static>], width: u16) -> Vec<Line<'static>> {
    lines.iter().flat_map(|line| rows(line, usize::from(width))).collect()
}

/// As many rows of `sentences` as there may be; the last one says how many sentences there are besides, or that its own goes on.
pub(super) fn within(sentences: &[Line<'static>], width: u16, rows_max: u16) -> Vec<Line<'static>> {
    let (width, rows_max) = (usize::from(width), usize::from(rows_max));
    let (mut shown, mut begun, mut is_cut) = (Vec::new(), 0, false);
    for sentence in sentences {
        let room = rows_max - shown.len();
        if room == 0 {
            break;
        }
        let own = rows(sentence, width);
        (begun, is_cut) = (begun + 1, own.len() > room);
        shown.extend(own.into_iter().take(room));
    }
    let more = match sentences.len() - begun {
        0 if is_cut => "and more".to_owned(),
        0 => return shown,
        more => format!("and {more} more"),
    };
    let Some(last) = shown.pop() else { return shown };
    let ending = if is_cut { format!("{CUT} {more}") } else { format!("  {more}") };
    shown.push(if last.width() + ending.chars().count() <= width {
        ended(last, ending)
    } else {
        let ending = format!("{CUT} {more}");
        let room = width.saturating_sub(ending.chars().count());
        ended(beginning(&last, room), ending)
    });
    shown
}

/// A line in rows.
fn rows(line: &Line<'static>, width: usize) -> Vec<Line<'static>> {
    if line.width() <= width {
        return vec![line.clone()];
    }
    let cells = cells(line);
    let (mut rows, mut start) = (Vec::new(), 0);
    while start < cells.len() {
        let end = row_end(&cells, start, width);
        rows.push(joined(&cells[start..end]));
        let spaces = cells[end..].iter().take_while(|cell| is_space(cell)).count();
        start = end + spaces;
    }
    rows
}

/// Where the row ends that begins at `start`: before the last space of what fits, unless there is nothing but spaces before that.
fn row_end(cells: &[Cell<'_>], start: usize, width: usize) -> usize {
    let (mut end, mut used) = (start, 0);
    // One character at the least, or there would be no end of rows.
    while end < cells.len() && (end == start || used + cells[end].2 <= width) {
        used += cells[end].2;
        end += 1;
    }
    if end == cells.len() || is_space(&cells[end]) {
        return end;
    }
    let is_words_end = |at: &usize| is_space(&cells[*at]) && !cells[start..*at].iter().all(is_space);
    (start..end).rev().find(is_words_end).unwrap_or(end)
}

/// As much of a line as fits.
fn beginning(line: &Line<'static>, width: usize) -> Line<'static> {
    let mut room = width;
    let fits = |cell: &Cell<'_>| {
        let left = room.checked_sub(cell.2);
        room = left.unwrap_or(0);
        left.is_some()
    };
    let fitting: Vec<Cell<'_>> = cells(line).into_iter().take_while(fits).collect();
    joined(&fitting)
}

/// The line and what stands behind it, which looks as its last words do.
fn ended(mut line: Line<'static>, ending: String) -> Line<'static> {
    let style = line.spans.last().map_or(line.style, |span| line.style.patch(span.style));
    line.spans.push(Span::styled(ending, style));
    line
}

fn cells<'a>(line: &'a Line<'static>) -> Vec<Cell<'a>> {
    let all = line.styled_graphemes(Style::new());
    all.map(|one| (one.symbol, one.style, Span::raw(one.symbol).width())).collect()
}

fn is_space(cell: &Cell<'_>) -> bool {
    cell.0 == " "
}

/// A row of its own, with a span for each look.
fn joined(cells: &[Cell<'_>]) -> Line<'static> {
    let mut spans: Vec<(String, Style)> = Vec::new();
    for (symbol, style, _) in cells {
        match spans.last_mut() {
            Some((text, last)) if *last == *style => text.push_str(symbol),
            _ => spans.push(((*symbol).to_owned(), *style)),
        }
    }
    Line::from(spans.into_iter().map(|(text, style)| Span::styled(text, style)).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use ratatui::style::Modifier;

    use super::*;

    fn texts(rows: &[Line<'_>]) -> Vec<String> {
        rows.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn rows_end_with_words_and_lose_none() {
        let check = |line: &str, width: u16, expect: &[&str]| {
            let rows = wrapped(&[Line::raw(line.to_owned())], width);
            assert_eq!(texts(&rows), expect, "{line:?} in {width}");
            assert!(rows.iter().all(|row| row.width() <= usize::from(width)), "{rows:?}");
        };
        check("", 5, &[""]);
        check("as it is", 8, &["as it is"]);
        check("the disk is full", 8, &["the disk", "is full"]);
        check("the  disk", 5, &["the ", "disk"]);
        check("  indented words", 10, &["  indented", "words"]);
        check("  unreasonable", 6, &["  unre", "asonab", "le"]);
        check("日本語の名", 5, &["日本", "語の", "名"]);
    }

    #[test]
    fn a_row_looks_as_its_line_did() {
        let (plain, bold) = (Style::new(), Style::new().add_modifier(Modifier::BOLD));
        let line = Line::from(vec![Span::styled("health  ", plain), Span::styled("not at all", bold)]);
        let rows = wrapped(&[line], 11);
        assert_eq!(texts(&rows), ["health  not", "at all"]);
        assert_eq!((rows[0].spans[1].style, rows[1].spans[0].style), (bold, bold));
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        let sentences = ["one is short", "two is longer than its row", "three"].map(Line::raw);
        let check = |rows_max: u16, width: u16, expect: &[&str]| {
            assert_eq!(texts(&within(&sentences, width, rows_max)), expect, "{rows_max} rows of {width}");
        };
        check(9, 40, &["one is short", "two is longer than its row", "three"]);
        check(2, 40, &["one is short", "two is longer than its row  and 1 more"]);
        check(2, 30, &["one is short", "two is longer than… and 1 more"]);
        check(2, 16, &["one is short", "two … and 1 more"]);
        assert_eq!(texts(&within(&sentences[1..2], 16, 1)), ["two is… and more"]);
    }
}
