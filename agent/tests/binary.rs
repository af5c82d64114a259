//! The one binary exists and answers. This test lives in the agent's own package so that testing the workspace builds the
//! binary that the end-to-end tests drive.

use std::process::Command;

#[test]
fn the_binary_knows_its_version() {
    let output = Command::new(env!("CARGO_BIN_EXE_selvedge")).arg("version").output().expect("the binary runs");
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains(env!("CARGO_PKG_VERSION")));
}

#[test]
fn wrong_usage_is_exit_code_2() {
    let output = Command::new(env!("CARGO_BIN_EXE_selvedge")).arg("no-such-command").output().expect("the binary runs");
    assert_eq!(output.status.code(), Some(2));
}
