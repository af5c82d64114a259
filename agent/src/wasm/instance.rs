//! One instance of a component, and the state of the call that it is in.
//!
//! Owns the store's data: the draft of the call, what is left of its limits, the open handles. The invariants: one call at
//! a time; nothing of a call is left behind for the next but the guest's own memory; after a trap the instance is gone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use selvedge_sync::change::Change;
use selvedge_sync::draft::{Draft, ReadState};
use selvedge_sync::hlc::Hlc;
use selvedge_sync::key::Key;
use selvedge_sync::limits::NAME_BYTES_MAX;
use selvedge_sync::scalar::Scalar;
use serde_json::Value;
use wasmtime::component::{Instance, ResourceTable, Val};
use wasmtime::{ResourceLimiter, Store, Trap};

use super::assets::{AssetView, Hints};
use super::error::{CallError, LoadError};
use super::lift;
use super::limits::Limits;
use super::program::{Function, Program};
use super::ticker::TICK;
use crate::spec::Digest;

/// What every call reads. A draft borrows it for ever, because a store's data may borrow nothing shorter.
pub(super) type Base = dyn ReadState + Send + Sync;

/// Host memory that one crossing of the boundary may take for each byte of output that is allowed. A lifted value takes
/// more room than the 8 bytes that it counts for; without this bound a list of bytes would take forty times its length.
const LIFT_FACTOR: usize = 16;
/// A warm instance that was left with more open handles than this leaks them, and is replaced.
const HANDLES_KEPT_MAX: usize = 256;

/// Why the host ends a call from inside an import.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Stop {
    #[error("the workload found fault with {field}: {message}")]
    Fault { field: String, message: String },
    #[error("too many host calls")]
    HostCalls,
    #[error("too many writes")]
    Writes { what: &'static str, limit: usize },
    #[error("too much memory")]
    Memory { what: &'static str, limit: usize },
}

/// The data of a store.
pub(super) struct CallState {
    pub(super) workload: Arc<str>,
    pub(super) limits: Arc<Limits>,
    pub(super) config: Arc<BTreeMap<String, String>>,
    pub(super) assets: Arc<dyn AssetView>,
    pub(super) hints: Hints,
    pub(super) draft: Draft<'static, Base>,
    pub(super) handles: ResourceTable,
    pub(super) now: Hlc,
    pub(super) seed: u64,
    base: &'static Base,
    drawn: u64,
    host_calls_left: u64,
    write_bytes_left: usize,
    log_lines_left: u32,
    log_lines_dropped: u64,
}

impl CallState {
    fn new(program: &Program, base: &'static Base) -> Self {
        let mut handles = ResourceTable::new();
        handles.set_max_capacity(program.limits.handles);
        Self {
            workload: Arc::clone(&program.workload),
            limits: Arc::clone(&program.limits),
            config: Arc::clone(&program.config),
            assets: Arc::clone(&program.assets),
            hints: Hints::default(),
            draft: Draft::new(base),
            handles,
            now: Hlc::default(),
            seed: 0,
            base,
            drawn: 0,
            host_calls_left: program.limits.host_calls,
            write_bytes_left: program.limits.write_bytes,
            log_lines_left: program.limits.log_lines,
            log_lines_dropped: 0,
        }
    }

    fn begin(&mut self, seed: u64, now: Hlc) {
        self.draft = Draft::new(self.base);
        (self.seed, self.now, self.drawn) = (seed, now, 0);
        self.host_calls_left = self.limits.host_calls;
        self.write_bytes_left = self.limits.write_bytes;
        self.log_lines_left = self.limits.log_lines;
        self.log_lines_dropped = 0;
        self.hints.clear();
    }

    pub(super) fn count_host_call(&mut self) -> Result<(), Stop> {
        self.host_calls_left = self.host_calls_left.checked_sub(1).ok_or(Stop::HostCalls)?;
        Ok(())
    }

    /// Counts a write before it happens. What a key costs beyond its values is at most its longest name.
    pub(super) fn count_write(&mut self, key: &Key, change: &Change) -> Result<(), Stop> {
        let limit = self.limits.write_bytes;
        let left = self.write_bytes_left.checked_sub(key.name().len().min(NAME_BYTES_MAX) + weight(change));
        self.write_bytes_left = left.ok_or(Stop::Writes { what: "bytes", limit })?;
        // Only a further object can cross this one; the draft folds repeated writes to one object.
        let limit = self.limits.writes;
        if self.draft.len() > limit { Err(Stop::Writes { what: "objects", limit }) } else { Ok(()) }
    }

    pub(super) fn take_log_line(&mut self) -> bool {
        let left = self.log_lines_left.checked_sub(1);
        self.log_lines_dropped += u64::from(left.is_none());
        self.log_lines_left = left.unwrap_or(0);
        left.is_some()
    }

    /// `SplitMix64` (Steele, Lea and Flood, 2014) over the call's seed: the n-th number of a seed is the same everywhere.
    pub(super) fn next_random(&mut self) -> u64 {
        self.drawn = self.drawn.wrapping_add(1);
        let mut z = self.seed.wrapping_add(self.drawn.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

impl ResourceLimiter for CallState {
    fn memory_growing(&mut self, _current: usize, desired: usize, _most: Option<usize>) -> wasmtime::Result<bool> {
        let limit = self.limits.memory_bytes;
        if desired > limit { Err(Stop::Memory { what: "bytes of memory", limit }.into()) } else { Ok(true) }
    }

    fn table_growing(&mut self, _current: usize, desired: usize, _most: Option<usize>) -> wasmtime::Result<bool> {
        let limit = self.limits.table_elements;
        if desired > limit { Err(Stop::Memory { what: "table elements", limit }.into()) } else { Ok(true) }
    }
}

/// What a call that succeeded leaves.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Done {
    pub(super) result: Value,
    pub(super) changes: Vec<(Key, Change)>,
    pub(super) preloads: Vec<Digest>,
    pub(super) guest_time: Duration,
    pub(super) log_lines_dropped: u64,
}

/// An instance that is ready for a call.
pub(super) struct Warm {
    store: Store<CallState>,
    instance: Instance,
}

impl Warm {
    /// Instantiates `program`; a component may run code of its own while it starts, within the deadline.
    pub(super) fn start(program: &Program, base: &'static Base) -> Result<Self, LoadError> {
        let mut store = Store::new(program.engine(), CallState::new(program, base));
        store.limiter(|state| state);
        store.set_hostcall_fuel(program.limits.output_bytes.saturating_mul(LIFT_FACTOR));
        store.set_epoch_deadline(ticks(program.limits.deadline));
        match program.pre.instantiate(&mut store) {
            Ok(instance) => Ok(Self { store, instance }),
            Err(error) if error.is::<wasmtime::PoolConcurrencyLimitError>() => Err(LoadError::Host(error.to_string())),
            Err(error) => Err(LoadError::Start(match error.downcast_ref::<Stop>() {
                Some(stop) => stop.to_string(),
                None => root(&error),
            })),
        }
    }

    /// Makes one call. On an error the instance may be in any state: throw it away.
    pub(super) fn call(
        &mut self,
        function: &Function,
        params: &[Val],
        (seed, now): (u64, Hlc),
        deadline: Duration,
    ) -> Result<Done, CallError> {
        self.store.data_mut().begin(seed, now);
        let callee = self
            .instance
            .get_func(&mut self.store, function.index)
            .ok_or_else(|| CallError::Host("the instance lost a function".to_owned()))?;
        let mut results = [Val::Bool(false)];
        let results = &mut results[..usize::from(function.signature.result.is_some())];
        self.store.set_epoch_deadline(ticks(deadline));
        let begun = Instant::now();
        let called = callee.call(&mut self.store, params, results);
        let guest_time = begun.elapsed();
        let state = self.store.data_mut();
        called.map_err(|error| blame(&error, &state.limits, deadline))?;
        let limit_bytes = state.limits.output_bytes;
        let result = lift::result(function.signature.result.as_ref(), results.first(), limit_bytes)
            .map_err(|lift::TooLarge| CallError::OutputTooLarge { limit_bytes })?;
        if state.draft.len() > state.limits.writes {
            return Err(CallError::Writes { what: "objects", limit: state.limits.writes });
        }
        let changes = std::mem::replace(&mut state.draft, Draft::new(state.base)).into_changes();
        let preloads = state.hints.take();
        Ok(Done { result, changes, preloads, guest_time, log_lines_dropped: state.log_lines_dropped })
    }

    /// Whether it can serve another call.
    pub(super) fn is_reusable(&mut self) -> bool {
        self.store.data_mut().handles.iter_mut().take(HANDLES_KEPT_MAX + 1).count() <= HANDLES_KEPT_MAX
    }
}

/// A deadline in ticks. One more than it has: the tick under way when the call begins is not a whole one.
fn ticks(deadline: Duration) -> u64 {
    u64::try_from(deadline.as_nanos().div_ceil(TICK.as_nanos())).unwrap_or(u64::MAX / 2) + 1
}

fn blame(error: &wasmtime::Error, limits: &Limits, deadline: Duration) -> CallError {
    if let Some(stop) = error.downcast_ref::<Stop>() {
        return match stop.clone() {
            Stop::Fault { field, message } => CallError::Fault { field, message },
            Stop::HostCalls => CallError::HostCalls { limit: limits.host_calls },
            Stop::Writes { what, limit } => CallError::Writes { what, limit },
            Stop::Memory { what, limit } => CallError::Memory { what, limit },
        };
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::Interrupt) => CallError::Deadline { deadline },
        Some(trap) => CallError::Trap { message: trap.to_string() },
        // The engine's type for this one is private.
        None if root(error).contains("fuel allocated for hostcalls") => {
            CallError::OutputTooLarge { limit_bytes: limits.output_bytes }
        }
        None => CallError::Trap { message: root(error) },
    }
}

/// The innermost cause: the outer ones are backtraces of the guest.
fn root(error: &wasmtime::Error) -> String {
    error.root_cause().to_string()
}

/// Bytes of the values that a change carries.
fn weight(change: &Change) -> usize {
    const PLAIN_BYTES: usize = 8;
    let scalar = |scalar: &Scalar| PLAIN_BYTES + scalar.weight();
    match change {
        Change::Increment(_) | Change::Decrement(_) => PLAIN_BYTES,
        Change::Add(members) | Change::Remove(members) => members.iter().map(scalar).sum(),
        Change::Put(fields) => fields.iter().map(|(field, value)| field.len() + scalar(value)).sum(),
        Change::RemoveFields(fields) => fields.iter().map(String::len).sum(),
    }
}
