//! The one binary exists and answers. This test lives in the agent's own package so that testing the workspace builds the
//! binary that the end-to-end tests drive.

use std::process::Command;

#[test]
fn the_binary_knows_its_version() {
    let output = Command::new(env!("CARGO_BIN_EXE_selvedge")).arg("version").output().expect("the binary runs");
    assert!(output.status.success());
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains(env!("CARGO_PKG_VERSION")));
    let short = Command::new(env!("CARGO_BIN_EXE_selvedge")).arg("-V").output().expect("the binary runs");
    assert_eq!(said, String::from_utf8_lossy(&short.stdout), "the option and the command say the same");
}

#[test]
fn wrong_usage_is_exit_code_2() {
    let output = Command::new(env!("CARGO_BIN_EXE_selvedge")).arg("no-such-command").output().expect("the binary runs");
    assert_eq!(output.status.code(), Some(2));
}
