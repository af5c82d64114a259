//! How members fare: drained, gone in good order, dead and back.

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

/// Deploys a workload that ships, as `guess`.
fn deploy(folder: &std::path::Path, agent: &Agent, spread: &[&str]) {
    let wasm = folder.join("prediction.wasm");
    let (_, bytes) = selvedge::shipped::shipped().into_iter().find(|(name, _)| *name == "prediction").expect("shipped");
    std::fs::write(&wasm, bytes).expect("is written");
    let file = wasm.to_string_lossy();
    let deployed = agent.cli(&[&["deploy", &*file, "--name", "guess"], spread].concat());
    assert_eq!(deployed.code, 0, "{deployed:?}");
}

/// Where the only workload answers calls, as `agent` sees it.
fn runs_on(agent: &Agent) -> Vec<String> {
    let workloads = agent.json(&["workloads"]);
    let instances = workloads[0]["instances"].as_array().cloned().unwrap_or_default();
    let ready = instances.iter().filter(|instance| instance["phase"] == json!("ready"));
    ready.filter_map(|instance| instance["node"].as_str().map(str::to_owned)).collect()
}

#[test]
fn what_can_run_nowhere_else_goes_on_while_its_host_is_drained() {
    let folder = tempfile::tempdir().expect("a folder");
    let one = Launch::new(folder.path(), "one").joining(&[]).start();
    deploy(folder.path(), &one, &[]);
    let waited = one.cli(&["drain", "--wait", "1s"]);
    assert_eq!(waited.code, 4, "{waited:?}");
    assert!(waited.stderr.contains("guess: kept: this host is draining"), "{waited:?}");
    assert_eq!(runs_on(&one), [one.node()]);

    let (launch, _) = one.stop();
    let one = launch.start();
    eventually("it comes back, drained as it is", PATIENCE, || (runs_on(&one) == [one.node()]).then_some(()));
    let status = one.json(&["status"]);
    assert!(status["node"]["draining_since"].is_string() && status["health"]["ok"] == json!(true), "{status}");
    assert!(status["health"]["notes"][0].as_str().is_some_and(|note| note.contains("still here: guess")), "{status}");
    assert!(one.cli(&["nodes"]).stdout.contains("draining since"));
    let placement = one.json(&["explain", "guess"]);
    assert_eq!(placement["rejected"][0]["phase"], json!("ready"), "{placement}");
    assert_eq!(placement["rejected"][0]["keeps"], json!(true), "{placement}");

    let two = Launch::new(folder.path(), "two").joining(&[&one]).start();
    let waited = one.cli(&["drain", "--wait"]);
    assert_eq!(waited.code, 0, "{waited:?}");
    assert_eq!(runs_on(&two), [two.node()]);
    let (launch, _) = one.stop();
    let one = launch.start();
    eventually("it is back", PATIENCE, || (sees(&two, "one") == "draining").then_some(()));
    eventually("it has heard the other", PATIENCE, || (sees(&one, "two") == "alive").then_some(()));
    let launch = two.kill();
    eventually("the other is lost", PATIENCE, || (sees(&one, "two") == "lost").then_some(()));
    eventually("nobody runs it", PATIENCE, || runs_on(&one).is_empty().then_some(()));
    assert_eq!(one.json(&["drain"])["remaining"], json!([]), "what was handed over does not come back by itself");
    drop(launch);
}

#[test]
fn who_is_drained_hands_over_and_takes_part_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let [one, two, _three] = mesh(folder.path());
    deploy(folder.path(), &one, &["--everywhere"]);
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
fn who_runs_what_nobody_else_may_is_asked_before_it_leaves() {
    let folder = tempfile::tempdir().expect("a folder");
    let [one, two, _three] = mesh(folder.path());
    deploy(folder.path(), &one, &["--must", "node=two"]);
    eventually("it runs there", PATIENCE, || runs_on(&two).contains(&two.node()).then_some(()));
    let refused = two.cli(&["leave"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    for part in ["nowhere_else", "one breaks the rule node=two", "--force", "nothing was changed"] {
        assert!(refused.stderr.contains(part), "{part} is not in {refused:?}");
    }
    assert!(sees(&one, "two") == "alive" && runs_on(&two).contains(&two.node()), "it goes on");
    let left = two.json(&["leave", "--force", "--timeout", "60s"]);
    assert!(left["reasons"].to_string().contains("still runs here"), "{left}");
    assert_eq!(two.ended().1, Some(0));
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
