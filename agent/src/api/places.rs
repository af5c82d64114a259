//! Who is connected: places, and who gives one up when there are none left.
//!
//! Owns the count and what is known of each connection between its requests; ends none itself. Anybody on this host may connect over TCP and
//! ask something harmless now and then, and would so keep a place for ever. The invariant: while any connection waits for its other side to
//! ask, a newcomer finds a place. First go those that never showed the token, then those that have been silent for longest.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::limits::{CONNECTIONS_MAX, ROOM_LOOK};

/// What stands for "a request is being answered" where otherwise it is said since when there is none.
const BUSY: u64 = 0;

/// The places of one kind of socket.
#[derive(Debug)]
pub(super) struct Places {
    free: Arc<Semaphore>,
    taken: Mutex<Taken>,
    begun: Instant,
}

#[derive(Debug, Default)]
struct Taken {
    next: u64,
    places: BTreeMap<u64, Arc<Place>>,
}

/// What is known of one connection.
#[derive(Debug)]
pub(super) struct Place {
    begun: Instant,
    /// Since when no request is being answered, in milliseconds after `begun` and one; or [`BUSY`].
    idle_since: AtomicU64,
    /// It showed the token.
    is_trusted: AtomicBool,
    /// Bytes of the next request have come.
    is_heard: AtomicBool,
    leave: CancellationToken,
}

/// A place that is taken for as long as this lives.
#[derive(Debug)]
pub(super) struct Seat {
    places: Arc<Places>,
    number: u64,
    place: Arc<Place>,
    _permit: OwnedSemaphorePermit,
}

/// A request that is being answered for as long as this lives.
#[derive(Debug)]
pub(super) struct Turn(Arc<Place>);

/// The body of an answer, at whose end the request is answered.
#[derive(Debug)]
pub(super) struct Answering {
    body: Body,
    _turn: Turn,
}

impl Places {
    pub(super) fn new() -> Arc<Self> {
        let free = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        Arc::new(Self { free, taken: Mutex::default(), begun: Instant::now() })
    }

    /// A place for a connection that has come. Where there is none, somebody who says nothing at present is asked to leave.
    pub(super) async fn seat(self: &Arc<Self>) -> Seat {
        let permit = loop {
            if let Ok(permit) = Arc::clone(&self.free).try_acquire_owned() {
                break permit;
            }
            self.ask_one_to_leave();
            let freed = tokio::time::timeout(ROOM_LOOK, Arc::clone(&self.free).acquire_owned());
            if let Ok(permit) = freed.await {
                break permit.expect("the semaphore is never closed");
            }
        };
        let place = Arc::new(Place::new(self.begun));
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let number = taken.next;
        taken.next += 1;
        taken.places.insert(number, Arc::clone(&place));
        Seat { places: Arc::clone(self), number, place, _permit: permit }
    }

    /// Whether half of all places are taken.
    pub(super) fn is_crowded(&self) -> bool {
        self.free.available_permits() < CONNECTIONS_MAX / 2
    }

    fn ask_one_to_leave(&self) {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = taken.places.values().filter(|place| place.is_idle() && !place.leave.is_cancelled());
        if let Some(first) = idle.min_by_key(|place| place.rank()) {
            first.leave.cancel();
        }
    }
}

impl Place {
    pub(super) fn new(begun: Instant) -> Self {
        let place = Self {
            begun,
            idle_since: AtomicU64::new(BUSY),
            is_trusted: AtomicBool::new(false),
            is_heard: AtomicBool::new(false),
            leave: CancellationToken::new(),
        };
        place.become_idle();
        place
    }

    /// Its other side showed the token.
    pub(super) fn trust(&self) {
        self.is_trusted.store(true, Ordering::Relaxed);
    }

    /// Bytes came.
    pub(super) fn heard(&self) {
        self.is_heard.store(true, Ordering::Relaxed);
    }

    /// Whether bytes came since the last answer.
    pub(super) fn is_heard(&self) -> bool {
        self.is_heard.load(Ordering::Relaxed)
    }

    pub(super) fn is_idle(&self) -> bool {
        self.idle_since.load(Ordering::Relaxed) != BUSY
    }

    /// A request has come.
    pub(super) fn turn(self: &Arc<Self>) -> Turn {
        self.idle_since.store(BUSY, Ordering::Relaxed);
        Turn(Arc::clone(self))
    }

    /// Comes when somebody else needs the place.
    pub(super) async fn displaced(&self) {
        self.leave.cancelled().await;
    }

    /// Who leaves first has the least.
    fn rank(&self) -> (bool, u64) {
        (self.is_trusted.load(Ordering::Relaxed), self.idle_since.load(Ordering::Relaxed))
    }

    fn become_idle(&self) {
        self.is_heard.store(false, Ordering::Relaxed);
        let since = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1);
        self.idle_since.store(since, Ordering::Relaxed);
    }
}

impl Seat {
    pub(super) const fn place(&self) -> &Arc<Place> {
        &self.place
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.places.taken.lock().unwrap_or_else(PoisonError::into_inner).places.remove(&self.number);
    }
}

impl Turn {
    /// Lasts until all of `body` was written, or nobody wants it any more.
    pub(super) const fn until_end_of(self, body: Body) -> Answering {
        Answering { body, _turn: self }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.become_idle();
    }
}

impl hyper::body::Body for Answering {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who of these is asked to leave: the number of one, or nobody.
    fn asked(places: &Places, seats: &[Seat]) -> Option<usize> {
        places.ask_one_to_leave();
        seats.iter().position(|seat| seat.place.leave.is_cancelled())
    }

    #[tokio::test]
    async fn who_is_answered_stays_and_who_showed_the_token_leaves_last() {
        let places = Places::new();
        let mut seats = Vec::new();
        for since in [30, 10, 20, 5] {
            let seat = places.seat().await;
            seat.place.idle_since.store(since, Ordering::Relaxed);
            seats.push(seat);
        }
        seats[1].place.trust();
        let turn = seats[3].place.turn();
        for expect in [20, 30, 10] {
            let index = asked(&places, &seats).expect("somebody is idle");
            assert_eq!(seats.remove(index).place.idle_since.load(Ordering::Relaxed), expect);
        }
        assert_eq!(asked(&places, &seats), None, "the last one is being answered");
        drop(turn);
        assert_eq!(asked(&places, &seats), Some(0));
        drop(seats);
        assert_eq!(places.free.available_permits(), CONNECTIONS_MAX);
        assert!(places.taken.lock().expect("no panic").places.is_empty());
    }
}
