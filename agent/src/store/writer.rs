//! The writer thread: all that is queued becomes one transaction, again and again.
//!
//! Owns the open database and the retries; admits nothing and reads nothing back. The invariant: a job is reported as
//! durable only after the sync of the transaction that holds it, and in the order in which it was queued.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use redb::{Database, Durability, WriteTransaction};
use selvedge_sync::codec;
use selvedge_sync::commit::Batch;

use super::Checkpoint;
use super::disk::{Disk, Metered};
use super::error::StoreError;
use super::layout::{self, FACT_AHEAD, FACT_IDENTITY, FACT_OWN_DAMAGED, FACT_VECTOR, FACTS, LOG, META, OBJECTS};
use super::queue::{Job, Queue};
use super::stats::Counters;

/// Bytes of pages that the database may keep in memory: recovery reads everything once, and after it only the upper
/// levels of the trees are read, so more would be taken from the guests for nothing.
const PAGE_CACHE_BYTES: usize = 16 * 1024 * 1024;

/// How often a write that failed is tried again.
pub(super) const RETRY_EVERY: Duration = Duration::from_secs(1);

/// How long closing waits for a disk that does not take writes.
const CLOSE_PATIENCE: Duration = Duration::from_secs(5);

/// Opens the database on `disk`.
pub(super) fn open_database(disk: &dyn Disk, counters: &Counters) -> Result<Database, redb::Error> {
    let backend = Metered::new(disk.open()?, Arc::clone(&counters.meter));
    Ok(Database::builder().set_cache_size(PAGE_CACHE_BYTES).create_with_backend(backend)?)
}

/// A transaction that is durable when it is committed, and after which the database reopens without a full scan.
pub(super) fn begin(database: &Database) -> Result<WriteTransaction, redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    transaction.set_quick_repair(true);
    Ok(transaction)
}

/// What the thread works with.
pub(super) struct Writer {
    pub(super) queue: Arc<Queue>,
    pub(super) counters: Arc<Counters>,
    pub(super) disk: Box<dyn Disk>,
    /// `None` after a failure: the database does not go on after one, but it can be opened again.
    pub(super) database: Option<Database>,
    pub(super) retry_every: Duration,
}

/// Ends the events when the writer ends, however it does.
struct Finish(Arc<Queue>);

impl Drop for Finish {
    fn drop(&mut self) {
        self.0.finish();
    }
}

impl Writer {
    /// Writes until the store is closed.
    ///
    /// # Errors
    /// [`StoreError::Unflushed`] when the disk did not take the last writes for longer than closing waits.
    pub(super) fn run(self) -> Result<(), StoreError> {
        // Dropped after `self`, and in a panic too: whoever saw the events end can open the directory again.
        let _finish = Finish(Arc::clone(&self.queue));
        let mut writer = self;
        while let Some(jobs) = writer.queue.take() {
            writer.write_at_last(jobs)?;
        }
        Ok(())
    }

    /// Writes `jobs` as one transaction, however often that takes.
    fn write_at_last(&mut self, mut jobs: Vec<Job>) -> Result<(), StoreError> {
        let mut closing_since = None;
        while let Err(error) = self.write(&jobs) {
            let reason = error.to_string();
            self.database = None;
            if self.counters.become_failing(&reason) {
                tracing::error!(%reason, "the store cannot write; what is queued waits and is tried again");
                self.queue.failing(&reason, &mut jobs);
            }
            if self.queue.pause(self.retry_every).0 {
                let since = *closing_since.get_or_insert_with(Instant::now);
                if since.elapsed() >= CLOSE_PATIENCE {
                    return Err(StoreError::Unflushed { jobs: self.queue.load().jobs, reason });
                }
                std::thread::sleep(self.retry_every.min(CLOSE_PATIENCE / 10));
            }
        }
        if self.counters.become_working() {
            tracing::info!("the store writes again; nothing that was queued is lost");
            self.queue.recovered();
        }
        self.queue.done(jobs);
        Ok(())
    }

    fn write(&mut self, jobs: &[Job]) -> Result<(), redb::Error> {
        let begun = Instant::now();
        let database = match self.database.take() {
            Some(database) => database,
            None => open_database(self.disk.as_ref(), &self.counters)?,
        };
        let database = self.database.insert(database);
        let transaction = begin(database)?;
        let mut commits = 0;
        for job in jobs {
            match job {
                Job::Append { batches, .. } => commits += append(&transaction, batches)?,
                Job::Checkpoint(checkpoint) => write_checkpoint(&transaction, checkpoint)?,
                Job::Identity { identity, .. } => {
                    let mut facts = transaction.open_table(FACTS)?;
                    let row = layout::seal("facts", FACT_IDENTITY.as_bytes(), &codec::encode(identity));
                    facts.insert(FACT_IDENTITY, row.as_slice())?;
                    facts.remove(FACT_OWN_DAMAGED)?;
                }
                Job::Meta { name, value, .. } => {
                    let mut meta = transaction.open_table(META)?;
                    match value {
                        Some(value) => {
                            let row = layout::seal("meta", name.as_bytes(), value);
                            meta.insert(name.as_str(), row.as_slice())?;
                        }
                        None => {
                            meta.remove(name.as_str())?;
                        }
                    }
                }
            }
        }
        transaction.commit()?;
        self.counters.transactions.fetch_add(1, Ordering::Relaxed);
        self.counters.commits.fetch_add(commits, Ordering::Relaxed);
        let elapsed = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.counters.last_latency_us.store(elapsed, Ordering::Relaxed);
        Ok(())
    }
}

/// Puts commits into the log and tells how many they were.
fn append(transaction: &WriteTransaction, batches: &[Batch]) -> Result<u64, redb::Error> {
    let mut log = transaction.open_table(LOG)?;
    let mut count = 0;
    for batch in batches {
        for (seq, commit) in (batch.first..).zip(&batch.commits) {
            let key = layout::log_key(&batch.stream, seq);
            log.insert(&key, layout::seal("log", &key, commit.as_bytes()).as_slice())?;
            count += 1;
        }
    }
    Ok(count)
}

fn write_checkpoint(transaction: &WriteTransaction, checkpoint: &Checkpoint) -> Result<(), redb::Error> {
    let mut objects = transaction.open_table(OBJECTS)?;
    for (key, state) in &checkpoint.objects {
        let key = codec::encode(key);
        match state {
            Some(state) => {
                let row = layout::seal("objects", &key, &codec::encode(state));
                objects.insert(key.as_slice(), row.as_slice())?;
            }
            None => {
                objects.remove(key.as_slice())?;
            }
        }
    }
    let mut facts = transaction.open_table(FACTS)?;
    let row = layout::seal("facts", FACT_VECTOR.as_bytes(), &codec::encode(&checkpoint.vector));
    facts.insert(FACT_VECTOR, row.as_slice())?;
    let row = layout::seal("facts", FACT_AHEAD.as_bytes(), &codec::encode(&checkpoint.ahead));
    facts.insert(FACT_AHEAD, row.as_slice())?;
    let mut log = transaction.open_table(LOG)?;
    for (stream, first) in &checkpoint.log_first {
        let (low, high) = (layout::log_key(stream, 0), layout::log_key(stream, *first));
        log.retain_in::<&layout::LogKey, _>(&low..&high, |_, _| false)?;
    }
    Ok(())
}
