//! What goes into a call besides its arguments, and what comes out.

use std::time::Duration;

use selvedge_sync::change::Change;
use selvedge_sync::hlc::Hlc;
use selvedge_sync::key::Key;
use serde_json::Value;

use super::error::CallError;
use super::recording::Recording;
use crate::spec::Digest;

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

/// What a call that succeeded leaves; its result as JSON, or as whatever the caller asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct CallOutcome<R = Value> {
    /// The result; null for a function without one.
    pub result: R,
    /// What is to be written, as one commit. Empty for a call that wrote nothing.
    pub changes: Vec<(Key, Change)>,
    /// Assets that it asked this host to fetch, once what it wrote is committed.
    pub preloads: Vec<Digest>,
    /// How long the guest ran.
    pub guest_time: Duration,
    /// Why the result is the workload's default answer, if it is. Nothing is to be written then.
    pub overrun: Option<Overrun>,
}

/// A call that was to be recorded.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    /// What came of it.
    pub outcome: Result<CallOutcome, CallError>,
    /// The call as a document, also of one that failed while the guest ran. There is none of a call that never began, and of one
    /// that was given its workload's default answer.
    pub recording: Option<Box<Recording>>,
}

impl From<Result<CallOutcome, CallError>> for Recorded {
    /// One of which there is no recording.
    fn from(outcome: Result<CallOutcome, CallError>) -> Self {
        Self { outcome, recording: None }
    }
}

impl<R> CallOutcome<R> {
    /// The same with another form of its result.
    pub(super) fn map<T>(self, form: impl FnOnce(R) -> T) -> CallOutcome<T> {
        let Self { result, changes, preloads, guest_time, overrun } = self;
        CallOutcome { result: form(result), changes, preloads, guest_time, overrun }
    }
}

/// Why a call was given its workload's default answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overrun {
    /// The guest ran for longer than it may.
    Deadline,
    /// The caller's time was over before the guest could begin.
    Expired,
    /// As many calls as may wait were waiting.
    Busy,
}

impl Overrun {
    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Deadline => "deadline",
            Self::Expired => "expired",
            Self::Busy => "busy",
        }
    }
}
