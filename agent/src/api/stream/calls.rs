//! What one connection has asked for and not been answered yet.
//!
//! Owns the calls that wait to be made together and those that are under way. Counts and sends nothing. The invariants: a call that
//! can be made at once is made with those that came with it, and holds up no other; every frame that is taken comes out as done.

use std::collections::VecDeque;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};

use super::frame::{Call, Id, Plain, Refused};
use crate::api::guard::bug;
use crate::api::limits::CALLS_TOGETHER_MAX;
use crate::api::origin::Origin;
use crate::encoding::Encoding;
use crate::service::{CallAnswer, Caller, EncodedCall, Entry, Service, ServiceError};

/// What came of one frame, not yet written.
pub(super) struct Done {
    /// How large the frame was.
    pub(super) bytes: usize,
    pub(super) outcome: Outcome,
}

pub(super) enum Outcome {
    Encoded(Id, Result<CallAnswer<Vec<u8>>, ServiceError>),
    Answered(Id, Result<CallAnswer, ServiceError>),
    Refused(Refused),
}

/// What came of calls that were made together.
#[derive(Default)]
struct Turn {
    done: Vec<Done>,
    /// What has to go the long way.
    long: Vec<Plain>,
    /// What was not reached.
    left: Vec<Plain>,
}

type UnderWay = Pin<Box<dyn Future<Output = Turn> + Send>>;

/// The calls of one connection.
pub(super) struct Calls<S> {
    service: Arc<S>,
    /// Who has opened the connection.
    caller: Caller,
    ready: VecDeque<Plain>,
    under_way: FuturesUnordered<UnderWay>,
}

impl<S: Service> Calls<S> {
    pub(super) fn new(service: Arc<S>, caller: Caller) -> Self {
        Self { service, caller, ready: VecDeque::new(), under_way: FuturesUnordered::new() }
    }

    /// Whether another frame may be taken before those that wait are begun.
    pub(super) fn have_room(&self) -> bool {
        self.ready.len() < CALLS_TOGETHER_MAX
    }

    /// Takes a frame.
    ///
    /// # Errors
    /// It asks for nothing that can be done.
    pub(super) fn take(&mut self, frame: &Bytes) -> Result<(), Refused> {
        let bytes = frame.len();
        match Plain::read(frame) {
            Some(plain) => match self.enter(&plain.workload, &plain.origin) {
                Ok(()) => self.ready.push_back(plain),
                Err(error) => self.turn_away(plain.id, bytes, error),
            },
            None => {
                let call = Call::read(frame)?;
                match self.enter(&call.workload, &call.origin) {
                    Ok(()) => self.under_way.push(Box::pin(alone(Arc::clone(&self.service), call, bytes))),
                    Err(error) => self.turn_away(call.id, bytes, error),
                }
            }
        }
        Ok(())
    }

    fn enter(&self, workload: &str, origin: &Origin) -> Result<(), ServiceError> {
        let (caller, region) = (self.caller, origin.region.as_deref());
        self.service.enter(workload, &Entry { caller, region, rtt_ms: origin.rtt_ms })
    }

    /// Answers a call that may not be made, in its turn.
    fn turn_away(&self, id: Id, bytes: usize, error: ServiceError) {
        let done = vec![Done { bytes, outcome: Outcome::Encoded(id, Err(error)) }];
        self.under_way.push(Box::pin(std::future::ready(Turn { done, ..Turn::default() })));
    }

    /// Whether calls wait to be begun.
    pub(super) fn are_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Begins the calls that wait, together.
    pub(super) fn begin(&mut self) {
        if self.are_ready() {
            let calls = std::mem::take(&mut self.ready);
            self.under_way.push(Box::pin(together(Arc::clone(&self.service), calls.into())));
        }
    }

    /// What is done next; `None` while nothing is under way.
    pub(super) async fn next(&mut self) -> Option<Vec<Done>> {
        let Turn { done, long, left } = self.under_way.next().await?;
        // In the order in which they came.
        left.into_iter().rev().for_each(|plain| self.ready.push_front(plain));
        for plain in long {
            self.under_way.push(Box::pin(the_long_way(Arc::clone(&self.service), plain)));
        }
        Some(done)
    }
}

/// Makes calls in a row, as many as there is time for.
async fn together<S: Service>(service: Arc<S>, calls: Vec<Plain>) -> Turn {
    let encoded: Vec<_> = calls.iter().map(encoded).collect();
    let answers = AssertUnwindSafe(service.calls_encoded(&encoded)).catch_unwind().await;
    let (mut turn, mut calls) = (Turn::default(), calls.into_iter());
    // What breaks in one of them breaks those that came with it, and nothing else.
    let answers = answers.unwrap_or_else(|_| calls.as_slice().iter().map(|_| Some(Err(bug()))).collect());
    for (answer, plain) in answers.into_iter().zip(calls.by_ref()) {
        match answer {
            Some(answer) => {
                turn.done.push(Done { bytes: plain.frame.len(), outcome: Outcome::Encoded(plain.id, answer) });
            }
            None => turn.long.push(plain),
        }
    }
    turn.left = calls.collect();
    turn
}

fn encoded(plain: &Plain) -> EncodedCall<'_> {
    EncodedCall {
        name: &plain.workload,
        function: &plain.function,
        arguments: (Encoding::Cbor, &plain.arguments),
        answer: Encoding::Cbor,
        options: plain.options,
        asked: plain.asked,
    }
}

/// Decodes a call and makes it: that takes more, and says what is wrong.
async fn the_long_way<S: Service>(service: Arc<S>, plain: Plain) -> Turn {
    let bytes = plain.frame.len();
    match Call::read(&plain.frame) {
        Ok(call) => alone(service, call, bytes).await,
        Err(refused) => Turn { done: vec![Done { bytes, outcome: Outcome::Refused(refused) }], ..Turn::default() },
    }
}

/// Makes one call. What breaks in it breaks nothing else.
async fn alone<S: Service>(service: Arc<S>, call: Call, bytes: usize) -> Turn {
    let Call { id, workload, function, arguments, options, origin: _ } = call;
    let answer = AssertUnwindSafe(service.call(&workload, &function, arguments, options)).catch_unwind().await;
    let outcome = Outcome::Answered(id, answer.unwrap_or_else(|_| Err(bug())));
    Turn { done: vec![Done { bytes, outcome }], ..Turn::default() }
}
