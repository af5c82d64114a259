//! Three real agents: what one writes, all read; a killed one comes back with everything that was durable.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use selvedge_tests::agent::binary;
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

/// Whether a write was acknowledged as durable.
fn write_durably(api: &str) -> bool {
    let arguments = ["put", "gcounter/acknowledged", "increment", "1", "--durable", "--api", api];
    let output = Command::new(binary()).args(arguments).output().expect("the command runs");
    output.status.success()
}

#[test]
fn nothing_durable_is_missing_after_a_kill() {
    let folder = tempfile::tempdir().expect("a folder");
    let [one, two, three] = mesh(folder.path());
    let wasm = shipped(folder.path(), "combat");
    let deployed = one.cli(&["deploy", &wasm, "--name", "combat", "--everywhere"]);
    assert_eq!(deployed.code, 0, "{}{}", deployed.stdout, deployed.stderr);
    let acknowledged = AtomicU64::new(0);
    let launch = std::thread::scope(|scope| {
        // Writes go on while the agent is killed under them: the last one may or may not have been made.
        let (api, acknowledged) = (two.api(), &acknowledged);
        scope.spawn(move || {
            while write_durably(&api) {
                acknowledged.fetch_add(1, Ordering::SeqCst);
            }
        });
        eventually("some writes are durable", PATIENCE, || (acknowledged.load(Ordering::SeqCst) >= 20).then_some(()));
        two.kill()
    });
    let acknowledged = acknowledged.into_inner();
    assert_eq!(one.cli(&["put", "gcounter/meanwhile", "increment", "1"]).code, 0);
    let two = launch.start();
    let restored = two.value("gcounter/acknowledged").and_then(|value| value.as_u64()).expect("a counter");
    assert!((acknowledged..=acknowledged + 1).contains(&restored), "{restored} of {acknowledged} acknowledged");
    let duels = json!([duel(1)]).to_string();
    eventually("the workload runs again", PATIENCE, || {
        (two.cli(&["call", "combat", "resolve", &duels]).code == 0).then_some(())
    });
    eventually("the mesh is whole", PATIENCE, || (two.alive() == 3).then_some(()));
    let agents = [one, two, three];
    converged(&agents);
    for agent in &agents {
        assert_eq!(agent.value("gcounter/acknowledged"), Some(json!(restored)));
        assert_eq!(agent.value("gcounter/meanwhile"), Some(json!(1)));
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
