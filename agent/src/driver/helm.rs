//! What a pass needs to carry out what follows: whoever has it does so, one at a time.
//!
//! Owns the callers that wait and what the store had no room for; takes nothing from queues, which is the loop's, and reaches the
//! replica through its [`Core`]. The invariants: outputs are carried out in order, all of a pass before those of the next; while the
//! store's queue is full, no new input is taken; what members send waits for whoever waits here, and loses nothing by it.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use selvedge_sync::replica::{Input, Message, Output};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::carry::Backlog;
use super::core::{Core, Upshot};
use super::handle::{Request, Stats};
use super::listening::Listening;
use super::waiting::Waiting;
use super::{Panicked, QUEUE_MAX};
use crate::net::{Net, NetEvent, Offence, Reply};
use crate::store::{Store, StoreEvent};
use crate::view::StateView;

/// How long a pass goes on with what members have sent although somebody here waits. Passes for callers that take longer give
/// members as long: neither is put off for ever.
const TURN: Duration = Duration::from_micros(50);

/// The replica and all that follows from what it decides.
#[derive(Debug)]
pub(super) struct Helm {
    pub(super) core: Arc<Mutex<Core>>,
    /// What the core was last told of room.
    pub(super) said_room: bool,
    pub(super) view: StateView,
    pub(super) store: Store,
    pub(super) net: Net,
    /// The way in, for what becomes known later.
    pub(super) requests: mpsc::Sender<Request>,
    pub(super) generation: watch::Sender<u64>,
    pub(super) stats: Arc<Stats>,
    pub(super) waiting: Waiting,
    pub(super) backlog: Backlog,
    /// What members have sent and the replica has not been given yet, in order.
    pub(super) heard: VecDeque<Heard>,
    pub(super) listening: Listening,
    /// When something other than a digest last came or went.
    pub(super) busy: Instant,
    /// Nothing is taken any more.
    pub(super) has_ended: bool,
}

/// Something that the network told.
#[derive(Debug)]
pub(super) struct Heard {
    input: Input,
    /// Until the replica has dealt with a message, it counts against its sender's share.
    held: Option<Reply>,
}

impl Helm {
    /// Whether new input may be taken.
    pub(super) fn has_room(&self) -> bool {
        self.backlog.is_empty() && !self.has_ended
    }

    /// One pass for callers and the store alone: the inputs go in, what follows is carried out.
    pub(super) fn pass(&mut self, inputs: Vec<Input>) -> Result<(), Panicked> {
        self.give(inputs)?;
        self.end_pass()
    }

    /// Gives the replica what was heard, until it is somebody else's turn, and ends the pass. What callers were given before took
    /// `spent`.
    pub(super) fn whole_pass(&mut self, spent: Duration) -> Result<(), Panicked> {
        let until = Instant::now() + spent.max(TURN);
        while let Some(Heard { input, held }) = self.heard.pop_front() {
            self.give([input])?;
            drop(held);
            if self.is_awaited() && Instant::now() >= until {
                break;
            }
        }
        self.end_pass()
    }

    /// Whether somebody here waits: a caller in the queue or at the core, or a reader of the state.
    fn is_awaited(&self) -> bool {
        let at_core = self.stats.at_core.load(Ordering::Relaxed);
        at_core > 0 || self.requests.capacity() < QUEUE_MAX || self.view.is_awaited()
    }

    /// Gives the replica inputs, in their order.
    pub(super) fn give(&self, inputs: impl IntoIterator<Item = Input>) -> Result<(), Panicked> {
        self.core.lock().map_err(|_| Panicked)?.give(inputs);
        Ok(())
    }

    /// Carries out what follows from all that the replica was given since the last pass.
    pub(super) fn end_pass(&mut self) -> Result<(), Panicked> {
        let Upshot { outputs, has_changed, is_eventful } = self.core.lock().map_err(|_| Panicked)?.take();
        let awaits_durable = self.waiting.awaits_durable();
        if is_eventful || !outputs.iter().all(is_digest) {
            self.busy = Instant::now();
        }
        self.carry_out(outputs);
        self.say_room()?;
        if awaits_durable {
            let durable = self.view.read(|replica| replica.durable().clone());
            self.waiting.answer_durable(&durable);
        }
        if has_changed {
            self.generation.send_modify(|generation| *generation += 1);
        }
        // Last, for on this thread it may be next.
        self.store.stir();
        Ok(())
    }

    /// Takes nothing more, and leaves nothing begun.
    pub(super) fn become_ended(&mut self) -> Result<(), Panicked> {
        self.has_ended = true;
        // First, so that what is begun meanwhile is seen.
        self.say_room()?;
        self.end_pass()
    }

    /// Has callers' commits taken at once, or not.
    fn say_room(&mut self) -> Result<(), Panicked> {
        let has_room = self.has_room();
        if self.said_room != has_room {
            self.core.lock().map_err(|_| Panicked)?.has_room = has_room;
            self.said_room = has_room;
        }
        Ok(())
    }

    /// Takes what the network tells, and answers how many bytes it had.
    pub(super) fn take_message(&mut self, event: NetEvent) -> usize {
        let told = |input| Heard { input, held: None };
        match event {
            NetEvent::Up { node } => self.heard.push_back(told(Input::PeerUp(node))),
            NetEvent::Down { node } => self.heard.push_back(told(Input::PeerDown(node))),
            NetEvent::Message { from, bytes, reply, .. } => {
                match Message::decode(&bytes) {
                    Ok(message) => {
                        self.heard.push_back(Heard { input: Input::Receive { from, message }, held: Some(reply) });
                    }
                    Err(error) => {
                        let is_later = error.is_of_a_later_release();
                        self.net.unreadable(from, Offence::Undecodable, is_later);
                        if is_later {
                            tracing::debug!(%from, %error, "a member sent a message that this release does not know");
                        } else {
                            self.stats.undecodable.fetch_add(1, Ordering::Relaxed);
                            tracing::warn!(%from, %error, "a member sent bytes that are no message");
                        }
                    }
                }
                return bytes.len();
            }
        }
        0
    }

    pub(super) fn take_request(&mut self, request: Request, inputs: &mut Vec<Input>) {
        match request {
            Request::Commit { changes, request, reply } => {
                let ticket = self.waiting.expect(reply);
                inputs.push(Input::Commit { ticket, changes, request });
            }
            Request::Members(members) => inputs.push(Input::Members(members)),
            Request::Reborn(incarnation) => {
                self.waiting.answer_before(incarnation);
                inputs.push(Input::Reborn(incarnation));
            }
            Request::Watch { id, prefix, reply } => {
                self.listening.expect(id, reply);
                inputs.push(Input::Watch { id, prefix });
            }
            Request::EndPass => {}
            Request::Tick => {
                inputs.extend(self.listening.ended());
                inputs.push(Input::Tick);
            }
        }
    }

    pub(super) fn take_event(&self, event: StoreEvent, inputs: &mut Vec<Input>) {
        match event {
            StoreEvent::Appended { token } | StoreEvent::Checkpointed { token } => {
                inputs.push(Input::Persisted { token });
            }
            StoreEvent::Failed { reason } => {
                tracing::error!(%reason, "the store cannot write; this agent is read-only until it can");
                self.stats.set_store_failure(Some(reason));
                inputs.push(Input::StoreFailed);
            }
            StoreEvent::Recovered => {
                tracing::info!("the store can write again");
                self.stats.set_store_failure(None);
                inputs.push(Input::StoreRecovered);
            }
        }
    }
}

const fn is_digest(output: &Output) -> bool {
    matches!(output, Output::Send { message: Message::Digest { .. }, .. })
}
