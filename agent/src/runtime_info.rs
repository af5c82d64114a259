//! `agent.json`: how to reach the agent that runs on a data directory.
//!
//! Owns the file and its form; ports of 0 become real ones only at the start, so this is where others read them. The
//! invariant: a reader sees a whole document or none. A stale one of an agent that was killed is told by its pid.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The file's name in the data directory.
pub const FILE_NAME: &str = "agent.json";

/// Where a running agent can be reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeInfo {
    /// The agent's process.
    pub pid: u32,
    /// The node's id.
    pub node: String,
    /// Where it serves its API: `http://HOST:PORT` or `unix:PATH`.
    pub api: Vec<String>,
    /// The multiaddresses at which it listens for other agents.
    pub listen: Vec<String>,
    /// When it began to serve, in RFC 3339.
    pub started: String,
}

/// What went wrong with the file.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeInfoError {
    /// The directory is not writable, full, or not there.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// Somebody else wrote it.
    #[error("{} is no description of a running agent", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Where it stops making sense.
        #[source]
        source: serde_json::Error,
    },
}

impl RuntimeInfo {
    /// Writes the file into `data_dir`, replacing what a killed agent left.
    ///
    /// # Errors
    /// The directory cannot be written to; the old file, if any, is as it was.
    pub fn write(&self, data_dir: &Path) -> Result<(), RuntimeInfoError> {
        let path = data_dir.join(FILE_NAME);
        let json = serde_json::to_string_pretty(self).expect("texts and numbers can be written as JSON");
        let written = tempfile::NamedTempFile::new_in(data_dir).and_then(|mut file| {
            file.write_all(json.as_bytes())?;
            file.write_all(b"\n")?;
            file.persist(&path).map_err(|error| error.error).map(drop)
        });
        written.map_err(|source| RuntimeInfoError::Io { what: "write", path, source })
    }

    /// Reads the file in `data_dir`; `None` when there is none.
    ///
    /// # Errors
    /// It cannot be read, or holds something else.
    pub fn read(data_dir: &Path) -> Result<Option<Self>, RuntimeInfoError> {
        let path = data_dir.join(FILE_NAME);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(RuntimeInfoError::Io { what: "read", path, source }),
        };
        serde_json::from_str(&text).map(Some).map_err(|source| RuntimeInfoError::Content { path, source })
    }

    /// Removes the file from `data_dir`. One that is not there is fine.
    ///
    /// # Errors
    /// The directory cannot be written to.
    pub fn remove(data_dir: &Path) -> Result<(), RuntimeInfoError> {
        let path = data_dir.join(FILE_NAME);
        match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other.map_err(|source| RuntimeInfoError::Io { what: "remove", path, source }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(pid: u32) -> RuntimeInfo {
        RuntimeInfo {
            pid,
            node: "12D3KooW".to_owned(),
            api: vec!["http://127.0.0.1:1".to_owned()],
            listen: vec!["/ip4/127.0.0.1/tcp/2".to_owned()],
            started: "2026-01-01T00:00:00Z".to_owned(),
        }
    }

    #[test]
    fn what_was_written_is_read_until_it_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(RuntimeInfo::read(dir.path()).unwrap(), None);
        info(1).write(dir.path()).unwrap();
        info(2).write(dir.path()).unwrap();
        assert_eq!(RuntimeInfo::read(dir.path()).unwrap(), Some(info(2)));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary file is left");
        RuntimeInfo::remove(dir.path()).unwrap();
        RuntimeInfo::remove(dir.path()).unwrap();
        assert_eq!(RuntimeInfo::read(dir.path()).unwrap(), None);
    }

    #[test]
    fn failures_name_the_file() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE_NAME), "{").unwrap();
        assert!(RuntimeInfo::read(dir.path()).unwrap_err().to_string().contains(FILE_NAME));
        assert!(info(1).write(&dir.path().join("none")).unwrap_err().to_string().contains(FILE_NAME));
    }
}
