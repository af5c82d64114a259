//! `selvedge bench` drives agents that run, over both ways, and says what it found; interrupted, what it knows.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use selvedge_tests::agent::binary;
use selvedge_tests::{Agent, Launch, eventually};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);

/// An agent that runs `prediction`.
fn agent(folder: &Path) -> Agent {
    let agent = Launch::new(folder, "one").with(&["--listen", "127.0.0.1:0"]).start();
    let (_, wasm) = selvedge::shipped::shipped().into_iter().find(|(name, _)| *name == "prediction").expect("it ships");
    let file = folder.join("prediction.wasm");
    std::fs::write(&file, wasm).expect("written");
    let file = file.to_string_lossy().into_owned();
    let done = agent.cli(&["deploy", &file, "--name", "prediction", "--deadline", "1s", "--timeout", "120s"]);
    assert_eq!(done.code, 0, "{}{}\n{}", done.stdout, done.stderr, agent.log());
    agent
}

#[test]
fn stages_are_driven_over_the_stream_and_over_http() {
    let folder = tempfile::tempdir().expect("a folder");
    let agent = agent(folder.path());
    let picture = folder.path().join("b.svg").to_string_lossy().into_owned();
    for over in ["stream", "http"] {
        let line = ["bench", "--from", "20", "--to", "40", "--stages", "2", "--stage", "500ms", "--timeout", "20s"];
        // A host that compiles beside it may be slow; that is not what this is about.
        let report = agent.json(&[&line[..], &["--max-p99", "20s", "--over", over, "--svg", &picture]].concat());
        assert_eq!((&report["workload"], &report["function"]), (&"prediction".into(), &"predict".into()), "{report:#}");
        let stages = report["stages"].as_array().expect("stages");
        let due: Vec<_> = stages.iter().map(|stage| stage["calls"].as_u64()).collect();
        assert_eq!(due, [Some(10), Some(20)], "{report:#}");
        assert!(stages.iter().all(|stage| stage["answered"] == stage["calls"]), "{report:#}");
        assert!(std::fs::read_to_string(&picture).expect("a picture").contains("<polyline"));
    }
    let none = agent.cli(&["bench", "nothing", "there", "--timeout", "5s"]);
    assert!(none.code == 1 && none.stdout.is_empty(), "{none:?}");
    let unnamed = agent.cli(&["bench", "nothing"]);
    assert!(unnamed.code == 1 && unnamed.stderr.contains("there is no workload `nothing`"), "{unnamed:?}");
}

#[test]
fn an_interrupted_bench_says_what_it_knows() {
    let folder = tempfile::tempdir().expect("a folder");
    let agent = agent(folder.path());
    let child = Command::new(binary())
        .args([
            "bench",
            "--from",
            "50",
            "--to",
            "60",
            "--stages",
            "20",
            "--stage",
            "300ms",
            "--max-p99",
            "20s",
            "--json",
        ])
        .env("SELVEDGE_API", agent.api())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    // More calls than one stage has: the first is over.
    let calls = || agent.json(&["status"])["workloads"][0]["calls"].as_u64();
    eventually("a stage is over", PATIENCE, || (calls() > Some(20)).then_some(()));
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("a signal is sent");
    assert!(sent.success());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(130));
    let report: Value = serde_json::from_slice(&output.stdout).expect("one document");
    let stages = report["stages"].as_array().map_or(0, Vec::len);
    assert!(report["interrupted"] == true && (1..20).contains(&stages), "{report:#}");
}
