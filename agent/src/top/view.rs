//! What is known, as a picture for a terminal of some size.
//!
//! Owns the layout: a head, pictures, the pane, and a row of keys. Draws with `ratatui`, into whatever it is given. The invariant: the
//! smallest terminal that can be read still says who this is and whether all is well.

mod closely;
mod head;
mod listing;
mod members;
mod pictures;
mod workloads;
mod wrap;

use std::time::Instant;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Paragraph};

use self::listing::Listing;
use super::happened::Happened;
use super::keys::BINDINGS;
use super::model::{Model, now_ms};
use super::ui::{Focus, Pane, Ui};
use crate::cli::terminal::Tone;

/// Columns and rows from which there is room for pictures and for more than one list.
const ROOMY: (u16, u16) = (60, 16);
/// Rows from which there are pictures, and from which they are larger.
const ROWS_WITH_PICTURES: [u16; 2] = [20, 34];
/// Rows of pictures, with their title.
const PICTURE_ROWS: [u16; 2] = [3, 6];
/// Rows of health sentences, in a small terminal, in one of the usual size, and in a large one.
const HEALTH_ROWS: [u16; 3] = [2, 3, 6];

/// How many columns the lists of members and of workloads can be sorted by.
pub(super) const COLUMNS: (usize, usize) = (members::COLUMNS.len(), workloads::COLUMNS.len());

/// Draws everything.
pub(super) fn draw(frame: &mut Frame, model: &Model, ui: &mut Ui, now: Instant) {
    let area = frame.area();
    let is_small = area.width < ROOMY.0 || area.height < ROOMY.1;
    let health_rows = match (is_small, area.height >= ROWS_WITH_PICTURES[1]) {
        (true, _) => HEALTH_ROWS[0],
        (false, false) => HEALTH_ROWS[1],
        (false, true) => HEALTH_ROWS[2],
    };
    let health = wrap::within(&head::health(model, now), area.width, health_rows);
    let rows = u16::try_from(health.len()).unwrap_or(health_rows);
    let facts = head::facts(model, is_small);
    let fact_rows = u16::try_from(facts.len()).unwrap_or(0);
    let is_overview = ui.pane == Pane::Overview && model.seen_at.is_some();
    let picture_rows = match area.height {
        _ if is_small || !is_overview || area.height < ROWS_WITH_PICTURES[0] => 0,
        height if height < ROWS_WITH_PICTURES[1] => PICTURE_ROWS[0],
        _ => PICTURE_ROWS[1],
    };
    let rows = [1, rows, fact_rows, picture_rows].map(Constraint::Length);
    let [title, health_at, facts_at, pictures, body, keys] =
        Layout::vertical(rows.into_iter().chain([Constraint::Min(0), Constraint::Length(1)])).areas(area);
    frame.render_widget(head::title(model, ui.is_paused), title);
    frame.render_widget(Paragraph::new(health), health_at);
    frame.render_widget(Paragraph::new(facts), facts_at);
    if picture_rows > 0 {
        pictures::overview(frame, pictures, model);
    }
    pane(frame, body, model, ui, (is_small, now));
    frame.render_widget(hints(ui), keys);
}

fn pane(frame: &mut Frame, area: Rect, model: &Model, ui: &mut Ui, (is_small, now): (bool, Instant)) {
    if model.seen_at.is_none() && ui.pane != Pane::Help {
        return;
    }
    match ui.pane {
        Pane::Overview if is_small => match ui.focus {
            Focus::Members => members_in(frame, area, model, ui, true),
            Focus::Workloads => workloads_in(frame, area, model, ui, true),
        },
        Pane::Overview => overview(frame, area, model, ui),
        Pane::Members => members_in(frame, area, model, ui, true),
        Pane::Workloads => workloads_in(frame, area, model, ui, true),
        Pane::Events => {
            let lines = events(model.happened.iter());
            text(frame, area, "what has happened, the latest first (UTC)", &lines, &mut ui.scrolled);
        }
        Pane::Help => text(frame, area, "keys", &help(), &mut ui.scrolled),
        Pane::Closely => closely::draw(frame, area, model, ui, now),
    }
}

/// Both lists and what has happened. Each has a third of the room for certain, and what the others do not need of theirs.
fn overview(frame: &mut Frame, area: Rect, model: &Model, ui: &mut Ui) {
    const TITLES: [usize; 3] = [2, 2, 1];
    let room = usize::from(area.height).saturating_sub(TITLES.iter().sum());
    let mut needs = [model.nodes().len(), model.workloads().len(), room].map(|rows| rows.max(1));
    for index in 0..needs.len() {
        let before: usize = needs[..index].iter().sum();
        let after: usize = needs[index + 1..].iter().map(|rows| (*rows).min(room / 3)).sum();
        needs[index] = needs[index].min(room.saturating_sub(before + after));
    }
    let rows = std::array::from_fn::<_, 3, _>(|at| u16::try_from(needs[at] + TITLES[at]).unwrap_or(u16::MAX));
    let [above, middle, below] = Layout::vertical(rows.map(Constraint::Length)).areas(area);
    members_in(frame, above, model, ui, ui.focus == Focus::Members);
    workloads_in(frame, middle, model, ui, ui.focus == Focus::Workloads);
    let lines: Vec<Line> = events(model.happened.iter().take(usize::from(below.height)));
    let block = titled("what has happened, the latest first (UTC)");
    frame.render_widget(Paragraph::new(lines).block(block), below);
}

fn members_in(frame: &mut Frame, area: Rect, model: &Model, ui: &mut Ui, has_focus: bool) {
    let listing = Listing { title: members::title(model), columns: &members::COLUMNS, rows: members::rows(model) };
    listing.draw(frame, area, &mut ui.members, &ui.filter, has_focus);
}

fn workloads_in(frame: &mut Frame, area: Rect, model: &Model, ui: &mut Ui, has_focus: bool) {
    let listing =
        Listing { title: workloads::title(model), columns: &workloads::COLUMNS, rows: workloads::rows(model) };
    listing.draw(frame, area, &mut ui.workloads, &ui.filter, has_focus);
}

fn events<'a>(happened: impl Iterator<Item = &'a Happened>) -> Vec<Line<'static>> {
    let now = now_ms();
    let line = |one: &Happened| {
        Line::from(vec![
            Span::styled(one.time(now), Style::new().add_modifier(Modifier::DIM)),
            Span::raw(" "),
            Span::styled(one.words.clone(), style(one.tone)),
        ])
    };
    let lines: Vec<Line> = happened.map(line).collect();
    if lines.is_empty() { vec![Line::raw("nothing since this agent started")] } else { lines }
}

/// Lines below a title, whole, in as many rows as there is room for from `scrolled` on; which is held within what there is.
fn text(frame: &mut Frame, area: Rect, title: &str, lines: &[Line<'static>], scrolled: &mut u16) {
    let lines = wrap::wrapped(lines, area.width);
    let room = area.height.saturating_sub(1);
    let all = u16::try_from(lines.len()).unwrap_or(u16::MAX);
    *scrolled = (*scrolled).min(all.saturating_sub(room));
    let below = all.saturating_sub(room).saturating_sub(*scrolled);
    let title = if below == 0 { title.to_owned() } else { format!("{title} ({below} more below)") };
    frame.render_widget(Paragraph::new(lines).scroll((*scrolled, 0)).block(titled(title)), area);
}

/// A line above something, with its title.
fn titled<'a>(title: impl Into<String>) -> Block<'a> {
    let title = format!("{} ", title.into());
    Block::new()
        .borders(Borders::TOP)
        .border_style(Style::new().add_modifier(Modifier::DIM))
        .title_style(Style::new().remove_modifier(Modifier::DIM).add_modifier(Modifier::BOLD))
        .title(title)
}

/// How a tone looks.
fn style(tone: Tone) -> Style {
    match tone {
        Tone::Good => Style::new().fg(Color::Green),
        Tone::Warn => Style::new().fg(Color::Yellow),
        Tone::Bad => Style::new().fg(Color::Red),
        Tone::Title => Style::new().add_modifier(Modifier::BOLD),
        Tone::Plain => Style::new(),
    }
}

/// The keys that matter here.
fn hints(ui: &Ui) -> Line<'static> {
    if ui.is_typing {
        return Line::from(format!("only rows with: {}_   enter keep  esc all rows", ui.filter));
    }
    let only = if ui.filter.is_empty() { String::new() } else { format!("only rows with: {}  esc all  ", ui.filter) };
    Line::from(match ui.pane {
        Pane::Overview => format!("{only}q quit  enter closely  tab other list  m/w/e one alone  space pause  ? help"),
        Pane::Members | Pane::Workloads => {
            format!("{only}q quit  enter closely  s sort  r reverse  / filter  o overview  ? help")
        }
        Pane::Events | Pane::Closely | Pane::Help => "q quit  esc back  j/k scroll  space pause  ? help".to_owned(),
    })
}

fn help() -> Vec<Line<'static>> {
    BINDINGS.iter().map(|(_, name, what, _)| Line::raw(format!("  {name:<12} {what}"))).collect()
}
