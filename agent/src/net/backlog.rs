//! How much a peer has handed to this agent that is not dealt with yet.
//!
//! Owns two counts, frames and bytes, the permits that give them back, and the wakers of those who wait for room. The
//! invariant: what one peer can make this agent hold is bounded, however slowly the agent takes it; a waiter is woken by the
//! next permit that is dropped.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Waker;

use super::lock;

/// Questions of one peer that may await their answer at once: every one that it may ask on all lanes.
pub(super) const ASKS_MAX: usize = 256;

/// Bytes of those questions: a few of the largest, or very many ordinary ones.
const ASKS_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Hints of one peer on one lane that may wait for the consumer. Few, so that nobody's are old when they are read; the
/// consumer takes as many in a millisecond.
pub(super) const HINTS_MAX: usize = 64;

/// Bytes of those hints, above which no further one is read: one of the largest may come on top.
pub(super) const HINTS_BYTES_MAX: usize = 1024 * 1024;

/// The same for whoever is slowed.
const SLOWED_HINTS_MAX: usize = 4;

/// What one peer's unhandled frames take.
#[derive(Debug)]
pub(super) struct Backlog {
    frames: AtomicUsize,
    bytes: AtomicUsize,
    frames_max: usize,
    bytes_max: usize,
    is_slowed: AtomicBool,
    waiting: Mutex<Vec<Waker>>,
}

/// Room for one frame, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Permit {
    backlog: Arc<Backlog>,
    bytes: usize,
}

impl Backlog {
    fn new(frames_max: usize, bytes_max: usize) -> Arc<Self> {
        Arc::new(Self {
            frames: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            frames_max,
            bytes_max,
            is_slowed: AtomicBool::new(false),
            waiting: Mutex::default(),
        })
    }

    /// For questions.
    pub(super) fn of_asks() -> Arc<Self> {
        Self::new(ASKS_MAX, ASKS_BYTES_MAX)
    }

    /// For the hints of one lane.
    pub(super) fn of_hints() -> Arc<Self> {
        Self::new(HINTS_MAX, HINTS_BYTES_MAX)
    }

    /// Room for a frame of `bytes`, or `None`. The bytes may exceed the bound by one frame, which is bounded by its lane; so
    /// may as many frames as there are tasks that take at once, which are the links to one peer.
    pub(super) fn take(self: &Arc<Self>, bytes: usize) -> Option<Permit> {
        let frames_max = if self.is_slowed() { SLOWED_HINTS_MAX } else { self.frames_max };
        if self.frames.load(Ordering::Acquire) >= frames_max || self.bytes.load(Ordering::Acquire) >= self.bytes_max {
            return None;
        }
        self.frames.fetch_add(1, Ordering::AcqRel);
        self.bytes.fetch_add(bytes, Ordering::AcqRel);
        Some(Permit { backlog: Arc::clone(self), bytes })
    }

    /// Like [`Self::take`]; where there is no room, `waker` is woken when there is again.
    pub(super) fn take_or_wait(self: &Arc<Self>, bytes: usize, waker: &Waker) -> Option<Permit> {
        if let Some(permit) = self.take(bytes) {
            return Some(permit);
        }
        let mut waiting = lock(&self.waiting);
        if !waiting.iter().any(|other| other.will_wake(waker)) {
            waiting.push(waker.clone());
        }
        // A permit that was dropped before the lock was taken woke nobody.
        self.take(bytes)
    }

    pub(super) fn is_slowed(&self) -> bool {
        self.is_slowed.load(Ordering::Relaxed)
    }

    pub(super) fn set_slowed(&self, is_slowed: bool) {
        self.is_slowed.store(is_slowed, Ordering::Relaxed);
    }

    /// Frames and bytes that are taken.
    pub(super) fn held(&self) -> (usize, usize) {
        (self.frames.load(Ordering::Acquire), self.bytes.load(Ordering::Acquire))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.backlog.frames.fetch_sub(1, Ordering::AcqRel);
        self.backlog.bytes.fetch_sub(self.bytes, Ordering::AcqRel);
        let waiting = std::mem::take(&mut *lock(&self.backlog.waiting));
        waiting.into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    use super::*;

    #[test]
    fn frames_and_bytes_are_bounded_and_given_back() {
        let backlog = Backlog::of_asks();
        let permits: Vec<_> = std::iter::from_fn(|| backlog.take(0)).collect();
        assert_eq!(permits.len(), ASKS_MAX);
        drop(permits);
        let whole = backlog.take(ASKS_BYTES_MAX);
        assert!(whole.is_some() && backlog.take(1).is_none());
        drop(whole);
        assert!(backlog.take(1).is_some());
        assert_eq!(backlog.held(), (0, 0));
    }

    #[test]
    fn who_is_slowed_has_less_room() {
        let backlog = Backlog::of_hints();
        backlog.set_slowed(true);
        let permits: Vec<_> = std::iter::from_fn(|| backlog.take(1)).collect();
        assert_eq!(permits.len(), SLOWED_HINTS_MAX);
        backlog.set_slowed(false);
        assert!(backlog.take(1).is_some());
    }

    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::AcqRel);
        }
    }

    #[test]
    fn a_waiter_is_woken_once_when_there_is_room() {
        let (backlog, count) = (Backlog::of_hints(), Arc::new(Count(AtomicUsize::new(0))));
        let waker = Waker::from(Arc::clone(&count));
        let mut permits: Vec<_> = std::iter::from_fn(|| backlog.take(0)).collect();
        assert!(backlog.take_or_wait(0, &waker).is_none() && backlog.take_or_wait(0, &waker).is_none());
        permits.truncate(3);
        assert_eq!(count.0.load(Ordering::Acquire), 1);
        assert!(backlog.take_or_wait(0, &waker).is_some());
    }
}
