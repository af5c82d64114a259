//! What the figures and the table of members say. `script/overview.js` says the same once a second; who changes one changes the other,
//! and the test with a browser compares them.

use std::collections::BTreeMap;

use selvedge_sync::id::NodeId;

use super::concerns::is_unwell;
use super::markup::{Cell, Tone, escape, row};
use super::text::{self, NONE, ago, bytes, count, millis, span, whole};
use crate::service::{Node, NodeState, Peer, Status, WorkloadStatus};

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
    // Nobody knows what they hold, so `converged` is not said (`/v1/convergence`).
    let lost = nodes.iter().filter(|node| node.status == NodeState::Lost).count();
    let equal = format!("{} of {} equal", roots - unequal.len(), roots + lost);
    let lag = count(unequal.iter().filter_map(|peer| peer.lag_commits).max().unwrap_or(0), "commit");
    let (sync, sync_note, sync_tone) = match (unequal.len(), late) {
        (_, true) => (equal, format!("{lag} apart"), Tone::Warn),
        _ if lost > 0 => (equal, format!("{} awaited", count(lost as u64, "lost member")), Tone::Warn),
        _ if roots == 1 => ("alone".to_owned(), "nobody to compare with".to_owned(), Tone::Plain),
        (0, false) => ("converged".to_owned(), count(roots as u64, "equal root"), Tone::Plain),
        (_, false) => ("in step".to_owned(), format!("{lag} on the way"), Tone::Plain),
    };
    let (cluster, state) = (&status.cluster, &status.state);
    let alive = format!("{} of {}", cluster.alive, cluster.members);
    let alive_tone = if cluster.alive < cluster.members { Tone::Warn } else { Tone::Plain };
    let (calls, calls_note) = calls(status);
    [
        figure("cluster", &alive, "members alive", alive_tone),
        figure("convergence", &sync, &sync_note, sync_tone),
        figure("calls", &calls, &calls_note, Tone::Plain),
        figure("commits", &whole(state.commits), "applied, of all writers", Tone::Plain),
        figure("state", &bytes(state.bytes), &format!("in {}", count(state.keys, "key")), Tone::Plain),
        figure("garbage", &whole(state.garbage), "kept until all have seen", Tone::Plain),
    ]
    .concat()
}

/// Calls of the last minutes, and how many failed: the sums of the table's columns.
fn calls(status: &Status) -> (String, String) {
    let recent = || status.workloads.iter().map(|workload| &workload.recent);
    let calls: u64 = recent().map(|recent| recent.calls).sum();
    let errors: u64 = recent().map(|recent| recent.errors).sum();
    let window_s = recent().map(|recent| recent.window_s).max().unwrap_or(0).max(1);
    let failed = if errors == 0 { "none".to_owned() } else { whole(errors) };
    let note =
        if calls == 0 { "nobody calls".to_owned() } else { format!("{failed} failed in {}", text::about(window_s)) };
    (whole(calls), note)
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
        NodeState::Alive | NodeState::Draining | NodeState::Stopping if is_unwell(node) => Tone::Warn,
        NodeState::Alive => Tone::Good,
        NodeState::Suspect => Tone::Warn,
        NodeState::Draining | NodeState::Stopping => Tone::Busy,
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
        Cell::number(ago(peer.and_then(|peer| peer.last_sync_ms))),
    ]
}
