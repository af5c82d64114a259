//! Values that sets and maps hold: JSON-like scalars and byte strings.
//!
//! Owns their total order (sets are sorted, hosts must agree) and their bytes under a hash. The invariant: equal values have
//! equal hashes on every host, and floats compare by their bits, so that NaN equals itself and no order depends on the platform.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};

use serde::{Deserialize, Serialize};

use crate::limits::SCALAR_BYTES_MAX;

/// One value of at most [`SCALAR_BYTES_MAX`] bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Scalar {
    /// Nothing, on purpose.
    #[serde(rename = "0")]
    Null,
    /// True or false.
    #[serde(rename = "b")]
    Bool(bool),
    /// A whole number.
    #[serde(rename = "i")]
    Int(i64),
    /// A number with a fraction.
    #[serde(rename = "f")]
    Float(Float),
    /// Text.
    #[serde(rename = "t")]
    Text(String),
    /// Bytes.
    #[serde(rename = "y")]
    Bytes(#[serde(with = "serde_bytes")] Vec<u8>),
}

/// A float that is ordered and equal by IEEE total order.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Float(pub f64);

impl PartialEq for Float {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}

impl Eq for Float {}

impl PartialOrd for Float {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Float {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl Hash for Float {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.0.to_bits().hash(hasher);
    }
}

impl Scalar {
    /// Bytes that the value occupies beyond a machine word or two.
    #[must_use]
    pub fn weight(&self) -> usize {
        match self {
            Self::Null | Self::Bool(_) | Self::Int(_) | Self::Float(_) => 0,
            Self::Text(text) => text.len(),
            Self::Bytes(bytes) => bytes.len(),
        }
    }

    /// Whether the value is within [`SCALAR_BYTES_MAX`].
    #[must_use]
    pub fn fits(&self) -> bool {
        self.weight() <= SCALAR_BYTES_MAX
    }

    /// Feeds the value to a hash, unambiguously: a tag, a length where it varies, the bytes.
    pub(crate) fn feed(&self, mut update: impl FnMut(&[u8])) {
        match self {
            Self::Null => update(&tagged(0, 0)),
            Self::Bool(value) => {
                update(&tagged(1, 1));
                update(&[u8::from(*value)]);
            }
            Self::Int(value) => {
                update(&tagged(2, 8));
                update(&value.to_le_bytes());
            }
            Self::Float(value) => {
                update(&tagged(3, 8));
                update(&value.0.to_bits().to_le_bytes());
            }
            Self::Text(text) => {
                update(&Self::head(true, text.len()));
                update(text.as_bytes());
            }
            Self::Bytes(bytes) => {
                update(&Self::head(false, bytes.len()));
                update(bytes);
            }
        }
    }

    /// What [`Scalar::feed`] feeds before the bytes of a text or a byte string.
    pub(crate) fn head(is_text: bool, len: usize) -> [u8; 9] {
        tagged(if is_text { 4 } else { 5 }, len)
    }
}

/// A tag, and the length of what follows.
fn tagged(tag: u8, len: usize) -> [u8; 9] {
    let [a, b, c, d, e, f, g, h] = (len as u64).to_le_bytes();
    [tag, a, b, c, d, e, f, g, h]
}

impl From<&str> for Scalar {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<i64> for Scalar {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}
