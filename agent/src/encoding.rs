//! The two encodings of a document: JSON, and CBOR in its place.
//!
//! Owns which there are and how a value is written in each. Knows no document in particular. The invariant: a document is the
//! same in both, under the same names.

pub(crate) mod cbor;

use serde::Serialize;

/// How a document is written down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// JSON (RFC 8259), in UTF-8.
    #[default]
    Json,
    /// CBOR (RFC 8949).
    Cbor,
}

impl Encoding {
    /// Writes one document.
    pub(crate) fn encode<T: Serialize>(self, document: &T) -> Vec<u8> {
        match self {
            Self::Json => serde_json::to_vec(document).expect("our documents serialise"),
            Self::Cbor => cbor::encode(document),
        }
    }
}
