//! The driver: the one loop that owns the replica.
//!
//! Everything that changes replicated state comes through its bounded channel; each pass takes what is waiting, hands it to
//! the replica under one short lock, and carries out the outputs in order: first the store, then answers and messages. While
//! nobody makes a pass and nothing waits, a caller makes the pass for its own commit itself (`driver/handle`). The invariants:
//! the replica is changed in passes, one at a time; while the store's queue is full, no new input is taken.

mod carry;
mod handle;
mod helm;
mod listening;
mod proofs;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use self::carry::{Backlog, Waiting};
pub use self::handle::{DriverError, DriverHandle, DriverStats};
use self::handle::{Request, Stats};
use self::helm::{Helm, Load};
pub use self::listening::ListenError;
use self::listening::Listening;
pub(crate) use self::proofs::{PROOFS, read_proofs};
use crate::events::Events;
use crate::net::{Net, NetEvent, NetEvents};
use crate::store::{Store, StoreEvent, StoreEvents};
use crate::supervisor::Supervisor;
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
const IDLE_TICK: Duration = Duration::from_millis(500);

/// How long after something happened the short tick goes on: longer than anything that ticks lead to by themselves.
const BUSY_FOR: Duration = Duration::from_secs(2);

/// How long a stopping agent waits until what it has acknowledged is durable and pushed.
const DRAIN_PATIENCE: Duration = Duration::from_secs(5);

/// The loop and what it takes from.
pub struct Driver {
    helm: Arc<Mutex<Helm>>,
    inlets: Inlets,
    view: StateView,
    store: Store,
    stats: Arc<Stats>,
    ticked: Instant,
    supervisor: Supervisor,
}

/// What waits for the driver.
struct Inlets {
    store: StoreEvents,
    messages: NetEvents,
    requests: mpsc::Receiver<Request>,
}

/// What begins a pass.
enum First {
    Stored(StoreEvent),
    Asked(Request),
    Heard(NetEvent),
}

/// A pass panicked, in the loop or at a caller. What the replica holds in memory is not to be trusted any more.
#[derive(Debug)]
struct Panicked;

impl Driver {
    /// A driver and the handle to it. `net` comes with what members send on the lane of replication. Nothing happens until [`Driver::run`].
    #[must_use]
    pub fn new(
        owner: StateOwner,
        view: StateView,
        (store, store_events): (Store, StoreEvents),
        (net, messages): (Net, NetEvents),
        events: Events,
        supervisor: Supervisor,
    ) -> (Self, DriverHandle) {
        let (sender, requests) = mpsc::channel(QUEUE_MAX);
        let (generation, changes) = watch::channel(0);
        let stats = Arc::new(Stats::default());
        let helm = Arc::new(Mutex::new(Helm {
            owner,
            view: view.clone(),
            store: store.clone(),
            net,
            requests: sender.clone(),
            generation,
            stats: Arc::clone(&stats),
            waiting: Waiting::default(),
            backlog: Backlog::default(),
            listening: Listening::new(events),
            busy: Instant::now(),
            has_ended: false,
        }));
        let handle = DriverHandle::new(sender, Arc::clone(&helm), changes, Arc::clone(&stats));
        let inlets = Inlets { store: store_events, messages, requests };
        (Self { helm, inlets, view, store, stats, ticked: Instant::now(), supervisor }, handle)
    }

    /// Runs until `stop`, then until what was acknowledged is durable, or patience ends.
    pub async fn run(mut self, stop: CancellationToken) {
        let store = self.store.clone();
        let _hand = AbortOnDropHandle::new(tokio::spawn(async move { store.lend_a_hand().await }));
        while !stop.is_cancelled() {
            let Ok((next_tick, has_room)) = self.outlook() else { return };
            let passed = tokio::select! {
                event = self.inlets.store.next() => match event {
                    Some(event) => self.pass(First::Stored(event)),
                    None => break,
                },
                request = self.inlets.requests.recv(), if has_room => match request {
                    Some(request) => self.pass(First::Asked(request)),
                    None => break,
                },
                message = self.inlets.messages.recv(), if has_room => match message {
                    Some(message) => self.pass(First::Heard(message)),
                    None => break,
                },
                () = tokio::time::sleep_until(next_tick) => self.pass(First::Asked(Request::Tick)),
                () = stop.cancelled() => Ok(()),
            };
            if passed.is_err() {
                return;
            }
            self.supervisor.turned();
        }
        let drained = tokio::time::timeout(DRAIN_PATIENCE, self.drain()).await;
        if drained.is_err() {
            tracing::warn!(patience_s = DRAIN_PATIENCE.as_secs(), "stopping although not everything is durable");
        }
    }

    /// When the next tick is due, and whether new input may be taken.
    fn outlook(&self) -> Result<(Instant, bool), Panicked> {
        let helm = self.helm.lock().map_err(|_| Panicked)?;
        let pause = if helm.busy.elapsed() < BUSY_FOR { TICK } else { IDLE_TICK };
        Ok((self.ticked + pause, helm.has_room()))
    }

    async fn drain(&mut self) -> Result<(), Panicked> {
        self.inlets.requests.close();
        self.pass(First::Asked(Request::Tick))?;
        // What is in the queue was taken with it, a queue that is full apart; callers find the driver gone from now on.
        self.helm.lock().map_err(|_| Panicked)?.has_ended = true;
        while self.owes_something()? {
            self.store.flush();
            match self.inlets.store.next().await {
                Some(event) => self.pass(First::Stored(event))?,
                None => break,
            }
        }
        Ok(())
    }

    /// Whether something is not durable yet.
    fn owes_something(&self) -> Result<bool, Panicked> {
        let is_backed_up = !self.helm.lock().map_err(|_| Panicked)?.backlog.is_empty();
        Ok(is_backed_up || self.view.read(|replica| replica.durable() != replica.seen()))
    }

    /// One pass: what is waiting goes in, what follows is carried out.
    fn pass(&mut self, first: First) -> Result<(), Panicked> {
        let mut helm = self.helm.lock().map_err(|_| Panicked)?;
        let mut load = Load::default();
        match first {
            First::Stored(event) => helm.take_event(event, &mut load),
            First::Asked(request) => {
                if matches!(request, Request::Tick) {
                    self.ticked = Instant::now();
                }
                helm.take_request(request, &mut load);
            }
            First::Heard(message) => {
                helm.take_message(message, &mut load);
            }
        }
        while let Some(event) = self.inlets.store.try_next() {
            helm.take_event(event, &mut load);
        }
        if helm.backlog.is_empty() {
            self.inlets.take_waiting(&mut helm, &mut load);
        }
        helm.pass(load);
        self.stats.passed_ms.store(self.view.now().mono_ms, Ordering::Relaxed);
        Ok(())
    }
}

impl Inlets {
    /// Takes what waits, of callers and of members.
    fn take_waiting(&mut self, helm: &mut Helm, load: &mut Load) {
        while load.inputs.len() < PASS_REQUESTS_MAX
            && let Ok(request) = self.requests.try_recv()
        {
            helm.take_request(request, load);
        }
        let mut bytes = 0;
        while load.inputs.len() < PASS_MAX
            && bytes < PASS_BYTES_MAX
            && let Some(message) = self.messages.try_recv()
        {
            bytes += helm.take_message(message, load);
        }
        while load.inputs.len() < PASS_MAX
            && let Ok(request) = self.requests.try_recv()
        {
            helm.take_request(request, load);
        }
    }
}

#[cfg(test)]
mod tests;
