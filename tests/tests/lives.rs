//! How members fare: drained, gone in good order, dead and back, and found twice.

use std::time::Duration;

use selvedge_tests::{Agent, Launch, eventually};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(30);

/// How `agent` sees the member of this name.
fn sees(agent: &Agent, name: &str) -> String {
    let nodes = agent.json(&["nodes"]);
    let nodes = nodes.as_array().expect("a list");
    let state = |node: &&Value| node["name"] == json!(name);
    nodes.iter().find(state).and_then(|node| node["status"].as_str()).unwrap_or("unknown").to_owned()
}

/// Three agents that see each other.
fn mesh(folder: &std::path::Path) -> [Agent; 3] {
    let one = Launch::new(folder, "one").joining(&[]).start();
    let two = Launch::new(folder, "two").joining(&[&one]).start();
    let three = Launch::new(folder, "three").joining(&[&one]).start();
    let agents = [one, two, three];
    for agent in &agents {
        eventually("all are there", PATIENCE, || (agent.alive() == 3).then_some(()));
    }
    agents
}

#[test]
fn who_is_drained_hands_over_and_takes_part_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let [one, two, _three] = mesh(folder.path());
    let wasm = folder.path().join("prediction.wasm");
    let (_, bytes) = selvedge::shipped::shipped().into_iter().find(|(name, _)| *name == "prediction").expect("shipped");
    std::fs::write(&wasm, bytes).expect("is written");
    let deployed = one.cli(&["deploy", &wasm.to_string_lossy(), "--name", "guess", "--everywhere"]);
    assert_eq!(deployed.code, 0, "{deployed:?}");
    let runs_on = |agent: &Agent| -> Vec<String> {
        let workloads = agent.json(&["workloads"]);
        let instances = workloads[0]["instances"].as_array().cloned().unwrap_or_default();
        let ready = instances.iter().filter(|instance| instance["phase"] == json!("ready"));
        ready.filter_map(|instance| instance["node"].as_str().map(str::to_owned)).collect()
    };
    eventually("it runs everywhere", PATIENCE, || (runs_on(&one).len() == 3).then_some(()));
    assert_eq!(two.json(&["drain"])["draining"], json!(true));
    eventually("it is seen", PATIENCE, || (sees(&one, "two") == "draining").then_some(()));
    eventually("it has handed over", PATIENCE, || (!runs_on(&one).contains(&two.node())).then_some(()));
    let (launch, _) = two.stop();
    let two = launch.start();
    eventually("it is drained after a restart", PATIENCE, || (sees(&one, "two") == "draining").then_some(()));
    assert_eq!(two.json(&["drain", "--off"])["draining"], json!(false));
    eventually("it takes part again", PATIENCE, || runs_on(&one).contains(&two.node()).then_some(()));
}

#[test]
fn who_leaves_is_missed_by_nobody_and_may_come_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let [one, two, three] = mesh(folder.path());
    assert_eq!(two.cli(&["put", "gcounter/left", "increment", "7", "--durable"]).code, 0);
    let left = two.json(&["leave"]);
    assert_eq!(left, json!({"handed_over": true, "reasons": []}));
    let (launch, code) = two.ended();
    assert_eq!(code, Some(0));
    for agent in [&one, &three] {
        eventually("everybody knows", PATIENCE, || (sees(agent, "two") == "left").then_some(()));
        assert_eq!(agent.json(&["status"])["cluster"]["members"], json!(2));
        eventually("its write is here", PATIENCE, || (agent.value("gcounter/left") == Some(json!(7))).then_some(()));
        eventually("nobody waits for it", PATIENCE, || {
            (agent.cli(&["converged", "--timeout", "1s"]).code == 0).then_some(())
        });
    }
    let two = launch.start();
    eventually("it is a member again", PATIENCE, || (sees(&one, "two") == "alive").then_some(()));
    eventually("and sees the others", PATIENCE, || (two.alive() == 3).then_some(()));
}

#[test]
fn who_leaves_alone_says_what_stays_behind() {
    let folder = tempfile::tempdir().expect("a folder");
    let one = Launch::new(folder.path(), "one").joining(&[]).start();
    assert_eq!(one.cli(&["put", "gcounter/left", "increment", "7", "--durable"]).code, 0);
    let left = one.json(&["leave"]);
    assert_eq!(left["handed_over"], json!(false));
    assert!(left["reasons"].to_string().contains("no other member"), "{left}");
    assert_eq!(one.ended().1, Some(0));
}

#[test]
fn who_dies_is_lost_and_comes_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let [one, two, three] = mesh(folder.path());
    let launch = two.kill();
    for agent in [&one, &three] {
        eventually("it is lost", PATIENCE, || (sees(agent, "two") == "lost").then_some(()));
        assert_eq!(agent.alive(), 2);
    }
    let _two = launch.start();
    for agent in [&one, &three] {
        eventually("it is back", PATIENCE, || (sees(agent, "two") == "alive").then_some(()));
    }
}

#[test]
fn two_hosts_with_one_key_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let one = Launch::new(folder.path(), "one").joining(&[]).start();
    let (launch, _) = Launch::new(folder.path(), "two").joining(&[&one]).start().stop();
    let copy = folder.path().join("copy");
    let copied = std::process::Command::new("cp").arg("-r").args([launch.data_dir(), &copy]).status();
    assert!(copied.expect("`cp` is there").success());
    let two = launch.start();
    eventually("both are there", PATIENCE, || (one.alive() == 2).then_some(()));
    let twin = Launch::new(folder.path(), "copy").joining(&[&one]).start();
    assert_eq!(two.node(), twin.node());
    for agent in [&one, &two, &twin] {
        let reasons = || agent.json(&["status"])["health"]["reasons"].to_string();
        eventually("it is named", PATIENCE, || reasons().contains("two live hosts have the key").then_some(()));
    }
}
