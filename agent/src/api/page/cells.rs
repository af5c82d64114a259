//! What the page's cells say. `page.js` says the same once a second; who changes one changes the other.

use std::collections::BTreeMap;

use selvedge_sync::id::NodeId;

use super::markup::{Cell, Tone, escape, row};
use crate::service::{Node, NodeState, Peer, Phase, Status, WorkloadStatus};

/// What stands where there is nothing to say.
const NONE: &str = "–";

/// Characters of a digest that are enough to tell it from others.
const DIGEST_CHARS: usize = 12;

pub(super) fn about(status: &Status) -> String {
    let node = &status.node;
    let region = if node.region.is_empty() { "no region" } else { &node.region };
    format!("{region} · version {} · up {}", node.version, uptime(node.uptime_s))
}

/// The figures at a glance. Without JavaScript there is no rate: it takes two looks.
pub(super) fn figures(status: &Status, nodes: &[Node]) -> String {
    let is_gone = |peer: &&Peer| {
        let gone = |node: &Node| node.id == peer.node && matches!(node.status, NodeState::Lost | NodeState::Left);
        nodes.iter().any(gone)
    };
    let live: Vec<_> = status.peers.iter().filter(|peer| !is_gone(peer)).collect();
    let apart: Vec<_> = live.iter().filter(|peer| !peer.root_equal).collect();
    let roots = live.len() + 1;
    let lag = apart.iter().filter_map(|peer| peer.lag_commits).max().unwrap_or(0);
    let (sync, sync_note, sync_tone) = match apart.len() {
        0 => ("converged".to_owned(), format!("{roots} equal roots"), Tone::Good),
        apart => (format!("{} of {roots} equal", roots - apart), format!("{} commits apart", whole(lag)), Tone::Warn),
    };
    let (cluster, state) = (&status.cluster, &status.state);
    let alive_tone = if cluster.alive < cluster.members { Tone::Warn } else { Tone::Good };
    let calls = status.workloads.iter().map(|workload| workload.calls).sum();
    let held = format!("keys, {}, {} to forget", bytes(state.bytes), whole(state.garbage));
    let spark = r#"<svg viewBox="0 0 100 32" preserveAspectRatio="none" aria-hidden="true"><polyline id="spark" points="" vector-effect="non-scaling-stroke"/></svg>"#;
    [
        figure(
            "f-members",
            "cluster",
            &format!("{} of {}", cluster.alive, cluster.members),
            "members alive",
            alive_tone,
            "",
        ),
        figure("f-sync", "convergence", &sync, &sync_note, sync_tone, ""),
        figure("f-calls", "calls", &whole(calls), "on this host", Tone::Plain, spark),
        figure("f-commits", "commits", &whole(state.commits), "applied, of all writers", Tone::Plain, ""),
        figure("f-state", "state", &whole(state.keys), &held, Tone::Plain, ""),
    ]
    .concat()
}

pub(super) fn members(status: &Status, nodes: &[Node]) -> String {
    let peers: BTreeMap<_, _> = status.peers.iter().map(|peer| (peer.node, peer)).collect();
    let known = nodes.iter().map(|node| member(status.node.id, node, peers.get(&node.id).copied()));
    // Peers that the members' table does not know yet, as in the first second.
    let silent = status.peers.iter().filter(|peer| nodes.iter().all(|node| node.id != peer.node)).map(|peer| {
        let cells = [
            Cell::text(&peer.name),
            Cell::text("unknown").tone(Tone::Warn),
            link(Some(peer)),
            Cell::text(NONE),
            Cell::number(NONE),
        ];
        row(&cells.into_iter().chain([Cell::number(NONE)]).chain(sync_cells(Some(peer))).collect::<Vec<_>>())
    });
    known.chain(silent).collect()
}

pub(super) fn workloads(status: &Status, nodes: &[Node]) -> String {
    let peers = status.peers.iter().map(|peer| (peer.node, peer.name.as_str()));
    let names = peers.chain(nodes.iter().map(|node| (node.id, node.name.as_str()))).collect();
    status.workloads.iter().map(|status| workload(status, &names)).collect()
}

fn figure(id: &str, name: &str, text: &str, note: &str, tone: Tone, picture: &str) -> String {
    let (tone, text, note) = (tone.attribute(), escape(text), escape(note));
    format!(r#"<div><dt>{name}</dt><dd id="{id}"{tone}>{text}</dd><dd id="{id}-note">{note}</dd>{picture}</div>"#)
}

fn member(me: NodeId, node: &Node, peer: Option<&Peer>) -> String {
    let tone = match node.status {
        NodeState::Alive => Tone::Good,
        NodeState::Suspect | NodeState::Draining => Tone::Warn,
        NodeState::Lost | NodeState::Left => Tone::Bad,
    };
    let (word, this) = (node.status.as_str(), if node.id == me { ", this host" } else { "" });
    let mut cells = vec![
        Cell::text(&node.name),
        Cell::text(format!("{word}{this}")).tone(tone),
        if node.id == me { Cell::text(NONE) } else { link(peer) },
        Cell::text(if node.region.is_empty() { NONE } else { &node.region }),
        Cell::number(node.load.map_or(NONE.to_owned(), |load| format!("{:.0} %", load * 100.0))),
        Cell::number(node.resources.map_or(NONE.to_owned(), |resources| bytes(resources.memory_free_bytes))),
    ];
    if node.id == me {
        let equal = Cell::text("equal").tone(Tone::Good);
        cells.extend([Cell::number(NONE), equal, Cell::number(NONE), Cell::number(NONE)]);
    } else {
        cells.extend(sync_cells(peer));
    }
    row(&cells)
}

/// How things stand with the connection to another member.
fn link(peer: Option<&Peer>) -> Cell {
    let state = peer.map_or("none", |peer| if peer.link.state.is_empty() { "none" } else { &peer.link.state });
    let tone = match state {
        "connected" => Tone::Good,
        "refused" => Tone::Bad,
        _ => Tone::Warn,
    };
    Cell::text(state).tone(tone)
}

/// Round trip, root, lag and last word of another member.
fn sync_cells(peer: Option<&Peer>) -> [Cell; 4] {
    let root = match peer {
        Some(peer) if peer.root_equal => Cell::text("equal").tone(Tone::Good),
        Some(peer) if peer.last_sync_ms.is_some() => Cell::text("differs").tone(Tone::Warn),
        Some(_) | None => Cell::text("unheard").tone(Tone::Warn),
    };
    let or_none = |text: Option<String>| Cell::number(text.unwrap_or_else(|| NONE.to_owned()));
    [
        or_none(peer.and_then(|peer| peer.rtt_ms).map(|ms| micros(ms * 1000.0))),
        root,
        or_none(peer.and_then(|peer| peer.lag_commits).map(whole)),
        or_none(peer.and_then(|peer| peer.last_sync_ms).map(|ms| micros(ms as f64 * 1000.0))),
    ]
}

fn workload(workload: &WorkloadStatus, names: &BTreeMap<NodeId, &str>) -> String {
    let ready = workload.instances.iter().filter(|instance| instance.phase == Phase::Ready).count();
    let failed = workload.instances.iter().any(|instance| instance.phase == Phase::Failed);
    let tone = match (failed, ready >= workload.replicas as usize) {
        (true, _) => Tone::Bad,
        (false, false) => Tone::Warn,
        (false, true) => Tone::Good,
    };
    let instances: Vec<_> = workload
        .instances
        .iter()
        .map(|instance| {
            let id = instance.node.to_string();
            let name = names.get(&instance.node).copied().unwrap_or(&id[id.len().saturating_sub(8)..]);
            let reason = instance.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
            format!("{name} {}{reason}", instance.phase.as_str())
        })
        .collect();
    let latency = |us: u64| Cell::number(if workload.calls == 0 { NONE.to_owned() } else { micros(us as f64) });
    let errors = Cell::number(whole(workload.errors)).tone(if workload.errors == 0 { Tone::Plain } else { Tone::Warn });
    let us = &workload.latency_us;
    row(&[
        Cell::text(&workload.name),
        Cell::number(format!("{ready} of {}", workload.replicas)).tone(tone),
        Cell::wrapped(if instances.is_empty() { NONE.to_owned() } else { instances.join(" · ") }),
        Cell::number(whole(workload.calls)),
        Cell::number(NONE),
        errors,
        latency(us.p50),
        latency(us.p99),
        latency(us.p999),
        latency(us.max),
        Cell::text(workload.digest.chars().take(DIGEST_CHARS).collect::<String>()),
    ])
}

/// Digits in groups of three.
fn whole(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 2);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

fn bytes(number: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if number < 1024 {
        return format!("{number} B");
    }
    let unit = UNITS.iter().enumerate().take_while(|(index, _)| number >> (10 * (index + 1)) > 0).last();
    let (index, unit) = unit.unwrap_or((0, &UNITS[0]));
    let scale = 1_u64 << (10 * (index + 1));
    format!("{:.1} {unit}", number as f64 / scale as f64)
}

fn micros(us: f64) -> String {
    match us {
        us if us < 1e3 => format!("{us:.0} µs"),
        us if us < 1e6 => format!("{:.1} ms", us / 1e3),
        us => format!("{:.2} s", us / 1e6),
    }
}

fn uptime(seconds: u64) -> String {
    let days = match seconds / 86_400 {
        0 => String::new(),
        days => format!("{days} d "),
    };
    format!("{days}{:02}:{:02}:{:02}", seconds / 3600 % 24, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_written_with_units() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(whole), ["0", "999", "1\u{202f}000", "1\u{202f}234\u{202f}567"]);
        assert_eq!(
            [0, 1023, 1024, 1 << 20, u64::MAX].map(bytes),
            ["0 B", "1023 B", "1.0 KiB", "1.0 MiB", "16777216.0 TiB"]
        );
        assert_eq!([0.0, 999.0, 1_500.0, 2e6].map(micros), ["0 µs", "999 µs", "1.5 ms", "2.00 s"]);
        assert_eq!([59, 3_725, 90_061].map(uptime), ["00:00:59", "01:02:05", "1 d 01:01:01"]);
    }
}
