//! The envelope around everything that leaves memory: one version byte, then CBOR; a message's may be packed.
//!
//! Owns framing, limits and the refusal of what is malformed; the shapes belong to their types. Bytes from outside cannot
//! panic here: size, depth and trailing bytes are checked, and CBOR that does not match its type is an error.

mod packed;
mod row;

pub use row::ObjectRow;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::crdt::OpError;
use crate::limits::DECODE_DEPTH_MAX;

pub use packed::{pack, unpack};

/// The version that this release writes.
pub const FORMAT_VERSION: u8 = 2;

/// The oldest version that this release reads. The first one wrote names as maps with field names, and counters without the
/// commits that raised them; types that differ read both shapes.
pub const FORMAT_VERSION_MIN: u8 = 1;

/// Why bytes are not what they should be.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// There are no bytes at all.
    #[error("no bytes")]
    Empty,
    /// They were written by a release that speaks another version.
    #[error("format version {0}; this release reads {FORMAT_VERSION_MIN} to {FORMAT_VERSION}")]
    Version(u8),
    /// There are more of them than allowed.
    #[error("{bytes} bytes; at most {limit} are allowed")]
    TooLarge {
        /// How many there are.
        bytes: usize,
        /// How many may be.
        limit: usize,
    },
    /// They are no CBOR of the expected shape.
    #[error("malformed: {0}")]
    Malformed(String),
    /// Something follows the value.
    #[error("{0} bytes follow the value")]
    Trailing(usize),
    /// A bound beyond the shape does not hold.
    #[error("{0}")]
    Bound(&'static str),
    /// An operation breaks a bound of its type.
    #[error(transparent)]
    Op(#[from] OpError),
}

/// Encodes a value into its envelope.
#[must_use]
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = vec![FORMAT_VERSION];
    ciborium::into_writer(value, &mut bytes).expect("our types serialise, and memory takes what is written to it");
    bytes
}

/// Decodes a value from an envelope of at most `limit` bytes.
///
/// # Errors
/// The bytes are too many, of another version, malformed, too deeply nested, or followed by others.
pub fn decode<T: DeserializeOwned>(bytes: &[u8], limit: usize) -> Result<T, DecodeError> {
    if bytes.len() > limit {
        return Err(DecodeError::TooLarge { bytes: bytes.len(), limit });
    }
    let (version, mut body) = bytes.split_first().ok_or(DecodeError::Empty)?;
    if !(FORMAT_VERSION_MIN..=FORMAT_VERSION).contains(version) {
        return Err(DecodeError::Version(*version));
    }
    let value = ciborium::de::from_reader_with_recursion_limit(&mut body, DECODE_DEPTH_MAX)
        .map_err(|error| DecodeError::Malformed(error.to_string()))?;
    if body.is_empty() { Ok(value) } else { Err(DecodeError::Trailing(body.len())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_encoded_decodes() {
        let bytes = encode(&("kills", 7_u64));
        assert_eq!(decode::<(String, u64)>(&bytes, 64).expect("decodes"), ("kills".to_owned(), 7));
    }

    #[test]
    fn damage_is_an_error_and_names_itself() {
        let bytes = encode(&vec![1_u64, 2, 3]);
        let check = |bytes: &[u8], expect: &str| {
            let error = decode::<Vec<u64>>(bytes, 16).expect_err("refused").to_string();
            assert!(error.contains(expect), "{error}");
        };
        check(&[], "no bytes");
        check(&[9, 0], "format version 9");
        check(&[0; 17], "at most 16");
        check(&bytes[..bytes.len() - 1], "malformed");
        check(&[bytes.as_slice(), &[0]].concat(), "1 bytes follow");
        let nested = [&[FORMAT_VERSION][..], &[0x81; 15], &[0x01]].concat();
        assert!(decode::<Vec<u64>>(&nested, 32).is_err());
    }
}
