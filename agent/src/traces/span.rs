//! One step of a call on this host, from its beginning to its end.
//!
//! The invariant: a span that was begun is recorded once, when it ends or when whoever waited for it has gone.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use selvedge_sync::id::NodeId;

use super::{Context, Recorder};
use crate::service::shorten;

/// What is said of a span whose call was given up by its caller.
const CANCELLED: &str = "cancelled";

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A call that came in here, until its answer.
    Call,
    /// Its way to another member and back.
    Forward,
    /// A call that a member has forwarded here, until its answer.
    Serve,
    /// The guest's part of it.
    Run,
}

/// A step that is under way; or nothing, if it is not to be recorded.
#[derive(Debug)]
pub struct Span {
    context: Option<Context>,
    open: Option<Box<Open>>,
}

#[derive(Debug)]
struct Open {
    recorder: Arc<Recorder>,
    began: Instant,
    recorded: Recorded,
}

/// A step that is over.
#[derive(Clone, Debug)]
pub(super) struct Recorded {
    pub(super) context: Context,
    pub(super) parent: Option<Context>,
    pub(super) step: Step,
    pub(super) workload: String,
    pub(super) function: String,
    /// The member that was asked, or that asks.
    pub(super) peer: Option<NodeId>,
    pub(super) error: Option<String>,
    pub(super) begun: SystemTime,
    pub(super) took: Duration,
}

impl Span {
    /// Nothing that is recorded, in a call that brought this.
    #[must_use]
    pub const fn passing(context: Option<Context>) -> Self {
        Self { context, open: None }
    }

    pub(super) fn begin(
        recorder: &Arc<Recorder>,
        parent: Option<Context>,
        (step, (workload, function)): (Step, (&str, &str)),
        began: Instant,
    ) -> Self {
        let (Ok(own), Ok(high), Ok(low)) = (getrandom::u64(), getrandom::u64(), getrandom::u64()) else {
            return Self::passing(parent);
        };
        let context = match parent {
            Some(parent) => parent.within(own),
            None => Context::root(u128::from(high) << 64 | u128::from(low), own),
        };
        let recorded = Recorded {
            context,
            parent,
            step,
            workload: shorten(workload).into_owned(),
            function: shorten(function).into_owned(),
            peer: None,
            error: Some(CANCELLED.to_owned()),
            begun: SystemTime::now() - began.elapsed(),
            took: Duration::ZERO,
        };
        let open = Open { recorder: Arc::clone(recorder), began, recorded };
        Self { context: Some(context), open: Some(Box::new(open)) }
    }

    /// What steps within this one are told.
    #[must_use]
    pub const fn context(&self) -> Option<Context> {
        self.context
    }

    /// The same of one that is recorded here, so that a collector gets it.
    #[must_use]
    pub fn recorded(&self) -> Option<Context> {
        self.open.as_ref().and(self.context)
    }

    /// The same, with the member at its other end.
    #[must_use]
    pub fn with(mut self, peer: NodeId) -> Self {
        if let Some(open) = &mut self.open {
            open.recorded.peer = Some(peer);
        }
        self
    }

    /// Ends it; `error` is the code of what went wrong.
    pub fn end(self, error: Option<&str>) {
        if let Some(mut open) = self.open {
            open.recorded.error = error.map(|error| shorten(error).into_owned());
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.recorded.took = self.began.elapsed();
        self.recorder.record(self.recorded.clone());
    }
}
