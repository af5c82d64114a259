//! An agent whose database is destroyed, or its log bitten into, starts all the same and gets everything back from its peers.

use std::path::Path;
use std::time::Duration;

use selvedge_tests::{Launch, eventually};

const PATIENCE: Duration = Duration::from_secs(30);

fn destroy_database(data_dir: &Path) {
    std::fs::write(data_dir.join("state.redb"), vec![0x55; 100_000]).expect("our own file can be written");
}

/// Flips a bit in the middle of what the largest segment holds; the rest of its last page is zeros.
fn damage_log(data_dir: &Path) {
    let segments = std::fs::read_dir(data_dir.join("log")).expect("there is a log").filter_map(Result::ok);
    let largest = segments.max_by_key(|entry| entry.metadata().map_or(0, |metadata| metadata.len()));
    let path = largest.expect("there is a segment").path();
    let mut bytes = std::fs::read(&path).expect("a segment can be read");
    let middle = bytes.iter().rposition(|byte| *byte != 0).expect("the segment holds something") / 2;
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
        two.write_names("other", 3);
        one.write_names("before", 4);
        for agent in [&one, &two] {
            eventually("both have everything", PATIENCE, || (agent.names() == (Some(7), Some(7))).then_some(()));
        }
        let (launch, _) = one.stop();
        damage(launch.data_dir());
        // Where the others are was in the database too.
        let launch = two.listen().iter().fold(launch, |launch, address| launch.with(&["--bootstrap", address]));
        let one = launch.start();
        eventually("the damaged one is back", PATIENCE, || (one.alive() == 2).then_some(()));
        one.write_names("after", 2);
        for agent in [&one, &two] {
            eventually(name, PATIENCE, || (agent.names() == (Some(9), Some(9))).then_some(()));
        }
    }
}
