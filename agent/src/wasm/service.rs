//! A loaded workload: its program, its warm instances, and how one call is served.
//!
//! Owns the order of a call: arguments, instance, guest, result; and what a call that ran out of time is answered. The
//! invariants: the guest runs only with arguments that fit its types, and only while its deadline is watched; an instance that
//! failed is never used again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use serde_json::Value;
use wasmtime::component::Val;

use super::IN_PLACE_DEADLINE_MAX;
use super::error::{CallError, LoadError};
use super::exports::Exports;
use super::instance::{Base, Done, Terms, Warm};
use super::outcome::Recorded;
use super::pace::Pace;
use super::program::{Function, Program};
use super::recording::{Failure, Inputs, Recording};
use super::room::{self, Services};
use super::schedule::Load;
use super::shape::Signature;
use super::source::{self, Source};
use super::stats::{Lost, Recorder, SinceMark, WorkloadStats};
use super::ticker::Ticker;
use super::typed::{Params, Results, TypedOutcome};
use super::{CallContext, CallOutcome, Overrun, lift, lower, plain, vet};
use crate::encoding::Encoding;
use crate::spec::Digest;

/// A workload that can be called.
pub(super) struct Service {
    pub(super) program: Program,
    /// Its calls that wait and run; shared with whatever it replaced.
    pub(super) load: Arc<Load>,
    pub(super) pace: Pace,
    base: &'static Base,
    /// What callers of another component of this name were promised, in whose place it came.
    promised: Option<Exports>,
    /// All services, this one among them.
    services: Weak<Services>,
    ticker: Arc<Ticker>,
    warm: Mutex<Vec<Warm>>,
    warm_max: usize,
    /// What to answer in place of a call that ran out of time, by the number of its function.
    answers: BTreeMap<usize, Value>,
    recorder: Mutex<Recorder>,
}

/// A call on its way to a worker.
pub(super) struct Request {
    pub(super) function: String,
    pub(super) args: Value,
    pub(super) context: CallContext,
    pub(super) asked: Instant,
    /// Whether the call is to be recorded.
    pub(super) record: bool,
}

/// Why a recorded call gave no result, and its recording if it had begun.
type NotDone = (CallError, Option<Box<Recording>>);

/// What a service is made for and with, besides its program.
pub(super) struct Surroundings {
    pub(super) base: &'static Base,
    pub(super) services: Arc<Services>,
    pub(super) ticker: Arc<Ticker>,
    pub(super) load: Arc<Load>,
    pub(super) warm_max: usize,
    pub(super) promised: Option<Exports>,
    pub(super) lost: Arc<Lost>,
}

impl Service {
    /// Starts a first instance, so that a component that cannot start, or not with its configuration, is refused when it is loaded.
    /// `on_overrun` holds the default answers by function.
    pub(super) fn start(
        program: Program,
        on_overrun: &BTreeMap<String, Value>,
        surroundings: Surroundings,
    ) -> Result<Self, LoadError> {
        let Surroundings { base, services, ticker, load, warm_max, promised, lost } = surroundings;
        let answers = on_overrun.iter().map(|(function, answer)| default_answer(&program, function, answer));
        let answers = answers.collect::<Result<_, _>>()?;
        if !ticker.is_alive(Instant::now(), program.limits.deadline) {
            return Err(LoadError::Host(DEAD_TICKER.to_owned()));
        }
        let running = ticker.run();
        let mut first = room::start(&program, &services, || Source::live(base, &program.assets))?;
        vet::configuration(&program, &mut first)?;
        drop(running);
        let (warm, recorder) = (Mutex::new(vec![first]), Mutex::new(Recorder::new(lost)));
        let (warm_max, pace, services) = (warm_max.max(1), Pace::default(), Arc::downgrade(&services));
        Ok(Self { program, load, pace, base, promised, services, ticker, warm, warm_max, answers, recorder })
    }

    /// Serves one call, on the thread that it is called on.
    pub(super) fn serve(
        &self,
        function: &str,
        args: &Value,
        context: CallContext,
        asked: Instant,
    ) -> Result<CallOutcome, CallError> {
        match self.attempt(function, args, context, asked) {
            Ok(done) => Ok(self.ended_well(done)),
            Err(error) => {
                self.note_broken((function, args), &error);
                self.ended_badly(function, error)
            }
        }
    }

    /// The arguments of a call that are encoded yet, if they are plain.
    pub(super) fn plain_arguments(&self, function: &str, (encoding, bytes): (Encoding, &[u8])) -> Option<Vec<Val>> {
        let function = self.program.function(function).ok()?;
        plain::arguments(&function.signature, encoding, bytes, self.program.limits.argument_bytes)
    }

    /// Serves one call with arguments that fit its types, and writes its result down.
    pub(super) fn serve_encoded(
        &self,
        function: &str,
        params: &[Val],
        encoding: Encoding,
        (context, asked): (CallContext, Instant),
    ) -> Result<CallOutcome<Vec<u8>>, CallError> {
        let done = self.program.function(function).and_then(|function| {
            self.with_instance(context, asked, |warm, terms| {
                warm.call(function, params, terms, |shape, value, limit| lift::encoded(shape, value, limit, encoding))
            })
        });
        match done {
            Ok(done) => Ok(self.ended_well(done)),
            Err(error) => {
                self.ended_badly(function, error).map(|outcome| outcome.map(|result| encoding.encode(&result)))
            }
        }
    }

    /// The same for a call that has waited.
    pub(super) fn serve_request(&self, request: &Request) -> Result<CallOutcome, CallError> {
        self.serve(&request.function, &request.args, request.context, request.asked)
    }

    /// The same, and records the call.
    pub(super) fn serve_recorded(&self, request: &Request) -> Recorded {
        match self.record(request) {
            Ok((done, recording)) => Recorded { outcome: Ok(self.ended_well(done)), recording: Some(recording) },
            Err((error, recording)) => {
                self.note_broken((&request.function, &request.args), &error);
                let outcome = self.ended_badly(&request.function, error);
                // A default answer is none of the guest's.
                let recording = recording.filter(|_| outcome.is_err());
                Recorded { outcome, recording }
            }
        }
    }

    /// The same with values of Rust's types. Has no default answers: they are JSON.
    pub(super) fn serve_typed<P: Params, R: Results>(
        &self,
        function: &str,
        params: P,
        context: CallContext,
        asked: Instant,
    ) -> Result<TypedOutcome<R>, CallError> {
        let done = self.program.function(function).and_then(|function| {
            self.with_instance(context, asked, |warm, terms| warm.call_typed(function, params, asked, terms))
        });
        match done {
            Ok(done) => {
                let CallOutcome { result, changes, preloads, guest_time, .. } = self.ended_well(done);
                Ok(TypedOutcome { result, changes, preloads, guest_time })
            }
            Err(error) => {
                self.recorder().failed(&error, self.program.limits.deadline);
                Err(error)
            }
        }
    }

    fn attempt(
        &self,
        function: &str,
        args: &Value,
        context: CallContext,
        asked: Instant,
    ) -> Result<Done<Value>, CallError> {
        // Who comes too late is told so before any work is done for it.
        self.terms(context, asked)?;
        let function = self.program.function(function)?;
        let params = lower::arguments(&function.signature, args, self.program.limits.argument_bytes)?;
        self.with_instance(context, asked, |warm, terms| warm.call(function, &params, terms, lift::result))
    }

    /// Makes a call in an instance of its own: what one remembers of earlier calls is no part of a recording.
    fn record(&self, request: &Request) -> Result<(Done<Value>, Box<Recording>), NotDone> {
        let Request { function: name, args, context, asked, record: _ } = request;
        let (program, limits) = (&self.program, &self.program.limits);
        let _running = self.ticker.run();
        let prepared = program.function(name).and_then(|function| {
            let params = lower::arguments(&function.signature, args, limits.argument_bytes)?;
            let terms = self.terms(*context, *asked)?;
            let recorder = || Source::Recorder(source::Recorder::new(self.base, Arc::clone(&program.assets)));
            Ok((function, params, terms, self.fresh(recorder)?))
        });
        let (function, params, terms, mut instance) = prepared.map_err(|error| (error, None))?;
        let done = instance.call(function, &params, terms, lift::result);
        let reads = match instance.source() {
            Source::Recorder(recorder) => recorder.take(),
            Source::Live(..) | Source::Playback(_) => None,
        };
        let inputs = Inputs {
            workload: &program.workload,
            function: name,
            artifact: program.digest,
            arguments: args,
            seed: terms.seed,
            now: terms.now,
            config: &program.config,
            limits,
        };
        match (done, reads) {
            (Ok(done), Some(reads)) => {
                let recording = Recording::new(&inputs, reads, Ok(&done));
                Ok((done, Box::new(recording)))
            }
            (Ok(_), None) => Err((CallError::RecordingTooLarge { limit_bytes: source::READ_BYTES_MAX }, None)),
            (Err(error), reads) => {
                let failure = Failure::of(&error);
                let recording = reads.zip(failure).map(|(reads, failure)| Recording::new(&inputs, reads, Err(failure)));
                Err((error, recording.map(Box::new)))
            }
        }
    }

    /// Makes a call in a warm instance, or in a new one.
    fn with_instance<R>(
        &self,
        context: CallContext,
        asked: Instant,
        call: impl FnOnce(&mut Warm, Terms) -> Result<Done<R>, CallError>,
    ) -> Result<Done<R>, CallError> {
        let terms = self.terms(context, asked)?;
        let _running = self.ticker.run();
        let mut instance = self.instance()?;
        let done = call(&mut instance, terms)?;
        if instance.is_reusable() {
            let mut warm = self.warm();
            if warm.len() < self.warm_max {
                warm.push(instance);
            }
        }
        Ok(done)
    }

    /// Whether a call may be made on an async thread: quick so far, and short if it no longer is.
    pub(super) fn is_for_here(&self, context: CallContext) -> bool {
        let own = self.program.limits.deadline;
        let deadline = context.deadline.map_or(own, |deadline| deadline.min(own));
        deadline <= IN_PLACE_DEADLINE_MAX && self.pace.is_quick()
    }

    /// On which terms a call is made that was asked for then, if there is time left and somebody watches over it.
    fn terms(&self, context: CallContext, asked: Instant) -> Result<Terms, CallError> {
        let own = self.program.limits.deadline;
        let left = || {
            let left = context.deadline.map(|deadline| deadline.saturating_sub(asked.elapsed()));
            let deadline = left.unwrap_or(own).min(own);
            if deadline.is_zero() { Err(CallError::Expired) } else { Ok(deadline) }
        };
        let mut deadline = left()?;
        if !self.ticker.is_fresh(asked) {
            if !self.ticker.is_alive(asked, deadline) {
                return Err(CallError::Host(DEAD_TICKER.to_owned()));
            }
            // Waiting for it was on the caller's time.
            deadline = left()?;
        }
        Ok(Terms { seed: context.seed, now: context.now, deadline })
    }

    /// How much time the caller of a waiting call has left, if it said so.
    pub(super) fn patience(&self, request: &Request) -> Option<Duration> {
        request.context.deadline.map(|deadline| deadline.saturating_sub(request.asked.elapsed()))
    }

    /// Counts a call that gave a result.
    fn ended_well<R>(&self, done: Done<R>) -> CallOutcome<R> {
        let Done { result, changes, preloads, guest_time, is_long, log_lines_dropped } = done;
        self.pace.ended(guest_time, is_long);
        self.recorder().succeeded(guest_time, log_lines_dropped);
        CallOutcome { result, changes, preloads, guest_time, overrun: None }
    }

    /// Counts a call that gave no result, and gives it the workload's default answer if there is one for what befell it.
    pub(super) fn ended_badly(&self, function: &str, error: CallError) -> Result<CallOutcome, CallError> {
        self.recorder().failed(&error, self.program.limits.deadline);
        let overrun = match &error {
            CallError::Deadline { .. } => {
                self.pace.ended(Duration::MAX, true);
                Overrun::Deadline
            }
            CallError::Expired => Overrun::Expired,
            CallError::Busy { .. } | CallError::Overloaded { .. } => Overrun::Busy,
            CallError::NotLoaded { .. }
            | CallError::UnknownFunction { .. }
            | CallError::AmbiguousFunction { .. }
            | CallError::Argument { .. }
            | CallError::ArgumentsTooLarge { .. }
            | CallError::Fault { .. }
            | CallError::Memory { .. }
            | CallError::Trap { .. }
            | CallError::OutputTooLarge { .. }
            | CallError::HostCalls { .. }
            | CallError::Writes { .. }
            | CallError::RecordingTooLarge { .. }
            | CallError::Host(_) => return Err(error),
        };
        let number = self.program.function(function).ok().map(|function| function.number);
        let answer = number.and_then(|number| self.answers.get(&number));
        let Some(answer) = answer else { return Err(error) };
        self.recorder().answered_by_default();
        let (result, changes, preloads) = (answer.clone(), Vec::new(), Vec::new());
        Ok(CallOutcome { result, changes, preloads, guest_time: Duration::ZERO, overrun: Some(overrun) })
    }

    /// What callers were promised, for a component that takes this one's place: nothing that it does not hold if it is the same.
    pub(super) fn promises(&self, next: &Digest) -> Option<Exports> {
        (self.program.digest != *next).then(|| self.program.exports.clone())
    }

    /// Counts a call that is refused, and that the component before would have taken.
    fn note_broken(&self, (function, args): (&str, &Value), error: &CallError) {
        let is_unfit = matches!(
            error,
            CallError::UnknownFunction { .. } | CallError::AmbiguousFunction { .. } | CallError::Argument { .. }
        );
        let argument_bytes = self.program.limits.argument_bytes;
        let takes = |promised: &Exports| promised.take(function, args, argument_bytes);
        if is_unfit && self.promised.as_ref().is_some_and(takes) {
            self.recorder().broke();
        }
    }

    pub(super) fn stats(&self) -> WorkloadStats {
        self.recorder().stats(&self.program.workload, self.load.now(), self.idle())
    }

    /// Begins to count anew for whoever asks [`Service::since_mark`].
    pub(super) fn mark(&self) {
        self.recorder().mark();
    }

    pub(super) fn since_mark(&self) -> Option<SinceMark> {
        self.recorder().since_mark()
    }

    /// How many of its instances wait for a call.
    pub(super) fn idle(&self) -> usize {
        self.warm().len()
    }

    /// Ends the instance that has waited longest for a call, if one waits.
    pub(super) fn end_idle(&self) {
        let mut warm = self.warm();
        let ended = (!warm.is_empty()).then(|| warm.remove(0));
        // It is torn down outside the lock.
        drop(warm);
        drop(ended);
    }

    fn instance(&self) -> Result<Warm, CallError> {
        if let Some(warm) = self.warm().pop() {
            return Ok(warm);
        }
        self.fresh(|| Source::live(self.base, &self.program.assets))
    }

    fn fresh(&self, source: impl Fn() -> Source) -> Result<Warm, CallError> {
        let started = match self.services.upgrade() {
            Some(services) => room::start(&self.program, &services, source),
            None => Warm::start(&self.program, source()),
        };
        started.map_err(|error| match error {
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

/// Without it a guest that loops would never end.
const DEAD_TICKER: &str = "the clock that ends calls stands still";

/// Checks a default answer against its function's type.
pub(super) fn default_answer(program: &Program, name: &str, answer: &Value) -> Result<(usize, Value), LoadError> {
    let refused = |message: String| LoadError::DefaultAnswer { function: name.to_owned(), message };
    let function: &Function = program.function(name).map_err(|error| refused(error.to_string()))?;
    let Some(shape) = &function.signature.result else {
        return if answer.is_null() {
            Ok((function.number, Value::Null))
        } else {
            Err(refused("it gives nothing".to_owned()))
        };
    };
    let output_bytes = program.limits.output_bytes;
    let signature = Signature::of_one("answer", shape.clone());
    let values = lower::arguments(&signature, &Value::Array(vec![answer.clone()]), output_bytes)
        .map_err(|error| refused(error.to_string()))?;
    // There and back, so that it reads as if the function had given it.
    let answer = lift::result(Some(shape), values.first(), output_bytes)
        .map_err(|lift::TooLarge| refused(format!("it has more than {output_bytes} bytes")))?;
    Ok((function.number, answer))
}
