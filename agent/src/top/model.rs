//! What is known of the agent.
//!
//! Owns the last look, the rates between the last two, and what this view noticed itself. The invariant: a rate is of two looks at one
//! life of the agent; after a restart there is none until there have been two.

mod latency;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Instant, SystemTime};

use serde_json::Value;

use self::latency::Latencies;
pub(super) use self::latency::quantile_us;
use super::happened::{Happened, happened};
use super::looks::{Closely, Seen, Subject};
use crate::cli::printable;
use crate::cli::terminal::Tone;

/// What this view noticed itself and keeps: some screens full.
const NOTES_KEPT: usize = 100;

/// Everything that is known.
#[derive(Debug)]
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
    /// Calls a second that failed, by workload.
    pub(super) errors_per_s: BTreeMap<String, f64>,
    /// Commits a second that were applied here.
    pub(super) commits_per_s: Option<f64>,
    /// How long calls took, by step.
    pub(super) latencies: Latencies,
    /// What has happened, the latest first.
    pub(super) happened: Vec<Happened>,
    notes: VecDeque<Happened>,
}

impl Model {
    pub(super) fn new(api: String) -> Self {
        Self {
            api,
            seen: Seen::default(),
            seen_at: None,
            problem: None,
            calls_per_s: BTreeMap::new(),
            errors_per_s: BTreeMap::new(),
            commits_per_s: None,
            latencies: Latencies::default(),
            happened: Vec::new(),
            notes: VecDeque::new(),
        }
    }

    /// Takes in a look, or why there was none.
    pub(super) fn take(&mut self, look: Result<Seen, String>, now: Instant) {
        match look {
            Ok(seen) => {
                if let Some(at) = self.seen_at {
                    self.compare(&seen, now.saturating_duration_since(at).as_secs_f64());
                }
                if self.problem.take().is_some() {
                    self.note("the agent answers again".to_owned(), Tone::Good);
                }
                self.latencies.take(&seen.status, now);
                (self.seen, self.seen_at) = (seen, Some(now));
            }
            Err(problem) => {
                if self.problem.is_none() {
                    self.note(format!("the agent is away: {problem}"), Tone::Bad);
                }
                self.problem = Some(problem);
            }
        }
        self.happened = happened(&self.seen.events, &self.names());
        self.happened.extend(self.notes.iter().rev().cloned());
        self.happened.sort_by_key(|one| std::cmp::Reverse(one.at_ms));
    }

    /// Takes in nothing but the close look, if there is none yet at its subject: that is for whoever stands still.
    pub(super) fn take_closely(&mut self, look: Result<Seen, String>) {
        if let Ok(seen) = look
            && seen.closely.subject != self.seen.closely.subject
        {
            self.seen.closely = seen.closely;
        }
    }

    /// What was seen of `subject`; `None` before that.
    pub(super) fn closely(&self, subject: &Subject) -> Option<&Closely> {
        Some(&self.seen.closely).filter(|closely| closely.subject == *subject)
    }

    /// Names of members by id.
    pub(super) fn names(&self) -> BTreeMap<&str, String> {
        self.nodes().iter().filter_map(|node| Some((node["id"].as_str()?, called(node, "id")))).collect()
    }

    /// The name of a member, or its id.
    pub(super) fn name_of(&self, id: &str) -> String {
        let node = self.nodes().iter().find(|node| node["id"] == id);
        node.map_or_else(|| printable(id), |node| called(node, "id"))
    }

    pub(super) fn nodes(&self) -> &[Value] {
        list(&self.seen.nodes)
    }

    pub(super) fn peers(&self) -> &[Value] {
        list(&self.seen.status["peers"])
    }

    pub(super) fn workloads(&self) -> &[Value] {
        list(&self.seen.status["workloads"])
    }

    /// The id of the host that is asked.
    pub(super) fn own_id(&self) -> &str {
        self.seen.status.pointer("/node/id").and_then(Value::as_str).unwrap_or_default()
    }

    fn compare(&mut self, seen: &Seen, seconds: f64) {
        self.compare_health(&seen.status);
        let rate = |before: Option<u64>, after: Option<u64>| {
            let more = after?.checked_sub(before?)?;
            (seconds > 0.0).then(|| f64::from(u32::try_from(more).unwrap_or(u32::MAX)) / seconds)
        };
        let commits = |seen: &Seen| seen.status.pointer("/state/commits").and_then(Value::as_u64);
        let life = |seen: &Seen| seen.status.pointer("/node/uptime_s").and_then(Value::as_u64);
        let is_same_life = life(&self.seen) <= life(seen);
        let rates = |field: &str| -> BTreeMap<String, f64> {
            let before: BTreeMap<&str, u64> = self.workloads().iter().filter_map(|one| counted(one, field)).collect();
            let after = list(&seen.status["workloads"]).iter().filter_map(|one| counted(one, field));
            let of = |(name, count): (&str, u64)| {
                Some((name.to_owned(), rate(before.get(name).copied(), Some(count)).filter(|_| is_same_life)?))
            };
            after.filter_map(of).collect()
        };
        let (calls, errors) = (rates("calls"), rates("errors"));
        self.commits_per_s = rate(commits(&self.seen), commits(seen)).filter(|_| is_same_life);
        (self.calls_per_s, self.errors_per_s) = (calls, errors);
    }

    fn compare_health(&mut self, status: &Value) {
        let reasons = |status: &Value| -> Vec<String> {
            let reasons = list(status.pointer("/health/reasons").unwrap_or(&Value::Null)).iter();
            reasons.filter_map(Value::as_str).map(printable).collect()
        };
        let (were, are) = (reasons(&self.seen.status), reasons(status));
        for reason in are.iter().filter(|reason| !were.contains(reason)) {
            self.note(format!("not well: {reason}"), Tone::Bad);
        }
        for reason in were.iter().filter(|reason| !are.contains(reason)) {
            self.note(format!("well again: {reason}"), Tone::Good);
        }
    }

    fn note(&mut self, words: String, tone: Tone) {
        if self.notes.len() == NOTES_KEPT {
            self.notes.pop_front();
        }
        self.notes.push_back(Happened { at_ms: now_ms(), words, tone, about: Vec::new() });
    }
}

/// Milliseconds since 1970.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The items of a list; none where there is no list.
pub(super) fn list(json: &Value) -> &[Value] {
    json.as_array().map_or(&[][..], Vec::as_slice)
}

/// What is called so; its id, which is in the field `id`, where it has no name.
pub(super) fn called(json: &Value, id: &str) -> String {
    let text = |field: &str| json[field].as_str().filter(|text| !text.is_empty());
    text("name").or(text(id)).map_or_else(|| "?".to_owned(), printable)
}

fn counted<'a>(workload: &'a Value, field: &str) -> Option<(&'a str, u64)> {
    Some((workload["name"].as_str()?, workload[field].as_u64()?))
}
