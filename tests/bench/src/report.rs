//! What a benchmark found: rows with their goals, as a table or as JSON.
//!
//! Owns the shape of a result and how it is shown; measures nothing.

use serde::Serialize;

use crate::sample::{Pair, Spread};

/// What is asked of a figure.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Goal {
    /// The median is to be at most this.
    AtMost(f64),
    /// The median is to be at least this.
    AtLeast(f64),
    /// The figure is told and not judged.
    Told,
}

impl Goal {
    fn is_met(self, figure: f64) -> Option<bool> {
        match self {
            Self::AtMost(bound) => Some(figure <= bound),
            Self::AtLeast(bound) => Some(figure >= bound),
            Self::Told => None,
        }
    }
}

/// One line of the table.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) bench: &'static str,
    /// What was measured.
    pub(crate) what: String,
    /// The figure that the goal is about.
    pub(crate) figure: Spread,
    /// Its unit; `x` for a ratio.
    pub(crate) unit: &'static str,
    pub(crate) goal: Goal,
    /// Ours, where the figure is a ratio, and in which unit.
    pub(crate) ours: Option<(Spread, &'static str)>,
    /// The peer's, in the same unit.
    pub(crate) peer: Option<(Spread, String)>,
    pub(crate) note: String,
}

impl Row {
    /// A figure by itself.
    pub(crate) fn new(bench: &'static str, what: impl Into<String>, figure: Spread, unit: &'static str) -> Self {
        Self { bench, what: what.into(), figure, unit, goal: Goal::Told, ours: None, peer: None, note: String::new() }
    }

    /// Ours over a peer's, round by round.
    pub(crate) fn ratio(
        bench: &'static str,
        what: impl Into<String>,
        pair: &Pair,
        peer_name: impl Into<String>,
        unit: &'static str,
    ) -> Self {
        let (ours, peer) = (Spread::of(&pair.ours), Spread::of(&pair.peer));
        Self::new(bench, what, pair.ratio(), "x").parts(ours, peer, peer_name, unit)
    }

    pub(crate) fn goal(self, goal: Goal) -> Self {
        Self { goal, ..self }
    }

    /// What the ratio is made of.
    pub(crate) fn parts(self, ours: Spread, peer: Spread, peer_name: impl Into<String>, unit: &'static str) -> Self {
        Self { ours: Some((ours, unit)), peer: Some((peer, peer_name.into())), ..self }
    }

    pub(crate) fn note(self, note: impl Into<String>) -> Self {
        Self { note: note.into(), ..self }
    }

    /// Whether the goal is met; `None` when there is none.
    pub(crate) fn passes(&self) -> Option<bool> {
        self.goal.is_met(self.figure.median)
    }

    /// The row as text.
    pub(crate) fn line(&self) -> String {
        let verdict = match self.passes() {
            Some(true) => "pass",
            Some(false) => "MISS",
            None => "    ",
        };
        let goal = match self.goal {
            Goal::AtMost(bound) => format!("≤ {}", number(bound)),
            Goal::AtLeast(bound) => format!("≥ {}", number(bound)),
            Goal::Told => "–".to_owned(),
        };
        let mut line =
            format!("{verdict}  {:<66} {:>26} {:<6} goal {goal:<8}", self.what, spread(self.figure), self.unit);
        if let (Some((ours, unit)), Some((peer, name))) = (&self.ours, &self.peer) {
            line += &format!("\n        ours {} {unit}; {name} {} {unit}", spread(*ours), spread(*peer));
        }
        if !self.note.is_empty() {
            line += &format!("\n        {}", self.note);
        }
        line
    }
}

fn spread(spread: Spread) -> String {
    if spread.low.total_cmp(&spread.high).is_eq() {
        return number(spread.median);
    }
    format!("{} ({}–{})", number(spread.median), number(spread.low), number(spread.high))
}

/// Three significant digits, and all those before the point.
fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        small if small < 0.1 => format!("{value:.4}"),
        small if small < 10.0 => format!("{value:.2}"),
        middling if middling < 100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}
