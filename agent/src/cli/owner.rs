//! As whom `init` and `join` write: as the account that the data directory belongs to.
//!
//! Root that keeps keys in another account's directory leaves files that the agent cannot read, and follows whatever links that account has
//! put there. The invariant: before anything in the directory is looked at, this process has no more rights than its owner.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use super::error::CliError;

/// Where this process and its program are to be found.
const THIS_PROCESS: &str = "/proc/self";
const THIS_PROGRAM: &str = "/proc/self/exe";

const ROOT: u32 = 0;

/// Goes on as the owner of `data_dir` where this is root and the directory somebody else's, as the package's is; begins this command anew for
/// that. Otherwise does nothing: whoever may not write there is told when it tries.
///
/// # Errors
/// The system does not let this program be run as that account. Nothing was changed.
pub(crate) fn become_owner_of(data_dir: &Path) -> Result<(), CliError> {
    let is_root = fs::metadata(THIS_PROCESS).is_ok_and(|own| own.uid() == ROOT);
    let Some(owner) = fs::metadata(data_dir).ok().filter(|owner| is_root && owner.uid() != ROOT) else { return Ok(()) };
    let mut line = std::env::args_os();
    let mut command = Command::new(THIS_PROGRAM);
    if let Some(name) = line.next() {
        command.arg0(name);
    }
    // The account's groups go with root's: nothing in a data directory is a group's.
    let error = command.args(line).uid(owner.uid()).gid(owner.gid()).exec();
    let (path, uid) = (data_dir.display(), owner.uid());
    Err(CliError::Failed(format!(
        "{path} belongs to the account {uid}, and this command cannot go on as it: {error}\n  hint: run it as that account"
    )))
}
