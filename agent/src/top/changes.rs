//! What has happened between two looks, in lines.
//!
//! Owns the comparison; pure. Events are compared and not listened to: a stream of all commits of a busy cluster would cost its agent
//! more than everything else that is shown here.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::cli::printable;

/// What the second of two looks at an agent shows that the first did not.
pub(super) fn changes(before: (&Value, &Value), after: (&Value, &Value)) -> Vec<String> {
    let ((status_before, nodes_before), (status, nodes)) = (before, after);
    let mut told = differ(&members(nodes_before), &members(nodes), "a member");
    told.extend(differ(&links(status_before), &links(status), "a link"));
    told.extend(differ(&instances(status_before, nodes), &instances(status, nodes), "an instance"));
    let reasons = |status: &Value| -> Vec<String> {
        let reasons = status.pointer("/health/reasons").and_then(Value::as_array);
        reasons.into_iter().flatten().filter_map(Value::as_str).map(printable).collect()
    };
    let (were, are) = (reasons(status_before), reasons(status));
    told.extend(are.iter().filter(|reason| !were.contains(reason)).map(|reason| format!("not well: {reason}")));
    told.extend(were.iter().filter(|reason| !are.contains(reason)).map(|reason| format!("well again: {reason}")));
    told
}

/// Lines about what is new, has changed or is gone.
fn differ(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>, kind: &str) -> Vec<String> {
    let changed = after.iter().filter_map(|(name, state)| match before.get(name) {
        None => Some(format!("{name} is {state}")),
        Some(was) if was != state => Some(format!("{name} is {state}, was {was}")),
        Some(_) => None,
    });
    let gone = before.keys().filter(|name| !after.contains_key(*name)).map(|name| format!("{name} is {kind} no more"));
    changed.chain(gone).collect()
}

fn members(nodes: &Value) -> BTreeMap<String, String> {
    let node = |node: &Value| Some((name(node, "id"), node["status"].as_str()?.to_owned()));
    nodes.as_array().into_iter().flatten().filter_map(node).collect()
}

fn links(status: &Value) -> BTreeMap<String, String> {
    let link = |peer: &Value| {
        let state = peer.pointer("/link/state").and_then(Value::as_str)?;
        // A link that rests is dialled every now and then; that is one state to whoever looks.
        let state = if matches!(state, "dialing" | "resting") { "down" } else { state };
        Some((format!("the link to {}", name(peer, "node")), printable(state)))
    };
    status["peers"].as_array().into_iter().flatten().filter_map(link).collect()
}

fn instances(status: &Value, nodes: &Value) -> BTreeMap<String, String> {
    let names: BTreeMap<&str, String> = nodes
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|node| Some((node["id"].as_str()?, name(node, "id"))))
        .collect();
    let mut found = BTreeMap::new();
    for workload in status["workloads"].as_array().into_iter().flatten() {
        for instance in workload["instances"].as_array().into_iter().flatten() {
            let id = instance["node"].as_str().unwrap_or("?");
            let at = names.get(id).cloned().unwrap_or_else(|| printable(id));
            let why = instance["reason"].as_str().map(|why| format!(": {}", printable(why))).unwrap_or_default();
            let state = format!("{}{why}", instance["phase"].as_str().unwrap_or("unknown"));
            found.insert(format!("{} on {at}", name(workload, "name")), state);
        }
    }
    found
}

/// What is called so; its id where it has no name.
pub(super) fn name(json: &Value, id: &str) -> String {
    let text = |field: &str| json[field].as_str().filter(|text| !text.is_empty());
    text("name").or(text(id)).map_or_else(|| "?".to_owned(), printable)
}
