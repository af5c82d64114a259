//! The lists of the interface `state` natively: many counters of one family at once.
//!
//! Owns the names of a family's members; the values are those of `testing`. The invariant: names, types and refusals are those
//! of `workloads/wit/state.wit`.

use std::fmt;

use super::Error;
use crate::names::Names;
use crate::testing::{Kind, Object, during};

/// Why a list was refused. Entries before the one at fault have been done; it and those behind it have not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The entry at fault, counted from 0.
    pub index: u32,
    /// What is wrong with it.
    pub error: Error,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl std::error::Error for Refusal {}

/// What to add to one G-counter of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GcounterChange {
    /// The number that the counter's name ends in.
    pub id: u64,
    /// What to add.
    pub increment: u64,
}

/// What to do to one PN-counter of a family, in one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PncounterChange {
    /// The number that the counter's name ends in.
    pub id: u64,
    /// Added if nobody has written the counter, which writes it even with 0.
    pub initial: u64,
    /// What to add.
    pub increment: u64,
    /// What to take.
    pub decrement: u64,
}

/// Adds to counters that only grow: `family` and the number in decimal are a counter's name.
///
/// # Errors
/// The first entry that an operation on a handle would have refused.
pub fn increment_gcounters(family: &str, changes: &[GcounterChange]) -> Result<(), Refusal> {
    change(Kind::Gcounter, family, changes.iter().map(|change| (change.id, (0, change.increment, 0))))
}

/// Starts, raises and lowers counters. An entry that neither starts a counter nor moves it writes nothing.
///
/// # Errors
/// The first entry that an operation on a handle would have refused.
pub fn change_pncounters(family: &str, changes: &[PncounterChange]) -> Result<(), Refusal> {
    let changes = changes.iter().map(|change| (change.id, (change.initial, change.increment, change.decrement)));
    change(Kind::Pncounter, family, changes)
}

/// The values of counters, in the order of their numbers; `None` for one that nobody has written.
///
/// # Errors
/// The first entry whose name is no name.
pub fn gcounter_values(family: &str, ids: &[u64]) -> Result<Vec<Option<u64>>, Refusal> {
    values(Kind::Gcounter, family, ids, Object::grown)
}

/// The same for counters that go both ways.
///
/// # Errors
/// The first entry whose name is no name.
pub fn pncounter_values(family: &str, ids: &[u64]) -> Result<Vec<Option<i64>>, Refusal> {
    values(Kind::Pncounter, family, ids, Object::saturated)
}

fn change(
    kind: Kind,
    family: &str,
    changes: impl ExactSizeIterator<Item = (u64, (u64, u64, u64))>,
) -> Result<(), Refusal> {
    let mut names = Names::new(family);
    during(|call| {
        call.count_list(changes.len())?;
        for (index, (id, by)) in changes.enumerate() {
            if let Err(error) = call.raise_listed(kind, names.of(id), by)? {
                return Ok(Err(refused(index, error)));
            }
        }
        Ok(Ok(()))
    })
}

fn values<T>(kind: Kind, family: &str, ids: &[u64], value: fn(&Object) -> T) -> Result<Vec<Option<T>>, Refusal> {
    let mut names = Names::new(family);
    during(|call| {
        call.count_list(ids.len())?;
        let mut read = |(index, id): (usize, &u64)| {
            call.read_listed(kind, names.of(*id), value).map_err(|error| refused(index, error))
        };
        Ok(ids.iter().enumerate().map(&mut read).collect())
    })
}

fn refused(index: usize, error: Error) -> Refusal {
    Refusal { index: u32::try_from(index).unwrap_or(u32::MAX), error }
}
