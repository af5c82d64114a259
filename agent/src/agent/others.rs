//! What is told of other members: how they fare, how things stand with the link to each, and whether convergence waits for it.
//!
//! Joins what the member table, the engine and the network know of one node; decides nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use selvedge_sync::id::NodeId;
use selvedge_sync::replica::PeerView;

use crate::members::{Member, Status as MemberStatus};
use crate::metrics::PeerFigures;
use crate::net::{LinkState, LinkView, Net, PeerLink};
use crate::service::{ConvergencePeer, Link, Location, Node, NodeState, Peer, Resources, Traffic};
use crate::view::{StateView, millis};

/// Everybody else that is known by id, in order of it; and addresses behind which nobody was found yet.
pub(super) fn peers(view: &StateView, net: &Net, members: &[Member]) -> (Vec<Peer>, Vec<Link>) {
    let now = view.now();
    let (me, known) = view.read(|replica| (replica.me().node, replica.peers(now)));
    join(me, &known, members, net.links())
}

fn join(me: NodeId, known: &[PeerView], members: &[Member], links: Vec<LinkView>) -> (Vec<Peer>, Vec<Link>) {
    let (found, unreached): (Vec<LinkView>, Vec<LinkView>) = links.into_iter().partition(|link| link.node.is_some());
    let links: BTreeMap<NodeId, LinkView> = found.into_iter().filter_map(|link| Some((link.node?, link))).collect();
    let listed = members.iter().map(|member| member.node);
    let nodes: BTreeSet<NodeId> = known
        .iter()
        .map(|peer| peer.node)
        .chain(links.keys().copied())
        .chain(listed)
        .filter(|node| *node != me)
        .collect();
    let peer = |node: NodeId| {
        let view = known.iter().find(|peer| peer.node == node);
        let link = links.get(&node);
        let member = members.iter().find(|member| member.node == node);
        let rtt = link.and_then(|link| link.link.as_ref()?.rtt);
        Peer {
            node,
            name: name(member),
            rtt_ms: rtt.map(|rtt| rtt.as_secs_f64() * 1e3),
            root_equal: view.is_some_and(|view| view.root_equal),
            lag_commits: view.and_then(|view| view.root.map(|_| view.lag_commits)),
            last_sync_ms: view.and_then(|view| view.synced_ms_ago),
            status: status(member).to_owned(),
            link: link.map_or_else(|| Link { state: "none".to_owned(), ..Link::default() }, document),
        }
    };
    (nodes.into_iter().map(peer).collect(), unreached.iter().map(document).collect())
}

fn name(member: Option<&Member>) -> String {
    member.and_then(|member| member.record.as_ref()).map_or_else(String::new, |record| record.name.clone())
}

fn status(member: Option<&Member>) -> &'static str {
    member.map_or("unknown", |member| state_of(member.status).as_str())
}

/// A link as the API tells it.
fn document(view: &LinkView) -> Link {
    let next_try = match view.state {
        LinkState::Resting { retry_in } | LinkState::Refused { retry_in } => Some(millis(retry_in)),
        LinkState::Connected | LinkState::Slowed | LinkState::Dialing => None,
    };
    Link {
        state: view.state.name().to_owned(),
        reason: view.last_error.clone(),
        next_try_ms: next_try,
        addresses: view.addresses.clone(),
        traffic: view.link.as_ref().map(traffic),
    }
}

fn traffic(link: &PeerLink) -> Traffic {
    Traffic {
        transport: link.transport.to_owned(),
        remote: link.remote.clone(),
        connected_s: link.connected_for.as_secs(),
        score: link.score,
        bytes_in: link.bytes_in,
        bytes_out: link.bytes_out,
        queued_hints: link.queued_frames as u64,
        queued_bytes: link.queued_bytes as u64,
        drops: link.drops.iter().map(|(reason, count)| (reason.name().to_owned(), *count)).collect(),
    }
}

/// What the metrics tell of the connected, and how many links are in each state.
pub(super) fn figures(view: &StateView, links: &[LinkView]) -> (Vec<PeerFigures>, BTreeMap<&'static str, u64>) {
    let now = view.now();
    let lags: BTreeMap<NodeId, u64> = view.read(|replica| {
        replica
            .peers(now)
            .into_iter()
            .filter_map(|peer| Some((peer.node, peer.root.map(|_| peer.lag_commits)?)))
            .collect()
    });
    let mut states = BTreeMap::new();
    links.iter().for_each(|link| *states.entry(link.state.name()).or_default() += 1);
    let peer = |link: &PeerLink| PeerFigures {
        peer: link.node.to_string(),
        round_trip: link.rtt,
        lag_commits: lags.get(&link.node).copied(),
        bytes_in: link.bytes_in,
        bytes_out: link.bytes_out,
        queued_hints: link.queued_frames as u64,
        queued_bytes: link.queued_bytes as u64,
        drops: link.drops.iter().map(|(_, count)| count).sum(),
        score: link.score,
    };
    (links.iter().filter_map(|link| link.link.as_ref().map(peer)).collect(), states)
}

/// How many members have each status.
pub(super) fn statuses(members: &[Member]) -> BTreeMap<&'static str, u64> {
    let mut statuses = BTreeMap::new();
    members.iter().for_each(|member| *statuses.entry(state_of(member.status).as_str()).or_default() += 1);
    statuses
}

/// What convergence knows of a member that it waits for.
pub(super) fn awaited(
    node: NodeId,
    view: Option<&PeerView>,
    member: Option<&Member>,
    retire_after: Duration,
) -> ConvergencePeer {
    let heard = view.filter(|view| view.root.is_some());
    let is_connected = view.is_some_and(|view| view.connected);
    let silence = member.and_then(|member| member.record.as_ref().map(|_| member.age_ms));
    let until = format!(
        "it counts until it is back, or stays away for {} (state.retire_after), or is revoked",
        humantime::format_duration(retire_after)
    );
    let reason = match (member.map(|member| member.status), silence) {
        _ if is_connected => None,
        (Some(MemberStatus::Lost), Some(ms)) => {
            let silent = humantime::format_duration(Duration::from_secs(ms / 1_000));
            Some(format!("silent for {silent}; what it holds is not known, so {until}"))
        }
        (Some(MemberStatus::Lost) | None, _) => {
            Some(format!("not heard of since this agent started; what it holds is not known, so {until}"))
        }
        (Some(MemberStatus::Alive | MemberStatus::Suspect), _) => Some("it is not connected at present".to_owned()),
    };
    ConvergencePeer {
        node,
        name: name(member),
        status: status(member).to_owned(),
        awaited: true,
        reason,
        root: heard.and_then(|view| view.root).map(|root| root.to_string()),
        root_equal: view.is_some_and(|view| view.connected && view.root_equal),
        lag_commits: heard.map(|view| view.lag_commits),
    }
}

const fn state_of(status: MemberStatus) -> NodeState {
    match status {
        MemberStatus::Alive => NodeState::Alive,
        MemberStatus::Suspect => NodeState::Suspect,
        MemberStatus::Lost => NodeState::Dead,
    }
}

/// A member as the list of members tells it.
pub(super) fn node(member: Member) -> Node {
    let status = state_of(member.status);
    let Some(record) = member.record else {
        return Node {
            id: member.node,
            name: String::new(),
            region: String::new(),
            location: None,
            capabilities: Vec::new(),
            resources: None,
            load: None,
            status,
        };
    };
    Node {
        id: member.node,
        name: record.name,
        region: record.region.unwrap_or_default(),
        location: record.location.map(|place| Location { lat: place.lat, lon: place.lon }),
        capabilities: record.capabilities.into_iter().collect(),
        resources: Some(Resources {
            cpus: record.resources.cpu_total,
            memory_bytes: record.resources.memory_total,
            memory_free_bytes: record.resources.memory_free,
            disk_free_bytes: record.resources.disk_free.unwrap_or(0),
        }),
        load: Some(record.load),
        status,
    }
}
