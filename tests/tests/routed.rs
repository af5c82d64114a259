//! Where calls go when an operator has said how, on agents that all have an instance of their own; and what a caller hears of a host that is silent.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use selvedge_tests::{Agent, Launch, eventually, http};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(120);

/// Calls of the same arguments, with more lines of a head; what comes of it, and who answered.
fn call(agent: &Agent, name: &str, lines: &str) -> (u16, Value, String) {
    let api = agent.api();
    let address = api.strip_prefix("http://").expect("an address over TCP");
    let token = std::fs::read_to_string(agent.data_dir().join("api-token")).expect("a token");
    let head = format!("Authorization: Bearer {}\r\n{lines}", token.trim());
    let path = format!("/v1/workloads/{name}/call/predict");
    let sample = json!({"t_ms": 0, "x": 1.0, "y": 2.0, "z": 0.0});
    let arguments = json!([[{"player": 7, "samples": [sample], "horizon_ms": 100}]]).to_string();
    let answer = http::exchange(address, "POST", &path, &head, arguments.as_bytes());
    let node = answer.head.lines().find_map(|line| line.strip_prefix("selvedge-node: "));
    let body = serde_json::from_slice(&answer.body).unwrap_or_default();
    (answer.status, body, node.unwrap_or_default().to_owned())
}

fn deploy(agent: &Agent, folder: &Path, name: &str, more: &[&str]) {
    let (_, wasm) = selvedge::shipped::shipped().into_iter().find(|(name, _)| *name == "prediction").expect("it ships");
    let file = folder.join("prediction.wasm");
    std::fs::write(&file, wasm).expect("written");
    let line = ["deploy", &file.to_string_lossy(), "--name", name, "--timeout", "120s"];
    let done = agent.cli(&[&line[..], more].concat());
    assert_eq!(done.code, 0, "{}{}\n{}", done.stdout, done.stderr, agent.log());
}

fn together(folder: &Path, names: &[&str]) -> Vec<Agent> {
    let mut agents: Vec<Agent> = Vec::new();
    for name in names {
        let known: Vec<&Agent> = agents.first().into_iter().collect();
        let agent = Launch::new(folder, name).joining(&known).start();
        agents.push(agent);
    }
    eventually("all know each other", PATIENCE, || {
        agents.iter().all(|agent| agent.alive() == names.len() as u64).then_some(())
    });
    agents
}

/// Who answers calls with these lines at an agent, of `times`.
fn who(agent: &Agent, name: &str, lines: &str, times: usize) -> BTreeSet<String> {
    let each = (0..times).map(|_| {
        let (status, body, node) = call(agent, name, lines);
        assert_eq!(status, 200, "{body}");
        node
    });
    each.collect()
}

#[test]
fn a_strategy_and_a_session_are_followed_also_where_an_instance_is_here() {
    let folder = tempfile::tempdir().expect("a folder");
    let agents = together(folder.path(), &["one", "two", "three"]);
    let all: BTreeSet<String> = agents.iter().map(Agent::node).collect();
    for (name, routing) in [("turns", "round-robin"), ("held", "session"), ("near", "local-first")] {
        deploy(&agents[0], folder.path(), name, &["--replicas", "3", "--routing", routing]);
    }
    for agent in &agents {
        eventually("every host takes its turn", PATIENCE, || (who(agent, "turns", "", 9) == all).then_some(()));
        eventually("what is here answers", PATIENCE, || {
            (who(agent, "near", "", 6) == BTreeSet::from([agent.node()])).then_some(())
        });
    }
    let session =
        |agent: &Agent, number: usize| who(agent, "held", &format!("Selvedge-Session: player-{number}\r\n"), 3);
    eventually("each session has one host, whoever is asked, and they do not share one", PATIENCE, || {
        let hosts: Vec<BTreeSet<String>> = (0..12).map(|number| session(&agents[0], number)).collect();
        let is_one = |(number, host): (usize, &BTreeSet<String>)| {
            host.len() == 1 && agents.iter().all(|agent| session(agent, number) == *host)
        };
        let used: BTreeSet<&String> = hosts.iter().flatten().collect();
        (hosts.iter().enumerate().all(is_one) && used.len() == 3).then_some(())
    });
}

/// A host that was stopped says nothing: its caller hears so, and what may have become of the call, before the host is found to be lost; and
/// then its link is not told as connected.
#[test]
fn a_silent_host_costs_its_caller_the_deadline_and_its_link_goes_with_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let agents = together(folder.path(), &["caller", "host"]);
    let (caller, host) = (&agents[0], &agents[1]);
    deploy(caller, folder.path(), "only", &["--must", "node=host", "--deadline", "5s"]);
    eventually("it answers", PATIENCE, || (call(caller, "only", "").0 == 200).then_some(()));
    host.stall();
    // It may answer until the signal has reached all of its threads.
    let (status, body) = eventually("a call is not answered", PATIENCE, || {
        let (status, body, _) = call(caller, "only", "Selvedge-Deadline-Ms: 100\r\n");
        (status != 200).then_some((status, body))
    });
    assert_eq!((status, &body["error"]["code"]), (504, &json!("forward_timed_out")), "{body}");
    assert!(body["error"]["changed"].as_str().is_some_and(|changed| changed.contains("may have been")), "{body}");
    eventually("its link is told to be down, and nothing waits for it", PATIENCE, || {
        let peers = caller.json(&["peers"]);
        let peer = peers.as_array().and_then(|all| all.first()).cloned().unwrap_or_default();
        let waits = peer["link"]["traffic"]["queued_hints"].as_u64().unwrap_or_default();
        (peer["status"] == "lost" && peer["link"]["state"] != "connected" && waits == 0).then_some(())
    });
    host.resume();
    eventually("it is there again and answers", PATIENCE, || (call(caller, "only", "").0 == 200).then_some(()));
}
