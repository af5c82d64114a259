//! Starts of workloads on this host: begun in turn, carried out, and ended.
//!
//! Owns how many are under way at once. The invariants: what is here waits for nothing that is still being fetched, and whatever is here,
//! also what had to be fetched, has its turn in the order in which it came; what a start has loaded is noted before anybody hears of it,
//! and goes again where it was stopped meanwhile.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::course::Stages;
use super::slots::Failure;
use super::{ReachError, Workloads};
use crate::placement::{Explanation, Stage};
use crate::spec::{Digest, Spec, WorkloadName};
use crate::wasm::{LoadOptions, LoadStep};

/// Starts that may verify, compile and warm up at once. Each holds an artefact in memory while it does.
const LOADS_MAX: usize = 2;
/// Starts that may wait at once for an artefact from other members, or for their turn once it is on disk: some slow members then hold
/// up nothing whose artefact is here. What has come lies on disk until its turn, and what is coming is bounded by the fetcher.
const FETCHES_MAX: usize = 8;
/// Starts of what was here that may wait at once for their turn. In the queue, for what has been fetched waits there too, and would
/// always be first; a few, since what they are to run may change while they do.
const WAITS_MAX: usize = 8;
/// Starts that may be under way at once.
pub(super) const STARTS_MAX: usize = LOADS_MAX + FETCHES_MAX + WAITS_MAX;

/// What came of beginning a start.
pub(super) enum Begun {
    /// It is under way.
    Begins,
    /// It waits until one of those that are under way has got on or ended.
    Queued,
    /// What is there goes on, or what is under way.
    GoesOn,
}

/// Whose turn it is, and where ends are told.
pub(super) struct Turns {
    fetching: Arc<Semaphore>,
    /// Fair: who waits for it has it before whoever asks later.
    loading: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    ended: mpsc::Sender<Started>,
}

/// What a start begins with.
enum Turn {
    /// Its artefact has to be fetched.
    Fetch(OwnedSemaphorePermit),
    /// Its artefact is here.
    Load(OwnedSemaphorePermit),
    /// Its artefact is here, and others are before it.
    Wait(OwnedSemaphorePermit),
}

/// The end of a start.
pub(super) struct Started {
    workload: WorkloadName,
    spec: Spec,
    result: Result<(), Failure>,
    course: Stages,
}

impl Turns {
    /// Nothing is under way. Ends are told to `ended`.
    pub(super) fn new(ended: mpsc::Sender<Started>) -> Self {
        let [fetching, loading, waiting] =
            [FETCHES_MAX, LOADS_MAX, WAITS_MAX].map(|starts| Arc::new(Semaphore::new(starts)));
        Self { fetching, loading, waiting, ended }
    }

    /// The turn of a start whose artefact is here or is not, if there is room for one now.
    fn take(&self, is_here: bool) -> Option<Turn> {
        let now = |turns: &Arc<Semaphore>| Arc::clone(turns).try_acquire_owned().ok();
        if !is_here {
            return now(&self.fetching).map(Turn::Fetch);
        }
        now(&self.loading).map(Turn::Load).or_else(|| now(&self.waiting).map(Turn::Wait))
    }
}

impl Workloads {
    /// Begins a start, if there is room for one; otherwise the step comes again at the next look.
    pub(super) fn begin_start(
        &self,
        workload: &WorkloadName,
        spec: &Spec,
        explanation: Option<&Explanation>,
        turns: &Turns,
    ) -> Begun {
        if self.slots().resume(workload, spec) {
            tracing::info!(%workload, digest = %spec.artifact, "goes on");
            self.parts.members.announce();
            return Begun::GoesOn;
        }
        let is_here = self.parts.artifacts.contains(&spec.artifact);
        let Some(turn) = turns.take(is_here) else { return Begun::Queued };
        if !self.slots().begin(workload, spec) {
            return Begun::GoesOn;
        }
        tracing::info!(%workload, digest = %spec.artifact, "starting");
        self.parts.chronicle.claimed(workload, spec.artifact, explanation);
        self.parts.members.announce();
        let (this, workload, spec) = (self.clone(), workload.clone(), spec.clone());
        let (loading, ended) = (Arc::clone(&turns.loading), turns.ended.clone());
        tokio::spawn(async move {
            let end = this.start(workload, spec, turn, loading).await;
            // Where nobody listens any more, the agent is about to end.
            drop(ended.send(end).await);
        });
        Begun::Begins
    }

    /// Fetches, verifies, compiles and warms one workload.
    async fn start(self, workload: WorkloadName, spec: Spec, turn: Turn, loading: Arc<Semaphore>) -> Started {
        let course = Arc::new(Mutex::new(Stages::begin(spec.artifact)));
        self.reach_stage(&workload, &course, Stage::Fetching);
        let waits = || self.reach_stage(&workload, &course, Stage::Queued);
        let result = match self.fetch(spec.artifact, turn, loading, waits).await {
            // What it was to be may have been taken back while it was fetched.
            Ok(_) if !self.may_run(&workload, &spec) => {
                Err(Failure { reason: "it is not to run any more".to_owned(), permanent: false })
            }
            Ok((wasm, _turn)) => self.load(&workload, &spec, wasm, &course).await,
            Err(error) => Err(Failure { reason: error.to_string(), permanent: false }),
        };
        let course = course.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Started { workload, spec, result, course }
    }

    /// The artefact, and the turn to load it, which may have to be waited for.
    async fn fetch(
        &self,
        artifact: Digest,
        turn: Turn,
        loading: Arc<Semaphore>,
        waits: impl FnOnce(),
    ) -> Result<(Arc<[u8]>, OwnedSemaphorePermit), ReachError> {
        let turn = match turn {
            Turn::Load(turn) => turn,
            Turn::Wait(_waiting) => {
                waits();
                loading.acquire_owned().await.expect("turns never end")
            }
            Turn::Fetch(_fetching) => {
                let wasm = self.reach(artifact).await?;
                if let Ok(turn) = Arc::clone(&loading).try_acquire_owned() {
                    return Ok((wasm, turn));
                }
                // It lies on disk now, and takes no memory while it waits.
                drop(wasm);
                waits();
                loading.acquire_owned().await.expect("turns never end")
            }
        };
        Ok((self.reach(artifact).await?, turn))
    }

    async fn load(
        &self,
        workload: &WorkloadName,
        spec: &Spec,
        wasm: Arc<[u8]>,
        course: &Arc<Mutex<Stages>>,
    ) -> Result<(), Failure> {
        self.parts.chronicle.started(workload, spec.artifact);
        let (this, name, reached) = (self.clone(), workload.clone(), Arc::clone(course));
        let tell = move |step| this.reach_stage(&name, &reached, stage(step));
        let loaded = self.parts.wasm.load_telling(workload.as_str(), wasm, LoadOptions::of(spec), tell).await;
        loaded.map_err(|error| Failure { reason: error.to_string(), permanent: error.is_permanent() })
    }

    fn may_run(&self, workload: &WorkloadName, spec: &Spec) -> bool {
        self.deployed().get(workload).is_some_and(|deployed| deployed.may_run(spec.revision()))
    }

    fn reach_stage(&self, workload: &WorkloadName, course: &Mutex<Stages>, stage: Stage) {
        course.lock().unwrap_or_else(PoisonError::into_inner).reach(stage);
        self.slots().reach(workload, stage);
        self.parts.members.announce();
    }

    pub(super) fn finish_start(&self, start: Started) {
        let Started { workload, spec, result, course } = start;
        let (error, permanent) = match &result {
            Ok(()) => (None, false),
            Err(failure) => (Some(failure.reason.clone()), failure.permanent),
        };
        let ended = course.end(error);
        self.parts.chronicle.ended(&workload, &ended, permanent);
        self.starts().insert(workload.clone(), ended);
        match &result {
            Ok(()) => tracing::info!(%workload, digest = %spec.artifact, "ready"),
            Err(Failure { reason, .. }) => {
                tracing::error!(%workload, digest = %spec.artifact, reason, "could not be started");
            }
        }
        if !self.slots().finish(&workload, &spec, result) {
            self.parts.wasm.unload(workload.as_str());
            self.slots().abandon(&workload);
        }
        self.parts.members.announce();
    }
}

/// The stage of a start that a step of a load is.
const fn stage(step: LoadStep) -> Stage {
    match step {
        LoadStep::Verifying => Stage::Verifying,
        LoadStep::Compiling => Stage::Compiling,
        LoadStep::Warming => Stage::Warming,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_here_waits_for_nothing_that_is_fetched() {
        let turns = Turns::new(mpsc::channel(STARTS_MAX).0);
        let fetching: Vec<Turn> = (0..FETCHES_MAX).map(|_| turns.take(false).expect("room to fetch")).collect();
        assert!(turns.take(false).is_none());
        let loading: Vec<Turn> = (0..LOADS_MAX).map(|_| turns.take(true).expect("a turn to load")).collect();
        assert!(loading.iter().all(|turn| matches!(turn, Turn::Load(_))));
        let waiting: Vec<Turn> = (0..WAITS_MAX).map(|_| turns.take(true).expect("room to wait")).collect();
        assert!(waiting.iter().all(|turn| matches!(turn, Turn::Wait(_))));
        assert!(turns.take(true).is_none());
        drop(fetching);
        assert!(turns.take(false).is_some() && turns.take(true).is_none(), "each waits for its own");
        drop(loading);
        assert!(matches!(turns.take(true), Some(Turn::Load(_))));
    }

    #[tokio::test]
    async fn who_waits_for_a_turn_has_it_before_whoever_comes_later() {
        let turns = Turns::new(mpsc::channel(STARTS_MAX).0);
        let mut loading: Vec<Turn> = (0..LOADS_MAX).map(|_| turns.take(true).expect("a turn to load")).collect();
        let queue = || Arc::clone(&turns.loading).acquire_owned();
        let (mut first, mut second) = (Box::pin(queue()), Box::pin(queue()));
        assert!(futures::poll!(first.as_mut()).is_pending() && futures::poll!(second.as_mut()).is_pending());
        drop(loading.pop());
        assert!(matches!(turns.take(true), Some(Turn::Wait(_))), "whoever comes later stands behind them");
        assert!(futures::poll!(second.as_mut()).is_pending() && futures::poll!(first.as_mut()).is_ready());
    }
}
