//! Guests from source, as their writers build them.
//!
//! Owns the nested runs of cargo; deploys nothing. The invariants: nothing of the outer build's settings reaches a guest, and
//! guests of a workspace share one target directory with those that ship.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use crate::skip::skip;

/// The target of guests in Rust whose build is to leave a component.
const TARGET: &str = "wasm32-wasip2";

/// The repository.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

/// Where guests are built: beside the profile's folder of the binary under test, where its build script builds those that ship.
#[must_use]
pub fn target_dir() -> PathBuf {
    let binary = crate::agent::binary();
    binary.parent().and_then(Path::parent).expect("a binary lies in a profile's folder").join("guests")
}

/// Cargo, in a folder, without what an outer cargo has set for its own build.
#[must_use]
pub fn cargo(folder: &Path) -> Command {
    let mut cargo = Command::new(option_env!("CARGO").unwrap_or("cargo"));
    cargo.current_dir(folder);
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        let kept = ["CARGO_HOME", "CARGO_TERM_COLOR", "CARGO_NET_OFFLINE"].contains(&&*name);
        if !kept && (name.starts_with("CARGO") || name.contains("RUSTFLAGS") || name.contains("RUSTC_")) {
            cargo.env_remove(&*name);
        }
    }
    // A project may ask for another toolchain; here it gets the one that the tests were built with.
    if let Some(toolchain) = option_env!("RUSTUP_TOOLCHAIN") {
        cargo.env("RUSTUP_TOOLCHAIN", toolchain);
    }
    cargo
}

/// Whether guests can be built here: adds their target to the toolchain if it is missing, and says so if that does not work.
#[must_use]
pub fn can_be_built() -> bool {
    let is_there = || {
        let mut rustc = Command::new(option_env!("RUSTC").unwrap_or("rustc"));
        rustc.current_dir(root()).args(["--print", "target-libdir", "--target", TARGET]);
        let output = rustc.output().ok().filter(|output| output.status.success());
        let folder = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
        folder.is_some_and(|folder| std::fs::read_dir(folder).is_ok_and(|mut files| files.next().is_some()))
    };
    if is_there() {
        return true;
    }
    let added = Command::new("rustup").current_dir(root()).args(["target", "add", TARGET]).status();
    let can = added.is_ok_and(|status| status.success()) && is_there();
    if !can {
        skip("guests", &format!("{TARGET} is not installed, and cannot be: rustup target add {TARGET}"));
    }
    can
}

/// The component of a package of the workspace.
///
/// # Panics
/// It does not build.
#[must_use]
pub fn component(package: &str) -> Arc<[u8]> {
    let mut cargo = cargo(&root());
    cargo
        .args(["build", "--locked", "--release", "--target", TARGET, "--package", package, "--target-dir"])
        .arg(target_dir());
    run(&mut cargo);
    let wasm = target_dir().join(TARGET).join("release").join(format!("{}.wasm", package.replace('-', "_")));
    std::fs::read(wasm).expect("cargo has left a component").into()
}

/// Runs a command to its end.
///
/// # Panics
/// It fails; then what it printed is shown.
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?} failed:\n{out}\n{err}");
    out.into_owned()
}

/// Whether a command can be found; says so if not, since whoever asks then skips its test.
#[must_use]
pub fn is_there(command: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|folder| folder.join(command).exists());
    if !found {
        skip(command, "there is no such command on this machine");
    }
    found
}
