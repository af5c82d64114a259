//! Data that a later release has written: this one refuses it, says so, and leaves it as it was.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use redb::{Database, ReadableDatabase as _, TableDefinition};
use selvedge_tests::Launch;
use serde_json::json;

/// Where the store says in which format it is written: the one place that no release moves.
const FACTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("facts");
const FORMAT: &str = "format";

fn database(data_dir: &Path) -> Database {
    Database::open(data_dir.join("state.redb")).expect("the store's database opens")
}

fn format(data_dir: &Path) -> u32 {
    let store = database(data_dir);
    let facts = store.begin_read().expect("begins");
    let facts = facts.open_table(FACTS).expect("there are facts");
    let row = facts.get(FORMAT).expect("readable").expect("every store says its format");
    u32::from_le_bytes(row.value().try_into().expect("four bytes"))
}

fn set_format(data_dir: &Path, format: u32) {
    let store = database(data_dir);
    let write = store.begin_write().expect("begins");
    let mut facts = write.open_table(FACTS).expect("there are facts");
    facts.insert(FORMAT, format.to_le_bytes().as_slice()).expect("writes");
    drop(facts);
    write.commit().expect("commits");
}

fn files(folder: &Path) -> BTreeSet<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { BTreeSet::from([path]) }).collect()
}

#[test]
fn data_of_a_later_release_is_refused_and_still_there_when_that_release_is_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let agent = Launch::new(folder.path(), "one").joining(&[]).start();
    agent.write_names("kept", 3);
    let (root, (launch, _)) = (agent.root(), agent.stop());
    let data_dir = launch.data_dir().to_owned();
    let present = format(&data_dir);
    set_format(&data_dir, present + 1);
    let before = files(&data_dir);

    let ended = launch.run_to_end();
    assert_ne!(ended.code, 0, "{ended:?}");
    let said = format!("written in format {} and this release reads up to {present}", present + 1);
    assert!(ended.stderr.contains(&said) && ended.stderr.contains("run the newer release"), "{ended:?}");
    assert_eq!(files(&data_dir), before, "no file came or went");
    assert_eq!(format(&data_dir), present + 1);

    // As if the later release were back.
    set_format(&data_dir, present);
    let agent = launch.start();
    assert_eq!((agent.names(), agent.root()), ((Some(3), Some(3)), root));
    assert_eq!(agent.value("gcounter/count"), Some(json!(3)));
}
