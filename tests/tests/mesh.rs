//! Three real agents: what one writes, all read; a killed one comes back with everything that was durable.

use std::path::Path;
use std::time::Duration;

use selvedge_tests::{Agent, Launch, eventually};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(30);

fn mesh(folder: &Path) -> [Agent; 3] {
    let one = Launch::new(folder, "one").joining(&[]).start();
    let two = Launch::new(folder, "two").joining(&[&one]).start();
    let three = Launch::new(folder, "three").joining(&[&one]).start();
    let agents = [one, two, three];
    for agent in &agents {
        eventually("everybody knows everybody", PATIENCE, || (agent.alive() == 3).then_some(()));
    }
    agents
}

fn shipped(folder: &Path, name: &str) -> String {
    let (_, wasm) = selvedge::shipped::shipped().into_iter().find(|(shipped, _)| *shipped == name).expect("is shipped");
    let file = folder.join(format!("{name}.wasm"));
    std::fs::write(&file, wasm).expect("is written");
    file.to_string_lossy().into_owned()
}

fn converged(agents: &[Agent]) {
    for agent in agents {
        let output = agent.cli(&["converged", "--wait", "30s"]);
        assert_eq!(output.code, 0, "{}{}", output.stdout, output.stderr);
    }
    let roots: Vec<String> = agents.iter().map(Agent::root).collect();
    assert!(roots.iter().all(|root| *root == roots[0]), "{roots:?}");
}

fn duel(seed: u64) -> Value {
    let fighter = |id: u64, tactic: &str| json!({"id": id, "focus": 9, "perception": 8, "reason": 7, "belief": 6, "vitality": 10, "tactic": tactic, "health": 100});
    json!({"zone": 1, "seed": seed, "a": fighter(1, "speed"), "b": fighter(2, "power")})
}

#[test]
fn every_type_converges_and_reads_the_same_everywhere() {
    let folder = tempfile::tempdir().expect("a folder");
    let agents = mesh(folder.path());
    for (agent, name) in agents.iter().zip(["a", "b", "c"]) {
        for operation in [
            vec!["put", "gcounter/kills", "increment", "5"],
            vec!["put", "pncounter/hp", "increment", "3"],
            vec!["put", "pncounter/hp", "decrement", "4"],
            vec!["put", "gset/seen", "add", name],
            vec!["put", "orset/online", "add", name, "everybody"],
            vec!["put", "lwwmap/player", "put", &format!("{name}=1")],
        ] {
            assert_eq!(agent.cli(&operation).code, 0, "{operation:?}");
        }
    }
    converged(&agents);
    assert_eq!(agents[1].cli(&["put", "orset/online", "remove", "everybody"]).code, 0);
    converged(&agents);
    for agent in &agents {
        assert_eq!(agent.value("gcounter/kills"), Some(json!(15)));
        assert_eq!(agent.value("pncounter/hp"), Some(json!(-3)));
        assert_eq!(agent.value("gset/seen"), Some(json!(["a", "b", "c"])));
        assert_eq!(agent.value("orset/online"), Some(json!(["a", "b", "c"])));
        assert_eq!(agent.value("lwwmap/player"), Some(json!({"a": 1, "b": 1, "c": 1})));
        assert_eq!(agent.value("gset/nobody-wrote-this"), None);
    }
}

#[test]
fn a_call_lands_anywhere_and_runs_where_the_workload_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let agents = mesh(folder.path());
    let wasm = shipped(folder.path(), "combat");
    let deployed = agents[0].cli(&["deploy", &wasm, "--name", "combat", "--replicas", "1"]);
    assert_eq!(deployed.code, 0, "{}{}", deployed.stdout, deployed.stderr);
    let duels = json!([duel(7)]).to_string();
    for agent in &agents {
        eventually("the call is answered", PATIENCE, || {
            let output = agent.cli(&["call", "combat", "resolve", &duels]);
            (output.code == 0).then_some(())
        });
    }
    let instances: Vec<String> =
        agents.iter().filter(|agent| agent.log().contains("workload=combat")).map(Agent::node).collect();
    assert_eq!(instances.len(), 1, "one replica was asked for, it ran on {instances:?}");
    converged(&agents);
    let damage: Vec<_> = agents.iter().map(|agent| agent.value("gcounter/combat:damage:1")).collect();
    assert!(damage.iter().all(|value| *value == damage[0]), "{damage:?}");
    let explained = agents[2].json(&["explain", "combat"]);
    assert_eq!(explained["candidates"].as_array().map(Vec::len), Some(3), "{explained:#}");
}

#[test]
fn nothing_durable_is_missing_after_a_kill() {
    let folder = tempfile::tempdir().expect("a folder");
    let [one, two, three] = mesh(folder.path());
    let wasm = shipped(folder.path(), "combat");
    let deployed = one.cli(&["deploy", &wasm, "--name", "combat", "--everywhere"]);
    assert_eq!(deployed.code, 0, "{}{}", deployed.stdout, deployed.stderr);
    for step in 0..20 {
        let key = format!("gset/step-{step}");
        assert_eq!(two.cli(&["put", "gcounter/acknowledged", "increment", "1", "--durable"]).code, 0);
        assert_eq!(two.cli(&["put", &key, "add", "done", "--durable"]).code, 0);
    }
    let launch = two.kill();
    assert_eq!(one.cli(&["put", "gcounter/meanwhile", "increment", "1"]).code, 0);
    let two = launch.start();
    assert_eq!(two.value("gcounter/acknowledged"), Some(json!(20)), "durable here at once, before anybody is reached");
    let duels = json!([duel(1)]).to_string();
    eventually("the workload runs again", PATIENCE, || {
        (two.cli(&["call", "combat", "resolve", &duels]).code == 0).then_some(())
    });
    eventually("the mesh is whole", PATIENCE, || (two.alive() == 3).then_some(()));
    let agents = [one, two, three];
    converged(&agents);
    for agent in &agents {
        assert_eq!(agent.value("gcounter/acknowledged"), Some(json!(20)));
        assert_eq!(agent.value("gcounter/meanwhile"), Some(json!(1)));
        assert_eq!(agent.value("gset/step-19"), Some(json!(["done"])));
    }
}

#[test]
fn a_stopped_agent_comes_back_under_the_same_identity() {
    let folder = tempfile::tempdir().expect("a folder");
    let one = Launch::new(folder.path(), "one").joining(&[]).start();
    assert_eq!(one.cli(&["put", "lwwmap/kept", "put", "a=1"]).code, 0);
    let (node, root, incarnation) = (one.node(), one.root(), one.json(&["status"])["node"]["incarnation"].clone());
    let (launch, code) = one.stop();
    assert_eq!(code, Some(0));
    assert!(!launch.data_dir().join("agent.json").exists());
    let one = launch.start();
    assert_eq!((one.node(), one.root()), (node, root));
    assert_eq!(one.json(&["status"])["node"]["incarnation"], incarnation);
}
