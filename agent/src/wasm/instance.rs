//! One instance of a component, and the state of the call that it is in.
//!
//! Owns the store's data: the draft of the call, what is left of its limits, the open handles. The invariants: one call at
//! a time; nothing of a call is left behind for the next but the guest's own memory; after a trap the instance is gone.

use std::any::Any;
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
use wasmtime::component::{Func, Instance, Resource, ResourceTable, ResourceTableError, TypedFunc, Val};
use wasmtime::{ResourceLimiter, Store, StoreContextMut, Trap, UpdateDeadline};

use super::assets::Hints;
use super::error::{CallError, LoadError};
use super::lift;
use super::limits::Limits;
use super::program::{Function, Program};
use super::shape::Shape;
use super::source::Source;
use super::ticker::TICK;
use super::typed::{Params, Results};
use crate::spec::Digest;

/// The state that calls read. It is borrowed for ever, because a store's data may borrow nothing shorter.
pub(super) type Base = dyn ReadState + Send + Sync;

/// Host memory that one crossing of the boundary may take for each byte of output that is allowed. A lifted value takes
/// more room than the 8 bytes that it counts for; without this bound a list of bytes would take forty times its length.
const LIFT_FACTOR: usize = 16;
/// A warm instance that was left with more open handles than this leaks them, and is replaced.
const HANDLES_KEPT_MAX: usize = 256;
/// Ticks at which a guest has been seen running that ran for long. However many have passed while its thread was left alone, it sees
/// one; so two mean at least the time between them.
const LONG_TICKS: u32 = 2;
/// Typed forms of functions that one instance remembers. A program has one for each function that it calls.
const TYPED_KEPT_MAX: usize = 16;

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
    pub(super) hints: Hints,
    pub(super) draft: Draft<Source>,
    pub(super) handles: ResourceTable,
    /// The number of this call among those of its instance.
    pub(super) call: u64,
    pub(super) now: Hlc,
    pub(super) seed: u64,
    /// How many of `handles` are open.
    handles_open: usize,
    /// When the call has to be over.
    ends: Instant,
    /// At how many ticks of the epoch the guest has been seen running.
    seen: u32,
    drawn: u64,
    host_calls_left: u64,
    write_bytes_left: usize,
    log_lines_left: u32,
    log_lines_dropped: u64,
}

impl CallState {
    fn new(program: &Program, source: Source) -> Self {
        let mut handles = ResourceTable::new();
        handles.set_max_capacity(program.limits.handles);
        Self {
            workload: Arc::clone(&program.workload),
            limits: Arc::clone(&program.limits),
            config: Arc::clone(&program.config),
            hints: Hints::default(),
            draft: Draft::new(source),
            handles,
            call: 0,
            now: Hlc::default(),
            seed: 0,
            handles_open: 0,
            ends: Instant::now() + program.limits.deadline,
            seen: 0,
            drawn: 0,
            host_calls_left: program.limits.host_calls,
            write_bytes_left: program.limits.write_bytes,
            log_lines_left: program.limits.log_lines,
            log_lines_dropped: 0,
        }
    }

    fn begin(&mut self, (seed, now): (u64, Hlc), ends: Instant) {
        self.draft.discard();
        self.call += 1;
        (self.seed, self.now, self.drawn, self.ends, self.seen) = (seed, now, 0, ends, 0);
        self.host_calls_left = self.limits.host_calls;
        self.write_bytes_left = self.limits.write_bytes;
        self.log_lines_left = self.limits.log_lines;
        self.log_lines_dropped = 0;
        self.hints.clear();
    }

    /// Whether the call's time is over.
    pub(super) fn is_over(&self) -> bool {
        Instant::now() >= self.ends
    }

    /// Keeps what a handle stands for.
    ///
    /// # Errors
    /// As many are open as may be: the table's capacity is the workload's limit.
    pub(super) fn open_handle<T: Send + 'static>(&mut self, meant: T) -> Result<Resource<T>, ResourceTableError> {
        let handle = self.handles.push(meant)?;
        self.handles_open += 1;
        Ok(handle)
    }

    /// Gives back what a handle stood for.
    ///
    /// # Errors
    /// There is no such handle.
    pub(super) fn close_handle<T: 'static>(&mut self, handle: Resource<T>) -> Result<T, ResourceTableError> {
        let meant = self.handles.delete(handle)?;
        self.handles_open -= 1;
        Ok(meant)
    }

    pub(super) fn count_host_call(&mut self) -> Result<(), Stop> {
        self.count_host_calls(1)
    }

    /// Counts a call with a list: each entry costs what a call of its own would.
    pub(super) fn count_host_calls(&mut self, calls: usize) -> Result<(), Stop> {
        let calls = u64::try_from(calls).unwrap_or(u64::MAX).max(1);
        self.host_calls_left = self.host_calls_left.checked_sub(calls).ok_or(Stop::HostCalls)?;
        Ok(())
    }

    /// Counts a write before it happens. What a key costs beyond its values is at most its longest name.
    pub(super) fn count_write(&mut self, key: &Key, change: &Change) -> Result<(), Stop> {
        self.count_written(key, weight(change))
    }

    /// The same for a change of a counter.
    pub(super) fn count_counted(&mut self, key: &Key) -> Result<(), Stop> {
        self.count_written(key, PLAIN_BYTES)
    }

    fn count_written(&mut self, key: &Key, bytes: usize) -> Result<(), Stop> {
        let limit = self.limits.write_bytes;
        let left = self.write_bytes_left.checked_sub(key.name().len().min(NAME_BYTES_MAX) + bytes);
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

/// What a call that succeeded leaves; its result as JSON, or as whatever the caller asked for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Done<R = Value> {
    pub(super) result: R,
    pub(super) changes: Vec<(Key, Change)>,
    pub(super) preloads: Vec<Digest>,
    pub(super) guest_time: Duration,
    /// Whether the guest itself ran for so long, as far as that shows: a thread may also have been left alone meanwhile.
    pub(super) is_long: bool,
    pub(super) log_lines_dropped: u64,
}

/// The terms of one call.
#[derive(Clone, Copy)]
pub(super) struct Terms {
    pub(super) seed: u64,
    pub(super) now: Hlc,
    /// How long the guest may run.
    pub(super) deadline: Duration,
}

/// An instance that is ready for a call.
pub(super) struct Warm {
    store: Store<CallState>,
    instance: Instance,
    /// The program's functions, as far as they have been called.
    functions: Vec<Option<Func>>,
    typed: Vec<(usize, Box<dyn Any + Send>)>,
}

impl Warm {
    /// Instantiates `program`, whose calls read `source`; a component may run code of its own while it starts, within the
    /// deadline.
    pub(super) fn start(program: &Program, source: Source) -> Result<Self, LoadError> {
        let mut store = Store::new(program.engine(), CallState::new(program, source));
        store.limiter(|state| state);
        store.set_hostcall_fuel(program.limits.output_bytes.saturating_mul(LIFT_FACTOR));
        store.epoch_deadline_callback(look_at_the_clock);
        store.set_epoch_deadline(1);
        match program.pre.instantiate(&mut store) {
            Ok(instance) => Ok(Self { store, instance, functions: Vec::new(), typed: Vec::new() }),
            Err(error) if error.is::<wasmtime::PoolConcurrencyLimitError>() => Err(LoadError::Host(error.to_string())),
            Err(error) => Err(LoadError::Start(match error.downcast_ref::<Stop>() {
                Some(stop) => stop.to_string(),
                None => root(&error),
            })),
        }
    }

    /// Makes one call, whose result is what `lift` makes of it. On an error the instance may be in any state: throw it away.
    pub(super) fn call<R>(
        &mut self,
        function: &Function,
        params: &[Val],
        terms: Terms,
        lift: impl FnOnce(Option<&Shape>, Option<&Val>, usize) -> Result<R, lift::TooLarge>,
    ) -> Result<Done<R>, CallError> {
        let callee = self.function(function)?;
        let mut results = [Val::Bool(false)];
        let results = &mut results[..usize::from(function.signature.result.is_some())];
        let begun = self.begin(Instant::now(), terms);
        let called = callee.call(&mut self.store, params, results);
        let Done { result: (), changes, preloads, guest_time, is_long, log_lines_dropped } =
            self.finish(called, begun, terms)?;
        let limit_bytes = self.store.data().limits.output_bytes;
        let result = lift(function.signature.result.as_ref(), results.first(), limit_bytes)
            .map_err(|lift::TooLarge| CallError::OutputTooLarge { limit_bytes })?;
        Ok(Done { result, changes, preloads, guest_time, is_long, log_lines_dropped })
    }

    /// The same with values of Rust's types; `asked` is now.
    pub(super) fn call_typed<P: Params, R: Results>(
        &mut self,
        function: &Function,
        params: P,
        asked: Instant,
        terms: Terms,
    ) -> Result<Done<R>, CallError> {
        let callee = self.typed::<P, R>(function)?;
        let begun = self.begin(asked, terms);
        let called = callee.call(&mut self.store, params);
        self.finish(called, begun, terms)
    }

    fn begin(&mut self, begun: Instant, terms: Terms) -> Instant {
        self.store.data_mut().begin((terms.seed, terms.now), begun + terms.deadline);
        // At the next tick the guest is made to look at the clock, and from then on as its time runs out.
        self.store.set_epoch_deadline(1);
        begun
    }

    fn finish<R>(&mut self, called: wasmtime::Result<R>, begun: Instant, terms: Terms) -> Result<Done<R>, CallError> {
        let guest_time = begun.elapsed();
        let state = self.store.data_mut();
        let result = called.map_err(|error| blame(&error, &state.limits, terms.deadline))?;
        if state.draft.len() > state.limits.writes {
            return Err(CallError::Writes { what: "objects", limit: state.limits.writes });
        }
        let changes = state.draft.take_changes();
        let preloads = state.hints.take();
        let (is_long, log_lines_dropped) = (state.seen >= LONG_TICKS, state.log_lines_dropped);
        Ok(Done { result, changes, preloads, guest_time, is_long, log_lines_dropped })
    }

    fn function(&mut self, function: &Function) -> Result<Func, CallError> {
        if let Some(Some(known)) = self.functions.get(function.number) {
            return Ok(*known);
        }
        let found = self
            .instance
            .get_func(&mut self.store, function.index)
            .ok_or_else(|| CallError::Host("the instance lost a function".to_owned()))?;
        if self.functions.len() <= function.number {
            self.functions.resize(function.number + 1, None);
        }
        self.functions[function.number] = Some(found);
        Ok(found)
    }

    fn typed<P: Params, R: Results>(&mut self, function: &Function) -> Result<TypedFunc<P, R>, CallError> {
        let known = self.typed.iter().filter(|(number, _)| *number == function.number);
        if let Some(known) = known.filter_map(|(_, typed)| typed.downcast_ref::<TypedFunc<P, R>>()).next() {
            return Ok(*known);
        }
        let typed = self.function(function)?.typed::<P, R>(&self.store);
        let typed =
            typed.map_err(|error| CallError::Argument { field: String::new(), message: format!("{error:#}") })?;
        self.typed.truncate(TYPED_KEPT_MAX - 1);
        self.typed.push((function.number, Box::new(typed)));
        Ok(typed)
    }

    /// What its calls read.
    pub(super) fn source(&mut self) -> &mut Source {
        self.store.data_mut().draft.base_mut()
    }

    /// Whether it can serve another call.
    pub(super) fn is_reusable(&self) -> bool {
        self.store.data().handles_open <= HANDLES_KEPT_MAX
    }
}

/// What a guest does when the epoch has moved: it goes on while it has time.
fn look_at_the_clock(mut store: StoreContextMut<'_, CallState>) -> wasmtime::Result<UpdateDeadline> {
    let state = store.data_mut();
    state.seen = state.seen.saturating_add(1);
    let left = state.ends.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Ok(UpdateDeadline::Interrupt);
    }
    Ok(UpdateDeadline::Continue(if state.seen < LONG_TICKS { 1 } else { ticks(left) }))
}

/// Whole ticks in the time that is `left`, at least the next one. Ticks are never early, so the guest looks again at about its
/// end.
fn ticks(left: Duration) -> u64 {
    u64::try_from(left.as_nanos() / TICK.as_nanos()).unwrap_or(u64::MAX / 2).max(1)
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

/// What a number or any other small value counts for among written bytes.
const PLAIN_BYTES: usize = 8;

/// Bytes of the values that a change carries.
fn weight(change: &Change) -> usize {
    let scalar = |scalar: &Scalar| PLAIN_BYTES + scalar.weight();
    match change {
        Change::Increment(_) | Change::Decrement(_) => PLAIN_BYTES,
        Change::Add(members) | Change::Remove(members) => members.iter().map(scalar).sum(),
        Change::Put(fields) => fields.iter().map(|(field, value)| field.len() + scalar(value)).sum(),
        Change::RemoveFields(fields) => fields.iter().map(String::len).sum(),
    }
}
