//! Reading everything back, and cutting off what is damaged.
//!
//! Owns the judgement over what was found; what it drops it also deletes, so that the next recovery finds the same. The
//! invariant: nothing is returned whose checksum does not hold, and each stream's log continues the checkpoint without a gap.

use std::collections::BTreeMap;

use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, TableError};
use selvedge_sync::causal::VersionVector;
use selvedge_sync::codec;
use selvedge_sync::commit::{Batch, CommitBytes};
use selvedge_sync::crdt::ObjectState;
use selvedge_sync::id::Stream;
use selvedge_sync::key::Key;
use serde::de::DeserializeOwned;

use super::disk::DATABASE_FILE;
use super::error::StoreError;
use super::layout::{
    self, FACT_AHEAD, FACT_FORMAT, FACT_IDENTITY, FACT_OWN_DAMAGED, FACT_VECTOR, FACTS, FORMAT, LOG, LogKey, META,
    OBJECTS,
};
use super::{Cut, Identity, Recovered, writer};

/// Largest encoded object, key or fact that is read back, in bytes. What lies here was written by us and its checksum holds,
/// so this only keeps a mistake of our own from taking all memory.
const ROW_BYTES_MAX: usize = 1024 * 1024 * 1024;

/// Reads what the database holds, after preparing it when it is new.
///
/// # Errors
/// The format is newer, something is damaged that cannot be cut off, or the disk fails.
pub(super) fn recover(database: &Database) -> Result<Recovered, StoreError> {
    match read_format(database)? {
        None => prepare(database).map_err(StoreError::failed)?,
        Some(found) if found > FORMAT => return Err(StoreError::Newer { found, known: FORMAT }),
        Some(_) => {}
    }
    let transaction = database.begin_read().map_err(StoreError::failed)?;
    let identity: Option<Identity> = read_fact(&transaction, FACT_IDENTITY)?;
    let vector: VersionVector = read_fact(&transaction, FACT_VECTOR)?.unwrap_or_default();
    let ahead = read_fact(&transaction, FACT_AHEAD)?.unwrap_or_default();
    let mut recovered = Recovered {
        identity,
        own_damaged: fact_row(&transaction, FACT_OWN_DAMAGED)?.is_some(),
        objects: read_objects(&transaction)?,
        meta: read_meta(&transaction)?,
        ..Recovered::default()
    };
    let scanned = read_log(&transaction, &vector)?;
    drop(transaction);

    recovered.checkpoint_vector = vector;
    recovered.ahead = ahead;
    recovered.log = scanned.log;
    recovered.cuts = scanned.cuts;
    let own = identity.map(|identity| identity.replica);
    let own_cut = recovered.cuts.iter().any(|cut| Some(cut.stream.replica) == own);
    recovered.own_damaged |= own_cut;
    for Cut { stream, from, rows } in &recovered.cuts {
        tracing::warn!(replica = %stream.replica, from, rows, "the log is damaged here and was cut; peers have what is missing");
    }
    if !scanned.dropped.is_empty() || own_cut {
        drop_rows(database, &scanned.dropped, own_cut).map_err(StoreError::failed)?;
    }
    Ok(recovered)
}

/// Why a database did not open, told as damage when it is that.
pub(super) fn opening_failed(error: redb::Error) -> StoreError {
    match error {
        redb::Error::Corrupted(what) => damaged(what),
        redb::Error::Io(error) if error.kind() == std::io::ErrorKind::InvalidData => damaged(error.to_string()),
        other => StoreError::failed(other),
    }
}

fn damaged(what: impl Into<String>) -> StoreError {
    StoreError::Damaged { what: what.into(), file: DATABASE_FILE }
}

fn reading_failed(error: impl Into<redb::Error>) -> StoreError {
    opening_failed(error.into())
}

/// The format's version; `None` in a new database.
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

fn prepare(database: &Database) -> Result<(), redb::Error> {
    let transaction = writer::begin(database)?;
    transaction.open_table(FACTS)?.insert(FACT_FORMAT, FORMAT.to_le_bytes().as_slice())?;
    transaction.open_table(META)?;
    transaction.open_table(LOG)?;
    transaction.open_table(OBJECTS)?;
    Ok(transaction.commit()?)
}

fn fact_row(transaction: &ReadTransaction, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
    let facts = transaction.open_table(FACTS).map_err(reading_failed)?;
    let row = facts.get(name).map_err(reading_failed)?;
    Ok(row.map(|row| row.value().to_vec()))
}

fn read_fact<T: DeserializeOwned>(transaction: &ReadTransaction, name: &str) -> Result<Option<T>, StoreError> {
    let Some(row) = fact_row(transaction, name)? else { return Ok(None) };
    let content = layout::unseal("facts", name.as_bytes(), &row).ok_or_else(|| damaged(name))?;
    codec::decode(content, ROW_BYTES_MAX).map(Some).map_err(|error| damaged(format!("{name}: {error}")))
}

fn read_meta(transaction: &ReadTransaction) -> Result<BTreeMap<String, Vec<u8>>, StoreError> {
    let mut meta = BTreeMap::new();
    for_each_row(transaction, META, |name, row| {
        let value =
            layout::unseal("meta", name.as_bytes(), row).ok_or_else(|| damaged(format!("the value of {name}")))?;
        meta.insert(name.to_owned(), value.to_vec());
        Ok(())
    })?;
    Ok(meta)
}

fn read_objects(transaction: &ReadTransaction) -> Result<Vec<(Key, ObjectState)>, StoreError> {
    let mut objects = Vec::new();
    for_each_row(transaction, OBJECTS, |encoded, row| {
        let content = layout::unseal("objects", encoded, row).ok_or_else(|| damaged("an object's checksum"))?;
        let key: Key = codec::decode(encoded, ROW_BYTES_MAX).map_err(|error| damaged(error.to_string()))?;
        let state: ObjectState =
            codec::decode(content, ROW_BYTES_MAX).map_err(|error| damaged(format!("{key}: {error}")))?;
        state.validate(key.kind()).map_err(|error| damaged(format!("{key}: {error}")))?;
        objects.push((key, state));
        Ok(())
    })?;
    Ok(objects)
}

/// Calls `act` with key and value of each row, in order.
fn for_each_row<K: redb::Key + 'static, V: redb::Value + 'static>(
    transaction: &ReadTransaction,
    table: TableDefinition<'_, K, V>,
    mut act: impl for<'a> FnMut(K::SelfType<'a>, V::SelfType<'a>) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let table = transaction.open_table(table).map_err(reading_failed)?;
    for row in table.iter().map_err(reading_failed)? {
        let (key, value) = row.map_err(reading_failed)?;
        act(key.value(), value.value())?;
    }
    Ok(())
}

/// What came of reading the log.
#[derive(Default)]
struct Scanned {
    log: Vec<Batch>,
    cuts: Vec<Cut>,
    dropped: Vec<LogKey>,
}

fn read_log(transaction: &ReadTransaction, vector: &VersionVector) -> Result<Scanned, StoreError> {
    let mut scanned = Scanned::default();
    let mut scan: Option<StreamScan> = None;
    for_each_row(transaction, LOG, |key, row| {
        let (stream, seq) = layout::parse_log_key(key);
        if scan.as_ref().is_none_or(|scan| scan.run.stream != stream) {
            let next = StreamScan::new(stream, vector.seq(&stream));
            if let Some(ended) = scan.replace(next) {
                ended.end(&mut scanned);
            }
        }
        let commit = layout::unseal("log", key, row).map(CommitBytes::from_bytes);
        if let Some(scan) = &mut scan {
            scan.row(seq, commit);
        }
        Ok(())
    })?;
    if let Some(ended) = scan {
        ended.end(&mut scanned);
    }
    Ok(scanned)
}

/// Reads the log of one stream.
///
/// Above the checkpoint every commit counts: the first that is damaged or missing ends the log. Below it the objects hold
/// everything already, so damage there costs only history that peers might have asked for.
struct StreamScan {
    checkpoint: u64,
    /// The commits that are kept, so far.
    run: Batch,
    cut: Option<Cut>,
    dropped: Vec<u64>,
}

impl StreamScan {
    fn new(stream: Stream, checkpoint: u64) -> Self {
        let run = Batch { stream, first: 0, commits: Vec::new() };
        Self { checkpoint, run, cut: None, dropped: Vec::new() }
    }

    /// The number that continues the run, or the checkpoint where there is no run.
    fn next(&self) -> u64 {
        match self.run.commits.len() {
            0 => self.checkpoint.saturating_add(1),
            length => self.run.first.saturating_add(length as u64),
        }
    }

    fn row(&mut self, seq: u64, commit: Option<CommitBytes>) {
        if let Some(cut) = &mut self.cut {
            cut.rows += 1;
            self.dropped.push(seq);
            return;
        }
        let continues = !self.run.commits.is_empty() && seq == self.next();
        match commit {
            Some(commit) if continues => self.run.commits.push(commit),
            Some(commit) if seq <= self.checkpoint.saturating_add(1) => {
                self.drop_run();
                self.run.first = seq;
                self.run.commits.push(commit);
            }
            None if seq <= self.checkpoint => {
                self.drop_run();
                self.dropped.push(seq);
            }
            Some(_) | None => {
                let from = self.next().max(self.checkpoint.saturating_add(1));
                self.cut = Some(Cut { stream: self.run.stream, from, rows: 1 });
                self.dropped.push(seq);
            }
        }
    }

    /// Gives up history below the checkpoint that does not lead up to it.
    fn drop_run(&mut self) {
        let kept = std::mem::take(&mut self.run.commits);
        self.dropped.extend((self.run.first..).zip(&kept).map(|(seq, _)| seq));
    }

    fn end(mut self, scanned: &mut Scanned) {
        if self.next() <= self.checkpoint {
            self.drop_run();
        }
        scanned.dropped.extend(self.dropped.iter().map(|seq| layout::log_key(&self.run.stream, *seq)));
        scanned.cuts.extend(self.cut);
        if !self.run.commits.is_empty() {
            scanned.log.push(self.run);
        }
    }
}

fn drop_rows(database: &Database, rows: &[LogKey], own_cut: bool) -> Result<(), redb::Error> {
    let transaction = writer::begin(database)?;
    {
        let mut log = transaction.open_table(LOG)?;
        for key in rows {
            log.remove(key)?;
        }
        if own_cut {
            transaction.open_table(FACTS)?.insert(FACT_OWN_DAMAGED, [].as_slice())?;
        }
    }
    Ok(transaction.commit()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use selvedge_sync::id::{Incarnation, NodeId, ReplicaId};

    /// Rows as (number, intact); what is kept as (first, length), what is cut as (from, rows), what is dropped.
    fn check(
        checkpoint: u64,
        rows: &[(u64, bool)],
        kept: Option<(u64, usize)>,
        cut: Option<(u64, u64)>,
        dropped: &[u64],
    ) {
        let stream = Stream::global(ReplicaId { node: NodeId([1; 32]), incarnation: Incarnation(1) });
        let mut scan = StreamScan::new(stream, checkpoint);
        for (seq, intact) in rows {
            scan.row(*seq, intact.then(|| CommitBytes::from_bytes(&seq.to_le_bytes())));
        }
        let mut scanned = Scanned::default();
        scan.end(&mut scanned);
        assert_eq!(scanned.log.first().map(|run| (run.first, run.commits.len())), kept, "kept of {rows:?}");
        for run in &scanned.log {
            let numbers: Vec<_> = run.commits.iter().map(|commit| commit.as_bytes().to_vec()).collect();
            assert!((run.first..).map(|seq| seq.to_le_bytes().to_vec()).zip(&numbers).all(|(a, b)| a == *b));
        }
        assert_eq!(scanned.cuts.first().map(|cut| (cut.from, cut.rows)), cut, "cut of {rows:?}");
        let mut numbers: Vec<_> = scanned.dropped.iter().map(|key| layout::parse_log_key(key).1).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, dropped, "dropped of {rows:?}");
    }

    #[test]
    fn an_intact_log_is_kept_whole() {
        check(0, &[(1, true), (2, true)], Some((1, 2)), None, &[]);
        check(2, &[(1, true), (2, true), (3, true)], Some((1, 3)), None, &[]);
        check(5, &[(6, true)], Some((6, 1)), None, &[]);
        check(5, &[(4, true), (5, true)], Some((4, 2)), None, &[]);
    }

    #[test]
    fn damage_above_the_checkpoint_cuts_the_log() {
        check(0, &[(1, true), (2, false), (3, true)], Some((1, 1)), Some((2, 2)), &[2, 3]);
        check(0, &[(1, false), (2, true)], None, Some((1, 2)), &[1, 2]);
        check(1, &[(1, true), (2, true), (4, true)], Some((1, 2)), Some((3, 1)), &[4]);
        check(3, &[(5, true)], None, Some((4, 1)), &[5]);
        check(3, &[(2, true), (5, true)], None, Some((4, 1)), &[2, 5]);
    }

    #[test]
    fn damage_below_the_checkpoint_costs_only_history() {
        check(3, &[(1, true), (2, false), (3, true), (4, true)], Some((3, 2)), None, &[1, 2]);
        check(3, &[(1, true), (2, true), (3, false), (4, true)], Some((4, 1)), None, &[1, 2, 3]);
        check(9, &[(1, true), (2, true)], None, None, &[1, 2]);
        check(9, &[(1, true), (2, true), (9, true), (10, true)], Some((9, 2)), None, &[1, 2]);
    }
}
