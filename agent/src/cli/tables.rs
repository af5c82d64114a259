//! `status`, `nodes`, `peers`, `workloads` and `explain`: the agent's documents as tables for people.
//!
//! Owns columns and units; asks for nothing. The invariant: a document with a field missing still shows, with a dash there,
//! so that the CLI of one version can look at the agent of another.

mod peers;

use std::collections::BTreeMap;

use serde_json::Value;

pub(crate) use self::peers::peers;
use super::output::{UNKNOWN, cell, short, table};

/// Characters of a root in a table: enough to compare by eye.
const ROOT_CHARS: usize = 16;
/// Characters at the end of a node's id that tell it apart; all ids begin alike.
const ID_CHARS: usize = 8;
/// Characters of a digest after its algorithm.
const DIGEST_CHARS: usize = 19;

/// What `GET /v1/status` says, for people.
#[must_use]
pub(crate) fn status(json: &Value) -> String {
    let at = |pointer: &str| cell(json, pointer);
    let health = match json.pointer("/health/ok").and_then(Value::as_bool) {
        Some(true) if json["health"]["notes"].is_array() => format!("ok; {}", at("/health/notes")),
        Some(true) => "ok".to_owned(),
        Some(false) => format!("not well: {}", at("/health/reasons")),
        None => UNKNOWN.to_owned(),
    };
    let uptime = json.pointer("/node/uptime_s").and_then(Value::as_u64);
    let uptime = uptime.map(|s| humantime::format_duration(std::time::Duration::from_secs(s)).to_string());
    let left = json.pointer("/cluster/certificate_seconds_left").and_then(Value::as_u64);
    let certificate = left.map_or_else(String::new, |left| {
        let left = std::time::Duration::from_secs(left);
        format!("\ncertificate holds for {}", humantime::format_duration(left))
    });
    let mut text = format!(
        "node       {} ({}), region {}, incarnation {}\nversion    {}, up {}\ncluster    {}, {} of {} members alive, epoch {}{certificate}\nstate      root {}, {} keys, {} commits, {} bytes\nhealth     {health}\n",
        at("/node/name"),
        at("/node/id"),
        at("/node/region"),
        at("/node/incarnation"),
        at("/node/version"),
        uptime.as_deref().unwrap_or(UNKNOWN),
        at("/cluster/name"),
        at("/cluster/alive"),
        at("/cluster/members"),
        at("/cluster/epoch"),
        short(&at("/state/root"), ROOT_CHARS),
        at("/state/keys"),
        at("/state/commits"),
        at("/state/bytes"),
    );
    if json["peers"].as_array().is_some_and(|peers| !peers.is_empty()) {
        text += &format!("\n{}\n", peers(json));
    }
    if json["workloads"].as_array().is_some_and(|workloads| !workloads.is_empty()) {
        text += &format!("\n{}\n", workloads(json));
    }
    text
}

/// The members, one per row.
#[must_use]
pub(crate) fn nodes(json: &Value) -> String {
    let mut rows =
        table(&["node", "id", "region", "status", "load", "cpus", "memory free", "disk free", "capabilities"]);
    for node in list(json, "nodes") {
        rows.add_row([
            cell(node, "/name"),
            tail(&cell(node, "/id")),
            cell(node, "/region"),
            fares(node),
            percent(node, "/load"),
            cell(node, "/resources/cpus"),
            bytes(node, "/resources/memory_free_bytes"),
            bytes(node, "/resources/disk_free_bytes"),
            cell(node, "/capabilities"),
        ]);
    }
    rows.to_string()
}

/// Whether a member is there; of one that is being emptied, since when.
fn fares(node: &Value) -> String {
    match node["draining_since"].as_str() {
        Some(since) if node["status"] == "draining" => format!("draining since {}", super::output::printable(since)),
        Some(_) | None => cell(node, "/status"),
    }
}

/// The workloads in a status document, one per row.
#[must_use]
pub(crate) fn workloads(json: &Value) -> String {
    let names = names(json);
    let mut rows =
        table(&["workload", "ready", "instances", "calls here", "errors", "p50 (us)", "p99 (us)", "artifact"]);
    for workload in list(json, "workloads") {
        let instances = workload["instances"].as_array().map_or(&[][..], Vec::as_slice);
        let ready = instances.iter().filter(|instance| instance["phase"] == "ready").count();
        let places: Vec<_> = instances.iter().map(|instance| place(instance, &names)).collect();
        rows.add_row([
            cell(workload, "/name"),
            format!("{ready}/{}", cell(workload, "/replicas")),
            if places.is_empty() { UNKNOWN.to_owned() } else { places.join(", ") },
            cell(workload, "/calls"),
            cell(workload, "/errors"),
            cell(workload, "/latency_us/p50"),
            cell(workload, "/latency_us/p99"),
            short(&cell(workload, "/digest"), DIGEST_CHARS),
        ]);
    }
    rows.to_string()
}

/// A placement, term by term.
#[must_use]
pub(crate) fn explain(json: &Value) -> String {
    let at = |pointer: &str| cell(json, pointer);
    let wanted = match json["everywhere"].as_bool() {
        Some(true) => format!("everywhere ({})", at("/wanted")),
        Some(false) | None => at("/wanted"),
    };
    let mut rows = table(&["", "node", "score", "resource", "latency", "load", "affinity", "rtt (ms)", "runs"]);
    let mut best: Vec<_> = list(json, "candidates").iter().collect();
    let score = |candidate: &Value| candidate["score"].as_f64().unwrap_or(0.0);
    best.sort_by(|a, b| score(b).total_cmp(&score(a)));
    for candidate in best {
        rows.add_row([
            if candidate["chosen"] == true { "*".to_owned() } else { String::new() },
            cell(candidate, "/name"),
            decimal(candidate, "/score", 3),
            decimal(candidate, "/terms/resource", 3),
            decimal(candidate, "/terms/latency", 3),
            decimal(candidate, "/terms/load", 3),
            decimal(candidate, "/terms/affinity", 3),
            decimal(candidate, "/inputs/round_trip_ms", 2),
            cell(candidate, "/inputs/phase"),
        ]);
    }
    let weights = format!(
        "score = {}·resource + {}·latency + {}·load + {}·affinity; * is chosen",
        decimal(json, "/weights/resource", 2),
        decimal(json, "/weights/latency", 2),
        decimal(json, "/weights/load", 2),
        decimal(json, "/weights/affinity", 2)
    );
    let stay = "an instance that runs stays where it is, unless a better score elsewhere exceeds its own by the threshold for the dwell time";
    let mut text = format!("workload {}, instances wanted: {wanted}\n{weights}\n{stay}\n\n{rows}\n", at("/workload"));
    let rejected = list(json, "rejected");
    if !rejected.is_empty() {
        let mut rows = table(&["rejected", "because"]);
        rejected.iter().for_each(|node| {
            rows.add_row([cell(node, "/name"), reason(node)]);
        });
        text += &format!("\n{rows}\n");
    }
    text
}

fn reason(rejected: &Value) -> String {
    match cell(rejected, "/message") {
        none if none == UNKNOWN => cell(rejected, "/reason"),
        message => message,
    }
}

/// The list called `name`, or the document itself when it is a list.
fn list<'a>(json: &'a Value, name: &str) -> &'a [Value] {
    json.as_array().or_else(|| json[name].as_array()).map_or(&[], Vec::as_slice)
}

/// Names by id, as far as a status document tells them.
fn names(status: &Value) -> BTreeMap<&str, &str> {
    let own = std::iter::once((&status["node"]["id"], &status["node"]["name"]));
    let peers = status["peers"].as_array().into_iter().flatten().map(|peer| (&peer["node"], &peer["name"]));
    own.chain(peers).filter_map(|(id, name)| Some((id.as_str()?, name.as_str()?))).collect()
}

fn place(instance: &Value, names: &BTreeMap<&str, &str>) -> String {
    let id = cell(instance, "/node");
    let name = names.get(id.as_str()).map_or_else(|| tail(&id), |name| super::output::printable(name));
    match (instance["phase"].as_str(), instance["reason"].as_str()) {
        (Some("ready"), None) => name,
        (_, Some(reason)) => format!("{name} ({}: {})", cell(instance, "/phase"), super::output::printable(reason)),
        (_, None) => format!("{name} ({})", cell(instance, "/phase")),
    }
}

/// The end of an id, which tells it from others.
pub(super) fn tail(id: &str) -> String {
    let skip = id.chars().count().saturating_sub(ID_CHARS);
    id.chars().skip(skip).collect()
}

fn decimal(json: &Value, pointer: &str, digits: usize) -> String {
    json.pointer(pointer).and_then(Value::as_f64).map_or_else(|| cell(json, pointer), |x| format!("{x:.digits$}"))
}

fn percent(json: &Value, pointer: &str) -> String {
    let share = json.pointer(pointer).and_then(Value::as_f64);
    share.map_or_else(|| UNKNOWN.to_owned(), |share| format!("{:.0} %", share * 100.0))
}

fn bytes(json: &Value, pointer: &str) -> String {
    let Some(bytes) = json.pointer(pointer).and_then(Value::as_u64) else { return UNKNOWN.to_owned() };
    let (unit, name) = match bytes {
        0..0x10_0000 => (1 << 10, "KiB"),
        0x10_0000..0x4000_0000 => (1 << 20, "MiB"),
        _ => (1 << 30, "GiB"),
    };
    format!("{}.{} {name}", bytes / unit, bytes % unit * 10 / unit)
}

#[cfg(test)]
mod tests;
