//! One member or one workload, closely.
//!
//! Owns the words of both. The invariant: what the agent tells is shown as it was told; a field that is missing is left out.

use std::time::{Duration, Instant};

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;
use serde_json::Value;

use super::{events, head, members, pictures, style, text, titled};
use crate::cli::terminal::Tone;
use crate::cli::units::{micros, millis, size, span};
use crate::cli::{answers, cell, explained, printable, rollout_stage};
use crate::top::looks::{Closely, Subject};
use crate::top::model::{Model, called, list};
use crate::top::ui::Ui;

/// Rows of the pictures above the text: of a member, and of a workload.
const PICTURE_ROWS: (u16, u16) = (4, 9);
/// Fewest rows that are left to the text.
const TEXT_ROWS_MIN: u16 = 8;
/// Characters of a name before what is said of it.
const NAME_CHARS: usize = 14;
/// Events that are told below.
const EVENTS_SHOWN: usize = 20;

/// Draws what is looked at closely.
pub(super) fn draw(frame: &mut Frame, area: Rect, model: &Model, ui: &mut Ui, now: Instant) {
    let subject = ui.subject.clone();
    let title = match &subject {
        Subject::Nothing => String::new(),
        Subject::Member(id) => format!("member {}", model.name_of(id)),
        Subject::Workload(name) => format!("workload {}", printable(name)),
    };
    let closely = match model.closely(&subject) {
        None => {
            frame.render_widget(Paragraph::new("looking…").block(titled(title)), area);
            return;
        }
        Some(Closely { problem: Some(problem), .. }) => {
            let problem = Line::styled(problem.clone(), style(Tone::Bad));
            text(frame, area, &title, &[problem], &mut ui.scrolled);
            return;
        }
        Some(closely) => closely,
    };
    let is_member = matches!(subject, Subject::Member(_));
    let wanted = if is_member { PICTURE_ROWS.0 } else { PICTURE_ROWS.1 };
    let has_calls = !list(&closely.document["status"]["latency_buckets"]).is_empty();
    let has_room = area.height >= wanted + TEXT_ROWS_MIN && (is_member || has_calls);
    let rows = if has_room { wanted } else { 0 };
    let [above, below] = Layout::vertical([Constraint::Length(rows), Constraint::Min(0)]).areas(area);
    let (id, mut lines) = match &subject {
        Subject::Member(id) => (id, member(model, id, &closely.document, now)),
        Subject::Workload(name) => (name, workload(model, closely)),
        Subject::Nothing => return,
    };
    if has_room && is_member {
        pictures::fullness(frame, above, "how full it is", &closely.document);
    } else if has_room {
        pictures::histogram(frame, above, &closely.document["status"]);
    }
    lines.push(Line::raw(""));
    let about = model.happened.iter().filter(|one| one.about.contains(id)).take(EVENTS_SHOWN);
    lines.extend(events(about));
    text(frame, below, &title, &lines, &mut ui.scrolled);
}

/// What is known of a member, of the link to it, and what it runs.
fn member(model: &Model, id: &str, node: &Value, now: Instant) -> Vec<Line<'static>> {
    let peer = members::peer(model, id);
    let known = |pointer: &str| Some(cell(node, pointer)).filter(|text| text != "-" && !text.is_empty());
    let link = |pointer: &str| Some(cell(&peer["link"], pointer)).filter(|text| text != "-");
    let age = node["age_ms"].as_u64().map(|ms| format!("{} ago", span(Duration::from_millis(ms))));
    let location = node["location"].as_object().map(|_| {
        let at = |pointer: &str| cell(node, pointer);
        format!("{}, {}", at("/location/lat"), at("/location/lon"))
    });
    let mut lines = vec![fact("status", fares(node))];
    if id == model.own_id() {
        // All that the head has no room for.
        lines.extend(head::health(model, now));
    }
    let facts = [
        ("not well", known("/ailment")),
        ("id", known("/id")),
        ("region", known("/region")),
        ("location", location),
        ("capabilities", known("/capabilities")),
        ("labels", labels(node)),
        ("roles", known("/roles")),
        ("release", known("/release")),
        ("addresses", known("/addresses")),
        ("said so", age),
    ];
    lines.extend(facts.into_iter().filter_map(|(name, said)| Some(fact(name, (said?, Tone::Plain)))));
    if id != model.own_id() {
        let state = cell(peer, "/link/state");
        lines.push(fact("link", (state.clone(), Tone::of(&state))));
        let ago = peer["last_sync_ms"].as_u64().map(|ms| format!("{} ago", span(Duration::from_millis(ms))));
        let traffic = |pointer: &str| members::bytes(&peer["link"], pointer);
        let moved = format!("{} in, {} out", traffic("/traffic/bytes_in"), traffic("/traffic/bytes_out"));
        let next = peer.pointer("/link/next_try_ms").and_then(Value::as_u64);
        let (root, tone) = members::root(peer);
        let facts = [
            ("because", link("/reason"), Tone::Warn),
            ("next try", next.map(|ms| format!("in {}", span(Duration::from_millis(ms)))), Tone::Plain),
            ("round trip", peer["rtt_ms"].as_f64().map(millis), Tone::Plain),
            ("reached by", link("/traffic/remote"), Tone::Plain),
            ("moved", link("/traffic/transport").map(|_| moved), Tone::Plain),
            ("waiting", link("/traffic/queued_hints").map(|hints| format!("{hints} hints")), Tone::Plain),
            ("conduct", link("/traffic/score").map(|score| format!("{score} of 100")), Tone::Plain),
            ("dropped", drops(peer), Tone::Warn),
            ("state root", Some(root.to_owned()), tone),
            ("lag", peer["lag_commits"].as_u64().map(|lag| format!("{lag} commits")), Tone::Plain),
            ("last equal", ago, Tone::Plain),
        ];
        lines.extend(facts.into_iter().filter_map(|(name, said, tone)| Some(fact(name, (said?, tone)))));
    }
    lines.push(fact("runs", (runs(model, id), Tone::Plain)));
    lines.extend(trips(model, node));
    lines
}

fn fares(node: &Value) -> (String, Tone) {
    let status = cell(node, "/status");
    match node["draining_since"].as_str() {
        Some(since) => (format!("{status} since {}", printable(since)), Tone::Warn),
        None => (status.clone(), Tone::of(&status)),
    }
}

fn labels(node: &Value) -> Option<String> {
    let labels = node["labels"].as_object()?.iter();
    let text: Vec<String> = labels.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or("?"))).collect();
    (!text.is_empty()).then(|| printable(&text.join(", ")))
}

fn drops(peer: &Value) -> Option<String> {
    let drops = peer.pointer("/link/traffic/drops")?.as_object().filter(|drops| !drops.is_empty())?;
    let text: Vec<String> = drops.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
    Some(printable(&text.join(", ")))
}

fn runs(model: &Model, id: &str) -> String {
    let here = |workload: &Value| {
        let instance = list(&workload["instances"]).iter().find(|instance| instance["node"] == id)?;
        let phase = if answers(instance) { String::new() } else { format!(" ({})", cell(instance, "/phase")) };
        Some(called(workload, "name") + &phase)
    };
    let all: Vec<String> = model.workloads().iter().filter_map(here).collect();
    if all.is_empty() { "nothing".to_owned() } else { all.join(", ") }
}

/// The round trips that it measured, the shortest first.
fn trips(model: &Model, node: &Value) -> Vec<Line<'static>> {
    let trips = node["round_trips_ms"].as_object().into_iter().flatten();
    let mut trips: Vec<(f64, &String)> = trips.filter_map(|(id, ms)| Some((ms.as_f64()?, id))).collect();
    trips.sort_by(|a, b| a.0.total_cmp(&b.0));
    let name = |at: usize| if at == 0 { "round trips" } else { "" };
    let line = |(at, (ms, id)): (usize, (f64, &String))| {
        fact(name(at), (format!("{:>8}  {}", millis(ms), model.name_of(id)), Tone::Plain))
    };
    trips.into_iter().enumerate().map(line).collect()
}

/// What is known of a workload, and why it runs where it does.
fn workload(model: &Model, closely: &Closely) -> Vec<Line<'static>> {
    let (document, status) = (&closely.document, &closely.document["status"]);
    let instances = list(&status["instances"]);
    let ready = instances.iter().filter(|instance| answers(instance)).count();
    let mut lines = vec![fact("ready", (format!("{ready} of {}", cell(status, "/replicas")), Tone::Plain))];
    lines.extend(instances.iter().map(|instance| {
        let (at, phase) = (model.name_of(instance["node"].as_str().unwrap_or("?")), cell(instance, "/phase"));
        let why = instance["reason"].as_str().map(|why| format!(": {}", printable(why))).unwrap_or_default();
        fact(&at, (format!("{phase}{why}"), Tone::of(&phase)))
    }));
    if let Some(stage) = rollout_stage(&status["rollout"], |id| model.name_of(id)) {
        lines.push(fact("rollout", (printable(&stage), Tone::Warn)));
    }
    let name = document["name"].as_str().unwrap_or_default();
    let rate = |rates: &std::collections::BTreeMap<String, f64>| {
        rates.get(name).map_or_else(|| "-".to_owned(), |rate| format!("{rate:.1}"))
    };
    let (calls, failed) = (rate(&model.calls_per_s), rate(&model.errors_per_s));
    lines.push(fact("calls/s here", (format!("{calls}, of which {failed} fail"), Tone::Plain)));
    let count = |pointer: &str| cell(status, pointer);
    let totals = format!("{}, {} refused, {} failed", count("/calls"), count("/refused"), count("/errors"));
    lines.push(fact("calls in all", (totals, Tone::Plain)));
    let latency =
        |pointer: &str| status.pointer(pointer).and_then(Value::as_u64).map_or_else(|| "-".to_owned(), micros);
    let recent = format!(
        "{} calls, {} failed, p50 {}, p99 {}, slowest {}",
        count("/recent/calls"),
        count("/recent/errors"),
        latency("/recent/latency_us/p50"),
        latency("/recent/latency_us/p99"),
        latency("/recent/latency_us/max")
    );
    lines.push(fact("last minutes", (recent, Tone::Plain)));
    let memory = document.pointer("/limits/memory").and_then(Value::as_u64).map_or_else(|| "-".to_owned(), size);
    let limits = format!("{memory} of memory, calls within {} ms", cell(document, "/limits/deadline_ms"));
    lines.push(fact("limits", (limits, Tone::Plain)));
    lines.push(fact("artifact", (cell(document, "/artifact"), Tone::Plain)));
    lines.push(Line::raw(""));
    // Each line of it is free of control characters; the lines themselves are ours.
    lines.extend(explained(&closely.placement).lines().map(|line| Line::raw(printable(line))));
    lines
}

fn fact(name: &str, (said, tone): (String, Tone)) -> Line<'static> {
    let name = super::listing::fitted(name, u16::try_from(NAME_CHARS).unwrap_or(u16::MAX));
    Line::from(vec![Span::styled(format!("{name:<NAME_CHARS$} "), style(Tone::Title)), Span::styled(said, style(tone))])
}
