//! The driver: the one loop that owns the replica.
//!
//! Everything that changes replicated state comes through its bounded channel; each pass takes what is waiting, hands it to
//! the replica under one short lock, and carries out the outputs in order: first the store, then answers and messages. The
//! invariants: nobody else changes the replica; while the store's queue is full, no new input is taken.

mod carry;
mod handle;
mod listening;
mod proofs;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use selvedge_sync::replica::{Input, Message};
use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use self::carry::{Backlog, Waiting};
pub use self::handle::{DriverError, DriverHandle, DriverStats};
use self::handle::{Request, Stats};
pub use self::listening::ListenError;
use self::listening::Listening;
pub(crate) use self::proofs::{PROOFS, read_proofs};
use crate::events::Events;
use crate::net::Net;
use crate::store::{Store, StoreEvent, StoreEvents};
use crate::view::{StateOwner, StateView};

/// Requests that may wait for the driver. At the hundred thousand a second that it takes, this is 40 ms.
const QUEUE_MAX: usize = 4096;

/// Requests taken in one pass, and so under one lock: enough to share a sync to disk, few enough that readers never wait long.
const PASS_MAX: usize = 128;

/// How often the replica is told that time has passed.
const TICK: Duration = Duration::from_millis(50);

/// How long a stopping agent waits until what it has acknowledged is durable and pushed.
const DRAIN_PATIENCE: Duration = Duration::from_secs(5);

/// The loop and what it holds.
pub struct Driver {
    owner: StateOwner,
    view: StateView,
    store: Store,
    store_events: StoreEvents,
    net: Net,
    requests: mpsc::Receiver<Request>,
    itself: DriverHandle,
    generation: watch::Sender<u64>,
    stats: Arc<Stats>,
    waiting: Waiting,
    backlog: Backlog,
    listening: Listening,
}

impl Driver {
    /// A driver and the handle to it. Nothing happens until [`Driver::run`].
    #[must_use]
    pub fn new(
        owner: StateOwner,
        view: StateView,
        store: (Store, StoreEvents),
        net: Net,
        events: Events,
    ) -> (Self, DriverHandle) {
        let (sender, requests) = mpsc::channel(QUEUE_MAX);
        let (generation, changes) = watch::channel(0);
        let stats = Arc::new(Stats::default());
        let itself = DriverHandle::new(sender, changes, Arc::clone(&stats));
        let handle = itself.clone();
        let (store, store_events) = store;
        let (waiting, backlog) = (Waiting::default(), Backlog::default());
        let listening = Listening::new(events);
        let driver = Self {
            owner,
            view,
            store,
            store_events,
            net,
            requests,
            itself,
            generation,
            stats,
            waiting,
            backlog,
            listening,
        };
        (driver, handle)
    }

    /// Runs until `stop`, then until what was acknowledged is durable, or patience ends.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        while !stop.is_cancelled() {
            tokio::select! {
                event = self.store_events.next() => match event {
                    Some(event) => self.pass(None, Some(event)),
                    None => break,
                },
                request = self.requests.recv(), if self.backlog.is_empty() => match request {
                    Some(request) => self.pass(Some(request), None),
                    None => break,
                },
                _ = tick.tick() => self.pass(Some(Request::Tick), None),
                () = stop.cancelled() => {}
            }
        }
        let drained = tokio::time::timeout(DRAIN_PATIENCE, self.drain()).await;
        if drained.is_err() {
            tracing::warn!(patience_s = DRAIN_PATIENCE.as_secs(), "stopping although not everything is durable");
        }
    }

    async fn drain(&mut self) {
        self.requests.close();
        self.pass(Some(Request::Tick), None);
        while !self.backlog.is_empty() || self.view.read(|replica| replica.durable() != replica.seen()) {
            self.store.flush();
            match self.store_events.next().await {
                Some(event) => self.pass(None, Some(event)),
                None => return,
            }
        }
    }

    /// One pass: what is waiting goes in, what follows is carried out.
    fn pass(&mut self, request: Option<Request>, event: Option<StoreEvent>) {
        let mut inputs = Vec::new();
        if let Some(event) = event {
            self.take_event(event, &mut inputs);
        }
        while let Some(event) = self.store_events.try_next() {
            self.take_event(event, &mut inputs);
        }
        if let Some(request) = request {
            self.take_request(request, &mut inputs);
        }
        if self.backlog.is_empty() {
            while inputs.len() < PASS_MAX
                && let Ok(request) = self.requests.try_recv()
            {
                self.take_request(request, &mut inputs);
            }
        }
        let now = self.view.now();
        let (outputs, changed, durable) = self.owner.write(|replica| {
            let before = replica.root();
            let outputs: Vec<_> = inputs.into_iter().flat_map(|input| replica.handle(input, now)).collect();
            (outputs, before != replica.root(), replica.durable().clone())
        });
        self.stats.passed_ms.store(now.mono_ms, Ordering::Relaxed);
        self.carry_out(outputs);
        self.waiting.answer_durable(&durable);
        if changed {
            self.generation.send_modify(|generation| *generation += 1);
        }
    }

    fn take_request(&mut self, request: Request, inputs: &mut Vec<Input>) {
        match request {
            Request::Commit { changes, request, reply } => {
                let ticket = self.waiting.expect(reply);
                inputs.push(Input::Commit { ticket, changes, request });
            }
            Request::Message { from, bytes } => match Message::decode(&bytes) {
                Ok(message) => inputs.push(Input::Receive { from, message }),
                Err(error) => {
                    self.stats.undecodable.fetch_add(1, Ordering::Relaxed);
                    tracing::warn!(%from, %error, "a member sent bytes that are no message");
                }
            },
            Request::PeerUp(node) => inputs.push(Input::PeerUp(node)),
            Request::PeerDown(node) => inputs.push(Input::PeerDown(node)),
            Request::Members(members) => inputs.push(Input::Members(members)),
            Request::Reborn(incarnation) => {
                self.waiting.answer_before(incarnation);
                inputs.push(Input::Reborn(incarnation));
            }
            Request::Watch { id, prefix, reply } => {
                self.listening.expect(id, reply);
                inputs.push(Input::Watch { id, prefix });
            }
            Request::Tick => {
                inputs.extend(self.listening.ended());
                inputs.push(Input::Tick);
            }
        }
    }

    fn take_event(&mut self, event: StoreEvent, inputs: &mut Vec<Input>) {
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
