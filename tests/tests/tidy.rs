//! The rules of the house, as a test: which module may import which, how files begin, how long they are, and that what
//! `README.md` tells a reader to type exists.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Lines above which a file has outgrown its one purpose.
const FILE_LINES_MAX: usize = 500;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

fn sources(folder: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of ours can be listed") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                if path.file_name().is_none_or(|name| name != "target") {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root()).expect("below the root").to_string_lossy().into_owned();
                found.insert(name, fs::read_to_string(&path).expect("source is text"));
            }
        }
    }
    assert!(!found.is_empty(), "no sources below {folder}");
    found
}

/// The part of a file that is product code.
fn product(source: &str) -> &str {
    source.split("#[cfg(test)]\nmod tests").next().unwrap_or(source)
}

fn is_test(name: &str) -> bool {
    name.contains("/tests") || name.ends_with("/laws.rs") || name.contains("fake")
}

/// The module that a file of a crate belongs to: its first name below `src/`.
fn module<'a>(name: &'a str, package: &str) -> &'a str {
    let below = name.strip_prefix(package).and_then(|name| name.strip_prefix("/src/")).unwrap_or(name);
    below.split('/').next().unwrap_or(below).trim_end_matches(".rs")
}

#[test]
fn every_file_says_what_it_owns_and_stays_readable() {
    let mut faults = Vec::new();
    for folder in ["sync", "agent", "workloads", "tests"] {
        for (name, source) in sources(folder) {
            let lines = source.lines().count();
            if lines > FILE_LINES_MAX {
                faults.push(format!("{name}: {lines} lines; find the seam"));
            }
            if name.contains("/src/") && !name.ends_with("tests.rs") && !source.starts_with("//!") {
                faults.push(format!("{name}: does not begin with `//!`"));
            }
            if name.ends_with("/mod.rs") {
                faults.push(format!("{name}: write foo.rs beside foo/"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_engine_depends_downwards_and_on_no_world() {
    const RANK: &[&[&str]] = &[
        &["id", "hlc", "key", "scalar", "causal", "limits", "planted", "time"],
        &["crdt", "seal"],
        &["codec"],
        &["commit", "change"],
        &["draft", "log", "broadcast"],
        &["state"],
        &["replica"],
        &["sim"],
    ];
    let rank = |module: &str| RANK.iter().position(|names| names.contains(&module));
    let mut faults = Vec::new();
    for (name, source) in sources("sync/src") {
        let from = module(&name, "sync");
        if from == "lib" || is_test(&name) {
            continue;
        }
        let Some(own) = rank(from) else {
            faults.push(format!("{name}: `{from}` has no place in the order of modules"));
            continue;
        };
        for line in product(&source).lines().filter(|line| !line.trim_start().starts_with("//")) {
            for (_, rest) in line.match_indices("crate::").map(|(at, found)| (at, &line[at + found.len()..])) {
                let to: String = rest.chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect();
                if to != from && rank(&to).is_none_or(|to| to > own) {
                    faults.push(format!("{name}: imports upwards: crate::{to}"));
                }
            }
            for world in [
                "std::fs",
                "std::net",
                "std::thread",
                "Instant::now",
                "SystemTime::now",
                "HashMap",
                "tokio",
                "selvedge::",
            ] {
                if line.contains(world) {
                    faults.push(format!("{name}: {world} does not belong into the pure engine"));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_parts_of_the_agent_meet_only_in_the_composition_root() {
    const APART: [&str; 4] = ["net", "store", "wasm", "api"];
    const HOMES: &[(&str, &str)] = &[
        ("libp2p::", "net"),
        ("wasmtime::", "wasm"),
        ("redb::", "store"),
        ("axum::", "api"),
        ("sysinfo::", "resources"),
        ("foca::", "members"),
        ("ratatui::", "top"),
    ];
    const PURE: [&str; 5] = ["placement", "reconcile", "rollout", "routing", "spec"];
    let mut faults = Vec::new();
    for (name, source) in sources("agent/src") {
        let from = module(&name, "agent");
        for line in product(&source).lines().filter(|line| !line.trim_start().starts_with("//")) {
            for other in APART.iter().filter(|other| APART.contains(&from) && **other != from) {
                if line.contains(&format!("crate::{other}::")) || line.contains(&format!("crate::{other};")) {
                    faults.push(format!("{name}: `{from}` imports `{other}`"));
                }
            }
            for (package, home) in HOMES {
                if line.contains(package) && from != *home {
                    faults.push(format!("{name}: {package} stays in `{home}`"));
                }
            }
            if PURE.contains(&from) && !is_test(&name) {
                for world in
                    ["tokio::", "std::fs", "Instant::now", "SystemTime", "crate::net", "crate::store", "crate::wasm"]
                {
                    if line.contains(world) {
                        faults.push(format!("{name}: {world} in a pure module"));
                    }
                }
            }
            if line.contains("unbounded_channel") {
                faults.push(format!("{name}: an unbounded channel"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_readme_names_commands_that_exist() {
    let readme = fs::read_to_string(root().join("README.md")).expect("there is a README");
    let help =
        std::process::Command::new(selvedge_tests::agent::binary()).arg("--help").output().expect("help is printed");
    let help = String::from_utf8_lossy(&help.stdout);
    let known: Vec<&str> = help.lines().filter_map(|line| line.strip_prefix("  ")?.split_whitespace().next()).collect();
    let mut seen = 0;
    for (at, found) in readme.match_indices("selvedge ") {
        let before = readme[..at].chars().next_back();
        let word: String = readme[at + found.len()..]
            .chars()
            .take_while(|letter| letter.is_ascii_lowercase() || *letter == '-')
            .collect();
        if before == Some('`') || before == Some('\n') {
            assert!(known.contains(&word.as_str()), "README.md names `selvedge {word}`; there are {known:?}");
            seen += 1;
        }
    }
    assert!(seen > 5, "the README shows {seen} commands");
    for command in ["cargo run --release -- demo", "cargo test --workspace --release"] {
        assert!(
            readme.lines().any(|line| line == command),
            "the README does not show `{command}` on a line of its own"
        );
    }
}

#[test]
fn the_package_is_as_large_as_its_page_says() {
    let read = |name: &str| fs::read_to_string(root().join(name)).expect("is there");
    let (script, page) = (read("deploy/package"), read("docs/package.md"));
    let bound = |name: &str| {
        let line = script.lines().find_map(|line| line.strip_prefix(name)).expect("the script has bounds");
        line.trim_start_matches('=').to_owned()
    };
    let (binary, package) = (bound("BINARY_MIB_MAX"), bound("PACKAGE_MIB_MAX"));
    for said in [
        format!("the binary, at most {binary} MiB"),
        format!("when the binary is larger than {binary} MiB or the package than {package} MiB"),
    ] {
        assert!(page.contains(&said), "docs/package.md does not say `{said}`");
    }
    // A size that is only hoped for is a bound that nobody holds.
    let exempt = read(".ci/run").contains("--any-size");
    assert!(!exempt, ".ci/run packs a binary of any size");
}

#[test]
fn the_map_names_every_module() {
    let map = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("there is a map");
    for (folder, package) in [("sync/src", "sync"), ("agent/src", "agent")] {
        for name in sources(folder).keys() {
            let module = module(name, package);
            if !["lib", "main"].contains(&module) {
                assert!(
                    map.contains(&format!("`{module}`")),
                    "ARCHITECTURE.md does not speak of `{module}` in {package}"
                );
            }
        }
    }
}
