//! What the page's cells say. `script/overview.js` says the same once a second; who changes one changes the other, and the test
//! with a browser compares them.

use std::collections::BTreeMap;

use selvedge_sync::id::NodeId;

use super::concerns::is_unwell;
use super::markup::{Cell, Tone, escape, mark, row};
use crate::service::{Instance, Node, NodeState, Peer, Phase, Rollout, Status, WorkloadStatus};

/// What stands where there is nothing to say.
const NONE: &str = "–";

/// Places of a workload that are named.
const PLACES_MAX: usize = 12;

/// Milliseconds after which a difference between two states is worth a colour.
const APART_MS: u64 = 5_000;

pub(super) fn about(status: &Status) -> String {
    let node = &status.node;
    let region = if node.region.is_empty() { "no region" } else { &node.region };
    format!("{region} · version {} · up {}", node.version, span(node.uptime_s))
}

/// The figures at a glance. Without JavaScript there is no rate: it takes two looks.
pub(super) fn figures(status: &Status, nodes: &[Node]) -> String {
    let is_gone = |peer: &&Peer| {
        let gone = |node: &Node| node.id == peer.node && matches!(node.status, NodeState::Lost | NodeState::Left);
        nodes.iter().any(gone)
    };
    let live: Vec<_> = status.peers.iter().filter(|peer| !is_gone(peer)).collect();
    let unequal: Vec<_> = live.iter().filter(|peer| !peer.root_equal).collect();
    let late = unequal.iter().any(|peer| is_apart(peer));
    let roots = live.len() + 1;
    let lag = count(unequal.iter().filter_map(|peer| peer.lag_commits).max().unwrap_or(0), "commit");
    let (sync, sync_note, sync_tone) = match (unequal.len(), late) {
        (0, _) => ("converged".to_owned(), count(roots as u64, "equal root"), Tone::Plain),
        (_, false) => ("in step".to_owned(), format!("{lag} on the way"), Tone::Plain),
        (unequal, true) => (format!("{} of {roots} equal", roots - unequal), format!("{lag} apart"), Tone::Warn),
    };
    let (cluster, state) = (&status.cluster, &status.state);
    let alive = format!("{} of {}", cluster.alive, cluster.members);
    let alive_tone = if cluster.alive < cluster.members { Tone::Warn } else { Tone::Plain };
    let sum = |figure: fn(&WorkloadStatus) -> u64| status.workloads.iter().map(figure).sum::<u64>();
    let failed = match sum(|workload| workload.errors) {
        0 => "none failed".to_owned(),
        failed => format!("{} failed", whole(failed)),
    };
    [
        figure("cluster", &alive, "members alive", alive_tone),
        figure("convergence", &sync, &sync_note, sync_tone),
        figure("calls", &whole(sum(|workload| workload.calls)), &failed, Tone::Plain),
        figure("commits", &whole(state.commits), "applied, of all writers", Tone::Plain),
        figure("state", &bytes(state.bytes), &format!("in {}", count(state.keys, "key")), Tone::Plain),
        figure("garbage", &whole(state.garbage), "kept until all have seen", Tone::Plain),
    ]
    .concat()
}

pub(super) fn members(status: &Status, nodes: &[Node]) -> String {
    let peers: BTreeMap<_, _> = status.peers.iter().map(|peer| (peer.node, peer)).collect();
    let runs = |id: NodeId| {
        let here = |workload: &&WorkloadStatus| workload.instances.iter().any(|instance| instance.node == id);
        Cell::number(whole(status.workloads.iter().filter(here).count() as u64))
    };
    let mut sorted: Vec<&Node> = nodes.iter().collect();
    // Who is not well comes first.
    sorted.sort_by_key(|node| tone_of(node));
    let known = sorted.into_iter().map(|node| {
        let peer = peers.get(&node.id).copied();
        let tone = tone_of(node);
        let is_self = node.id == status.node.id;
        let unwell = if is_unwell(node) { ", not well" } else { "" };
        let this = if is_self { ", this host" } else { "" };
        let first = [Cell::text(&node.name), Cell::marked(tone, format!("{}{unwell}{this}", node.status.as_str()))];
        let region = Cell::text(if node.region.is_empty() { NONE } else { &node.region });
        let link_cells = if is_self { own_cells() } else { peer_cells(peer) };
        let [link, trip, mut state, mut lag, equal] = link_cells;
        // What somebody holds who is gone is the past.
        if matches!(node.status, NodeState::Lost | NodeState::Left) {
            (state, lag) = (Cell::text(NONE), Cell::number(NONE));
        }
        let rest = [trip, state, lag, equal];
        let load = Cell::number(node.load.map_or(NONE.to_owned(), |load| format!("{:.0} %", load * 100.0)));
        let memory =
            Cell::number(node.resources.map_or(NONE.to_owned(), |resources| bytes(resources.memory_free_bytes)));
        row(&first
            .into_iter()
            .chain([link, region])
            .chain(rest)
            .chain([load, memory, runs(node.id)])
            .collect::<Vec<_>>())
    });
    // Peers that the members' table does not know yet, as in the first second.
    let silent = status.peers.iter().filter(|peer| nodes.iter().all(|node| node.id != peer.node)).map(|peer| {
        let [link, rest @ ..] = peer_cells(Some(peer));
        let first = [Cell::text(&peer.name), Cell::marked(Tone::Warn, "unknown"), link, Cell::text(NONE)];
        let last = [Cell::number(NONE), Cell::number(NONE), runs(peer.node)];
        row(&first.into_iter().chain(rest).chain(last).collect::<Vec<_>>())
    });
    known.chain(silent).collect()
}

pub(super) fn workloads(status: &Status, nodes: &[Node]) -> String {
    let peers = status.peers.iter().map(|peer| (peer.node, peer.name.as_str()));
    let names = peers.chain(nodes.iter().map(|node| (node.id, node.name.as_str()))).collect();
    status.workloads.iter().map(|status| workload(status, &names)).collect()
}

fn figure(name: &str, text: &str, note: &str, tone: Tone) -> String {
    let (tone, text, note) = (tone.attribute(), escape(text), escape(note));
    format!("<div><dt>{name}</dt><dd{tone}>{text}</dd><dd>{note}</dd></div>")
}

/// Whether a member's state has differed from ours for so long that it is worth a colour: under writes, two are never equal for
/// long.
fn is_apart(peer: &Peer) -> bool {
    !peer.root_equal && peer.last_sync_ms.is_none_or(|ms| ms > APART_MS)
}

fn tone_of(node: &Node) -> Tone {
    match node.status {
        NodeState::Alive if is_unwell(node) => Tone::Warn,
        NodeState::Alive => Tone::Good,
        NodeState::Suspect | NodeState::Draining | NodeState::Stopping => Tone::Warn,
        NodeState::Lost | NodeState::Left => Tone::Bad,
    }
}

/// Link, round trip, state, commits apart and last equality of this host with itself.
fn own_cells() -> [Cell; 5] {
    [Cell::text(NONE), Cell::number(NONE), Cell::text(NONE), Cell::number(NONE), Cell::number(NONE)]
}

/// The same of another member.
fn peer_cells(peer: Option<&Peer>) -> [Cell; 5] {
    let link = peer.map_or("none", |peer| if peer.link.state.is_empty() { "none" } else { &peer.link.state });
    let link_tone = match link {
        "connected" => Tone::Good,
        "refused" => Tone::Bad,
        _ => Tone::Warn,
    };
    let (state, state_tone) = match peer {
        Some(peer) if peer.root_equal => ("equal", Tone::Good),
        Some(Peer { last_sync_ms: None, .. }) | None => ("unheard", Tone::Warn),
        Some(peer) if is_apart(peer) => ("differs", Tone::Warn),
        Some(_) => ("in step", Tone::Good),
    };
    let or_none = |text: Option<String>| Cell::number(text.unwrap_or_else(|| NONE.to_owned()));
    [
        Cell::marked(link_tone, link),
        or_none(peer.and_then(|peer| peer.rtt_ms).map(millis)),
        Cell::marked(state_tone, state),
        or_none(peer.and_then(|peer| peer.lag_commits).map(whole)),
        or_none(peer.and_then(|peer| peer.last_sync_ms).map(|ms| millis(ms as f64))),
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
    let latency = |us: u64| Cell::number(if workload.calls == 0 { NONE.to_owned() } else { micros(us as f64) });
    let errors = match workload.errors {
        0 => Cell::number("0"),
        errors => Cell::marked(Tone::Warn, whole(errors)).right(),
    };
    let us = &workload.latency_us;
    row(&[
        Cell::text(&workload.name),
        Cell::marked(tone, format!("{ready} of {}", workload.replicas)),
        Cell::wrapped(places(workload, names)),
        Cell::number(whole(workload.calls)),
        // A rate takes two looks, and the picture JavaScript.
        Cell::number(NONE),
        errors,
        Cell::text(NONE),
        latency(us.p50),
        latency(us.p99),
        latency(us.p999),
        latency(us.max),
    ])
}

/// How far a rollout has got that is not over.
fn rollout_place(rollout: &Rollout) -> Option<String> {
    let tone = match rollout.stage.as_str() {
        "done" => return None,
        "nowhere" => Tone::Bad,
        _ => Tone::Warn,
    };
    let reason = rollout.reason.as_ref().map(|reason| escape(&format!(": {reason}"))).unwrap_or_default();
    Some(format!("<li>{}{reason}</li>", mark(tone, &format!("rollout {}", rollout.stage.replace('_', " ")))))
}

/// Where instances are. Those that have something to say but that they are ready come first, and before them a rollout.
fn places(workload: &WorkloadStatus, names: &BTreeMap<NodeId, &str>) -> String {
    let rollout = workload.rollout.as_ref().and_then(rollout_place);
    if workload.instances.is_empty() && rollout.is_none() {
        return NONE.to_owned();
    }
    let mut sorted: Vec<&Instance> = workload.instances.iter().collect();
    sorted.sort_by_key(|instance| match instance.phase {
        Phase::Failed => 0,
        Phase::Pending => 1,
        Phase::Starting => 2,
        Phase::Stopping => 3,
        Phase::Suspect => 4,
        Phase::Ready => 5,
    });
    let place = |instance: &&Instance| {
        let id = instance.node.to_string();
        let name = names.get(&instance.node).copied().filter(|name| !name.is_empty());
        let name = name.unwrap_or(&id[id.len().saturating_sub(8)..]);
        let tone = match instance.phase {
            Phase::Ready => Tone::Good,
            Phase::Failed => Tone::Bad,
            Phase::Pending | Phase::Starting | Phase::Stopping | Phase::Suspect => Tone::Warn,
        };
        let reason = instance.reason.as_ref().map(|reason| escape(&format!(": {reason}"))).unwrap_or_default();
        let phase = instance.phase.as_str();
        let phase = if instance.phase == Phase::Ready {
            format!("<span class=\"hidden\"> {phase}</span>")
        } else {
            format!(" {phase}")
        };
        format!("<li>{}{phase}{reason}</li>", mark(tone, name))
    };
    let more = match sorted.len().saturating_sub(PLACES_MAX) {
        0 => String::new(),
        more => format!("<li>and {more} more</li>"),
    };
    let places = rollout.into_iter().chain(sorted.iter().take(PLACES_MAX).map(place));
    format!("<ul class=\"places\">{}{more}</ul>", places.collect::<String>())
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

fn millis(ms: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a time that has passed, in whole seconds"
    )]
    let seconds = (ms / 1e3) as u64;
    if ms < 60_000.0 { micros(ms * 1e3) } else { span(seconds) }
}

fn count(number: u64, one: &str) -> String {
    format!("{} {one}{}", whole(number), if number == 1 { "" } else { "s" })
}

fn span(seconds: u64) -> String {
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
        assert_eq!([59, 3_725, 90_061].map(span), ["00:00:59", "01:02:05", "1 d 01:01:01"]);
    }
}
