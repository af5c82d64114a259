//! Starts of workloads on this host: begun in turn, carried out, and ended.
//!
//! Owns how many are under way at once. The invariant: what a start has loaded is noted before anybody hears of it, and goes again where
//! it was stopped meanwhile.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;

use super::course::Stages;
use super::slots::Failure;
use super::{Workloads, fetch};
use crate::placement::{Explanation, Stage};
use crate::spec::{Spec, WorkloadName};
use crate::wasm::{LoadOptions, LoadStep};

/// Starts that may be under way at once. Each holds an artefact in memory while it compiles.
pub(super) const STARTS_MAX: usize = 2;

/// What came of beginning a start.
pub(super) enum Begun {
    /// It is under way.
    Begins,
    /// It waits until one of those that are under way has ended.
    Queued,
    /// What is there goes on, or what is under way.
    GoesOn,
}

/// The end of a start.
pub(super) struct Started {
    workload: WorkloadName,
    spec: Spec,
    result: Result<(), Failure>,
    course: Stages,
}

impl Workloads {
    /// Begins a start, if there is room for one; otherwise the step comes again at the next look.
    pub(super) fn begin_start(
        &self,
        workload: &WorkloadName,
        spec: &Spec,
        explanation: Option<&Explanation>,
        started: &mpsc::Sender<Started>,
    ) -> Begun {
        if self.slots().resume(workload, spec) {
            tracing::info!(%workload, digest = %spec.artifact, "goes on");
            self.parts.members.announce();
            return Begun::GoesOn;
        }
        let Ok(permit) = started.clone().try_reserve_owned() else { return Begun::Queued };
        if !self.slots().begin(workload, spec) {
            return Begun::GoesOn;
        }
        tracing::info!(%workload, digest = %spec.artifact, "starting");
        self.parts.chronicle.claimed(workload, spec.artifact, explanation);
        self.parts.members.announce();
        tokio::spawn(self.clone().start(workload.clone(), spec.clone(), permit));
        Begun::Begins
    }

    /// Fetches, verifies, compiles and warms one workload; reports the end through `permit`.
    async fn start(self, workload: WorkloadName, spec: Spec, permit: mpsc::OwnedPermit<Started>) {
        let course = Arc::new(Mutex::new(Stages::begin(spec.artifact)));
        self.reach_stage(&workload, &course, Stage::Fetching);
        let result = match fetch::reach(&self.parts.artifacts, &self.parts.fetcher, spec.artifact).await {
            // What it was to be may have been taken back while it was fetched.
            Ok(_) if !self.may_run(&workload, &spec) => {
                Err(Failure { reason: "it is not to run any more".to_owned(), permanent: false })
            }
            Ok(wasm) => {
                self.parts.chronicle.started(&workload, spec.artifact);
                let (this, name, reached) = (self.clone(), workload.clone(), Arc::clone(&course));
                let tell = move |step| this.reach_stage(&name, &reached, stage(step));
                let loaded = self.parts.wasm.load_telling(workload.as_str(), wasm, LoadOptions::of(&spec), tell).await;
                loaded.map_err(|error| Failure { reason: error.to_string(), permanent: error.is_permanent() })
            }
            Err(error) => Err(Failure { reason: error.to_string(), permanent: false }),
        };
        let course = course.lock().unwrap_or_else(PoisonError::into_inner).clone();
        permit.send(Started { workload, spec, result, course });
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
