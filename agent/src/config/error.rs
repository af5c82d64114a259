//! What is wrong with a configuration, where it stands, and what would be right.
//!
//! Owns the errors of loading. The invariant: every message names the file or the origin, the key, and what is allowed.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::cluster::FolderError;

/// Why there is no configuration. The operator's to mend, unless it [may pass](ConfigError::may_pass); nothing was started.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("the configuration file {} cannot be read: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file holds an unknown key, a value of the wrong type or out of range, or is no TOML. The message shows the line.
    #[error("{}: {message}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The line, the key, and what is allowed.
        message: String,
    },
    /// What the data directory says of the cluster cannot be used. To go on without would silently leave the cluster.
    #[error("`node.data_dir` ({origin}): {source}")]
    Papers {
        /// Who said where the data directory is.
        origin: Origin,
        /// What is wrong with its files.
        source: FolderError,
    },
    /// A value is not allowed.
    #[error("`{key}` ({origin}): {problem}")]
    Value {
        /// The key, as in `net.listen`.
        key: &'static str,
        /// Who gave the value.
        origin: Origin,
        /// What is wrong and what is allowed.
        problem: String,
    },
}

/// Who gave a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A flag or a variable of the environment.
    Flag,
    /// The configuration file.
    File,
    /// Nobody: the default.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Flag => "given as a flag or in the environment",
            Self::File => "in the configuration file",
            Self::Default => "the default",
        })
    }
}

impl ConfigError {
    /// Whether the system failed at what was asked of it, so that another attempt may fare better, and nothing of what an operator wrote is wrong.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Unreadable { source, .. } | Self::Papers { source: FolderError::File { source, .. }, .. } => {
                may_pass(source)
            }
            Self::Papers { .. } | Self::File { .. } | Self::Value { .. } => false,
        }
    }

    pub(super) fn value(key: &'static str, origin: Origin, problem: impl fmt::Display) -> Self {
        Self::Value { key, origin, problem: problem.to_string() }
    }
}

/// Whether a file that could not be read may be read by another attempt: the disk failed, or there was no descriptor or memory left. That there
/// is none, that it is another's, and that it holds or is something else stays so until somebody mends it.
pub(crate) fn may_pass(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, InvalidFilename, IsADirectory, NotADirectory, NotFound, PermissionDenied};
    !matches!(error.kind(), NotFound | PermissionDenied | InvalidData | InvalidFilename | IsADirectory | NotADirectory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_fails_is_told_apart_from_a_file_that_somebody_has_to_mend() {
        // EIO, EMFILE, ENFILE and ENOMEM; ENOENT, EACCES, ENOTDIR and EISDIR.
        for (errnos, expect) in [([5, 24, 23, 12], true), ([2, 13, 20, 21], false)] {
            for errno in errnos {
                let source = || io::Error::from_raw_os_error(errno);
                let unreadable = ConfigError::Unreadable { path: "a".into(), source: source() };
                let folder = FolderError::File { path: "b".into(), source: source() };
                let papers = ConfigError::Papers { origin: Origin::Default, source: folder };
                assert_eq!((unreadable.may_pass(), papers.may_pass()), (expect, expect), "{errno}");
            }
        }
        let damaged = FolderError::Damaged { path: "b".into(), reason: "torn".to_owned() };
        assert!(!ConfigError::Papers { origin: Origin::Default, source: damaged }.may_pass());
        assert!(!ConfigError::value("node.name", Origin::File, "empty").may_pass());
    }
}
