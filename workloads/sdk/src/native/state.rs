//! The interface `state` natively: five CRDTs through handles, over the call in progress.
//!
//! Owns the handles; the values are those of `testing`. The invariant: names, types and refusals are those of
//! `workloads/wit/state.wit`.

mod families;

use std::fmt;

pub use self::families::{
    GcounterChange, PncounterChange, Refusal, change_pncounters, gcounter_values, increment_gcounters, pncounter_values,
};
use crate::testing::{Kind, Object, during};

/// One value inside a set or a map.
#[derive(Clone, PartialEq)]
pub enum Scalar {
    /// Nothing, on purpose.
    Null,
    /// True or false.
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// Finite: not-a-number and infinities are refused.
    Number(f64),
    /// Text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
}

/// Why an operation was refused. It changed nothing, and the call may go on.
#[derive(Clone, PartialEq, Eq)]
pub enum Error {
    /// The name of a key or a field is empty, too long or has a character that names may not have. Says which.
    InvalidName(String),
    /// A value that cannot be stored, such as a number that is not finite.
    InvalidValue(String),
    /// A text, a byte string or a list of them is longer than the state allows. Says the limit.
    TooLarge(String),
    /// The counter would leave the range of 64 bits.
    Overflow,
    /// A limit of the workload is used up. Says which one.
    Limit(String),
}

// The bindings name the type before the variant. Whoever logs a value logs the same on both sides.
impl fmt::Debug for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("Scalar::Null"),
            Self::Boolean(value) => f.debug_tuple("Scalar::Boolean").field(value).finish(),
            Self::Integer(value) => f.debug_tuple("Scalar::Integer").field(value).finish(),
            Self::Number(value) => f.debug_tuple("Scalar::Number").field(value).finish(),
            Self::Text(value) => f.debug_tuple("Scalar::Text").field(value).finish(),
            Self::Bytes(value) => f.debug_tuple("Scalar::Bytes").field(value).finish(),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidName(why) => f.debug_tuple("Error::InvalidName").field(why).finish(),
            Self::InvalidValue(why) => f.debug_tuple("Error::InvalidValue").field(why).finish(),
            Self::TooLarge(why) => f.debug_tuple("Error::TooLarge").field(why).finish(),
            Self::Overflow => f.write_str("Error::Overflow"),
            Self::Limit(why) => f.debug_tuple("Error::Limit").field(why).finish(),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl std::error::Error for Error {}

/// The name of one key, held open.
#[derive(Debug)]
struct Handle {
    kind: Kind,
    name: String,
}

impl Handle {
    fn open(kind: Kind, name: &str) -> Result<Self, Error> {
        during(|call| call.open(name))?;
        Ok(Self { kind, name: name.to_owned() })
    }

    fn read<R>(&self, read: impl FnOnce(Option<&Object>) -> R) -> R {
        during(|call| call.read(self.kind, &self.name, read))
    }

    fn raise(&self, up: u64, down: u64) -> Result<(), Error> {
        during(|call| call.raise(self.kind, &self.name, up, down))
    }

    fn assign(&self, members: &[Scalar], add: bool) -> Result<(), Error> {
        during(|call| call.assign(self.kind, &self.name, members, add))
    }

    fn contains(&self, member: &Scalar) -> bool {
        self.read(|object| object.is_some_and(|object| object.contains(member)))
    }

    fn members(&self) -> Vec<Scalar> {
        self.read(|object| object.map(Object::members).unwrap_or_default())
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        crate::testing::closed();
    }
}

/// A counter that only grows: kills, damage dealt, offences.
#[derive(Debug)]
pub struct Gcounter(Handle);

impl Gcounter {
    /// A handle to the key of this name; makes no write.
    ///
    /// # Errors
    /// The name is no name, or too many handles are open.
    pub fn new(name: &str) -> Result<Self, Error> {
        Handle::open(Kind::Gcounter, name).map(Self)
    }

    /// Whether any write to this key has arrived here, this call's own included.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.0.read(|object| object.is_some())
    }

    /// Adds to it.
    ///
    /// # Errors
    /// It would overflow.
    pub fn increment(&self, by: u64) -> Result<(), Error> {
        self.0.raise(by, 0)
    }

    /// Its value.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.read(|object| object.map_or(0, Object::grown))
    }
}

/// A counter that goes both ways: health, stock, suspicion.
#[derive(Debug)]
pub struct Pncounter(Handle);

impl Pncounter {
    /// A handle to the key of this name; makes no write.
    ///
    /// # Errors
    /// The name is no name, or too many handles are open.
    pub fn new(name: &str) -> Result<Self, Error> {
        Handle::open(Kind::Pncounter, name).map(Self)
    }

    /// Whether any write to this key has arrived here, this call's own included.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.0.read(|object| object.is_some())
    }

    /// Adds to it.
    ///
    /// # Errors
    /// It would overflow.
    pub fn increment(&self, by: u64) -> Result<(), Error> {
        self.0.raise(by, 0)
    }

    /// Takes from it.
    ///
    /// # Errors
    /// It would overflow.
    pub fn decrement(&self, by: u64) -> Result<(), Error> {
        self.0.raise(0, by)
    }

    /// Its value.
    #[must_use]
    pub fn value(&self) -> i64 {
        self.0.read(|object| object.map_or(0, Object::saturated))
    }
}

/// A set that only grows.
#[derive(Debug)]
pub struct Gset(Handle);

impl Gset {
    /// A handle to the key of this name; makes no write.
    ///
    /// # Errors
    /// The name is no name, or too many handles are open.
    pub fn new(name: &str) -> Result<Self, Error> {
        Handle::open(Kind::Gset, name).map(Self)
    }

    /// Adds members.
    ///
    /// # Errors
    /// A member cannot be stored, or there are too many.
    pub fn add(&self, members: &[Scalar]) -> Result<(), Error> {
        self.0.assign(members, true)
    }

    /// Whether it has this member.
    #[must_use]
    pub fn contains(&self, member: &Scalar) -> bool {
        self.0.contains(member)
    }

    /// Its members, in ascending order.
    #[must_use]
    pub fn members(&self) -> Vec<Scalar> {
        self.0.members()
    }
}

/// A set whose members can be removed.
#[derive(Debug)]
pub struct Orset(Handle);

impl Orset {
    /// A handle to the key of this name; makes no write.
    ///
    /// # Errors
    /// The name is no name, or too many handles are open.
    pub fn new(name: &str) -> Result<Self, Error> {
        Handle::open(Kind::Orset, name).map(Self)
    }

    /// Adds members.
    ///
    /// # Errors
    /// A member cannot be stored, or there are too many.
    pub fn add(&self, members: &[Scalar]) -> Result<(), Error> {
        self.0.assign(members, true)
    }

    /// Removes those members that are there.
    ///
    /// # Errors
    /// A value cannot be a member, or there are too many.
    pub fn remove(&self, members: &[Scalar]) -> Result<(), Error> {
        self.0.assign(members, false)
    }

    /// Whether it has this member.
    #[must_use]
    pub fn contains(&self, member: &Scalar) -> bool {
        self.0.contains(member)
    }

    /// Its members, in ascending order.
    #[must_use]
    pub fn members(&self) -> Vec<Scalar> {
        self.0.members()
    }
}

/// A map whose fields are overwritten by the later write.
#[derive(Debug)]
pub struct Lwwmap(Handle);

impl Lwwmap {
    /// A handle to the key of this name; makes no write.
    ///
    /// # Errors
    /// The name is no name, or too many handles are open.
    pub fn new(name: &str) -> Result<Self, Error> {
        Handle::open(Kind::Lwwmap, name).map(Self)
    }

    /// Writes fields.
    ///
    /// # Errors
    /// A field's name is no name, a value cannot be stored, or there are too many.
    pub fn put(&self, entries: &[(String, Scalar)]) -> Result<(), Error> {
        during(|call| call.put(&self.0.name, entries))
    }

    /// Removes those fields that are there.
    ///
    /// # Errors
    /// A field's name is no name, or there are too many.
    pub fn remove(&self, fields: &[String]) -> Result<(), Error> {
        during(|call| call.remove_fields(&self.0.name, fields))
    }

    /// The value of a field.
    #[must_use]
    pub fn get(&self, field: &str) -> Option<Scalar> {
        self.0.read(|object| object.and_then(|object| object.field(field)))
    }

    /// Its fields, in ascending order of their names.
    #[must_use]
    pub fn entries(&self) -> Vec<(String, Scalar)> {
        self.0.read(|object| object.map(Object::entries).unwrap_or_default())
    }
}
