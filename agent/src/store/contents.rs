//! Reading the database back, row by row, and noting what is damaged.
//!
//! Owns the reading of facts, named values and objects; judges nothing. The invariant: nothing is returned whose checksum does
//! not hold.

use std::collections::BTreeMap;
use std::io;

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
    FACT_VECTOR, FACTS, LogPlace, META, OBJECTS, ROW_BYTES_MAX,
};

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
    let transaction = database.begin_read().map_err(reading_failed)?;
    let mut contents = Contents::default();
    let damage = &mut contents.damage;
    contents.identity = read_fact(&transaction, FACT_IDENTITY, damage)?;
    contents.vector = read_fact(&transaction, FACT_VECTOR, damage)?.unwrap_or_default();
    contents.ahead = read_fact(&transaction, FACT_AHEAD, damage)?.unwrap_or_default();
    contents.latest = read_fact(&transaction, FACT_LATEST, damage)?.unwrap_or_default();
    contents.orphans = read_fact(&transaction, FACT_ORPHANS, damage)?.unwrap_or_default();
    contents.place = read_fact(&transaction, FACT_LOG, damage)?;
    contents.own_damaged = fact_row(&transaction, FACT_OWN_DAMAGED)?.is_some();
    if let Some(what) = fact_row(&transaction, FACT_DAMAGED)? {
        damage.push(String::from_utf8_lossy(&what).into_owned());
    } else if contents.place.is_none() {
        damage.push("where the log begins is not known".to_owned());
    }
    contents.meta = read_meta(&transaction)?;
    contents.objects = read_objects(&transaction, damage)?;
    Ok(contents)
}

/// The format's version; `None` in a new database.
pub(super) fn format(database: &Database) -> Result<Option<u32>, StoreError> {
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

fn fact_row(transaction: &ReadTransaction, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
    let facts = transaction.open_table(FACTS).map_err(reading_failed)?;
    let row = facts.get(name).map_err(reading_failed)?;
    Ok(row.map(|row| row.value().to_vec()))
}

fn read_fact<T: DeserializeOwned>(
    transaction: &ReadTransaction,
    name: &str,
    damage: &mut Vec<String>,
) -> Result<Option<T>, StoreError> {
    let Some(row) = fact_row(transaction, name)? else { return Ok(None) };
    let content = layout::unseal("facts", name.as_bytes(), &row);
    let fact = content.and_then(|content| codec::decode(content, ROW_BYTES_MAX).ok());
    if fact.is_none() {
        damage.push(format!("the fact `{name}`"));
    }
    Ok(fact)
}

/// A damaged value counts as missing: each of them can be had again.
fn read_meta(transaction: &ReadTransaction) -> Result<BTreeMap<String, Vec<u8>>, StoreError> {
    let mut meta = BTreeMap::new();
    for_each_row(transaction, META, |name, row| match layout::unseal("meta", name.as_bytes(), row) {
        Some(value) => drop(meta.insert(name.to_owned(), value.to_vec())),
        None => tracing::error!(name, "a named value is damaged and counts as missing"),
    })?;
    Ok(meta)
}

fn read_objects(
    transaction: &ReadTransaction,
    damage: &mut Vec<String>,
) -> Result<Vec<(Key, ObjectState)>, StoreError> {
    let mut objects = Vec::new();
    for_each_row(transaction, OBJECTS, |key, row| match read_object(key, row) {
        Ok(object) => objects.push(object),
        Err(what) => damage.push(what),
    })?;
    Ok(objects)
}

fn read_object(bytes: &[u8], row: &[u8]) -> Result<(Key, ObjectState), String> {
    let key = layout::parse_object_key(bytes).ok_or("the key of an object")?;
    let content = layout::unseal("objects", bytes, row).ok_or_else(|| format!("the object {key}"))?;
    let state = layout::decode_object(content).map_err(|error| format!("the object {key}: {error}"))?;
    state.validate(key.kind()).map_err(|error| format!("the object {key}: {error}"))?;
    Ok((key, state))
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
