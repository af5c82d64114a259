//! Starts that cannot work say why, change nothing, and end with the right code; and what callers hear while one goes on.

use std::net::{TcpListener, UdpSocket};
use std::time::{Duration, Instant};

use selvedge_tests::{Agent, Launch, eventually, http};
use serde_json::Value;

/// How long is waited for what takes a moment on a machine that does not stall.
const PATIENCE: Duration = Duration::from_secs(60);
/// For how long an agent that has just started has its calls wait for members. Counted from before its start, it is over no later than there.
const WINDOW: Duration = Duration::from_secs(5);
/// A deadline that is longer than that.
const LONG_MS: u32 = 30_000;

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

/// Waits until an agent makes calls by way of another, and has most likely kept where that is found: it looks every second, and tells nobody
/// when that is on disk. Whether it is shows when it starts again.
fn settle(agent: &Agent) {
    eventually("the other host forwards it", PATIENCE, || (call(agent, LONG_MS).0 == 200).then_some(()));
    eventually("the other host is kept in mind", PATIENCE, || {
        (agent.json(&["status"])["node"]["uptime_s"].as_u64() >= Some(5)).then_some(())
    });
}

/// Starts `two` while `one` is stalled, and hears what becomes of calls. On a machine that stalls the window may be over before they are made, and
/// `two` may have been stopped before it had kept where `one` is: such a start proves nothing, and there is another.
fn starts_before_its_links(one: &Agent, two: Launch) -> Agent {
    let mut stopped = Some(two);
    eventually("a call within the window that finds its way", PATIENCE * 3, || {
        // No link comes up meanwhile.
        one.stall();
        let began = Instant::now();
        let two = stopped.take().expect("it is stopped").start();
        let (status, head, code) = call(&two, 1);
        let is_in_time = began.elapsed() < WINDOW;
        let is_telling = is_in_time && two.json(&["status"])["cluster"]["members"] == 2;
        if is_telling {
            assert_eq!((status, code.as_str()), (503, "starting"), "{head}");
        }
        let (status, head, code) = std::thread::scope(|scope| {
            let waits = scope.spawn(|| call(&two, LONG_MS));
            one.resume();
            waits.join().expect("an answer")
        });
        // Who was given up when the window was over has waited. Who was given up before has not.
        let is_over = began.elapsed() >= WINDOW;
        if is_telling && (status == 200 || !is_over) {
            assert_eq!(status, 200, "a call that has the time finds its way: {code}\n{head}\n{}", two.log());
            return Some(two);
        }
        settle(&two);
        stopped = Some(two.stop().0);
        None
    })
}

/// Starts `two` when nobody else is there, and hears what is said at once; again, if the window was over by then.
fn starts_alone(two: Launch) -> Agent {
    let mut stopped = Some(two);
    eventually("a call within the window", PATIENCE * 3, || {
        let began = Instant::now();
        let two = stopped.take().expect("it is stopped").start();
        let (status, head, code) = call(&two, 1);
        if began.elapsed() >= WINDOW {
            stopped = Some(two.stop().0);
            return None;
        }
        assert_eq!((status, code.as_str()), (503, "starting"), "{head}");
        assert!(head.to_ascii_lowercase().contains("\nretry-after: 1\r\n"), "{head}");
        Some(two)
    })
}

#[test]
fn a_call_waits_for_those_whom_an_agent_that_has_just_started_remembers() {
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
    settle(&two);
    let two = starts_before_its_links(&one, two.stop().0);

    // Nobody will come: who has no time hears so at once, and who has some when it is certain.
    let stopped = two.stop().0;
    drop(one);
    let two = starts_alone(stopped);
    let (status, head, code) = call(&two, LONG_MS);
    assert_eq!((status, code.as_str()), (503, "not_running"), "{head}");
    eventually("it says that the other is out of sight", PATIENCE, || {
        let told = two.cli(&["call", "combat", "resolve", "[[]]"]);
        told.stderr.contains("1 of 2 members in sight").then_some(())
    });
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
