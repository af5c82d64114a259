//! What is known, as lines for a terminal of some size.
//!
//! Owns the layout: a head of four rows, then the pane, then a row of keys. Pure. The invariant: never more rows than there are, and no
//! row wider than the terminal.

mod panes;

use std::time::Instant;

use serde_json::Value;

use self::panes::{events, members, workloads};
use super::keys::KEYS;
use super::model::{Model, Pane};
use crate::cli::terminal::Tone;
use crate::cli::units::{size, span};
use crate::cli::{cell, short};

/// Fewest columns and rows for which there is a layout.
const SMALLEST: (u16, u16) = (40, 10);
/// Characters of the root in the head.
const ROOT_CHARS: usize = 16;
/// Rows of the head and of the keys together.
const AROUND: usize = 5;

/// One row: pieces of text, each in its tone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Line(pub(super) Vec<(String, Tone)>);

impl Line {
    fn of(text: impl Into<String>, tone: Tone) -> Self {
        Self(vec![(text.into(), tone)])
    }

    fn plain(text: impl Into<String>) -> Self {
        Self::of(text, Tone::Plain)
    }

    /// The same, cut off where the terminal ends.
    fn cut(mut self, columns: usize) -> Self {
        let mut room = columns;
        for (text, _) in &mut self.0 {
            *text = text.chars().take(room).collect();
            room -= text.chars().count();
        }
        self
    }

    /// What it says, for tests.
    #[cfg(test)]
    pub(super) fn text(&self) -> String {
        self.0.iter().map(|(text, _)| text.as_str()).collect()
    }
}

/// A part of the screen: its title, the titles of its columns, and all of its rows.
struct Part {
    title: String,
    columns: Option<Line>,
    rows: Vec<Line>,
}

/// The whole picture for a terminal of `(columns, rows)`.
pub(super) fn picture(model: &Model, (columns, rows): (u16, u16), now: Instant) -> Vec<Line> {
    let (width, height) = (usize::from(columns), usize::from(rows));
    if columns < SMALLEST.0 || rows < SMALLEST.1 {
        return vec![Line::plain(format!("at least {} x {} are needed", SMALLEST.0, SMALLEST.1)).cut(width)];
    }
    let mut lines = head(model, now);
    let room = height - AROUND;
    lines.extend(match model.pane {
        Pane::Overview => overview(model, room),
        Pane::Members => alone(members(model), model.scrolled, room),
        Pane::Workloads => alone(workloads(model), model.scrolled, room),
        Pane::Events => alone(events(model), model.scrolled, room),
        Pane::Help => help(),
    });
    lines.truncate(height - 1);
    lines.resize(height - 1, Line::default());
    let keys = "q quit  o all  m members  w workloads  e events  j/k scroll  space pause  ? help";
    lines.push(Line::plain(keys));
    lines.into_iter().map(|line| line.cut(width)).collect()
}

fn head(model: &Model, now: Instant) -> Vec<Line> {
    let status = &model.seen.status;
    let at = |pointer: &str| cell(status, pointer);
    let Some(seen_at) = model.seen_at else {
        let why = model.problem.as_deref().map_or_else(|| Line::plain("looking…"), |why| Line::of(why, Tone::Bad));
        return vec![
            Line::of(format!("selvedge top  {}", model.api), Tone::Title),
            why,
            Line::default(),
            Line::default(),
        ];
    };
    let uptime = status.pointer("/node/uptime_s").and_then(Value::as_u64).unwrap_or(0);
    let up = span(std::time::Duration::from_secs(uptime));
    let mut title = format!(
        "{} in {}  {} {}  up {up}",
        at("/node/name"),
        at("/node/region"),
        at("/cluster/name"),
        at("/node/version")
    );
    if model.is_paused {
        title += "  (standing still)";
    }
    let health = match (&model.problem, status.pointer("/health/ok").and_then(Value::as_bool)) {
        (Some(why), _) => {
            let ago = span(now.saturating_duration_since(seen_at));
            Line::of(format!("the agent is away, what is shown is {ago} old: {why}"), Tone::Bad)
        }
        (None, Some(true)) => Line(vec![("health  ".to_owned(), Tone::Plain), ("ok".to_owned(), Tone::Good)]),
        (None, Some(false) | None) => Line::of(format!("not well: {}", at("/health/reasons")), Tone::Bad),
    };
    let commits = model.commits_per_s.map_or_else(String::new, |rate| format!(" ({rate:.0}/s)"));
    let bytes = status.pointer("/state/bytes").and_then(Value::as_u64).map_or_else(|| "-".to_owned(), size);
    let state = format!(
        "state   root {}  {} keys  {} commits{commits}  {bytes}  {} to forget",
        short(&at("/state/root"), ROOT_CHARS),
        at("/state/keys"),
        at("/state/commits"),
        at("/state/garbage")
    );
    vec![Line::of(title, Tone::Title), health, Line::plain(state), convergence(&model.seen.convergence)]
}

/// Who holds the same state, and who lags most.
fn convergence(json: &Value) -> Line {
    let peers = json["peers"].as_array().map_or(&[][..], Vec::as_slice);
    let awaited = || peers.iter().filter(|peer| peer["awaited"] != false);
    let equal = awaited().filter(|peer| peer["root_equal"] == true).count();
    let all = awaited().count();
    let lag = awaited().filter_map(|peer| Some((peer["lag_commits"].as_u64()?, peer))).max_by_key(|(lag, _)| *lag);
    let (words, tone) = match (json["converged"].as_bool(), lag) {
        (Some(true), _) if all == 0 => ("there is no other member".to_owned(), Tone::Good),
        (Some(true), _) => (format!("converged with {all} others"), Tone::Good),
        (Some(false), Some((lag, peer))) if lag > 0 => (
            format!("{equal} of {all} others hold this root; {} lags by {lag} commits", cell(peer, "/name")),
            Tone::Warn,
        ),
        (Some(false), _) => (format!("{equal} of {all} others hold this root"), Tone::Warn),
        (None, _) => ("not known".to_owned(), Tone::Plain),
    };
    Line(vec![("synced  ".to_owned(), Tone::Plain), (words, tone)])
}

/// All parts. Each has a third of the room for certain, and what the others do not need of theirs.
fn overview(model: &Model, room: usize) -> Vec<Line> {
    let parts = [members(model), workloads(model), events(model)];
    let frames: usize = parts.iter().map(|part| 1 + usize::from(part.columns.is_some())).sum();
    let left = room.saturating_sub(frames);
    let mut needs = [0, 1, 2].map(|index: usize| parts[index].rows.len());
    for index in 0..needs.len() {
        let before: usize = needs[..index].iter().sum();
        let after: usize = needs[index + 1..].iter().map(|rows| (*rows).min(left / 3)).sum();
        needs[index] = needs[index].min(left.saturating_sub(before + after));
    }
    let mut lines = Vec::new();
    for (index, (part, rows)) in parts.into_iter().zip(needs).enumerate() {
        // Of what happened, the newest counts; of lists, the beginning.
        let from = if index == 2 { part.rows.len() - rows } else { 0 };
        lines.extend(framed(part, from, rows));
    }
    lines
}

/// One part in all the room there is.
fn alone(part: Part, scrolled: usize, room: usize) -> Vec<Line> {
    let rows = room.saturating_sub(1 + usize::from(part.columns.is_some())).min(part.rows.len());
    let from = scrolled.min(part.rows.len() - rows);
    framed(part, from, rows)
}

fn framed(part: Part, from: usize, rows: usize) -> Vec<Line> {
    let hidden = part.rows.len() - rows;
    let title = if hidden == 0 { part.title } else { format!("{} ({hidden} more)", part.title) };
    let mut lines = vec![Line::of(title, Tone::Title)];
    lines.extend(part.columns);
    lines.extend(part.rows.into_iter().skip(from).take(rows));
    lines
}

fn help() -> Vec<Line> {
    let title = std::iter::once(Line::of("keys", Tone::Title));
    title.chain(KEYS.iter().map(|(_, name, what, _)| Line::plain(format!("  {name:<12} {what}")))).collect()
}
