//! The durable side of an agent: log, checkpoint and metadata, behind one handle.
//!
//! Owns the log and the database in the data directory and the thread that writes to them (which may be lent a hand); decides
//! neither what is written nor when it may be sent. Everything queued while a write is under way becomes the next one, so that many writers share a sync.
//! The invariant: what an event or an answer calls durable is there after a crash at any moment, and a failing disk delays
//! what was admitted but never drops or reorders it.

mod contents;
mod disk;
mod error;
mod hand;
mod layout;
mod log;
mod meter;
mod migrate;
mod objects;
mod queue;
mod recovery;
mod rows;
mod runs;
#[cfg(test)]
mod sim_disk;
mod stats;
mod survey;
mod writer;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use selvedge_sync::causal::VersionVector;
use selvedge_sync::codec::ObjectRow;
use selvedge_sync::commit::Batch;
use selvedge_sync::crdt::ObjectState;
use selvedge_sync::hlc::Hlc;
use selvedge_sync::id::{ReplicaId, Stream};
use selvedge_sync::key::Key;
use selvedge_sync::replica::{self, Ahead, Fresh, Orphans, Recovery};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

pub use self::disk::Holder;
use self::disk::{Disk, FileDisk};
pub use self::error::{QueueFull, StoreError, TAKEN_AWAY};
use self::hand::Haste;
use self::log::Folder;
use self::queue::{Job, Patience, Queue, Urgency};
pub use self::queue::{QUEUE_BYTES_MAX, QUEUE_CHECKPOINTS_MAX, QUEUE_JOBS_MAX};
use self::recovery::Opened;
use self::stats::Counters;
pub use self::stats::StoreStats;
pub use self::survey::Survey;
use self::writer::Writer;
use crate::timing::Timing;

/// What the owner of the store recognises a job by when it is done. The store gives it back and never looks at it.
pub type Token = u64;

/// Who writes into this data directory. Durable before it is first used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The node and the incarnation that its commits carry.
    pub replica: ReplicaId,
}

/// What the store held when it was opened.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// Who wrote here; `None` in a new data directory.
    pub identity: Option<Identity>,
    /// Commits of our own that may have been seen by others are missing from our own log. The identity must get a new
    /// incarnation before anything is written, or a dot would be used twice. Stays true until that is durable.
    pub own_damaged: bool,
    /// The checkpoint is damaged. Then `log` is all that is intact in the log, whatever it continues, and of the state nothing
    /// else is given back: the owner makes a new incarnation durable with [`Store::rebirth`], and a [`Fresh`] that keeps what
    /// it wants of this. Stays true until that is durable.
    pub damaged: bool,
    /// What the objects have seen.
    pub checkpoint_vector: VersionVector,
    /// What the objects may show beyond that.
    pub ahead: Ahead,
    /// The newest stamp that the last checkpoint knew.
    pub latest: Hlc,
    /// Commits of earlier incarnations that wait to be made again, those of ours that lie intact behind damage among them.
    pub orphans: Orphans,
    /// The objects of the checkpoint, in no particular order.
    pub objects: Vec<(Key, ObjectState)>,
    /// At most one batch per stream, unless `damaged`. It ends at or above the checkpoint and begins at or below the first commit that the
    /// checkpoint lacks; what lies below is retained for peers that are behind.
    pub log: Vec<Batch>,
    /// Streams whose log was cut because a row was damaged or missing. What was cut has to be fetched from peers.
    pub cuts: Vec<Cut>,
    /// Values by name, as [`Store::set_meta`] left them.
    pub meta: BTreeMap<String, Vec<u8>>,
}

/// The end of a stream's log that could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Whose log it is.
    pub stream: Stream,
    /// The first sequence number that is not there any more.
    pub from: u64,
    /// How many rows were dropped, the intact ones behind the damage among them.
    pub rows: u64,
}

/// The objects that changed since the last checkpoint, and what the log need not keep any more. Written whole or not at all.
#[derive(Clone, Debug, Default)]
pub struct Checkpoint {
    /// Comes back in [`StoreEvent::Checkpointed`].
    pub token: Token,
    /// What the objects have seen once this is written. Replaces the vector of the last checkpoint.
    pub vector: VersionVector,
    /// What the objects show beyond that, because a repair is under way.
    pub ahead: Ahead,
    /// The newest stamp issued or observed.
    pub latest: Hlc,
    /// Commits of earlier incarnations that wait to be made again, when they are others than the store holds: they replace those.
    pub orphans: Option<Orphans>,
    /// The objects; `None` stands for one that was forgotten.
    pub objects: Vec<(Key, Option<ObjectRow>)>,
    /// Commits of a stream below this sequence number may go.
    pub log_first: Vec<(Stream, u64)>,
}

impl Recovered {
    /// What a replica that writes as `me` goes on with.
    #[must_use]
    pub fn into_recovery(self, me: ReplicaId) -> Recovery {
        let same_life = self.identity.is_some_and(|identity| identity.replica == me);
        // How far a stream was confirmed says nothing of the next life's.
        let unconfirmed_after = self.orphans.unconfirmed_after.filter(|_| same_life);
        Recovery {
            vector: self.checkpoint_vector,
            ahead: self.ahead,
            latest: self.latest,
            orphans: Orphans { unconfirmed_after, ..self.orphans },
            objects: self.objects,
            proofs: Vec::new(),
            log: self.log,
        }
    }
}

impl Checkpoint {
    /// What a replica asks to be stored.
    #[must_use]
    pub fn of(token: Token, checkpoint: replica::Checkpoint) -> Self {
        let replica::Checkpoint { vector, ahead, objects, latest, orphans, log_first } = checkpoint;
        Self { token, vector, ahead, latest, orphans, objects, log_first }
    }
}

/// What the writer thread reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreEvent {
    /// An append is durable. Appends are reported in the order in which they were queued.
    Appended {
        /// The one it was queued with.
        token: Token,
    },
    /// A checkpoint is durable.
    Checkpointed {
        /// The one it was queued with.
        token: Token,
    },
    /// Writing fails, or would be in vain. Reported once; what is queued waits, and is tried again about every second.
    Failed {
        /// What the disk said.
        reason: String,
    },
    /// Writing works again.
    Recovered,
}

/// The handle. Clones share one store, which closes when the last of them is dropped.
#[derive(Clone, Debug)]
pub struct Store {
    shared: Arc<Shared>,
}

/// The receiving end of what the writer thread reports. A job's room in the queue is free again once its event was taken, so
/// whoever stops listening will find the queue full.
#[derive(Debug)]
pub struct StoreEvents {
    queue: Arc<Queue>,
}

/// A write that somebody waits for.
#[derive(Debug)]
#[must_use = "the write is durable only when this says so"]
pub struct Pending(oneshot::Receiver<Result<(), StoreError>>);

#[derive(Debug)]
struct Shared {
    queue: Arc<Queue>,
    writer: Arc<writer::Lent>,
    counters: Arc<Counters>,
    damaged: Option<String>,
    thread: Mutex<Option<JoinHandle<Result<(), StoreError>>>>,
}

impl Store {
    /// Whether the data directory `dir` holds anything that somebody wrote: an object, or a commit. An agent that only ran has left
    /// nothing. What is damaged counts as state, since nobody knows. Reads the disk.
    ///
    /// # Errors
    /// As those of [`Store::open`], where there is a store.
    pub fn holds_state(dir: &Path) -> Result<bool, StoreError> {
        if !dir.join(disk::DATABASE_FILE).exists() {
            return Ok(false);
        }
        let (store, _, Recovered { damaged, own_damaged, objects, log, orphans, .. }) = Self::open(dir)?;
        store.close()?;
        let orphaned = !(orphans.certain.is_empty() && orphans.doubtful.is_empty());
        Ok(damaged || own_damaged || orphaned || !(objects.is_empty() && log.is_empty()))
    }

    /// Who holds the data directory `dir`, if somebody does; changes nothing.
    ///
    /// # Errors
    /// The directory is there and may not be looked into.
    pub fn holder(dir: &Path) -> std::io::Result<Option<Holder>> {
        disk::holder(dir)
    }

    /// What the store in the data directory `dir` holds, and what of it is damaged; `None` where there is none. For a directory that nobody
    /// holds; changes nothing. Reads all of it, as a start does: not for an async task.
    ///
    /// # Errors
    /// A newer release wrote it, or it may not be read.
    pub fn survey(dir: &Path) -> Result<Option<Survey>, StoreError> {
        survey::of_folder(dir)
    }

    /// Opens the data directory `dir`, creates it (mode 0700) when it is not there, takes its lock, and reads what it holds.
    /// Reads the disk: not for an async task.
    ///
    /// # Errors
    /// Another agent holds the directory, a newer release wrote it, or the disk fails.
    pub fn open(dir: &Path) -> Result<(Self, StoreEvents, Recovered), StoreError> {
        Self::open_on(Arc::new(FileDisk::take(dir)?), log::SEGMENT_BYTES, writer::Patience::default())
    }

    fn open_on(
        disk: Arc<dyn Disk>,
        segment_bytes: u64,
        patience: writer::Patience,
    ) -> Result<(Self, StoreEvents, Recovered), StoreError> {
        let counters = Arc::new(Counters::default());
        let folder = Folder { disk, meter: Arc::clone(&counters.meter), segment_bytes };
        let Opened { database, log, recovered, damaged } = recovery::open(&folder, &counters)?;
        let queue = Arc::new(Queue::default());
        let writer = Writer {
            queue: Arc::clone(&queue),
            counters: Arc::clone(&counters),
            folder,
            database: Some(database),
            log,
            haste: Haste::default(),
            patience,
        };
        let writer = Arc::new(Mutex::new(Some(writer)));
        let (lent, jobs) = (Arc::clone(&writer), Arc::clone(&queue));
        let thread = std::thread::Builder::new()
            .name("selvedge-store".to_owned())
            .spawn(move || writer::run(&lent, &jobs))
            .map_err(|error| StoreError::Failed(Box::new(error)))?;
        let events = StoreEvents { queue: Arc::clone(&queue) };
        let shared = Shared { queue, writer, counters, damaged, thread: Mutex::new(Some(thread)) };
        Ok((Self { shared: Arc::new(shared) }, events, recovered))
    }

    /// Queues commits for the log; [`StoreEvent::Appended`] tells when they are durable. Does not block. To append what is
    /// there already changes nothing. Who has lent the store a hand says [`Store::stir`] afterwards.
    ///
    /// # Errors
    /// The queue is full ([`QUEUE_JOBS_MAX`], [`QUEUE_BYTES_MAX`]) or the store is closed; the batches come back.
    pub fn append(&self, token: Token, batches: Vec<Batch>) -> Result<(), QueueFull<Vec<Batch>>> {
        self.push_append(token, batches, Urgency::Now)
    }

    /// As [`Store::append`], for commits that nobody here waits for: they may wait a quarter of a second for others to share a
    /// sync with. Order is kept all the same: what is queued behind them waits for them, and takes them along.
    ///
    /// # Errors
    /// As [`Store::append`].
    pub fn append_soon(&self, token: Token, batches: Vec<Batch>) -> Result<(), QueueFull<Vec<Batch>>> {
        self.push_append(token, batches, Urgency::Soon)
    }

    /// Nothing waits any longer for others to share a sync with.
    pub fn flush(&self) {
        self.shared.queue.flush();
    }

    fn push_append(&self, token: Token, batches: Vec<Batch>, urgency: Urgency) -> Result<(), QueueFull<Vec<Batch>>> {
        self.shared.queue.push(Job::Append { token, batches, urgency }).map_err(|job| match job {
            Job::Append { batches, .. } => QueueFull(batches),
            other => unreachable!("an append was queued, and {other:?} came back"),
        })
    }

    /// Queues a checkpoint; [`StoreEvent::Checkpointed`] tells when it is durable. Does not block. It must have seen the
    /// commits that were queued before it, but for those that are not wanted any more, and no others.
    ///
    /// # Errors
    /// The queue is full, a checkpoint is under way already ([`QUEUE_CHECKPOINTS_MAX`]), or the store is closed; the
    /// checkpoint comes back.
    pub fn checkpoint(&self, checkpoint: Checkpoint) -> Result<(), QueueFull<Box<Checkpoint>>> {
        self.shared.queue.push(Job::Checkpoint(Box::new(checkpoint))).map_err(|job| match job {
            Job::Checkpoint(checkpoint) => QueueFull(checkpoint),
            other => unreachable!("a checkpoint was queued, and {other:?} came back"),
        })
    }

    /// Queues who we are. It may be used once the answer is there, and not before.
    ///
    /// # Errors
    /// The queue is full or the store is closed.
    pub fn set_identity(&self, identity: Identity) -> Result<Pending, QueueFull<Identity>> {
        let (answer, pending) = oneshot::channel();
        let job = Job::Identity { identity, fresh: None, answer: Some(answer), patience: Patience::None };
        self.shared.queue.push(job).map(|()| Pending(pending)).map_err(|_| QueueFull(identity))
    }

    /// Queues a new incarnation and, with `fresh`, a store that begins anew: objects, log, vector and all else that
    /// checkpoints wrote go, in one transaction; named values stay. What was queued before goes too, what is queued after
    /// stays. The answer comes when it is durable, however long the disk takes.
    ///
    /// # Errors
    /// The queue is full or the store is closed; `fresh` comes back.
    pub fn rebirth(&self, identity: Identity, fresh: Option<Fresh>) -> Result<Pending, QueueFull<Option<Fresh>>> {
        let (answer, pending) = oneshot::channel();
        let job = Job::Identity { identity, fresh, answer: Some(answer), patience: Patience::Endless };
        self.shared.queue.push(job).map(|()| Pending(pending)).map_err(|job| match job {
            Job::Identity { fresh, .. } => QueueFull(fresh),
            other => unreachable!("a rebirth was queued, and {other:?} came back"),
        })
    }

    /// Queues a value to be kept under `name`; `None` removes it. For a few small facts, not for data.
    ///
    /// # Errors
    /// The queue is full or the store is closed; the value comes back.
    pub fn set_meta(&self, name: &str, value: Option<Vec<u8>>) -> Result<Pending, QueueFull<Option<Vec<u8>>>> {
        let (answer, pending) = oneshot::channel();
        let job = Job::Meta { name: name.to_owned(), value, answer: Some(answer) };
        self.shared.queue.push(job).map(|()| Pending(pending)).map_err(|job| match job {
            Job::Meta { value, .. } => QueueFull(value),
            other => unreachable!("a named value was queued, and {other:?} came back"),
        })
    }

    /// What the store has done since it was opened, and how it fares now.
    #[must_use]
    pub fn stats(&self) -> StoreStats {
        let counters = &self.shared.counters;
        let load = self.shared.queue.load();
        StoreStats {
            transactions: counters.transactions.load(Ordering::Relaxed),
            frames_by_hand: counters.frames_by_hand.load(Ordering::Relaxed),
            syncs: counters.meter.syncs.load(Ordering::Relaxed),
            commits: counters.commits.load(Ordering::Relaxed),
            bytes_written: counters.meter.written.load(Ordering::Relaxed),
            file_bytes: counters.meter.length.load(Ordering::Relaxed),
            segments: counters.meter.segments.load(Ordering::Relaxed),
            log_bytes: counters.meter.log_bytes.load(Ordering::Relaxed),
            last_latency_us: counters.last_latency_us.load(Ordering::Relaxed),
            queue_jobs: load.jobs,
            queue_bytes: load.bytes,
            failing: counters.failing(),
            damaged: self.shared.damaged.clone(),
        }
    }

    /// How long writes take.
    #[must_use]
    pub fn written(&self) -> Timing {
        self.shared.counters.written.clone()
    }

    /// Writes what is queued, ends the thread and gives the data directory free. Other clones find the queue closed. Blocks:
    /// not for an async task.
    ///
    /// # Errors
    /// The disk does not take what is queued for some seconds, or is not there any more; or the store was closed before.
    pub fn close(self) -> Result<(), StoreError> {
        self.shared.queue.close();
        let thread = self.shared.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let ended = thread.ok_or(StoreError::Closed)?.join();
        ended.unwrap_or_else(|_| Err(StoreError::Failed("the store's thread panicked".into())))
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.queue.close();
    }
}

impl StoreEvents {
    /// Waits for the next event; `None` when the writer thread has ended and all events were taken: nothing more becomes
    /// durable. Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<StoreEvent> {
        self.queue.event().await
    }

    /// The next event, when there is one already.
    pub fn try_next(&mut self) -> Option<StoreEvent> {
        self.queue.try_event()
    }
}

impl Pending {
    /// Waits until the write is durable.
    ///
    /// # Errors
    /// [`StoreError::Failing`]: the disk does not take it at present; it stays queued. [`StoreError::Closed`]: the store was
    /// closed before.
    pub async fn durable(self) -> Result<(), StoreError> {
        self.0.await.unwrap_or(Err(StoreError::Closed))
    }

    /// The same for a thread that may block: not for an async task.
    ///
    /// # Errors
    /// As [`Pending::durable`].
    pub fn wait(self) -> Result<(), StoreError> {
        self.0.blocking_recv().unwrap_or(Err(StoreError::Closed))
    }
}

#[cfg(test)]
mod tests;
