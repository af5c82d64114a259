//! How far a start has got.

use serde::{Deserialize, Serialize};

/// The steps from a claim to an instance that answers calls, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The host has said that it will run it.
    Claimed,
    /// Its artefact is being gathered from members that have it, each chunk verified.
    Fetching,
    /// It is verified, compiled unless it was before, and made to answer.
    Loading,
    /// A step that only newer members know.
    #[serde(other)]
    Other,
}

impl Stage {
    /// The step in words, after "is".
    #[must_use]
    pub const fn told(self) -> &'static str {
        match self {
            Self::Claimed => "about to start",
            Self::Fetching => "fetching the artefact",
            Self::Loading => "verifying, compiling and warming up",
            Self::Other => "starting",
        }
    }
}
