//! What is known of the agent, and what is looked at.
//!
//! Owns the last look, the rates between the last two, and what has happened. The invariant: a rate is of two looks at one life of the
//! agent; after a restart there is none until there have been two.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Instant, SystemTime};

use serde_json::Value;

use super::changes::changes;
use super::keys::Key;

/// Lines of what has happened that are kept: some screens full.
const EVENTS_KEPT: usize = 500;

/// One look.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Seen {
    pub(super) status: Value,
    pub(super) nodes: Value,
    pub(super) convergence: Value,
}

/// What fills the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pane {
    Overview,
    Members,
    Workloads,
    Events,
    Help,
}

/// Everything that the view needs.
#[derive(Clone, Debug)]
pub(super) struct Model {
    /// Who is asked.
    pub(super) api: String,
    pub(super) seen: Seen,
    /// When that was; `None` before the first look.
    pub(super) seen_at: Option<Instant>,
    /// Why there was no look since.
    pub(super) problem: Option<String>,
    /// Calls a second that came in here, by workload.
    pub(super) calls_per_s: BTreeMap<String, f64>,
    /// Commits a second that were applied here.
    pub(super) commits_per_s: Option<f64>,
    /// What has happened, the newest last, each with its time of day.
    pub(super) events: VecDeque<String>,
    pub(super) pane: Pane,
    /// Rows of the pane that are above the screen.
    pub(super) scrolled: usize,
    pub(super) is_paused: bool,
}

impl Model {
    pub(super) fn new(api: String) -> Self {
        Self {
            api,
            seen: Seen::default(),
            seen_at: None,
            problem: None,
            calls_per_s: BTreeMap::new(),
            commits_per_s: None,
            events: VecDeque::new(),
            pane: Pane::Overview,
            scrolled: 0,
            is_paused: false,
        }
    }

    /// Takes in a look, or why there was none.
    pub(super) fn take(&mut self, look: Result<Seen, String>, now: Instant) {
        if self.is_paused {
            return;
        }
        match look {
            Ok(seen) => {
                if let Some(at) = self.seen_at {
                    self.compare(&seen, now.saturating_duration_since(at).as_secs_f64());
                }
                (self.seen, self.seen_at) = (seen, Some(now));
                if self.problem.take().is_some() {
                    self.note("the agent answers again".to_owned());
                }
            }
            Err(problem) => {
                if self.problem.is_none() {
                    self.note(format!("the agent is away: {problem}"));
                }
                self.problem = Some(problem);
            }
        }
    }

    fn compare(&mut self, seen: &Seen, seconds: f64) {
        let lines = changes((&self.seen.status, &self.seen.nodes), (&seen.status, &seen.nodes));
        let rate = |before: Option<u64>, after: Option<u64>| {
            let more = after?.checked_sub(before?)?;
            (seconds > 0.0).then(|| f64::from(u32::try_from(more).unwrap_or(u32::MAX)) / seconds)
        };
        let commits = |seen: &Seen| seen.status.pointer("/state/commits").and_then(Value::as_u64);
        let calls = |seen: &Seen, name: &str| {
            let workloads = seen.status["workloads"].as_array()?;
            workloads.iter().find(|workload| workload["name"] == name)?["calls"].as_u64()
        };
        let life = |seen: &Seen| seen.status.pointer("/node/uptime_s").and_then(Value::as_u64);
        let is_same_life = life(&self.seen) <= life(seen);
        self.commits_per_s = rate(commits(&self.seen), commits(seen)).filter(|_| is_same_life);
        let names =
            seen.status["workloads"].as_array().into_iter().flatten().filter_map(|workload| workload["name"].as_str());
        let of = |name: &str| Some((name.to_owned(), rate(calls(&self.seen, name), calls(seen, name))?));
        self.calls_per_s = names.filter(|_| is_same_life).filter_map(of).collect();
        lines.into_iter().for_each(|line| self.note(line));
    }

    fn note(&mut self, line: String) {
        if self.events.len() == EVENTS_KEPT {
            self.events.pop_front();
        }
        let time = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        // The time of day, in UTC as everywhere.
        self.events.push_back(format!("{} {line}", time.get(11..19).unwrap_or_default()));
    }

    /// Does what a key asks for.
    pub(super) fn press(&mut self, key: Key) {
        let pane = match key {
            Key::Overview => Pane::Overview,
            Key::Members => Pane::Members,
            Key::Workloads => Pane::Workloads,
            Key::Events => Pane::Events,
            Key::Help if self.pane == Pane::Help => Pane::Overview,
            Key::Help => Pane::Help,
            Key::Scroll(rows) => {
                self.scrolled = self.scrolled.saturating_add_signed(isize::from(rows)).min(EVENTS_KEPT);
                return;
            }
            Key::Pause => {
                self.is_paused = !self.is_paused;
                return;
            }
            Key::Quit => return,
        };
        (self.pane, self.scrolled) = (pane, 0);
    }
}
