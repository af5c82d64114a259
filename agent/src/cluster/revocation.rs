//! Revocations: an authority's word that a node's key is to be believed no more.

use selvedge_sync::codec;
use selvedge_sync::id::NodeId;
use serde::{Deserialize, Serialize};

use super::{AuthorityId, Signed, UnixSeconds};

/// What separates revocations from everything else that an authority signs.
pub(super) const PURPOSE: &str = "selvedge revocation 1";

/// Longest revocation, in bytes.
const REVOCATION_BYTES_MAX: usize = 1_024;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Revoked {
    #[serde(rename = "c")]
    pub(super) cluster: AuthorityId,
    #[serde(rename = "k")]
    pub(super) node: NodeId,
    /// For people: when it was signed.
    #[serde(rename = "a")]
    pub(super) at: UnixSeconds,
}

/// A signed revocation. [`Trust::revoked`](super::Trust::revoked) says whether it counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation(pub(super) Signed);

impl Revocation {
    /// The bytes that are kept and replicated.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// Reads a revocation; nothing in it has been judged.
    ///
    /// # Errors
    /// The bytes are malformed or too many.
    pub fn decode(bytes: &[u8]) -> Result<Self, codec::DecodeError> {
        codec::decode(bytes, REVOCATION_BYTES_MAX)
    }
}
