//! The name of a map's field as it is kept in memory: short ones in place, because most are, and a piece of memory of its own
//! would be larger than the name.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};

use super::content::ItemBytes;

/// What fits beside the length where a pointer and a length would be.
const SHORT_BYTES_MAX: usize = 22;

/// A name, equal to, ordered and hashed as its bytes.
#[derive(Clone)]
pub(super) struct Field(Repr);

#[derive(Clone)]
enum Repr {
    Short { len: u8, bytes: [u8; SHORT_BYTES_MAX] },
    Long(Box<str>),
}

impl Field {
    pub(super) fn bytes(&self) -> &[u8] {
        match &self.0 {
            Repr::Short { len, bytes } => &bytes[..usize::from(*len)],
            Repr::Long(name) => name.as_bytes(),
        }
    }

    /// Its length and its bytes.
    pub(super) fn feed(&self, item: &mut ItemBytes) {
        item.update(&(self.bytes().len() as u64).to_le_bytes());
        match &self.0 {
            Repr::Short { len, bytes } => item.update_short(bytes, usize::from(*len)),
            Repr::Long(name) => item.update(name.as_bytes()),
        }
    }

    pub(super) fn name(&self) -> &str {
        std::str::from_utf8(self.bytes()).expect("made of text")
    }
}

impl From<&str> for Field {
    fn from(name: &str) -> Self {
        match u8::try_from(name.len()) {
            Ok(len) if name.len() <= SHORT_BYTES_MAX => {
                let mut bytes = [0; SHORT_BYTES_MAX];
                bytes[..name.len()].copy_from_slice(name.as_bytes());
                Self(Repr::Short { len, bytes })
            }
            Ok(_) | Err(_) => Self(Repr::Long(name.into())),
        }
    }
}

impl std::fmt::Debug for Field {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.name().fmt(f)
    }
}

impl PartialEq for Field {
    fn eq(&self, other: &Self) -> bool {
        self.bytes() == other.bytes()
    }
}

impl Eq for Field {}

impl PartialOrd for Field {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Field {
    fn cmp(&self, other: &Self) -> Ordering {
        self.bytes().cmp(other.bytes())
    }
}

impl Hash for Field {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(self.bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_every_length_are_kept_and_ordered() {
        let mut names: Vec<String> = (1..40).map(|length| "aé".repeat(length).chars().take(length).collect()).collect();
        names.sort();
        let fields: Vec<Field> = names.iter().map(|name| Field::from(name.as_str())).collect();
        assert!(fields.is_sorted());
        assert!(fields.iter().zip(&names).all(|(field, name)| field.name() == name));
        assert_eq!(size_of::<Field>(), 24);
    }
}
