//! What one member may have of us when it asks for blobs: how many questions at once, how much reading in a second, how much memory.
//!
//! Owns the shares; reads and answers nothing. The invariants: a member that asks as fast as it can has its own share of the reading and
//! no more, and waits for it; what answers take that nobody reads is bounded, and whoever reads gets one through all the same.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use selvedge_sync::id::NodeId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::net::Lane;

/// Bytes read and hashed for one member in a second, in the long run: twice what a gigabit carries, a fifth of a core. What is beyond waits.
const BYTES_PER_SECOND: u64 = 256 * MIB;
/// Bytes at once: two of the largest blobs, their outlines and their chunks.
const BYTES_AT_ONCE: u64 = 256 * MIB;
/// Questions of one member under way until they are answered and the answer is written: twice what an honest one asks at once, so that one
/// that comes back finds room beside what it had asked before.
const UNDER_WAY_MAX: usize = 2 * Lane::Artifact.requests_in_flight_max();
/// Answers with a chunk in memory, of all members together: 64 MiB until they are written. Each member may have one more.
const ANSWERS_MAX: usize = 64;
/// Members with a share, above which those are forgotten whose share is whole.
const KEPT: usize = 64;

const MIB: u64 = 1024 * 1024;

/// The shares of all members. Each costs some hundred bytes, and only members ask.
#[derive(Debug)]
pub(super) struct Rations {
    members: Mutex<BTreeMap<NodeId, Arc<Ration>>>,
    answers: Arc<Semaphore>,
    figures: Arc<Figures>,
}

#[derive(Debug, Default)]
struct Figures {
    delayed: AtomicU64,
    dropped: AtomicU64,
    crowded: AtomicU64,
    charged: AtomicU64,
}

/// One member's share.
#[derive(Debug)]
pub(super) struct Ration {
    under_way: AtomicUsize,
    /// When its allowance would be whole if it asked for nothing more.
    whole_at: Mutex<Instant>,
    /// Whose turn it is to have an outline made, of all its questions.
    outline: Semaphore,
    /// Whose turn it is to read a chunk.
    chunk: Semaphore,
    /// For the one answer that needs no room among those of all.
    answer: Arc<Semaphore>,
}

/// A question of a member, until its answer is written.
#[derive(Debug)]
pub(super) struct Asking {
    ration: Arc<Ration>,
    answers: Arc<Semaphore>,
    figures: Arc<Figures>,
    room: Option<OwnedSemaphorePermit>,
}

impl Default for Rations {
    fn default() -> Self {
        Self { members: Mutex::default(), answers: Arc::new(Semaphore::new(ANSWERS_MAX)), figures: Arc::default() }
    }
}

impl Rations {
    /// Takes note of a question; `None` when its sender has asked too many.
    pub(super) fn begin(&self, from: NodeId) -> Option<Asking> {
        let ration = {
            let mut members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
            if members.len() >= KEPT && !members.contains_key(&from) {
                members.retain(|_, ration| !ration.is_whole());
            }
            Arc::clone(members.entry(from).or_insert_with(|| Arc::new(Ration::new(Instant::now()))))
        };
        if ration.under_way.fetch_add(1, Ordering::AcqRel) >= UNDER_WAY_MAX {
            ration.under_way.fetch_sub(1, Ordering::AcqRel);
            self.figures.dropped.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        let (answers, figures) = (Arc::clone(&self.answers), Arc::clone(&self.figures));
        Some(Asking { ration, answers, figures, room: None })
    }

    /// Questions that had to wait for their sender's share, those that were dropped, and those that had to wait for room.
    pub(super) fn figures(&self) -> (u64, u64, u64) {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (read(&self.figures.delayed), read(&self.figures.dropped), read(&self.figures.crowded))
    }

    /// Bytes that were counted against anybody's share.
    pub(super) fn charged(&self) -> u64 {
        self.figures.charged.load(Ordering::Relaxed)
    }
}

impl Ration {
    fn new(now: Instant) -> Self {
        let whole_at = Mutex::new(now);
        let answer = Arc::new(Semaphore::new(1));
        Self { under_way: AtomicUsize::new(0), whole_at, outline: Semaphore::new(1), chunk: Semaphore::new(1), answer }
    }

    /// Whether it is no different from a new one.
    fn is_whole(&self) -> bool {
        let whole_at = *self.whole_at.lock().unwrap_or_else(PoisonError::into_inner);
        self.under_way.load(Ordering::Acquire) == 0 && whole_at <= Instant::now()
    }

    /// Takes so much of the allowance; from when on it is there.
    fn take(&self, bytes: u64, now: Instant) -> Instant {
        let mut whole_at = self.whole_at.lock().unwrap_or_else(PoisonError::into_inner);
        *whole_at = (*whole_at).max(now) + time_of(bytes);
        now + (*whole_at - now).saturating_sub(time_of(BYTES_AT_ONCE))
    }
}

impl Asking {
    /// Takes so many bytes of the member's allowance, once they are there.
    pub(super) async fn afford(&self, bytes: u64) {
        let now = Instant::now();
        let there = self.take(bytes, now);
        if there > now {
            self.figures.delayed.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep_until(there.into()).await;
        }
    }

    /// Takes what turned out to be needed; whatever the member asks next waits for it.
    pub(super) fn owe(&self, bytes: u64) {
        self.take(bytes, Instant::now());
    }

    fn take(&self, bytes: u64, now: Instant) -> Instant {
        self.figures.charged.fetch_add(bytes, Ordering::Relaxed);
        self.ration.take(bytes, now)
    }

    /// Waits until none of the member's other questions has an outline made.
    pub(super) fn outline_turn(&self) -> &Semaphore {
        &self.ration.outline
    }

    /// Waits until none of the member's other questions reads a chunk.
    pub(super) fn chunk_turn(&self) -> &Semaphore {
        &self.ration.chunk
    }

    /// Waits until there is room for an answer with a chunk; it is taken until this is dropped.
    pub(super) async fn take_room(&mut self) {
        if self.ration.answer.available_permits() == 0 && self.answers.available_permits() == 0 {
            self.figures.crowded.fetch_add(1, Ordering::Relaxed);
        }
        let own = Arc::clone(&self.ration.answer).acquire_owned();
        let shared = Arc::clone(&self.answers).acquire_owned();
        // Closed they never are.
        self.room = tokio::select! {
            biased;
            room = own => room.ok(),
            room = shared => room.ok(),
        };
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.ration.under_way.fetch_sub(1, Ordering::AcqRel);
    }
}

fn time_of(bytes: u64) -> Duration {
    // A bound on what is asked at once keeps this far below what a Duration holds.
    Duration::from_micros(bytes.saturating_mul(1_000_000) / BYTES_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use futures::poll;

    use super::*;

    const A: NodeId = NodeId([1; 32]);
    const B: NodeId = NodeId([2; 32]);

    #[test]
    fn a_burst_is_given_at_once_and_then_the_rate() {
        let start = Instant::now();
        let ration = Ration::new(start);
        let waits = |bytes, now: Instant| ration.take(bytes, now) - now;
        assert_eq!(waits(BYTES_AT_ONCE, start), Duration::ZERO);
        assert_eq!(waits(BYTES_PER_SECOND / 8, start), Duration::from_millis(125));
        assert_eq!(waits(BYTES_PER_SECOND / 8, start), Duration::from_millis(250));
        let later = start + Duration::from_millis(375);
        assert_eq!(waits(BYTES_PER_SECOND / 8, later), Duration::ZERO);
        // What was owed is paid by who asks next.
        waits(2 * BYTES_PER_SECOND, later);
        assert_eq!(waits(0, later), Duration::from_secs(2));
        let much_later = start + Duration::from_hours(1);
        assert_eq!(waits(BYTES_AT_ONCE, much_later), Duration::ZERO, "and it holds no more than it does");
        assert_eq!(waits(BYTES_PER_SECOND, much_later), Duration::from_secs(1));
    }

    #[tokio::test]
    async fn who_has_had_its_share_waits_and_nobody_else_does() {
        let rations = Rations::default();
        let greedy = rations.begin(A).expect("room");
        greedy.owe(BYTES_AT_ONCE + BYTES_PER_SECOND * 3_600);
        assert!(poll!(Box::pin(greedy.afford(0))).is_pending());
        assert!(poll!(Box::pin(rations.begin(B).expect("room").afford(BYTES_AT_ONCE))).is_ready());
        assert_eq!(rations.figures(), (1, 0, 0));
    }

    #[tokio::test]
    async fn what_no_honest_member_asks_is_dropped_and_nobody_elses() {
        let rations = Rations::default();
        let mut asked: Vec<_> = std::iter::from_fn(|| rations.begin(A)).collect();
        assert_eq!(asked.len(), UNDER_WAY_MAX);
        assert!(rations.begin(B).is_some() && rations.begin(A).is_none());
        assert_eq!(rations.figures(), (0, 2, 0));
        asked.pop();
        assert!(rations.begin(A).is_some());
    }

    #[tokio::test]
    async fn answers_that_nobody_reads_leave_everybody_else_one() {
        let rations = Rations::default();
        let mut unread = Vec::new();
        for member in 10..10 + u8::try_from(ANSWERS_MAX / UNDER_WAY_MAX).expect("few") + 1 {
            for _ in 0..UNDER_WAY_MAX {
                let mut asking = rations.begin(NodeId([member; 32])).expect("room");
                if unread.len() < ANSWERS_MAX + usize::from(member - 9) {
                    asking.take_room().await;
                }
                unread.push(asking);
            }
        }
        assert_eq!(rations.answers.available_permits(), 0);
        let (mut first, mut second) = (rations.begin(A).expect("room"), rations.begin(A).expect("room"));
        first.take_room().await;
        let mut waiting = Box::pin(second.take_room());
        assert!(poll!(&mut waiting).is_pending());
        assert_eq!(rations.figures().2, 1);
        drop(first);
        waiting.await;
    }

    #[test]
    fn who_has_asked_nothing_lately_takes_no_memory() {
        let rations = Rations::default();
        for number in 0..10 * KEPT {
            let mut node = [0; 32];
            node[..8].copy_from_slice(&number.to_le_bytes());
            drop(rations.begin(NodeId(node)));
        }
        assert!(rations.members.lock().expect("no panic").len() <= KEPT);
    }
}
