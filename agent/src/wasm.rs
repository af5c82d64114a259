//! The guest host: runs components and hands back what they answered and what they want written.
//!
//! Owns the engine, the compiled components, the warm instances, the worker threads and every limit. Commits nothing,
//! routes nothing, knows no network: a call's writes are given to the caller of [`WasmHost::call`]. The invariants: a call
//! ends within its deadline and a tick, in a result or in an error that says whose fault it is; an error means that
//! nothing of the call remains; guests run on the workers only and never on an async thread; and no type of the engine
//! crosses this handle.

mod assets;
mod engine;
mod error;
mod imports;
mod instance;
mod lift;
mod limits;
mod lower;
mod program;
mod schedule;
mod service;
mod shape;
mod stats;
#[cfg(test)]
mod tests;
mod ticker;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use selvedge_sync::change::Change;
use selvedge_sync::draft::ReadState;
use selvedge_sync::hlc::Hlc;
use selvedge_sync::key::Key;
use serde_json::Value;
use tokio::sync::oneshot;
use wasmtime::Engine;
use wasmtime::component::Linker;

pub use assets::{AssetView, NoAssets};
pub use error::{Blame, CallError, LoadError, WasmError};
pub use limits::Limits;
pub use stats::{HostStats, Latency, WorkloadStats};

use crate::spec::Digest;
use instance::{Base, CallState};
use program::Compiled;
use schedule::{Refused, Schedule};
use service::{Request, Service};
use ticker::Ticker;

/// Compiled components that are remembered, so that checking a file, deploying it and rolling back compile it once.
const COMPILED_KEPT: usize = 8;

/// The host's own bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WasmConfig {
    /// Threads that run guests.
    pub workers: usize,
    /// Calls of one workload that may wait for a worker; further ones are answered as busy.
    pub queue_per_workload: usize,
    /// Instances of all workloads at one time. Each reserves some 4 GiB of address space, but memory only as it is used.
    pub instances: u32,
    /// The most memory that any workload's limit may allow, in bytes.
    pub memory_bytes: usize,
}

impl Default for WasmConfig {
    fn default() -> Self {
        let workers = thread::available_parallelism().map_or(2, std::num::NonZero::get);
        Self { workers, queue_per_workload: 256, instances: 64, memory_bytes: 64 * 1024 * 1024 }
    }
}

/// What an operator sets for one workload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadOptions {
    /// Its limits; what exceeds the host's own is lowered to it.
    pub limits: Limits,
    /// What it reads through the import `config`.
    pub config: BTreeMap<String, String>,
}

impl<L: Into<Limits>> From<L> for LoadOptions {
    fn from(limits: L) -> Self {
        Self { limits: limits.into(), config: BTreeMap::new() }
    }
}

/// What a component offers and wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComponentInfo {
    /// The functions that can be called.
    pub exports: Vec<FunctionInfo>,
    /// The interfaces that it imports, with their versions.
    pub imports: Vec<String>,
}

/// A function of a component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionInfo {
    /// The interface, such as `selvedge:workload/combat@0.1.0`; empty for a function that the component exports directly.
    pub interface: String,
    /// Its name.
    pub name: String,
    /// Name (as in JSON) and type of each parameter.
    pub params: Vec<(String, String)>,
    /// The type of the result, if there is one.
    pub result: Option<String>,
}

impl fmt::Display for FunctionInfo {
    /// `interface.name(parameter: type, …) -> type`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.interface.is_empty() {
            write!(f, "{}.", self.interface)?;
        }
        let params: Vec<_> = self.params.iter().map(|(name, ty)| format!("{name}: {ty}")).collect();
        write!(f, "{}({})", self.name, params.join(", "))?;
        self.result.as_ref().map_or(Ok(()), |result| write!(f, " -> {result}"))
    }
}

/// What a call is made with, besides its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallContext {
    /// Decides what the import `random` gives.
    pub seed: u64,
    /// The call's time.
    pub now: Hlc,
    /// How long the caller waits, waiting for a worker included. The guest has this or its own deadline, the shorter one.
    pub deadline: Option<Duration>,
}

/// What a call that succeeded leaves.
#[derive(Clone, Debug, PartialEq)]
pub struct CallOutcome {
    /// The result as JSON; null for a function without one.
    pub result: Value,
    /// What is to be written, as one commit. Empty for a call that wrote nothing.
    pub changes: Vec<(Key, Change)>,
    /// Assets that it asked this host to fetch, once what it wrote is committed.
    pub preloads: Vec<Digest>,
    /// How long the guest ran.
    pub guest_time: Duration,
}

/// The guest host. Clones share it; its threads end with the last one.
#[derive(Clone)]
pub struct WasmHost(Arc<Host>);

struct Host {
    config: WasmConfig,
    engine: Engine,
    linker: Linker<CallState>,
    base: &'static Base,
    assets: Arc<dyn AssetView>,
    ticker: Arc<Ticker>,
    schedule: Arc<Schedule<Job>>,
    services: RwLock<BTreeMap<String, Arc<Service>>>,
    compiled: Mutex<VecDeque<([u8; 32], Compiled)>>,
}

struct Job {
    service: Arc<Service>,
    request: Request,
    reply: oneshot::Sender<Result<CallOutcome, CallError>>,
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
        let ticker = Arc::new(Ticker::start(engine.clone())?);
        let schedule = Arc::new(Schedule::new(config.queue_per_workload));
        let base: &'static Base = &**Box::leak(Box::new(state));
        let (services, compiled) = (RwLock::default(), Mutex::default());
        let workers = config.workers.max(1);
        let host = Self(Arc::new(Host { config, engine, linker, base, assets, ticker, schedule, services, compiled }));
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

    /// Loads `wasm` as `workload` and starts a first instance. A workload of that name that runs already is replaced once
    /// the new one has started; calls under way end on the old one.
    ///
    /// # Errors
    /// As for [`WasmHost::inspect`], or it does not start within its limits. What ran before still runs.
    pub async fn load(
        &self,
        workload: &str,
        wasm: Arc<[u8]>,
        options: impl Into<LoadOptions>,
    ) -> Result<(), LoadError> {
        let (host, workload, options) = (self.clone(), workload.to_owned(), options.into());
        tokio::task::spawn_blocking(move || host.0.load(&workload, &wasm, options))
            .await
            .unwrap_or_else(|error| Err(LoadError::Host(error.to_string())))
    }

    /// Stops `workload`. Calls that wait or run still end; new ones find it gone.
    pub fn unload(&self, workload: &str) {
        self.0.services.write().unwrap_or_else(PoisonError::into_inner).remove(workload);
    }

    /// Calls `function` (`resolve`, or `combat.resolve` where several interfaces have one). `args` is an array in the order
    /// of the parameters or an object by their names.
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
        let service = self.0.service(workload).ok_or_else(|| CallError::NotLoaded { workload: workload.to_owned() })?;
        let (reply, answer) = oneshot::channel();
        let request = Request { function: function.to_owned(), args, context, asked: Instant::now() };
        let job = Job { service: Arc::clone(&service), request, reply };
        let (name, running_max) = (&service.program.workload, service.program.limits.concurrency);
        if let Err(refused) = self.0.schedule.push(name, running_max, job) {
            let error = match refused {
                Refused::Full => CallError::Busy { limit: self.0.config.queue_per_workload },
                Refused::Closed => CallError::Host("it is going down".to_owned()),
            };
            service.turned_away(&error);
            return Err(error);
        }
        answer.await.unwrap_or_else(|_| Err(CallError::Host("the call was lost".to_owned())))
    }

    /// Whether `workload` can be called here.
    #[must_use]
    pub fn is_loaded(&self, workload: &str) -> bool {
        self.0.services.read().unwrap_or_else(PoisonError::into_inner).contains_key(workload)
    }

    /// How long ago the thread that stops guests last showed that it lives. It does so every 100 ms at least.
    #[must_use]
    pub fn ticker_age(&self) -> Duration {
        self.0.ticker.age()
    }

    /// The names of the workloads that can be called, in order.
    #[must_use]
    pub fn loaded(&self) -> Vec<String> {
        self.0.services.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// What has been counted so far.
    #[must_use]
    pub fn stats(&self) -> HostStats {
        let services = self.0.services.read().unwrap_or_else(PoisonError::into_inner);
        HostStats {
            workers: self.0.config.workers.max(1),
            workers_busy: self.0.schedule.running(),
            ticker_age: self.0.ticker.age(),
            workloads: services.iter().map(|(name, service)| service.stats(self.0.schedule.load(name))).collect(),
        }
    }
}

impl Host {
    fn load(&self, workload: &str, wasm: &[u8], mut options: LoadOptions) -> Result<(), LoadError> {
        options.limits = options.limits.bounded(self.config.memory_bytes);
        let warm_max = options.limits.concurrency.min(self.config.workers);
        let assets = Arc::clone(&self.assets);
        let program = self.compile(wasm)?.program(&self.linker, workload, options, assets)?;
        let service = Arc::new(Service::start(program, self.base, Arc::clone(&self.ticker), warm_max)?);
        let mut services = self.services.write().unwrap_or_else(PoisonError::into_inner);
        let replaced = services.insert(workload.to_owned(), service);
        drop(services);
        // Its instances are torn down outside the lock.
        drop(replaced);
        Ok(())
    }

    fn compile(&self, wasm: &[u8]) -> Result<Compiled, LoadError> {
        let digest = *blake3::hash(wasm).as_bytes();
        if let Some((_, compiled)) = self.compiled().iter().find(|(known, _)| *known == digest) {
            return Ok(compiled.clone());
        }
        let compiled = Compiled::new(&self.engine, wasm)?;
        let mut kept = self.compiled();
        kept.truncate(COMPILED_KEPT - 1);
        kept.push_front((digest, compiled.clone()));
        Ok(compiled)
    }

    fn compiled(&self) -> MutexGuard<'_, VecDeque<([u8; 32], Compiled)>> {
        self.compiled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn service(&self, workload: &str) -> Option<Arc<Service>> {
        self.services.read().unwrap_or_else(PoisonError::into_inner).get(workload).cloned()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.schedule.close();
    }
}

/// A worker's life.
fn work(schedule: &Schedule<Job>) {
    while let Some((workload, job)) = schedule.next() {
        let Job { service, request, reply } = job;
        // Whoever asked may have gone away while the call waited.
        if !reply.is_closed() {
            // A panic in the engine or in an import is a bug; it costs its caller an error and nobody else anything.
            let served = catch_unwind(AssertUnwindSafe(|| service.serve(&request)));
            let answer = served.unwrap_or_else(|_| Err(CallError::Host("the call met a bug in the host".to_owned())));
            // A caller that has gone away by now needs no answer.
            drop(reply.send(answer));
        }
        schedule.done(&workload);
    }
}
