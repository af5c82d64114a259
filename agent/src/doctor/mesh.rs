//! What the running agent says of itself and of the others.

use std::collections::BTreeMap;

use serde_json::Value;

use super::finding::{Finding, Outcome};
use super::place::{Agent, Place};
use crate::cli::CliError;
use crate::store::TAKEN_AWAY;

/// Why no agent answers; `comes_up` is what the service waits for, if it is just being started.
pub(super) fn agent(place: &Place, error: &CliError, comes_up: Option<String>) -> Outcome {
    // What the error advises is said below, for this case.
    let message = error.to_string().lines().next().unwrap_or_default().to_owned();
    if let Some(waits) = comes_up {
        return Err(format!("{message}; {waits}"));
    }
    place.looked().map_err(|why| format!("{message}; {why}"))?;
    Ok(vec![match &place.running {
        Some(running) => Finding::error(
            format!("the agent runs as process {} and does not answer: {message}", running.pid),
            "journalctl -u selvedge -n 50; systemctl restart selvedge. A socket that this user may not open: run this as root",
        ),
        None => Finding::warning(
            message,
            format!("systemctl start selvedge, or selvedge run --data-dir {}", place.data_dir.display()),
        ),
    }])
}

/// Whether it has said that its data directory was taken away under it.
pub(super) fn lacks_directory(agent: &Agent) -> bool {
    said(agent, "/health/reasons").any(|reason| reason.contains(TAKEN_AWAY))
}

/// What it complains of, but for what begins as what other checks have `told`.
pub(super) fn health(agent: &Agent, told: &[&str]) -> Outcome {
    let is_new = |reason: &&str| !told.iter().any(|told| reason.starts_with(told));
    let mend = "as it says; \"What health says\" in the guide to trouble has each of these sentences";
    let reasons = said(agent, "/health/reasons").filter(is_new).map(|reason| Finding::error(reason, mend));
    let notes = said(agent, "/health/notes").map(|note| Finding::note(note, "nothing, or as it says"));
    Ok(reasons.chain(notes).collect())
}

/// Members that it is not connected to, although they are there.
pub(super) fn links(agent: &Agent) -> Outcome {
    let peers = agent.status["peers"].as_array().into_iter().flatten();
    Ok(peers
        .filter(|peer| peer["status"] == "alive" || peer["status"] == "draining")
        .filter_map(|peer| {
            let state = peer.pointer("/link/state").and_then(Value::as_str).unwrap_or_default();
            if matches!(state, "connected" | "slowed" | "dialing" | "") {
                return None;
            }
            let why = peer.pointer("/link/reason").and_then(Value::as_str).unwrap_or("it does not say why");
            let what = format!("{} is there and not connected to this host ({state}): {why}", name(peer));
            let addresses = peer.pointer("/link/addresses").and_then(Value::as_array).into_iter().flatten();
            let addresses: Vec<&str> = addresses.filter_map(Value::as_str).collect();
            let place = match addresses.as_slice() {
                [] => "it tells no address".to_owned(),
                addresses => format!("it is to be found at {}", addresses.join(", ")),
            };
            let mend = format!(
                "open the ports of both to each other, TCP and UDP ({place}); selvedge peers shows when it is tried again"
            );
            Some(Finding::warning(what, mend))
        })
        .collect())
}

/// Whether all run one release.
pub(super) fn releases(agent: &Agent) -> Outcome {
    let mut releases: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for node in agent.nodes.as_array().into_iter().flatten().filter(|node| node["status"] == "alive") {
        if let Some(version) = node["version"].as_str().filter(|version| !version.is_empty()) {
            releases.entry(version).or_default().push(name(node));
        }
    }
    let mut found = Vec::new();
    if releases.len() > 1 {
        let told: Vec<String> =
            releases.iter().map(|(version, names)| format!("{version} on {}", names.join(", "))).collect();
        let what = format!("members run {} releases: {}", releases.len(), told.join("; "));
        found.push(Finding::warning(what, "bring all to the newest, one after the other"));
    }
    let (own, agents) = (env!("CARGO_PKG_VERSION"), agent.status.pointer("/node/version").and_then(Value::as_str));
    if let Some(agents) = agents.filter(|agents| *agents != own) {
        let what = format!("this program is release {own}, and the agent that runs is {agents}");
        found.push(Finding::warning(what, "systemctl restart selvedge"));
    }
    Ok(found)
}

fn said<'a>(agent: &'a Agent, at: &str) -> impl Iterator<Item = &'a str> {
    agent.status.pointer(at).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

fn name(node: &Value) -> String {
    let text = |field: &str| node[field].as_str().filter(|text| !text.is_empty());
    text("name").or(text("node")).or(text("id")).unwrap_or("a member").to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_the_agent_says_becomes_findings() {
        let peer = |name: &str, status: &str, state: &str| json!({"name": name, "status": status, "link": {"state": state, "reason": "refused", "addresses": ["192.0.2.7:7512"]}});
        let status = json!({
            "node": {"version": "0.0.9"},
            "health": {"ok": false, "reasons": ["the disk hangs"], "notes": ["it is emptied"]},
            "peers": [peer("a", "alive", "connected"), peer("b", "alive", "resting"), peer("c", "lost", "resting")],
        });
        let node =
            |name: &str, status: &str, version: &str| json!({"name": name, "status": status, "version": version});
        let nodes = json!([node("a", "alive", "0.0.9"), node("b", "alive", "0.1.0"), node("c", "lost", "0.0.1"), {"name": "old"}]);
        let agent = Agent { status, nodes, clocks: None, reach: None };
        let whats =
            |outcome: Outcome| outcome.expect("looked at").into_iter().map(|finding| finding.what).collect::<Vec<_>>();
        assert_eq!(whats(health(&agent, &[])), ["the disk hangs", "it is emptied"]);
        assert_eq!(whats(health(&agent, &["the disk"])), ["it is emptied"], "once is enough");
        assert_eq!(
            whats(links(&agent)),
            ["b is there and not connected to this host (resting): refused"],
            "the lost are health's"
        );
        let mend = links(&agent).expect("looked at").remove(0).mend;
        assert!(mend.contains("192.0.2.7:7512"), "where that member is, and not where most are: {mend}");
        let releases = whats(releases(&agent));
        assert_eq!(releases[0], "members run 2 releases: 0.0.9 on a; 0.1.0 on b");
        assert!(releases[1].contains("the agent that runs is 0.0.9"), "{releases:?}");
    }
}
