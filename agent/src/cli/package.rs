//! `completions`, and what a package holds beside the binary: manual pages, completions for shells, the workloads that ship.
//!
//! Owns where a distribution expects them. Makes them from the command line's own grammar, the example configuration and the binary's
//! own components, so that none of them can say something else than the binary does. Builds no package: `deploy/package` does.

mod manual;

use std::fs;
use std::io;
use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;

use super::args::{Cli, CompletionsArgs, PackageFilesArgs};
use super::error::CliError;
use super::output::print;

/// Where manual pages lie, by section, and where bash, zsh and fish look for what packages bring.
const MANUAL_PAGES: &str = "usr/share/man";
const BASH: &str = "usr/share/bash-completion/completions/selvedge";
const ZSH: &str = "usr/share/zsh/vendor-completions/_selvedge";
const FISH: &str = "usr/share/fish/vendor_completions.d/selvedge.fish";

/// Where the components of the shipped workloads lie, to be deployed from there.
const WORKLOADS: &str = "usr/share/selvedge/workloads";

/// Prints the completions for a shell.
///
/// # Errors
/// Standard output is closed or full.
pub(crate) fn completions(args: &CompletionsArgs) -> Result<(), CliError> {
    print(&completions_for(args.shell))
}

/// Writes all files below a package's root.
///
/// # Errors
/// The disk does not take them; some may have been written.
pub(crate) fn files(args: &PackageFilesArgs) -> Result<(), CliError> {
    for (path, shell) in [(BASH, Shell::Bash), (ZSH, Shell::Zsh), (FISH, Shell::Fish)] {
        write(&args.root.join(path), completions_for(shell).as_bytes())?;
    }
    for (name, section, page) in manual::pages(Cli::command()) {
        write(&args.root.join(format!("{MANUAL_PAGES}/man{section}/{name}.{section}")), page.as_bytes())?;
    }
    for (name, component) in crate::shipped::shipped() {
        write(&args.root.join(format!("{WORKLOADS}/{name}.wasm")), component)?;
    }
    Ok(())
}

fn completions_for(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut visible(), "selvedge", &mut script);
    String::from_utf8(script).expect("a script is text")
}

/// The grammar without what is not for people.
fn visible() -> clap::Command {
    let whole = Cli::command();
    let (name, about) = ("selvedge", whole.get_about().cloned().unwrap_or_default());
    let shown: Vec<_> = whole.get_subcommands().filter(|command| !command.is_hide_set()).cloned().collect();
    let version = env!("CARGO_PKG_VERSION");
    clap::Command::new(name).about(about).version(version).disable_help_subcommand(true).subcommands(shown)
}

fn write(path: &Path, content: &[u8]) -> Result<(), CliError> {
    let below = path.parent().expect("a file lies in a folder");
    let written: io::Result<()> = fs::create_dir_all(below).and_then(|()| fs::write(path, content));
    written.map_err(|error| CliError::Failed(format!("{}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_holds_pages_completions_and_workloads() {
        let root = tempfile::tempdir().expect("a folder");
        files(&PackageFilesArgs { root: root.path().to_owned() }).expect("are written");
        let read = |path: &str| fs::read(root.path().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        for command in visible().get_subcommands() {
            let name = command.get_name();
            let page = String::from_utf8(read(&format!("usr/share/man/man1/selvedge-{name}.1"))).expect("is text");
            assert!(page.contains(".SH SYNOPSIS"), "{name}: {page}");
        }
        for script in [BASH, ZSH, FISH] {
            let script = String::from_utf8(read(script)).expect("is text");
            assert!(script.contains("converged") && !script.contains("compile-component"), "{script}");
        }
        let names = crate::shipped::shipped().map(|(name, component)| {
            assert_eq!(read(&format!("{WORKLOADS}/{name}.wasm")), component);
            name
        });
        assert_eq!(fs::read_dir(root.path().join(WORKLOADS)).expect("is there").count(), names.len());
    }
}
