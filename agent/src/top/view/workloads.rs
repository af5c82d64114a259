//! The workloads, each in a row: how much of it runs and where, and how calls fare that come in on this host.

use serde_json::Value;

use super::listing::{Cell, Column, Row, Side};
use crate::cli::terminal::Tone;
use crate::cli::units::micros;
use crate::cli::{answers, cell};
use crate::top::model::{Model, called, list};

const fn column(title: &'static str, width: u16, rank: u8, side: Side) -> Column {
    Column { title, width, rank, side }
}

/// Those of the list; at the least 38 columns of a terminal.
pub(super) const COLUMNS: [Column; 8] = [
    column("workload", 14, 0, Side::Left),
    column("ready", 5, 1, Side::Right),
    column("calls/s", 7, 2, Side::Right),
    column("failed", 6, 4, Side::Right),
    column("p50", 8, 5, Side::Right),
    column("p99", 8, 3, Side::Right),
    column("where", 23, 6, Side::Left),
    column("rollout", 11, 7, Side::LeftFixed),
];

pub(super) fn title(model: &Model) -> String {
    format!("workloads, {} deployed; calls through this host, of the last minutes", model.workloads().len())
}

pub(super) fn rows(model: &Model) -> Vec<Row> {
    let row = |workload: &Value| {
        let instances = list(&workload["instances"]);
        let ready = instances.iter().filter(|instance| answers(instance)).count() as u64;
        let is_short = workload["replicas"].as_u64().is_some_and(|wanted| ready < wanted);
        let tone = match (is_short, ready) {
            (true, 0) => Tone::Bad,
            (true, _) => Tone::Warn,
            (false, _) => Tone::Plain,
        };
        let name = workload["name"].as_str().unwrap_or_default();
        let failed = workload.pointer("/recent/errors").and_then(Value::as_f64);
        let latency = |pointer: &str| {
            let us = workload.pointer(pointer).and_then(Value::as_u64).filter(|us| *us > 0);
            Cell::figure(us.and_then(|us| u32::try_from(us).ok()).map(f64::from), |_| micros(us.unwrap_or_default()))
        };
        let stage = cell(workload, "/rollout/stage");
        Row {
            id: name.to_owned(),
            cells: vec![
                Cell::plain(called(workload, "name")),
                Cell::figure(u32::try_from(ready).ok().map(f64::from), |_| {
                    format!("{ready}/{}", cell(workload, "/replicas"))
                })
                .toned(tone),
                Cell::figure(model.calls_per_s.get(name).copied(), |rate| format!("{rate:.0}")),
                Cell::figure(failed, |failed| failed.to_string()).toned(if failed > Some(0.0) {
                    Tone::Warn
                } else {
                    Tone::Plain
                }),
                latency("/recent/latency_us/p50"),
                latency("/recent/latency_us/p99"),
                Cell::plain(places(model, instances)),
                Cell::plain(stage.replace('_', " ")).toned(stage_tone(&stage)),
            ],
        }
    };
    model.workloads().iter().map(row).collect()
}

fn places(model: &Model, instances: &[Value]) -> String {
    let place = |instance: &Value| {
        let at = model.name_of(instance["node"].as_str().unwrap_or("?"));
        if answers(instance) { at } else { format!("{at} ({})", cell(instance, "/phase")) }
    };
    // What is not ready is what one looks for.
    let (ready, others): (Vec<_>, Vec<_>) = instances.iter().partition(|instance| answers(instance));
    others.into_iter().chain(ready).map(place).collect::<Vec<_>>().join(", ")
}

fn stage_tone(stage: &str) -> Tone {
    match stage {
        "done" | "-" => Tone::Plain,
        "rolled_back" | "nowhere" | "fenced" => Tone::Bad,
        _ => Tone::Warn,
    }
}
