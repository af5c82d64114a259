//! Opening the store: reading everything back, and deciding what to make of damage.
//!
//! Owns the judgement over what was found. What the log lost is cut off and the rest written anew, so that the next start finds
//! the same; what the checkpoint lost cannot be cut off, because what is missing there but covered by the version vector looks
//! to other members as if it had been removed on purpose. Then nothing of it is given out, and the owner begins anew.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use redb::Database;
use selvedge_sync::id::Stream;

use super::contents::{self, Contents, guarded, opening_failed};
use super::disk::Disk;
use super::error::StoreError;
use super::layout::{FACT_DAMAGED, FACT_FORMAT, FACT_LOG, FACT_OWN_DAMAGED, FACTS, FORMAT, LogPlace, META, OBJECTS};
use super::log::{self, Floors, Folder, Found, Log, SegmentName};
use super::rows::Rows;
use super::runs::{self, Runs};
use super::stats::Counters;
use super::{Cut, Orphans, Recovered, migrate, writer};

/// What was damaged is named one by one up to here.
const DAMAGE_NAMED_MAX: usize = 20;

/// A store that is ready to be written to, and what it held.
pub(super) struct Opened {
    pub(super) database: Database,
    pub(super) log: Log,
    pub(super) recovered: Recovered,
    /// What of the checkpoint is damaged.
    pub(super) damaged: Option<String>,
}

/// Opens the store on `disk`. A database that cannot be read is set aside, and an empty one stands in for it.
///
/// # Errors
/// The format is newer, or the disk fails.
pub(super) fn open(folder: &Folder, counters: &Counters) -> Result<Opened, StoreError> {
    let what = match open_once(folder, counters, None) {
        Err(StoreError::Damaged { what }) => what,
        opened => return opened,
    };
    let kept = folder.disk.set_aside().map_err(|error| StoreError::Failed(Box::new(error)))?;
    tracing::error!(
        what,
        kept,
        "the database cannot be read; it was set aside, and this agent begins anew from its log and its peers"
    );
    open_once(folder, counters, Some(&what))
}

fn open_once(folder: &Folder, counters: &Counters, lost: Option<&str>) -> Result<Opened, StoreError> {
    let database = guarded(|| writer::open_database(folder.disk.as_ref(), counters).map_err(opening_failed))?;
    match contents::format(&database)? {
        None => prepare(&database, folder, lost)?,
        Some(found) if found > FORMAT => return Err(StoreError::Newer { found, known: FORMAT }),
        Some(found) => migrate::to_present(&database, folder, found)?,
    }
    let mut contents = contents::read(&database)?;
    match contents.place.take().filter(|_| contents.damage.is_empty()) {
        Some(place) => continue_log(database, folder, contents, place),
        None => begin_anew(database, folder, contents),
    }
}

/// Writes the facts of a new database. If there is a log beside it, the database that belongs to it is gone.
fn prepare(database: &Database, folder: &Folder, lost: Option<&str>) -> Result<(), StoreError> {
    let segments = log::segments(folder.disk.as_ref()).map_err(failed)?;
    let lost = lost.or((!segments.is_empty()).then_some("the log lies beside no database"));
    let write = || -> Result<(), redb::Error> {
        let transaction = writer::begin(database)?;
        transaction.open_table(META)?;
        transaction.open_table(OBJECTS)?;
        transaction.open_table(FACTS)?.insert(FACT_FORMAT, FORMAT.to_le_bytes().as_slice())?;
        let mut rows = Rows::of(&transaction)?;
        match lost {
            Some(lost) => drop(transaction.open_table(FACTS)?.insert(FACT_DAMAGED, lost.as_bytes())?),
            None => rows.put(FACT_LOG, &LogPlace { generation: 1, covered: 0, firsts: Vec::new() })?,
        }
        rows.finish()?;
        Ok(transaction.commit()?)
    };
    guarded(|| write().map_err(StoreError::failed))
}

/// Reads the log of the checkpoint that says that it lies at `place`.
pub(super) fn read_log(disk: &dyn Disk, contents: &Contents, place: LogPlace) -> Result<(Floors, Found), StoreError> {
    let mut names = log::segments(disk).map_err(failed)?;
    names.retain(|name| name.generation == place.generation);
    let floors = Floors { covered: place.covered, firsts: place.firsts.into_iter().collect() };
    let mut found = log::scan(disk, &names, &floors, streams(contents));
    if found.next_frame < floors.covered {
        tracing::error!("the end of the log is missing");
        found.lost += 1;
    }
    Ok((floors, found))
}

/// The checkpoint is whole: the log goes on from it.
fn continue_log(
    database: Database,
    folder: &Folder,
    mut contents: Contents,
    place: LogPlace,
) -> Result<Opened, StoreError> {
    let generation = place.generation;
    let (floors, mut found) = read_log(folder.disk.as_ref(), &contents, place)?;
    let own = contents.identity.map(|identity| identity.replica);
    let Runs { mut log, cuts, mut behind } = runs::continuing(std::mem::take(&mut found.rows), &contents.vector);
    runs::seal(&mut log, &found.seals);
    for Cut { stream, from, rows } in &cuts {
        tracing::error!(replica = %stream.replica, from, rows, "the log is damaged here and was cut; peers have what is missing");
    }
    // Of our own it may be that nobody else has them: they are made again unless some member turns out to.
    behind.retain(|batch| own.is_some_and(|own| own.node == batch.stream.replica.node));
    contents.orphans.doubtful.append(&mut behind);
    // Of a frame that cannot be read it is not known whose commits it held: they may have been ours.
    let own_cut = own.is_some() && (found.lost > 0 || cuts.iter().any(|cut| Some(cut.stream.replica) == own));
    let anew = || Log::anew(folder, generation).map_err(failed);
    let mut writable = if cuts.is_empty() && found.lost == 0 {
        anew()?.going_on(generation, &mut found, floors)
    } else {
        let mut writable = anew()?;
        writable.append_all(&log).map_err(failed)?;
        let replace = || replace_log(&database, &writable, own_cut, &contents.orphans).map_err(StoreError::failed);
        guarded(replace)?;
        writable
    };
    writable.tidy().map_err(failed)?;
    let recovered = Recovered {
        identity: contents.identity,
        own_damaged: contents.own_damaged || own_cut,
        damaged: false,
        checkpoint_vector: contents.vector,
        ahead: contents.ahead,
        latest: contents.latest,
        orphans: contents.orphans,
        objects: contents.objects,
        log,
        cuts,
        meta: contents.meta,
    };
    Ok(Opened { database, log: writable, recovered, damaged: None })
}

/// The checkpoint is not whole: what the log still holds is all that is given out of the state. It stays on the disk until the
/// owner has made durable what it wants to keep of it.
fn begin_anew(database: Database, folder: &Folder, contents: Contents) -> Result<Opened, StoreError> {
    let named: Vec<_> = contents.damage.iter().take(DAMAGE_NAMED_MAX).map(String::as_str).collect();
    let what = format!("{} damaged: {}", contents.damage.len(), named.join(", "));
    tracing::error!(what, "the checkpoint is damaged; nothing of it is used, and the state is fetched from peers");
    let mut generations: BTreeMap<u64, Vec<SegmentName>> = BTreeMap::new();
    for name in log::segments(folder.disk.as_ref()).map_err(failed)? {
        generations.entry(name.generation).or_default().push(name);
    }
    let mut found = Found::default();
    for names in generations.values() {
        let rows = log::scan(folder.disk.as_ref(), names, &Floors::default(), streams(&contents)).rows;
        for (stream, rows) in rows {
            let known = found.rows.entry(stream).or_default();
            known.extend(rows.into_iter().filter(|(_, commit)| commit.is_some()));
        }
    }
    // What was removed may come back with a power cut, and no fact is there to tell it from what follows: the clock is.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let log = Log::anew(folder, now).map_err(failed)?;
    let recovered = Recovered {
        identity: contents.identity,
        own_damaged: true,
        damaged: true,
        latest: contents.latest,
        orphans: contents.orphans,
        log: runs::intact(found.rows),
        meta: contents.meta,
        ..Recovered::default()
    };
    Ok(Opened { database, log, recovered, damaged: Some(what) })
}

/// The streams that the log may speak of by their hash alone, where the frame that named them cannot be read.
fn streams(contents: &Contents) -> impl Iterator<Item = Stream> + '_ {
    let own = contents.identity.map(|identity| Stream::global(identity.replica));
    contents.vector.iter().map(|(stream, _)| stream).chain(own)
}

fn replace_log(database: &Database, log: &Log, own_cut: bool, orphans: &Orphans) -> Result<(), redb::Error> {
    let transaction = writer::begin(database)?;
    let mut rows = Rows::of(&transaction)?;
    rows.put(FACT_LOG, &LogPlace { generation: log.generation(), covered: 0, firsts: Vec::new() })?;
    writer::put_orphans(&mut rows, orphans)?;
    if own_cut {
        transaction.open_table(FACTS)?.insert(FACT_OWN_DAMAGED, [].as_slice())?;
    }
    rows.finish()?;
    Ok(transaction.commit()?)
}

pub(super) fn failed(error: std::io::Error) -> StoreError {
    StoreError::Failed(Box::new(error))
}
