//! A guest that loops, or takes all the memory there is, costs its own caller an error; nobody else notices.

use std::path::Path;
use std::time::{Duration, Instant};

use selvedge_tests::{Agent, Launch};
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

fn deploy(agent: &Agent, file: &Path, name: &str) {
    let output =
        agent.cli(&["deploy", &file.to_string_lossy(), "--name", name, "--deadline", "50ms", "--memory", "2MiB"]);
    assert_eq!(output.code, 0, "{}{}", output.stdout, output.stderr);
}

#[test]
fn a_bad_guest_hurts_nobody_but_its_caller() {
    let folder = tempfile::tempdir().expect("a folder");
    let agent = Launch::new(folder.path(), "host").joining(&[]).start();
    let (bad, good) = (folder.path().join("bad.wasm"), folder.path().join("prediction.wasm"));
    std::fs::write(&bad, wat::parse_str(HOSTILE).expect("a component")).expect("is written");
    let (_, prediction) =
        selvedge::shipped::shipped().into_iter().find(|(name, _)| *name == "prediction").expect("is shipped");
    std::fs::write(&good, prediction).expect("is written");
    deploy(&agent, &bad, "bad");
    deploy(&agent, &good, "good");
    let track =
        json!([{"player": 1, "samples": [{"t_ms": 0, "x": 0.0, "y": 0.0, "z": 0.0}], "horizon_ms": 100}]).to_string();
    for (function, code, expect) in
        [("spin", 4, "deadline"), ("hoard", 1, "memory"), ("trap", 1, "failed"), ("recurse", 1, "failed")]
    {
        let began = Instant::now();
        let output = agent.cli(&["call", "bad", function]);
        assert_eq!(output.code, code, "{function}: {}{}", output.stdout, output.stderr);
        assert!(output.stderr.contains(expect), "{function}: {}", output.stderr);
        assert!(began.elapsed() < PROMPTLY, "{function} took {:?}", began.elapsed());
        let output = agent.cli(&["call", "good", "predict", &track]);
        assert_eq!(output.code, 0, "after {function}: {}{}", output.stdout, output.stderr);
    }
    assert_eq!(agent.json(&["status"])["health"]["ok"], true);
}

#[test]
fn what_is_no_component_is_refused_and_changes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let agent = Launch::new(folder.path(), "host").joining(&[]).start();
    let foreign = r#"(component (import "wasi:cli/environment@0.2.0" (instance (export "get" (func)))))"#;
    for (name, bytes, expect) in [
        ("text", b"not wasm at all".to_vec(), "component"),
        ("core", wat::parse_str("(module)").expect("a module"), "core module"),
        ("foreign", wat::parse_str(foreign).expect("a component"), "wasi:cli/environment"),
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
    for part in ["0 of 1 instances", "host: ", "mars", "undeploy far"] {
        assert!(output.stderr.contains(part), "`{part}` is missing in: {}", output.stderr);
    }
}
