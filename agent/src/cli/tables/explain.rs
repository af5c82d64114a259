//! `explain`: a decision about one workload, for people.
//!
//! Three tables and what holds things up: who may run it and with which score, what the scores were made from and how old that is, who may
//! not and why. The tables are at most a hundred columns wide as long as names are short.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::{bytes, decimal, list, percent, reason, rollouts, stands, tail};
use crate::cli::output::{UNKNOWN, cell, printable};
use crate::cli::rows::table;
use crate::cli::units::{size, span};

/// A placement, term by term.
#[must_use]
pub(crate) fn explain(json: &Value) -> String {
    let mut text = format!("{}\n{}\n", heading(json), weights(json));
    text += &sight(json);
    if let Some(stage) = rollouts::stage(&json["rollout"], called(&names(json))) {
        text += &format!("{}\n", printable(&stage));
    }
    text += &rules(json);
    text += &regions(json);
    let candidates = ranked(json);
    if !candidates.is_empty() {
        text += &format!("\n{}\n\n{}\n", scores(&candidates, list(json, "instances")), inputs(&candidates));
    }
    let rejected = list(json, "rejected");
    if !rejected.is_empty() {
        text += &format!("\n{}\n", refusals(rejected));
    }
    text += &moves(json);
    text += &here(json);
    text
}

/// What is wanted, what there is, and what is missing.
fn heading(json: &Value) -> String {
    let chosen = list(json, "candidates").iter().filter(|candidate| candidate["chosen"] == true).count() as u64;
    let kept = list(json, "rejected").iter().filter(|rejected| rejected["keeps"] == true).count() as u64;
    let everywhere = if json["everywhere"] == true { " (everywhere)" } else { "" };
    let mut text = format!("{}: wants {}{everywhere}, placed {chosen}", cell(json, "/workload"), cell(json, "/wanted"));
    if kept > 0 {
        text += &format!(", kept on hosts that do not qualify: {kept}");
    }
    let missing = json["wanted"].as_u64().unwrap_or(0).saturating_sub(chosen);
    if missing > 0 {
        text += &format!("; {missing} more when another host qualifies");
    }
    text
}

/// What the plan of a host is worth that sees too few others, and what becomes of the workload there; nothing where it sees most.
fn sight(json: &Value) -> String {
    if json.pointer("/sight/most") != Some(&Value::Bool(false)) {
        return String::new();
    }
    let policy = cell(json, "/partition");
    let then = match policy.split_once(' ') {
        Some(("stop-after", wait)) => format!("it does not run here once that has lasted {wait}"),
        Some(("home-only", home)) => format!("it runs here only while a host of region {home} is in sight"),
        Some(_) | None => "it runs on both sides of a cut".to_owned(),
    };
    format!(
        "{} sees {} of {} members, so this is the plan of its side alone; by `{policy}` {then}\n",
        cell(json, "/here/name"),
        cell(json, "/sight/seen"),
        cell(json, "/sight/members")
    )
}

fn weights(json: &Value) -> String {
    format!(
        "score = {}·resource + {}·latency + {}·load + {}·affinity; * is chosen",
        decimal(json, "/weights/resource", 2),
        decimal(json, "/weights/latency", 2),
        decimal(json, "/weights/load", 2),
        decimal(json, "/weights/affinity", 2)
    )
}

/// What the spec asks for beyond a number, on a line; nothing where it asks for nothing.
fn rules(json: &Value) -> String {
    let asks = &json["asks"];
    let all = |name: &str| {
        let texts = asks[name].as_array().into_iter().flatten().filter_map(Value::as_str);
        texts.map(|text| format!("{name} {text}")).collect::<Vec<_>>()
    };
    let one = |name: &str| asks[name].as_str().map(|text| format!("{name} {text}"));
    let counts = asks["per_region"].as_object().into_iter().flatten();
    let counts = counts.map(|(region, count)| format!("{count} in region {region}"));
    let latency = asks.pointer("/latency/max_ms").and_then(Value::as_u64);
    let limit = |name: &str| asks["limits"][name].as_u64();
    let said: Vec<String> = one("region")
        .into_iter()
        .chain(all("require"))
        .chain(all("must"))
        .chain(all("affinity"))
        .chain(counts)
        .chain(asks["spread"].as_str().filter(|spread| *spread != "any").map(|spread| format!("spread over {spread}")))
        .chain(latency.map(|ms| format!("at most {ms} ms from callers")))
        .chain(one("partition"))
        .chain(one("routing"))
        .chain(limit("memory").map(|bytes| format!("{} of memory", size(bytes))))
        .chain(limit("deadline_ms").map(|ms| format!("calls within {ms} ms")))
        .collect();
    if said.is_empty() { String::new() } else { format!("asks for: {}\n", printable(&said.join("; "))) }
}

/// Which host each region's count gave, where the spec counts by region or spreads over them.
fn regions(json: &Value) -> String {
    let counts = json.pointer("/asks/per_region").and_then(Value::as_object);
    if counts.is_none() && json.pointer("/asks/spread").is_none_or(|spread| spread != "regions") {
        return String::new();
    }
    let mut chosen: BTreeMap<String, Vec<String>> =
        counts.into_iter().flatten().map(|(region, _)| (printable(region), Vec::new())).collect();
    for candidate in list(json, "candidates").iter().filter(|candidate| candidate["chosen"] == true) {
        chosen.entry(cell(candidate, "/region")).or_default().push(cell(candidate, "/name"));
    }
    let line = |(region, hosts): (String, Vec<String>)| {
        let wanted =
            counts.and_then(|counts| counts.get(&region)).map_or_else(String::new, |count| format!(" of {count}"));
        let who = if hosts.is_empty() { String::new() } else { format!(": {}", hosts.join(", ")) };
        format!("region {region} gives {}{wanted}{who}\n", hosts.len())
    };
    chosen.into_iter().map(line).collect()
}

/// The candidates, the best first.
fn ranked(json: &Value) -> Vec<&Value> {
    let score = |candidate: &Value| candidate["score"].as_f64().unwrap_or(0.0);
    let mut best: Vec<_> = list(json, "candidates").iter().collect();
    best.sort_by(|a, b| score(b).total_cmp(&score(a)));
    best
}

fn scores(candidates: &[&Value], instances: &[Value]) -> String {
    let mut rows = table(&["", "node", ">score", ">resource", ">latency", "?>load", "?>affinity", "~state there"]);
    for candidate in candidates {
        rows.add_row([
            if candidate["chosen"] == true { "*".to_owned() } else { String::new() },
            cell(candidate, "/name"),
            decimal(candidate, "/score", 3),
            decimal(candidate, "/terms/resource", 2),
            decimal(candidate, "/terms/latency", 2),
            decimal(candidate, "/terms/load", 2),
            decimal(candidate, "/terms/affinity", 2),
            there(candidate, instances),
        ]);
    }
    rows.to_string()
}

/// How far the workload has got on a host that may run it: in the words of `workloads`, where the agent tells its instances.
fn there(candidate: &Value, instances: &[Value]) -> String {
    let own = instances.iter().find(|instance| instance["node"] == candidate["node"]);
    if let Some(instance) = own {
        return stands(instance).unwrap_or_else(|| "ready".to_owned());
    }
    let state = state(cell(candidate, "/inputs/phase"), candidate.pointer("/inputs/reason"));
    let is_suspect = candidate.pointer("/inputs/suspected") == Some(&Value::Bool(true));
    if is_suspect { format!("{state}; host is suspect") } else { state }
}

/// How far the workload has got on a host, and if it failed, why.
fn state(phase: String, failure: Option<&Value>) -> String {
    match failure.and_then(Value::as_str) {
        Some(failure) => format!("{phase}: {}", printable(failure)),
        None => phase,
    }
}

fn inputs(candidates: &[&Value]) -> String {
    let mut rows =
        table(&["node", ">memory free", ">cpu used", ">load", ">rtt from callers", "?>rules", "?>age", "~note"]);
    for candidate in candidates {
        rows.add_row([
            cell(candidate, "/name"),
            bytes(candidate, "/inputs/memory_free"),
            percent(candidate, "/inputs/cpu_used_share"),
            percent(candidate, "/inputs/load"),
            round_trip(candidate),
            format!("{}/{}", cell(candidate, "/inputs/rules_held"), cell(candidate, "/inputs/rules")),
            age(candidate),
            notes(candidate),
        ]);
    }
    rows.to_string()
}

fn round_trip(candidate: &Value) -> String {
    format!(
        "{} of {} ms",
        decimal(candidate, "/inputs/round_trip_ms", 1),
        decimal(candidate, "/inputs/round_trip_limit_ms", 0)
    )
}

/// How old a host's figures are.
fn age(candidate: &Value) -> String {
    let age_ms = candidate.pointer("/inputs/age_ms").and_then(Value::as_u64);
    age_ms.map_or_else(|| UNKNOWN.to_owned(), |ms| span(Duration::from_secs(ms / 1_000)))
}

/// What to know of the figures: old ones count less, some are not believed, some were never measured.
fn notes(candidate: &Value) -> String {
    let number = |pointer: &str| candidate.pointer(pointer).and_then(Value::as_f64);
    let mut notes = Vec::new();
    if let Some(freshness) = number("/inputs/freshness").filter(|freshness| *freshness < 1.0) {
        notes.push(format!("counts {:.0} % as it is old", freshness * 100.0));
    }
    if candidate.pointer("/inputs/doubted") == Some(&Value::Bool(true)) {
        notes.push("doubted".to_owned());
    }
    if let Some(callers) = number("/inputs/callers_unmeasured").filter(|callers| *callers > 0.0) {
        notes.push(format!("{callers} of {} callers unmeasured", cell(candidate, "/inputs/callers")));
    }
    if let Some(promised) = number("/inputs/promised").filter(|promised| *promised > 0.0) {
        notes.push(format!("{promised} more just placed"));
    }
    notes.join(", ")
}

fn refusals(rejected: &[Value]) -> String {
    let mut rows = table(&["does not qualify", "~because it", "~state there"]);
    for host in rejected {
        let there = state(cell(host, "/phase"), host.get("failure"));
        let is_gone = host.pointer("/reason/code").is_some_and(|code| code == "lost" || code == "left");
        let there = match host["keeps"].as_bool() {
            Some(true) => format!("{there}, kept for want of others"),
            // Whoever has gone says nothing any more.
            Some(false) | None if is_gone && host["phase"].is_string() => format!("{there} when last heard"),
            Some(false) | None => there,
        };
        rows.add_row([cell(host, "/name"), reason(host), there]);
    }
    rows.to_string()
}

/// Names by id, as far as the decision tells them.
fn names(json: &Value) -> BTreeMap<&str, &str> {
    let all = list(json, "candidates").iter().chain(list(json, "rejected"));
    all.filter_map(|host| Some((host["node"].as_str()?, host["name"].as_str()?))).collect()
}

/// Tells a host's name by its id; the end of the id where the decision tells no name.
fn called(names: &BTreeMap<&str, &str>) -> impl Fn(&str) -> String {
    |id| names.get(id).map_or_else(|| tail(id), |name| printable(name))
}

fn moves(json: &Value) -> String {
    let names = names(json);
    let called = called(&names);
    let name = |id: &Value| called(id.as_str().unwrap_or(UNKNOWN));
    let line = |step: &Value| {
        let (from, to) = (name(&step["from"]), name(&step["to"]));
        format!("move: {from} to {to}, for a score better by {}\n", decimal(step, "/gain", 3))
    };
    let moves: String = list(json, "moves").iter().map(line).collect();
    if moves.is_empty() { moves } else { format!("\n{moves}") }
}

/// What the agent that was asked waits for itself, and how long its last start took.
fn here(json: &Value) -> String {
    let Some(here) = json.get("here") else { return String::new() };
    let own = cell(here, "/name");
    let mut text = match here.pointer("/waiting/message").and_then(Value::as_str) {
        Some(waiting) => {
            // Hosts are named by id there.
            let named =
                names(json).iter().fold(printable(waiting), |text, (id, name)| text.replace(id, &printable(name)));
            format!("\n{own} waits: {named}\n")
        }
        None => format!("\n{own} waits for nothing\n"),
    };
    let hosts = list(json, "candidates").len() + list(json, "rejected").len();
    if hosts > 1 {
        text += "what another host waits for, that host knows: ask it with --api\n";
    }
    text + &last_start(here.get("last_start").unwrap_or(&Value::Null), &own)
}

fn last_start(start: &Value, own: &str) -> String {
    let Some(total) = start["total_ms"].as_f64() else { return String::new() };
    let stages: Vec<_> = list(start, "stages")
        .iter()
        .map(|stage| format!("{} {:.1} ms", cell(stage, "/stage"), stage["ms"].as_f64().unwrap_or(0.0)))
        .collect();
    let how = start["error"].as_str().map_or_else(String::new, |error| format!(", which failed: {}", printable(error)));
    format!("last start on {own} took {total:.1} ms ({}){how}\n", stages.join(", "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A decision with everything that may be said of one.
    fn decision() -> Value {
        let terms = json!({"resource": 0.5, "latency": 1.0, "load": 0.25, "affinity": 1.0});
        let inputs = |age_ms: u64, phase: Option<&str>| {
            json!({"memory_free": 1_300_000_000_u64, "cpu_used_share": 0.12, "load": 0.031, "round_trip_ms": 12.34,
                "round_trip_limit_ms": 100.0, "rules_held": 1, "rules": 2, "age_ms": age_ms, "freshness": 1.0, "doubted": age_ms > 0, "suspected": age_ms == 0,
                "callers": 3, "callers_unmeasured": 0, "promised": 0, "phase": phase})
        };
        json!({
            "workload": "combat", "wanted": 4, "everywhere": false,
            "asks": {"must": ["!workload=chat"], "affinity": ["label:tier=edge"], "per_region": {"eu": 1, "us": 3},
                "spread": "any", "partition": "stop-after 30s", "routing": "session",
                "limits": {"memory": 67_108_864, "deadline_ms": 5}},
            "rollout": {"stage": "canary", "canary": "12D3B", "calls": 3, "remaining_ms": 2_000},
            "weights": {"resource": 0.3, "latency": 0.4, "load": 0.2, "affinity": 0.1},
            "candidates": [
                {"node": "12D3A", "name": "worse", "score": 0.5, "terms": terms, "inputs": inputs(62_000, None), "chosen": false},
                {"node": "12D3B", "name": "better", "region": "eu", "score": 0.7, "terms": terms, "inputs": inputs(0, Some("ready")), "chosen": true},
            ],
            "rejected": [
                {"node": "12D3C", "name": "far", "reason": {"code": "region"}, "message": "is in us, not eu", "phase": null},
                {"node": "12D3D", "name": "old", "message": "is draining", "phase": "ready", "keeps": true},
                {"node": "12D3E", "name": "gone", "reason": {"code": "lost"}, "message": "is lost: not heard for 42s",
                 "phase": "ready", "keeps": false},
            ],
            "moves": [{"from": "12D3B", "to": "12D3A", "gain": 0.15}],
            "here": {"node": "12D3A", "name": "worse",
                "waiting": {"waiting": "dwelling", "message": "dwelling: has been better than 12D3B for 12s of 30s"},
                "last_start": {"total_ms": 41.0, "error": null, "stages": [{"stage": "compiling", "ms": 39.25}]}},
        })
    }

    #[test]
    fn a_decision_shows_terms_inputs_with_their_age_rejections_and_what_is_waited_for() {
        let text = explain(&decision());
        for wanted in [
            "combat: wants 4, placed 1, kept on hosts that do not qualify: 1; 3 more when another host qualifies",
            "0.30·resource + 0.40·latency",
            "0.700",
            "1.2 GiB",
            "12 %",
            "12.3 of 100 ms",
            "1m 2s",
            "doubted",
            "is in us, not eu",
            "ready, kept for want of others",
            "ready when last heard",
            "ready; host is suspect",
            "asks for: must !workload=chat; affinity label:tier=edge; 1 in region eu; 3 in region us; partition stop-after 30s; routing session; 64.0 MiB of memory; calls within 5 ms\n",
            "better tries the new version: 3 calls",
            "region eu gives 1 of 1: better\nregion us gives 0 of 3\n",
            "move: better to worse, for a score better by 0.150",
            "worse waits: dwelling: has been better than better for 12s of 30s",
            "last start on worse took 41.0 ms (compiling 39.2 ms)",
        ] {
            assert!(text.contains(wanted), "{wanted:?} is not in\n{text}");
        }
        assert!(text.find("better") < text.find("worse"), "best first:\n{text}");
        let tables = text.lines().filter(|line| !line.starts_with("asks for"));
        let widest = tables.map(|line| line.trim_end().chars().count()).max().unwrap_or(0);
        assert!(widest <= 100, "{widest} columns:\n{text}");
    }

    #[test]
    fn a_host_that_is_cut_off_says_so_and_what_follows() {
        let cut = |policy: &str, most: bool| {
            let mut decision = decision();
            decision["partition"] = json!(policy);
            decision["sight"] = json!({"seen": 1, "members": 3, "most": most});
            explain(&decision)
        };
        for (policy, then) in [
            ("keep-both", "it runs on both sides of a cut"),
            ("stop-after 30s", "it does not run here once that has lasted 30s"),
            ("home-only eu", "it runs here only while a host of region eu is in sight"),
        ] {
            let text = cut(policy, false);
            let wanted =
                format!("worse sees 1 of 3 members, so this is the plan of its side alone; by `{policy}` {then}\n");
            assert!(text.contains(&wanted), "{text}");
        }
        assert!(!cut("keep-both", true).contains("1 of 3 members"));
    }

    #[test]
    fn a_host_that_serves_the_version_before_says_so_as_workloads_does() {
        let mut decision = decision();
        let previous = json!({"node": "12D3B", "phase": "starting", "reason": "serves the previous version until …", "serves_previous": true});
        let own = json!({"node": "12D3A", "phase": "starting", "reason": "is compiling"});
        decision["instances"] = json!([previous, own]);
        let text = explain(&decision);
        for wanted in ["previous version", "starting: is compiling"] {
            assert!(text.contains(wanted), "{wanted} is not in\n{text}");
        }
    }
}
