//! What happens to assets, in numbers.
//!
//! Owns counters and the document made from them; decides nothing.

use std::sync::atomic::{AtomicU64, Ordering};

/// What has happened so far.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) hits_memory: AtomicU64,
    pub(super) hits_disk: AtomicU64,
    pub(super) misses: AtomicU64,
    pub(super) fetched: AtomicU64,
    pub(super) fetched_bytes: AtomicU64,
    pub(super) fetches_failed: AtomicU64,
    pub(super) evicted_memory: AtomicU64,
    pub(super) evicted_disk: AtomicU64,
    pub(super) damaged: AtomicU64,
    pub(super) not_kept: AtomicU64,
    pub(super) disk_failed: AtomicU64,
}

impl Tally {
    /// What has been counted so far; what is held now is not known here.
    pub(super) fn stats(&self) -> AssetStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        AssetStats {
            hits_memory: read(&self.hits_memory),
            hits_disk: read(&self.hits_disk),
            misses: read(&self.misses),
            fetched: read(&self.fetched),
            fetched_bytes: read(&self.fetched_bytes),
            fetches_failed: read(&self.fetches_failed),
            evicted_memory: read(&self.evicted_memory),
            evicted_disk: read(&self.evicted_disk),
            damaged: read(&self.damaged),
            not_kept: read(&self.not_kept),
            disk_failed: read(&self.disk_failed),
            ..AssetStats::default()
        }
    }
}

/// What has been counted so far, and what is held now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AssetStats {
    /// Requests answered from memory.
    pub hits_memory: u64,
    /// Requests answered from disk.
    pub hits_disk: u64,
    /// Requests for what was not on this host.
    pub misses: u64,
    /// Assets that other members gave.
    pub fetched: u64,
    /// Their bytes.
    pub fetched_bytes: u64,
    /// Fetches that failed.
    pub fetches_failed: u64,
    /// Assets that left memory for others.
    pub evicted_memory: u64,
    /// Copies that left the disk for others.
    pub evicted_disk: u64,
    /// Files that were damaged, and removed.
    pub damaged: u64,
    /// Copies for which there was no room on disk.
    pub not_kept: u64,
    /// Reads and writes at which the disk failed.
    pub disk_failed: u64,
    /// Bytes in memory.
    pub memory_bytes: u64,
    /// Bytes of uploads on disk.
    pub upload_bytes: u64,
    /// Bytes of copies on disk.
    pub copy_bytes: u64,
    /// What became of the wishes of workloads.
    pub wishes: WishStats,
}

/// What became of the wishes of workloads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WishStats {
    /// For what was here already.
    pub here: u64,
    /// That were queued.
    pub queued: u64,
    /// For what was wished for a moment ago.
    pub repeated: u64,
    /// For which the queue had no room.
    pub dropped: u64,
}

pub(super) fn add(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}
