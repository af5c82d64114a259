//! Starts that cannot work say why, change nothing, and end with the right code; and what callers hear while one goes on.

use std::net::{TcpListener, UdpSocket};
use std::time::Duration;

use selvedge_tests::{Agent, Launch, eventually, http};
use serde_json::Value;

fn refused(launch: &Launch, code: i32, expect: &[&str]) {
    let output = launch.run_to_end();
    assert_eq!(output.code, code, "{}{}", output.stdout, output.stderr);
    for part in expect {
        assert!(output.stderr.contains(part), "`{part}` is missing in: {}", output.stderr);
    }
}

#[test]
fn a_port_in_use_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    refused(
        &Launch::new(folder.path(), "api").with(&["--listen", "127.0.0.1:0", "--api", &address]),
        1,
        &[&address, "in use"],
    );
    refused(&Launch::new(folder.path(), "net").with(&["--listen", &address]), 1, &[&address, "in use"]);
    let taken = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    refused(&Launch::new(folder.path(), "udp").with(&["--listen", &address]), 1, &["in use"]);
}

#[test]
fn a_configuration_that_cannot_be_used_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("selvedge.toml");
    let path = file.to_string_lossy().into_owned();
    let launch = Launch::new(folder.path(), "config").with(&["--config", &path]);
    refused(&launch, 2, &[&path]);
    std::fs::write(&file, "[node]\nnmae = \"x\"\n").expect("is written");
    refused(&launch, 2, &["nmae"]);
    std::fs::write(&file, "[net]\nlisten = [\"0.0.0.0:0\"]\n").expect("is written");
    refused(&launch, 2, &["0.0.0.0:0", "selvedge join"]);
    assert!(!launch.data_dir().join("node.key").exists(), "nothing was made");
}

#[test]
fn a_data_directory_in_use_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let agent = Launch::new(folder.path(), "one").joining(&[]).start();
    refused(&Launch::new(folder.path(), "one").joining(&[]), 1, &["another running agent"]);
    assert_eq!(agent.cli(&["status"]).code, 0, "the one that runs is not disturbed");
}

#[test]
fn an_unreachable_bootstrap_peer_shows_in_health_and_stops_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let nobody =
        TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port").to_string();
    let agent = Launch::new(folder.path(), "alone").joining(&[]).with(&["--bootstrap", &nobody]).start();
    let reasons = eventually("health says so", Duration::from_secs(20), || {
        let health = agent.json(&["status"])["health"].clone();
        (health["ok"] == false).then(|| health["reasons"].to_string())
    });
    assert!(reasons.contains(&nobody), "{reasons}");
    assert_eq!(agent.cli(&["put", "gcounter/alone", "increment", "1", "--durable"]).code, 0);
}

/// A call that waits so long; its status, its head and the code of its error.
fn call(agent: &Agent, deadline_ms: u32) -> (u16, String, String) {
    let line = format!("Selvedge-Deadline-Ms: {deadline_ms}\r\n");
    let answer = http::ask_with(agent, ("POST", "/v1/workloads/combat/call/resolve"), &line, b"[[]]");
    let body: Value = serde_json::from_slice(&answer.body).expect("JSON");
    (answer.status, answer.head, body["error"]["code"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn a_call_waits_for_those_whom_an_agent_that_has_just_started_remembers() {
    const LONG_MS: u32 = 30_000;
    let folder = tempfile::tempdir().expect("a folder");
    let one = Launch::new(folder.path(), "one").founding("starting").joining(&[]).start();
    let two = Launch::new(folder.path(), "two").invited_by(&one).joining(&[]).start();
    let wasm = folder.path().join("combat.wasm");
    let (_, component) =
        selvedge::shipped::shipped().into_iter().find(|(name, _)| *name == "combat").expect("it ships");
    std::fs::write(&wasm, component).expect("written");
    let deploy = ["deploy", &wasm.to_string_lossy(), "--name", "combat", "--must", "node=one", "--timeout", "120s"];
    let done = one.cli(&deploy);
    assert_eq!(done.code, 0, "{}{}\n{}", done.stdout, done.stderr, one.log());
    eventually("the other host forwards it", Duration::from_secs(60), || (call(&two, LONG_MS).0 == 200).then_some(()));

    // Where members are found is kept a beat after they were met.
    eventually("the other host is kept in mind", Duration::from_secs(60), || {
        (two.json(&["status"])["node"]["uptime_s"].as_u64() >= Some(5)).then_some(())
    });
    // No link comes up while the other host is stalled.
    let stopped = two.stop().0;
    one.stall();
    let two = stopped.start();
    let (status, head, code) = call(&two, 1);
    assert_eq!((status, code.as_str()), (503, "starting"), "{head}");
    let (status, head, code) = std::thread::scope(|scope| {
        let waits = scope.spawn(|| call(&two, LONG_MS));
        one.resume();
        waits.join().expect("an answer")
    });
    assert_eq!(status, 200, "a call that has the time finds its way: {code}\n{head}\n{}", two.log());

    // Nobody will come: who has no time hears so at once, and who has some when it is certain.
    let stopped = two.stop().0;
    drop(one);
    let two = stopped.start();
    let (status, head, code) = call(&two, 1);
    assert_eq!((status, code.as_str()), (503, "starting"), "{head}");
    assert!(head.to_ascii_lowercase().contains("\nretry-after: 1\r\n"), "{head}");
    let (status, head, code) = call(&two, LONG_MS);
    assert_eq!((status, code.as_str()), (503, "not_running"), "{head}");
    let told = two.cli(&["call", "combat", "resolve", "[[]]"]);
    assert!(told.stderr.contains("1 of 2 members in sight"), "{}", told.stderr);
}

#[test]
fn no_agent_to_talk_to_is_exit_code_3() {
    let folder = tempfile::tempdir().expect("a folder");
    let agent = Launch::new(folder.path(), "gone").joining(&[]).start();
    let api = agent.api();
    drop(agent);
    let status = std::process::Command::new(selvedge_tests::agent::binary())
        .args(["status", "--api", &api])
        .output()
        .expect("the command runs")
        .status;
    assert_eq!(status.code(), Some(3));
}
