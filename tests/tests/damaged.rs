//! An agent whose database is destroyed, or its log bitten into, starts all the same and gets everything back from its peers.

use std::path::Path;
use std::time::Duration;

use selvedge_tests::{Agent, Launch, eventually};
use serde_json::json;

const PATIENCE: Duration = Duration::from_secs(30);

fn write(agent: &Agent, name: &str, count: u64) {
    for number in 0..count {
        let member = format!("{name}-{number}");
        assert_eq!(agent.cli(&["put", "orset/names", "add", &member, "--durable"]).code, 0);
        assert_eq!(agent.cli(&["put", "gcounter/count", "increment", "1", "--durable"]).code, 0);
    }
}

fn destroy_database(data_dir: &Path) {
    std::fs::write(data_dir.join("state.redb"), vec![0x55; 100_000]).expect("our own file can be written");
}

/// Flips a bit in the middle of the largest segment.
fn damage_log(data_dir: &Path) {
    let segments = std::fs::read_dir(data_dir.join("log")).expect("there is a log").filter_map(Result::ok);
    let largest = segments.max_by_key(|entry| entry.metadata().map_or(0, |metadata| metadata.len()));
    let path = largest.expect("there is a segment").path();
    let mut bytes = std::fs::read(&path).expect("a segment can be read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    std::fs::write(&path, bytes).expect("a segment can be written");
}

#[test]
fn a_damaged_agent_is_mended_from_its_peers() {
    for (name, damage) in [("database", destroy_database as fn(&Path)), ("log", damage_log)] {
        let folder = tempfile::tempdir().expect("a folder");
        let one = Launch::new(folder.path(), "one").joining(&[]).start();
        let two = Launch::new(folder.path(), "two").joining(&[&one]).start();
        eventually("both are there", PATIENCE, || (one.alive() == 2).then_some(()));
        write(&two, "other", 3);
        write(&one, "before", 4);
        for agent in [&one, &two] {
            eventually("both have everything", PATIENCE, || {
                (agent.value("gcounter/count") == Some(json!(7))).then_some(())
            });
        }
        let (launch, _) = one.stop();
        damage(launch.data_dir());
        // Where the others are was in the database too.
        let launch = two.listen().iter().fold(launch, |launch, address| launch.with(&["--bootstrap", address]));
        let one = launch.start();
        eventually("the damaged one is back", PATIENCE, || (one.alive() == 2).then_some(()));
        write(&one, "after", 2);
        for agent in [&one, &two] {
            eventually(name, PATIENCE, || (agent.value("gcounter/count") == Some(json!(9))).then_some(()));
            let names = agent.value("orset/names").expect("was written");
            assert_eq!(names.as_array().map(Vec::len), Some(9), "{name}: {names}");
        }
    }
}
