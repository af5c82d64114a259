//! Documents about assets.

use serde::{Deserialize, Serialize};

use crate::spec::Digest;

/// An asset that is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssetInfo {
    /// The hash that names it.
    pub digest: String,
    /// Its size in bytes.
    pub size: u64,
}

/// Assets on this host's disk, in order of digest, a page at a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssetPage {
    /// The assets of this page.
    pub assets: Vec<AssetEntry>,
    /// The last of this page if there are more: what `after` is for the next one.
    pub next: Option<Digest>,
}

/// An asset on this host's disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssetEntry {
    /// The hash that names it.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// `upload`, which stays until it is removed, or `copy`, which gives way when room is needed.
    pub keeping: String,
}
