//! The moment at which an input arrives, as two integers: what the wall says, and what cannot run backwards.

use serde::{Deserialize, Serialize};

/// A moment, given by the caller with every input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Time {
    /// Milliseconds since the Unix epoch, as far as this host knows; it may jump.
    pub wall_ms: u64,
    /// Milliseconds since some start; never runs backwards. Time-outs and periods count in these.
    pub mono_ms: u64,
}
