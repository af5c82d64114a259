//! A data directory that is taken away under the agent: it says so, acknowledges nothing more, and goes on when it is put back.

use std::fs;
use std::path::Path;
use std::time::Duration;

use selvedge_tests::http::{Answer, exchange};
use selvedge_tests::{Agent, Launch, eventually};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(30);

/// An agent whose token is known without its directory.
struct Writing {
    agent: Agent,
    token: String,
}

impl Writing {
    fn start(launch: Launch) -> Self {
        let agent = launch.start();
        let token = fs::read_to_string(agent.data_dir().join("api-token")).expect("a token");
        Self { agent, token }
    }

    fn ask(&self, method: &str, path: &str, body: &[u8]) -> Answer {
        let address = self.agent.api();
        let address = address.strip_prefix("http://").expect("an address over TCP");
        exchange(address, method, path, &format!("Authorization: Bearer {}\r\n", self.token.trim()), body)
    }

    /// Counts one, and says whether that was acknowledged as durable.
    fn count(&self) -> bool {
        self.ask("POST", "/v1/state/gcounter/count?durable=true", b"{\"increment\": 1}").status == 200
    }

    /// Waits until health says that the directory is away, and that nothing is taken.
    fn misses_it(&self) {
        eventually("health says it", PATIENCE, || {
            let health = self.ask("GET", "/healthz", b"");
            let said = String::from_utf8_lossy(&health.body).contains(
                "read-only: the data directory was taken away: what is written now would not outlast a restart",
            );
            (health.status == 503 && said).then_some(())
        });
        let refused = self.ask("POST", "/v1/state/gcounter/count", b"{\"increment\": 1}");
        let refused: Value = serde_json::from_slice(&refused.body).expect("JSON");
        assert!(refused["error"]["code"] == "read_only" && refused.to_string().contains("taken away"), "{refused}");
    }
}

fn check_gone(take_away: impl FnOnce(&Path)) {
    let folder = tempfile::tempdir().expect("a folder");
    let host = Writing::start(Launch::new(folder.path(), "host").joining(&[]));
    assert!(host.count());
    take_away(host.agent.data_dir());
    // Nobody writes: it is noticed all the same.
    host.misses_it();
    assert!(!host.count(), "a write was called durable that is nowhere");
    let found = host.agent.cli(&["doctor", "--data-dir", &host.agent.data_dir().to_string_lossy()]);
    assert!(found.stdout.contains("is not the data directory that it has opened"), "{}", found.stdout);
    assert!(!found.stdout.contains("selvedge init"), "it has one: {}", found.stdout);
    let log = host.agent.log();
    let (launch, code) = host.agent.stop();
    assert!(code.is_some_and(|code| code != 0), "{code:?}: {log}");
    assert!(!launch.data_dir().join("state.redb").exists(), "nothing was begun in its place");
}

#[test]
fn a_directory_that_is_removed_is_missed_and_no_stop_is_in_order() {
    check_gone(|dir| fs::remove_dir_all(dir).expect("removes"));
}

#[test]
fn a_directory_that_is_replaced_is_left_alone() {
    check_gone(|dir| {
        fs::rename(dir, dir.with_extension("away")).expect("renames");
        fs::create_dir(dir).expect("puts another there");
    });
}

#[test]
fn a_directory_that_is_put_back_holds_all_that_was_acknowledged() {
    let folder = tempfile::tempdir().expect("a folder");
    let host = Writing::start(Launch::new(folder.path(), "host").joining(&[]));
    let mut acknowledged = 0;
    for _ in 0..20 {
        acknowledged += u64::from(host.count());
    }
    assert_eq!(acknowledged, 20);
    let (here, away) = (host.agent.data_dir().to_owned(), folder.path().join("away"));
    fs::rename(&here, &away).expect("renames");
    // At once, before anybody could have looked: each write is confirmed only where a restart would find it.
    assert!(!host.count(), "a write was called durable in a directory that is away");
    host.misses_it();
    fs::rename(&away, &here).expect("puts it back");
    eventually("writes are taken again", PATIENCE, || host.count().then_some(()));
    let agent = host.agent.kill().start();
    // And the one that was applied before the directory was missed, which became durable when it was back.
    assert_eq!(agent.value("gcounter/count"), Some(json!(acknowledged + 2)));
}
