//! The lists of the interface `state`: many counters of one family in one crossing.
//!
//! Owns the names of a family's members. The invariants: an entry of a list does and is refused what its operations on a handle
//! would be; it counts as one host call and one write, however many operations it stands for; and a list keeps the call's deadline.

use std::fmt::Write as _;

use selvedge_sync::draft::Count;
use selvedge_sync::key::{Key, Kind};
use wasmtime::{Result, Trap};

use super::state::{grown, key, refusal, saturated};
use super::wit::state as wit;
use crate::wasm::instance::CallState;

type Refusable<T> = Result<std::result::Result<T, wit::Refusal>>;

/// Entries after which the clock is looked at: some fifty microseconds of work. Guests are interrupted between their own instructions, and
/// nobody interrupts the host.
const LOOK_EVERY: usize = 128;

/// The digits of the largest number.
const DIGITS_MAX: usize = 20;

/// Counters of one type whose names have one beginning; one buffer takes each name in turn.
struct Family {
    kind: Kind,
    name: String,
    prefix: usize,
}

impl Family {
    fn new(kind: Kind, mut name: String) -> Self {
        let prefix = name.len();
        name.reserve(DIGITS_MAX);
        Self { kind, name, prefix }
    }

    /// The key of member `id`.
    fn key(&mut self, id: u64) -> std::result::Result<Key, wit::Error> {
        self.name.truncate(self.prefix);
        write!(self.name, "{id}").expect("a string takes digits");
        key(self.kind, &self.name)
    }
}

impl CallState {
    fn count_family(
        &mut self,
        mut family: Family,
        changes: impl ExactSizeIterator<Item = (u64, Count)>,
    ) -> Refusable<()> {
        self.count_host_calls(changes.len())?;
        for (index, (id, by)) in changes.enumerate() {
            self.check_time(index)?;
            let key = match family.key(id) {
                Ok(key) => key,
                Err(error) => return Ok(Err(refused(index, error))),
            };
            self.count_counted(&key)?;
            if let Err(error) = self.draft.count(key, by) {
                return Ok(Err(refused(index, refusal(&error))));
            }
        }
        Ok(Ok(()))
    }

    fn family_values<T>(&mut self, mut family: Family, ids: &[u64], value: fn(i128) -> T) -> Refusable<Vec<Option<T>>> {
        self.count_host_calls(ids.len())?;
        let mut values = Vec::with_capacity(ids.len());
        for (index, id) in ids.iter().enumerate() {
            self.check_time(index)?;
            match family.key(*id) {
                Ok(key) => values.push(self.draft.counter(&key).map(value)),
                Err(error) => return Ok(Err(refused(index, error))),
            }
        }
        Ok(Ok(values))
    }

    /// Ends the call at entry `index` of a list, if its time is over.
    fn check_time(&self, index: usize) -> Result<()> {
        if index.is_multiple_of(LOOK_EVERY) && self.is_over() { Err(Trap::Interrupt.into()) } else { Ok(()) }
    }
}

impl wit::Host for CallState {
    fn increment_gcounters(&mut self, family: String, changes: Vec<wit::GcounterChange>) -> Refusable<()> {
        let counts = changes.iter().map(|change| (change.id, Count { up: change.increment, ..Count::default() }));
        self.count_family(Family::new(Kind::GCounter, family), counts)
    }

    fn change_pncounters(&mut self, family: String, changes: Vec<wit::PncounterChange>) -> Refusable<()> {
        let counts = changes.iter().map(|change| {
            let wit::PncounterChange { id, initial, increment, decrement } = *change;
            (id, Count { initial, up: increment, down: decrement })
        });
        self.count_family(Family::new(Kind::PnCounter, family), counts)
    }

    fn gcounter_values(&mut self, family: String, ids: Vec<u64>) -> Refusable<Vec<Option<u64>>> {
        self.family_values(Family::new(Kind::GCounter, family), &ids, grown)
    }

    fn pncounter_values(&mut self, family: String, ids: Vec<u64>) -> Refusable<Vec<Option<i64>>> {
        self.family_values(Family::new(Kind::PnCounter, family), &ids, saturated)
    }
}

fn refused(index: usize, error: wit::Error) -> wit::Refusal {
    wit::Refusal { index: u32::try_from(index).unwrap_or(u32::MAX), error }
}
