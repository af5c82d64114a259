//! A hand that is lent to the writer: what is small is written by the task that wants it written, while the disk is quick.
//!
//! To wake a thread takes some 30 to 50 µs, and as much again until its report has woken whoever waits. A disk that needs less
//! than that to make a page durable (its cache survives a power cut, or it is memory) is not worth the way. Owns the judgement of
//! the disk, and the turn of whoever lends the hand. The invariants: the writer is had by one at a time, and who has it takes all
//! that waits, in order; what is not certainly quick is the thread's, retries above all.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Store;
use super::queue::Queue;
use super::writer::Lent;

/// How long an append may take to count as quick: what it costs to have it done elsewhere.
const QUICK: Duration = Duration::from_micros(50);

/// Quick appends that make a disk a quick one, and the credit that it has at most.
const CREDIT_MIN: u32 = 16;
const CREDIT_MAX: u32 = 64;

/// How quick the disk has been of late.
#[derive(Debug, Default)]
pub(super) struct Haste {
    credit: u32,
}

impl Haste {
    /// Takes note of an append. One that was slow halves the credit, so that a moment of a busy machine is forgiven and a disk
    /// that is slow is not tried; one that failed ends it.
    pub(super) fn note(&mut self, took: Duration, is_durable: bool) {
        self.credit = match (is_durable, took <= QUICK) {
            (true, true) => (self.credit + 1).min(CREDIT_MAX),
            (true, false) => self.credit / 2,
            (false, _) => 0,
        };
    }

    pub(super) const fn is_quick(&self) -> bool {
        self.credit >= CREDIT_MIN
    }
}

/// Nothing is left to the hand any more once this is dropped, however that comes about.
struct Lending<'a>(&'a Queue);

impl<'a> Lending<'a> {
    fn begin(queue: &'a Queue) -> Self {
        queue.set_lent(true);
        Self(queue)
    }
}

impl Drop for Lending<'_> {
    fn drop(&mut self) {
        self.0.set_lent(false);
    }
}

impl Store {
    /// Lends a hand for as long as it is polled. To be run as a task of its own, because a disk that was quick may hang: then
    /// this task does, and nobody else. The store does without it.
    pub async fn lend_a_hand(&self) {
        let queue = &self.shared.queue;
        let _lending = Lending::begin(queue);
        loop {
            queue.stirred().await;
            // One write, then a pause: its report has woken whoever waits, perhaps on this very thread, and a disk that hangs at the
            // next write must find them gone.
            while write_what_is_light(&self.shared.writer, queue) {
                tokio::task::yield_now().await;
            }
        }
    }

    /// To be called once appends were queued and nothing more urgent is left to do: what is left to the hand is written now.
    pub fn stir(&self) {
        self.shared.queue.stir();
    }
}

/// Writes what waits, if that is little, and tells whether it did. What is left is the thread's.
fn write_what_is_light(lent: &Lent, queue: &Queue) -> bool {
    // If the thread is at it, it will find what waits.
    let Ok(mut writer) = lent.try_lock() else { return false };
    let Some(open) = writer.as_mut() else { return false };
    let Some(jobs) = queue.take_light() else { return false };
    let written = open.write(&jobs);
    queue.set_quick(open.haste.is_quick());
    match written {
        Ok(()) => {
            open.counters.frames_by_hand.fetch_add(1, Ordering::Relaxed);
            queue.done(jobs);
            true
        }
        Err(error) => {
            tracing::debug!(%error, "a small write failed; the store's own thread tries again");
            queue.put_back(jobs);
            false
        }
    }
}
