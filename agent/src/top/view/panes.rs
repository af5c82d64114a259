//! Members, workloads and events, each as a part of the screen.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Line, Part};
use crate::cli::cell;
use crate::cli::terminal::Tone;
use crate::cli::units::{micros, millis, size};
use crate::top::changes::name;
use crate::top::model::Model;

/// A column: its title and its width; figures stand to the right.
type Column = (&'static str, usize, Side);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Left,
    Right,
}

const MEMBERS: [Column; 8] = [
    ("node", 16, Side::Left),
    ("status", 8, Side::Left),
    ("link", 9, Side::Left),
    ("rtt", 8, Side::Right),
    ("lag", 6, Side::Right),
    ("load", 5, Side::Right),
    ("memory", 9, Side::Right),
    ("region", 10, Side::Left),
];

const WORKLOADS: [Column; 7] = [
    ("workload", 16, Side::Left),
    ("ready", 6, Side::Right),
    ("calls/s", 8, Side::Right),
    ("errors", 7, Side::Right),
    ("p50", 8, Side::Right),
    ("p99", 8, Side::Right),
    ("where", 18, Side::Left),
];

/// The members, this host among them, with the links to the others.
pub(super) fn members(model: &Model) -> Part {
    let (status, nodes) = (&model.seen.status, model.seen.nodes.as_array().map_or(&[][..], Vec::as_slice));
    let peers = status["peers"].as_array().map_or(&[][..], Vec::as_slice);
    let by_id: BTreeMap<&str, &Value> = peers.iter().filter_map(|peer| Some((peer["node"].as_str()?, peer))).collect();
    let own = status.pointer("/node/id").and_then(Value::as_str).unwrap_or_default();
    let row = |node: &Value| {
        let id = node["id"].as_str().unwrap_or_default();
        let peer = by_id.get(id).copied().unwrap_or(&Value::Null);
        let link = if id == own { "this host".to_owned() } else { cell(peer, "/link/state") };
        let load = node["load"].as_f64().map_or_else(unknown, |load| format!("{:.0} %", load * 100.0));
        let memory = node.pointer("/resources/memory_free_bytes").and_then(Value::as_u64).map_or_else(unknown, size);
        let rtt = peer["rtt_ms"].as_f64().map_or_else(unknown, millis);
        line(
            &MEMBERS,
            [
                name(node, "id"),
                cell(node, "/status"),
                link,
                rtt,
                cell(peer, "/lag_commits"),
                load,
                memory,
                cell(node, "/region"),
            ],
        )
    };
    let (alive, all) = (cell(status, "/cluster/alive"), cell(status, "/cluster/members"));
    Part {
        title: format!("members, {alive} of {all} alive"),
        columns: Some(titles(&MEMBERS)),
        rows: nodes.iter().map(row).collect(),
    }
}

/// The workloads, with what came in on this host.
pub(super) fn workloads(model: &Model) -> Part {
    let nodes = model.seen.nodes.as_array().map_or(&[][..], Vec::as_slice);
    let names: BTreeMap<&str, String> =
        nodes.iter().filter_map(|node| Some((node["id"].as_str()?, name(node, "id")))).collect();
    let row = |workload: &Value| {
        let instances = workload["instances"].as_array().map_or(&[][..], Vec::as_slice);
        let ready = instances.iter().filter(|instance| instance["phase"] == "ready").count();
        let place = |instance: &Value| {
            let at = instance["node"]
                .as_str()
                .and_then(|id| names.get(id).cloned())
                .unwrap_or_else(|| cell(instance, "/node"));
            if instance["phase"] == "ready" { at } else { format!("{at} ({})", cell(instance, "/phase")) }
        };
        let called = name(workload, "name");
        let rate = model.calls_per_s.get(&called).map_or_else(unknown, |rate| format!("{rate:.0}"));
        let latency = |at: &str| {
            let us = workload.pointer(at).and_then(Value::as_u64).filter(|us| *us > 0);
            us.map_or_else(unknown, micros)
        };
        let (p50, p99) = (latency("/latency_us/p50"), latency("/latency_us/p99"));
        let places = instances.iter().map(place).collect::<Vec<_>>().join(", ");
        line(
            &WORKLOADS,
            [
                called,
                format!("{ready}/{}", cell(workload, "/replicas")),
                rate,
                cell(workload, "/errors"),
                p50,
                p99,
                places,
            ],
        )
    };
    let all = model.seen.status["workloads"].as_array().map_or(&[][..], Vec::as_slice);
    let title = format!("workloads, {} deployed, calls through this host", all.len());
    Part { title, columns: Some(titles(&WORKLOADS)), rows: all.iter().map(row).collect() }
}

/// What has happened, the newest last.
pub(super) fn events(model: &Model) -> Part {
    let rows = model.events.iter().map(|line| Line::plain(line.as_str())).collect();
    Part { title: "events since the start of this view (UTC)".to_owned(), columns: None, rows }
}

fn unknown() -> String {
    "-".to_owned()
}

fn titles(columns: &[Column]) -> Line {
    let cells = columns.iter().map(|column| fitted(&column.0.to_uppercase(), *column));
    Line::plain(cells.collect::<Vec<_>>().join(" "))
}

/// One row; the last column takes what room there is.
fn line<const N: usize>(columns: &[Column; N], cells: [String; N]) -> Line {
    let mut pieces = Vec::new();
    for (index, (text, column)) in cells.iter().zip(columns).enumerate() {
        let shown = if index + 1 == N { text.clone() } else { fitted(text, *column) };
        pieces.push((format!("{}{shown}", if index == 0 { "" } else { " " }), Tone::of(text)));
    }
    Line(pieces)
}

/// Cut or filled to the width of its column.
fn fitted(text: &str, (_, width, side): Column) -> String {
    let count = text.chars().count();
    if count > width {
        return text.chars().take(width.saturating_sub(1)).chain(['…']).collect();
    }
    match side {
        Side::Left => format!("{text:<width$}"),
        Side::Right => format!("{text:>width$}"),
    }
}
