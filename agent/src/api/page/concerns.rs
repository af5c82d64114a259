//! What is not as it should be, in sentences: what this host complains of, and what it sees of others and of workloads.
//! `script/concerns.js` says the same once a second; who changes one changes the other.

use std::collections::BTreeMap;

use selvedge_sync::id::NodeId;

use super::markup::{Tone, escape};
use super::workloads::ready;
use crate::service::{Node, NodeState, Peer, Phase, Status, WorkloadStatus};

/// Members of one fate that are named.
const NAMED_MAX: usize = 3;

/// Sentences that are seen at once; the rest unfolds.
const SHOWN_MAX: usize = 8;

/// One thing that is to be said.
#[derive(Debug, PartialEq)]
struct Concern<'a> {
    /// `Bad` keeps somebody from working, `Warn` wants a look, `Busy` is meant to be so or passes.
    tone: Tone,
    /// About whom: members, or a workload.
    about: Vec<&'a str>,
    /// What.
    text: String,
}

/// The verdict with the list, and the worst that is in it.
pub(super) fn health(status: &Status, nodes: &[Node]) -> (Tone, String) {
    let concerns = concerns(status, nodes);
    let faults = concerns.iter().filter(|concern| concern.tone < Tone::Busy).count();
    let verdict = match (status.health.ok, faults) {
        (false, _) => "This host is not well.".to_owned(),
        (true, 0) => "All is well.".to_owned(),
        (true, 1) => "This host is well. One thing in the mesh wants a look.".to_owned(),
        (true, faults) => format!("This host is well. {faults} things in the mesh want a look."),
    };
    let worst = match concerns.first() {
        _ if !status.health.ok => Tone::Bad,
        Some(Concern { tone: tone @ (Tone::Bad | Tone::Warn), .. }) => *tone,
        _ => Tone::Good,
    };
    let (shown, rest) = concerns.split_at(concerns.len().min(SHOWN_MAX));
    let list = |some: &[Concern<'_>]| format!("<ul>{}</ul>", some.iter().map(item).collect::<String>());
    let shown = if shown.is_empty() { String::new() } else { list(shown) };
    let rest = match rest.len() {
        0 => String::new(),
        more => format!("<details><summary>and {more} more</summary>{}</details>", list(rest)),
    };
    (worst, format!("<p>{verdict}</p>{shown}{rest}"))
}

fn item(Concern { tone, about, text }: &Concern<'_>) -> String {
    let names: Vec<String> = about.iter().map(|name| format!("<b>{}</b>", escape(name))).collect();
    let space = if about.is_empty() { "" } else { " " };
    format!("<li{}>{}{space}<span>{}</span></li>", tone.attribute(), names.join(", "), escape(text))
}

/// The worst first.
fn concerns<'a>(status: &'a Status, nodes: &'a [Node]) -> Vec<Concern<'a>> {
    let of = |state: NodeState| -> Vec<&Node> {
        nodes.iter().filter(|node| node.status == state && node.id != status.node.id).collect()
    };
    let links = status.peers.iter().filter(|peer| {
        let alive = nodes.iter().any(|node| node.id == peer.node && node.status == NodeState::Alive);
        alive && matches!(peer.link.state.as_str(), "resting" | "refused")
    });
    let link = |peer: &'a Peer| {
        let reason = peer.link.reason.as_deref().unwrap_or(&peer.link.state);
        concern(Tone::Warn, vec![&peer.name], format!("has no link to this host: {reason}"))
    };
    let named = |id: NodeId| nodes.iter().find(|node| node.id == id).map_or("a member", name);
    let (short, notes) = (Short::of(status), notes(status));
    let workloads =
        status.workloads.iter().flat_map(|workload| [trouble(workload, &named, &short), rollout_trouble(workload)]);
    let reasons = status.health.reasons.iter().map(|reason| concern(Tone::Bad, Vec::new(), reason.clone()));
    let mut concerns: Vec<Concern<'_>> = reasons
        .chain(fate(Tone::Bad, &of(NodeState::Lost), "is lost", "are lost"))
        .chain(fate(Tone::Warn, &of(NodeState::Suspect), "does not answer", "do not answer"))
        .chain(unwell(status.node.id, nodes))
        .chain(links.map(link))
        .chain(workloads.flatten())
        .chain(fate(Tone::Busy, &of(NodeState::Draining), "is being drained", "are being drained"))
        .chain(fate(Tone::Busy, &of(NodeState::Stopping), "is stopping", "are stopping"))
        .chain(notes)
        .collect();
    concerns.sort_by_key(|concern| concern.tone);
    concerns
}

const fn concern(tone: Tone, about: Vec<&str>, text: String) -> Concern<'_> {
    Concern { tone, about, text }
}

/// Which workloads lack instances, as the agent notes it once that lasts. What runs on each host that may is complete with fewer than
/// there are members.
#[derive(Debug)]
pub(super) struct Short<'a> {
    /// What is noted, by the workload's name.
    told: BTreeMap<&'a str, &'a str>,
    /// Whether there are more than are told one by one.
    more: bool,
}

/// How the agent's note ends of workloads that it does not tell one by one.
const MORE_NOTED: &str = " more workloads have too few instances ready";

impl<'a> Short<'a> {
    pub(super) fn of(status: &'a Status) -> Self {
        let notes = &status.health.notes;
        let told = notes.iter().filter_map(|note| short_note(note)).collect();
        Self { told, more: notes.iter().any(|note| note.ends_with(MORE_NOTED)) }
    }

    /// How a workload fares.
    pub(super) fn tone(&self, workload: &WorkloadStatus) -> Tone {
        let (ready, wanted) = (ready(workload), workload.replicas as usize);
        let is = |phases: &[Phase]| workload.instances.iter().any(|instance| phases.contains(&instance.phase));
        if is(&[Phase::Failed]) {
            Tone::Bad
        } else if ready >= wanted {
            Tone::Good
        } else if self.told.contains_key(workload.name.as_str()) {
            if ready == 0 { Tone::Bad } else { Tone::Warn }
        } else if is(&[Phase::Pending, Phase::Starting]) {
            Tone::Busy
        } else if ready == 0 {
            Tone::Bad
        } else if self.more {
            Tone::Warn
        } else {
            Tone::Good
        }
    }
}

/// The agent's notes of anything else.
fn notes(status: &Status) -> impl Iterator<Item = Concern<'_>> {
    let others = status.health.notes.iter().filter(|note| short_note(note).is_none() && !note.ends_with(MORE_NOTED));
    others.map(|note| concern(Tone::Busy, Vec::new(), note.clone()))
}

/// The parts of "`combat` has 1 of 2 instances ready, for 42s now: …".
fn short_note(note: &str) -> Option<(&str, &str)> {
    let (name, text) = note.strip_prefix('`')?.split_once("` ")?;
    let is_short = text.starts_with("has ") && text.contains(" instances ready");
    is_short.then_some((name, text))
}

/// Members that share a fate.
fn fate<'a>(tone: Tone, nodes: &[&'a Node], one: &str, many: &str) -> Option<Concern<'a>> {
    let (first, more) = nodes.split_at(nodes.len().min(NAMED_MAX));
    let about = first.iter().map(|node| name(node)).collect();
    let text = match (nodes.len(), more.len()) {
        (0, _) => return None,
        (1, _) => one.to_owned(),
        (_, 0) => many.to_owned(),
        (_, more) => format!("and {more} more {many}"),
    };
    Some(concern(tone, about, text))
}

/// Who is there and calls itself unwell: one with its reason, several by name.
fn unwell(own: NodeId, nodes: &[Node]) -> Option<Concern<'_>> {
    let unwell: Vec<&Node> = nodes.iter().filter(|node| node.id != own && is_unwell(node)).collect();
    let ailment = unwell.first()?.ailment.as_deref().unwrap_or("ask it");
    fate(Tone::Warn, &unwell, &format!("is not well: {ailment}"), "are not well: ask them")
}

/// Whether a member that is there calls itself unwell.
pub(super) fn is_unwell(node: &Node) -> bool {
    node.healthy == Some(false) && !matches!(node.status, NodeState::Lost | NodeState::Left)
}

fn name(node: &Node) -> &str {
    if node.name.is_empty() { "a member" } else { &node.name }
}

fn trouble<'a, 'b>(
    workload: &'a WorkloadStatus,
    named: &impl Fn(NodeId) -> &'b str,
    short: &Short<'_>,
) -> Option<Concern<'a>> {
    let (ready, wanted, instances) = (ready(workload), workload.replicas as usize, &workload.instances);
    let about = vec![workload.name.as_str()];
    let tone = short.tone(workload);
    if let Some(failed) = instances.iter().find(|instance| instance.phase == Phase::Failed) {
        let reason = failed.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
        let tone = if ready == 0 { Tone::Bad } else { Tone::Warn };
        return Some(concern(tone, about, format!("failed on {}{reason}", named(failed.node))));
    }
    if tone == Tone::Good {
        return None;
    }
    if let Some(note) = short.told.get(workload.name.as_str()) {
        return Some(concern(tone, about, (*note).to_owned()));
    }
    let starting = if tone == Tone::Busy { ", and starting" } else { "" };
    Some(concern(tone, about, format!("is ready on {ready} of {wanted}{starting}")))
}

/// What became of a version, until another is deployed.
fn rollout_trouble(WorkloadStatus { name, rollout, .. }: &WorkloadStatus) -> Option<Concern<'_>> {
    let rollout = rollout.as_ref()?;
    let why = rollout.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    let (tone, text) = match rollout.stage.as_str() {
        "rolled_back" => (Tone::Warn, format!("was rolled back to the version before{why}")),
        "nowhere" => (Tone::Bad, "may not run on any host at present".to_owned()),
        "fenced" => (Tone::Bad, format!("does not run{why}")),
        _ => return None,
    };
    Some(concern(tone, vec![name], text))
}

#[cfg(test)]
mod tests {
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
        let (well, lost) = ([node(1, false), node(2, true)], [Node { status: NodeState::Lost, ..node(2, false) }]);
        assert_eq!(unwell(NodeId([1; 32]), &well), None, "of itself the host has its own sentences");
        assert_eq!(unwell(NodeId([1; 32]), &lost), None, "what it said before it was lost is the past");
        let one = [node(1, true), node(2, false)];
        let told = concern(Tone::Warn, vec!["edge-2"], "is not well: read-only".to_owned());
        assert_eq!(unwell(NodeId([1; 32]), &one), Some(told));
        let five: Vec<Node> = (1..=6).map(|number| node(number, false)).collect();
        let told =
            concern(Tone::Warn, vec!["edge-2", "edge-3", "edge-4"], "and 2 more are not well: ask them".to_owned());
        assert_eq!(unwell(NodeId([1; 32]), &five), Some(told));
    }

    #[test]
    fn a_note_of_a_workload_that_lacks_instances_is_told_from_others() {
        let note = "`combat` has 1 of 2 instances ready, for 42s now: no host has room";
        assert_eq!(short_note(note), Some(("combat", "has 1 of 2 instances ready, for 42s now: no host has room")));
        assert_eq!(short_note("this agent is draining since noon; still here: `combat` has it"), None);
        assert_eq!(short_note("`combat` waits for calls"), None);
    }
}
