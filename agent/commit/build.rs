//! Asks git which commit is built, and whether the sources are as it has them.
//!
//! The invariants: a build without git, or outside of this repository, works and names no commit; this script runs again when
//! another commit is checked out or made and when a source changes. Otherwise it runs only when git packs its references or, on a
//! branch that is packed, notes anything about HEAD. Where that note (HEAD's reflog) is turned off, a commit on a packed branch is seen
//! with the next change of a source.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Digits of a commit's name: enough for any repository of this kind, and the same in every clone, which git's own choice is not.
const DIGITS: usize = 12;

/// What the binary is made of, from the root of the workspace. Whoever changes something else still builds the commit.
const SOURCES: [&str; 11] = [
    "agent/src",
    "agent/build.rs",
    "agent/Cargo.toml",
    "agent/commit",
    "sync/src",
    "sync/Cargo.toml",
    "workloads",
    "deploy/selvedge.toml",
    "Cargo.toml",
    "Cargo.lock",
    "rust-toolchain.toml",
];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR for build scripts");
    let root = Path::new(&manifest).ancestors().nth(2).expect("this package lies two levels below the root").to_owned();
    // Not empty: the sources lie in somebody else's repository, whose commits are not ours.
    if git(&root, &["rev-parse", "--show-prefix"]).as_deref() != Some("") {
        return;
    }
    let Some(commit) = git(&root, &["rev-parse", "HEAD"]) else { return };
    watch(&root);
    let mut status = vec!["--no-optional-locks", "status", "--porcelain", "--"];
    status.extend(SOURCES);
    let is_changed = git(&root, &status).is_some_and(|changes| !changes.is_empty());
    let short: String = commit.chars().take(DIGITS).collect();
    println!("cargo::rustc-env=SELVEDGE_BUILT_FROM={short}{}", if is_changed { "+dirty" } else { "" });
}

/// Runs again when HEAD moves, or a source changes: then the agent is built anyway.
fn watch(root: &Path) {
    let mut files: Vec<PathBuf> = SOURCES.iter().map(|source| root.join(source)).collect();
    // In a worktree these lie in two folders, and git knows which.
    let of_git = |name: &str| git(root, &["rev-parse", "--git-path", name]).map(|path| root.join(path));
    files.extend(of_git("HEAD"));
    if let Some(branch) = git(root, &["symbolic-ref", "--quiet", "HEAD"]) {
        let loose = of_git(&branch);
        if loose.as_ref().is_some_and(|file| file.is_file()) {
            files.extend(loose);
        } else {
            // The branch is packed. Its next commit makes a file that is not there yet, and the folder in which it will lie changes with
            // every other branch; the log of HEAD grows with what happens here.
            files.extend(of_git("packed-refs"));
            files.extend(of_git("logs/HEAD"));
        }
    }
    // A file that is not there would have this run at every build.
    for file in files.iter().filter(|file| file.exists()) {
        println!("cargo::rerun-if-changed={}", file.display());
    }
}

/// What git answers, without the line end; `None` where there is none or it refuses.
fn git(root: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").current_dir(root).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim_end().to_owned())
}
