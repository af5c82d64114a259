//! Changes: what a caller wants done to an object, before a replica has given it a dot.
//!
//! Owns the intent and its validation against the key's type. A change becomes an [`Op`](crate::crdt::Op) when it is committed.

use crate::key::{Key, Kind};
use crate::limits::{FIELD_BYTES_MAX, MEMBERS_PER_OP_MAX, OBJECT_BYTES_MAX, SCALAR_BYTES_MAX};
use crate::scalar::Scalar;

/// One thing to do to one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Adds to a G-counter or PN-counter.
    Increment(u64),
    /// Takes from a PN-counter.
    Decrement(u64),
    /// Adds members to a G-set or OR-set.
    Add(Vec<Scalar>),
    /// Removes the members of an OR-set that are there now.
    Remove(Vec<Scalar>),
    /// Writes fields of an LWW-map.
    Put(Vec<(String, Scalar)>),
    /// Removes the fields of an LWW-map that are there now.
    RemoveFields(Vec<String>),
}

/// Why a change was refused. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// The operation does not exist for the key's type.
    #[error("`{operation}` is no operation of a {kind}")]
    WrongKind {
        /// The operation's name in the API.
        operation: &'static str,
        /// The type of the key.
        kind: Kind,
    },
    /// A value is larger than [`SCALAR_BYTES_MAX`].
    #[error("a value has {bytes} bytes; at most {SCALAR_BYTES_MAX} are allowed")]
    LargeValue {
        /// Its size.
        bytes: usize,
    },
    /// A field's name is empty or longer than [`FIELD_BYTES_MAX`].
    #[error("a field's name has {bytes} bytes; 1 to {FIELD_BYTES_MAX} are allowed")]
    FieldName {
        /// Its size.
        bytes: usize,
    },
    /// More members or fields at once than [`MEMBERS_PER_OP_MAX`].
    #[error("{count} members at once; at most {MEMBERS_PER_OP_MAX} are allowed")]
    TooMany {
        /// How many were given.
        count: usize,
    },
    /// The object holds [`OBJECT_BYTES_MAX`] bytes already.
    #[error("the object holds {OBJECT_BYTES_MAX} bytes already; spread what it holds over several keys")]
    ObjectFull,
    /// The counter would pass the greatest total that one replica may reach.
    #[error("the counter would overflow")]
    Overflow,
}

impl Change {
    /// The operation's name in the API.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Increment(_) => "increment",
            Self::Decrement(_) => "decrement",
            Self::Add(_) => "add",
            Self::Remove(_) | Self::RemoveFields(_) => "remove",
            Self::Put(_) => "put",
        }
    }

    /// Whether the change can make an object larger.
    #[must_use]
    pub const fn adds(&self) -> bool {
        match self {
            Self::Add(_) | Self::Put(_) => true,
            Self::Increment(_) | Self::Decrement(_) | Self::Remove(_) | Self::RemoveFields(_) => false,
        }
    }

    /// Checks the change against the type of `key` and the bounds.
    ///
    /// # Errors
    /// Every [`ChangeError`] but `Overflow`, which only the current total can tell.
    pub fn validate(&self, key: &Key) -> Result<(), ChangeError> {
        let kind = key.kind();
        match (self, kind) {
            (Self::Increment(_), Kind::GCounter | Kind::PnCounter) | (Self::Decrement(_), Kind::PnCounter) => Ok(()),
            (Self::Add(members), Kind::GSet | Kind::OrSet) | (Self::Remove(members), Kind::OrSet) => {
                check_count(members.len())?;
                members.iter().try_for_each(check_scalar)
            }
            (Self::Put(fields), Kind::LwwMap) => {
                check_count(fields.len())?;
                fields.iter().try_for_each(|(field, value)| check_field(field).and_then(|()| check_scalar(value)))
            }
            (Self::RemoveFields(fields), Kind::LwwMap) => {
                check_count(fields.len())?;
                fields.iter().try_for_each(|field| check_field(field))
            }
            (operation, kind) => Err(ChangeError::WrongKind { operation: operation.name(), kind }),
        }
    }
}

fn check_count(count: usize) -> Result<(), ChangeError> {
    if count > MEMBERS_PER_OP_MAX { Err(ChangeError::TooMany { count }) } else { Ok(()) }
}

fn check_scalar(value: &Scalar) -> Result<(), ChangeError> {
    if value.fits() { Ok(()) } else { Err(ChangeError::LargeValue { bytes: value.weight() }) }
}

fn check_field(field: &str) -> Result<(), ChangeError> {
    match field.len() {
        1..=FIELD_BYTES_MAX => Ok(()),
        bytes => Err(ChangeError::FieldName { bytes }),
    }
}
