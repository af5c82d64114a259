//! The guest host: runs components and hands back what they answered and what they want written.
//!
//! Owns the engine, the compiled components, the warm instances, the worker threads and every limit. Commits nothing,
//! routes nothing, knows no network: a call's writes are given to the caller of [`WasmHost::call`]. The invariants: a call
//! ends within its deadline and a tick, in a result or in an error that says whose fault it is; an error means that
//! nothing of the call remains; a guest runs on an async thread only if its workload is known to be quick, its deadline is
//! short and enough other threads are free of guests; and no type of the engine crosses this handle, but for the bounds
//! of typed calls.

mod assets;
mod code;
mod config;
mod empty;
mod engine;
mod error;
mod exports;
mod imports;
mod info;
mod instance;
mod lift;
mod limits;
mod loading;
mod lower;
mod outcome;
mod overload;
mod pace;
mod plain;
mod program;
mod recording;
mod replay;
mod room;
mod schedule;
mod service;
mod shape;
mod source;
mod stats;
#[cfg(test)]
mod tests;
mod ticker;
mod typed;
mod vet;

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLockReadGuard};
use std::thread;
use std::time::{Duration, Instant};

use selvedge_sync::draft::ReadState;
use serde_json::Value;
use tokio::sync::oneshot;
use wasmtime::Engine;
use wasmtime::component::Linker;

pub use assets::{AssetView, NoAssets};
pub use code::{CacheConfig, CodeStats, CodeSurvey, CompileConfig, HelperLimits, serve_compilation, survey_code};
pub use config::{LoadOptions, WasmConfig};
pub use empty::EmptyState;
pub use error::{Blame, CallError, LoadError, Problem, WasmError};
pub use info::{Broken, ComponentInfo, FunctionInfo};
pub use limits::Limits;
pub use loading::LoadStep;
pub use outcome::{CallContext, CallOutcome, Overrun, Recorded};
pub use recording::{Failure, FailureKind, Plain, RECORDING_BYTES_MAX, Read, Recording, RecordingError};
pub use replay::{Difference, ReplayError, replay};
use stats::Lost;
pub use stats::{HostStats, Latency, SinceMark, WorkloadStats};
pub use typed::{Params, Results, TypedOutcome};

use code::CodeStore;
use instance::{Base, CallState};
use program::Compiled;
use room::Services;
use schedule::{Load, Refused, Schedule};
use service::{Request, Service};
use ticker::Ticker;

use crate::encoding::Encoding;

/// Compiled components that are remembered, so that checking a file, deploying it and rolling back compile it once.
const COMPILED_KEPT: usize = 8;
/// The longest deadline with which a call may run on the thread that asks for it: for so long a guest that was quick so far can
/// hold that thread up, once.
const IN_PLACE_DEADLINE_MAX: Duration = Duration::from_millis(50);

/// The guest host. Clones share it; its threads end with the last one.
#[derive(Clone)]
pub struct WasmHost(Arc<Host>);

struct Host {
    config: WasmConfig,
    engine: Engine,
    code: CodeStore,
    linker: Linker<CallState>,
    base: &'static Base,
    assets: Arc<dyn AssetView>,
    ticker: Arc<Ticker>,
    schedule: Arc<Schedule<Job>>,
    services: Arc<Services>,
    lost: Arc<Lost>,
    compiled: Mutex<VecDeque<([u8; 32], Compiled)>>,
    /// Calls that run on the threads that asked for them.
    in_place: AtomicUsize,
}

struct Job {
    service: Arc<Service>,
    request: Request,
    reply: oneshot::Sender<Recorded>,
}

impl WasmHost {
    /// Starts the engine and its threads. Guests read `state`.
    ///
    /// `state` is kept for as long as the process lives: the engine wants what a guest reads to outlive every instance.
    ///
    /// # Errors
    /// The engine refuses the configuration, or there is no address space or no thread to be had.
    pub fn new(config: WasmConfig, state: Arc<dyn ReadState + Send + Sync>) -> Result<Self, WasmError> {
        Self::with_assets(config, state, Arc::new(NoAssets))
    }

    /// The same on a host that keeps assets, which guests see.
    ///
    /// # Errors
    /// As for [`WasmHost::new`].
    pub fn with_assets(
        config: WasmConfig,
        state: Arc<dyn ReadState + Send + Sync>,
        assets: Arc<dyn AssetView>,
    ) -> Result<Self, WasmError> {
        let engine = engine::engine(&config)?;
        let linker = engine::linker(&engine)?;
        let code = CodeStore::open(&engine, config.compile.clone())?;
        let ticker = Arc::new(Ticker::start(engine.clone())?);
        let schedule = Arc::new(Schedule::new(config.queue_per_workload));
        let base: &'static Base = &**Box::leak(Box::new(state));
        let (services, lost, compiled) = (Arc::default(), Arc::default(), Mutex::default());
        let workers = config.workers.max(1);
        let in_place = AtomicUsize::new(0);
        let host = Self(Arc::new(Host {
            config,
            engine,
            code,
            linker,
            base,
            assets,
            ticker,
            schedule,
            services,
            lost,
            compiled,
            in_place,
        }));
        for number in 0..workers {
            let schedule = Arc::clone(&host.0.schedule);
            thread::Builder::new()
                .name(format!("wasm-{number}"))
                .spawn(move || work(&schedule))
                .map_err(WasmError::Thread)?;
        }
        Ok(host)
    }

    /// What `wasm` offers and wants. Compiles it: tens of milliseconds, not for an async thread.
    ///
    /// # Errors
    /// It is no component, too large, imports what is not offered, or has nothing that can be called.
    pub fn inspect(&self, wasm: &[u8]) -> Result<ComponentInfo, LoadError> {
        let compiled = self.0.compile(wasm)?;
        // Ties it once, so that imports of the wrong type are found before anything is deployed.
        compiled.program(&self.0.linker, "", LoadOptions::default(), Arc::clone(&self.0.assets))?;
        Ok(compiled.info())
    }

    /// Whether `wasm` could be loaded with these options: whether its default answers fit, and what it says itself of its
    /// configuration. Takes as long as a compilation; not for an async thread.
    ///
    /// # Errors
    /// As for [`WasmHost::load`].
    pub fn check(&self, wasm: &[u8], options: LoadOptions) -> Result<(), LoadError> {
        self.0.vet(wasm, options)
    }

    /// Loads `wasm` as `workload` and starts a first instance. A workload of that name that runs already is replaced once
    /// the new one has started; calls under way end on the old one.
    ///
    /// # Errors
    /// As for [`WasmHost::inspect`], or it does not start within its limits, or not with its configuration. What ran before still
    /// runs.
    pub async fn load(
        &self,
        workload: &str,
        wasm: Arc<[u8]>,
        options: impl Into<LoadOptions>,
    ) -> Result<(), LoadError> {
        self.load_telling(workload, wasm, options, drop).await
    }

    /// The same; `tell` hears of each step as it begins.
    ///
    /// # Errors
    /// As those of [`WasmHost::load`].
    pub async fn load_telling(
        &self,
        workload: &str,
        wasm: Arc<[u8]>,
        options: impl Into<LoadOptions>,
        tell: impl Fn(LoadStep) + Send + 'static,
    ) -> Result<(), LoadError> {
        let (host, workload, options) = (self.clone(), workload.to_owned(), options.into());
        tokio::task::spawn_blocking(move || host.0.load(&workload, &wasm, options, &tell))
            .await
            .unwrap_or_else(|error| Err(LoadError::Host(error.to_string())))
    }

    /// Stops `workload`. Calls that wait or run still end; new ones find it gone.
    pub fn unload(&self, workload: &str) {
        self.0.services.write().unwrap_or_else(PoisonError::into_inner).remove(workload);
    }

    /// Calls `function` (`resolve`, or `combat.resolve` where several interfaces have one). `args` is an array in the order
    /// of the parameters or an object by their names. A call of a quick workload is over when this is first polled; any other
    /// runs on a worker.
    ///
    /// # Errors
    /// See [`CallError`]; whatever it is, the call changed nothing.
    pub async fn call(
        &self,
        workload: &str,
        function: &str,
        args: Value,
        context: CallContext,
    ) -> Result<CallOutcome, CallError> {
        let asked = Instant::now();
        let service = self.0.service(workload)?;
        if let Some(_place) = self.0.place_here(&service, context) {
            return unwinding(|| service.serve(function, &args, context, asked));
        }
        let request = Request { function: function.to_owned(), args, context, asked, record: false };
        self.on_a_worker(&service, request).await.outcome
    }

    /// The same with arguments that are encoded yet, and the result encoded, at once on this thread; `asked` is when its deadline
    /// began. `None`: it cannot be done so and
    /// nothing was done, for the workload does not run here, or its calls are for workers, or the arguments are not plain; whoever
    /// decodes them and makes the call learns more.
    ///
    /// # Errors
    /// As those of [`WasmHost::call`].
    #[must_use]
    pub fn call_encoded(
        &self,
        (workload, function): (&str, &str),
        args: (Encoding, &[u8]),
        answer: Encoding,
        (context, asked): (CallContext, Instant),
    ) -> Option<Result<CallOutcome<Vec<u8>>, CallError>> {
        let service = self.0.service(workload).ok()?;
        // First what costs nothing: most that is not made here never is.
        if !service.is_for_here(context) {
            return None;
        }
        let params = service.plain_arguments(function, args)?;
        // After the arguments: whoever else wants the place waits for nothing that needs none.
        let _place = self.0.place_here(&service, context)?;
        Some(unwinding(|| service.serve_encoded(function, &params, answer, (context, asked))))
    }

    /// The same, on an instance of its own, with a recording of all that went into the call and came out. Its errors are those of
    /// [`WasmHost::call`], or that the call read too much to be recorded.
    pub async fn record(&self, workload: &str, function: &str, args: Value, context: CallContext) -> Recorded {
        let asked = Instant::now();
        match self.0.service(workload) {
            Ok(service) => {
                let request = Request { function: function.to_owned(), args, context, asked, record: true };
                self.on_a_worker(&service, request).await
            }
            Err(error) => Err(error).into(),
        }
    }

    async fn on_a_worker(&self, service: &Arc<Service>, request: Request) -> Recorded {
        let (reply, answer) = oneshot::channel();
        let (function, patience) = (request.function.clone(), service.patience(&request));
        let job = Job { service: Arc::clone(service), request, reply };
        let (name, running_max) = (&service.program.workload, service.program.limits.concurrency);
        if let Err(refused) = self.0.schedule.push(name, &service.load, running_max, (job, patience)) {
            let error = match refused {
                Refused::Full => CallError::Busy { limit: self.0.config.queue_per_workload },
                Refused::Shed { why: _, expected_ms, retry_after_ms } => {
                    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "casts saturate")]
                    let expected_ms = expected_ms.round() as u64;
                    CallError::Overloaded { expected_ms, retry_after_ms }
                }
                Refused::Closed => CallError::Host("it is going down".to_owned()),
            };
            return service.ended_badly(&function, error).into();
        }
        answer.await.unwrap_or_else(|_| Err(CallError::Host("the call was lost".to_owned())).into())
    }

    /// The same on the thread that asks, which has nothing else to do until the guest's deadline. Waits for nobody: when as many
    /// calls of the workload run or wait as may, it is busy.
    ///
    /// # Errors
    /// As those of [`WasmHost::call`].
    pub fn call_here(
        &self,
        workload: &str,
        function: &str,
        args: &Value,
        context: CallContext,
    ) -> Result<CallOutcome, CallError> {
        let asked = Instant::now();
        let service = self.0.service(workload)?;
        match self.0.place(&service) {
            Ok(_place) => unwinding(|| service.serve(function, args, context, asked)),
            Err(busy) => service.ended_badly(function, busy),
        }
    }

    /// The same with values of Rust's types in place of JSON. What is no such function is an error of the arguments.
    ///
    /// # Errors
    /// As those of [`WasmHost::call`].
    pub fn call_typed<P: Params, R: Results>(
        &self,
        workload: &str,
        function: &str,
        params: P,
        context: CallContext,
    ) -> Result<TypedOutcome<R>, CallError> {
        let asked = Instant::now();
        let service = self.0.service(workload)?;
        let _place = self.0.place(&service)?;
        unwinding(|| service.serve_typed(function, params, context, asked))
    }

    /// Whether `workload` can be called here.
    #[must_use]
    pub fn is_loaded(&self, workload: &str) -> bool {
        self.0.services.read().unwrap_or_else(PoisonError::into_inner).contains_key(workload)
    }

    /// How long ago the thread that stops guests last showed that it lives. It does so every 100 ms at least.
    #[must_use]
    pub fn ticker_age(&self) -> Duration {
        self.0.ticker.age(Instant::now())
    }

    /// The names of the workloads that can be called, in order.
    #[must_use]
    pub fn loaded(&self) -> Vec<String> {
        self.0.services.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// What has been counted of one workload since it was loaded; `None` when it is not.
    #[must_use]
    pub fn workload_stats(&self, workload: &str) -> Option<WorkloadStats> {
        self.0.service(workload).ok().map(|service| service.stats())
    }

    /// Begins to count calls of one workload anew, beside what is counted since it was loaded.
    pub fn mark(&self, workload: &str) {
        if let Ok(service) = self.0.service(workload) {
            service.mark();
        }
    }

    /// What has been counted of one workload since [`WasmHost::mark`]; `None` when it was loaded later, or is not.
    #[must_use]
    pub fn since_mark(&self, workload: &str) -> Option<SinceMark> {
        self.0.service(workload).ok()?.since_mark()
    }

    /// What has been counted so far.
    #[must_use]
    pub fn stats(&self) -> HostStats {
        let services: Vec<_> = self.0.services().values().cloned().collect();
        let (shed_late, shed_overloaded) = self.0.schedule.overloads().shed();
        let (turned_away, log_lines_dropped) = self.0.lost.so_far();
        HostStats {
            shed_late,
            shed_overloaded,
            turned_away,
            log_lines_dropped,
            workers: self.0.config.workers.max(1),
            running: services.iter().map(|service| service.load.now().1).sum(),
            ticker_age: self.ticker_age(),
            code: self.0.code.stats(),
            workloads: services.iter().map(|service| service.stats()).collect(),
        }
    }
}

/// A call's place among those of its workload that run, and on the thread that it runs on; free again when this is dropped.
struct Place<'a> {
    host: &'a Host,
    load: &'a Load,
    in_place: bool,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.host.schedule.done(self.load);
        if self.in_place {
            self.host.in_place.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Host {
    fn compiled(&self) -> MutexGuard<'_, VecDeque<([u8; 32], Compiled)>> {
        self.compiled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn services(&self) -> RwLockReadGuard<'_, BTreeMap<String, Arc<Service>>> {
        self.services.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn service(&self, workload: &str) -> Result<Arc<Service>, CallError> {
        let service = self.services().get(workload).cloned();
        service.ok_or_else(|| CallError::NotLoaded { workload: workload.to_owned() })
    }

    /// A place for a call on the thread that asks, whatever thread it is.
    fn place<'a>(&'a self, service: &'a Service) -> Result<Place<'a>, CallError> {
        let limit = service.program.limits.concurrency;
        if Schedule::<Job>::enter(&service.load, limit) {
            Ok(Place { host: self, load: &service.load, in_place: false })
        } else {
            Err(CallError::Busy { limit })
        }
    }

    /// A place for a call on an async thread, if that hurts nobody.
    fn place_here<'a>(&'a self, service: &'a Service, context: CallContext) -> Option<Place<'a>> {
        // Whoever finds the ticker stuck waits for it, and an async thread must not.
        if !service.is_for_here(context) || !self.ticker.is_fresh(Instant::now()) {
            return None;
        }
        let more = |running: usize| (running < self.config.in_place).then_some(running + 1);
        self.in_place.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        match self.place(service) {
            Ok(mut place) => {
                place.in_place = true;
                Some(place)
            }
            Err(_) => {
                self.in_place.fetch_sub(1, Ordering::Relaxed);
                None
            }
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.schedule.close();
    }
}

/// A worker's life.
fn work(schedule: &Schedule<Job>) {
    while let Some((load, job)) = schedule.next() {
        let Job { service, request, reply } = job;
        // Whoever asked may have gone away while the call waited.
        let answer = (!reply.is_closed()).then(|| {
            let serve = || {
                Ok(if request.record {
                    service.serve_recorded(&request)
                } else {
                    service.serve_request(&request).into()
                })
            };
            unwinding(serve).unwrap_or_else(|error| Err(error).into())
        });
        // The call's place and its hold on the workload are gone before the answer is out: who asks again at once, or loads
        // another in its place, finds them free.
        schedule.done(&load);
        drop(service);
        if let Some(answer) = answer {
            // A caller that has gone away by now needs no answer.
            drop(reply.send(answer));
        }
    }
}

/// A panic in the engine or in an import is a bug; it costs its caller an error and nobody else anything.
fn unwinding<T>(serve: impl FnOnce() -> Result<T, CallError>) -> Result<T, CallError> {
    catch_unwind(AssertUnwindSafe(serve))
        .unwrap_or_else(|_| Err(CallError::Host("the call met a bug in the host".to_owned())))
}
