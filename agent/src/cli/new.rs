//! `new`: a project for a workload that builds, tests and deploys as it stands.
//!
//! Owns the rules for a project's name, and writes it out; what it consists of is in `files`. Builds nothing. The
//! invariant: the project appears whole or not at all, and nothing that lay there before is touched.

mod files;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::json;

use self::files::files;
use super::args::NewArgs;
use super::error::CliError;
use super::output::print_either;
use crate::spec::NAME_BYTES_MAX;

/// What Rust keeps for itself, and packages that a workload depends on: cargo takes none of these as a name.
const TAKEN: &[&str] = &[
    "abstract",
    "alloc",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "const",
    "continue",
    "core",
    "crate",
    "do",
    "dyn",
    "else",
    "enum",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "gen",
    "if",
    "impl",
    "in",
    "let",
    "loop",
    "macro",
    "match",
    "mod",
    "move",
    "mut",
    "override",
    "priv",
    "proc-macro",
    "pub",
    "ref",
    "return",
    "selvedge-sdk",
    "self",
    "static",
    "std",
    "struct",
    "super",
    "test",
    "trait",
    "true",
    "try",
    "type",
    "typeof",
    "unsafe",
    "unsized",
    "use",
    "virtual",
    "where",
    "while",
    "wit-bindgen",
    "yield",
];

/// Writes a new project.
///
/// # Errors
/// The name names no package, something lies in its place, or the disk does not take it; then nothing was written.
pub(crate) fn new(args: &NewArgs) -> Result<(), CliError> {
    check_name(&args.name)?;
    let folder = args.dir.clone().unwrap_or_else(|| PathBuf::from(&args.name));
    write(&folder, &args.name)?;
    let json =
        json!({"name": args.name, "dir": folder, "files": files(&args.name).map(|(path, _)| path).collect::<Vec<_>>()});
    print_either(args.json, &json, |_| told(&folder, &args.name))
}

fn told(folder: &Path, name: &str) -> String {
    let (folder, module) = (folder.display(), name.replace('-', "_"));
    format!(
        "made {name} in {folder}\n\n  cd {folder}\n  cargo test\n  cargo build --release --target wasm32-wasip2\n  selvedge deploy \
         target/wasm32-wasip2/release/{module}.wasm --name {name}\n\nREADME.md says what lies where."
    )
}

fn check_name(name: &str) -> Result<(), CliError> {
    let plain =
        |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    if name.len() > NAME_BYTES_MAX || !name.starts_with(|c: char| c.is_ascii_lowercase()) || !name.split('-').all(plain)
    {
        return Err(CliError::Usage(format!(
            "`{name}` cannot name a workload's project: write a-z, 0-9 and single hyphens, {NAME_BYTES_MAX} at most, beginning with a letter"
        )));
    }
    if TAKEN.contains(&name) {
        return Err(CliError::Usage(format!("`{name}` cannot name a project: Rust has another use for it")));
    }
    Ok(())
}

/// Writes the project beside its place and moves it there, so that nobody finds half of one.
fn write(folder: &Path, name: &str) -> Result<(), CliError> {
    let cannot = |what: &Path, error: &io::Error| CliError::Failed(format!("{}: {error}", what.display()));
    let taken = || {
        let place = folder.display();
        CliError::Failed(format!(
            "{place} exists already and was not touched\n  hint: choose another name, or another place with --dir"
        ))
    };
    if fs::symlink_metadata(folder).is_ok() {
        return Err(taken());
    }
    let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(|error| cannot(parent, &error))?;
    let beside = tempfile::Builder::new().prefix(".selvedge-new-").tempdir_in(parent);
    let beside = beside.map_err(|error| cannot(parent, &error))?;
    let whole = beside.path().join(name);
    for (path, text) in files(name) {
        let file = whole.join(&path);
        let below = file.parent().expect("a file lies in a folder");
        fs::create_dir_all(below)
            .and_then(|()| fs::write(&file, text))
            .map_err(|error| cannot(&folder.join(path), &error))?;
    }
    fs::rename(&whole, folder).map_err(|error| match error.kind() {
        io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => taken(),
        _ => cannot(folder, &error),
    })
}

#[cfg(test)]
mod tests;
