//! A guest that loops, or takes all the memory there is, costs its own caller an error; nobody else notices.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use selvedge_tests::door::Door;
use selvedge_tests::{Agent, Launch, eventually};
use serde_json::json;

/// Functions without parameters or results, each of them bad in its own way.
const HOSTILE: &str = r#"
(component
  (core module $bad
    (memory (export "memory") 1)
    (func (export "spin") (loop $again (br $again)))
    (func (export "hoard") (loop $again (drop (memory.grow (i32.const 16))) (br $again)))
    (func (export "trap") unreachable)
    (func (export "recurse") (call 3)))
  (core instance $bad (instantiate $bad))
  (func (export "spin") (canon lift (core func $bad "spin")))
  (func (export "hoard") (canon lift (core func $bad "hoard")))
  (func (export "trap") (canon lift (core func $bad "trap")))
  (func (export "recurse") (canon lift (core func $bad "recurse"))))
"#;

/// Far above the deadline of 50 ms and the start of a process, far below a hang.
const PROMPTLY: Duration = Duration::from_secs(5);

/// Far above what a start takes.
const PATIENCE: Duration = Duration::from_secs(30);

fn deploy(agent: &Agent, file: &Path, name: &str) {
    let output =
        agent.cli(&["deploy", &file.to_string_lossy(), "--name", name, "--deadline", "50ms", "--memory", "2MiB"]);
    assert_eq!(output.code, 0, "{}{}", output.stdout, output.stderr);
}

/// A track of one sample, as `prediction` takes it.
fn track() -> String {
    json!([{"player": 1, "samples": [{"t_ms": 0, "x": 0.0, "y": 0.0, "z": 0.0}], "horizon_ms": 100}]).to_string()
}

/// The shipped `prediction`, as a file.
fn prediction(folder: &Path) -> PathBuf {
    let file = folder.join("prediction.wasm");
    let shipped = selvedge::shipped::shipped();
    let (_, wasm) = shipped.into_iter().find(|(name, _)| *name == "prediction").expect("is shipped");
    std::fs::write(&file, wasm).expect("is written");
    file
}

/// How often native code was had in this way since the start.
fn code(door: &Door, what: &str) -> u64 {
    let metrics = door.ask("GET", "/metrics", "").expect("an answer").body;
    let line = format!("selvedge_guest_code_total{{what=\"{what}\"}} ");
    metrics.lines().find_map(|told| told.strip_prefix(&line)).map_or(0, |count| count.parse().expect("a number"))
}

#[test]
fn a_restart_starts_workloads_without_compiling_and_damage_costs_a_compilation() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("api.sock");
    let door = Door::new(&socket);
    let agent = Launch::new(folder.path(), "host").joining(&[]).with(&["--api", &door.address()]).start();
    deploy(&agent, &prediction(folder.path()), "good");
    assert_eq!((code(&door, "compiled"), code(&door, "cached")), (1, 0));
    let call = |agent: &Agent| {
        eventually("it can be called", PATIENCE, || {
            (agent.cli(&["call", "good", "predict", &track()]).code == 0).then_some(())
        });
    };
    let (launch, _) = agent.stop();
    let agent = launch.start();
    call(&agent);
    assert_eq!((code(&door, "compiled"), code(&door, "cached")), (0, 1));
    let (launch, _) = agent.stop();
    let kept = std::fs::read_dir(launch.data_dir().join("code")).expect("there is a folder of code");
    for entry in kept {
        let path = entry.expect("an entry").path();
        let mut bytes = std::fs::read(&path).expect("reads");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&path, bytes).expect("writes");
    }
    let agent = launch.start();
    call(&agent);
    assert_eq!((code(&door, "compiled"), code(&door, "cached")), (1, 0));
    assert!(agent.log().contains("not written by this host"), "{}", agent.log());
}

#[test]
fn while_a_bomb_is_compiled_neighbours_are_called_and_the_agent_is_well() {
    let folder = tempfile::tempdir().expect("a folder");
    let agent = Launch::new(folder.path(), "host").joining(&[]).start();
    deploy(&agent, &prediction(folder.path()), "good");
    let bomb = folder.path().join("bomb.wasm");
    let functions: String = (0..100_000)
        .map(|n| format!("(func (param i32) (result i32) (i32.add (local.get 0) (i32.const {n})))"))
        .collect();
    let text = format!(
        r#"(component (core module $m {functions} (func (export "run"))) (core instance $i (instantiate $m))
            (func (export "run") (canon lift (core func $i "run"))))"#
    );
    std::fs::write(&bomb, wat::parse_str(text).expect("a component")).expect("is written");
    std::thread::scope(|scope| {
        let bombing = scope.spawn(|| {
            agent.cli(&["deploy", &bomb.to_string_lossy(), "--name", "bomb", "--no-wait", "--timeout", "120s"])
        });
        while !bombing.is_finished() {
            let output = agent.cli(&["call", "good", "predict", &track()]);
            assert_eq!(output.code, 0, "{}{}", output.stdout, output.stderr);
            assert_eq!(agent.json(&["status"])["health"]["ok"], true);
        }
        // It fits its limits on a fast machine and not on a slow one; either way it ends with a word.
        let output = bombing.join().expect("no panic");
        assert!(output.code == 0 || output.stderr.contains("compil"), "{}{}", output.stdout, output.stderr);
    });
}

#[test]
fn a_default_answer_takes_the_place_of_a_time_out_and_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let door = Door::new(&folder.path().join("api.sock"));
    let agent = Launch::new(folder.path(), "host").joining(&[]).with(&["--api", &door.address()]).start();
    let file = folder.path().join("slow.wasm");
    let slow = r#"(component
        (core module $m (func (export "count") (result i32) (loop $again (br $again)) (i32.const 1)))
        (core instance $i (instantiate $m))
        (func (export "count") (result u32) (canon lift (core func $i "count"))))"#;
    std::fs::write(&file, wat::parse_str(slow).expect("a component")).expect("is written");
    let deploy = |answer: &str| {
        agent.cli(&["deploy", &file.to_string_lossy(), "--name", "slow", "--deadline", "5ms", "--on-overrun", answer])
    };
    let refused = deploy("count=\"many\"");
    assert_eq!(refused.code, 1, "{}{}", refused.stdout, refused.stderr);
    assert!(refused.stderr.contains("on_overrun") && refused.stderr.contains("count"), "{}", refused.stderr);
    let taken = deploy("count=7");
    assert_eq!(taken.code, 0, "{}{}", taken.stdout, taken.stderr);
    let answer = door.ask("POST", "/v1/workloads/slow/call/count", "[]").expect("an answer");
    assert_eq!((answer.status, answer.body.as_str()), (200, "7"));
    assert!(answer.head.contains("selvedge-overrun: deadline"), "{}", answer.head);
    assert!(!answer.head.contains("selvedge-commit"), "{}", answer.head);
}

#[test]
fn a_bad_guest_hurts_nobody_but_its_caller() {
    let folder = tempfile::tempdir().expect("a folder");
    let agent = Launch::new(folder.path(), "host").joining(&[]).start();
    let bad = folder.path().join("bad.wasm");
    std::fs::write(&bad, wat::parse_str(HOSTILE).expect("a component")).expect("is written");
    deploy(&agent, &bad, "bad");
    deploy(&agent, &prediction(folder.path()), "good");
    for (function, code, expect) in
        [("spin", 4, "deadline"), ("hoard", 1, "memory"), ("trap", 1, "failed"), ("recurse", 1, "failed")]
    {
        let began = Instant::now();
        let output = agent.cli(&["call", "bad", function]);
        assert_eq!(output.code, code, "{function}: {}{}", output.stdout, output.stderr);
        assert!(output.stderr.contains(expect), "{function}: {}", output.stderr);
        assert!(began.elapsed() < PROMPTLY, "{function} took {:?}", began.elapsed());
        let output = agent.cli(&["call", "good", "predict", &track()]);
        assert_eq!(output.code, 0, "after {function}: {}{}", output.stdout, output.stderr);
    }
    assert_eq!(agent.json(&["status"])["health"]["ok"], true);
}

#[test]
fn what_is_no_component_is_refused_and_changes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let agent = Launch::new(folder.path(), "host").joining(&[]).start();
    let foreign = r#"(component (import "wasi:http/outgoing-handler@0.2.0" (instance (export "get" (func)))))"#;
    for (name, bytes, expect) in [
        ("text", b"not wasm at all".to_vec(), "component"),
        ("core", wat::parse_str("(module)").expect("a module"), "core module"),
        ("foreign", wat::parse_str(foreign).expect("a component"), "wasi:http/outgoing-handler"),
        ("empty", wat::parse_str("(component)").expect("a component"), "no function"),
    ] {
        let file = folder.path().join(name);
        std::fs::write(&file, bytes).expect("is written");
        let output = agent.cli(&["deploy", &file.to_string_lossy(), "--name", name]);
        assert_eq!(output.code, 1, "{name}: {}{}", output.stdout, output.stderr);
        assert!(output.stderr.contains(expect), "{name}: {}", output.stderr);
    }
    assert_eq!(agent.json(&["workloads"]), json!([]));
    assert_eq!(agent.json(&["status"])["state"]["commits"], 0);
}

#[test]
fn a_workload_that_no_host_qualifies_for_says_why() {
    let folder = tempfile::tempdir().expect("a folder");
    let agent = Launch::new(folder.path(), "host").joining(&[]).with(&["--region", "earth"]).start();
    let file = folder.path().join("bad.wasm");
    std::fs::write(&file, wat::parse_str(HOSTILE).expect("a component")).expect("is written");
    let output = agent.cli(&["deploy", &file.to_string_lossy(), "--name", "far", "--region", "mars"]);
    assert_eq!(output.code, 1, "{}{}", output.stdout, output.stderr);
    for part in ["no node qualifies", "host: ", "mars", "undeploy far"] {
        assert!(output.stderr.contains(part), "`{part}` is missing in: {}", output.stderr);
    }
}
