//! A call that was recorded on one host is run again elsewhere, with nothing but the recording and the component.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use selvedge_tests::agent::binary;
use selvedge_tests::{Agent, Launch, eventually};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(30);

/// `selvedge replay` on a machine that has no agent and no data directory.
fn replay(folder: &Path, arguments: &[&str]) -> (Option<i32>, Value, String) {
    let mut command = Command::new(binary());
    command.arg("replay").args(arguments).arg("--json").env_clear().current_dir(folder);
    let output = command.env("SELVEDGE_DATA_DIR", folder.join("nothing-there")).output().expect("the command runs");
    let document = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output.status.code(), document, String::from_utf8_lossy(&output.stderr).into_owned())
}

fn duels() -> String {
    let fighter = |id: u64, tactic: &str| json!({"id": id, "focus": 9, "perception": 8, "reason": 7, "belief": 6, "vitality": 10, "tactic": tactic, "health": 100});
    json!([{"zone": 1, "seed": 7, "a": fighter(1, "speed"), "b": fighter(2, "power")}]).to_string()
}

fn record(agent: &Agent, file: &Path) -> Value {
    let result = eventually("the call is answered", PATIENCE, || {
        let file = file.to_string_lossy();
        let output = agent.cli(&["call", "combat", "resolve", &duels(), "--record", &file]);
        (output.code == 0).then(|| serde_json::from_str::<Value>(&output.stdout).expect("JSON"))
    });
    let recording: Value = serde_json::from_slice(&std::fs::read(file).expect("it is there")).expect("JSON");
    assert_eq!(recording["result"], result);
    recording
}

#[test]
fn a_recorded_call_does_the_same_after_a_restart_and_on_another_host() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let one = Launch::new(folder, "one").joining(&[]).start();
    let two = Launch::new(folder, "two").joining(&[&one]).start();
    eventually("they know each other", PATIENCE, || (one.alive() == 2 && two.alive() == 2).then_some(()));
    let (_, wasm) = selvedge::shipped::shipped()[0];
    // Two bytes of a custom section of no name: another component to the hash, the same to whoever runs it.
    let wasm = [wasm, &[0, 1, 0]].concat();
    let component = folder.join("combat.wasm");
    std::fs::write(&component, &wasm).expect("written");
    let component = component.to_string_lossy();
    let deployed = one.cli(&["deploy", &component, "--name", "combat", "--replicas", "1"]);
    assert_eq!(deployed.code, 0, "{}{}", deployed.stdout, deployed.stderr);

    // One of the two runs it, the other forwards; whoever ran it made the recording.
    let (first, second) = (folder.join("first.json"), folder.join("second.json"));
    let recordings = [record(&one, &first), record(&two, &second)];
    let ran = recordings.each_ref().map(|recording| recording["node"].as_str().expect("a node").to_owned());
    assert_eq!(ran[0], ran[1]);
    assert!(
        recordings.iter().all(|recording| recording["commit"].as_str().is_some_and(|name| name.starts_with(&ran[0])))
    );
    // The second found what the first had written.
    assert_ne!(recordings[0]["reads"], recordings[1]["reads"]);

    for file in [&first, &second] {
        let file = file.to_string_lossy();
        let (code, document, error) = replay(folder, &[&file, "--wasm", &component]);
        assert_eq!((code, &document["equal"]), (Some(0), &json!(true)), "{document:#} {error}");
        let (code, _, error) = replay(folder, &[&file]);
        assert_eq!(code, Some(2), "{error}");
        assert!(error.contains("--wasm"), "{error}");
    }

    // From what an agent keeps, after it has stopped.
    let (launch, _) = one.stop();
    let data_dir = launch.data_dir().to_string_lossy().into_owned();
    let (code, document, error) = replay(folder, &[&first.to_string_lossy(), "--data-dir", &data_dir]);
    assert_eq!((code, &document["equal"]), (Some(0), &json!(true)), "{document:#} {error}");
    let one = launch.start();
    let third = folder.join("third.json");
    record(&one, &third);
    assert_eq!(replay(folder, &[&third.to_string_lossy(), "--wasm", &component]).0, Some(0));
}

#[test]
fn what_a_recording_gets_wrong_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let agent = Launch::new(folder, "one").start();
    let component = folder.join("combat.wasm");
    std::fs::write(&component, selvedge::shipped::shipped()[0].1).expect("written");
    let deployed = agent.cli(&["deploy", &component.to_string_lossy(), "--name", "combat"]);
    assert_eq!(deployed.code, 0, "{}{}", deployed.stdout, deployed.stderr);
    let file = folder.join("call.json");
    let sound = record(&agent, &file);
    let check = |change: &dyn Fn(&mut Value), expect: &str| {
        let mut recording = sound.clone();
        change(&mut recording);
        std::fs::write(&file, recording.to_string()).expect("written");
        // What ships with the binary needs no file.
        let (code, document, error) = replay(folder, &["call.json"]);
        assert_eq!(code, Some(1), "{document:#} {error}");
        let differences = document["differences"].as_array().expect("a list");
        assert!(
            differences.iter().any(|line| line.as_str().is_some_and(|line| line.starts_with(expect))),
            "{document:#}"
        );
    };
    check(&|recording| recording["result"][0]["health_a"] = json!(1), "result:");
    check(&|recording| recording["writes"][0]["increment"] = json!(1_000), "write 1:");
    check(&|recording| recording["reads"] = json!([]), "reads:");

    // A call that fails is recorded like any other, and fails again.
    let wrong = duels().replace("\"focus\":9", "\"focus\":99");
    let failed = folder.join("failed.json");
    let output = agent.cli(&["call", "combat", "resolve", &wrong, "--record", &failed.to_string_lossy()]);
    assert!(output.code == 1 && output.stderr.contains("duels[0].a.focus"), "{output:?}");
    assert!(output.stderr.contains("selvedge replay") && output.stderr.contains("nothing was changed"), "{output:?}");
    let (code, document, error) = replay(folder, &["failed.json"]);
    assert_eq!((code, &document["equal"]), (Some(0), &json!(true)), "{document:#} {error}");
    let text = std::fs::read_to_string(&failed).expect("it is there").replace("\"focus\":99", "\"focus\":9");
    std::fs::write(&failed, text).expect("written");
    let (code, document, error) = replay(folder, &["failed.json"]);
    assert_eq!(code, Some(1), "{document:#} {error}");
    let mut told = document["differences"].as_array().expect("a list").iter().filter_map(Value::as_str);
    assert!(told.any(|line| line.starts_with("failed:")), "{document:#}");
    std::fs::write(&file, "{}").expect("written");
    let (code, _, error) = replay(folder, &["call.json"]);
    assert_eq!(code, Some(2), "{error}");
}
