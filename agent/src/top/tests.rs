use std::collections::BTreeMap;

use super::model::Pane;
use super::view::{Line, picture};
use super::*;
use crate::service::{Health, Link, Node, NodeState, Peer, Resources, Status};

/// The documents of a running agent, made by the very types that its API writes.
fn seen(calls: u64, commits: u64, peer: NodeState, members: u8) -> Seen {
    let id = |number: u8| selvedge_sync::id::NodeId([number; 32]);
    let resources =
        Resources { cpus: 2.0, memory_bytes: 4 << 30, memory_free_bytes: 3 << 30, disk_free_bytes: 90 << 30 };
    let node = |number: u8, status| Node {
        id: id(number),
        name: format!("edge-{number}"),
        region: "eu".to_owned(),
        location: None,
        capabilities: Vec::new(),
        labels: BTreeMap::new(),
        resources: Some(resources),
        load: Some(0.25),
        status,
        healthy: Some(true),
        ailment: None,
        draining_since: None,
        version: "0.1.0".to_owned(),
        roles: Vec::new(),
    };
    let link = Link { state: "connected".to_owned(), ..Link::default() };
    let peer_of = |number: u8| Peer {
        node: id(number),
        name: format!("edge-{number}"),
        rtt_ms: Some(0.42),
        root_equal: false,
        lag_commits: Some(17),
        last_sync_ms: Some(120),
        status: "alive".to_owned(),
        link: link.clone(),
    };
    let workload = json!({
        "name": "combat", "digest": "blake3:00", "revision": "r", "replicas": 2, "calls": calls, "errors": 3,
        "instances": [{"node": id(1), "phase": "ready", "reason": null}, {"node": id(2), "phase": "starting", "reason": null}],
        "latency_us": {"p50": 120, "p99": 4_500, "p999": 5_000, "max": 6_000},
    });
    let status = json!({
        "node": {"id": id(1), "name": "edge-1", "region": "eu", "incarnation": 3, "version": "0.1.0", "uptime_s": 65},
        "cluster": {"id": "c", "name": "games", "certificate_seconds_left": 86_400, "revoked": 0, "members": members, "alive": members, "epoch": 0},
        "state": {"root": "ab".repeat(32), "keys": 1_234, "commits": commits, "bytes": 2_345_678, "garbage": 12},
        "peers": (2..=members).map(peer_of).collect::<Vec<_>>(), "unreached": [], "workloads": [workload],
        "health": Health { ok: true, ..Health::default() },
    });
    // What is shown here is what the agent's own type says.
    let status: Status = serde_json::from_value(status).expect("a status");
    let nodes: Vec<Node> =
        (1..=members).map(|number| node(number, if number == 2 { peer } else { NodeState::Alive })).collect();
    let convergence = json!({"converged": false, "root": "ab", "peers": [{"node": id(2), "name": "edge-2", "awaited": true, "root_equal": false, "lag_commits": 17}]});
    let json = |value: Result<Value, serde_json::Error>| value.expect("JSON");
    Seen { status: json(serde_json::to_value(status)), nodes: json(serde_json::to_value(nodes)), convergence }
}

fn lines(model: &Model, size: (u16, u16)) -> Vec<String> {
    let lines: Vec<String> = picture(model, size, Instant::now()).iter().map(Line::text).collect();
    assert!(
        lines.len() <= usize::from(size.1) && lines.iter().all(|line| line.chars().count() <= usize::from(size.0)),
        "{lines:#?}"
    );
    lines
}

fn check(lines: &[String], wanted: &[&str]) {
    let text = lines.join("\n");
    wanted.iter().for_each(|wanted| assert!(text.contains(wanted), "{wanted:?} is not in\n{text}"));
}

/// A model after two looks, a second apart.
fn watched() -> Model {
    let (mut model, start) = (Model::new("unix:/run/selvedge/api.sock".to_owned()), Instant::now());
    model.take(Ok(seen(100, 1_000, NodeState::Alive, 3)), start);
    model.take(Ok(seen(350, 1_012, NodeState::Suspect, 3)), start + Duration::from_secs(1));
    model
}

#[test]
fn everything_fits_into_a_terminal_of_the_usual_size() {
    let shown = lines(&watched(), (80, 24));
    assert_eq!(shown.len(), 24);
    check(&shown, &["edge-1 in eu  games 0.1.0  up 1m 5s", "health  ok", "1012 commits (12/s)", "2.2 MiB"]);
    check(
        &shown,
        &["0 of 1 others hold this root; edge-2 lags by 17 commits", "members, 3 of 3 alive", "this host", "420 us"],
    );
    check(
        &shown,
        &[
            "NODE             STATUS",
            "edge-2           suspect",
            "combat              1/2      250       3   120 us   4.5 ms",
        ],
    );
    check(&shown, &["edge-1, edge-2 (s", "edge-2 is suspect, was alive", "q quit"]);
}

#[test]
fn every_size_has_a_picture_and_the_last_row_is_never_passed() {
    let (mut model, start) = (Model::new("x".to_owned()), Instant::now());
    model.take(Ok(seen(1, 1, NodeState::Alive, 200)), start);
    for size in [(1, 1), (39, 24), (40, 10), (80, 24), (200, 60)] {
        for pane in [Pane::Overview, Pane::Members, Pane::Workloads, Pane::Events, Pane::Help] {
            model.pane = pane;
            lines(&model, size);
        }
    }
    model.pane = Pane::Overview;
    check(&lines(&model, (80, 24)), &["members, 200 of 200 alive (187 more)"]);
    check(&lines(&Model::new("x".to_owned()), (80, 24)), &["looking…"]);
}

#[test]
fn keys_choose_scroll_and_stand_still() {
    let (mut model, start) = (Model::new("x".to_owned()), Instant::now());
    model.take(Ok(seen(1, 1, NodeState::Alive, 100)), start);
    model.press(Key::Members);
    assert!(lines(&model, (80, 24)).iter().any(|line| line.starts_with("edge-1  ")));
    model.press(Key::Scroll(10));
    let shown = lines(&model, (80, 24));
    assert!(
        !shown.iter().any(|line| line.starts_with("edge-1  ")) && shown.iter().any(|line| line.starts_with("edge-11 ")),
        "{shown:#?}"
    );
    (0..100).for_each(|_| model.press(Key::Scroll(10)));
    assert!(lines(&model, (80, 24)).iter().any(|line| line.starts_with("edge-100 ")), "no further than the end");
    model.press(Key::Pause);
    model.take(Ok(seen(9, 9, NodeState::Lost, 1)), start);
    check(&lines(&model, (80, 24)), &["standing still", "edge-100"]);
    model.press(Key::Help);
    check(&lines(&model, (80, 24)), &["space        stand still"]);
    model.press(Key::Help);
    assert_eq!((model.pane, model.scrolled), (Pane::Overview, 0));
}

#[test]
fn an_agent_that_is_away_is_said_and_what_was_seen_stays() {
    let mut model = watched();
    model.take(Err("no agent answers".to_owned()), Instant::now());
    check(&lines(&model, (80, 24)), &["the agent is away", "no agent answers", "edge-2"]);
    model.take(Ok(Seen::default()), Instant::now());
    let text = lines(&model, (80, 24)).join("\n");
    assert!(!text.contains("NaN") && text.contains("not well"), "a document of another version still shows:\n{text}");
    assert!(model.events.iter().any(|line| line.ends_with("the agent answers again")));
}
