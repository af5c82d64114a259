//! `diff`: how the state of one member stands to that of the agent that is asked.
//!
//! Owns whom a name means among the peers, and the verdict. The invariant: exit code 0 means that both roots were heard and are equal.

use serde_json::{Value, json};

use super::args::DiffArgs;
use super::client::Client;
use super::connection::{Ask, segment};
use super::error::{CliError, EXIT_DONE, EXIT_FAILED, HINT};
use super::output::{cell, print_shown, short};
use super::tables::tail;

/// Characters of an id that are enough to ask by.
const PART_CHARS_MIN: usize = 4;
/// Characters of a root: enough to compare by eye.
const ROOT_CHARS: usize = 16;

/// Says whether a member holds the same state, and what is known of the difference; returns the exit code.
///
/// # Errors
/// The agent is away. It knows of no such member, or of several: as wrong as wrong usage, and 1 says that states differ.
pub(crate) async fn diff(args: &DiffArgs, client: &mut Client) -> Result<u8, CliError> {
    let convergence = client.json(Ask::get("/v1/convergence")).await?;
    let status = client.json(Ask::get("/v1/status")).await?;
    let mut document = compare(&args.node, &convergence, &status)?;
    if document["equal"] == false {
        let node = document["node"].as_str().unwrap_or_default();
        // What differs may be the same by now, or not to be told by an older agent.
        let detail = client.json(Ask::get(format!("/v1/nodes/{}", segment(node)))).await.unwrap_or_default();
        document["unseen"] = detail["unseen"].clone();
    }
    print_shown(args.client.json, &document, text)?;
    Ok(if document["equal"] == true { EXIT_DONE } else { EXIT_FAILED })
}

fn compare(wanted: &str, convergence: &Value, status: &Value) -> Result<Value, CliError> {
    let peers = convergence["peers"].as_array().map_or(&[][..], Vec::as_slice);
    let is_meant = |peer: &&Value| {
        let (id, name) = (peer["node"].as_str().unwrap_or_default(), peer["name"].as_str().unwrap_or_default());
        let is_part = wanted.chars().count() >= PART_CHARS_MIN && (id.starts_with(wanted) || id.ends_with(wanted));
        name == wanted || id == wanted || is_part
    };
    let meant: Vec<&Value> = peers.iter().filter(is_meant).collect();
    let [peer] = meant.as_slice() else {
        let own = |at: &str| status.pointer(at).and_then(Value::as_str) == Some(wanted);
        if meant.is_empty() && (own("/node/name") || own("/node/id")) {
            return Err(CliError::Unusable(format!(
                "{wanted} is this agent itself{HINT}`selvedge diff` compares it with another member; `selvedge peers` lists them"
            )));
        }
        let problem = match meant.len() {
            0 => format!("there is no member {wanted:?}"),
            several => format!("{wanted:?} may mean {several} members"),
        };
        let listed = if meant.is_empty() { peers.iter().collect() } else { meant };
        let listed: Vec<String> = listed.iter().map(|peer| who(peer)).collect();
        let names =
            if listed.is_empty() { "this agent knows of no other member".to_owned() } else { listed.join(", ") };
        return Err(CliError::Unusable(format!("{problem}{HINT}name one by name or id: {names}")));
    };
    let links = status["peers"].as_array().into_iter().flatten();
    let link = links.filter(|link| link["node"] == peer["node"]).map(|link| link["link"].clone()).next();
    Ok(json!({
        "node": peer["node"],
        "name": peer["name"],
        "status": peer["status"],
        "equal": peer["root_equal"] == true && peer["root"].is_string(),
        "root": convergence["root"],
        "their_root": peer["root"],
        "lag_commits": peer["lag_commits"],
        "reason": peer["reason"],
        "link": link,
        "unwell_here": status["health"]["reasons"].as_array().filter(|reasons| !reasons.is_empty()),
    }))
}

fn who(peer: &Value) -> String {
    let id = cell(peer, "/node");
    match cell(peer, "/name") {
        name if name.is_empty() || name == super::output::UNKNOWN => tail(&id),
        name => format!("{name} ({})", tail(&id)),
    }
}

fn text(document: &Value) -> String {
    let who = who(document);
    let root = |pointer: &str| short(&cell(document, pointer), ROOT_CHARS);
    if document["equal"] == true {
        return format!("{who} holds the same state: root {}", root("/root"));
    }
    // What somebody said last who is away says nothing of what it holds now.
    let is_there = ["alive", "suspect", "draining", "stopping"]
        .contains(&document["status"].as_str().unwrap_or_default())
        && document["their_root"].is_string();
    let lag = match document["lag_commits"].as_u64() {
        Some(0) if !is_there || document["reason"].is_string() => {
            "none was known to be missing on either side when it was last heard".to_owned()
        }
        Some(0) => "none is known to be missing on either side: what differs is on its way, or damaged if it stays so"
            .to_owned(),
        Some(lag) => format!("{lag} that one side has and the other lacks, as last heard"),
        None => "not heard yet".to_owned(),
    };
    let mut lines = vec![
        if is_there { format!("{who} holds another state") } else { format!("it is not known what {who} holds now") },
        format!("  roots    {} here, {} there", root("/root"), root("/their_root")),
        format!("  commits  {lag}"),
        format!("  keys     {}", keys(document)),
        format!("  member   {}", cell(document, "/status")),
        format!("  link     {}", cell(document, "/link/state")),
    ];
    lines.extend(
        ["/reason", "/link/reason"]
            .map(|at| cell(document, at))
            .into_iter()
            .filter(|why| why != super::output::UNKNOWN),
    );
    if let Some(reasons) = document["unwell_here"].as_array() {
        let reasons: Vec<_> = reasons.iter().filter_map(Value::as_str).map(super::output::printable).collect();
        lines.push(format!("the agent that was asked is not well: {}", reasons.join("; ")));
    }
    lines.push(
        "hint: `selvedge converged --wait 10s` waits for all; `selvedge peers` shows what keeps a link down".to_owned(),
    );
    lines.join("\n")
}

/// The keys of what is here and not there. What is there and not here has no names yet: a vector only counts.
fn keys(document: &Value) -> String {
    let keys: Vec<&Value> = document["unseen"]["keys"].as_array().into_iter().flatten().collect();
    let more = if document["unseen"]["more"] == true { ", and perhaps more" } else { "" };
    match keys.as_slice() {
        [] if more.is_empty() => "none is known that was written here and is not there".to_owned(),
        [] => "what was written here and is not there is too old to be named".to_owned(),
        keys => {
            let keys: Vec<String> = keys.iter().map(|key| cell(key, "")).collect();
            format!("written here and not there, as last heard: {}{more}", keys.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn documents() -> (Value, Value) {
        let convergence = json!({"converged": false, "root": "aa11", "peers": [
            {"node": "12D3KooWBBBBBBBB", "name": "edge-2", "status": "alive", "root": "aa11", "root_equal": true, "lag_commits": 0},
            {"node": "12D3KooWCCCCCCCC", "name": "edge-3", "status": "alive", "root": "bb22", "root_equal": false, "lag_commits": 17},
            {"node": "12D3KooWDDDDDDDD", "name": "", "status": "lost", "root": null, "root_equal": false, "lag_commits": null,
             "reason": "silent for 42s"},
        ]});
        let link = json!({"node": "12D3KooWCCCCCCCC", "link": {"state": "resting", "reason": "timed out"}});
        (convergence, json!({ "peers": [link] }))
    }

    fn check(wanted: &str, equal: bool, words: &[&str]) {
        let (convergence, status) = documents();
        let document = compare(wanted, &convergence, &status).expect("one is meant");
        assert_eq!(document["equal"], equal, "{document:#}");
        let text = text(&document);
        words.iter().for_each(|words| assert!(text.contains(words), "{words:?} is not in\n{text}"));
    }

    #[test]
    fn a_member_is_named_by_name_or_part_of_its_id() {
        check("edge-2", true, &["edge-2 (BBBBBBBB) holds the same state: root aa11"]);
        check("CCCCCCCC", false, &["aa11 here, bb22 there", "17 that one side has", "resting", "timed out", "hint: "]);
        check(
            "12D3KooWDDDDDDDD",
            false,
            &["it is not known what DDDDDDDD holds now", "not heard yet", "silent for 42s"],
        );
    }

    #[test]
    fn whoever_is_not_named_for_certain_is_compared_with_nobody() {
        let (convergence, mut status) = documents();
        status["node"] = json!({"id": "12D3KooWAAAAAAAA", "name": "edge-1"});
        let check = |wanted: &str, words: &[&str]| {
            let error = compare(wanted, &convergence, &status).expect_err("nobody for certain");
            assert_eq!(error.exit_code(), 2, "{error}");
            words.iter().for_each(|words| assert!(error.to_string().contains(words), "{words:?} is not in {error}"));
        };
        check("12D3KooW", &["may mean 3 members", "edge-3 (CCCCCCCC)"]);
        check("nobody", &["there is no member \"nobody\"", "edge-3 (CCCCCCCC)"]);
        check("DD", &["there is no member", "edge-2 (BBBBBBBB)"]);
        check("edge-1", &["edge-1 is this agent itself"]);
    }

    #[test]
    fn keys_that_the_other_lacks_are_named() {
        let keys = |unseen: Value| keys(&json!({"unseen": unseen}));
        let named = keys(json!({"keys": ["gcounter/kills", "orset/on\u{1b}line"], "more": false}));
        assert_eq!(named, "written here and not there, as last heard: gcounter/kills, orset/on\u{fffd}line");
        assert!(keys(json!({"keys": ["gset/a"], "more": true})).ends_with("gset/a, and perhaps more"));
        assert!(keys(json!({"keys": [], "more": true})).contains("too old"));
        assert!(keys(Value::Null).starts_with("none is known"));
    }
}
