//! The driver: the one loop that owns the replica.
//!
//! Everything that changes replicated state comes through its bounded channel; each pass takes what is waiting, hands it to
//! the replica under short locks (`driver/core`), and carries out the outputs in order: first the store, then answers and messages
//! (`driver/helm`). A caller gives its own commit to the replica itself while nothing waits, and carries out what follows if nobody
//! is at it (`driver/handle`). The invariants: outputs are carried out in the order in which they were decided, by one at a time;
//! while the store's queue is full, no new input is taken.

mod carry;
mod core;
mod handle;
mod helm;
mod listening;
mod proofs;
mod waiting;

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use selvedge_sync::replica::Input;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use self::carry::Backlog;
use self::core::Core;
pub use self::handle::{Begun, DriverError, DriverHandle, DriverStats};
use self::handle::{Request, Stats};
use self::helm::Helm;
pub use self::listening::ListenError;
use self::listening::Listening;
pub(crate) use self::proofs::{PROOFS, read_proofs};
use self::waiting::Waiting;
use crate::events::Events;
use crate::net::{Net, NetEvent, NetEvents};
use crate::store::{Store, StoreEvent, StoreEvents};
use crate::supervisor::Supervisor;
use crate::view::{StateOwner, StateView};

/// Requests that may wait for the driver. At the hundred thousand a second that it takes, this is 40 ms.
const QUEUE_MAX: usize = 4096;

/// Requests taken in one pass, and so under one lock: enough to share a sync to disk, few enough that readers never wait long.
const PASS_REQUESTS_MAX: usize = 64;

/// Messages taken in one pass, each under a lock of its own.
const PASS_MESSAGES_MAX: usize = 128;

/// Bytes of messages taken in one pass, unless one alone is larger: what a member sends holds up nobody for long.
const PASS_BYTES_MAX: usize = 256 * 1024;

/// How often the replica is told that time has passed.
const TICK: Duration = Duration::from_millis(50);

/// The same while nothing but digests goes back and forth: waking up is most of what an idle agent costs.
const IDLE_TICK: Duration = Duration::from_millis(500);

/// How long after something happened the short tick goes on: longer than anything that ticks lead to by themselves.
const BUSY_FOR: Duration = Duration::from_secs(2);

/// How long it may take at the end until what was acknowledged is durable, before that is worth a word.
const SLOW_DRAIN: Duration = Duration::from_secs(5);

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
    /// Something that was heard before had to wait.
    Left,
    Stored(StoreEvent),
    Asked(Request),
    Heard(NetEvent),
}

/// What the loop is about to wait for.
struct Outlook {
    next_tick: Instant,
    /// New input may be taken.
    has_room: bool,
    /// Something that was heard has to be given to the replica yet.
    has_left: bool,
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
        let core = Arc::new(Mutex::new(Core::new(owner, view.clone())));
        let helm = Arc::new(Mutex::new(Helm {
            core: Arc::clone(&core),
            said_room: true,
            view: view.clone(),
            store: store.clone(),
            net,
            requests: sender.clone(),
            generation,
            stats: Arc::clone(&stats),
            waiting: Waiting::default(),
            backlog: Backlog::default(),
            heard: VecDeque::new(),
            listening: Listening::new(events),
            busy: Instant::now(),
            has_ended: false,
        }));
        let handle = DriverHandle::new(sender, (core, Arc::clone(&helm)), changes, Arc::clone(&stats));
        let inlets = Inlets { store: store_events, messages, requests };
        (Self { helm, inlets, view, store, stats, ticked: Instant::now(), supervisor }, handle)
    }

    /// Runs until `stop`, then until what was acknowledged is durable, however long the disk takes: how long to wait for that is for
    /// whoever stops it.
    pub async fn run(mut self, stop: CancellationToken) {
        let store = self.store.clone();
        let _hand = AbortOnDropHandle::new(tokio::spawn(async move { store.lend_a_hand().await }));
        while !stop.is_cancelled() {
            let Ok(Outlook { next_tick, has_room, has_left }) = self.outlook() else { return };
            let passed = tokio::select! {
                event = self.inlets.store.next() => match event {
                    Some(event) => self.pass(First::Stored(event)),
                    None => break,
                },
                request = self.inlets.requests.recv(), if has_room => match request {
                    Some(request) => self.pass(First::Asked(request)),
                    None => break,
                },
                message = self.inlets.messages.recv(), if has_room && !has_left => match message {
                    Some(message) => self.pass(First::Heard(message)),
                    None => break,
                },
                () = tokio::task::yield_now(), if has_room && has_left => self.pass(First::Left),
                () = tokio::time::sleep_until(next_tick) => self.pass(First::Asked(Request::Tick)),
                () = stop.cancelled() => Ok(()),
            };
            if passed.is_err() {
                return;
            }
            self.supervisor.turned();
        }
        if self.drain().await.is_err() {
            tracing::error!("a pass panicked; what was acknowledged last may not be durable");
        }
    }

    /// What there is to wait for.
    fn outlook(&self) -> Result<Outlook, Panicked> {
        let helm = self.helm.lock().map_err(|_| Panicked)?;
        let pause = if helm.busy.elapsed() < BUSY_FOR { TICK } else { IDLE_TICK };
        Ok(Outlook { next_tick: self.ticked + pause, has_room: helm.has_room(), has_left: !helm.heard.is_empty() })
    }

    async fn drain(&mut self) -> Result<(), Panicked> {
        self.inlets.requests.close();
        self.pass(First::Asked(Request::Tick))?;
        // What is in the queue was taken with it, a queue that is full apart; callers find the driver gone from now on.
        self.helm.lock().map_err(|_| Panicked)?.become_ended()?;
        let (begun, mut is_told) = (Instant::now(), false);
        while self.owes_something()? {
            self.store.flush();
            match tokio::time::timeout(IDLE_TICK, self.inlets.store.next()).await {
                Ok(Some(event)) => self.pass(First::Stored(event))?,
                Ok(None) => break,
                Err(_) if !is_told && begun.elapsed() >= SLOW_DRAIN => {
                    is_told = true;
                    tracing::warn!("the disk has not taken everything that was acknowledged; the stop waits for it");
                }
                Err(_) => {}
            }
            self.supervisor.turned();
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
        let (mut inputs, has_left) = (Vec::new(), !helm.heard.is_empty());
        match first {
            First::Left => {}
            First::Stored(event) => helm.take_event(event, &mut inputs),
            First::Asked(request) => {
                if matches!(request, Request::Tick) {
                    self.ticked = Instant::now();
                }
                helm.take_request(request, &mut inputs);
            }
            First::Heard(message) => {
                helm.take_message(message);
            }
        }
        while let Some(event) = self.inlets.store.try_next() {
            helm.take_event(event, &mut inputs);
        }
        if helm.backlog.is_empty() {
            self.inlets.take_requests(&mut helm, &mut inputs);
            // At once: while they are in no queue, a caller's commit that comes later is not to come before them.
            let begun = Instant::now();
            helm.give(inputs)?;
            let spent = begun.elapsed();
            // In order: what members have sent before comes first.
            if !has_left {
                self.inlets.take_messages(&mut helm);
            }
            helm.whole_pass(spent)?;
        } else {
            helm.pass(inputs)?;
        }
        self.stats.passed_ms.store(self.view.now().mono_ms, Ordering::Relaxed);
        Ok(())
    }
}

impl Inlets {
    fn take_requests(&mut self, helm: &mut Helm, inputs: &mut Vec<Input>) {
        while inputs.len() < PASS_REQUESTS_MAX
            && let Ok(request) = self.requests.try_recv()
        {
            helm.take_request(request, inputs);
        }
    }

    fn take_messages(&mut self, helm: &mut Helm) {
        let mut bytes = 0;
        while helm.heard.len() < PASS_MESSAGES_MAX
            && bytes < PASS_BYTES_MAX
            && let Some(message) = self.messages.try_recv()
        {
            bytes += helm.take_message(message);
        }
    }
}

#[cfg(test)]
mod tests;
