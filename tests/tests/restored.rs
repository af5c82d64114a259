//! A data directory restored from a copy does not give the names of its forgotten commits to others.

use std::path::Path;
use std::process::Command;
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

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").args([from, to]).status().expect("`cp` is there");
    assert!(status.success(), "{} could not be copied", from.display());
}

fn converged(agent: &Agent) {
    let output = agent.cli(&["converged", "--wait", "30s"]);
    assert_eq!(output.code, 0, "{}{}", output.stdout, output.stderr);
}

#[test]
fn what_was_written_before_and_after_a_restore_is_all_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let backup = folder.path().join("backup");
    let one = Launch::new(folder.path(), "one").joining(&[]).start();
    write(&one, "before", 3);
    let (launch, _) = one.stop();
    copy(launch.data_dir(), &backup);

    let one = launch.start();
    let two = Launch::new(folder.path(), "two").joining(&[&one]).start();
    write(&one, "forgotten", 5);
    eventually("the other one has joined", PATIENCE, || (two.alive() == 2).then_some(()));
    converged(&two);
    let ((_, _), (launch, _)) = (two.stop(), one.stop());

    std::fs::remove_dir_all(launch.data_dir()).expect("our own folder can be removed");
    copy(&backup, launch.data_dir());
    let one = launch.start();
    write(&one, "alone", 4);
    let two = Launch::new(folder.path(), "two").joining(&[&one]).start();
    for agent in [&one, &two] {
        eventually("both are there", PATIENCE, || (agent.alive() == 2).then_some(()));
        converged(agent);
        assert_eq!(agent.value("gcounter/count"), Some(json!(12)));
        let names = agent.value("orset/names").expect("was written");
        assert_eq!(names.as_array().map(Vec::len), Some(12), "{names}");
    }
}
