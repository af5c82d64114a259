//! How far a start has got.

use serde::{Deserialize, Serialize};

/// The steps from a claim to an instance that answers calls, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The host has said that it will run it.
    Claimed,
    /// Its artefact is being read from disk, or gathered from members that have it, each chunk verified.
    Fetching,
    /// Its artefact lies on this host's disk, and other starts are to end before this one goes on.
    Queued,
    /// Its bytes are hashed and looked at: whether it is a component, and asks for nothing that is not offered.
    Verifying,
    /// Its native code is compiled, or read back where that was done before.
    Compiling,
    /// A first instance is started, and asked what it makes of its configuration. Then it is ready, and serves: calls come as soon as
    /// the others have heard of it.
    Warming,
    /// What a release before this one says of the last three.
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
            Self::Queued => "waiting for its turn",
            Self::Verifying => "verifying the artefact",
            Self::Compiling => "compiling",
            Self::Warming => "warming up",
            Self::Loading => "verifying, compiling and warming up",
            Self::Other => "starting",
        }
    }

    /// The step in one word, as in JSON and in labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Claimed => "claimed",
            Self::Fetching => "fetching",
            Self::Queued => "queued",
            Self::Verifying => "verifying",
            Self::Compiling => "compiling",
            Self::Warming => "warming",
            Self::Loading => "loading",
            Self::Other => "other",
        }
    }
}
