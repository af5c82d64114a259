//! `selvedge call --stream`: many calls on one connection, a line for each.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};

use selvedge_tests::agent::binary;
use selvedge_tests::{Agent, Launch};
use serde_json::{Value, json};

/// What the command printed, an answer on each line, with its exit code and what it complained of.
fn stream(agent: &Agent, folder: &Path, lines: &str, more: &[&str]) -> (Option<i32>, Vec<Value>, String) {
    let file = folder.join("calls.jsonl");
    std::fs::write(&file, lines).expect("written");
    let mut command = Command::new(binary());
    command.args(["call", "combat", "resolve", "--stream"]).args(more).env("SELVEDGE_API", agent.api());
    let output = command.stdin(File::open(&file).expect("it is there")).output().expect("the command runs");
    let answers = output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let answers = answers.map(|line| serde_json::from_slice(line).expect("JSON")).collect();
    (output.status.code(), answers, String::from_utf8_lossy(&output.stderr).into_owned())
}

fn duels(seed: u64, focus: u64) -> Value {
    let fighter = |id: u64| json!({"id": id, "focus": focus, "perception": 8, "reason": 7, "belief": 6, "vitality": 10, "tactic": "grab", "health": 100});
    json!([[{"zone": 1, "seed": seed, "a": fighter(2 * seed), "b": fighter(2 * seed + 1)}]])
}

fn ids(answers: &[Value]) -> BTreeSet<u64> {
    answers.iter().map(|answer| answer["id"].as_u64().expect("a number")).collect()
}

#[test]
fn every_line_is_answered_and_a_wrong_one_costs_no_other() {
    const CALLS: u64 = 500;
    let folder = tempfile::tempdir().expect("a folder");
    let agent = Launch::new(folder.path(), "one").start();
    let wasm = folder.path().join("combat.wasm");
    std::fs::write(&wasm, selvedge::shipped::shipped()[0].1).expect("written");
    let done = agent.cli(&["deploy", &wasm.to_string_lossy(), "--name", "combat"]);
    assert_eq!(done.code, 0, "{}{}", done.stdout, done.stderr);

    let mut lines = String::new();
    for seed in 1..=CALLS {
        writeln!(lines, "{}", duels(seed, 9)).expect("a text takes any number of lines");
    }
    let (code, answers, error) = stream(&agent, folder.path(), &lines, &[]);
    assert_eq!((code, error.as_str(), answers.len() as u64), (Some(0), "", CALLS));
    assert_eq!(ids(&answers), (1..=CALLS).collect());
    assert!(answers.iter().all(|answer| answer["result"][0]["a_roll"].is_u64()), "{}", answers[0]);
    assert!(answers[0]["commit"].as_str().is_some_and(|commit| commit.starts_with(&agent.node())), "{}", answers[0]);

    let wrong = format!("{}\n\n{{no json\n{}\n7\n{}\n", duels(1, 9), duels(2, 99), duels(3, 9));
    let (code, answers, error) = stream(&agent, folder.path(), &wrong, &[]);
    assert_eq!((code, error.as_str(), ids(&answers)), (Some(1), "", BTreeSet::from([1, 3, 4, 5, 6])));
    let answer = |id: u64| answers.iter().find(|answer| answer["id"] == id).expect("it is answered");
    assert!(answer(1)["result"].is_array() && answer(6)["result"].is_array(), "{answers:?}");
    assert_eq!(answer(4)["error"]["field"], "duels[0].a.focus");
    for id in [3, 4, 5] {
        assert_eq!(answer(id)["error"]["changed"], false, "{answers:?}");
    }

    // Whoever reads the answers goes away: the calls that are not made are no success.
    let file = folder.path().join("calls.jsonl");
    std::fs::write(&file, &lines).expect("written");
    let mut command = Command::new(binary());
    command.args(["call", "combat", "resolve", "--stream"]).env("SELVEDGE_API", agent.api());
    command.stdin(File::open(&file).expect("it is there")).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut left = command.spawn().expect("the command runs");
    drop(left.stdout.take());
    let left = left.wait_with_output().expect("it ends");
    let error = String::from_utf8_lossy(&left.stderr);
    assert!(left.status.code() == Some(1) && error.contains("no more calls are made"), "{error}");

    // An agent that does not answer is not waited for for ever.
    agent.stall();
    let (code, answers, error) = stream(&agent, folder.path(), &lines, &["--timeout", "500ms"]);
    agent.resume();
    assert!(code == Some(4) && answers.is_empty(), "{error}");
}
