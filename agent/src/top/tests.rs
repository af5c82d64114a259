use std::collections::BTreeMap;
use std::time::Duration;

use ratatui::backend::TestBackend;
use serde_json::{Value, json};

use super::keys::Key;
use super::looks::{Closely, Seen};
use super::ui::Pane;
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
        "latency_buckets": [{"le_us": 200, "calls": calls / 2}, {"le_us": 5_000, "calls": calls - calls / 2}],
        "recent": {"window_s": 150, "calls": calls, "errors": 3, "latency_us": {"p50": 120, "p99": 4_500, "p999": 5_000, "max": 6_000}},
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
    Seen {
        status: json(serde_json::to_value(status)),
        nodes: json(serde_json::to_value(nodes)),
        convergence,
        history: json!({"step_s": 5, "calls": [10, 20, 40, 80], "errors": [0, 0, 3, 0]}),
        events: json!([{"id": "1-1", "at_ms": 1_700_000_000_000_u64, "kind": "member", "node": id(2), "name": "edge-2", "status": "suspect"}]),
        closely: Closely::default(),
    }
}

/// What the terminal shows, row by row.
fn shown(model: &Model, ui: &mut Ui, (columns, rows): (u16, u16)) -> Vec<String> {
    let mut screen = Terminal::new(TestBackend::new(columns, rows)).expect("memory takes all");
    screen.draw(|frame| view::draw(frame, model, ui, Instant::now())).expect("memory takes all");
    let buffer = screen.backend().buffer();
    let row = |y: u16| (0..columns).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
    (0..rows).map(row).collect()
}

fn check(rows: &[String], wanted: &[&str]) {
    let text = rows.join("\n");
    wanted.iter().for_each(|wanted| assert!(text.contains(wanted), "{wanted:?} is not in\n{text}"));
}

/// A model after two looks, a second apart.
fn watched() -> Model {
    let (mut model, start) = (Model::new("unix:/run/selvedge/api.sock".to_owned()), Instant::now());
    model.take(Ok(seen(100, 1_000, NodeState::Alive, 3)), start);
    model.take(Ok(seen(350, 1_012, NodeState::Suspect, 3)), start + Duration::from_secs(1));
    model
}

fn press(ui: &mut Ui, keys: &[Key]) {
    keys.iter().for_each(|key| assert_eq!(ui.press(*key, view::COLUMNS), Then::GoOn, "{key:?}"));
}

#[test]
fn a_terminal_of_the_usual_size_shows_everything_at_one_look() {
    let rows = shown(&watched(), &mut Ui::default(), (80, 24));
    check(&rows, &["edge-1 in eu  games 0.1.0  up 1m 5s", "health  ok", "1012 commits (12/s)", "2.2 MiB"]);
    check(&rows, &["in step with 1 other; edge-2 lags by 17 commits", "members, 3 of 3 alive", "this host", "420 us"]);
    check(&rows, &["calls/s 250, most 16 ", "p99 - ", "this host, 2 cores", "load    25 %", "memory  25 %", "█"]);
    check(
        &rows,
        &["  NODE         STATUS    LINK", "▸ edge-1       alive     this host", "  edge-2       suspect   connected"],
    );
    check(&rows, &["  combat           1/2     250      3   120 us   4.5 ms edge-2 (starting), edge…"]);
    check(&rows, &["11-14 22:13 edge-2 does not answer"]);
    assert!(rows[23].starts_with("q quit"), "{rows:#?}");
}

#[test]
fn a_large_terminal_has_larger_pictures_and_more_columns() {
    let rows = shown(&watched(), &mut Ui::default(), (160, 45));
    check(
        &rows,
        &["DISK", "CORES", "RUNS", "REGION", "RELEASE", "ROLLOUT", "free: 3.0 GiB of memory, 90.0 GiB of disk"],
    );
}

#[test]
fn a_small_terminal_says_what_matters_most() {
    let rows = shown(&watched(), &mut Ui::default(), (40, 10));
    check(&rows, &["edge-1 in eu  games", "health  ok", "in step with 1 other", "3 of 3 alive  250 calls/s  p99 -"]);
    check(&rows, &["▸ edge-1       alive           -", "  edge-2       suspect    420 us  25 %", "q quit"]);
    let mut ui = Ui::default();
    press(&mut ui, &[Key::Tab]);
    check(&shown(&watched(), &mut ui, (40, 10)), &["combat           1/2     250   4.5 ms"]);
}

#[test]
fn what_is_wrong_is_said_first_and_in_full() {
    let mut ill = seen(400, 1_020, NodeState::Lost, 3);
    ill.status["health"] =
        json!({"ok": false, "reasons": ["the disk is full", "the driver hangs"], "notes": ["combat lacks 1 instance"]});
    ill.status["workloads"][0]["rollout"] = json!({"stage": "rolled_back", "reason": "it traps"});
    ill.nodes[2]["healthy"] = json!(false);
    ill.status["peers"][0]["last_sync_ms"] = json!(60_000);
    let mut model = watched();
    model.take(Ok(ill), Instant::now());
    let rows = shown(&model, &mut Ui::default(), (80, 40));
    assert_eq!(rows[1], "not well: the disk is full", "{rows:#?}");
    check(&rows, &["not well: the driver hangs", "combat lacks 1 instance", "combat: rolled back: it traps"]);
    check(&rows, &["0 of 1 are in step", "3 of 3 alive, 1 not well", "edge-3       not well", "edge-2       lost"]);
    let small = shown(&model, &mut Ui::default(), (40, 10));
    check(&small, &["not well: the disk is full", "not well: the driver hangs"]);
}

#[test]
fn a_reason_that_is_longer_than_the_screen_is_wide_stands_in_full_where_there_is_room() {
    let reason = "the store ".to_owned() + &"stands still and ".repeat(20) + "begins again at its end";
    let mut ill = seen(400, 1_020, NodeState::Alive, 3);
    ill.status["health"] =
        json!({"ok": false, "reasons": [reason, "the driver hangs"], "notes": ["combat lacks 1 instance"]});
    let mut model = watched();
    model.take(Ok(ill.clone()), Instant::now());
    let mut ui = Ui::default();
    let rows = shown(&model, &mut ui, (80, 24));
    assert!(rows[1].starts_with("not well: the store stands still"), "{rows:#?}");
    assert!(
        rows[3].ends_with("… and 2 more") && rows[4].starts_with("state "),
        "no word is lost in silence: {rows:#?}"
    );
    press(&mut ui, &[Key::Enter]);
    (ill.closely.subject, ill.closely.document) = (ui.wanted(), ill.nodes[0].clone());
    model.take(Ok(ill), Instant::now());
    let mut all = shown(&model, &mut ui, (80, 24));
    press(&mut ui, &[Key::End]);
    all.extend(shown(&model, &mut ui, (80, 24)));
    check(&all, &["member edge-1", "begins again at its end", "not well: the driver hangs", "combat lacks 1 instance"]);
    assert!(all.iter().any(|row| row.ends_with("runs           combat")), "the last row is reached: {all:#?}");
}

#[test]
fn every_size_and_pane_has_a_picture() {
    let (mut model, start) = (Model::new("x".to_owned()), Instant::now());
    check(&shown(&model, &mut Ui::default(), (80, 24)), &["selvedge top  x", "looking…"]);
    model.take(Ok(seen(1, 1, NodeState::Alive, 200)), start);
    let mut ui = Ui::default();
    for size in [(1, 1), (3, 2), (39, 24), (40, 10), (80, 24), (200, 60)] {
        for pane in [Pane::Overview, Pane::Members, Pane::Workloads, Pane::Events, Pane::Help, Pane::Closely] {
            ui.pane = pane;
            shown(&model, &mut ui, size);
        }
    }
    check(&shown(&model, &mut Ui::default(), (80, 24)), &["members, 200 of 200 alive (19", " more)"]);
}

#[test]
fn rows_are_chosen_sorted_and_filtered() {
    let (mut model, mut ui) = (Model::new("x".to_owned()), Ui::default());
    model.take(Ok(seen(1, 1, NodeState::Alive, 100)), Instant::now());
    press(&mut ui, &[Key::Char('m')]);
    check(&shown(&model, &mut ui, (80, 24)), &["▸ edge-1 ", "edge-17 "]);
    press(&mut ui, &[Key::PageDown, Key::PageDown, Key::PageDown]);
    let rows = shown(&model, &mut ui, (80, 24));
    check(&rows, &["▸ edge-31 "]);
    assert!(!rows.iter().any(|row| row.contains("edge-1  ")), "it scrolls along: {rows:#?}");
    press(&mut ui, &[Key::End]);
    check(&shown(&model, &mut ui, (80, 24)), &["▸ edge-100 "]);
    press(&mut ui, &[Key::Char('s'), Key::Char('r')]);
    let rows = shown(&model, &mut ui, (80, 24));
    check(&rows, &["NODE▼", "▸ edge-100 "]);
    press(&mut ui, &[Key::Char('/'), Key::Char('E'), Key::Char('-'), Key::Char('4'), Key::Enter, Key::Home]);
    let rows = shown(&model, &mut ui, (80, 24));
    check(&rows, &["11 of 100 have it", "▸ edge-49 ", "  edge-4 ", "only rows with: E-4"]);
    press(&mut ui, &[Key::Escape]);
    check(&shown(&model, &mut ui, (80, 24)), &["▸ edge-49 ", "100 of 100 alive (83 more)"]);
}

#[test]
fn a_member_and_a_workload_are_shown_closely() {
    let (mut model, mut ui) = (watched(), Ui::default());
    shown(&model, &mut ui, (80, 30));
    press(&mut ui, &[Key::Down, Key::Enter]);
    check(&shown(&model, &mut ui, (80, 30)), &["member edge-2", "looking…"]);
    let (mut look, Subject::Member(id)) = (seen(360, 1_015, NodeState::Suspect, 3), ui.wanted()) else {
        panic!("the member that was chosen")
    };
    let mut document = look.nodes[1].clone();
    document["addresses"] = json!(["/ip4/192.0.2.7/udp/7410/quic-v1"]);
    document["round_trips_ms"] = json!({(look.nodes[2]["id"].as_str().expect("an id")): 12.5});
    look.closely = Closely { subject: Subject::Member(id), document, ..Closely::default() };
    model.take_closely(Ok(look));
    let rows = shown(&model, &mut ui, (80, 40));
    check(
        &rows,
        &[
            "status         suspect",
            "/ip4/192.0.2.7/udp/7410/quic-v1",
            "round trips     12.5 ms  edge-3",
            "how full it is",
        ],
    );
    check(&rows, &["runs           combat (starting)", "lag            17 commits", "edge-2 does not answer"]);

    press(&mut ui, &[Key::Escape, Key::Tab]);
    shown(&model, &mut ui, (80, 30));
    press(&mut ui, &[Key::Enter]);
    let mut look = seen(370, 1_015, NodeState::Suspect, 3);
    let mut document =
        json!({"name": "combat", "artifact": "blake3:00", "limits": {"memory": 67_108_864, "deadline_ms": 50}});
    document["status"] = look.status["workloads"][0].clone();
    let placement = json!({"workload": "combat", "wanted": 2, "candidates": [], "rejected": [{"name": "edge-3", "message": "is in us, not eu"}]});
    look.closely = Closely { subject: ui.wanted(), document, placement, problem: None };
    model.take(Ok(look), Instant::now());
    let rows = shown(&model, &mut ui, (80, 44));
    check(
        &rows,
        &[
            "workload combat",
            "ready          1 of 2",
            "edge-2         starting",
            "how long 370 calls took here: p50",
            "50 %",
            "≤5ms",
        ],
    );
    check(&rows, &["combat: wants 2, placed 0", "edge-3", "is in us, not eu"]);
    let refused =
        Closely { subject: ui.wanted(), problem: Some("there is no such workload".to_owned()), ..Closely::default() };
    model.take(Ok(Seen { closely: refused, ..seen(370, 1_015, NodeState::Alive, 3) }), Instant::now());
    check(&shown(&model, &mut ui, (80, 24)), &["there is no such workload"]);
}

#[test]
fn whoever_stands_still_is_told_so_and_finds_the_keys() {
    let (model, mut ui) = (watched(), Ui::default());
    press(&mut ui, &[Key::Char(' ')]);
    check(&shown(&model, &mut ui, (80, 24)), &["standing still"]);
    press(&mut ui, &[Key::Char('?')]);
    check(&shown(&model, &mut ui, (80, 24)), &["space        stand still", "q, Ctrl-C"]);
    press(&mut ui, &[Key::Char('?')]);
    assert_eq!(ui.pane, Pane::Overview);
}

#[test]
fn an_agent_that_is_away_is_said_and_what_was_seen_stays() {
    let mut model = watched();
    model.take(Err("no agent answers".to_owned()), Instant::now());
    check(&shown(&model, &mut Ui::default(), (80, 24)), &["the agent is away", "no agent answers", "edge-2"]);
    model.take(Ok(Seen::default()), Instant::now());
    let rows = shown(&model, &mut Ui::default(), (80, 24));
    assert!(!rows.join("\n").contains("NaN"), "{rows:#?}");
    check(&rows, &["not well, and it does not say why", "the agent answers again"]);
}

#[test]
fn what_others_are_called_moves_no_cursor() {
    let evil = "\u{1b}[2J\u{9b}H\u{202e}\r\n\u{7}\u{200b}x";
    let mut look = seen(360, 1_015, NodeState::Alive, 3);
    look.nodes[1]["name"] = json!(evil);
    look.nodes[1]["region"] = json!(evil);
    look.nodes[1]["status"] = json!(evil);
    look.nodes[1]["ailment"] = json!(evil);
    look.nodes[1]["labels"] = json!({evil: evil});
    look.status["health"] = json!({"ok": false, "reasons": [evil], "notes": [evil]});
    look.status["node"]["name"] = json!(evil);
    look.status["peers"][0]["link"]["reason"] = json!(evil);
    look.status["peers"][0]["link"]["state"] = json!(evil);
    let workload = &mut look.status["workloads"][0];
    (workload["name"], workload["instances"][1]["reason"]) = (json!(evil), json!(evil));
    workload["rollout"] = json!({"stage": "rolled_back", "reason": evil});
    look.events = json!([{"kind": evil}, {"kind": "link", "name": evil, "change": evil, "reason": evil}, {"kind": "rollout", "workload": evil, "stage": evil}]);
    let id = look.nodes[1]["id"].as_str().expect("an id").to_owned();
    let document = |look: &Seen| json!({"name": evil, "artifact": evil, "status": look.status["workloads"][0], "ailment": evil, "labels": {evil: evil}, "addresses": [evil]});
    let placement = json!({"workload": evil, "rejected": [{"name": evil, "message": evil}], "here": {"name": evil, "waiting": {"message": evil}}});
    for subject in [Subject::Member(id), Subject::Workload(evil.to_owned())] {
        let (document, placement) = (document(&look), placement.clone());
        look.closely = Closely { subject: subject.clone(), document, placement, problem: None };
        let mut model = Model::new(evil.to_owned());
        model.take(Ok(look.clone()), Instant::now());
        let mut ui = Ui::default();
        ui.subject.clone_from(&subject);
        for pane in [Pane::Overview, Pane::Members, Pane::Workloads, Pane::Events, Pane::Closely] {
            ui.pane = pane;
            let rest = without_ours(&written(&model, &mut ui));
            let is_harmless = |char: char| !crate::cli::moves(char);
            assert!(rest.chars().all(is_harmless), "{pane:?}: {rest:?}");
            assert!(rest.contains('x'), "{pane:?}: {rest:?}");
        }
    }
}

/// What goes to the terminal for a whole picture.
fn written(model: &Model, ui: &mut Ui) -> String {
    let (columns, rows) = (100, 45);
    let mut screen = Terminal::new(TestBackend::new(columns, rows)).expect("memory takes all");
    screen.draw(|frame| view::draw(frame, model, ui, Instant::now())).expect("memory takes all");
    let buffer = screen.backend().buffer();
    let mut bytes = Vec::new();
    let mut terminal = Ansi::new(&mut bytes, true, true);
    let cells = (0..rows).flat_map(|y| (0..columns).map(move |x| (x, y))).map(|(x, y)| (x, y, &buffer[(x, y)]));
    ratatui::backend::Backend::draw(&mut terminal, cells).expect("memory takes all");
    ratatui::backend::Backend::flush(&mut terminal).expect("memory takes all");
    String::from_utf8(bytes).expect("text")
}

/// The text without the sequences that the view has a use for: positions and attributes.
fn without_ours(text: &str) -> String {
    let mut pieces = text.split("\u{1b}[");
    let first = pieces.next().unwrap_or_default().to_owned();
    pieces.fold(first, |rest, piece| {
        let text = piece.trim_start_matches(|char: char| char.is_ascii_digit() || char == ';');
        let known = text.strip_prefix(['H', 'm']);
        rest + known.unwrap_or_else(|| panic!("a sequence that is none of ours: {piece:?}"))
    })
}
