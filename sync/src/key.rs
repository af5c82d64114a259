//! Keys of the shared state: `type/name`.
//!
//! The type is part of the key, so that two hosts can never create one key with two types. Owns the text form and its
//! bounds; knows nothing of values.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::limits::NAME_BYTES_MAX;

/// Names that begin so belong to the agent itself; neither guests nor callers of the API may write them.
pub const RESERVED_PREFIX: &str = "selvedge:";

/// The type of a replicated object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A counter that only grows.
    GCounter,
    /// A counter that goes both ways.
    PnCounter,
    /// A set that only grows.
    GSet,
    /// A set with observed-remove: a concurrent add survives a remove.
    OrSet,
    /// A map whose fields keep the last write, with observed-remove of fields.
    LwwMap,
}

impl Kind {
    /// All types, in the order of their tags on the wire.
    pub const ALL: [Self; 5] = [Self::GCounter, Self::PnCounter, Self::GSet, Self::OrSet, Self::LwwMap];

    /// The type that is written as this number.
    fn of_tag(tag: u8) -> Option<Self> {
        Self::ALL.get(usize::from(tag)).copied().filter(|kind| older::knows(*kind))
    }

    /// The type's name in keys and URLs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::GCounter => "gcounter",
            Self::PnCounter => "pncounter",
            Self::GSet => "gset",
            Self::OrSet => "orset",
            Self::LwwMap => "lwwmap",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The name of one replicated object.
///
/// One piece of memory, shared by all copies: a letter for the type, then the name. Keys are everywhere, and order by type and
/// then by name, as that text does.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Arc<str>);

/// What stands for each type in memory, in the order of [`Kind::ALL`].
const LETTERS: [u8; 5] = *b"01234";

/// Why a text is no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// There is no `/` between type and name.
    #[error("a key is written type/name, as in gcounter/kills")]
    NoSlash,
    /// The type is none of ours.
    #[error("unknown key type `{0}`; there are gcounter, pncounter, gset, orset and lwwmap")]
    UnknownKind(String),
    /// The name is empty.
    #[error("the name of a key must not be empty")]
    EmptyName,
    /// The name is longer than [`NAME_BYTES_MAX`].
    #[error("the name of a key has {0} bytes; at most {NAME_BYTES_MAX} are allowed")]
    LongName(usize),
    /// The name holds a control character.
    #[error("the name of a key must not hold control characters")]
    ControlCharacter,
}

impl Key {
    /// The key of this type and name.
    ///
    /// # Errors
    /// The name is empty, longer than [`NAME_BYTES_MAX`] or holds a control character.
    pub fn new(kind: Kind, name: &str) -> Result<Self, KeyError> {
        match name {
            "" => Err(KeyError::EmptyName),
            long if long.len() > NAME_BYTES_MAX => Err(KeyError::LongName(long.len())),
            odd if odd.chars().any(char::is_control) => Err(KeyError::ControlCharacter),
            name => Ok(Self::joined(kind, name)),
        }
    }

    fn joined(kind: Kind, name: &str) -> Self {
        let mut text = [0; NAME_BYTES_MAX + 1];
        let (head, tail) = text.split_at_mut(1);
        head[0] = LETTERS[kind as usize];
        let tail = &mut tail[..name.len()];
        tail.copy_from_slice(name.as_bytes());
        let length = tail.len() + 1;
        Self(std::str::from_utf8(&text[..length]).expect("a letter and a text").into())
    }

    /// The type of the object.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self.0.as_bytes()[0] {
            b'0' => Kind::GCounter,
            b'1' => Kind::PnCounter,
            b'2' => Kind::GSet,
            b'3' => Kind::OrSet,
            _ => Kind::LwwMap,
        }
    }

    /// The name within the type.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0[1..]
    }

    /// The key as a row of a store is named: a letter for the type, then the name. These bytes sort as keys do.
    #[must_use]
    pub fn row(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// The key whose row is named so.
    ///
    /// # Errors
    /// The bytes name no key.
    pub fn from_row(row: &[u8]) -> Result<Self, KeyError> {
        let unknown = || KeyError::UnknownKind(String::from_utf8_lossy(row).chars().take(40).collect());
        let (letter, name) = row.split_first().ok_or_else(unknown)?;
        let place = LETTERS.iter().position(|known| known == letter).ok_or_else(unknown)?;
        Self::new(Kind::ALL[place], std::str::from_utf8(name).map_err(|_| unknown())?)
    }

    /// Where the key lies in the space of 64-bit positions, the same on every host. Repair compares states by ranges of
    /// positions: keys with a common prefix would crowd in order of name, and positions are spread evenly.
    #[must_use]
    pub fn position(&self) -> u64 {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&[self.kind() as u8]);
        hasher.update(self.name().as_bytes());
        let mut position = [0; 8];
        position.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        u64::from_be_bytes(position)
    }

    /// Whether the key belongs to the agent itself.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        self.name().starts_with(RESERVED_PREFIX)
    }
}

impl FromStr for Kind {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| KeyError::UnknownKind(text.chars().take(40).collect()))
    }
}

impl FromStr for Key {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let (kind, name) = text.split_once('/').ok_or(KeyError::NoSlash)?;
        Self::new(kind.parse()?, name)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind(), self.name())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({self})")
    }
}

impl Serialize for Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return serializer.collect_str(self);
        }
        (self.kind() as u8, self.name()).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        if deserializer.is_human_readable() {
            return String::deserialize(deserializer)?.parse().map_err(D::Error::custom);
        }
        let (tag, name) = <(u8, String)>::deserialize(deserializer)?;
        // As serde says it of enums, for a later release may have more.
        let kind =
            Kind::of_tag(tag).ok_or_else(|| D::Error::unknown_variant(&tag.to_string(), &["0", "1", "2", "3", "4"]))?;
        Self::new(kind, &name).map_err(D::Error::custom)
    }
}

/// An earlier release, for tests of two in one mesh.
pub(crate) mod older {
    use super::Kind;

    #[cfg(test)]
    thread_local! {
        static LACKS: std::cell::Cell<Option<Kind>> = const { std::cell::Cell::new(None) };
    }

    /// Runs `act` as a release that does not have the type `lacks` would, on this thread.
    #[cfg(test)]
    pub(crate) fn without<R>(lacks: Kind, act: impl FnOnce() -> R) -> R {
        LACKS.set(Some(lacks));
        let result = act();
        LACKS.set(None);
        result
    }

    #[cfg(test)]
    pub(super) fn knows(kind: Kind) -> bool {
        LACKS.get() != Some(kind)
    }

    /// This release knows all of its types.
    #[cfg(not(test))]
    pub(super) const fn knows(_: Kind) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_survive_their_own_text() {
        for text in ["gcounter/kills", "pncounter/hp:42", "gset/seen", "orset/online", "lwwmap/player:42/inventory"] {
            assert_eq!(text.parse::<Key>().map(|key| key.to_string()), Ok(text.to_owned()));
        }
    }

    #[test]
    fn keys_order_by_type_and_then_by_name() {
        let keys = Kind::ALL.into_iter().flat_map(|kind| ["a", "aa", "b", "é"].map(|name| (kind, name)));
        let keys: Vec<Key> = keys.map(|(kind, name)| Key::new(kind, name).expect("a key")).collect();
        assert!(keys.is_sorted());
        assert!(keys.iter().all(|key| Key::new(key.kind(), key.name()).as_ref() == Ok(key)));
        assert!(keys.is_sorted_by_key(|key| key.row().to_vec()));
        assert!(keys.iter().all(|key| Key::from_row(key.row()).as_ref() == Ok(key)));
        for bad in [&b""[..], b"0", b"5a", b"0\xff", b"0a\n", &[1, 0x82, 0, 0x61, 0x61]] {
            assert!(Key::from_row(bad).is_err(), "{bad:?}");
        }
        assert_eq!(size_of::<Key>(), 16);
    }

    #[test]
    fn text_that_is_no_key_says_why() {
        let check = |text: &str, expect: KeyError| assert_eq!(text.parse::<Key>(), Err(expect), "{text}");
        check("kills", KeyError::NoSlash);
        check("counter/kills", KeyError::UnknownKind("counter".into()));
        check("gset/", KeyError::EmptyName);
        check("gset/a\nb", KeyError::ControlCharacter);
        check(&format!("gset/{}", "x".repeat(257)), KeyError::LongName(257));
    }
}
