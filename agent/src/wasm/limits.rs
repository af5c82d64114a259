//! What one workload may use.
//!
//! Owns the limits and their defaults. Enforces none of them. The invariant: there is no value that means "no limit", and
//! [`Limits::bounded`] keeps each within what the host can bear.

use std::time::Duration;

use selvedge_sync::limits::KEYS_PER_COMMIT_MAX;

/// The longest deadline that a workload may ask for: a worker must not be lost to one call for longer.
const DEADLINE_MAX: Duration = Duration::from_secs(10);
/// Bytes of one call's values in the state, at most: a commit has to fit its own limit together with its keys.
const WRITE_BYTES_MAX: usize = 256 * 1024;
/// Arguments and results in bytes, at most: what an API body may hold.
const BODY_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The limits of one workload. Each applies to one call, but for memory and tables, which belong to an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long the guest may run.
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
    pub log_lines: u32,
    /// One line of log, in bytes. The rest of a longer one is cut off.
    pub log_line_bytes: usize,
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
        }
    }
}

impl Limits {
    /// These limits, none above what the host can bear and none at zero where that would refuse every call.
    #[must_use]
    pub fn bounded(mut self, memory_bytes: usize) -> Self {
        self.deadline = self.deadline.clamp(Duration::from_millis(1), DEADLINE_MAX);
        self.memory_bytes = self.memory_bytes.min(memory_bytes);
        self.argument_bytes = self.argument_bytes.min(BODY_BYTES_MAX);
        self.output_bytes = self.output_bytes.min(BODY_BYTES_MAX);
        self.writes = self.writes.min(KEYS_PER_COMMIT_MAX);
        self.write_bytes = self.write_bytes.min(WRITE_BYTES_MAX);
        self
    }
}
