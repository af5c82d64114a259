//! The two encodings of a document: JSON, and CBOR in its place.
//!
//! Owns which there are and how a value is written in each. Knows no document in particular. The invariant: a document is the
//! same in both, under the same names.

pub(crate) mod cbor;

use serde::Serialize;
use serde_json::Value;

/// How a document is written down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// JSON (RFC 8259), in UTF-8.
    #[default]
    Json,
    /// CBOR (RFC 8949).
    Cbor,
}

/// Floats up to here are whole numbers that no rounding has made.
const EXACT_MAX: f64 = (1_u64 << 53) as f64;

/// The whole number that a JSON number is, however it is written: `5`, `5.0` and `5e0` are one number in JSON, and some languages know
/// no other. `None` for fractions, for what is negative, and for floats beyond 2^53, which may have been rounded.
#[expect(clippy::cast_possible_truncation, reason = "only whole numbers within 64 bits come to it")]
pub(crate) fn whole(json: &Value) -> Option<u64> {
    let exact = |float: f64| (0.0..=EXACT_MAX).contains(&float) && float.fract() == 0.0;
    json.as_u64().or_else(|| json.as_f64().filter(|float| exact(*float)).map(|float| float as u64))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_number_is_one_however_it_is_written() {
        let check = |json: &str, expect: Option<u64>| {
            assert_eq!(whole(&serde_json::from_str(json).expect("JSON")), expect, "{json}");
        };
        check("5", Some(5));
        check("5.0", Some(5));
        check("5e2", Some(500));
        check("-0.0", Some(0));
        check("18446744073709551615", Some(u64::MAX));
        check("9007199254740992.0", Some(1 << 53));
        for other in ["9007199254740994.0", "18446744073709551616", "0.5", "-1", "-1.0", "1e300", "\"5\"", "null"] {
            check(other, None);
        }
    }
}
