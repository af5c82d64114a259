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

use selvedge_sync::replica::{Input, Message, Output};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::carry::{Backlog, Waiting};
pub use self::handle::{DriverError, DriverHandle, DriverStats};
use self::handle::{Request, Stats};
pub use self::listening::ListenError;
use self::listening::Listening;
pub(crate) use self::proofs::{PROOFS, read_proofs};
use crate::events::Events;
use crate::net::{Net, NetEvent, NetEvents, Offence, Reply};
use crate::store::{Store, StoreEvent, StoreEvents};
use crate::view::{StateOwner, StateView};

/// Requests that may wait for the driver. At the hundred thousand a second that it takes, this is 40 ms.
const QUEUE_MAX: usize = 4096;

/// Requests and messages taken in one pass, and so under one lock: enough to share a sync to disk, few enough that readers never
/// wait long.
const PASS_MAX: usize = 128;

/// Of these, at most so many requests while there are messages: neither callers here nor members elsewhere wait for the other.
const PASS_REQUESTS_MAX: usize = 64;

/// Bytes of messages taken in one pass, unless one alone is larger: what a member sends holds up nobody for long.
const PASS_BYTES_MAX: usize = 256 * 1024;

/// How often the replica is told that time has passed.
const TICK: Duration = Duration::from_millis(50);

/// The same while nothing but digests goes back and forth: waking up is most of what an idle agent costs.
const IDLE_TICK: Duration = Duration::from_millis(250);

/// How long after something happened the short tick goes on: longer than anything that ticks lead to by themselves.
const BUSY_FOR: Duration = Duration::from_secs(2);

/// How long a stopping agent waits until what it has acknowledged is durable and pushed.
const DRAIN_PATIENCE: Duration = Duration::from_secs(5);

/// The loop and what it holds.
pub struct Driver {
    owner: StateOwner,
    view: StateView,
    store: Store,
    store_events: StoreEvents,
    net: Net,
    messages: NetEvents,
    requests: mpsc::Receiver<Request>,
    itself: DriverHandle,
    generation: watch::Sender<u64>,
    stats: Arc<Stats>,
    waiting: Waiting,
    backlog: Backlog,
    listening: Listening,
    ticked: Instant,
    /// When something other than a digest last came or went.
    busy: Instant,
}

/// What begins a pass.
enum First {
    Stored(StoreEvent),
    Asked(Request),
    Heard(NetEvent),
}

impl Driver {
    /// A driver and the handle to it. `net` comes with what members send on the lane of replication. Nothing happens until [`Driver::run`].
    #[must_use]
    pub fn new(
        owner: StateOwner,
        view: StateView,
        store: (Store, StoreEvents),
        net: (Net, NetEvents),
        events: Events,
    ) -> (Self, DriverHandle) {
        let (sender, requests) = mpsc::channel(QUEUE_MAX);
        let (generation, changes) = watch::channel(0);
        let stats = Arc::new(Stats::default());
        let itself = DriverHandle::new(sender, changes, Arc::clone(&stats));
        let handle = itself.clone();
        let (store, store_events) = store;
        let (net, messages) = net;
        let (waiting, backlog) = (Waiting::default(), Backlog::default());
        let listening = Listening::new(events);
        let driver = Self {
            owner,
            view,
            store,
            store_events,
            net,
            messages,
            requests,
            itself,
            generation,
            stats,
            waiting,
            backlog,
            listening,
            ticked: Instant::now(),
            busy: Instant::now(),
        };
        (driver, handle)
    }

    /// Runs until `stop`, then until what was acknowledged is durable, or patience ends.
    pub async fn run(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let next_tick = self.next_tick();
            tokio::select! {
                event = self.store_events.next() => match event {
                    Some(event) => self.pass(First::Stored(event)),
                    None => break,
                },
                request = self.requests.recv(), if self.backlog.is_empty() => match request {
                    Some(request) => self.pass(First::Asked(request)),
                    None => break,
                },
                message = self.messages.recv(), if self.backlog.is_empty() => match message {
                    Some(message) => self.pass(First::Heard(message)),
                    None => break,
                },
                () = tokio::time::sleep_until(next_tick) => self.pass(First::Asked(Request::Tick)),
                () = stop.cancelled() => {}
            }
        }
        let drained = tokio::time::timeout(DRAIN_PATIENCE, self.drain()).await;
        if drained.is_err() {
            tracing::warn!(patience_s = DRAIN_PATIENCE.as_secs(), "stopping although not everything is durable");
        }
    }

    fn next_tick(&self) -> Instant {
        self.ticked + if self.busy.elapsed() < BUSY_FOR { TICK } else { IDLE_TICK }
    }

    async fn drain(&mut self) {
        self.requests.close();
        self.pass(First::Asked(Request::Tick));
        while !self.backlog.is_empty() || self.view.read(|replica| replica.durable() != replica.seen()) {
            self.store.flush();
            match self.store_events.next().await {
                Some(event) => self.pass(First::Stored(event)),
                None => return,
            }
        }
    }

    /// One pass: what is waiting goes in, what follows is carried out.
    fn pass(&mut self, first: First) {
        let mut inputs = Vec::new();
        // Until the replica has dealt with a message, it counts against its sender's share.
        let mut held = Vec::new();
        match first {
            First::Stored(event) => self.take_event(event, &mut inputs),
            First::Asked(request) => self.take_request(request, &mut inputs),
            First::Heard(message) => {
                self.take_message(message, &mut inputs, &mut held);
            }
        }
        while let Some(event) = self.store_events.try_next() {
            self.take_event(event, &mut inputs);
        }
        if self.backlog.is_empty() {
            self.take_waiting(&mut inputs, &mut held);
        }
        let now = self.view.now();
        let asks_something = inputs.iter().any(is_eventful);
        let (outputs, changed, durable) = self.owner.write(|replica| {
            let before = replica.root();
            let outputs: Vec<_> = inputs.into_iter().flat_map(|input| replica.handle(input, now)).collect();
            (outputs, before != replica.root(), replica.durable().clone())
        });
        drop(held);
        if asks_something || !outputs.iter().all(is_digest) {
            self.busy = Instant::now();
        }
        self.stats.passed_ms.store(now.mono_ms, Ordering::Relaxed);
        self.carry_out(outputs);
        self.waiting.answer_durable(&durable);
        if changed {
            self.generation.send_modify(|generation| *generation += 1);
        }
    }

    /// Takes what waits, of callers and of members.
    fn take_waiting(&mut self, inputs: &mut Vec<Input>, held: &mut Vec<Reply>) {
        while inputs.len() < PASS_REQUESTS_MAX
            && let Ok(request) = self.requests.try_recv()
        {
            self.take_request(request, inputs);
        }
        let mut bytes = 0;
        while inputs.len() < PASS_MAX
            && bytes < PASS_BYTES_MAX
            && let Some(message) = self.messages.try_recv()
        {
            bytes += self.take_message(message, inputs, held);
        }
        while inputs.len() < PASS_MAX
            && let Ok(request) = self.requests.try_recv()
        {
            self.take_request(request, inputs);
        }
    }

    /// Takes what the network tells, and answers how many bytes it had.
    fn take_message(&mut self, event: NetEvent, inputs: &mut Vec<Input>, held: &mut Vec<Reply>) -> usize {
        match event {
            NetEvent::Up { node } => inputs.push(Input::PeerUp(node)),
            NetEvent::Down { node } => inputs.push(Input::PeerDown(node)),
            NetEvent::Message { from, bytes, reply, .. } => {
                held.push(reply);
                match Message::decode(&bytes) {
                    Ok(message) => inputs.push(Input::Receive { from, message }),
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

    fn take_request(&mut self, request: Request, inputs: &mut Vec<Input>) {
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
            Request::Tick => {
                self.ticked = Instant::now();
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

/// Whether something may follow from an input that only the next ticks bring about.
const fn is_eventful(input: &Input) -> bool {
    !matches!(input, Input::Tick | Input::Members(_) | Input::Receive { message: Message::Digest { .. }, .. })
}

const fn is_digest(output: &Output) -> bool {
    matches!(output, Output::Send { message: Message::Digest { .. }, .. })
}
