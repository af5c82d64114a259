//! What is told of other members: how they fare, how things stand with the link to each, and whether convergence waits for it.
//!
//! Joins what the member table, the engine and the network know of one node; decides nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, UNIX_EPOCH};

use selvedge_sync::id::NodeId;
use selvedge_sync::replica::{PeerView, Unseen};
use selvedge_sync::time::Time;
use serde_json::{Value, json};

use super::figures;
use crate::members::{Member, NodeRecord, Status as MemberStatus};
use crate::metrics::PeerFigures;
use crate::net::{LinkState, LinkView, Net, PeerLink};
use crate::service::{
    ConvergencePeer, Link, Location, Node, NodeDetail, NodeState, Peer, Resources, Traffic, UnseenKeys,
};
use crate::spec::WorkloadName;
use crate::view::{Summary, millis};
use crate::workloads::Workloads;

/// The end of the year 9999, in milliseconds since the Unix epoch: RFC 3339 has no years beyond it.
const DATED_MS_MAX: u64 = 253_402_300_799_000;

/// Everybody else that is known by id, in order of it; and addresses behind which nobody was found yet.
pub(super) fn peers(state: &Summary, now: Time, net: &Net, members: &[Member]) -> (Vec<Peer>, Vec<Link>) {
    join(state.me.node, &state.peers(now), members, net.links())
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

/// A member's name for people; empty before it is known.
pub(super) fn name(member: Option<&Member>) -> String {
    member.and_then(|member| member.record.as_ref()).map_or_else(String::new, |record| record.name.clone())
}

fn status(member: Option<&Member>) -> &'static str {
    member.map_or("unknown", |member| state_of(member).as_str())
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
pub(super) fn figures(known: &[PeerView], links: &[LinkView]) -> (Vec<PeerFigures>, BTreeMap<&'static str, u64>) {
    let lag = |peer: &PeerView| Some((peer.node, peer.root.map(|_| peer.lag_commits)?));
    let lags: BTreeMap<NodeId, u64> = known.iter().filter_map(lag).collect();
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
    members.iter().for_each(|member| *statuses.entry(state_of(member).as_str()).or_default() += 1);
    statuses
}

/// What convergence knows of a member, and whether it waits for it.
pub(super) fn awaited(
    node: NodeId,
    view: Option<&PeerView>,
    member: Option<&Member>,
    retire_after: Duration,
) -> ConvergencePeer {
    let heard = view.filter(|view| view.root.is_some());
    let has_left = member.is_some_and(|member| member.status == MemberStatus::Left);
    // A host that was stopped keeps its connections for a while; what it said last is no news of what it holds now.
    let is_lost = member.is_some_and(|member| member.status == MemberStatus::Lost);
    let is_connected = !is_lost && view.is_some_and(|view| view.connected);
    let silence = member.and_then(|member| member.record.as_ref().map(|_| member.silent_ms));
    let until = format!(
        "it counts until it is back, or stays away for {} (state.retire_after), or is revoked",
        humantime::format_duration(retire_after)
    );
    let reason = match (member.map(|member| member.status), silence) {
        (Some(MemberStatus::Left), _) => Some("it has left in good order".to_owned()),
        // It may be long before it holds the same: a host that cannot write takes nothing in.
        _ if is_connected && !view.is_some_and(|view| view.root_equal) => {
            member.and_then(|member| member.record.as_ref()).filter(|record| !record.healthy).map(|record| {
                let why = record.ailment.as_deref().unwrap_or("it does not say why");
                format!("it is not well: {why}")
            })
        }
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
        awaited: !has_left,
        reason,
        root: heard.and_then(|view| view.root).map(|root| root.to_string()),
        root_equal: is_connected && view.is_some_and(|view| view.root_equal),
        lag_commits: heard.map(|view| view.lag_commits),
    }
}

/// How a member fares, in the words of the list of members.
fn state_of(member: &Member) -> NodeState {
    let says = |what: fn(&NodeRecord) -> bool| member.record.as_ref().is_some_and(what);
    match member.status {
        // It has told the others, and need not be doubted first.
        MemberStatus::Alive | MemberStatus::Suspect if says(|record| record.parting) => NodeState::Stopping,
        MemberStatus::Alive if says(|record| record.draining) => NodeState::Draining,
        MemberStatus::Alive => NodeState::Alive,
        MemberStatus::Suspect => NodeState::Suspect,
        MemberStatus::Lost => NodeState::Lost,
        MemberStatus::Left => NodeState::Left,
    }
}

/// A member with what it said of itself beyond that.
pub(super) fn detail(member: Member, unseen: Option<Unseen>) -> NodeDetail {
    let said = member.record.as_ref();
    NodeDetail {
        release: said.map_or_else(String::new, |record| record.release.clone()),
        addresses: said.map_or_else(Vec::new, |record| record.addresses.clone()),
        age_ms: said.map(|_| member.age_ms),
        round_trips_ms: said.map_or_else(BTreeMap::new, |record| record.rtt_ms.clone()),
        unseen: unseen.filter(|unseen| unseen.more || !unseen.keys.is_empty()).map(|unseen| UnseenKeys {
            keys: unseen.keys.iter().map(ToString::to_string).collect(),
            more: unseen.more,
        }),
        node: node(member),
    }
}

/// A member as the list of members tells it.
pub(super) fn node(member: Member) -> Node {
    let status = state_of(&member);
    let Some(record) = member.record else {
        return Node {
            id: member.node,
            name: String::new(),
            region: String::new(),
            location: None,
            capabilities: Vec::new(),
            labels: BTreeMap::new(),
            resources: None,
            load: None,
            status,
            healthy: None,
            ailment: None,
            draining_since: None,
            version: String::new(),
            roles: Vec::new(),
        };
    };
    Node {
        id: member.node,
        name: record.name,
        region: record.region.unwrap_or_default(),
        location: record.location.map(|place| Location { lat: place.lat, lon: place.lon }),
        capabilities: record.capabilities.into_iter().collect(),
        labels: record.labels,
        resources: Some(Resources {
            cpus: record.resources.cpu_total,
            memory_bytes: record.resources.memory_total,
            memory_free_bytes: record.resources.memory_free,
            disk_free_bytes: record.resources.disk_free.unwrap_or(0),
        }),
        load: Some(record.load),
        status,
        healthy: Some(record.healthy),
        ailment: record.ailment,
        draining_since: record.draining_since_ms.filter(|_| record.draining).map(rfc3339),
        version: record.release,
        roles: Vec::new(),
    }
}

/// What this host waits for about a workload, and how its last start went: no part of the decision, and known here alone.
pub(super) fn placed_here(name: &str, node: NodeId, workload: &WorkloadName, workloads: &Workloads) -> Value {
    let waiting = workloads.waiting().remove(workload).map(|waiting| {
        let mut json = serde_json::to_value(&waiting).expect("a reason serialises");
        json["message"] = waiting.to_string().into();
        json
    });
    let last_start = workloads.last_start(workload).map(figures::last_start);
    json!({"node": node, "name": name, "waiting": waiting, "last_start": last_start})
}

/// Adds to a placement what hosts that call themselves ill say of it: a plan knows only that they do.
pub(super) fn say_why_unhealthy(placement: &mut Value, members: &[Member]) {
    let ailment = |host: &Value| {
        let node =
            host["node"].as_str().filter(|_| host.pointer("/reason/code").is_some_and(|code| code == "unhealthy"))?;
        let member = members.iter().find(|member| member.node.to_string() == node)?;
        member.record.as_ref()?.ailment.clone()
    };
    for host in placement["rejected"].as_array_mut().into_iter().flatten() {
        if let (Some(ailment), Some(message)) = (ailment(host), host["message"].as_str()) {
            host["message"] = format!("{message}: {ailment}").into();
        }
    }
}

/// A moment as text. Another member's clock may say anything: what has no date is told as the last moment that has.
fn rfc3339(wall_ms: u64) -> String {
    let at = UNIX_EPOCH + Duration::from_millis(wall_ms.min(DATED_MS_MAX));
    humantime::format_rfc3339_seconds(at).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::members::NodeRecord;
    use crate::members::tests::record;
    use crate::placement::Reason;

    const ME: NodeId = NodeId([1; 32]);
    const OTHER: NodeId = NodeId([2; 32]);
    const THIRD: NodeId = NodeId([3; 32]);
    const HOUR: Duration = Duration::from_secs(3_600);

    fn member(node: NodeId, status: MemberStatus, silent_ms: u64) -> Member {
        Member { node, record: Some(record(node, 1, 1)), status, age_ms: 0, silent_ms }
    }

    fn view(node: NodeId, connected: bool, root_equal: bool) -> PeerView {
        let (root, synced_ms_ago, heard_ms_ago) = (None, Some(5), Some(5));
        PeerView { node, connected, root, root_equal, lag_commits: 4, synced_ms_ago, heard_ms_ago }
    }

    fn resting(node: Option<NodeId>) -> LinkView {
        LinkView {
            node,
            state: LinkState::Resting { retry_in: Duration::from_millis(1_500) },
            addresses: vec!["203.0.113.5:7412".to_owned()],
            last_error: Some("timed out".to_owned()),
            link: None,
        }
    }

    #[test]
    fn what_each_part_knows_of_a_node_is_told_as_one() {
        let members = [member(ME, MemberStatus::Alive, 0), member(OTHER, MemberStatus::Suspect, 6_000)];
        let links = vec![resting(Some(OTHER)), resting(Some(THIRD)), resting(None)];
        let (peers, unreached) = join(ME, &[view(OTHER, false, true)], &members, links);
        let told: Vec<_> = peers
            .iter()
            .map(|peer| (peer.node, peer.name.as_str(), peer.status.as_str(), peer.link.state.as_str()))
            .collect();
        assert_eq!(
            told,
            [(OTHER, "host", "suspect", "resting"), (THIRD, "", "unknown", "resting")],
            "and not ourselves"
        );
        assert_eq!((peers[0].link.next_try_ms, peers[0].link.reason.as_deref()), (Some(1_500), Some("timed out")));
        assert_eq!(unreached.iter().map(|link| link.addresses.len()).collect::<Vec<_>>(), [1]);
        let (alone, _) = join(ME, &[view(OTHER, true, true)], &[], Vec::new());
        assert_eq!((alone.len(), alone[0].link.state.as_str()), (1, "none"));
    }

    #[test]
    fn convergence_says_why_it_waits_for_those_who_cannot_answer() {
        let check = |view: Option<PeerView>, member: Option<Member>, wanted: Option<&str>| {
            let told = awaited(OTHER, view.as_ref(), member.as_ref(), HOUR);
            match (wanted, &told.reason) {
                (None, None) => {}
                (Some(wanted), Some(reason)) => assert!(reason.contains(wanted), "{reason}"),
                (wanted, reason) => panic!("{reason:?}, and not {wanted:?}"),
            }
            told
        };
        let lost = || Some(member(OTHER, MemberStatus::Lost, 42_000));
        let told = check(Some(view(OTHER, false, true)), lost(), Some("silent for 42s; what it holds is not known"));
        assert_eq!((told.status.as_str(), told.root_equal), ("lost", false), "what it held before says nothing");
        let told = check(Some(view(OTHER, true, true)), lost(), Some("silent for 42s"));
        assert!(!told.root_equal, "a connection that is still open says nothing of a host that was stopped");
        check(None, lost(), Some("stays away for 1h (state.retire_after), or is revoked"));
        check(None, None, Some("not heard of since this agent started"));
        check(None, Some(member(OTHER, MemberStatus::Alive, 0)), Some("not connected at present"));
        let mut unwell = member(OTHER, MemberStatus::Alive, 0);
        let said = NodeRecord { healthy: false, ailment: Some("read-only".to_owned()), ..record(OTHER, 1, 1) };
        unwell.record = Some(said);
        check(Some(view(OTHER, true, false)), Some(unwell.clone()), Some("it is not well: read-only"));
        check(Some(view(OTHER, true, true)), Some(unwell), None);
        let told = check(Some(view(OTHER, true, false)), Some(member(OTHER, MemberStatus::Alive, 0)), None);
        assert!(!told.root_equal && told.awaited && told.name == "host");
        let told = check(None, Some(member(OTHER, MemberStatus::Left, 0)), Some("has left"));
        assert!(!told.awaited, "nobody waits for who has left");
    }

    #[test]
    fn a_placement_says_why_a_host_is_not_healthy() {
        let ill = NodeRecord { healthy: false, ailment: Some("the disk is full".to_owned()), ..record(OTHER, 1, 1) };
        let members = [
            Member { record: Some(ill), ..member(OTHER, MemberStatus::Alive, 0) },
            member(THIRD, MemberStatus::Alive, 0),
        ];
        let host =
            |node: NodeId, reason: &Reason| json!({"node": node, "reason": reason, "message": reason.to_string()});
        let mut placement = json!({"rejected": [host(OTHER, &Reason::Unhealthy), host(THIRD, &Reason::Unhealthy), host(OTHER, &Reason::Draining)]});
        say_why_unhealthy(&mut placement, &members);
        let said: Vec<_> = [0, 1, 2].map(|at| placement["rejected"][at]["message"].as_str().unwrap().to_owned()).into();
        assert_eq!(said, ["is not healthy: the disk is full", "is not healthy", "is draining"]);
    }
}
