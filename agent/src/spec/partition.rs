//! What becomes of a workload's instances on a host that is cut off from others.
//!
//! Owns the text form: `keep-both`, `stop-after 30s`, `home-only REGION`.

use std::fmt;
use std::str::FromStr;

use super::{is_token, parse_millis};

/// Longest wait of `stop-after`, in milliseconds: a day, after which a silent member leaves the epoch anyway.
pub const STOP_AFTER_MS_MAX: u64 = 24 * 3_600 * 1_000;

/// What a host does about a workload while it is cut off.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Partition {
    /// Every side runs it. What they write converges afterwards.
    #[default]
    KeepBoth,
    /// A host that for so long, in milliseconds, has not seen most of the members stops it.
    StopAfter(u64),
    /// Only a host that is in this region, or sees a member who is, runs it.
    HomeOnly(String),
}

/// Text that is no such policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a partition policy is `keep-both`, `stop-after 30s` (up to 24h) or `home-only REGION`")]
pub struct ParsePartitionError;

impl FromStr for Partition {
    type Err = ParsePartitionError;

    fn from_str(text: &str) -> Result<Self, ParsePartitionError> {
        match text.split_once(' ') {
            None if text == "keep-both" => Ok(Self::KeepBoth),
            Some(("stop-after", wait)) => match parse_millis(wait) {
                Ok(wait_ms) if wait_ms <= STOP_AFTER_MS_MAX => Ok(Self::StopAfter(wait_ms)),
                Ok(_) | Err(_) => Err(ParsePartitionError),
            },
            Some(("home-only", region)) if is_token(region) => Ok(Self::HomeOnly(region.to_owned())),
            Some(_) | None => Err(ParsePartitionError),
        }
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeepBoth => write!(f, "keep-both"),
            Self::StopAfter(wait_ms) => write!(f, "stop-after {wait_ms}ms"),
            Self::HomeOnly(region) => write!(f, "home-only {region}"),
        }
    }
}
