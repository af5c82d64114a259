//! What a pass needs: whoever has it may change the replica, one at a time.
//!
//! Owns the replica's only writer, the callers that wait and what the store had no room for; takes nothing from queues, which is
//! the loop's. The invariants: an input goes into the replica under one short lock and its outputs are carried out in order
//! before the next pass begins; while the store's queue is full, no new input is taken.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use selvedge_sync::replica::{Input, Message, Output};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::carry::{Backlog, Waiting};
use super::handle::{Request, Stats};
use super::listening::Listening;
use crate::net::{Net, NetEvent, Offence, Reply};
use crate::store::{Store, StoreEvent};
use crate::view::{StateOwner, StateView};

/// The replica and all that follows from what it decides.
#[derive(Debug)]
pub(super) struct Helm {
    pub(super) owner: StateOwner,
    pub(super) view: StateView,
    pub(super) store: Store,
    pub(super) net: Net,
    /// The way in, for what becomes known later.
    pub(super) requests: mpsc::Sender<Request>,
    pub(super) generation: watch::Sender<u64>,
    pub(super) stats: Arc<Stats>,
    pub(super) waiting: Waiting,
    pub(super) backlog: Backlog,
    pub(super) listening: Listening,
    /// When something other than a digest last came or went.
    pub(super) busy: Instant,
    /// Nothing is taken any more.
    pub(super) has_ended: bool,
}

/// What goes into one pass.
#[derive(Debug, Default)]
pub(super) struct Load {
    pub(super) inputs: Vec<Input>,
    /// Until the replica has dealt with a message, it counts against its sender's share.
    held: Vec<Reply>,
}

impl Helm {
    /// Whether new input may be taken.
    pub(super) fn has_room(&self) -> bool {
        self.backlog.is_empty() && !self.has_ended
    }

    /// One pass: the inputs go in, what follows is carried out.
    pub(super) fn pass(&mut self, load: Load) {
        let now = self.view.now();
        let Load { inputs, held } = load;
        let asks_something = inputs.iter().any(is_eventful);
        let (outputs, changed, durable) = self.owner.write(|replica| {
            let before = replica.root();
            let outputs: Vec<_> = inputs.into_iter().flat_map(|input| replica.handle(input, now)).collect();
            let durable = self.waiting.awaits_durable().then(|| replica.durable().clone());
            (outputs, before != replica.root(), durable)
        });
        drop(held);
        if asks_something || !outputs.iter().all(is_digest) {
            self.busy = Instant::now();
        }
        self.carry_out(outputs);
        if let Some(durable) = durable {
            self.waiting.answer_durable(&durable);
        }
        if changed {
            self.generation.send_modify(|generation| *generation += 1);
        }
        // Last, for on this thread it may be next.
        self.store.stir();
    }

    /// Takes what the network tells, and answers how many bytes it had.
    pub(super) fn take_message(&self, event: NetEvent, load: &mut Load) -> usize {
        match event {
            NetEvent::Up { node } => load.inputs.push(Input::PeerUp(node)),
            NetEvent::Down { node } => load.inputs.push(Input::PeerDown(node)),
            NetEvent::Message { from, bytes, reply, .. } => {
                load.held.push(reply);
                match Message::decode(&bytes) {
                    Ok(message) => load.inputs.push(Input::Receive { from, message }),
                    Err(error) => {
                        self.stats.undecodable.fetch_add(1, Ordering::Relaxed);
                        tracing::warn!(%from, %error, "a member sent bytes that are no message");
                        self.net.penalise(from, Offence::Undecodable);
                    }
                }
                return bytes.len();
            }
        }
        0
    }

    pub(super) fn take_request(&mut self, request: Request, load: &mut Load) {
        match request {
            Request::Commit { changes, request, reply } => {
                let ticket = self.waiting.expect(reply);
                load.inputs.push(Input::Commit { ticket, changes, request });
            }
            Request::Members(members) => load.inputs.push(Input::Members(members)),
            Request::Reborn(incarnation) => {
                self.waiting.answer_before(incarnation);
                load.inputs.push(Input::Reborn(incarnation));
            }
            Request::Watch { id, prefix, reply } => {
                self.listening.expect(id, reply);
                load.inputs.push(Input::Watch { id, prefix });
            }
            Request::Tick => {
                load.inputs.extend(self.listening.ended());
                load.inputs.push(Input::Tick);
            }
        }
    }

    pub(super) fn take_event(&self, event: StoreEvent, load: &mut Load) {
        match event {
            StoreEvent::Appended { token } | StoreEvent::Checkpointed { token } => {
                load.inputs.push(Input::Persisted { token });
            }
            StoreEvent::Failed { reason } => {
                tracing::error!(%reason, "the store cannot write; this agent is read-only until it can");
                self.stats.set_store_failure(Some(reason));
                load.inputs.push(Input::StoreFailed);
            }
            StoreEvent::Recovered => {
                tracing::info!("the store can write again");
                self.stats.set_store_failure(None);
                load.inputs.push(Input::StoreRecovered);
            }
        }
    }
}

/// Whether something may follow from an input that only the next ticks bring about.
const fn is_eventful(input: &Input) -> bool {
    !matches!(input, Input::Tick | Input::Members(_) | Input::Receive { message: Message::Digest { .. }, .. })
}

const fn is_digest(output: &Output) -> bool {
    matches!(output, Output::Send { message: Message::Digest { .. }, .. })
}
