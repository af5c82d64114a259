//! Figures about what the agent takes of its host, and what is left of it.

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::set;
use crate::resources::Own;
use crate::store::StoreStats;

type Whole = Gauge<u64, AtomicU64>;

/// What is told of the process and of the disk.
#[derive(Debug, Default)]
pub(super) struct Host {
    resident: Whole,
    cpu: Counter<f64, AtomicU64>,
    files: Whole,
    disk_free: Whole,
    memory_free: Whole,
    syncs: Counter,
    commits: Counter,
    written: Counter,
    log: Whole,
    database: Whole,
    queue_jobs: Whole,
    queue: Whole,
    failing: Whole,
}

impl Host {
    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "Memory of this process that is resident, in bytes";
        registry.register_with_unit("process_resident", help, Unit::Bytes, self.resident.clone());
        let help = "Processor time that this process has used, in seconds";
        registry.register_with_unit("process_cpu", help, Unit::Seconds, self.cpu.clone());
        registry.register("process_open_files", "Files and sockets that this process has open", self.files.clone());
        let help = "Free space on the disk that holds the data directory, in bytes";
        registry.register_with_unit("host_disk_free", help, Unit::Bytes, self.disk_free.clone());
        let help = "Free memory, as far as limits let this process use it, in bytes";
        registry.register_with_unit("host_memory_free", help, Unit::Bytes, self.memory_free.clone());
        registry.register("store_syncs", "Syncs of the store to disk", self.syncs.clone());
        registry.register("store_commits", "Commits that the store made durable", self.commits.clone());
        let help = "What the store has written to disk, amplification included, in bytes";
        registry.register_with_unit("store_written", help, Unit::Bytes, self.written.clone());
        let help = "The log's segments that may still be needed, in bytes";
        registry.register_with_unit("store_log", help, Unit::Bytes, self.log.clone());
        registry.register_with_unit(
            "store_database",
            "The database's file, in bytes",
            Unit::Bytes,
            self.database.clone(),
        );
        registry.register(
            "store_queue_jobs",
            "Jobs that wait for the disk or are being written",
            self.queue_jobs.clone(),
        );
        registry.register_with_unit(
            "store_queue",
            "Commits that wait for the disk or are being written, in bytes",
            Unit::Bytes,
            self.queue.clone(),
        );
        registry.register("store_failing", "1 if the store cannot write at present", self.failing.clone());
    }

    pub(super) fn tell_store(&self, stats: &StoreStats) {
        set(&self.syncs, stats.syncs);
        set(&self.commits, stats.commits);
        set(&self.written, stats.bytes_written);
        self.log.set(stats.log_bytes);
        self.database.set(stats.file_bytes);
        self.queue_jobs.set(stats.queue_jobs as u64);
        self.queue.set(stats.queue_bytes as u64);
        self.failing.set(stats.failing.is_some().into());
    }

    pub(super) fn tell_process(&self, own: &Own) {
        self.resident.set(own.resident_bytes);
        self.cpu.inner().store(own.cpu_seconds.to_bits(), std::sync::atomic::Ordering::Relaxed);
        self.files.set(own.open_files);
    }

    pub(super) fn tell_free(&self, memory: u64, disk: u64) {
        self.memory_free.set(memory);
        self.disk_free.set(disk);
    }
}
