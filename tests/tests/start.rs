//! Starts that cannot work say why, change nothing, and end with the right code.

use std::net::{TcpListener, UdpSocket};
use std::time::Duration;

use selvedge_tests::{Launch, eventually};

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
