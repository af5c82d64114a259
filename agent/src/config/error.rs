//! What is wrong with a configuration, where it stands, and what would be right.
//!
//! Owns the errors of loading. The invariant: every message names the file or the origin, the key, and what is allowed.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why there is no configuration. Always the operator's to mend; nothing was started.
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
    pub(super) fn value(key: &'static str, origin: Origin, problem: impl fmt::Display) -> Self {
        Self::Value { key, origin, problem: problem.to_string() }
    }
}
