//! Watching from one agent what is written on another: over the CLI, over a restart, and over HTTP.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use selvedge_tests::agent::binary;
use selvedge_tests::{Agent, Launch, eventually};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(30);

/// Lines that a process has written so far.
type Lines = Arc<Mutex<Vec<String>>>;

/// `selvedge watch`, and what it has said. Killed when dropped.
struct Watcher {
    child: Child,
    told: Lines,
    noted: Lines,
}

fn lines(from: impl Read + Send + 'static) -> Lines {
    let lines = Lines::default();
    let written = Arc::clone(&lines);
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            written.lock().expect("no panic holds it").push(line);
        }
    });
    lines
}

impl Watcher {
    /// Watches, and waits until every change is told for certain.
    fn start(agent: &Agent, prefix: &str) -> Self {
        let before = watchers(agent);
        let mut command = Command::new(binary());
        command.args(["watch", prefix, "--json", "--api", &agent.api()]);
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let told = lines(child.stdout.take().expect("is piped"));
        let noted = lines(child.stderr.take().expect("is piped"));
        eventually("somebody watches", PATIENCE, || (watchers(agent) > before).then_some(()));
        Self { child, told, noted }
    }

    /// What has been told, as key and value.
    fn changes(&self) -> Vec<(String, Value)> {
        let lines = self.told.lock().expect("no panic holds it").clone();
        let change = |line: &String| {
            let json: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            assert_eq!(json["event"], "commit", "{line}");
            (json["key"].as_str().unwrap_or_default().to_owned(), json["value"].clone())
        };
        lines.iter().map(change).collect()
    }

    fn await_changes(&self, expect: &[(&str, Value)]) {
        let expect: Vec<_> = expect.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        eventually(&format!("{expect:?} is told"), PATIENCE, || (self.changes().len() >= expect.len()).then_some(()));
        assert_eq!(self.changes(), expect);
    }

    fn await_note(&self, part: &str) {
        eventually(&format!("a note: {part}"), PATIENCE, || {
            self.noted.lock().expect("no panic holds it").iter().any(|line| line.contains(part)).then_some(())
        });
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// What an agent answers to a read, over a connection of its own.
fn ask(agent: &Agent, path: &str, headers: &str) -> BufReader<TcpStream> {
    let api = agent.api();
    let address = api.strip_prefix("http://").expect("an address over TCP");
    let mut stream = TcpStream::connect(address).expect("connected");
    stream.set_read_timeout(Some(PATIENCE)).expect("a deadline");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{headers}\r\n").expect("written");
    BufReader::new(stream)
}

/// How many listen to the events of an agent.
fn watchers(agent: &Agent) -> u64 {
    let lines = ask(agent, "/metrics", "").lines().map_while(Result::ok);
    let count = lines.filter_map(|line| line.strip_prefix("selvedge_watchers ")?.parse().ok()).next();
    count.expect("the metrics tell it")
}

fn pair(folder: &Path) -> (Agent, Agent) {
    let one = Launch::new(folder, "one").joining(&[]).start();
    let two = Launch::new(folder, "two").joining(&[&one]).start();
    for agent in [&one, &two] {
        eventually("both know each other", PATIENCE, || (agent.alive() == 2).then_some(()));
    }
    (one, two)
}

fn put(agent: &Agent, words: &[&str]) {
    let output = agent.cli(&[&["put"], words].concat());
    assert_eq!(output.code, 0, "{words:?}: {}", output.stderr);
}

#[test]
fn a_write_elsewhere_is_seen_and_nothing_else_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let (one, two) = pair(folder.path());
    let mut watcher = Watcher::start(&one, "lwwmap/player:");
    put(&two, &["gcounter/kills", "increment", "1"]);
    put(&two, &["lwwmap/players", "put", "count=1"]);
    put(&two, &["lwwmap/player:42", "put", "hp=7"]);
    // What was not asked for would have come before it: commits of one writer arrive in order.
    watcher.await_changes(&[("lwwmap/player:42", json!({"hp": 7}))]);
    put(&one, &["lwwmap/player:43", "put", "hp=1"]);
    watcher.await_changes(&[("lwwmap/player:42", json!({"hp": 7})), ("lwwmap/player:43", json!({"hp": 1}))]);
    let interrupt = Command::new("kill").args(["-INT", &watcher.child.id().to_string()]).status();
    assert!(interrupt.expect("`kill` is there").success());
    let status = eventually("it ends", PATIENCE, || watcher.child.try_wait().expect("can be asked"));
    assert_eq!(status.code(), Some(0), "an interrupted watch has done what it was asked to");
    assert_eq!(*watcher.noted.lock().expect("no panic holds it"), [""; 0]);
}

#[test]
fn an_agent_that_restarts_is_watched_again_and_the_gap_is_said() {
    let folder = tempfile::tempdir().expect("a folder");
    let api = format!("unix:{}", folder.path().join("api.sock").display());
    let one = Launch::new(folder.path(), "one").with(&["--api", &api]).joining(&[]).start();
    let watcher = Command::new(binary())
        .args(["watch", "gcounter/", "--api", &api])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = watcher.expect("it starts");
    let told = lines(child.stdout.take().expect("is piped"));
    let noted = lines(child.stderr.take().expect("is piped"));
    let watcher = Watcher { child, told, noted };
    eventually("somebody watches", PATIENCE, || (watchers(&one) == 1).then_some(()));
    put(&one, &["gcounter/kills", "increment", "1"]);
    let told = |lines: &[&str]| (*watcher.told.lock().expect("no panic holds it") == *lines).then_some(());
    eventually("the first is told", PATIENCE, || told(&["gcounter/kills 1"]));
    let (launch, code) = one.stop();
    assert_eq!(code, Some(0));
    watcher.await_note("reconnecting");
    let one = launch.start();
    watcher.await_note("some changes were missed: the agent has restarted since");
    put(&one, &["gcounter/kills", "increment", "1"]);
    eventually("the second is told", PATIENCE, || told(&["gcounter/kills 1", "gcounter/kills 2"]));
}

/// The next event of a stream: its id and its keys.
fn next_event(stream: &mut BufReader<TcpStream>) -> (String, Value) {
    let (mut id, mut data) = (String::new(), Value::Null);
    loop {
        let mut line = String::new();
        assert!(stream.read_line(&mut line).expect("in time") > 0, "the stream has ended");
        if let Some(own) = line.strip_prefix("id: ") {
            own.trim_end().clone_into(&mut id);
        } else if let Some(own) = line.strip_prefix("data: ") {
            data = serde_json::from_str(own).expect("JSON");
        } else if line == "\n" && !data.is_null() {
            return (id, data["values"].clone());
        }
    }
}

#[test]
fn whoever_comes_back_to_the_events_has_missed_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let (one, two) = pair(folder.path());
    let path = "/v1/events?prefix=gcounter/";
    let mut stream = ask(&one, path, "");
    eventually("somebody watches", PATIENCE, || (watchers(&one) == 1).then_some(()));
    put(&two, &["gcounter/a", "increment", "1"]);
    let (id, values) = next_event(&mut stream);
    assert_eq!(values, json!({"gcounter/a": 1}));
    drop(stream);
    eventually("nobody watches", PATIENCE, || (watchers(&one) == 0).then_some(()));
    for words in [["gcounter/b", "increment", "2"], ["pncounter/c", "increment", "3"], ["gcounter/d", "increment", "4"]]
    {
        put(&two, &words);
    }
    assert_eq!(one.cli(&["converged", "--wait", "30s"]).code, 0);
    let mut stream = ask(&one, path, &format!("Last-Event-ID: {id}\r\n"));
    assert_eq!(next_event(&mut stream).1, json!({"gcounter/b": 2}));
    assert_eq!(next_event(&mut stream).1, json!({"gcounter/d": 4}));
}

#[test]
fn what_an_agent_does_about_a_workload_is_told_explained_and_counted() {
    let folder = tempfile::tempdir().expect("a folder");
    let one = Launch::new(folder.path(), "one").joining(&[]).start();
    let told = lines(ask(&one, "/v1/events", ""));
    eventually("somebody listens", PATIENCE, || (watchers(&one) == 1).then_some(()));
    let decisions = || -> Vec<String> {
        let lines = told.lock().expect("no panic holds it").clone();
        let data = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data: ")?).ok());
        data.filter_map(|event| Some(event["change"].as_str().filter(|_| event["workload"] == "guess")?.to_owned()))
            .collect()
    };
    let (_, wasm) = selvedge::shipped::shipped().into_iter().find(|(name, _)| *name == "prediction").expect("ships");
    let file = folder.path().join("prediction.wasm");
    std::fs::write(&file, wasm).expect("written");
    let deployed = one.cli(&["deploy", &file.to_string_lossy(), "--name", "guess"]);
    assert_eq!(deployed.code, 0, "{deployed:?}");
    eventually("it is told", PATIENCE, || (decisions() == ["claimed", "started", "ready"]).then_some(()));

    let explained = one.json(&["explain", "guess"]);
    let stages = explained["here"]["last_start"]["stages"].as_array().cloned().unwrap_or_default();
    let names: Vec<_> = stages.iter().filter_map(|stage| stage["stage"].as_str()).collect();
    // Deploying has compiled it once to check it, so that it is still in memory, or else is compiled.
    assert!(names.starts_with(&["claimed", "fetching", "verifying"]) && names.ends_with(&["warming"]), "{explained}");
    let text = one.cli(&["explain", "guess"]).stdout;
    for wanted in ["guess: wants 1, placed 1", "MEMORY FREE", "last start on one took"] {
        assert!(text.contains(wanted), "{wanted:?} is not in\n{text}");
    }
    let figures: Vec<String> = ask(&one, "/metrics", "").lines().map_while(Result::ok).collect();
    for wanted in [
        r#"selvedge_workload_starts_total{outcome="ready"} 1"#,
        r#"selvedge_workload_start_stage_duration_seconds_count{stage="warming"} 1"#,
        r#"selvedge_workload_ready{workload="guess"} 1"#,
        r#"selvedge_instances{phase="ready"} 1"#,
    ] {
        assert!(figures.iter().any(|line| line == wanted), "{wanted} is not told");
    }
    assert_eq!(one.cli(&["undeploy", "guess"]).code, 0);
    eventually("its end is told", PATIENCE, || decisions().last().is_some_and(|last| last == "stopped").then_some(()));
}
