//! What happens on this agent, told to whoever listens.
//!
//! Owns the bus: the last events in order, who listens, and which prefixes the replica is to watch for them. Decides nothing
//! about state; the driver records commits, the gossip members and placements. The invariants: recording never waits for a
//! listener; a listener hears every event that it asked for, in order and once, or is told that it missed some.

mod feed;
mod interests;
mod journal;
mod mesh;
mod ring;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use selvedge_sync::replica::KeyPrefix;
use tokio::sync::watch;

use self::interests::Interests;
use self::journal::Journal;
pub use self::mesh::{LOST, Mesh};
use self::ring::Ring;
use crate::service::{CommitEvent, Event, EventId, Kinds, Notice, Notices, PastEvent};

/// Listeners at once. Each costs a task and a connection, and looks at every event that is recorded.
const LISTENERS_MAX: usize = 64;

/// Those among them who came by a way that takes no right: the other half of the places is kept for who has one.
const LISTENERS_OPEN_MAX: usize = LISTENERS_MAX / 2;

/// How long a prefix stays watched after its last listener has gone: whoever comes back within it has missed nothing.
const LINGER: Duration = Duration::from_secs(60);

/// How long to wait for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Silence after which a listener is told how far it has heard, so that connections stay open and ids stay young.
    pub keep_alive: Duration,
    /// How long a listener may take nothing before it is dropped.
    pub stalled: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { keep_alive: Duration::from_secs(15), stalled: Duration::from_secs(30) }
    }
}

/// The bus. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Events {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    life: u64,
    patience: Patience,
    bus: Mutex<Bus>,
    /// Where the next event goes; changes whenever one was recorded.
    head: watch::Sender<u64>,
    listeners: AtomicUsize,
    /// Those of them who came by a way that takes no right.
    open: AtomicUsize,
    counts: Counts,
}

#[derive(Debug, Default)]
struct Bus {
    ring: Ring,
    interests: Interests,
    journal: Journal,
}

#[derive(Debug, Default)]
struct Counts {
    recorded: AtomicU64,
    refused: AtomicU64,
    lagged: AtomicU64,
    stalled: AtomicU64,
    values_left_out: AtomicU64,
}

/// What the bus counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventStats {
    /// Who listens now.
    pub listeners: u64,
    /// Events recorded.
    pub recorded: u64,
    /// Listeners turned away, because there were enough.
    pub refused: u64,
    /// Listeners dropped because they fell behind the events that are kept.
    pub lagged: u64,
    /// Listeners dropped because they took nothing for [`Patience::stalled`].
    pub stalled: u64,
    /// Values left out of events because they are too large.
    pub values_left_out: u64,
}

/// There is no place for another listener. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TooManyListeners {
    /// There are as many as there may be.
    #[error("{LISTENERS_MAX} listeners hear events already")]
    All,
    /// There are as many as there may be by a way that takes no right.
    #[error(
        "{LISTENERS_OPEN_MAX} listeners hear events over TCP already; the other places are kept for the unix socket"
    )]
    Open,
}

/// Somebody who wants to hear of events. While it lives, the prefix of the commits that it wants stays watched.
#[derive(Debug)]
pub struct Interest {
    events: Events,
    by_right: bool,
    watched: Option<Watched>,
}

/// What is to be watched for somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    /// The prefix.
    pub prefix: KeyPrefix,
    /// The name of the watch.
    pub watch: u64,
}

impl Events {
    /// A bus of this life of the agent.
    #[must_use]
    pub fn new(life: u64, patience: Patience) -> Self {
        let bus = Mutex::default();
        let (listeners, open, counts) = Default::default();
        let shared = Shared { life, patience, bus, head: watch::channel(ring::FIRST).0, listeners, open, counts };
        Self { shared: Arc::new(shared) }
    }

    /// Announces a listener that wants commits under `prefix`, or none at all, and came `by_right`, or by a way that takes none. Before it
    /// hears anything, the replica has to watch what [`Interest::watched`] names, if there is something, and the bus has to be told by
    /// [`Events::began`].
    ///
    /// # Errors
    /// There are too many.
    pub fn interest(&self, prefix: Option<KeyPrefix>, by_right: bool) -> Result<Interest, TooManyListeners> {
        if let Err(error) = self.seat(by_right) {
            self.shared.counts.refused.fetch_add(1, Ordering::Relaxed);
            return Err(error);
        }
        let watched = prefix.map(|prefix| Watched { watch: self.bus().interests.join(&prefix), prefix });
        Ok(Interest { events: self.clone(), by_right, watched })
    }

    /// Takes a place.
    fn seat(&self, by_right: bool) -> Result<(), TooManyListeners> {
        let taken = |of: &AtomicUsize, most| {
            let room = |count| (count < most).then_some(count + 1);
            of.fetch_update(Ordering::SeqCst, Ordering::SeqCst, room).is_ok()
        };
        if !by_right && !taken(&self.shared.open, LISTENERS_OPEN_MAX) {
            return Err(TooManyListeners::Open);
        }
        if !taken(&self.shared.listeners, LISTENERS_MAX) {
            self.leave_open(by_right);
            return Err(TooManyListeners::All);
        }
        Ok(())
    }

    fn leave_open(&self, by_right: bool) {
        if !by_right {
            self.shared.open.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// The replica watches from here on: what it tells is recorded after everything that has been recorded so far.
    pub fn began(&self, watch: u64) {
        let mut bus = self.bus();
        let Bus { ring, interests, .. } = &mut *bus;
        interests.began(watch, || ring.skip());
    }

    /// Records what happened.
    pub fn record(&self, events: impl IntoIterator<Item = Event>) {
        let mut bus = self.bus();
        let before = bus.ring.next();
        for event in events.into_iter().map(Arc::new) {
            let position = bus.ring.next();
            bus.journal.note(position, &event);
            bus.ring.push(event);
        }
        let next = bus.ring.next();
        drop(bus);
        if next > before {
            self.shared.counts.recorded.fetch_add(next - before, Ordering::Relaxed);
            self.shared.head.send_replace(next);
        }
    }

    /// The last events other than commits, the latest first. Those outlive the ring, which commits pass through quickly.
    #[must_use]
    pub fn past(&self) -> Vec<PastEvent> {
        let entries = self.bus().journal.latest_first();
        let told = |(position, at_ms, event): (u64, u64, Arc<Event>)| PastEvent {
            id: self.id(position),
            at_ms,
            kind: event.name(),
            event,
        };
        entries.into_iter().map(told).collect()
    }

    /// Counts values that were too large for an event.
    pub fn count_left_out(&self, values: u64) {
        self.shared.counts.values_left_out.fetch_add(values, Ordering::Relaxed);
    }

    /// Watches that nobody needs any more.
    #[must_use]
    pub fn take_ended(&self) -> Vec<u64> {
        self.bus().interests.take_ended(Instant::now())
    }

    /// What the bus counts.
    #[must_use]
    pub fn stats(&self) -> EventStats {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let counts = &self.shared.counts;
        EventStats {
            listeners: self.shared.listeners.load(Ordering::Relaxed) as u64,
            recorded: of(&counts.recorded),
            refused: of(&counts.refused),
            lagged: of(&counts.lagged),
            stalled: of(&counts.stalled),
            values_left_out: of(&counts.values_left_out),
        }
    }

    fn bus(&self) -> MutexGuard<'_, Bus> {
        self.shared.bus.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn id(&self, position: u64) -> EventId {
        EventId { life: self.shared.life, position }
    }
}

impl Interest {
    /// What is to be watched; `None` for a listener that wants no commits.
    #[must_use]
    pub const fn watched(&self) -> Option<&Watched> {
        self.watched.as_ref()
    }

    /// Whether events from this position on were recorded for it without a gap.
    fn covers(&self, interests: &Interests, position: u64) -> bool {
        let since = |watched: &Watched| interests.since(&watched.prefix).is_some_and(|since| since <= position);
        self.watched.as_ref().is_none_or(since)
    }

    /// Begins to listen to events of these kinds: to what happens from now on, or to what happened after the event named
    /// `after`.
    #[must_use]
    pub fn listen(self, after: Option<&str>, kinds: Kinds) -> Notices {
        let shared = Arc::clone(&self.events.shared);
        // Subscribed before the position is taken, so that nothing is recorded in between unnoticed.
        let head = shared.head.subscribe();
        let (position, missed) = self.position(after);
        let opening =
            Notice { id: self.events.id(position - 1), event: missed.map(|reason| Arc::new(Event::Reset { reason })) };
        feed::start(feed::Listener { interest: self, kinds, position, head }, opening)
    }

    /// Where to begin, and what to say if that is not where the caller has left off.
    fn position(&self, after: Option<&str>) -> (u64, Option<&'static str>) {
        let bus = self.events.bus();
        let now = bus.ring.next();
        let Some(after) = after else { return (now, None) };
        let resumed = match after.parse::<EventId>() {
            Err(_) => Err("the id is none of this agent's: read what there is now"),
            Ok(id) if id.life != self.events.shared.life => {
                Err("the agent has restarted since: read what there is now")
            }
            Ok(id) if id.position >= now => Err("the id names an event that has not happened: read what there is now"),
            Ok(id) => {
                let wanted = id.position + 1;
                let watched = self.covers(&bus.interests, wanted);
                let kept = wanted >= bus.ring.first();
                if watched && kept {
                    Ok(wanted)
                } else {
                    Err("the events since then are not kept: read what there is now")
                }
            }
        };
        match resumed {
            Ok(position) => (position, None),
            Err(reason) => (now, Some(reason)),
        }
    }
}

impl Drop for Interest {
    fn drop(&mut self) {
        if let Some(Watched { prefix, .. }) = &self.watched {
            self.events.bus().interests.leave(prefix, Instant::now());
        }
        self.events.shared.listeners.fetch_sub(1, Ordering::SeqCst);
        self.events.leave_open(self.by_right);
    }
}

/// The part of an event that somebody wants to hear who wants these kinds and watches `prefix`.
fn wanted(event: &Arc<Event>, prefix: Option<&KeyPrefix>, kinds: &Kinds) -> Option<Arc<Event>> {
    if !kinds.include(event) {
        return None;
    }
    let Event::Commit(commit) = &**event else { return Some(Arc::clone(event)) };
    let prefix = prefix?;
    let covered = commit.changes.iter().filter(|change| prefix.covers(&change.key)).count();
    if covered == commit.changes.len() {
        return Some(Arc::clone(event));
    }
    let changes: Vec<_> = commit.changes.iter().filter(|change| prefix.covers(&change.key)).cloned().collect();
    (covered > 0).then(|| Arc::new(Event::Commit(CommitEvent { changes, ..*commit })))
}

#[cfg(test)]
mod tests;
