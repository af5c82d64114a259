//! Format 1 kept the log in the database, checked rows with BLAKE3 and named objects in CBOR.

use std::collections::BTreeMap;

use redb::{Database, ReadableDatabase, TableDefinition};
use selvedge_sync::causal::VersionVector;
use selvedge_sync::codec;
use selvedge_sync::commit::CommitBytes;
use selvedge_sync::crdt::ObjectState;
use selvedge_sync::id::{Incarnation, NodeId, ReplicaId, Scope, Stream};
use selvedge_sync::key::Key;
use serde::de::DeserializeOwned;

use super::{Ground, two_to_three};
use crate::store::contents::{for_each_row, guarded, reading_failed};
use crate::store::error::StoreError;
use crate::store::layout::{
    self, FACT_AHEAD, FACT_IDENTITY, FACT_LOG, FACT_OWN_DAMAGED, FACT_VECTOR, FACTS, LogPlace, META, OBJECTS,
    ROW_BYTES_MAX,
};
use crate::store::log::{Log, Rows};
use crate::store::recovery::failed;
use crate::store::{Identity, runs, writer};

/// Encoded commits, by stream and sequence number.
pub(in crate::store) const LOG: TableDefinition<'_, &LogKey, &[u8]> = TableDefinition::new("log");

/// Scope, node, incarnation and sequence number, so that rows lie in order of stream, then of number.
pub(in crate::store) type LogKey = [u8; 52];

const CHECKSUM_BYTES: usize = 16;

/// Rows of the database as they were found: key and sealed content.
#[derive(Default)]
struct Old {
    log: Rows,
    objects: Vec<(Vec<u8>, Vec<u8>)>,
    meta: Vec<(String, Vec<u8>)>,
    facts: BTreeMap<&'static str, Vec<u8>>,
}

pub(super) fn run(ground: &Ground<'_>) -> Result<(), StoreError> {
    let old = guarded(|| read(ground.database))?;
    let vector: VersionVector = old.fact(FACT_VECTOR).unwrap_or_default();
    let own = old.fact::<Identity>(FACT_IDENTITY).map(|identity| Stream::global(identity.replica));
    let own_damaged = own.is_some_and(|own| {
        let mut rows = old.log.get(&own).into_iter().flatten();
        rows.any(|(seq, row)| row.is_none() && *seq > vector.seq(&own))
    });
    // Written before the transaction that makes it the log. Until then it is a generation that nobody reads.
    let mut log = Log::anew(ground.folder, 0).map_err(failed)?;
    log.append_all(&runs::intact(old.log.clone())).map_err(failed)?;
    guarded(|| write(ground.database, &old, &log, own_damaged).map_err(StoreError::failed))
}

fn read(database: &Database) -> Result<Old, StoreError> {
    let transaction = database.begin_read().map_err(reading_failed)?;
    let mut old = Old::default();
    for_each_row(&transaction, LOG, |key, row| {
        let (stream, seq) = parse_log_key(key);
        let commit = unseal("log", key, row).map(CommitBytes::from_bytes);
        old.log.entry(stream).or_default().insert(seq, commit);
    })?;
    for_each_row(&transaction, OBJECTS, |key, row| old.objects.push((key.to_vec(), row.to_vec())))?;
    for_each_row(&transaction, META, |name, row| old.meta.push((name.to_owned(), row.to_vec())))?;
    let facts = transaction.open_table(FACTS).map_err(reading_failed)?;
    for name in [FACT_IDENTITY, FACT_VECTOR, FACT_AHEAD] {
        if let Some(row) = facts.get(name).map_err(reading_failed)? {
            old.facts.insert(name, row.value().to_vec());
        }
    }
    Ok(old)
}

impl Old {
    fn fact<T: DeserializeOwned>(&self, name: &'static str) -> Option<T> {
        let content = unseal("facts", name.as_bytes(), self.facts.get(name)?)?;
        codec::decode(content, ROW_BYTES_MAX).ok()
    }
}

/// Rows are sealed anew. One that was damaged is left as it is, which the new seal does not accept either.
fn write(database: &Database, old: &Old, log: &Log, own_damaged: bool) -> Result<(), redb::Error> {
    let transaction = writer::begin(database)?;
    transaction.delete_table(OBJECTS)?;
    transaction.delete_table(LOG)?;
    {
        let mut objects = transaction.open_table(OBJECTS)?;
        for (key, row) in &old.objects {
            match object(key, row) {
                Some((key, state)) => {
                    let key = layout::object_key(&key);
                    let row = layout::seal("objects", &key, &layout::encode_object(&state));
                    objects.insert(key.as_slice(), row.as_slice())?;
                }
                None => drop(objects.insert(key.as_slice(), row.as_slice())?),
            }
        }
        let mut meta = transaction.open_table(META)?;
        for (name, row) in &old.meta {
            if let Some(value) = unseal("meta", name.as_bytes(), row) {
                meta.insert(name.as_str(), layout::seal("meta", name.as_bytes(), value).as_slice())?;
            }
        }
        // This table was not emptied: a fact that is damaged lies there as it was.
        let mut facts = transaction.open_table(FACTS)?;
        for (name, row) in &old.facts {
            if let Some(content) = unseal("facts", name.as_bytes(), row) {
                facts.insert(*name, layout::seal("facts", name.as_bytes(), content).as_slice())?;
            }
        }
        if own_damaged {
            facts.insert(FACT_OWN_DAMAGED, [].as_slice())?;
        }
        let place = LogPlace { generation: log.generation(), covered: 0, firsts: Vec::new() };
        let row = layout::seal("facts", FACT_LOG.as_bytes(), &codec::encode(&place));
        facts.insert(FACT_LOG, row.as_slice())?;
    }
    two_to_three::finish(&transaction)?;
    Ok(transaction.commit()?)
}

fn object(key: &[u8], row: &[u8]) -> Option<(Key, ObjectState)> {
    let content = unseal("objects", key, row)?;
    Some((codec::decode(key, ROW_BYTES_MAX).ok()?, codec::decode(content, ROW_BYTES_MAX).ok()?))
}

/// The stream and the sequence number that a key stands for.
fn parse_log_key(key: &LogKey) -> (Stream, u64) {
    let (mut scope, mut node, mut incarnation, mut seq) = ([0; 4], [0; 32], [0; 8], [0; 8]);
    scope.copy_from_slice(&key[..4]);
    node.copy_from_slice(&key[4..36]);
    incarnation.copy_from_slice(&key[36..44]);
    seq.copy_from_slice(&key[44..]);
    let replica = ReplicaId { node: NodeId(node), incarnation: Incarnation(u64::from_be_bytes(incarnation)) };
    (Stream { scope: Scope(u32::from_be_bytes(scope)), replica }, u64::from_be_bytes(seq))
}

fn unseal<'a>(table: &str, key: &[u8], row: &'a [u8]) -> Option<&'a [u8]> {
    let (sum, content) = row.split_at_checked(CHECKSUM_BYTES)?;
    (sum == checksum(table, key, content)).then_some(content)
}

pub(in crate::store) fn checksum(table: &str, key: &[u8], content: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut hasher = blake3::Hasher::new_derive_key("selvedge store row v1");
    for part in [table.as_bytes(), key] {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.update(content);
    let mut sum = [0; CHECKSUM_BYTES];
    sum.copy_from_slice(&hasher.finalize().as_bytes()[..CHECKSUM_BYTES]);
    sum
}
