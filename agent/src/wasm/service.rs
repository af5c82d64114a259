//! A loaded workload: its program, its warm instances, and how one call is served on a worker.
//!
//! Owns the order of a call: arguments, instance, guest, result. The invariants: the guest runs only with arguments that
//! fit its types; an instance that failed is never used again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::error::{CallError, LoadError};
use super::instance::{Base, Done, Warm};
use super::lower;
use super::program::Program;
use super::stats::Recorder;
use super::ticker::Ticker;
use super::{CallContext, CallOutcome};

/// A workload that can be called.
pub(super) struct Service {
    pub(super) program: Program,
    base: &'static Base,
    ticker: Arc<Ticker>,
    warm: Mutex<Vec<Warm>>,
    warm_max: usize,
    recorder: Mutex<Recorder>,
}

/// A call on its way to a worker.
pub(super) struct Request {
    pub(super) function: String,
    pub(super) args: Value,
    pub(super) context: CallContext,
    pub(super) asked: Instant,
}

impl Service {
    /// Starts a first instance, so that a component that cannot start is refused when it is loaded.
    pub(super) fn start(
        program: Program,
        base: &'static Base,
        ticker: Arc<Ticker>,
        warm_max: usize,
    ) -> Result<Self, LoadError> {
        let running = ticker.run();
        let first = Warm::start(&program, base)?;
        drop(running);
        let (warm, recorder) = (Mutex::new(vec![first]), Mutex::new(Recorder::new()));
        Ok(Self { program, base, ticker, warm, warm_max: warm_max.max(1), recorder })
    }

    /// Serves one call, on the thread that it is called on.
    pub(super) fn serve(&self, request: &Request) -> Result<CallOutcome, CallError> {
        let done = self.attempt(request);
        let mut recorder = self.recorder();
        match done {
            Ok(done) => {
                recorder.succeeded(done.guest_time, done.log_lines_dropped);
                let Done { result, changes, preloads, guest_time, log_lines_dropped: _ } = done;
                Ok(CallOutcome { result, changes, preloads, guest_time })
            }
            Err(error) => {
                recorder.failed(&error);
                Err(error)
            }
        }
    }

    fn attempt(&self, request: &Request) -> Result<Done, CallError> {
        let limits = &self.program.limits;
        let function = self.program.function(&request.function)?;
        let params = lower::arguments(&function.signature, &request.args, limits.argument_bytes)?;
        let context = &request.context;
        let left = context.deadline.map(|deadline| deadline.saturating_sub(request.asked.elapsed()));
        let deadline = left.unwrap_or(limits.deadline).min(limits.deadline);
        if deadline < Duration::from_millis(1) {
            return Err(CallError::Expired);
        }
        let _running = self.ticker.run();
        let mut instance = self.instance()?;
        let done = instance.call(function, &params, (context.seed, context.now), deadline)?;
        if instance.is_reusable() {
            let mut warm = self.warm();
            if warm.len() < self.warm_max {
                warm.push(instance);
            }
        }
        Ok(done)
    }

    /// Counts a call that never reached a worker.
    pub(super) fn turned_away(&self, error: &CallError) {
        self.recorder().failed(error);
    }

    pub(super) fn stats(&self, load: (usize, usize)) -> super::stats::WorkloadStats {
        let warm = self.warm().len();
        self.recorder().stats(&self.program.workload, load, warm)
    }

    fn instance(&self) -> Result<Warm, CallError> {
        if let Some(warm) = self.warm().pop() {
            return Ok(warm);
        }
        Warm::start(&self.program, self.base).map_err(|error| match error {
            // It did start when it was loaded; what changed since is this host.
            LoadError::Host(message) => CallError::Host(message),
            other => CallError::Trap { message: other.to_string() },
        })
    }

    fn warm(&self) -> MutexGuard<'_, Vec<Warm>> {
        self.warm.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn recorder(&self) -> MutexGuard<'_, Recorder> {
        self.recorder.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
