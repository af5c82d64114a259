//! `peers`: every link on a line, and below what keeps those down that are not up.

use std::time::Duration;

use serde_json::Value;

use super::{bytes, list, resync, tail};
use crate::cli::output::{UNKNOWN, cell, printable};
use crate::cli::rows::table;
use crate::cli::units::millis;

/// Characters of a name in the table, so that a row fits into a terminal of 100 columns.
const NAME_CHARS: usize = 18;

/// The peers in a status document, one per row.
#[must_use]
pub(crate) fn peers(json: &Value) -> String {
    let mut rows = table(&["peer", "?id", "~status", "~link", ">rtt", "root", ">lag", "?>in", "?>out", "?>queued"]);
    let mut notes = String::new();
    let mut peers: Vec<&Value> = list(json, "peers").iter().collect();
    peers.sort_by_key(|peer| peer["name"].as_str());
    for peer in peers {
        // What a member held before it went out of reach says nothing of what it holds now.
        let is_away = matches!(
            peer.pointer("/link/state").and_then(Value::as_str),
            Some("dialing" | "resting" | "refused" | "none")
        );
        let root = match peer["root_equal"].as_bool().filter(|_| !is_away) {
            Some(true) => "equal",
            Some(false) => "differs",
            None => UNKNOWN,
        };
        let (name, id) = (cell(peer, "/name"), tail(&cell(peer, "/node")));
        notes += &note(&format!("{name} ({id})"), &peer["link"]);
        rows.add_row([
            name.chars().take(NAME_CHARS).collect(),
            id,
            cell(peer, "/status"),
            cell(peer, "/link/state"),
            peer["rtt_ms"].as_f64().map_or_else(|| UNKNOWN.to_owned(), millis),
            root.to_owned(),
            cell(peer, "/lag_commits"),
            bytes(peer, "/link/traffic/bytes_in"),
            bytes(peer, "/link/traffic/bytes_out"),
            cell(peer, "/link/traffic/queued_hints"),
        ]);
    }
    for link in json["unreached"].as_array().into_iter().flatten() {
        notes += &note(&cell(link, "/addresses"), link);
    }
    if let Some(resync) = resync(json) {
        notes += &format!("\nresync: {resync}");
    }
    match (list(json, "peers").is_empty(), notes.is_empty()) {
        (true, true) => "this agent knows of no other member".to_owned(),
        (true, false) => format!("this agent knows of no other member\n{notes}"),
        (false, true) => rows.to_string(),
        (false, false) => format!("{rows}\n{notes}"),
    }
}

/// What is to be said of a link that is not simply up; nothing of one that is and has dropped nothing.
fn note(who: &str, link: &Value) -> String {
    let state = cell(link, "/state");
    let mut said = Vec::new();
    if let Some(reason) = link["reason"].as_str() {
        said.push(printable(reason));
    }
    if let Some(ms) = link["next_try_ms"].as_u64() {
        let pause = humantime::format_duration(Duration::from_secs(ms.div_ceil(1_000)));
        said.push(if state == "refused" { format!("let in again in {pause}") } else { format!("next try in {pause}") });
    }
    if let Some(score) = link.pointer("/traffic/score").and_then(Value::as_u64).filter(|score| *score < 100) {
        said.push(format!("conduct {score} of 100"));
    }
    if let Some(drops) = link.pointer("/traffic/drops").and_then(Value::as_object).filter(|drops| !drops.is_empty()) {
        let drops: Vec<String> = drops.iter().map(|(reason, count)| format!("{} {count}", printable(reason))).collect();
        said.push(format!("dropped: {}", drops.join(", ")));
    }
    if said.is_empty() { String::new() } else { format!("\n{who} is {state}: {}", said.join("; ")) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn document() -> Value {
        let traffic = json!({"bytes_in": 2048, "bytes_out": 3 << 20, "queued_hints": 7, "score": 40, "drops": {"hint_queue_full": 3}});
        json!({
            "peers": [
                {"node": "12D3KooWBBBBBBBB", "name": "edge-2", "status": "alive", "rtt_ms": 1.2345, "root_equal": false,
                 "lag_commits": 4, "link": {"state": "slowed", "traffic": traffic}},
                {"node": "12D3KooWCCCCCCCC", "name": "a-name-that-is-rather-long-for-a-table", "status": "lost", "root_equal": true,
                 "link": {"state": "resting", "reason": "connection\u{1b}refused", "next_try_ms": 11_500}},
                {"node": "12D3KooWDDDDDDDD", "name": "edge-4", "status": "alive", "rtt_ms": 0.4, "root_equal": true,
                 "lag_commits": 0, "link": {"state": "connected", "traffic": {"score": 100, "drops": {}}}},
            ],
            "unreached": [{"state": "resting", "addresses": ["203.0.113.5:7412"], "reason": "timed out", "next_try_ms": 900}],
        })
    }

    #[test]
    fn links_are_told_with_what_keeps_them_down() {
        let text = peers(&document());
        for wanted in [
            "BBBBBBBB",
            "slowed",
            "1.2 ms",
            "2.0 KiB",
            "3.0 MiB",
            "edge-2 (BBBBBBBB) is slowed: conduct 40 of 100; dropped: hint_queue_full 3",
            "is resting: connection\u{fffd}refused; next try in 12s",
            "203.0.113.5:7412 is resting: timed out; next try in 1s",
        ] {
            assert!(text.contains(wanted), "{wanted:?} is not in\n{text}");
        }
        let away = text.lines().find(|line| line.contains("CCCCCCCC")).expect("is listed");
        assert!(!away.contains("equal"), "what it holds is not known:\n{text}");
        assert!(!text.contains("edge-4 (DDDDDDDD) is"), "nothing to say:\n{text}");
    }

    #[test]
    fn the_table_fits_into_a_terminal() {
        let widest = peers(&document()).lines().take(4).map(|line| line.trim_end().chars().count()).max();
        assert!(widest.is_some_and(|widest| widest <= 110), "{}", peers(&document()));
    }
}
