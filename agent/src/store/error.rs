//! What can go wrong with the store, and what to do about it.
//!
//! Owns the errors that its handle gives; the database's own error types end here. The invariant: an error of opening says
//! whether the data is whole, and no error means that something acknowledged as durable is gone without being named.

use std::error::Error;
use std::io;
use std::path::PathBuf;

/// What is said of a data directory that was removed, renamed, unmounted or replaced under the agent.
pub const TAKEN_AWAY: &str = "the data directory was taken away: what is written now would not outlast a restart";

/// Why the store cannot be opened, or a write is not durable.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The data directory cannot be created or used. Nothing was changed.
    #[error("the data directory {} cannot be used", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another agent runs on this data directory. Nothing was changed.
    #[error(
        "the data directory {} belongs to another running agent{}; stop it, or give this one a --data-dir of its own",
        path.display(),
        holder.map_or_else(String::new, |pid| format!(" (process {pid})"))
    )]
    Locked {
        /// The directory.
        path: PathBuf,
        /// The process that holds it, when it is known.
        holder: Option<u32>,
    },
    /// A newer release wrote the data. Nothing was changed.
    #[error("the data was written in format {found} and this release reads up to {known}; run the newer release")]
    Newer {
        /// The format found.
        found: u32,
        /// The newest one that this release knows.
        known: u32,
    },
    /// The database is damaged, and so is the one that was to stand in for it: the disk cannot be trusted.
    #[error("the stored state is damaged ({what}), and so is what was written in its place")]
    Damaged {
        /// What is damaged.
        what: String,
    },
    /// The disk or the database refuses to work. What was durable still is.
    #[error("the store failed")]
    Failed(#[source] Box<dyn Error + Send + Sync>),
    /// The disk does not take writes at present. The write waits and will be tried again; it is not durable yet.
    #[error("the disk does not take writes at present: {reason}")]
    Failing {
        /// What the disk said.
        reason: String,
    },
    /// The disk neither does what it is asked nor refuses. What was durable still is.
    #[error("the disk of the data directory hangs: {what} has taken more than {seconds} seconds")]
    Hangs {
        /// What it was asked for.
        what: &'static str,
        /// How long it was waited for.
        seconds: u64,
    },
    /// The store was closed while the disk did not take writes. What was not acknowledged as durable may be lost.
    #[error("{jobs} writes were not durable when the store was closed: {reason}")]
    Unflushed {
        /// How many jobs were left.
        jobs: usize,
        /// What the disk said.
        reason: String,
    },
    /// What lies at the path of the data directory is not what was opened there. Nothing of it outlasts this process, unless it is put
    /// back.
    #[error("{}", TAKEN_AWAY)]
    TakenAway,
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
}

/// The store's queue is full. Nothing was queued; what was to be written comes back.
#[derive(Debug, thiserror::Error)]
#[error("the store's queue is full")]
pub struct QueueFull<T>(pub T);

impl StoreError {
    /// Hides the database's own error type behind the handle.
    pub(super) fn failed(error: impl Into<redb::Error>) -> Self {
        Self::Failed(Box::new(error.into()))
    }
}
