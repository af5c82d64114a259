//! The members, each in a row: whether it is there and well, how far away, how far apart in state, what it has left.

use serde_json::Value;

use super::listing::{Cell, Column, Row, Side};
use crate::cli::terminal::Tone;
use crate::cli::units::{millis, size};
use crate::cli::{answers, cell};
use crate::top::model::{Model, called, list};

/// Milliseconds that a member may differ from this host without being called apart: while anybody writes, two are equal only now and then.
const IN_STEP_MS: u64 = 5_000;

const fn column(title: &'static str, width: u16, rank: u8, side: Side) -> Column {
    Column { title, width, rank, side }
}

/// Those of the list; at the least 38 columns of a terminal.
pub(super) const COLUMNS: [Column; 13] = [
    column("node", 12, 0, Side::Left),
    column("status", 9, 1, Side::LeftFixed),
    column("link", 9, 5, Side::LeftFixed),
    column("rtt", 7, 2, Side::Right),
    column("root", 7, 4, Side::LeftFixed),
    column("lag", 5, 6, Side::Right),
    column("load", 5, 3, Side::Right),
    column("memory", 9, 7, Side::Right),
    column("disk", 9, 9, Side::Right),
    column("cores", 5, 11, Side::Right),
    column("runs", 4, 10, Side::Right),
    column("region", 7, 8, Side::Left),
    column("release", 8, 12, Side::LeftFixed),
];

pub(super) fn title(model: &Model) -> String {
    let status = &model.seen.status;
    let unwell = model.nodes().iter().filter(|node| is_unwell(node)).count();
    let unwell = if unwell == 0 { String::new() } else { format!(", {unwell} not well") };
    format!("members, {} of {} alive{unwell}", cell(status, "/cluster/alive"), cell(status, "/cluster/members"))
}

pub(super) fn rows(model: &Model) -> Vec<Row> {
    model.nodes().iter().map(|node| row(model, node)).collect()
}

fn row(model: &Model, node: &Value) -> Row {
    let id = node["id"].as_str().unwrap_or_default();
    let peer = peer(model, id);
    let link = if id == model.own_id() { Cell::plain("this host".to_owned()) } else { word(peer, "/link/state") };
    let figure = |json: &Value, pointer: &str| json.pointer(pointer).and_then(Value::as_f64);
    let bytes = |pointer: &str| Cell::figure(figure(node, pointer), |_| bytes(node, pointer));
    let status = match cell(node, "/status") {
        status if status == "alive" && is_unwell(node) => Cell::plain("not well".to_owned()).toned(Tone::Bad),
        status => Cell::word(status),
    };
    let runs = model.workloads().iter().flat_map(|workload| list(&workload["instances"]));
    let runs = runs.filter(|instance| instance["node"] == id && answers(instance)).count();
    let load = figure(node, "/load");
    let busy = if load.is_some_and(|load| load >= 0.9) { Tone::Warn } else { Tone::Plain };
    let root = root(peer);
    Row {
        id: id.to_owned(),
        cells: vec![
            Cell::plain(called(node, "id")),
            status,
            link,
            Cell::figure(figure(peer, "/rtt_ms"), millis),
            Cell::plain(root.0.to_owned()).toned(root.1),
            Cell::figure(figure(peer, "/lag_commits"), |_| cell(peer, "/lag_commits")),
            Cell::figure(load, |load| format!("{:.0} %", load * 100.0)).toned(busy),
            bytes("/resources/memory_free_bytes"),
            bytes("/resources/disk_free_bytes"),
            Cell::figure(figure(node, "/resources/cpus"), |cpus| cpus.to_string()),
            Cell::figure(u32::try_from(runs).ok().map(f64::from), |_| runs.to_string()),
            Cell::plain(cell(node, "/region")),
            Cell::plain(cell(node, "/version")),
        ],
    }
}

/// What is known of the link to a member; `null` of this host.
pub(super) fn peer<'a>(model: &'a Model, id: &str) -> &'a Value {
    model.peers().iter().find(|peer| peer["node"] == id).unwrap_or(&Value::Null)
}

/// Whether a member's state is as here, in a word.
pub(super) fn root(peer: &Value) -> (&'static str, Tone) {
    // What a member held before it went out of reach says nothing of what it holds now.
    let is_away =
        matches!(peer.pointer("/link/state").and_then(Value::as_str), Some("dialing" | "resting" | "refused" | "none"));
    match peer["root_equal"].as_bool().filter(|_| !is_away) {
        Some(true) => ("equal", Tone::Good),
        Some(false) if peer["last_sync_ms"].as_u64().is_some_and(|ms| ms <= IN_STEP_MS) => ("in step", Tone::Good),
        Some(false) => ("differs", Tone::Warn),
        None => ("-", Tone::Plain),
    }
}

/// Whether a member that is there says that it is not well.
fn is_unwell(node: &Value) -> bool {
    node["healthy"] == false && node["status"] != "lost" && node["status"] != "left"
}

fn word(json: &Value, pointer: &str) -> Cell {
    Cell::word(cell(json, pointer))
}

/// A size that a document tells.
pub(super) fn bytes(json: &Value, pointer: &str) -> String {
    json.pointer(pointer).and_then(Value::as_u64).map_or_else(|| "-".to_owned(), size)
}
