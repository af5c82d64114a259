//! What the store costs the disk.
//!
//! Owns counters and the wrapper that feeds them from the database; decides nothing. The invariant: every write and sync of
//! the store, to the database or the log, is counted once.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use redb::StorageBackend;

/// What was spent since the store was opened, and how large its files are.
#[derive(Debug, Default)]
pub(super) struct Meter {
    /// Syncs to the disk.
    pub(super) syncs: AtomicU64,
    /// Bytes written, amplification included.
    pub(super) written: AtomicU64,
    /// Length of the database, in bytes.
    pub(super) length: AtomicU64,
    /// Segments that hold what may still be needed.
    pub(super) segments: AtomicU64,
    /// Bytes of frames in those segments.
    pub(super) log_bytes: AtomicU64,
}

/// A storage that counts into a [`Meter`].
pub(super) struct Metered {
    inner: Box<dyn StorageBackend>,
    meter: Arc<Meter>,
}

impl Metered {
    /// Counts what goes through `inner`.
    pub(super) fn new(inner: Box<dyn StorageBackend>, meter: Arc<Meter>) -> Self {
        Self { inner, meter }
    }
}

impl fmt::Debug for Metered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Metered").field(&self.inner).finish()
    }
}

/// The database's own locks are left at their default, none: the lock on the directory stands before them.
impl StorageBackend for Metered {
    fn len(&self) -> io::Result<u64> {
        let length = self.inner.len()?;
        self.meter.length.store(length, Ordering::Relaxed);
        Ok(length)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.inner.read(offset, out)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.inner.set_len(length)?;
        self.meter.length.store(length, Ordering::Relaxed);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.meter.syncs.fetch_add(1, Ordering::Relaxed);
        self.inner.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.meter.written.fetch_add(data.len() as u64, Ordering::Relaxed);
        self.inner.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.inner.close()
    }
}
