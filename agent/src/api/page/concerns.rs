//! What is not as it should be, in sentences: what this host complains of, and what it sees of others and of workloads.
//! `script/concerns.js` says the same once a second; who changes one changes the other.

use selvedge_sync::id::NodeId;

use super::markup::{Tone, escape};
use crate::service::{Node, NodeState, Peer, Phase, Status, WorkloadStatus};

/// Members of one fate that are named.
const NAMED_MAX: usize = 3;

/// The list, and the worst that is in it.
pub(super) fn health(status: &Status, nodes: &[Node]) -> (Tone, String) {
    let concerns = concerns(status, nodes);
    let own = match (status.health.ok, concerns.is_empty()) {
        (false, _) => status.health.reasons.clone(),
        (true, true) => vec!["All is well.".to_owned()],
        (true, false) => vec!["This host is well.".to_owned()],
    };
    let own_tone = if status.health.ok { Tone::Good } else { Tone::Bad };
    let item = |tone: Tone, text: &String| format!("<li{}>{}</li>", tone.attribute(), escape(text));
    let items = own.iter().map(|text| item(own_tone, text)).chain(concerns.iter().map(|text| item(Tone::Warn, text)));
    let worst = if concerns.is_empty() { own_tone } else { own_tone.min(Tone::Warn) };
    (worst, format!("<ul>{}</ul>", items.collect::<String>()))
}

fn concerns(status: &Status, nodes: &[Node]) -> Vec<String> {
    let fates = [
        (NodeState::Lost, "is lost", "are lost"),
        (NodeState::Suspect, "does not answer", "do not answer"),
        (NodeState::Draining, "is being drained", "are being drained"),
        (NodeState::Stopping, "is stopping", "are stopping"),
    ];
    let fate = |(state, one, many): (NodeState, &str, &str)| {
        let names: Vec<&str> = nodes.iter().filter(|node| node.status == state).map(name).collect();
        let (first, more) = names.split_at(names.len().min(NAMED_MAX));
        match (names.len(), more.len()) {
            (0, _) => None,
            (1, _) => Some(format!("{} {one}", first[0])),
            (_, 0) => Some(format!("{} {many}", first.join(", "))),
            (all, more) => Some(format!("{all} members {many}: {} and {more} more", first.join(", "))),
        }
    };
    let unwell = unwell(status.node.id, nodes);
    let links = status.peers.iter().filter(|peer| {
        let alive = nodes.iter().any(|node| node.id == peer.node && node.status == NodeState::Alive);
        alive && matches!(peer.link.state.as_str(), "resting" | "refused")
    });
    let link = |peer: &Peer| {
        let reason = peer.link.reason.as_deref().unwrap_or(&peer.link.state);
        format!("no link to {}: {reason}", peer.name)
    };
    let of = |id: NodeId| nodes.iter().find(|node| node.id == id).map_or("a member", name);
    let workloads = status.workloads.iter().flat_map(|workload| [trouble(workload, &of), rollout_trouble(workload)]);
    fates.into_iter().filter_map(fate).chain(unwell).chain(links.map(link)).chain(workloads.flatten()).collect()
}

/// Who is there and calls itself unwell: one with its reason, several by name.
fn unwell(own: NodeId, nodes: &[Node]) -> Option<String> {
    let is_meant = |node: &&Node| node.id != own && is_unwell(node);
    let unwell: Vec<&Node> = nodes.iter().filter(is_meant).collect();
    match unwell.as_slice() {
        [] => None,
        [one] => Some(format!("{} is not well: {}", name(one), one.ailment.as_deref().unwrap_or("ask it"))),
        more => {
            let names: Vec<&str> = more.iter().take(NAMED_MAX).map(|node| name(node)).collect();
            let rest = more.len() - names.len();
            let rest = if rest == 0 { String::new() } else { format!(" and {rest} more") };
            Some(format!("{}{rest} are not well: ask them", names.join(", ")))
        }
    }
}

/// Whether a member that is there calls itself unwell.
pub(super) fn is_unwell(node: &Node) -> bool {
    node.healthy == Some(false) && !matches!(node.status, NodeState::Lost | NodeState::Left)
}

fn name(node: &Node) -> &str {
    if node.name.is_empty() { "a member" } else { &node.name }
}

fn trouble<'a>(workload: &WorkloadStatus, name: &impl Fn(NodeId) -> &'a str) -> Option<String> {
    let (what, instances) = (&workload.name, &workload.instances);
    if let Some(failed) = instances.iter().find(|instance| instance.phase == Phase::Failed) {
        let reason = failed.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
        return Some(format!("{what} failed on {}{reason}", name(failed.node)));
    }
    let ready = instances.iter().filter(|instance| instance.phase == Phase::Ready).count();
    (ready < workload.replicas as usize).then(|| format!("{what} is ready on {ready} of {}", workload.replicas))
}

/// What became of a version, until another is deployed.
fn rollout_trouble(WorkloadStatus { name, rollout, .. }: &WorkloadStatus) -> Option<String> {
    let rollout = rollout.as_ref()?;
    match rollout.stage.as_str() {
        "rolled_back" => {
            let reason = rollout.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
            Some(format!("the new version of {name} was rolled back{reason}"))
        }
        "nowhere" => Some(format!("no host may run {name} at present")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn who_calls_itself_unwell_is_told_with_its_reason_and_several_by_name() {
        let node = |number: u8, healthy| Node {
            id: NodeId([number; 32]),
            name: format!("edge-{number}"),
            region: String::new(),
            location: None,
            capabilities: Vec::new(),
            labels: BTreeMap::new(),
            resources: None,
            load: None,
            status: NodeState::Alive,
            healthy: Some(healthy),
            ailment: (!healthy).then(|| "read-only".to_owned()),
            draining_since: None,
            version: String::new(),
            roles: Vec::new(),
        };
        let told = |nodes: &[Node]| unwell(NodeId([1; 32]), nodes);
        assert_eq!(told(&[node(1, false), node(2, true)]), None, "of itself the host has its own sentences");
        assert_eq!(told(&[node(1, true), node(2, false)]).as_deref(), Some("edge-2 is not well: read-only"));
        let lost = Node { status: NodeState::Lost, ..node(2, false) };
        assert_eq!(told(&[lost]), None, "what it said before it was lost is the past");
        let five: Vec<Node> = (1..=6).map(|number| node(number, false)).collect();
        assert_eq!(told(&five).as_deref(), Some("edge-2, edge-3, edge-4 and 2 more are not well: ask them"));
    }
}
