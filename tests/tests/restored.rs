//! A data directory restored from a copy does not give the names of its forgotten commits to others.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use selvedge_tests::{Agent, Launch, eventually};

const PATIENCE: Duration = Duration::from_secs(30);

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
    one.write_names("before", 3);
    let (launch, _) = one.stop();
    copy(launch.data_dir(), &backup);

    let one = launch.start();
    let two = Launch::new(folder.path(), "two").joining(&[&one]).start();
    one.write_names("forgotten", 5);
    eventually("the other one has joined", PATIENCE, || (two.alive() == 2).then_some(()));
    converged(&two);
    let ((_, _), (launch, _)) = (two.stop(), one.stop());

    std::fs::remove_dir_all(launch.data_dir()).expect("our own folder can be removed");
    copy(&backup, launch.data_dir());
    let one = launch.start();
    one.write_names("alone", 4);
    let two = Launch::new(folder.path(), "two").joining(&[&one]).start();
    for agent in [&one, &two] {
        eventually("both are there", PATIENCE, || (agent.alive() == 2).then_some(()));
        converged(agent);
        assert_eq!(agent.names(), (Some(12), Some(12)));
    }
}
