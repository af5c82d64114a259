//! The table of workloads: how each fares, where it runs and why there. `script/overview.js` says the same once a second, and
//! `script/rollouts.js` how a deployment goes on; who changes one changes the other, and the test with a browser compares them.

use std::collections::BTreeMap;

use selvedge_sync::id::NodeId;

use super::concerns::Short;
use super::markup::{Cell, Tone, escape, mark, row};
use super::text::{NONE, count, micros, span, whole};
use crate::service::{Instance, Node, Phase, Rollout, Status, WorkloadStatus};

/// Places of a workload that are named.
const PLACES_MAX: usize = 12;

/// Columns of the table.
const COLUMNS: usize = 11;

/// Names of hosts by their ids.
type Names<'a> = BTreeMap<NodeId, &'a str>;

/// The rows; `whys` says why each runs where it does, by its name.
pub(super) fn workloads(status: &Status, nodes: &[Node], whys: &BTreeMap<String, String>) -> String {
    if status.workloads.is_empty() {
        let hint = "Nothing is deployed. selvedge deploy FILE.wasm --name NAME does that.";
        return format!("<tr><td colspan=\"{COLUMNS}\" class=\"empty\">{hint}</td></tr>");
    }
    let peers = status.peers.iter().map(|peer| (peer.node, peer.name.as_str()));
    let names = peers.chain(nodes.iter().map(|node| (node.id, node.name.as_str()))).collect();
    let mut sorted: Vec<&WorkloadStatus> = status.workloads.iter().collect();
    // What is not well comes first.
    let short = Short::of(status);
    sorted.sort_by_key(|workload| short.tone(workload));
    let row =
        |workload: &WorkloadStatus| self::workload(workload, short.tone(workload), &names, whys.get(&workload.name));
    sorted.into_iter().map(row).collect()
}

/// Instances that take calls.
pub(super) fn ready(workload: &WorkloadStatus) -> usize {
    workload.instances.iter().filter(|instance| instance.phase == Phase::Ready).count()
}

fn workload(workload: &WorkloadStatus, tone: Tone, names: &Names<'_>, why: Option<&String>) -> String {
    let recent = &workload.recent;
    let latency = |us: u64| Cell::number(if recent.calls == 0 { NONE.to_owned() } else { micros(us as f64) });
    let errors = match recent.errors {
        0 => Cell::number("0"),
        errors => Cell::marked(Tone::Warn, whole(errors)).right(),
    };
    let us = &recent.latency_us;
    let why = why.filter(|why| !why.is_empty()).map(|why| format!("<p class=\"why\">{}</p>", escape(why)));
    let rollout = workload.rollout.as_ref().and_then(|rollout| self::rollout(rollout, names));
    row(&[
        Cell::text(&workload.name),
        Cell::marked(tone, format!("{} of {}", ready(workload), workload.replicas)),
        Cell::wrapped([rollout.unwrap_or_default(), places(workload, names), why.unwrap_or_default()].concat()),
        Cell::number(whole(recent.calls)),
        // A rate takes two looks, and the picture JavaScript.
        Cell::number(NONE),
        errors,
        latency(us.p50),
        latency(us.p99),
        latency(us.p999),
        latency(us.max),
        Cell::text(NONE),
    ])
}

/// How far a rollout has got that is not over.
fn rollout(rollout: &Rollout, names: &Names<'_>) -> Option<String> {
    let tone = match rollout.stage.as_str() {
        "nowhere" | "fenced" => Tone::Bad,
        "rolled_back" => Tone::Warn,
        _ => Tone::Busy,
    };
    let words = escape(&rollout_words(rollout, names)?);
    Some(format!("<p class=\"mark\"{}>{words}</p>", tone.attribute()))
}

fn rollout_words(rollout: &Rollout, names: &Names<'_>) -> Option<String> {
    let of = |nodes: &[NodeId]| nodes.iter().map(|node| called(*node, names)).collect::<Vec<_>>().join(", ");
    let why = rollout.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    Some(match rollout.stage.as_str() {
        "pending" => "the new version has not begun".to_owned(),
        "canary" => canary_words(rollout, names),
        "following" => {
            let (done, hosts) = (rollout.done.unwrap_or(0), rollout.of.unwrap_or(0));
            let behind = match rollout.behind.as_slice() {
                [] => String::new(),
                behind => format!("; not waiting for {}", of(behind)),
            };
            format!("the others follow: {done} of {hosts} serve the new version{behind}")
        }
        "switching" => {
            let on = match rollout.old_on.as_slice() {
                [] => String::new(),
                old => format!(", on {}", of(old)),
            };
            let old = count(rollout.old.unwrap_or(0) as u64, "instance");
            format!("the old version stops first: {old} to go{on}")
        }
        "nowhere" => "no host may run the new version".to_owned(),
        "fenced" => format!("does not run{why}"),
        "rolled_back" => format!("the new version was rolled back{why}"),
        _ => return None,
    })
}

fn canary_words(rollout: &Rollout, names: &Names<'_>) -> String {
    let canary = rollout.canary.map_or_else(|| "a member".to_owned(), |canary| called(canary, names));
    let (calls, wanted) = (rollout.calls.unwrap_or(0), u64::from(rollout.calls_wanted.unwrap_or(0)));
    let seconds = |ms: Option<u64>| span(ms.unwrap_or(0).div_ceil(1_000));
    let p99 = match (rollout.canary_p99_us, rollout.old_p99_us) {
        (Some(new), Some(old)) => {
            format!(", p99 {} beside {} of the old one", micros(new as f64), micros(old as f64))
        }
        _ => String::new(),
    };
    let left = if rollout.remaining_ms == Some(0) && calls < wanted {
        format!("at the latest in {}", seconds(rollout.latest_ms))
    } else {
        format!("{} to go", seconds(rollout.remaining_ms))
    };
    format!("{canary} tries the new version: {} of {} calls{p99}, {left}", whole(calls), whole(wanted))
}

/// A host's name, or the end of its id where it has none.
fn called(node: NodeId, names: &Names<'_>) -> String {
    let id = node.to_string();
    let name = names.get(&node).copied().filter(|name| !name.is_empty());
    name.unwrap_or(&id[id.len().saturating_sub(8)..]).to_owned()
}

/// Where instances are. Those that have something to say but that they are ready come first.
fn places(workload: &WorkloadStatus, names: &Names<'_>) -> String {
    if workload.instances.is_empty() {
        return "<p>nowhere</p>".to_owned();
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
    let more = match sorted.len().saturating_sub(PLACES_MAX) {
        0 => String::new(),
        more => format!("<li>and {more} more</li>"),
    };
    let places = sorted.iter().take(PLACES_MAX).map(|instance| place(instance, names));
    format!("<ul class=\"places\">{}{more}</ul>", places.collect::<String>())
}

fn place(instance: &Instance, names: &Names<'_>) -> String {
    let tone = match instance.phase {
        Phase::Ready => Tone::Good,
        Phase::Failed => Tone::Bad,
        Phase::Suspect => Tone::Warn,
        Phase::Pending | Phase::Starting | Phase::Stopping => Tone::Busy,
    };
    let reason = instance.reason.as_ref().map(|reason| escape(&format!(": {reason}"))).unwrap_or_default();
    let phase = instance.phase.as_str();
    let phase = if instance.phase == Phase::Ready {
        format!("<span class=\"hidden\"> {phase}</span>")
    } else {
        format!(" {phase}")
    };
    format!("<li>{}{phase}{reason}</li>", mark(tone, &called(instance.node, names)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rollout_reads_as_a_sentence() {
        let (one, two) = (NodeId([1; 32]), NodeId([2; 32]));
        let names = BTreeMap::from([(one, "fra-1"), (two, "fra-2")]);
        let words = |rollout: Rollout| rollout_words(&rollout, &names);
        let at = |stage: &str| Rollout { stage: stage.to_owned(), ..Rollout::default() };
        let canary = Rollout {
            canary: Some(one),
            calls: Some(12),
            calls_wanted: Some(50),
            remaining_ms: Some(0),
            latest_ms: Some(40_001),
            ..at("canary")
        };
        let waits = "fra-1 tries the new version: 12 of 50 calls, at the latest in 41 s";
        assert_eq!(words(canary.clone()).as_deref(), Some(waits));
        let measured =
            Rollout { remaining_ms: Some(61_000), canary_p99_us: Some(4_100), old_p99_us: Some(900), ..canary };
        let both =
            "fra-1 tries the new version: 12 of 50 calls, p99 4.1 ms beside 900 µs of the old one, 1 min 1 s to go";
        assert_eq!(words(measured).as_deref(), Some(both));
        let behind = Rollout { done: Some(1), of: Some(3), behind: vec![two], ..at("following") };
        let passed = "the others follow: 1 of 3 serve the new version; not waiting for fra-2";
        assert_eq!(words(behind).as_deref(), Some(passed));
        let fenced = Rollout { reason: Some("the state is newer".to_owned()), ..at("fenced") };
        assert_eq!(words(fenced).as_deref(), Some("does not run: the state is newer"));
        assert_eq!(words(at("done")), None);
        assert_eq!(words(at("of a newer release")), None);
    }
}
