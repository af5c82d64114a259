//! What has happened, in lines.
//!
//! Owns the words of events. Pure. The invariant: an event that this version does not know is still told, by its kind.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::model::called;
use crate::cli::printable;
use crate::cli::terminal::Tone;

/// From when on the day is told, not only the time.
const DAY_MS: u64 = 86_400_000;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Happened {
    /// When, in milliseconds since 1970, by the clock of whoever noticed.
    pub(super) at_ms: u64,
    pub(super) words: String,
    pub(super) tone: Tone,
    /// Ids of members and names of workloads that it is about.
    pub(super) about: Vec<String>,
}

impl Happened {
    /// When it was, for somebody who looks now; in UTC, as everywhere.
    pub(super) fn time(&self, now_ms: u64) -> String {
        let at = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(self.at_ms));
        let Some(at) = at.filter(|_| self.at_ms < YEAR_10000_MS) else { return "-".to_owned() };
        let text = humantime::format_rfc3339_seconds(at).to_string();
        let (day, time) = (text.get(5..10).unwrap_or_default(), text.get(11..19).unwrap_or_default());
        if now_ms.abs_diff(self.at_ms) < DAY_MS { time.to_owned() } else { format!("{day} {}", &time[..5]) }
    }
}

/// From here on a time has no RFC 3339 form.
const YEAR_10000_MS: u64 = 253_402_300_800_000;

/// The events of a document, the latest first; `names` tells members' names by id.
pub(super) fn happened(events: &Value, names: &BTreeMap<&str, String>) -> Vec<Happened> {
    let events = events.as_array().map_or(&[][..], Vec::as_slice);
    let is_told = |(at, event): &(usize, &Value)| is_news(event, &events[at + 1..]);
    events.iter().enumerate().filter(is_told).map(|(_, event)| told(event, names)).collect()
}

/// Whether an event says what those before it have not.
fn is_news(event: &Value, earlier: &[Value]) -> bool {
    let text = |field: &str| event[field].as_str().unwrap_or_default();
    match text("kind") {
        // Placements tell these steps too, of every host.
        "decision" => !matches!(text("change"), "started" | "ready" | "failed" | "stopped"),
        // A start tells of each of its steps; the first of them is enough.
        "placement" if event["reason"].is_null() => {
            let same = |other: &&Value| {
                other["kind"] == "placement" && other["workload"] == event["workload"] && other["node"] == event["node"]
            };
            earlier
                .iter()
                .find(same)
                .is_none_or(|other| other["phase"] != event["phase"] || other["digest"] != event["digest"])
        }
        _ => true,
    }
}

fn told(event: &Value, names: &BTreeMap<&str, String>) -> Happened {
    let text = |field: &str| event[field].as_str().unwrap_or_default();
    let node_of = |field: &str| names.get(text(field)).cloned().unwrap_or_else(|| called(event, field));
    let (node, workload) = (node_of("node"), printable(text("workload")));
    let (words, tone) = match text("kind") {
        "member" => member(&node, text("status")),
        "link" => link(&node, text("change")),
        "fraud" => {
            let what = "gave one name to two commits; what it writes is not taken any more";
            (format!("{node} {what}"), Tone::Bad)
        }
        "placement" => {
            let phase = text("phase");
            (format!("{workload} {} on {node}", printable(phase)), Tone::of(phase))
        }
        "decision" => {
            let change = text("change");
            let moved = if event["from"].is_string() && event["to"].is_string() {
                format!(": from {} to {}", node_of("from"), node_of("to"))
            } else {
                String::new()
            };
            let tone = if change == "given_up" { Tone::Bad } else { Tone::Plain };
            (format!("{workload} {} on {node}{moved}", printable(&change.replace('_', " "))), tone)
        }
        "rollout" => {
            let stage = text("stage");
            let tone = match stage {
                "completed" | "promoted" | "deployed" => Tone::Good,
                "rolled_back" | "nowhere" => Tone::Bad,
                _ => Tone::Warn,
            };
            let on = if event["node"].is_string() { format!(" on {node}") } else { String::new() };
            (format!("{workload} {}{on}", printable(&stage.replace('_', " "))), tone)
        }
        other => (printable(other), Tone::Plain),
    };
    let why = event["reason"].as_str().map(|why| format!(": {}", printable(why))).unwrap_or_default();
    let about = ["node", "workload"].into_iter().filter_map(|field| event[field].as_str()).map(str::to_owned);
    Happened { at_ms: event["at_ms"].as_u64().unwrap_or_default(), words: words + &why, tone, about: about.collect() }
}

fn member(node: &str, status: &str) -> (String, Tone) {
    let (words, tone) = match status {
        "joined" => ("joined", Tone::Good),
        "suspect" => ("does not answer", Tone::Warn),
        "refuted" => ("answers again", Tone::Good),
        "lost" => ("is lost", Tone::Bad),
        "returned" => ("is back", Tone::Good),
        "left" => ("has left", Tone::Warn),
        "retired" => ("was retired", Tone::Warn),
        other => return (format!("{node} {}", printable(other)), Tone::Plain),
    };
    (format!("{node} {words}"), tone)
}

fn link(node: &str, change: &str) -> (String, Tone) {
    let (words, tone) = match change {
        "up" => ("is up", Tone::Good),
        "down" => ("is down", Tone::Warn),
        "slowed" => ("is slowed for its conduct", Tone::Warn),
        "refused" => ("is refused for its conduct", Tone::Bad),
        "two_holders" => ("shows two holders of one key", Tone::Bad),
        other => return (format!("link to {node} {}", printable(other)), Tone::Plain),
    };
    (format!("link to {node} {words}"), tone)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn events_are_told_in_sentences_and_only_what_is_new() {
        let placement = |phase: &str, at_ms: u64| json!({"kind": "placement", "at_ms": at_ms, "workload": "combat", "node": "B", "digest": "d", "phase": phase});
        let events = json!([
            {"kind": "member", "at_ms": 7, "node": "B", "name": "b", "status": "lost"},
            {"kind": "link", "at_ms": 6, "node": "C", "name": "evil\u{1b}[2J", "change": "down", "reason": "timed\nout"},
            placement("ready", 5),
            placement("ready", 4),
            placement("starting", 3),
            {"kind": "decision", "at_ms": 2, "workload": "combat", "node": "B", "change": "started"},
            {"kind": "decision", "at_ms": 2, "workload": "combat", "node": "B", "change": "moved", "from": "A", "to": "B", "gain": 0.1},
            {"kind": "rollout", "at_ms": 1, "workload": "combat", "stage": "rolled_back", "reason": "it traps"},
            {"kind": "eclipse", "at_ms": 0},
        ]);
        let names = BTreeMap::from([("A", "edge-1".to_owned()), ("B", "edge-2".to_owned())]);
        let told = happened(&events, &names);
        let words: Vec<&str> = told.iter().map(|one| one.words.as_str()).collect();
        assert_eq!(
            words,
            [
                "edge-2 is lost",
                "link to evil\u{fffd}[2J is down: timed out",
                "combat ready on edge-2",
                "combat starting on edge-2",
                "combat moved on edge-2: from edge-1 to edge-2",
                "combat rolled back: it traps",
                "eclipse",
            ]
        );
        assert_eq!((told[0].tone, told[0].about.clone()), (Tone::Bad, vec!["B".to_owned()]));
        assert_eq!(happened(&Value::Null, &names), []);
    }

    #[test]
    fn what_is_older_than_a_day_has_its_date() {
        let at = |at_ms| Happened { at_ms, words: String::new(), tone: Tone::Plain, about: Vec::new() };
        assert_eq!(at(1_796_043_680_115).time(1_796_043_690_000), "13:01:20");
        assert_eq!(at(1_796_043_680_115).time(1_796_243_690_000), "11-30 13:01");
        assert_eq!(at(u64::MAX).time(0), "-");
    }
}
