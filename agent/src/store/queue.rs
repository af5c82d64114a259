//! The queue between the handle and whoever writes, and the events that come back.
//!
//! Owns admission, order and bounds, and says who is to write: the thread, or the hand that is lent while the disk is quick;
//! writes nothing itself. The invariant: what was admitted leaves in the order in which it came, and is counted against the
//! bounds until its event has been taken.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use selvedge_sync::commit::{Batch, CommitBytes};
use tokio::sync::{Notify, oneshot};

use super::error::StoreError;
use super::{Checkpoint, Fresh, Identity, StoreEvent, Token};

/// Most jobs that are queued, being written, or done and not yet noticed: some seconds of a busy agent on a slow disk.
pub const QUEUE_JOBS_MAX: usize = 4096;

/// Most bytes of commits in those jobs: what a small edge host can spare while its disk does not take writes.
pub const QUEUE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Most checkpoints among those jobs: a second one before the first is written would only repeat it.
pub const QUEUE_CHECKPOINTS_MAX: usize = 1;

/// How long commits that need not be durable at once may wait for others to share a sync with. A flash disk lives longer by
/// it; peers hear a little later that we have them.
pub(super) const SOON: Duration = Duration::from_millis(250);

/// Most bytes that are left to the hand that is lent: copying and hashing them takes less time than waking a thread.
const HAND_BYTES_MAX: usize = 16 * 1024;

/// One thing to write.
#[derive(Debug)]
pub(super) enum Job {
    /// Commits for the log.
    Append { token: Token, batches: Vec<Batch>, urgency: Urgency },
    /// Objects that changed, and what the log need not keep any more.
    Checkpoint(Box<Checkpoint>),
    /// Who we are, and whether all else begins anew with it.
    Identity { identity: Identity, fresh: Option<Fresh>, answer: Option<Answer>, patience: Patience },
    /// A named value; `None` removes it.
    Meta { name: String, value: Option<Vec<u8>>, answer: Option<Answer> },
}

/// When a job has to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Urgency {
    /// At once.
    Now,
    /// Within a moment, or together with whatever is written before that.
    Soon,
}

/// What whoever waits for a job wants to hear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    /// That it is durable, however long that takes.
    Endless,
    /// That it is durable, or that the disk does not take it at present.
    None,
}

/// Where the outcome of a job goes that somebody waits for.
pub(super) type Answer = oneshot::Sender<Result<(), StoreError>>;

impl Job {
    /// Whether the job is for the log, and not for the database.
    pub(super) const fn is_append(&self) -> bool {
        matches!(self, Self::Append { .. })
    }

    /// The commits that the job brings.
    pub(super) fn batches(&self) -> &[Batch] {
        match self {
            Self::Append { batches, .. } => batches,
            Self::Checkpoint(_) | Self::Identity { .. } | Self::Meta { .. } => &[],
        }
    }

    /// Bytes of commits and values that the job holds.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Append { batches, .. } => {
                batches.iter().flat_map(|batch| &batch.commits).map(CommitBytes::len).sum::<usize>()
            }
            Self::Meta { value, .. } => value.as_ref().map_or(0, Vec::len),
            Self::Checkpoint(_) | Self::Identity { .. } => 0,
        }
    }

    /// Where the outcome goes; taken once.
    pub(super) fn take_answer(&mut self) -> Option<Answer> {
        match self {
            Self::Identity { answer, .. } | Self::Meta { answer, .. } => answer.take(),
            Self::Append { .. } | Self::Checkpoint(_) => None,
        }
    }

    /// Where it goes that the disk does not take the job at present; taken once.
    fn take_impatient(&mut self) -> Option<Answer> {
        if matches!(self, Self::Identity { patience: Patience::Endless, .. }) { None } else { self.take_answer() }
    }

    const fn urgency(&self) -> Urgency {
        match self {
            Self::Append { urgency, .. } => *urgency,
            Self::Checkpoint(_) | Self::Identity { .. } | Self::Meta { .. } => Urgency::Now,
        }
    }

    /// What the owner of the store is told when the job is durable.
    const fn event(&self) -> Option<StoreEvent> {
        match self {
            Self::Append { token, .. } => Some(StoreEvent::Appended { token: *token }),
            Self::Checkpoint(checkpoint) => Some(StoreEvent::Checkpointed { token: checkpoint.token }),
            Self::Identity { .. } | Self::Meta { .. } => None,
        }
    }
}

/// How much is admitted and not yet noticed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Load {
    /// Jobs of all kinds.
    pub(super) jobs: usize,
    /// Bytes of commits and values.
    pub(super) bytes: usize,
    checkpoints: usize,
}

#[derive(Debug, Default)]
struct Inner {
    waiting: VecDeque<Job>,
    /// When what waits has to be written at the latest.
    due: Option<Instant>,
    events: VecDeque<StoreEvent>,
    load: Load,
    hand_is_lent: bool,
    /// The disk is quick enough for it.
    is_quick: bool,
    /// Something waits for the hand, which has not been told.
    hand_is_wanted: bool,
    closing: bool,
    finished: bool,
}

impl Inner {
    /// What waits is written after `wait` at the latest; true if that is sooner than before.
    fn hurry(&mut self, wait: Duration) -> bool {
        let due = Instant::now() + wait;
        let is_sooner = self.due.is_none_or(|before| due < before);
        if is_sooner {
            self.due = Some(due);
        }
        is_sooner
    }

    fn take(&mut self) -> Vec<Job> {
        (self.due, self.hand_is_wanted) = (None, false);
        self.waiting.drain(..).collect()
    }

    /// Whether all that waits are a few small appends.
    fn is_light(&self) -> bool {
        self.waiting.iter().all(Job::is_append) && self.waiting.iter().map(Job::bytes).sum::<usize>() <= HAND_BYTES_MAX
    }
}

/// The queue.
#[derive(Debug, Default)]
pub(super) struct Queue {
    inner: Mutex<Inner>,
    work: Condvar,
    hand: Notify,
    news: Notify,
}

impl Queue {
    /// Admits a job, or gives it back when a bound would be exceeded or the store is closed. A job larger than the bound
    /// on bytes is admitted when it is alone, since it could never be otherwise.
    pub(super) fn push(&self, job: Job) -> Result<(), Job> {
        let bytes = job.bytes();
        let checkpoints = usize::from(matches!(job, Job::Checkpoint(_)));
        let mut inner = self.lock();
        let load = inner.load;
        let fits = load.jobs < QUEUE_JOBS_MAX
            && (load.bytes == 0 || load.bytes.saturating_add(bytes) <= QUEUE_BYTES_MAX)
            && load.checkpoints + checkpoints <= QUEUE_CHECKPOINTS_MAX;
        if !fits || inner.closing {
            return Err(job);
        }
        inner.load =
            Load { jobs: load.jobs + 1, bytes: load.bytes + bytes, checkpoints: load.checkpoints + checkpoints };
        // Lazy jobs must not fill the queue: what follows may be urgent.
        let crowded = inner.load.jobs >= QUEUE_JOBS_MAX / 2 || inner.load.bytes >= QUEUE_BYTES_MAX / 2;
        let wait = if job.urgency() == Urgency::Now || crowded { Duration::ZERO } else { SOON };
        inner.waiting.push_back(job);
        let is_sooner = inner.hurry(wait);
        let for_hand = inner.hand_is_lent && inner.is_quick && wait.is_zero() && inner.is_light();
        inner.hand_is_wanted |= for_hand;
        drop(inner);
        if is_sooner && !for_hand {
            self.work.notify_one();
        }
        Ok(())
    }

    /// What waits is written at once.
    pub(super) fn flush(&self) {
        let mut inner = self.lock();
        if !inner.waiting.is_empty() {
            inner.hurry(Duration::ZERO);
        }
        drop(inner);
        self.work.notify_one();
    }

    /// Tells the hand that is lent of what was left to it.
    pub(super) fn stir(&self) {
        if std::mem::take(&mut self.lock().hand_is_wanted) {
            self.hand.notify_one();
        }
    }

    /// Waits until the hand that is lent may be needed.
    pub(super) async fn stirred(&self) {
        self.hand.notified().await;
    }

    /// Whether a hand is lent from now on. Without one, the thread writes all.
    pub(super) fn set_lent(&self, is_lent: bool) {
        let mut inner = self.lock();
        inner.hand_is_lent = is_lent;
        let is_left = !is_lent && !inner.waiting.is_empty();
        drop(inner);
        if is_left {
            self.work.notify_one();
        }
    }

    /// Whether the disk is quick: then what is light and urgent is left to the hand.
    pub(super) fn set_quick(&self, is_quick: bool) {
        self.lock().is_quick = is_quick;
    }

    /// Takes all that waits, if it is for the hand that is lent; if not, the thread is told.
    pub(super) fn take_light(&self) -> Option<Vec<Job>> {
        let mut inner = self.lock();
        let is_due = inner.due.is_some_and(|due| due <= Instant::now());
        if inner.is_light() && is_due {
            return Some(inner.take());
        }
        let is_left = !inner.waiting.is_empty();
        drop(inner);
        if is_left {
            self.work.notify_one();
        }
        None
    }

    /// Gives back what could not be written, to be written first, by the thread.
    pub(super) fn put_back(&self, jobs: Vec<Job>) {
        let mut inner = self.lock();
        for job in jobs.into_iter().rev() {
            inner.waiting.push_front(job);
        }
        inner.hurry(Duration::ZERO);
        drop(inner);
        self.work.notify_one();
    }

    /// Waits until there are jobs that are due, or until it is time to look at the disk, which is after `look`.
    pub(super) fn wait(&self, look: Duration) -> Turn {
        let until = Instant::now() + look;
        let mut inner = self.lock();
        while !inner.closing {
            let now = Instant::now();
            if inner.due.is_some_and(|due| due <= now) {
                return Turn::Write;
            }
            if until <= now {
                return Turn::Look;
            }
            let left = inner.due.map_or(until, |due| due.min(until)) - now;
            inner = self.work.wait_timeout(inner, left).map_or_else(|e| e.into_inner().0, |(inner, _)| inner);
        }
        if inner.waiting.is_empty() { Turn::End } else { Turn::Write }
    }

    /// Takes all that waits. Whoever does has the writer: that is what keeps the order.
    pub(super) fn take(&self) -> Vec<Job> {
        self.lock().take()
    }

    /// Waits before a failed write is tried again; tells at once when the store is closing.
    pub(super) fn pause(&self, pause: Duration) -> Closing {
        let inner = self.lock();
        let (inner, _) =
            self.work.wait_timeout_while(inner, pause, |inner| !inner.closing).unwrap_or_else(PoisonError::into_inner);
        Closing(inner.closing)
    }

    /// Reports jobs as durable, in order, and answers whoever waits for one.
    pub(super) fn done(&self, jobs: impl IntoIterator<Item = Job>) {
        let mut answers = Vec::new();
        let mut inner = self.lock();
        for mut job in jobs {
            inner.load.bytes -= job.bytes();
            answers.extend(job.take_answer());
            match job.event() {
                Some(event) => inner.events.push_back(event),
                None => inner.load.jobs -= 1,
            }
        }
        drop(inner);
        self.news.notify_one();
        for answer in answers {
            // Whoever stopped waiting does not need the answer.
            answer.send(Ok(())).unwrap_or_default();
        }
    }

    /// Tells those who wait for one of `jobs` that writing fails; the jobs stay with the caller.
    pub(super) fn refuse(reason: &str, jobs: &mut VecDeque<Job>) {
        for answer in jobs.iter_mut().filter_map(Job::take_impatient) {
            answer.send(Err(StoreError::Failing { reason: reason.to_owned() })).unwrap_or_default();
        }
    }

    /// Reports that writing fails.
    pub(super) fn failing(&self, reason: &str) {
        self.lock().events.push_back(StoreEvent::Failed { reason: reason.to_owned() });
        self.news.notify_one();
    }

    /// Reports that writing works again. A failure that nobody has noticed yet is taken back instead, so that events of
    /// health do not pile up.
    pub(super) fn recovered(&self) {
        let mut inner = self.lock();
        if matches!(inner.events.back(), Some(StoreEvent::Failed { .. })) {
            inner.events.pop_back();
        } else {
            inner.events.push_back(StoreEvent::Recovered);
        }
        drop(inner);
        self.news.notify_one();
    }

    /// The next event, when there is one. Frees the room of the job that it is about.
    pub(super) fn try_event(&self) -> Option<StoreEvent> {
        let mut inner = self.lock();
        let event = inner.events.pop_front()?;
        match event {
            StoreEvent::Appended { .. } => inner.load.jobs -= 1,
            StoreEvent::Checkpointed { .. } => {
                inner.load.jobs -= 1;
                inner.load.checkpoints -= 1;
            }
            StoreEvent::Failed { .. } | StoreEvent::Recovered => {}
        }
        Some(event)
    }

    /// Waits for the next event; `None` when the writer has ended and all were taken.
    pub(super) async fn event(&self) -> Option<StoreEvent> {
        loop {
            if let Some(event) = self.try_event() {
                return Some(event);
            }
            if self.lock().finished {
                return None;
            }
            self.news.notified().await;
        }
    }

    /// Takes no more jobs; the writer ends when it has written those that are there.
    pub(super) fn close(&self) {
        self.lock().closing = true;
        self.work.notify_all();
    }

    /// Notes that the writer has ended. What it left is given up, which whoever waits for it finds out.
    pub(super) fn finish(&self) {
        let mut inner = self.lock();
        (inner.closing, inner.finished) = (true, true);
        let left = std::mem::take(&mut inner.waiting);
        drop(inner);
        drop(left);
        self.news.notify_one();
    }

    /// How much is admitted and not yet noticed.
    pub(super) fn load(&self) -> Load {
        self.lock().load
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing under this lock can panic half-way through a change.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the thread is to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Write what waits.
    Write,
    /// Look at the disk: it is time to, and there is nothing to write.
    Look,
    /// End: the store is closing, and all is written.
    End,
}

/// Whether the store is being closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Closing(pub(super) bool);
