//! What the parts of a call say, in the words that its caller gets.

use std::sync::atomic::{AtomicU64, Ordering};

use selvedge_sync::replica::CommitError;

use crate::driver::DriverError;
use crate::metrics::Outcome;
use crate::service::{CallAnswer, Fault, ServiceError};
use crate::wasm::{Blame, CallError, RecordingError};

/// After how many seconds a caller who was turned away may try again: queues drain within a deadline.
pub(super) const RETRY_AFTER_S: u32 = 1;

/// Code of the error of a call that ran out of time.
pub(super) const DEADLINE_EXCEEDED: &str = "deadline_exceeded";
/// Code of the error of a call that its caller's time was over for before its turn came.
pub(super) const EXPIRED: &str = "expired_in_queue";

/// The odd constant of a Weyl sequence: the golden ratio in 64 bits, so that successive seeds are far apart.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// A seed for each call, never the same twice in one life of the agent, and not to be guessed from outside.
#[derive(Debug)]
pub(super) struct Seeds {
    next: AtomicU64,
}

impl Seeds {
    pub(super) fn new() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes)?;
        Ok(Self { next: AtomicU64::new(u64::from_le_bytes(bytes)) })
    }

    pub(super) fn next(&self) -> u64 {
        self.next.fetch_add(STEP, Ordering::Relaxed)
    }
}

/// Why what a call wrote was not committed. The guest ran, and nothing of it remains.
pub(super) fn commit_failed(error: DriverError) -> ServiceError {
    match error {
        DriverError::Refused(CommitError::Change { source, .. }) => {
            ServiceError::new(Fault::Internal, "change_refused", format!("what the call wrote was refused: {source}"))
        }
        DriverError::Refused(CommitError::TooLarge(what)) => {
            ServiceError::new(Fault::TooLarge, "commit_too_large", format!("the call wrote too much at once: {what}"))
        }
        DriverError::Refused(error @ (CommitError::ReadOnly | CommitError::Fenced)) => {
            ServiceError::new(Fault::Unavailable, "read_only", error.to_string())
        }
        DriverError::Barred(why) => ServiceError::new(Fault::Unavailable, "read_only", why),
        DriverError::Busy => {
            ServiceError::new(Fault::Busy { retry_after_s: 1 }, "busy", "too many writes are waiting on this agent")
        }
        DriverError::NotDurableInTime(_) | DriverError::NoAnswer => {
            ServiceError::new(Fault::TimedOut, "no_answer", error.to_string())
                .changed("the call may have been committed")
        }
    }
}

/// Why a call gave no result, in one word.
pub(super) fn code(error: &CallError) -> &'static str {
    kind(error).1
}

fn kind(error: &CallError) -> (Fault, &'static str) {
    match error {
        CallError::NotLoaded { .. } => (Fault::Unavailable, super::NOT_RUNNING),
        CallError::UnknownFunction { .. } => (Fault::NotFound, "unknown_function"),
        CallError::AmbiguousFunction { .. } => (Fault::Caller, "ambiguous_function"),
        CallError::Argument { .. } => (Fault::WrongValue, "bad_argument"),
        CallError::ArgumentsTooLarge { .. } => (Fault::TooLarge, "arguments_too_large"),
        CallError::Fault { .. } => (Fault::WrongValue, "refused_by_workload"),
        CallError::Deadline { .. } => (Fault::TimedOut, DEADLINE_EXCEEDED),
        CallError::Expired => (Fault::TimedOut, EXPIRED),
        CallError::Memory { .. } => (Fault::Internal, "memory_limit"),
        CallError::Trap { .. } => (Fault::Internal, "trap"),
        CallError::OutputTooLarge { .. } => (Fault::Internal, "output_limit"),
        CallError::HostCalls { .. } => (Fault::Internal, "host_call_limit"),
        CallError::Writes { .. } => (Fault::Internal, "write_limit"),
        CallError::RecordingTooLarge { .. } => (Fault::TooLarge, "recording_too_large"),
        CallError::Busy { .. } => (Fault::Busy { retry_after_s: RETRY_AFTER_S }, "busy"),
        CallError::Overloaded { retry_after_ms, .. } => {
            let seconds = u32::try_from(retry_after_ms.div_ceil(1_000)).unwrap_or(u32::MAX);
            (Fault::Busy { retry_after_s: seconds.max(RETRY_AFTER_S) }, "overloaded")
        }
        CallError::Host(_) => (Fault::Unavailable, "host_unable"),
    }
}

/// Why a call gave no result. Whatever the reason, it changed nothing.
pub(super) fn call_failed(error: CallError) -> ServiceError {
    let (fault, code) = kind(&error);
    let failed = ServiceError::new(fault, code, error.to_string());
    let failed = match error.blame() {
        Blame::Workload => failed.hint("the workload's fault, not the request's"),
        Blame::Caller | Blame::Host => failed,
    };
    match (&error, error.field()) {
        (_, Some("")) => failed.at("body"),
        (_, Some(field)) => failed.at(field.to_owned()),
        (CallError::UnknownFunction { .. } | CallError::AmbiguousFunction { .. }, None) => failed.at("function"),
        (_, None) => failed,
    }
}

/// How a call that was answered counts: a default answer hides from the caller what went wrong, and from nobody else.
pub(super) fn success<R>(answer: &CallAnswer<R>) -> Outcome {
    match answer.overrun.as_deref() {
        None => Outcome::Ok,
        Some("busy") => Outcome::Busy,
        Some(_) => Outcome::TimedOut,
    }
}

/// Why a call that was to be recorded was given up before anything was committed.
pub(super) fn not_recorded(error: &RecordingError) -> ServiceError {
    ServiceError::new(Fault::TooLarge, "recording_too_large", error.to_string())
        .hint("call it without a recording, or with smaller arguments")
}

/// How a failed call counts.
pub(super) fn outcome(error: &ServiceError) -> Outcome {
    match error.fault() {
        Fault::Caller
        | Fault::Unauthorized
        | Fault::Forbidden
        | Fault::NotFound
        | Fault::WrongMethod
        | Fault::Conflict
        | Fault::TooLarge
        | Fault::WrongValue => Outcome::Refused,
        Fault::Busy { .. } => Outcome::Busy,
        Fault::Unavailable => Outcome::Unavailable,
        Fault::TimedOut => Outcome::TimedOut,
        Fault::Internal => Outcome::Trapped,
    }
}
