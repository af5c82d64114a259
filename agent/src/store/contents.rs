//! Reading the database back, and noting what is damaged.
//!
//! Owns the reading of facts and named values, and puts the `objects` to them; judges nothing. The invariant: nothing is returned whose checksum does
//! not hold.

use std::any::Any;
use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, TableError};
use selvedge_sync::causal::VersionVector;
use selvedge_sync::codec;
use selvedge_sync::crdt::ObjectState;
use selvedge_sync::hlc::Hlc;
use selvedge_sync::key::Key;
use selvedge_sync::replica::{Ahead, Orphans};
use serde::de::DeserializeOwned;

use super::Identity;
use super::error::StoreError;
use super::layout::{
    self, FACT_AHEAD, FACT_DAMAGED, FACT_FORMAT, FACT_IDENTITY, FACT_LATEST, FACT_LOG, FACT_ORPHANS, FACT_OWN_DAMAGED,
    FACT_TALLY, FACT_VECTOR, FACTS, LogPlace, META, ROW_BYTES_MAX,
};
use super::objects;
use super::rows::Tally;

/// What a disk says of a block that it cannot read: `EIO`.
const UNREADABLE: i32 = 5;

/// What the database holds.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pub(super) identity: Option<Identity>,
    pub(super) vector: VersionVector,
    pub(super) ahead: Ahead,
    pub(super) latest: Hlc,
    pub(super) orphans: Orphans,
    pub(super) place: Option<LogPlace>,
    pub(super) own_damaged: bool,
    pub(super) objects: Vec<(Key, ObjectState)>,
    pub(super) meta: BTreeMap<String, Vec<u8>>,
    /// What of the checkpoint is damaged.
    pub(super) damage: Vec<String>,
}

/// Reads everything.
///
/// # Errors
/// The database itself cannot be read.
pub(super) fn read(database: &Database) -> Result<Contents, StoreError> {
    let transaction = guarded(|| database.begin_read().map_err(reading_failed))?;
    let (facts, meta) = guarded(|| Ok((rows_of(&transaction, FACTS)?, rows_of(&transaction, META)?)))?;
    let objects::Found { objects, mut damage, mut tally } = objects::read(&transaction)?;
    for (name, row) in &facts {
        tally.count_fact(name, row);
    }
    let mut facts = Facts { rows: facts, damage: Vec::new() };
    let mut contents = Contents {
        identity: facts.read(FACT_IDENTITY),
        vector: facts.read(FACT_VECTOR).unwrap_or_default(),
        ahead: facts.read(FACT_AHEAD).unwrap_or_default(),
        latest: facts.read(FACT_LATEST).unwrap_or_default(),
        orphans: facts.read(FACT_ORPHANS).unwrap_or_default(),
        place: facts.read(FACT_LOG),
        own_damaged: facts.rows.contains_key(FACT_OWN_DAMAGED),
        objects,
        meta: whole_meta(meta),
        damage: Vec::new(),
    };
    let noted: Option<Tally> = facts.read(FACT_TALLY);
    damage.append(&mut facts.damage);
    if let Some(what) = facts.rows.get(FACT_DAMAGED) {
        damage.push(String::from_utf8_lossy(what).into_owned());
    } else if contents.place.is_none() {
        damage.push("where the log begins is not known".to_owned());
    } else if damage.is_empty() && noted != Some(tally) {
        damage.push(format!("rows are missing or out of date: {noted:?} were written, {tally:?} are there"));
    }
    contents.damage = damage;
    Ok(contents)
}

/// Does what the database is asked to do. It panics over some kinds of damage, so that a panic here is damage; everywhere else it
/// is a mistake of ours, and nothing is set aside for it.
pub(super) fn guarded<T>(work: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    let message = |panic: &(dyn Any + Send)| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        text.unwrap_or("the database panicked").to_owned()
    };
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(damaged(message(panic.as_ref()))))
}

/// The format's version; `None` in a new database.
pub(super) fn format(database: &Database) -> Result<Option<u32>, StoreError> {
    guarded(|| read_format(database))
}

fn read_format(database: &Database) -> Result<Option<u32>, StoreError> {
    let transaction = database.begin_read().map_err(reading_failed)?;
    let facts = match transaction.open_table(FACTS) {
        Ok(facts) => facts,
        Err(TableError::TableDoesNotExist(_)) => return Ok(None),
        Err(error) => return Err(reading_failed(error)),
    };
    let row = facts.get(FACT_FORMAT).map_err(reading_failed)?;
    let bytes = row.map(|row| <[u8; 4]>::try_from(row.value())).transpose();
    match bytes.map_err(|_| damaged("the format's version"))? {
        Some(bytes) => Ok(Some(u32::from_le_bytes(bytes))),
        None => Err(damaged("the format's version is missing")),
    }
}

/// Why a database did not open, told as damage when it is that.
pub(super) fn opening_failed(error: redb::Error) -> StoreError {
    match error {
        redb::Error::Corrupted(what) => damaged(what),
        redb::Error::Io(error) if is_damage(&error) => damaged(error.to_string()),
        other => StoreError::failed(other),
    }
}

pub(super) fn damaged(what: impl Into<String>) -> StoreError {
    StoreError::Damaged { what: what.into() }
}

pub(super) fn reading_failed(error: impl Into<redb::Error>) -> StoreError {
    opening_failed(error.into())
}

fn is_damage(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
        || error.raw_os_error() == Some(UNREADABLE)
}

/// Facts as they were found, and those of them that turned out to be damaged.
struct Facts {
    rows: BTreeMap<String, Vec<u8>>,
    damage: Vec<String>,
}

impl Facts {
    fn read<T: DeserializeOwned>(&mut self, name: &str) -> Option<T> {
        let row = self.rows.get(name)?;
        let content = layout::unseal("facts", name.as_bytes(), row);
        let fact = content.and_then(|content| codec::decode(content, ROW_BYTES_MAX).ok());
        if fact.is_none() {
            self.damage.push(format!("the fact `{name}`"));
        }
        fact
    }
}

fn rows_of(
    transaction: &ReadTransaction,
    table: TableDefinition<'_, &'static str, &'static [u8]>,
) -> Result<BTreeMap<String, Vec<u8>>, StoreError> {
    let mut rows = BTreeMap::new();
    for_each_row(transaction, table, |name, row| drop(rows.insert(name.to_owned(), row.to_vec())))?;
    Ok(rows)
}

/// A damaged value counts as missing: each of them can be had again.
fn whole_meta(rows: BTreeMap<String, Vec<u8>>) -> BTreeMap<String, Vec<u8>> {
    let whole = |(name, row): (String, Vec<u8>)| {
        let value = layout::unseal("meta", name.as_bytes(), &row).map(<[u8]>::to_vec);
        if value.is_none() {
            tracing::error!(name, "a named value is damaged and counts as missing");
        }
        Some((name, value?))
    };
    rows.into_iter().filter_map(whole).collect()
}

/// Calls `act` with key and value of each row, in order.
pub(super) fn for_each_row<K: redb::Key + 'static, V: redb::Value + 'static>(
    transaction: &ReadTransaction,
    table: TableDefinition<'_, K, V>,
    mut act: impl for<'a> FnMut(K::SelfType<'a>, V::SelfType<'a>),
) -> Result<(), StoreError> {
    let table = transaction.open_table(table).map_err(reading_failed)?;
    for row in table.iter().map_err(reading_failed)? {
        let (key, value) = row.map_err(reading_failed)?;
        act(key.value(), value.value());
    }
    Ok(())
}
