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
    /// They hold a kind of something that only a later release knows: a type of key, an operation, a message. Nobody's fault.
    #[error("of a later release: {0}")]
    Later(String),
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

/// How serde begins when it meets a variant that it has no name for, at whatever depth. CBOR's errors keep its words only; a test holds
/// that they are these.
const UNKNOWN: &str = "unknown variant";

/// Letters of such a message that are kept: the rest lists what is known here.
const UNKNOWN_LETTERS_MAX: usize = 80;

impl DecodeError {
    /// Whether a later release than this one may write so, and does nothing wrong. What it adds within a format version is a variant of its
    /// own, or a field that may be ignored; anything else takes another version.
    #[must_use]
    pub const fn is_of_a_later_release(&self) -> bool {
        match self {
            Self::Later(_) => true,
            Self::Version(version) => *version > FORMAT_VERSION,
            Self::Empty
            | Self::TooLarge { .. }
            | Self::Malformed(_)
            | Self::Trailing(_)
            | Self::Bound(_)
            | Self::Op(_) => false,
        }
    }

    fn of_cbor<E: std::fmt::Debug>(error: ciborium::de::Error<E>) -> Self {
        match error {
            ciborium::de::Error::Semantic(_, said) if said.starts_with(UNKNOWN) => {
                Self::Later(said.chars().take(UNKNOWN_LETTERS_MAX).collect())
            }
            other => Self::Malformed(other.to_string()),
        }
    }
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
    let value =
        ciborium::de::from_reader_with_recursion_limit(&mut body, DECODE_DEPTH_MAX).map_err(DecodeError::of_cbor)?;
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
        check(&[0, 0], "format version 0");
        check(&[0; 17], "at most 16");
        check(&bytes[..bytes.len() - 1], "malformed");
        check(&[bytes.as_slice(), &[0]].concat(), "1 bytes follow");
        let nested = [&[FORMAT_VERSION][..], &[0x81; 15], &[0x01]].concat();
        assert!(decode::<Vec<u64>>(&nested, 32).is_err());
    }

    #[test]
    fn what_a_later_release_adds_is_told_from_damage() {
        #[derive(Serialize, serde::Deserialize)]
        enum Now {
            #[serde(rename = "a")]
            Known { held: u64 },
        }
        #[derive(Serialize)]
        enum Then {
            #[serde(rename = "a")]
            Known { held: u64, added: bool },
            #[serde(rename = "b")]
            Unit,
            #[serde(rename = "c")]
            Pair(u64, Vec<u64>),
        }
        let error = |bytes: &[u8]| decode::<Vec<Now>>(bytes, 64).err();
        assert!(error(&encode(&[Then::Known { held: 1, added: true }])).is_none(), "a field may be added");
        for added in [Then::Unit, Then::Pair(1, vec![2, 3])] {
            let error = error(&encode(&[added])).expect("is not known");
            assert!(error.is_of_a_later_release(), "{error}");
        }
        assert!(error(&[FORMAT_VERSION + 1, 0x80]).is_some_and(|error| error.is_of_a_later_release()));
        let cut = encode(&[Now::Known { held: 1 }]);
        for damaged in [&cut[..cut.len() - 1], &[FORMAT_VERSION_MIN - 1, 0x80], encode(&"a").as_slice(), &[]] {
            assert!(error(damaged).is_some_and(|error| !error.is_of_a_later_release()), "{damaged:?}");
        }
    }
}
