use std::collections::BTreeSet;

use super::*;

fn args(name: &str, dir: &Path) -> NewArgs {
    NewArgs { name: name.to_owned(), dir: Some(dir.to_owned()), json: true }
}

/// Paths of the files below a folder.
fn listed(folder: &Path) -> BTreeSet<String> {
    let (mut found, mut folders) = (BTreeSet::new(), vec![folder.to_owned()]);
    while let Some(below) = folders.pop() {
        for entry in fs::read_dir(below).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.strip_prefix(folder).expect("below").display().to_string());
            }
        }
    }
    found
}

#[test]
fn a_project_is_written_whole_under_its_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let place = folder.path().join("games/loot-box");
    new(&args("loot-box", &place)).expect("made");
    let expect: BTreeSet<_> = files("loot-box").map(|(path, _)| path).collect();
    assert_eq!(listed(&place), expect);
    assert_eq!(listed(folder.path()).len(), expect.len(), "something was left beside it");
    let read = |path: &str| fs::read_to_string(place.join(path)).expect(path);
    assert!(read("Cargo.toml").contains("name = \"loot-box\""));
    assert!(read("README.md").contains("release/loot_box.wasm --name loot-box"));
    for path in &expect {
        let text = read(path);
        assert!(!text.contains("my-workload") && !text.contains("my_workload"), "{path}");
    }
}

#[test]
fn what_is_there_stays() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("loot");
    fs::write(&file, "mine").expect("written");
    let error = new(&args("loot", &file)).expect_err("taken");
    assert!(error.exit_code() == 1 && error.to_string().contains("exists already"), "{error}");
    assert_eq!(fs::read_to_string(&file).expect("there"), "mine");
    let below = file.join("below");
    let error = new(&args("loot", &below)).expect_err("no folder");
    assert!(error.changed().is_none(), "{error}");
}

#[test]
fn names_that_cargo_or_an_agent_would_refuse_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let place = folder.path().join("x");
    let long = "a".repeat(64);
    for name in
        ["", "Loot", "2loot", "-loot", "loot-", "lo--ot", "lo_ot", "lo/ot", "..", "fn", "test", "selvedge-sdk", &long]
    {
        let error = new(&args(name, &place)).expect_err(name);
        assert_eq!(error.exit_code(), 2, "{name}: {error}");
    }
    assert!(!place.exists());
    for name in ["a", "loot2", "loot-box-3", &long[1..]] {
        check_name(name).expect(name);
    }
}

#[test]
fn a_project_is_given_the_whole_sdk_and_the_bindings_of_this_release() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../workloads/sdk/src");
    let sources = listed(&sources).into_iter().map(|path| format!("vendor/selvedge-sdk/src/{path}"));
    let given: BTreeSet<_> = files("loot").map(|(path, _)| path).collect();
    let missing: Vec<_> = sources.filter(|path| !given.contains(path)).collect();
    assert!(missing.is_empty(), "{missing:?} are not in `FILES`");
    let ours = include_str!("../../../../Cargo.toml").lines().find(|line| line.starts_with("wit-bindgen = "));
    let manifest = files("loot").find(|(path, _)| path == "vendor/selvedge-sdk/Cargo.toml").expect("given").1;
    assert!(manifest.lines().any(|line| Some(line) == ours), "{ours:?} is not what the vendored SDK asks for");
}
