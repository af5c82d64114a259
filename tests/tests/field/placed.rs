//! Workloads in a cut: what may run on which side of it.

use selvedge_tests::field::{PATIENCE, name};
use selvedge_tests::netns::Wires;
use selvedge_tests::{Field, Launch, eventually};
use serde_json::Value;

/// How long a workload that must not run twice bears being cut off.
const STOP_AFTER: &str = "3s";

/// A component that answers a number.
fn component(field: &Field) -> String {
    let text = r#"(component (core module $m (func (export "run") (result i32) i32.const 1)) (core instance $i (instantiate $m))
           (func (export "run") (result u32) (canon lift (core func $i "run"))))"#;
    let path = field.folder().join("answers.wasm");
    std::fs::write(&path, wat::parse_str(text).expect("a component")).expect("written");
    path.to_string_lossy().into_owned()
}

fn deploy(field: &Field, wasm: &str, workload: &str, more: &[&str]) {
    let line = ["deploy", wasm, "--name", workload, "--timeout", "60s"];
    let done = field.agent(0).cli(&[&line[..], more].concat());
    assert_eq!(done.code, 0, "{}{}", done.stdout, done.stderr);
}

/// Who has a workload ready, as an agent sees it, by name.
fn ready(field: &Field, host: usize, workload: &str) -> Vec<String> {
    let nodes = field.door(host).get("/v1/nodes").expect("an answer");
    // It may not have heard of the workload yet.
    let Ok(document) = field.door(host).get(&format!("/v1/workloads/{workload}")) else { return Vec::new() };
    let name_of = |id: &Value| {
        let node = nodes.as_array().expect("a list").iter().find(|node| node["id"] == *id);
        node.and_then(|node| node["name"].as_str()).unwrap_or_default().to_owned()
    };
    let instances = document["status"]["instances"].as_array().expect("a list").iter();
    let mut names: Vec<String> =
        instances.filter(|instance| instance["phase"] == "ready").map(|instance| name_of(&instance["node"])).collect();
    names.sort();
    names
}

/// Waits until an agent sees these hosts have it ready, and nobody else.
fn await_ready(field: &Field, host: usize, workload: &str, on: &[usize]) {
    let expected: Vec<String> = on.iter().map(|host| name(*host)).collect();
    let what = format!("in the eyes of {} {workload} is ready on {expected:?}", name(host));
    eventually(&what, PATIENCE, || (ready(field, host, workload) == expected).then_some(()));
}

/// Waits until an agent sees one host have it ready.
fn await_one(field: &Field, host: usize, workload: &str) {
    let what = format!("in the eyes of {} one host has {workload} ready", name(host));
    eventually(&what, PATIENCE, || (ready(field, host, workload).len() == 1).then_some(()));
}

/// Waits until a call on a host is answered, or is not.
fn await_answer(field: &Field, host: usize, workload: &str, is_answered: bool) {
    let what = format!("a call of {workload} on {} is answered: {is_answered}", name(host));
    eventually(&what, PATIENCE, || {
        (field.agent(host).cli(&["call", workload, "run"]).code == i32::from(!is_answered)).then_some(())
    });
}

#[test]
fn each_side_of_a_cut_runs_what_its_policy_permits_and_no_more() {
    let region = |host, launch: Launch| launch.in_region(if host == 2 { "us" } else { "eu" });
    let Some(field) = Field::try_whole_of(3, region) else { return };
    let wasm = component(&field);
    let stop_after = format!("stop-after {STOP_AFTER}");
    deploy(&field, &wasm, "single", &["--partition", "keep-both"]);
    for (workload, partition) in [("bound", stop_after.as_str()), ("home", "home-only eu")] {
        deploy(&field, &wasm, workload, &["--everywhere", "--partition", partition]);
        (0..3).for_each(|host| await_ready(&field, host, workload, &[0, 1, 2]));
    }
    field.note("deployed");

    field.hosts.wire(&Wires::groups(&[&[0, 1], &[2]]));
    // The lone host takes over what may run on both sides, stops the others, and says why.
    for workload in ["bound", "home"] {
        await_ready(&field, 2, workload, &[]);
        await_answer(&field, 2, workload, false);
        eventually("it says why", PATIENCE, || {
            field.agent(2).cli(&["explain", workload]).stdout.contains("cut off").then_some(())
        });
    }
    await_ready(&field, 2, "single", &[2]);
    await_answer(&field, 2, "single", true);
    field.note("the lone host runs what it may");
    // The others go on, and one of them has what they had lost, if it was that.
    for workload in ["bound", "home"] {
        await_ready(&field, 0, workload, &[0, 1]);
        await_answer(&field, 1, workload, true);
    }
    await_one(&field, 0, "single");
    await_answer(&field, 0, "single", true);
    field.note("so do the others");

    field.hosts.wire(&Wires::default());
    for host in 0..3 {
        ["bound", "home"].iter().for_each(|workload| await_ready(&field, host, workload, &[0, 1, 2]));
        await_one(&field, host, "single");
        await_answer(&field, host, "single", true);
    }
    field.await_whole();
    field.unharmed();
    field.note("healed");
}
