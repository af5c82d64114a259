//! What an operator sees of links: as they come, what goes over them, and what becomes of them when the other side is gone.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use selvedge_tests::{Agent, Launch, eventually};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(30);

fn ask(agent: &Agent, path: &str) -> BufReader<TcpStream> {
    let api = agent.api();
    let address = api.strip_prefix("http://").expect("an address over TCP");
    let mut stream = TcpStream::connect(address).expect("connected");
    stream.set_read_timeout(Some(PATIENCE)).expect("a deadline");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").expect("written");
    BufReader::new(stream)
}

fn metrics(agent: &Agent) -> String {
    let mut text = String::new();
    ask(agent, "/metrics").read_to_string(&mut text).expect("the metrics are text");
    text
}

/// The next change of a link to `node` that is told; other events pass by.
fn next_change(events: &mut BufReader<TcpStream>, node: &str) -> Value {
    let (mut kind, mut line) = (String::new(), String::new());
    loop {
        line.clear();
        assert!(events.read_line(&mut line).expect("in time") > 0, "the stream has ended");
        if let Some(own) = line.strip_prefix("event: ") {
            own.trim_end().clone_into(&mut kind);
        } else if let Some(data) = line.strip_prefix("data: ").filter(|_| kind == "link") {
            let told: Value = serde_json::from_str(data).expect("JSON");
            if told["node"] == json!(node) {
                return told;
            }
        }
    }
}

fn peer(agent: &Agent, node: &str) -> Option<Value> {
    agent.json(&["peers"]).as_array()?.iter().find(|peer| peer["node"] == json!(node)).cloned()
}

#[test]
fn a_link_is_seen_from_its_first_byte_to_its_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let one = Launch::new(folder.path(), "one").joining(&[]).start();
    let mut events = ask(&one, "/v1/events");
    eventually("somebody listens", PATIENCE, || metrics(&one).contains("selvedge_watchers 1").then_some(()));
    let two = Launch::new(folder.path(), "two").joining(&[&one]).start();
    let node = two.node();

    let up = next_change(&mut events, &node);
    assert!(up["change"] == "up" && up["reason"].as_str().is_some_and(|reason| reason.contains("/ip4/")), "{up}");
    let seen = eventually("bytes have gone both ways", PATIENCE, || {
        let traffic = peer(&one, &node)?["link"]["traffic"].clone();
        let moved = |way: &str| traffic[way].as_u64().is_some_and(|bytes| bytes > 0);
        (moved("bytes_in") && moved("bytes_out")).then_some(traffic)
    });
    assert_eq!(seen["score"], json!(100), "{seen}");
    eventually("it has a name", PATIENCE, || (peer(&one, &node)?["name"] == "two").then_some(()));
    let table = one.cli(&["peers"]).stdout;
    assert!(table.contains("connected") && table.contains(&node[node.len() - 8..]), "{table}");
    let text = metrics(&one);
    for wanted in ["selvedge_links{state=\"connected\"} 1", "selvedge_link_changes_total{change=\"up\"} 1"] {
        assert!(text.contains(wanted), "no `{wanted}` in\n{text}");
    }
    assert!(text.contains(&format!("selvedge_peer_moved_bytes_total{{peer=\"{node}\",direction=\"in\"}}")), "{text}");

    let killed = two.kill();
    let down = next_change(&mut events, &node);
    assert!(down["change"] == "down" && down["name"] == "two" && down["reason"].is_string(), "{down}");
    eventually("it is not shown as connected", PATIENCE, || {
        let link = peer(&one, &node)?["link"].clone();
        (link["state"] != "connected" && link["traffic"].is_null()).then_some(())
    });
    // It held something when it was last heard, and nobody knows what it holds now: it is awaited, by name and with the reason.
    eventually("its silence is noticed", PATIENCE, || {
        let told = one.cli(&["converged"]);
        (told.code == 1 && told.stdout.contains("two") && told.stdout.contains("is awaited: silent for")).then_some(())
    });
    assert!(!metrics(&one).contains(&format!("peer=\"{node}\"")), "figures of a link that is gone");
    let two = killed.start();
    eventually("it is back", PATIENCE, || (peer(&one, &two.node())?["link"]["state"] == "connected").then_some(()));
}
