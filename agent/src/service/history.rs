//! The document about the last minutes: what was counted, in steps of equal length.

use serde::{Deserialize, Serialize};

/// What was counted over the last minutes, the oldest step first. All lists are of one length.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// Seconds in one step.
    pub step_s: u64,
    /// Calls that came in on this host during each step.
    pub calls: Vec<u64>,
    /// How many of them failed.
    pub errors: Vec<u64>,
    /// Commits applied during each step, of all writers together.
    pub commits: Vec<u64>,
    /// Bytes that the state's content occupied at the end of each step.
    pub bytes: Vec<u64>,
    /// Dots and empty objects that waited to be forgotten at the end of each step.
    pub garbage: Vec<u64>,
}
