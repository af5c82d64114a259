//! Builds the workloads that ship with the agent: guest crates → core modules → components, from source.
//!
//! Owns the nested cargo run for `wasm32-unknown-unknown`; `src/shipped.rs` embeds what it leaves in `OUT_DIR`. The
//! guests share one target directory whatever the profile of the agent, so they are built once for `build`, `test` and
//! `clippy`. The invariant: nothing prebuilt, and nothing of the outer build's flags reaches the guests.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// Package and component name of each shipped workload.
const WORKLOADS: [(&str, &str); 5] = [
    ("selvedge-combat", "combat"),
    ("selvedge-prediction", "prediction"),
    ("selvedge-asset-preload", "asset-preload"),
    ("selvedge-anti-cheat", "anti-cheat"),
    ("selvedge-chat-moderation", "chat-moderation"),
];

/// A core module for no particular host: no WASI import can sneak in.
const TARGET: &str = "wasm32-unknown-unknown";

/// What cargo tells a build script about the *agent's* compilation and what must not leak into the guests': a flag for
/// the host's CPU would break them, and clippy's wrapper would check them without producing anything.
const NOT_FOR_GUESTS: [&str; 6] = [
    "RUSTFLAGS",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
    "RUSTC_WRAPPER",
    "RUSTC_WORKSPACE_WRAPPER",
    "CARGO_BUILD_RUSTFLAGS",
];

/// The guests' profile. Stripping symbols too would take the section that describes the component's types along.
const GUEST_PROFILE: [(&str, &str); 5] = [
    ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "3"),
    ("CARGO_PROFILE_RELEASE_LTO", "true"),
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1"),
    ("CARGO_PROFILE_RELEASE_PANIC", "abort"),
    ("CARGO_PROFILE_RELEASE_STRIP", "debuginfo"),
];

fn main() {
    let manifest_dir = PathBuf::from(variable("CARGO_MANIFEST_DIR"));
    let out_dir = PathBuf::from(variable("OUT_DIR"));
    let workspace = manifest_dir.parent().expect("the agent lies in the workspace's root").to_path_buf();
    watch(&workspace);
    ensure_target();
    let guests = guest_target_dir(&out_dir);
    build(&workspace, &guests);
    for (package, name) in WORKLOADS {
        let module = guests.join(TARGET).join("release").join(format!("{}.wasm", package.replace('-', "_")));
        fs::write(out_dir.join(format!("{name}.wasm")), component(&module)).expect("OUT_DIR takes a file");
    }
}

/// Rebuild when what the guests are made of changes, and not otherwise.
fn watch(workspace: &Path) {
    println!("cargo::rerun-if-changed=build.rs");
    for file in ["Cargo.toml", "Cargo.lock", "rust-toolchain.toml"] {
        println!("cargo::rerun-if-changed={}", workspace.join(file).display());
    }
    let workloads = workspace.join("workloads");
    println!("cargo::rerun-if-changed={}", workloads.join("wit").display());
    for package in ["sdk"].into_iter().chain(WORKLOADS.map(|(_, name)| name)) {
        println!("cargo::rerun-if-changed={}", workloads.join(package).display());
    }
}

/// `<target>/guests`, found from OUT_DIR = `<target>/<profile>/build/<package>-<hash>/out`.
fn guest_target_dir(out_dir: &Path) -> PathBuf {
    out_dir.ancestors().nth(4).expect("OUT_DIR lies four levels below the target directory").join("guests")
}

/// Adds the wasm target to the toolchain if it is missing.
fn ensure_target() {
    if target_is_installed() {
        return;
    }
    let toolchain = env::var("RUSTUP_TOOLCHAIN").ok();
    let mut rustup = Command::new("rustup");
    rustup.args(["target", "add", TARGET]);
    if let Some(toolchain) = &toolchain {
        rustup.args(["--toolchain", toolchain]);
    }
    let added = rustup.status().is_ok_and(|status| status.success());
    assert!(
        added && target_is_installed(),
        "the workloads need the Rust target {TARGET}, and it could not be added. Please run: rustup target add {TARGET}{}",
        toolchain.map(|name| format!(" --toolchain {name}")).unwrap_or_default(),
    );
}

fn target_is_installed() -> bool {
    let output = Command::new(variable("RUSTC")).args(["--print", "target-libdir", "--target", TARGET]).output();
    output.is_ok_and(|output| {
        let libdir = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        output.status.success() && fs::read_dir(libdir).is_ok_and(|mut files| files.next().is_some())
    })
}

fn build(workspace: &Path, target_dir: &Path) {
    let mut cargo = Command::new(variable("CARGO"));
    cargo.current_dir(workspace).args(["build", "--release", "--target", TARGET, "--target-dir"]).arg(target_dir);
    for (package, _) in WORKLOADS {
        cargo.args(["--package", package]);
    }
    // The outer build has just settled the lock file; without one (a fresh checkout's first build) cargo writes it.
    if workspace.join("Cargo.lock").exists() {
        cargo.arg("--locked");
    }
    for name in NOT_FOR_GUESTS {
        cargo.env_remove(name);
    }
    // Cargo describes the agent to this script in variables; a nested cargo would take some of them for its own settings.
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_FEATURE_") || text.starts_with("CARGO_CFG_") || text.starts_with("CARGO_PROFILE_") {
            cargo.env_remove(&name);
        }
    }
    cargo.envs(GUEST_PROFILE);
    let status = cargo.status().expect("cargo runs");
    assert!(status.success(), "the workloads did not build; the compiler's message is above");
}

fn component(module: &Path) -> Vec<u8> {
    let bytes = fs::read(module).unwrap_or_else(|error| panic!("{}: {error}", module.display()));
    wit_component::ComponentEncoder::default()
        .module(&bytes)
        .and_then(|encoder| encoder.validate(true).encode())
        .unwrap_or_else(|error| panic!("{} does not make a component: {error:#}", module.display()))
}

fn variable(name: &str) -> OsString {
    env::var_os(name).unwrap_or_else(|| panic!("cargo sets {name} for build scripts"))
}
