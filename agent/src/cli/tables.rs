//! `status`, `nodes`, `peers`, `workloads` and `explain`: the agent's documents as tables for people.
//!
//! Owns columns and units; asks for nothing. The invariant: a document with a field missing still shows, with a dash there,
//! so that the CLI of one version can look at the agent of another.

mod explain;
mod peers;
pub(super) mod rollouts;

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

pub(crate) use self::explain::explain;
pub(crate) use self::peers::peers;
pub(crate) use self::rollouts::stage as rollout_stage;
use super::output::{UNKNOWN, cell, short};
use super::rows::table;
use super::units::{micros, size, span};

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
    let sentences = |pointer: &str| {
        let told = json.pointer(pointer).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        told.map(super::output::printable).collect::<Vec<_>>().join("\n           ")
    };
    let health = match json.pointer("/health/ok").and_then(Value::as_bool) {
        Some(true) if json["health"]["notes"].is_array() => format!("ok; {}", sentences("/health/notes")),
        Some(true) => "ok".to_owned(),
        Some(false) => format!("not well: {}", sentences("/health/reasons")),
        None => UNKNOWN.to_owned(),
    };
    let uptime = json.pointer("/node/uptime_s").and_then(Value::as_u64);
    let uptime = uptime.map(|s| span(Duration::from_secs(s)));
    let left = json.pointer("/cluster/certificate_seconds_left").and_then(Value::as_u64);
    let certificate = match left {
        None => String::new(),
        Some(0) => "\ncertificate has expired".to_owned(),
        Some(left) => format!("\ncertificate holds for {}", span(Duration::from_secs(left))),
    };
    let cluster = if at("/cluster/id") == crate::config::CLUSTER_DEFAULT {
        "none (development: it meets whoever also belongs to none)".to_owned()
    } else {
        at("/cluster/name")
    };
    let mut text = format!(
        "node       {} ({}), region {}, incarnation {}\nversion    {}, up {}\ncluster    {}, {} of {} members alive, epoch {}{certificate}\nstate      root {}, {} keys, {} commits, {}\nhealth     {health}\n",
        at("/node/name"),
        at("/node/id"),
        at("/node/region"),
        at("/node/incarnation"),
        version(json),
        uptime.as_deref().unwrap_or(UNKNOWN),
        cluster,
        at("/cluster/alive"),
        at("/cluster/members"),
        at("/cluster/epoch"),
        short(&at("/state/root"), ROOT_CHARS),
        at("/state/keys"),
        at("/state/commits"),
        bytes(json, "/state/bytes"),
    );
    text += &resync(json).map_or_else(String::new, |resync| format!("resync     {resync}\n"));
    if json["peers"].as_array().is_some_and(|peers| !peers.is_empty()) {
        text += &format!("\n{}\n", peers(json));
    }
    if json["workloads"].as_array().is_some_and(|workloads| !workloads.is_empty()) {
        text += &format!("\n{}\n", workloads(json));
    }
    text
}

/// The version of the agent, and the commit that it was built from, if it tells it.
fn version(json: &Value) -> String {
    let version = cell(json, "/node/version");
    match json.pointer("/node/commit").and_then(Value::as_str) {
        Some(commit) => format!("{version} ({})", super::output::printable(commit)),
        None => version,
    }
}

/// How far a resync has come, in words; `None` where none is under way.
#[must_use]
pub(crate) fn resync(json: &Value) -> Option<String> {
    let resync = json.pointer("/state/resync").filter(|resync| resync.is_object())?;
    let done =
        resync["done_permille"].as_f64().map_or_else(|| UNKNOWN.to_owned(), |done| format!("{:.1}", done / 10.0));
    let from = match cell(resync, "/name") {
        name if name.is_empty() => tail(&cell(resync, "/from")),
        name => name,
    };
    Some(format!("{done} % of the state is as {from} has it, {} objects taken", cell(resync, "/objects")))
}

/// The members, one per row, and those that were put out.
#[must_use]
pub(crate) fn nodes(json: &Value) -> String {
    let titles = [
        "node",
        "?id",
        "region",
        "~status",
        "?roles",
        ">load",
        "?>cpus",
        "?>memory free",
        "?>disk free",
        "?release",
        "?~capabilities, labels",
    ];
    let mut rows = table(&titles);
    for node in list(json, "nodes") {
        rows.add_row([
            cell(node, "/name"),
            tail(&cell(node, "/id")),
            cell(node, "/region"),
            fares(node),
            roles(node),
            percent(node, "/load"),
            cell(node, "/resources/cpus"),
            bytes(node, "/resources/memory_free_bytes"),
            bytes(node, "/resources/disk_free_bytes"),
            cell(node, "/version"),
            offers(node),
        ]);
    }
    let mut text = String::new();
    for node in list(json, "nodes").iter().filter(|node| node["healthy"] == false) {
        if let Some(ailment) = node["ailment"].as_str() {
            text += &format!("\n{} is not well: {}", cell(node, "/name"), super::output::printable(ailment));
        }
    }
    for node in json["revoked"].as_array().into_iter().flatten() {
        let (id, since) = (cell(node, "/node"), cell(node, "/since"));
        let who = if node["name"].is_string() { format!("{} ({id})", cell(node, "/name")) } else { id };
        text += &format!("\n{who} revoked since {since}");
    }
    // Apart from the table, as all that begins with a name and is no row.
    if text.is_empty() { rows.to_string() } else { format!("{rows}\n{text}") }
}

/// What a member may do beyond belonging, which all do.
fn roles(node: &Value) -> String {
    let roles = node["roles"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let more: Vec<String> = roles.filter(|role| *role != "member").map(super::output::printable).collect();
    if more.is_empty() { UNKNOWN.to_owned() } else { more.join(", ") }
}

/// What its operator says that a member can do, and about it.
fn offers(node: &Value) -> String {
    let capabilities = node["capabilities"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let labels = node["labels"].as_object().into_iter().flatten();
    let labels = labels.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or(UNKNOWN)));
    let all: Vec<String> = capabilities.map(str::to_owned).chain(labels).collect();
    if all.is_empty() { UNKNOWN.to_owned() } else { super::output::printable(&all.join(", ")) }
}

/// Whether a member is there, and well; of one that is being emptied, since when.
fn fares(node: &Value) -> String {
    let is_unwell = node["healthy"] == false && node["status"] != "lost" && node["status"] != "left";
    match node["draining_since"].as_str() {
        Some(_) | None if is_unwell => format!("{}, not well", cell(node, "/status")),
        Some(since) if node["status"] == "draining" => format!("draining since {}", super::output::printable(since)),
        Some(_) | None => cell(node, "/status"),
    }
}

/// The workloads in a status document, one per row.
#[must_use]
pub(crate) fn workloads(json: &Value) -> String {
    let names = names(json);
    if list(json, "workloads").is_empty() {
        return "nothing is deployed; `selvedge deploy FILE.wasm --name NAME` does that".to_owned();
    }
    let mut rows = table(&[
        "workload",
        "ready",
        "~instances",
        "?>calls here",
        "?>refused",
        ">errors",
        "?>p50 (5m)",
        ">p99 (5m)",
        "?artifact",
    ]);
    for workload in list(json, "workloads") {
        let instances = workload["instances"].as_array().map_or(&[][..], Vec::as_slice);
        let ready = instances.iter().filter(|instance| answers(instance)).count();
        let mut places: Vec<_> = instances.iter().map(|instance| place(instance, &names)).collect();
        places.sort();
        rows.add_row([
            cell(workload, "/name"),
            format!("{ready}/{}", cell(workload, "/replicas")),
            if places.is_empty() { UNKNOWN.to_owned() } else { places.join(", ") },
            cell(workload, "/calls"),
            cell(workload, "/refused"),
            cell(workload, "/errors"),
            latency(workload, "/recent/latency_us/p50"),
            latency(workload, "/recent/latency_us/p99"),
            short(&cell(workload, "/digest"), DIGEST_CHARS),
        ]);
    }
    let name_of = |id: &str| names.get(id).map_or_else(|| tail(id), |name| (*name).to_owned());
    let rollouts = rollouts::lines(list(json, "workloads"), name_of);
    // Apart from the table: what it says begins with a workload's name, too.
    if rollouts.is_empty() { rows.to_string() } else { format!("{rows}\n{rollouts}") }
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

/// Whether an instance answers calls, of whichever version.
pub(crate) fn answers(instance: &Value) -> bool {
    instance["phase"] == "ready" || instance["serves_previous"] == true
}

/// How far an instance has got, in the words of all tables; nothing where it is ready.
fn stands(instance: &Value) -> Option<String> {
    let phase = cell(instance, "/phase");
    match (phase.as_str(), instance["reason"].as_str()) {
        ("ready", None) => None,
        ("failed", Some(reason)) => Some(format!("failed: {}", super::output::printable(reason))),
        (_, _) if instance["serves_previous"] == true => Some("previous version".to_owned()),
        (_, Some(reason)) => Some(format!("{phase}: {}", super::output::printable(reason))),
        (_, None) => Some(phase),
    }
}

fn place(instance: &Value, names: &BTreeMap<&str, &str>) -> String {
    let id = cell(instance, "/node");
    let name = names.get(id.as_str()).map_or_else(|| tail(&id), |name| super::output::printable(name));
    stands(instance).map_or_else(|| name.clone(), |how| format!("{name} ({how})"))
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
    json.pointer(pointer).and_then(Value::as_u64).map_or_else(|| UNKNOWN.to_owned(), size)
}

/// A latency in microseconds; nothing before the first call.
fn latency(json: &Value, pointer: &str) -> String {
    let us = json.pointer(pointer).and_then(Value::as_u64).filter(|us| *us > 0);
    us.map_or_else(|| UNKNOWN.to_owned(), micros)
}

#[cfg(test)]
mod tests;
