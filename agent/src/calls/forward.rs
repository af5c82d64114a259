//! Forwarded calls: the question that goes to a member that runs the workload, and serving such questions.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use selvedge_sync::codec;
use selvedge_sync::commit::RequestId;
use selvedge_sync::id::NodeId;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Calls;
use super::answer::RETRY_AFTER_S;
use super::asking::Terms;
use crate::encoding::Encoding;
use crate::net::{Lane, Offence, Reply, RequestError};
use crate::service::{CallAnswer, CallOptions, Committed, EncodedCall, Fault, ServiceError};
use crate::spec::WorkloadName;
use crate::traces::{Context, Step};

/// Members asked before giving up: the best, and one more where the best did nothing.
const ATTEMPTS_MAX: usize = 2;

/// Calls that members have forwarded here.
#[derive(Default)]
pub(super) struct Forwarded {
    under_way: AtomicUsize,
    all: AtomicU64,
}

/// One of them, until it is answered.
pub(super) struct UnderWay<'a>(&'a Forwarded);

impl Forwarded {
    fn begin(&self) -> UnderWay<'_> {
        self.under_way.fetch_add(1, Ordering::SeqCst);
        self.all.fetch_add(1, Ordering::SeqCst);
        UnderWay(self)
    }

    /// How many are being answered, and how many there have been.
    pub(super) fn counts(&self) -> (usize, u64) {
        (self.under_way.load(Ordering::SeqCst), self.all.load(Ordering::SeqCst))
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::SeqCst);
    }
}

#[derive(Serialize, Deserialize)]
struct Question {
    workload: WorkloadName,
    function: String,
    arguments: String,
    deadline_ms: Option<u64>,
    request: Option<RequestId>,
    #[serde(default)]
    record: bool,
    /// The span of the exchange, at the member that asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    trace: Option<Context>,
}

#[derive(Serialize, Deserialize)]
struct Answer {
    result: String,
    commit: Option<Committed>,
    #[serde(default)]
    overrun: Option<String>,
    #[serde(default)]
    recording: Option<String>,
}

impl Question {
    fn options(&self) -> CallOptions {
        let deadline = self.deadline_ms.map(Duration::from_millis);
        CallOptions { deadline, request: self.request, session: None, record: self.record, trace: self.trace }
    }
}

impl Calls {
    /// Asks whom the workload's router picks among those that have it; one that does not answer at present comes last.
    pub(super) async fn forward(
        &self,
        workload: &WorkloadName,
        function: &str,
        arguments: &Value,
        (options, own_deadline): (CallOptions, Duration),
    ) -> Result<CallAnswer, ServiceError> {
        let deadline = options.deadline;
        let began = Instant::now();
        let left = || deadline.map(|deadline| deadline.saturating_sub(began.elapsed()));
        let is_hurried = deadline.is_some_and(|deadline| deadline < own_deadline);
        let mut question = Question {
            workload: workload.clone(),
            function: function.to_owned(),
            arguments: arguments.to_string(),
            deadline_ms: None,
            request: options.request,
            record: options.record,
            trace: None,
        };
        let targets = self.targets_soon(workload, deadline.unwrap_or(own_deadline)).await?;
        if targets.is_empty() {
            if self.parts.wasm.is_loaded(workload.as_str()) {
                // It has just started here, and others have not been told.
                let options = CallOptions { deadline: left(), ..options };
                return self.call_here(workload, function, arguments.clone(), options).await;
            }
            return Err(self.nobody(workload));
        }
        let (mut tried, mut is_away, mut last) = (Vec::new(), false, None);
        while tried.len() < ATTEMPTS_MAX
            && left().is_none_or(|left| !left.is_zero())
            && let Some(asked) = self.next(workload, &targets, options, (&tried, is_away))
        {
            let node = asked.node();
            tried.push(node);
            let answer = if node == self.parts.me {
                let options = CallOptions { deadline: left(), ..options };
                let answer = self.call_here(workload, function, arguments.clone(), options).await;
                asked.answered(&answer, is_hurried);
                answer
            } else {
                // A part of a millisecond that is left is told as a whole one: nought would be no time at all.
                question.deadline_ms = left().map(|left| crate::view::millis(left).max(1));
                let deadline = left().unwrap_or(own_deadline);
                let terms = Terms { deadline, is_hurried, is_repeatable: options.request.is_some() };
                let what = (workload.as_str(), function);
                let span = self.parts.traces.child(options.trace, Step::Forward, what, Instant::now()).with(node);
                question.trace = span.context();
                let answer = self.ask(asked, codec::encode(&question), terms).await;
                span.end(answer.as_ref().err().map(ServiceError::code));
                answer
            };
            match answer {
                Err(error) if did_nothing(&error) => {
                    // It has just stopped there, or its host has gone, and the news is on its way: that is no overload to be careful with.
                    is_away = matches!(error.fault(), Fault::Unavailable);
                    tracing::debug!(%node, %workload, %error, "the member did nothing; trying another");
                    last = Some(error);
                }
                answer => return answer,
            }
        }
        Err(last.unwrap_or_else(|| all_broken(workload)))
    }

    /// A member's name and id.
    pub(super) fn named(&self, node: NodeId) -> String {
        let now = self.parts.view.now();
        let record = self.parts.members.with(|members| members.get(&node, now)).and_then(|member| member.record);
        record.map_or_else(|| node.to_string(), |record| format!("{} ({node})", record.name))
    }

    /// Serves a forwarded call: here or not at all, so that a call cannot travel in circles.
    pub async fn serve(&self, from: NodeId, bytes: Vec<u8>, reply: Reply) {
        let _under_way = self.parts.forwarded.begin();
        let answer = match codec::decode::<Question>(&bytes, Lane::Call.frame_bytes_max()) {
            Ok(question) => match self.parts.rates.admit_member(&from, question.workload.as_str()) {
                Ok(()) => self.answer_traced(from, question).await,
                Err(error) => Err(error),
            },
            Err(error) => {
                self.parts.net.unreadable(from, Offence::Undecodable, error.is_of_a_later_release());
                tracing::warn!(%from, %error, "a member sent a call that cannot be read");
                Err(ServiceError::new(Fault::Caller, "malformed_call", format!("the forwarded call: {error}")))
            }
        };
        reply.send(codec::encode(&answer));
    }

    async fn answer_traced(&self, from: NodeId, mut question: Question) -> Result<Answer, ServiceError> {
        let what = (question.workload.as_str(), question.function.as_str());
        let span = self.parts.traces.child(question.trace, Step::Serve, what, Instant::now()).with(from);
        question.trace = span.context();
        let answer = self.answer(question).await;
        span.end(answer.as_ref().err().map(ServiceError::code));
        answer
    }

    async fn answer(&self, question: Question) -> Result<Answer, ServiceError> {
        if let Some(answer) = self.answer_as_it_is(&question).await {
            return answer;
        }
        let arguments = serde_json::from_str(&question.arguments)
            .map_err(|error| ServiceError::new(Fault::Caller, "malformed_json", error.to_string()))?;
        if !self.parts.wasm.is_loaded(question.workload.as_str()) {
            return Err(self.nobody(&question.workload));
        }
        let options = question.options();
        let answer = self.call_here(&question.workload, &question.function, arguments, options).await?;
        let CallAnswer { result, commit, overrun, recording, node: _ } = answer;
        Ok(Answer { result: result.to_string(), commit, overrun, recording })
    }
}

impl Calls {
    /// The same without a look at the arguments, where that is possible. `None`: nothing was done.
    async fn answer_as_it_is(&self, question: &Question) -> Option<Result<Answer, ServiceError>> {
        let options = question.options();
        let call = EncodedCall {
            name: question.workload.as_str(),
            function: &question.function,
            arguments: (Encoding::Json, question.arguments.as_bytes()),
            answer: Encoding::Json,
            options,
            asked: Instant::now(),
        };
        let answer = self.serve_encoded(&call, question.workload.clone()).await?;
        Some(answer.map(|CallAnswer { result, commit, overrun, recording, node: _ }| {
            let result = String::from_utf8(result).expect("JSON is text");
            Answer { result, commit, overrun, recording }
        }))
    }
}

pub(super) fn read_answer(node: NodeId, bytes: &[u8]) -> Result<CallAnswer, ServiceError> {
    let malformed = |error: String| {
        ServiceError::new(
            Fault::Internal,
            "malformed_answer",
            format!("{node} gave an answer that cannot be read: {error}"),
        )
        .changed("the call may have been carried out there")
    };
    let answer: Result<Answer, ServiceError> =
        codec::decode(bytes, Lane::Call.frame_bytes_max()).map_err(|error| malformed(error.to_string()))?;
    let Answer { result, commit, overrun, recording } = answer?;
    let result = serde_json::from_str(&result).map_err(|error| malformed(error.to_string()))?;
    Ok(CallAnswer { result, node, commit, overrun, recording })
}

/// Every member that runs it has failed its last calls.
fn all_broken(workload: &WorkloadName) -> ServiceError {
    let message =
        format!("every member that runs `{workload}` has failed its last calls, and is asked again after a pause");
    ServiceError::new(Fault::Unavailable, "not_answering", message)
        .hint("try again in a second; `selvedge peers` and `selvedge workloads` say how those members fare")
}

/// Whether the other side is known not to have acted, so that another may be asked: it said so, or was never reached.
fn did_nothing(error: &ServiceError) -> bool {
    error.changed_text().is_none() && matches!(error.fault(), Fault::Busy { .. } | Fault::Unavailable)
}

pub(super) fn lost(node: &str, error: RequestError, is_repeatable: bool) -> ServiceError {
    let message = format!("the call was forwarded to {node}: {error}");
    let hint = if is_repeatable {
        "repeat it with the same Idempotency-Key: what has reached the member that answers is not written twice; a member that was \
         lost is passed over within seconds, and what only its own disk has is written when it comes back"
    } else {
        "look at what it should have written before you repeat it; with an Idempotency-Key (`selvedge call --idempotency-key KEY`) a \
         call can be repeated as it is. A member that was lost is passed over within seconds"
    };
    match error {
        RequestError::TooLarge { .. } => ServiceError::new(Fault::TooLarge, "too_large_to_forward", message),
        RequestError::Busy | RequestError::Saturated => {
            ServiceError::new(Fault::Busy { retry_after_s: RETRY_AFTER_S }, "busy", message)
        }
        RequestError::NotConnected | RequestError::Unsupported => {
            ServiceError::new(Fault::Unavailable, "forward_failed", message)
        }
        RequestError::TimedOut => ServiceError::new(Fault::TimedOut, "forward_timed_out", message)
            .changed("the call may have been carried out there")
            .hint(hint),
        RequestError::AnswerTooLarge | RequestError::Unanswered | RequestError::Closed | RequestError::Stopped => {
            ServiceError::new(Fault::Unavailable, "forward_failed", message)
                .changed("the call may have been carried out there")
                .hint(hint)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_call_that_may_have_been_carried_out_says_how_to_go_on() {
        for error in [RequestError::TimedOut, RequestError::Closed, RequestError::Unanswered] {
            for (is_repeatable, wanted) in
                [(true, "repeat it with the same"), (false, "look at what it should have written")]
            {
                let lost = lost("kiosk (12D3)", error, is_repeatable);
                assert!(lost.changed_text().is_some() && !did_nothing(&lost), "{lost}");
                assert!(
                    lost.message().contains("kiosk") && lost.hint_text().is_some_and(|hint| hint.starts_with(wanted))
                );
            }
        }
        let never_left = lost("kiosk", RequestError::NotConnected, false);
        assert!(did_nothing(&never_left) && never_left.hint_text().is_none(), "{never_left}");
    }
    #[test]
    fn members_of_two_releases_understand_each_other() {
        // What the first release asked with, and what a later one may.
        let first =
            json!({"workload": "combat", "function": "resolve", "arguments": "[]", "deadline_ms": 5, "request": null});
        let mut later = first.clone();
        later["record"] = json!(true);
        later["trace"] = json!("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more");
        later["of_a_later_release"] = json!({"what": ["this one", "does not know"]});
        let read = |document: &Value| codec::decode::<Question>(&codec::encode(document), Lane::Call.frame_bytes_max());
        let (first, later) = (read(&first).expect("it is read"), read(&later).expect("it is read"));
        assert_eq!((first.options().record, first.options().trace), (false, None));
        assert!(later.options().record && later.options().trace.is_some());
        let answer = json!({"Ok": {"result": "[3]", "commit": null, "of_a_later_release": 1}});
        assert!(read_answer(NodeId([1; 32]), &codec::encode(&answer)).is_ok());
    }

    #[test]
    fn questions_and_answers_that_are_none_are_errors() {
        let question = Question {
            workload: "combat".parse().expect("a name"),
            function: "resolve".to_owned(),
            arguments: "[1, {\"a\": [2]}]".to_owned(),
            deadline_ms: Some(5),
            request: None,
            record: true,
            trace: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".parse().ok(),
        };
        let max = Lane::Call.frame_bytes_max();
        let read = |bytes: &[u8]| codec::decode::<Question>(bytes, max).is_ok();
        crate::outside::check("a question", &codec::encode(&question), read);
        let answer = |result: String| {
            let answer = Answer { result, commit: None, overrun: Some("late".to_owned()), recording: None };
            codec::encode(&Ok::<_, ServiceError>(answer))
        };
        let read = |bytes: &[u8]| read_answer(NodeId([1; 32]), bytes).is_ok();
        crate::outside::check("an answer", &answer("[[3]]".to_owned()), read);
        for nested in ["[", "{\"a\":"] {
            assert!(!read(&answer(nested.repeat(100_000))));
        }
    }
}
