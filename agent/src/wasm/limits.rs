//! What one workload may use.
//!
//! Owns the limits and their defaults. Enforces none of them. The invariant: there is no value that means "no limit", and
//! [`Limits::bounded`] keeps each within what the host can bear.

use std::time::Duration;

use selvedge_sync::limits::KEYS_PER_COMMIT_MAX;
use serde::{Deserialize, Serialize};

use super::engine::TABLE_ELEMENTS_MAX;
use crate::spec;

/// The longest deadline that a workload may ask for: a worker must not be lost to one call for longer.
const DEADLINE_MAX: Duration = Duration::from_secs(10);
/// Bytes of one call's values in the state, at most: a commit has to fit its own limit together with its keys.
const WRITE_BYTES_MAX: usize = 256 * 1024;
/// Arguments and results in bytes, at most: what an API body may hold.
const BODY_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The limits of one workload. Each applies to one call, but for memory and tables, which belong to an instance. A recording
/// leaves out those that make no difference to a result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// How long the guest may run.
    #[serde(skip)]
    pub deadline: Duration,
    /// Linear memory of an instance, in bytes. At most the host's [`memory_bytes`](super::WasmConfig::memory_bytes).
    pub memory_bytes: usize,
    /// Elements of an instance's table.
    pub table_elements: usize,
    /// Arguments, in bytes: 8 for a number, its length for a text.
    pub argument_bytes: usize,
    /// The result, in bytes, by the same measure.
    pub output_bytes: usize,
    /// Calls of imported functions.
    pub host_calls: u64,
    /// Handles to the state that are open at one time.
    pub handles: usize,
    /// Objects of the state that are written.
    pub writes: usize,
    /// Texts and byte strings written to the state, in bytes, with the names of keys and fields.
    pub write_bytes: usize,
    /// Lines of log. Further ones are dropped and counted.
    #[serde(skip)]
    pub log_lines: u32,
    /// One line of log, in bytes. The rest of a longer one is cut off.
    #[serde(skip)]
    pub log_line_bytes: usize,
    /// Calls that run at one time. The host's workers are a limit too.
    #[serde(skip)]
    pub concurrency: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // A frame of a game is 16 ms; a zone's combat takes well below one.
            deadline: Duration::from_millis(50),
            memory_bytes: 16 * 1024 * 1024,
            table_elements: 10_000,
            argument_bytes: 1024 * 1024,
            output_bytes: 1024 * 1024,
            // A thousand duels make some fifteen thousand.
            host_calls: 100_000,
            handles: 4_096,
            writes: KEYS_PER_COMMIT_MAX,
            write_bytes: WRITE_BYTES_MAX,
            log_lines: 64,
            log_line_bytes: 1_024,
            concurrency: 64,
        }
    }
}

impl From<spec::Limits> for Limits {
    fn from(spec: spec::Limits) -> Self {
        let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        Self {
            deadline: Duration::from_millis(u64::from(spec.deadline_ms)),
            memory_bytes: size(spec.memory),
            table_elements: size(u64::from(spec.table_elements)),
            output_bytes: size(spec.output_bytes),
            host_calls: u64::from(spec.host_calls),
            log_lines: spec.log_lines,
            concurrency: usize::from(spec.concurrency),
            ..Self::default()
        }
    }
}

impl Limits {
    /// These limits, none above what the host can bear and none at zero where that would refuse every call.
    #[must_use]
    pub fn bounded(mut self, memory_bytes: usize) -> Self {
        self.deadline = self.deadline.clamp(Duration::from_millis(1), DEADLINE_MAX);
        self.memory_bytes = self.memory_bytes.min(memory_bytes);
        self.table_elements = self.table_elements.min(TABLE_ELEMENTS_MAX);
        self.concurrency = self.concurrency.max(1);
        self.argument_bytes = self.argument_bytes.min(BODY_BYTES_MAX);
        self.output_bytes = self.output_bytes.min(BODY_BYTES_MAX);
        self.writes = self.writes.min(KEYS_PER_COMMIT_MAX);
        self.write_bytes = self.write_bytes.min(WRITE_BYTES_MAX);
        self
    }
}
