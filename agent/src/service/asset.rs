//! Documents about assets.

use serde::{Deserialize, Serialize};

/// An asset that is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssetInfo {
    /// The hash that names it.
    pub digest: String,
    /// Its size in bytes.
    pub size: u64,
}
