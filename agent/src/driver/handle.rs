//! The way to the driver: requests that carry their own reply, over a bounded channel; and past it, while nobody is there.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use selvedge_sync::change::Change;
use selvedge_sync::commit::RequestId;
use selvedge_sync::id::{Incarnation, NodeId};
use selvedge_sync::key::Key;
use selvedge_sync::replica::{CommitError, Committed, KeyPrefix, WatchError};
use tokio::sync::{mpsc, oneshot, watch};

use super::core::Core;
use super::helm::Helm;
use super::{ListenError, Panicked, QUEUE_MAX};
use crate::events::{Interest, Watched};
use crate::timing::Timing;

/// How long a caller waits for its commit, and again for the disk, before it is told that the answer is not known. Both
/// together are less than what the CLI waits, so that the answer with the commit's name gets through.
const ANSWER_PATIENCE: Duration = Duration::from_secs(4);

pub(super) type Answer = Result<Committed, CommitError>;

/// Something for the replica, on its way to the driver.
#[derive(Debug)]
pub(super) enum Request {
    Commit {
        changes: Vec<(Key, Change)>,
        request: Option<RequestId>,
        reply: Reply,
    },
    Members(BTreeSet<NodeId>),
    Reborn(Incarnation),
    /// Nothing but what every pass ends with.
    EndPass,
    Watch {
        id: u64,
        prefix: KeyPrefix,
        reply: oneshot::Sender<Result<(), WatchError>>,
    },
    Tick,
}

/// Two answers: that the commit was applied, and, for who waits for it, that it is durable.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) applied: oneshot::Sender<Answer>,
    pub(super) durable: Option<oneshot::Sender<()>>,
}

/// A commit that was begun.
#[derive(Debug)]
pub struct Begun(Stage);

#[derive(Debug)]
enum Stage {
    Applied(Answer),
    Queued { answer: oneshot::Receiver<Answer>, begun: Instant, timing: Timing },
}

impl Begun {
    /// Whether it is applied already.
    #[must_use]
    pub const fn is_applied(&self) -> bool {
        matches!(self.0, Stage::Applied(_))
    }

    /// Waits until it is applied.
    ///
    /// # Errors
    /// As the variants say.
    pub async fn made(self) -> Result<Committed, DriverError> {
        match self.0 {
            Stage::Applied(answer) => Ok(answer?),
            Stage::Queued { mut answer, begun, timing } => {
                let answer = match answer.try_recv() {
                    Ok(answer) => Some(answer),
                    Err(_) => tokio::time::timeout(ANSWER_PATIENCE, answer).await.ok().and_then(Result::ok),
                };
                let committed = answer.ok_or(DriverError::NoAnswer)??;
                timing.record(begun.elapsed());
                Ok(committed)
            }
        }
    }
}

/// Why a commit was not made, or is not known to be durable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DriverError {
    /// The replica refused it. Nothing was changed.
    #[error(transparent)]
    Refused(#[from] CommitError),
    /// This agent makes no commits any more, and why. Nothing was changed.
    #[error("{0}")]
    Barred(String),
    /// Too many requests wait. Nothing was changed.
    #[error("too many requests are waiting")]
    Busy,
    /// It was made and is visible here, but the disk has not confirmed it in time.
    #[error("the commit was applied, but its sync to disk was not confirmed in time")]
    NotDurableInTime(Committed),
    /// The agent is stopping, or is stuck. The commit may or may not have been made.
    #[error("the agent gave no answer")]
    NoAnswer,
}

/// What the driver counts beside the replica's own counters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DriverStats {
    /// Messages of members that could not be decoded.
    pub undecodable: u64,
    /// When the last pass was, on the view's monotonic clock: a loop that is stuck shows here.
    pub passed_ms: u64,
    /// Why the store cannot write at present.
    pub store_failure: Option<String>,
}

#[derive(Debug, Default)]
pub(super) struct Stats {
    pub(super) undecodable: AtomicU64,
    pub(super) passed_ms: AtomicU64,
    /// Callers that wait for the core.
    pub(super) at_core: AtomicUsize,
    applied: Timing,
    durable: Timing,
    store_failure: Mutex<Option<String>>,
    /// Why no commits are made any more, for as long as this process lives.
    barred: OnceLock<String>,
}

impl Stats {
    pub(super) fn set_store_failure(&self, reason: Option<String>) {
        *self.store_failure.lock().unwrap_or_else(PoisonError::into_inner) = reason;
    }
}

/// Sends requests to the driver. Cheap to clone.
#[derive(Clone, Debug)]
pub struct DriverHandle {
    pub(super) requests: mpsc::Sender<Request>,
    pub(super) core: Arc<Mutex<Core>>,
    helm: Arc<Mutex<Helm>>,
    generation: watch::Receiver<u64>,
    stats: Arc<Stats>,
}

impl DriverHandle {
    pub(super) fn new(
        requests: mpsc::Sender<Request>,
        (core, helm): (Arc<Mutex<Core>>, Arc<Mutex<Helm>>),
        generation: watch::Receiver<u64>,
        stats: Arc<Stats>,
    ) -> Self {
        Self { requests, core, helm, generation, stats }
    }

    /// Makes no commits from now on: nobody would take them. What members commit is still applied.
    pub fn bar(&self, why: String) {
        // The first reason stays.
        drop(self.stats.barred.set(why));
    }

    /// Makes one commit of all changes. Answers when it is applied here, or with `durable` when it is synced to disk.
    ///
    /// # Errors
    /// As the variants say; all but the last two changed nothing.
    pub async fn commit(
        &self,
        changes: Vec<(Key, Change)>,
        request: Option<RequestId>,
        durable: bool,
    ) -> Result<Committed, DriverError> {
        if !durable {
            let begun = self.begin_commit(changes, request)?;
            self.end_pass();
            return begun.made().await;
        }
        self.check_barred()?;
        let begun = Instant::now();
        let (synced, sync) = oneshot::channel();
        let committed = self.queue(changes, request, Some(synced))?.made().await?;
        match tokio::time::timeout(ANSWER_PATIENCE, sync).await {
            Ok(Ok(())) => {
                self.stats.durable.record(begun.elapsed());
                Ok(committed)
            }
            Ok(Err(_)) | Err(_) => Err(DriverError::NotDurableInTime(committed)),
        }
    }

    /// Begins a commit: it is applied at once and on this thread, for the way to the loop and back costs more; unless something waits
    /// or there is no room, for then the loop makes it with all that waits. What follows from it is carried out at the end of a pass,
    /// which whoever begins commits calls for once ([`DriverHandle::end_pass`]).
    ///
    /// # Errors
    /// Nothing was changed, as the variant says.
    pub fn begin_commit(&self, changes: Vec<(Key, Change)>, request: Option<RequestId>) -> Result<Begun, DriverError> {
        self.check_barred()?;
        if self.requests.capacity() < QUEUE_MAX {
            return self.queue(changes, request, None);
        }
        let begun = Instant::now();
        // Said before it is waited for, so that a pass of members' messages makes room.
        self.stats.at_core.fetch_add(1, Ordering::Relaxed);
        let core = self.core.lock();
        self.stats.at_core.fetch_sub(1, Ordering::Relaxed);
        let mut core = core.map_err(|_| DriverError::NoAnswer)?;
        match core.commit(changes, request) {
            Ok(answer) => {
                drop(core);
                self.stats.applied.record(begun.elapsed());
                Ok(Begun(Stage::Applied(answer)))
            }
            Err(changes) => {
                drop(core);
                self.queue(changes, request, None)
            }
        }
    }

    /// Carries out what follows from commits that were begun, or has the loop do so.
    pub fn end_pass(&self) {
        let ended = self.helm.try_lock().ok().map(|mut helm| helm.end_pass());
        if !matches!(ended, Some(Ok(()))) {
            // Whoever has it may only be looking. A queue that is full begins a pass by itself.
            drop(self.requests.try_send(Request::EndPass));
        }
    }

    /// Why this agent takes no more writes, if it does not: it is no member any more.
    #[must_use]
    pub fn barred(&self) -> Option<String> {
        self.stats.barred.get().cloned()
    }

    fn check_barred(&self) -> Result<(), DriverError> {
        self.stats.barred.get().map_or(Ok(()), |why| Err(DriverError::Barred(why.clone())))
    }

    /// Has a commit made by the loop, with all that waits; or makes the pass for it on this thread, if nobody is at it.
    fn queue(
        &self,
        changes: Vec<(Key, Change)>,
        request: Option<RequestId>,
        durable: Option<oneshot::Sender<()>>,
    ) -> Result<Begun, DriverError> {
        let begun = Instant::now();
        let (applied, answer) = oneshot::channel();
        let commit = Request::Commit { changes, request, reply: Reply { applied, durable } };
        let is_next = self.requests.capacity() == QUEUE_MAX;
        if is_next
            && let Ok(mut helm) = self.helm.try_lock()
            && helm.has_room()
        {
            let mut inputs = Vec::with_capacity(1);
            helm.take_request(commit, &mut inputs);
            helm.pass(inputs).map_err(|Panicked| DriverError::NoAnswer)?;
        } else {
            self.requests.try_send(commit).map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => DriverError::Busy,
                mpsc::error::TrySendError::Closed(_) => DriverError::NoAnswer,
            })?;
        }
        Ok(Begun(Stage::Queued { answer, begun, timing: self.stats.applied.clone() }))
    }

    /// Says who the members are. Said again with every beat, so one that finds no room is not missed.
    pub fn members(&self, members: BTreeSet<NodeId>) {
        if self.requests.try_send(Request::Members(members)).is_err() {
            tracing::debug!("the driver has no room to hear who the members are");
        }
    }

    /// Has the replica watch what a listener is interested in. Once this has answered, every change is recorded.
    ///
    /// # Errors
    /// It is not watched; the listener may try again.
    pub async fn watch(&self, interest: &Interest) -> Result<(), ListenError> {
        let Some(Watched { prefix, watch }) = interest.watched().cloned() else { return Ok(()) };
        let (reply, answer) = oneshot::channel();
        let request = Request::Watch { id: watch, prefix, reply };
        self.requests.try_send(request).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => ListenError::Busy,
            mpsc::error::TrySendError::Closed(_) => ListenError::NoAnswer,
        })?;
        let answer = tokio::time::timeout(ANSWER_PATIENCE, answer).await;
        Ok(answer.ok().and_then(Result::ok).ok_or(ListenError::NoAnswer)??)
    }

    /// Changes whenever the state's root does.
    #[must_use]
    pub fn generation(&self) -> watch::Receiver<u64> {
        self.generation.clone()
    }

    /// How long commits take until they are applied, and until they are durable.
    #[must_use]
    pub fn timings(&self) -> (Timing, Timing) {
        (self.stats.applied.clone(), self.stats.durable.clone())
    }

    /// What the driver counts.
    #[must_use]
    pub fn stats(&self) -> DriverStats {
        DriverStats {
            undecodable: self.stats.undecodable.load(Ordering::Relaxed),
            passed_ms: self.stats.passed_ms.load(Ordering::Relaxed),
            store_failure: self.stats.store_failure.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}
