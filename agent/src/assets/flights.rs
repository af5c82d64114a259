//! Work that many may want at once and that is done once.
//!
//! Owns who waits for what. The invariants: of all who join under one name, one works and the others get what it got; if the one
//! that works goes away, another takes over; nothing is remembered once nobody waits.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OnceCell;

use crate::spec::Digest;

/// What is under way, by digest.
#[derive(Debug)]
pub(super) struct Flights<T> {
    cells: Mutex<BTreeMap<Digest, Arc<OnceCell<T>>>>,
}

impl<T> Default for Flights<T> {
    fn default() -> Self {
        Self { cells: Mutex::default() }
    }
}

/// One who waits.
struct Seat<'a, T> {
    flights: &'a Flights<T>,
    digest: Digest,
    cell: Arc<OnceCell<T>>,
}

impl<T: Clone> Flights<T> {
    /// The result of `work`, or of the same work of somebody who has begun already.
    pub(super) async fn join<F: Future<Output = T>>(&self, digest: Digest, work: impl FnOnce() -> F) -> T {
        let cell = Arc::clone(self.cells().entry(digest).or_default());
        let seat = Seat { flights: self, digest, cell };
        seat.cell.get_or_init(work).await.clone()
    }
}

impl<T> Flights<T> {
    fn cells(&self) -> MutexGuard<'_, BTreeMap<Digest, Arc<OnceCell<T>>>> {
        self.cells.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Drop for Seat<'_, T> {
    fn drop(&mut self) {
        let mut cells = self.flights.cells();
        let is_ours = cells.get(&self.digest).is_some_and(|cell| Arc::ptr_eq(cell, &self.cell));
        // Whoever comes after a result begins anew; a cell without one goes with the last who waits.
        let is_done = self.cell.initialized() || Arc::strong_count(&self.cell) == 2;
        if is_ours && is_done {
            cells.remove(&self.digest);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn many_wait_for_one_and_another_takes_over_when_it_goes_away() {
        let (flights, begun, go) = (Flights::default(), AtomicU32::new(0), Notify::new());
        let digest = Digest::of(b"a");
        let work = || async {
            let number = begun.fetch_add(1, Ordering::Relaxed);
            go.notified().await;
            number
        };
        let mut first = Box::pin(flights.join(digest, work));
        assert!(futures::poll!(&mut first).is_pending());
        let others: Vec<_> = (0..10).map(|_| flights.join(digest, work)).collect();
        let mut others = Box::pin(futures::future::join_all(others));
        assert!(futures::poll!(&mut others).is_pending());
        assert_eq!(begun.load(Ordering::Relaxed), 1);
        drop(first);
        assert!(futures::poll!(&mut others).is_pending());
        assert_eq!(begun.load(Ordering::Relaxed), 2, "another has taken over");
        go.notify_one();
        assert_eq!(others.await, [1; 10]);
        assert!(flights.cells().is_empty());
        go.notify_one();
        assert_eq!(flights.join(digest, work).await, 2, "what is over is not remembered");
        let mut given_up = Box::pin(flights.join(digest, work));
        assert!(futures::poll!(&mut given_up).is_pending());
        drop(given_up);
        assert!(flights.cells().is_empty());
    }
}
