//! Calls with arguments that are encoded yet: made here and at once, several in a row.
//!
//! Owns the short way of a call; what it cannot do goes the other one. The invariants: each call of a turn sees what those before it
//! wrote, as if they had been made one by one; what each wrote is one commit; and all of them share the end of one pass.

use std::time::{Duration, Instant};

use super::{Calls, answer};
use crate::driver::{Begun, DriverError};
use crate::service::{CallAnswer, EncodedCall, ServiceError};
use crate::spec::WorkloadName;
use crate::traces::{Context, Span, Step, Traces};
use crate::wasm::{CallError, CallOutcome};

/// How long calls may follow each other before the first is answered, and before others have the thread.
const TURN: Duration = Duration::from_micros(500);

/// A call that ran, and its commit.
struct Ran {
    began: Instant,
    workload: WorkloadName,
    span: Span,
    outcome: Result<CallOutcome<Vec<u8>>, CallError>,
    commit: Option<Result<Begun, DriverError>>,
}

impl Ran {
    fn is_queued(&self) -> bool {
        self.commit.as_ref().is_some_and(|begun| begun.as_ref().is_ok_and(|begun| !begun.is_applied()))
    }
}

impl Calls {
    /// Makes calls until a turn is over or a commit has to wait, and answers those. `None` for one that cannot be made so: it does not run here or not in
    /// place, may be routed elsewhere, is to be recorded or made only once, or its arguments are not plain. Nothing was done with it.
    pub async fn calls_encoded(
        &self,
        calls: &[EncodedCall<'_>],
    ) -> Vec<Option<Result<CallAnswer<Vec<u8>>, ServiceError>>> {
        let (begun, mut ran) = (Instant::now(), Vec::with_capacity(calls.len()));
        for call in calls {
            let made = self.run_encoded(call);
            // What waits for the loop is not visible yet, and what is made meanwhile might come before it.
            let is_queued = made.as_ref().is_some_and(Ran::is_queued);
            ran.push(made);
            if is_queued || begun.elapsed() > TURN {
                break;
            }
        }
        if ran.iter().flatten().any(|ran| ran.commit.is_some()) {
            self.parts.driver.end_pass();
        }
        let mut answers = Vec::with_capacity(ran.len());
        for ran in ran {
            answers.push(match ran {
                Some(ran) => Some(self.conclude_encoded(ran).await),
                None => None,
            });
        }
        answers
    }

    /// Runs one call, and begins the commit of what it wrote.
    fn run_encoded(&self, call: &EncodedCall<'_>) -> Option<Ran> {
        let workload = call.name.parse::<WorkloadName>().ok()?;
        // Where a workload's router has a say, it is asked.
        if self.parts.routes.prefers_here(&workload) { self.begin_encoded(call, workload, Traces::entry) } else { None }
    }

    /// Makes a call that another member has forwarded, whatever the workload's router would say here. `None` as for those of a turn.
    pub(super) async fn serve_encoded(
        &self,
        call: &EncodedCall<'_>,
        workload: WorkloadName,
    ) -> Option<Result<CallAnswer<Vec<u8>>, ServiceError>> {
        let within = |_: &Traces, trace, _: (&str, &str), _| Span::passing(trace);
        let ran = self.begin_encoded(call, workload, within)?;
        if ran.commit.is_some() {
            self.parts.driver.end_pass();
        }
        Some(self.answer_encoded(ran.outcome, ran.commit).await)
    }

    /// `span` is what becomes of the call's trace once it is known that it can be made so.
    fn begin_encoded(
        &self,
        call: &EncodedCall<'_>,
        workload: WorkloadName,
        span: impl FnOnce(&Traces, Option<Context>, (&str, &str), Instant) -> Span,
    ) -> Option<Ran> {
        let EncodedCall { name: _, function, arguments, answer, options, asked } = call;
        if options.record || options.request.is_some() {
            return None;
        }
        let began = Instant::now();
        let context = self.context(options);
        let mut outcome =
            self.parts.wasm.call_encoded((workload.as_str(), function), *arguments, *answer, (context, *asked))?;
        let (traces, what) = (&self.parts.traces, (workload.as_str(), *function));
        let span = span(traces, options.trace, what, began);
        traces.child(span.context(), Step::Run, what, began).end(outcome.as_ref().err().map(answer::code));
        let changes = outcome.as_mut().map(|outcome| std::mem::take(&mut outcome.changes)).unwrap_or_default();
        let commit = (!changes.is_empty()).then(|| self.parts.driver.begin_commit(changes, None));
        Some(Ran { began, workload, span, outcome, commit })
    }

    async fn conclude_encoded(&self, ran: Ran) -> Result<CallAnswer<Vec<u8>>, ServiceError> {
        let Ran { began, workload, span, outcome, commit } = ran;
        let answer = self.answer_encoded(outcome, commit).await;
        let outcome = answer.as_ref().map_or_else(answer::outcome, answer::success);
        self.parts.traffic.record(&workload, began.elapsed(), outcome, span.recorded());
        span.end(answer.as_ref().err().map(ServiceError::code));
        answer
    }

    /// Waits for the commit of what a call wrote.
    async fn answer_encoded(
        &self,
        outcome: Result<CallOutcome<Vec<u8>>, CallError>,
        commit: Option<Result<Begun, DriverError>>,
    ) -> Result<CallAnswer<Vec<u8>>, ServiceError> {
        let made = match commit {
            None => Ok(None),
            Some(Ok(begun)) => begun.made().await.map(Some),
            Some(Err(error)) => Err(error),
        };
        match (outcome, made) {
            (Ok(outcome), Ok(made)) => Ok(self.answer_to(outcome, made, None)),
            (Err(error), _) => Err(answer::call_failed(error)),
            (Ok(_), Err(error)) => Err(answer::commit_failed(error)),
        }
    }
}
