//! Asking one member: its answer, or that there is none when the caller's time is over.
//!
//! Owns the two times of a question: the caller's, at the end of which it is answered, and the member's, which has a second more before it counts
//! as one that does not answer. The invariant: a caller who is in a hurry hears at its deadline, and says nothing of whom it asked.

use std::future::Future;
use std::time::Duration;

use selvedge_sync::id::NodeId;

use super::Calls;
use super::forward::{lost, read_answer};
use super::routes::Asked;
use crate::net::{Lane, RequestError};
use crate::service::{CallAnswer, ServiceError};

/// By how much an answer may come after the caller's deadline, beside the round trip: a turn of a busy host. A member ends what it runs
/// at the deadline by itself, and what it says then is worth more than that nothing was heard.
const LATE: Duration = Duration::from_millis(10);

/// How long a member has, beyond what its caller gave it, before its silence is held against it.
const NETWORK_PATIENCE: Duration = Duration::from_secs(1);

/// What a caller wants of one question.
#[derive(Clone, Copy)]
pub(super) struct Terms {
    /// When the caller wants to hear.
    pub(super) deadline: Duration,
    /// It gave less time than the workload's own.
    pub(super) is_hurried: bool,
    /// The call can be made again without being made twice.
    pub(super) is_repeatable: bool,
}

impl Calls {
    /// Asks the member and takes note of how it answers, even if that is later than the caller waits.
    pub(super) async fn ask(&self, asked: Asked, question: Vec<u8>, terms: Terms) -> Result<CallAnswer, ServiceError> {
        let node = asked.node();
        let round_trip = self.parts.net.round_trip(node).flatten().unwrap_or_default().min(NETWORK_PATIENCE);
        let patience = terms.deadline + round_trip + LATE;
        let calls = self.clone();
        let exchange = async move {
            let answer = calls.parts.net.request(node, Lane::Call, question, patience + NETWORK_PATIENCE).await;
            let answer = calls.read(node, answer, terms);
            asked.answered(&answer, terms.is_hurried);
            answer
        };
        match within(patience, exchange).await {
            Some(answer) => answer,
            None => Err(lost(&self.named(node), RequestError::TimedOut, terms.is_repeatable)),
        }
    }

    fn read(
        &self,
        node: NodeId,
        answer: Result<Vec<u8>, RequestError>,
        terms: Terms,
    ) -> Result<CallAnswer, ServiceError> {
        match answer {
            Ok(answer) => read_answer(node, &answer),
            Err(error) => Err(lost(&self.named(node), error, terms.is_repeatable)),
        }
    }
}

/// What comes of it in time. Otherwise it goes on in a task of its own: how many of these there are is bounded as the network bounds the
/// questions to one member that are open.
async fn within<A: Send + 'static>(
    patience: Duration,
    exchange: impl Future<Output = A> + Send + 'static,
) -> Option<A> {
    let mut exchange = Box::pin(exchange);
    let answer = tokio::time::timeout(patience, &mut exchange).await.ok();
    if answer.is_none() {
        tokio::spawn(exchange);
    }
    answer
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn who_waits_hears_when_its_time_is_over_and_what_comes_later_is_noted() {
        let ((answer, answered), (note, noted)) = (oneshot::channel::<()>(), oneshot::channel());
        let exchange = async move {
            answered.await.expect("an answer");
            note.send("it answers").expect("somebody takes note");
        };
        // It answers only after the caller has heard that it does not.
        assert_eq!(within(Duration::from_millis(5), exchange).await, None);
        answer.send(()).expect("somebody waits for it still");
        assert_eq!(noted.await, Ok("it answers"));
        assert_eq!(within(Duration::from_secs(60), async { 7 }).await, Some(7));
    }
}
