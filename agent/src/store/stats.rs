//! What the store has done and how it fares.
//!
//! Owns counters; decides nothing. The invariant: counters only grow, and `failing` tells the present.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use super::meter::Meter;
use crate::timing::Timing;

/// What the store has done since it was opened, and how it fares now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Writes that became durable: frames of the log and transactions of the database.
    pub transactions: u64,
    /// Frames of those that the hand wrote which the store was lent, and not its thread.
    pub frames_by_hand: u64,
    /// Syncs to the disk. A frame of the log takes one; a transaction two, one for its content, one for the switch to it.
    pub syncs: u64,
    /// Commits that became durable.
    pub commits: u64,
    /// Bytes written to the disk, amplification included.
    pub bytes_written: u64,
    /// Length of the database, in bytes.
    pub file_bytes: u64,
    /// Segments of the log that may still be needed.
    pub segments: u64,
    /// Bytes of the log in those segments.
    pub log_bytes: u64,
    /// How long the last write took, its sync included, in microseconds.
    pub last_latency_us: u64,
    /// Jobs queued, being written, or done and not yet noticed by the owner.
    pub queue_jobs: usize,
    /// Bytes of commits in those jobs.
    pub queue_bytes: usize,
    /// Why writing fails at present.
    pub failing: Option<String>,
    /// What of the checkpoint was found damaged when the store was opened.
    pub damaged: Option<String>,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) meter: Arc<Meter>,
    pub(super) transactions: AtomicU64,
    pub(super) frames_by_hand: AtomicU64,
    pub(super) commits: AtomicU64,
    pub(super) last_latency_us: AtomicU64,
    pub(super) written: Timing,
    failing: Mutex<Option<String>>,
}

impl Counters {
    /// Notes that writing fails; true when it did not before.
    pub(super) fn become_failing(&self, reason: &str) -> bool {
        self.replace_failing(Some(reason.to_owned())).is_none()
    }

    /// Notes that writing works; true when it did not before.
    pub(super) fn become_working(&self) -> bool {
        self.replace_failing(None).is_some()
    }

    /// Why writing fails at present.
    pub(super) fn failing(&self) -> Option<String> {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn replace_failing(&self, now: Option<String>) -> Option<String> {
        std::mem::replace(&mut *self.failing.lock().unwrap_or_else(PoisonError::into_inner), now)
    }
}
