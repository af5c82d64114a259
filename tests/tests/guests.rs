//! Workloads as their writers make them: from `selvedge new` to a call, and in languages other than Rust.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use selvedge_tests::{Agent, Launch, guest};
use serde_json::{Value, json};

/// The commands in a text's first block for a shell, and in those after it.
fn commands(text: &str) -> Vec<Vec<String>> {
    let blocks = text.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap_or(rest));
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect();
    blocks.flat_map(str::lines).map(words).collect()
}

/// Does what a reader would type, in `folder` and below. Gives what the commands printed.
fn follow(commands: &[Vec<String>], folder: &Path, agent: &Agent) -> Vec<String> {
    let mut here = folder.to_owned();
    let mut printed = Vec::new();
    for command in commands {
        let words: Vec<_> = command.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["cd", below] => here.push(below),
            ["cargo", rest @ ..] => printed.push(guest::run(guest::cargo(&here).args(rest))),
            ["selvedge", rest @ ..] => {
                let done = agent.cli_in(&here, rest);
                assert_eq!(done.code, 0, "{words:?}: {}{}\n{}", done.stdout, done.stderr, agent.log());
                printed.push(done.stdout);
                if rest.first() == Some(&"new") {
                    prepare(&here.join(rest[1]));
                }
            }
            other => panic!("nobody can type {other:?}"),
        }
    }
    printed
}

/// Has a new project build where guests are built already, with the versions that this repository has: no network is needed.
fn prepare(project: &Path) {
    let target = guest::target_dir().join("new");
    fs::create_dir_all(&target).expect("a folder to build in");
    symlink(target, project.join("target")).expect("a link");
    fs::copy(guest::root().join("Cargo.lock"), project.join("Cargo.lock")).expect("a lock file");
}

#[test]
fn a_new_project_builds_tests_and_deploys_as_the_page_says() {
    if !guest::can_be_built() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let agent = Launch::new(folder.path(), "one").start();
    let page = fs::read_to_string(guest::root().join("docs/workloads.md")).expect("a page");
    let commands = commands(&page);
    let printed = follow(&commands, folder.path(), &agent);
    let told = printed.join("\n");
    assert!(told.contains("test result: ok. 2 passed"), "{told}");
    assert_eq!(agent.value("gcounter/score:7"), Some(json!(10)), "{told}");

    let refused = agent.cli(&["call", "loot", "score", "7", "1001"]);
    assert!(refused.code == 1 && refused.stderr.contains("points"), "{}", refused.stderr);
    assert_eq!(agent.value("gcounter/score:7"), Some(json!(10)));

    // What the project's own page says is what was done, but for the start.
    let own = fs::read_to_string(folder.path().join("loot/README.md")).expect("a page");
    assert_eq!(self::commands(&own), commands[2..]);
    let again = agent.cli_in(folder.path(), &["new", "loot"]);
    assert!(again.code == 1 && again.stderr.contains("exists already"), "{}", again.stderr);
}

/// Deploys `kills.wasm` and holds it to what the world `kills` is for.
fn count_kills(wasm: &Path) {
    let folder = tempfile::tempdir().expect("a folder");
    let agent = Launch::new(folder.path(), "one").start();
    let wasm = wasm.to_str().expect("a path in UTF-8");
    let done = agent.cli(&["deploy", wasm, "--name", "kills", "--deadline", "1s", "--timeout", "5m"]);
    assert_eq!(done.code, 0, "{}{}\n{}", done.stdout, done.stderr, agent.log());
    let kill = |killer: &str, weapon: &str| json!({"killer": killer, "victim": 2, "weapon": weapon});
    let call = |kills: &Value| agent.json(&["call", "kills", "count", &kills.to_string()]);
    let large = u64::MAX.to_string();
    let first = call(&json!([kill("1", "bow"), kill(&large, "grüße"), kill("1", "axe")]));
    let standing = |answer: &Value| -> Vec<(u64, u64)> {
        let one = |standing: &Value| {
            (standing["player"].as_u64().expect("a player"), standing["kills"].as_u64().expect("kills"))
        };
        answer.as_array().expect("a list").iter().map(one).collect()
    };
    assert_eq!(standing(&first), [(1, 1), (u64::MAX, 1), (1, 2)], "{first}");
    assert_ne!(first[0]["luck"], first[1]["luck"], "{first}");
    assert_eq!(standing(&call(&json!([kill("1", "bow")]))), [(1, 3)]);
    assert_eq!(agent.value("gcounter/kills:1"), Some(json!(3)));
    let last = agent.value("lwwmap/death:2").expect("it was written");
    assert!(last["by"] == 1 && last["weapon"] == "bow" && last["at_ms"].as_u64().is_some_and(|ms| ms > 0), "{last}");

    let refused = agent.cli(&["call", "kills", "count", &json!([kill("1", "bow"), kill("1", "")]).to_string()]);
    assert!(refused.code == 1 && refused.stderr.contains("kills[1].weapon"), "{}", refused.stderr);
    assert_eq!(agent.value("gcounter/kills:1"), Some(json!(3)), "a call that failed has written");
}

fn built(language: &str, folder: &Path) -> std::path::PathBuf {
    let wasm = folder.join("kills.wasm");
    guest::run(Command::new(guest::root().join("workloads/examples").join(language).join("build")).arg(&wasm));
    wasm
}

#[test]
fn a_workload_in_c_is_a_workload() {
    if !["clang", "wasm-ld", "wit-bindgen"].into_iter().all(guest::is_there) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    count_kills(&built("c", folder.path()));
}

#[test]
#[ignore = "an agent compiles SpiderMonkey, which takes a minute where others compile too: cargo test --test guests -- --ignored"]
fn a_workload_in_javascript_is_a_workload() {
    if !guest::is_there("componentize-js") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    count_kills(&built("js", folder.path()));
}
