//! `--watch` as scripts and people use it, and errors for scripts.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use selvedge_tests::Launch;
use selvedge_tests::agent::binary;
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);

/// A command that goes on, and what it prints.
struct Watching {
    child: Child,
    lines: mpsc::Receiver<String>,
    errors: mpsc::Receiver<String>,
}

/// The lines of a pipe, as they come.
fn lines_of(pipe: impl std::io::Read + Send + 'static) -> mpsc::Receiver<String> {
    let (told, lines) = mpsc::channel();
    let pipe = BufReader::new(pipe);
    std::thread::spawn(move || pipe.lines().map_while(Result::ok).try_for_each(|line| told.send(line).ok()));
    lines
}

impl Watching {
    fn start(api: &str, line: &[&str]) -> Self {
        let mut child = Command::new(binary())
            .args(line)
            .env("SELVEDGE_API", api)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let (lines, errors) = (child.stdout.take().map(lines_of), child.stderr.take().map(lines_of));
        Self { child, lines: lines.expect("a pipe"), errors: errors.expect("a pipe") }
    }

    /// The next line on stdout that is as wanted.
    fn await_line(&self, what: &str, is_wanted: impl Fn(&str) -> bool) -> String {
        Self::await_in(&self.lines, what, is_wanted)
    }

    /// The next line on stderr that is as wanted.
    fn await_error(&self, what: &str, is_wanted: impl Fn(&str) -> bool) -> String {
        Self::await_in(&self.errors, what, is_wanted)
    }

    fn await_in(lines: &mpsc::Receiver<String>, what: &str, is_wanted: impl Fn(&str) -> bool) -> String {
        loop {
            let line = lines.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("{what} did not come"));
            if is_wanted(&line) {
                return line;
            }
        }
    }

    /// Interrupts it as Ctrl-C does, and gives its exit code.
    fn interrupt(mut self) -> Option<i32> {
        let sent =
            Command::new("kill").args(["-INT", &self.child.id().to_string()]).status().expect("a signal is sent");
        assert!(sent.success());
        self.child.wait().expect("it ends").code()
    }
}

#[test]
fn what_is_watched_goes_on_when_the_agent_does_not_and_ends_well() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = format!("unix:{}", folder.path().join("api.sock").display());
    let launch = Launch::new(folder.path(), "one").with(&["--listen", "127.0.0.1:0", "--api", &socket]);
    let agent = launch.start();
    let status = Watching::start(&socket, &["status", "--watch", "--json"]);
    let nodes = Watching::start(&socket, &["nodes", "--watch"]);
    let document = |line: &str| serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    for _ in 0..2 {
        let line = status.await_line("a document a line", |_| true);
        assert_eq!(document(&line)["node"]["name"], "one");
    }
    let titles = nodes.await_line("titles", |line| line.contains("NODE") && line.contains("ROLES"));
    assert!(!titles.contains('\u{1b}'), "a pipe gets no escape sequences: {titles:?}");

    let launch = agent.kill();
    status.await_error("an error for scripts", |line| document(line)["error"]["code"] == "unreachable");
    nodes.await_error("an error for people", |line| line.starts_with("error: no agent answers"));
    // What was there before it went away is no news.
    let seen = status.lines.try_iter().chain(nodes.lines.try_iter()).count();
    let agent = launch.start();
    status.await_line("the agent again, and nothing else before", |line| {
        let document = document(line);
        assert!(document["error"].is_null(), "an error on stdout, after {seen} lines: {document:#}");
        document["node"]["id"] == agent.node().as_str()
    });
    nodes.await_line("the members again", |line| {
        assert!(!line.contains("error"), "an error on stdout: {line}");
        line.contains("alive")
    });
    assert_eq!((status.interrupt(), nodes.interrupt()), (Some(0), Some(0)));
}

#[test]
fn errors_are_one_document_for_scripts() {
    let run = |line: &[&str]| Command::new(binary()).args(line).stdin(Stdio::null()).output().expect("it runs");
    for (line, code, exit) in [
        (&["status", "--api", "unix:/nowhere/api.sock", "--json"][..], "unreachable", 3),
        (&["get", "counter/x", "--json"], "usage", 2),
        (&["get", "--json"], "usage", 2),
        (&["nothing-like-it", "--json"], "usage", 2),
        (&["top"], "", 2),
    ] {
        let output = run(line);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(exit), 0), "{line:?}: {stderr}");
        if code.is_empty() {
            assert!(stderr.contains("hint: "), "{line:?}: {stderr}");
            continue;
        }
        let document: Value =
            serde_json::from_str(&stderr).unwrap_or_else(|error| panic!("{line:?}: {error}: {stderr}"));
        assert_eq!(document["error"]["code"], code, "{document:#}");
        assert!(document["error"]["hint"].is_string(), "{line:?}: {document:#}");
    }
}
