//! Scalars as they are kept in memory: short texts and byte strings in place, long ones in a piece of memory without slack.
//!
//! Most members are short, and a piece of memory of its own would be larger than what is in it, and elsewhere. The invariant:
//! there is one shape for each scalar; order and bytes under a hash are those of [`Scalar`].

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};

use super::content::ItemBytes;
use crate::scalar::{Float, Scalar};

/// What fits beside a tag and a length where a pointer and a length would be.
const SHORT_BYTES_MAX: usize = 21;

/// A scalar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Compact {
    Null,
    Bool(bool),
    Int(i64),
    Float(Float),
    Short(Short),
    Text(Box<str>),
    Bytes(Box<[u8]>),
}

/// A text or a byte string of at most [`SHORT_BYTES_MAX`] bytes; the rest is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Short {
    is_text: bool,
    len: u8,
    bytes: [u8; SHORT_BYTES_MAX],
}

/// What a scalar says, whatever its shape. Orders as [`Scalar`] does.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum View<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Float(Float),
    Text(&'a [u8]),
    Bytes(&'a [u8]),
}

impl Short {
    fn of(is_text: bool, from: &[u8]) -> Option<Self> {
        let len = u8::try_from(from.len()).ok()?;
        let mut bytes = [0; SHORT_BYTES_MAX];
        bytes.get_mut(..from.len())?.copy_from_slice(from);
        Some(Self { is_text, len, bytes })
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl Compact {
    fn view(&self) -> View<'_> {
        match self {
            Self::Null => View::Null,
            Self::Bool(value) => View::Bool(*value),
            Self::Int(value) => View::Int(*value),
            Self::Float(value) => View::Float(*value),
            Self::Short(short) if short.is_text => View::Text(short.bytes()),
            Self::Short(short) => View::Bytes(short.bytes()),
            Self::Text(text) => View::Text(text.as_bytes()),
            Self::Bytes(bytes) => View::Bytes(bytes),
        }
    }

    /// As [`Scalar::weight`].
    pub(super) fn weight(&self) -> usize {
        match self.view() {
            View::Null | View::Bool(_) | View::Int(_) | View::Float(_) => 0,
            View::Text(bytes) | View::Bytes(bytes) => bytes.len(),
        }
    }

    /// As [`Scalar::feed`].
    pub(super) fn feed(&self, item: &mut ItemBytes) {
        match self {
            Self::Short(short) => {
                item.update(&Scalar::head(short.is_text, short.bytes().len()));
                item.update_short(&short.bytes, usize::from(short.len));
            }
            Self::Text(text) => {
                item.update(&Scalar::head(true, text.len()));
                item.update(text.as_bytes());
            }
            Self::Bytes(bytes) => {
                item.update(&Scalar::head(false, bytes.len()));
                item.update(bytes);
            }
            Self::Null | Self::Bool(_) | Self::Int(_) | Self::Float(_) => {
                self.scalar().feed(|bytes| item.update(bytes));
            }
        }
    }

    /// The scalar as everybody else has it.
    pub(super) fn scalar(&self) -> Scalar {
        match self.view() {
            View::Null => Scalar::Null,
            View::Bool(value) => Scalar::Bool(value),
            View::Int(value) => Scalar::Int(value),
            View::Float(value) => Scalar::Float(value),
            View::Text(text) => Scalar::Text(std::str::from_utf8(text).expect("made of text").to_owned()),
            View::Bytes(bytes) => Scalar::Bytes(bytes.to_vec()),
        }
    }
}

impl From<Scalar> for Compact {
    fn from(scalar: Scalar) -> Self {
        match scalar {
            Scalar::Null => Self::Null,
            Scalar::Bool(value) => Self::Bool(value),
            Scalar::Int(value) => Self::Int(value),
            Scalar::Float(value) => Self::Float(value),
            Scalar::Text(text) => match Short::of(true, text.as_bytes()) {
                Some(short) => Self::Short(short),
                None => Self::Text(text.into()),
            },
            Scalar::Bytes(bytes) => match Short::of(false, &bytes) {
                Some(short) => Self::Short(short),
                None => Self::Bytes(bytes.into()),
            },
        }
    }
}

impl From<&Scalar> for Compact {
    fn from(scalar: &Scalar) -> Self {
        match scalar {
            Scalar::Null => Self::Null,
            Scalar::Bool(value) => Self::Bool(*value),
            Scalar::Int(value) => Self::Int(*value),
            Scalar::Float(value) => Self::Float(*value),
            Scalar::Text(text) => match Short::of(true, text.as_bytes()) {
                Some(short) => Self::Short(short),
                None => Self::Text(text.as_str().into()),
            },
            Scalar::Bytes(bytes) => match Short::of(false, bytes) {
                Some(short) => Self::Short(short),
                None => Self::Bytes(bytes.as_slice().into()),
            },
        }
    }
}

impl PartialOrd for Compact {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Compact {
    fn cmp(&self, other: &Self) -> Ordering {
        self.view().cmp(&other.view())
    }
}

impl Hash for Compact {
    /// One piece of bytes and a tag, so that members cost one step of the hasher.
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self.view() {
            View::Null => state.write_u8(0),
            View::Bool(value) => state.write_u8(1 + u8::from(value)),
            View::Int(value) => state.write(&value.to_le_bytes()),
            View::Float(value) => state.write(&value.0.to_bits().to_le_bytes()),
            View::Text(bytes) => state.write(bytes),
            View::Bytes(bytes) => {
                state.write(bytes);
                state.write_u8(3);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scalars() -> Vec<Scalar> {
        let mut scalars = vec![Scalar::Null, Scalar::Bool(false), Scalar::Bool(true), Scalar::Float(Float(-0.0))];
        scalars.extend([i64::MIN, -1, 0, 1, i64::MAX].map(Scalar::Int));
        scalars.extend([0.0, 1.5, f64::NAN, f64::NEG_INFINITY].map(|value| Scalar::Float(Float(value))));
        for length in 0..40 {
            for letter in ["a", "\0", "é"] {
                let text = letter.repeat(length);
                scalars.extend([Scalar::Bytes(text.clone().into_bytes()), Scalar::Text(text)]);
            }
        }
        scalars
    }

    #[test]
    fn scalars_are_kept_as_they_are() {
        for scalar in scalars() {
            let compact = Compact::from(&scalar);
            assert_eq!(compact, Compact::from(scalar.clone()));
            assert_eq!((compact.scalar(), compact.weight()), (scalar.clone(), scalar.weight()));
            let (mut ours, mut theirs) = (ItemBytes::default(), ItemBytes::default());
            compact.feed(&mut ours);
            scalar.feed(|piece| theirs.update(piece));
            assert_eq!(ours.bytes(), theirs.bytes(), "{scalar:?}");
        }
        assert_eq!(size_of::<Compact>(), 24);
    }

    #[test]
    fn they_order_as_scalars_do() {
        let all = scalars();
        for (one, other) in all.iter().flat_map(|one| all.iter().map(move |other| (one, other))) {
            let (left, right) = (Compact::from(one), Compact::from(other));
            assert_eq!((left.cmp(&right), left == right), (one.cmp(other), one == other), "{one:?} {other:?}");
        }
    }
}
