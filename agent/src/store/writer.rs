//! The writer and its thread: all that is queued is written together, again and again.
//!
//! Owns the open database, the open log and the retries; admits nothing and reads nothing back. Commits go to the log, one sync
//! for all that were queued; everything else is a transaction of the database, and rare. The thread has the writer while it
//! writes; in between it may be lent ([`hand`](super::hand)). The invariant: a job is reported as durable only after the sync
//! that covers it, and in the order in which it was queued.

use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use redb::{Database, Durability, StorageBackend, WriteTransaction};

use super::disk::Disk;
use super::error::StoreError;
use super::hand::Haste;
use super::layout::{
    FACT_AHEAD, FACT_DAMAGED, FACT_IDENTITY, FACT_LATEST, FACT_LOG, FACT_ORPHANS, FACT_OWN_DAMAGED, FACT_VECTOR,
    LogPlace,
};
use super::log::{Floors, Folder, Log};
use super::meter::Metered;
use super::queue::{Job, Queue, Turn};
use super::rows::Rows;
use super::stats::Counters;
use super::{Checkpoint, Fresh, Identity, Orphans};

/// Bytes of pages that the database may keep in memory: recovery reads everything once, and after it only the upper
/// levels of the trees are read, so more would be taken from the guests for nothing.
const PAGE_CACHE_BYTES: usize = 16 * 1024 * 1024;

/// Bytes of commits above which what is queued is written in several pieces, so that the first need not wait for the last.
const FRAME_BYTES: usize = 4 * 1024 * 1024;

/// How often the disk is looked at, in case something of it was taken away: a write does not miss what it has open.
const LOOK: Duration = Duration::from_secs(1);

/// How patient the writer is with its disk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// How often a write that failed is tried again.
    pub(super) retry_every: Duration,
    /// How long closing waits for a disk that does not take writes.
    pub(super) closing: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { retry_every: Duration::from_secs(1), closing: Duration::from_secs(5) }
    }
}

/// Opens the database on `disk`.
pub(super) fn open_database(disk: &dyn Disk, counters: &Counters) -> Result<Database, redb::Error> {
    open_over(disk.open()?, counters)
}

/// Opens the database in `storage`.
pub(super) fn open_over(storage: Box<dyn StorageBackend>, counters: &Counters) -> Result<Database, redb::Error> {
    let backend = Metered::new(storage, Arc::clone(&counters.meter));
    Ok(Database::builder().set_cache_size(PAGE_CACHE_BYTES).create_with_backend(backend)?)
}

/// A transaction that is durable when it is committed, and after which the database reopens without a full scan.
pub(super) fn begin(database: &Database) -> Result<WriteTransaction, redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    transaction.set_quick_repair(true);
    Ok(transaction)
}

/// The writer, while the store is open. Whoever has the lock writes.
pub(super) type Lent = Mutex<Option<Writer>>;

/// What it takes to write.
pub(super) struct Writer {
    pub(super) queue: Arc<Queue>,
    pub(super) counters: Arc<Counters>,
    pub(super) folder: Folder,
    /// `None` after a failure: the database does not go on after one, but it can be opened again.
    pub(super) database: Option<Database>,
    pub(super) log: Log,
    pub(super) haste: Haste,
    pub(super) patience: Patience,
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("haste", &self.haste).field("patience", &self.patience).finish_non_exhaustive()
    }
}

/// Ends the events when the thread ends, however it does, and before that what it wrote to: whoever saw the events end can open
/// the directory again.
struct Finish<'a>(&'a Lent, &'a Queue);

impl Drop for Finish<'_> {
    fn drop(&mut self) {
        drop(self.0.lock().unwrap_or_else(PoisonError::into_inner).take());
        self.1.finish();
    }
}

/// The thread: writes until the store is closed.
///
/// # Errors
/// [`StoreError::Unflushed`] when the disk did not take the last writes for longer than closing waits, [`StoreError::TakenAway`] when
/// it took them and is not where a restart would look.
pub(super) fn run(lent: &Lent, queue: &Queue) -> Result<(), StoreError> {
    let _finish = Finish(lent, queue);
    // Who panicked while it had the writer may have left it half-way through a write.
    let panicked = |_| StoreError::Failed("a write panicked".into());
    let mut looked = Instant::now();
    loop {
        // From the last look, and not from the last write: where somebody always writes, it would never be time for one.
        let turn = queue.wait(LOOK.saturating_sub(looked.elapsed()));
        let mut writer = lent.lock().map_err(panicked)?;
        let Some(open) = writer.as_mut() else { return Ok(()) };
        match turn {
            Turn::Write => {
                // They may have been written meanwhile.
                open.write_at_last(queue.take().into())?;
                queue.set_quick(open.haste.is_quick());
            }
            Turn::Look => {}
            Turn::End => return open.close(),
        }
        if looked.elapsed() >= LOOK {
            open.look();
            looked = Instant::now();
        }
    }
}

impl Writer {
    /// Writes `jobs` in order, piece by piece, however often that takes.
    fn write_at_last(&mut self, mut jobs: VecDeque<Job>) -> Result<(), StoreError> {
        let mut closing_since = None;
        while !jobs.is_empty() {
            let count = piece(&jobs);
            let Err(error) = self.write(&jobs.make_contiguous()[..count]) else {
                self.become_working();
                self.queue.done(jobs.drain(..count));
                continue;
            };
            let reason = error.to_string();
            self.database = None;
            Queue::refuse(&reason, &mut jobs);
            self.become_failing(&reason);
            if self.queue.pause(self.patience.retry_every).0 {
                let since = *closing_since.get_or_insert_with(Instant::now);
                if since.elapsed() >= self.patience.closing {
                    return Err(StoreError::Unflushed { jobs: self.queue.load().jobs, reason });
                }
                std::thread::sleep(self.patience.retry_every.min(self.patience.closing / 10));
            }
        }
        Ok(())
    }

    /// Looks whether what would be written now would be found.
    fn look(&self) {
        match self.whole() {
            Ok(()) => self.become_working(),
            Err(error) => self.become_failing(&error.to_string()),
        }
    }

    /// Ends in order.
    fn close(&mut self) -> Result<(), StoreError> {
        if let Err(error) = self.log.close() {
            tracing::debug!(%error, "the log could not be marked as closed in order");
        }
        self.whole()
    }

    fn whole(&self) -> Result<(), StoreError> {
        if self.folder.disk.is_whole() { Ok(()) } else { Err(StoreError::TakenAway) }
    }

    fn become_working(&self) {
        if self.counters.become_working() {
            tracing::info!("the store writes again; nothing that was queued is lost");
            self.queue.recovered();
        }
    }

    fn become_failing(&self, reason: &str) {
        if self.counters.become_failing(reason) {
            tracing::error!(%reason, "the store cannot write; what is queued waits and is tried again");
            self.queue.failing(reason);
        }
    }

    /// Writes jobs that are all appends, or none of them is.
    pub(super) fn write(&mut self, jobs: &[Job]) -> Result<(), Box<dyn Error + Send + Sync>> {
        // What is away would only be filled by what is tried again, and by its name something else may be opened.
        if self.counters.failing().is_some() || !jobs.iter().all(Job::is_append) {
            self.whole()?;
        }
        let begun = Instant::now();
        let batches: Vec<_> = jobs.iter().flat_map(Job::batches).filter(|batch| !batch.commits.is_empty()).collect();
        let commits: usize = batches.iter().map(|batch| batch.commits.len()).sum();
        if !batches.is_empty() {
            let appended = self.log.append(&batches);
            self.haste.note(begun.elapsed(), appended.is_ok());
            appended?;
            self.counters.transactions.fetch_add(1, Ordering::Relaxed);
            self.counters.commits.fetch_add(commits as u64, Ordering::Relaxed);
        } else if !jobs.iter().all(Job::is_append) {
            self.transact(jobs)?;
            self.counters.transactions.fetch_add(1, Ordering::Relaxed);
        }
        // After the sync: what was taken away before it has taken nothing for good.
        if !self.folder.disk.is_there() {
            return Err(StoreError::TakenAway.into());
        }
        let took = begun.elapsed();
        self.counters.written.record(took);
        let elapsed = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.counters.last_latency_us.store(elapsed, Ordering::Relaxed);
        Ok(())
    }

    fn transact(&mut self, jobs: &[Job]) -> Result<(), redb::Error> {
        let database = match self.database.take() {
            Some(database) => database,
            None => open_database(self.folder.disk.as_ref(), &self.counters)?,
        };
        let database = self.database.insert(database);
        let transaction = begin(database)?;
        let mut rows = Rows::of(&transaction)?;
        let mut anew: Option<Log> = None;
        let mut given_up = Vec::new();
        for job in jobs {
            let log = anew.as_ref().unwrap_or(&self.log);
            match job {
                Job::Append { .. } => {}
                Job::Checkpoint(checkpoint) => {
                    let floors = log.floors_after(&checkpoint.log_first);
                    write_checkpoint(&mut rows, checkpoint, log.generation(), &floors)?;
                    given_up.push((checkpoint, floors));
                }
                Job::Identity { identity, fresh, .. } => {
                    if fresh.is_some() {
                        anew = Some(Log::anew(&self.folder, log.generation())?);
                        given_up.clear();
                    }
                    let generation = anew.as_ref().map(Log::generation);
                    write_identity(&mut rows, identity, fresh.as_ref().zip(generation))?;
                }
                Job::Meta { name, value, .. } => rows.put_meta(name, value.as_deref())?,
            }
        }
        rows.finish()?;
        transaction.commit()?;
        if let Some(anew) = anew {
            self.log = anew;
            // What is not removed now is removed by the next start.
            self.log.tidy().unwrap_or_else(|error| tracing::debug!(%error, "the old log was not removed"));
        }
        for (checkpoint, floors) in given_up {
            self.log.give_up(&checkpoint.vector, floors);
        }
        Ok(())
    }
}

/// How many of the first jobs are written together: appends up to some bytes, or whatever goes into the database.
fn piece(jobs: &VecDeque<Job>) -> usize {
    let appends = jobs.front().is_some_and(Job::is_append);
    let (mut count, mut bytes) = (0, 0);
    for job in jobs.iter().take_while(|job| job.is_append() == appends) {
        bytes += job.bytes();
        if count > 0 && appends && bytes > FRAME_BYTES {
            break;
        }
        count += 1;
    }
    count
}

fn write_checkpoint(
    rows: &mut Rows<'_>,
    checkpoint: &Checkpoint,
    generation: u64,
    floors: &Floors,
) -> Result<(), redb::Error> {
    rows.put_objects(&checkpoint.objects)?;
    rows.put(FACT_VECTOR, &checkpoint.vector)?;
    rows.put(FACT_AHEAD, &checkpoint.ahead)?;
    rows.put(FACT_LATEST, &checkpoint.latest)?;
    if let Some(orphans) = &checkpoint.orphans {
        put_orphans(rows, orphans)?;
    }
    let firsts = floors.firsts.iter().map(|(stream, first)| (*stream, *first)).collect();
    rows.put(FACT_LOG, &LogPlace { generation, covered: floors.covered, firsts })
}

/// Writes who we are; with `fresh`, the generation of the log that begins, everything else that a checkpoint wrote goes.
fn write_identity(rows: &mut Rows<'_>, identity: &Identity, fresh: Option<(&Fresh, u64)>) -> Result<(), redb::Error> {
    rows.put(FACT_IDENTITY, identity)?;
    rows.remove(FACT_OWN_DAMAGED)?;
    let Some((fresh, generation)) = fresh else { return Ok(()) };
    rows.clear_objects()?;
    rows.tidy_meta()?;
    for name in [FACT_VECTOR, FACT_AHEAD, FACT_DAMAGED] {
        rows.remove(name)?;
    }
    rows.put(FACT_LOG, &LogPlace { generation, covered: 0, firsts: Vec::new() })?;
    put_orphans(rows, &fresh.orphans)
}

/// Writes which commits wait to be made again.
pub(super) fn put_orphans(rows: &mut Rows<'_>, orphans: &Orphans) -> Result<(), redb::Error> {
    if orphans.says_nothing() { rows.remove(FACT_ORPHANS) } else { rows.put(FACT_ORPHANS, orphans) }
}
