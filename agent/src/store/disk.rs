//! Where the bytes of the database lie, and what is spent on them.
//!
//! Owns the data directory, its lock, and the meter around every read and write; knows neither tables nor jobs. The
//! invariant: whoever holds a [`FileDisk`] is the only agent on that directory.

use std::fmt;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use redb::StorageBackend;
use redb::backends::FileBackend;

use super::error::StoreError;

/// The database's name in the data directory.
pub(super) const DATABASE_FILE: &str = "state.redb";

/// The name of the file whose lock marks the data directory as taken.
const LOCK_FILE: &str = "lock";

/// Something that can hold a database. It is opened again after every failure, because the database does not go on after one.
pub(super) trait Disk: Send + 'static {
    /// Opens the storage, creating it when there is none.
    fn open(&self) -> io::Result<Box<dyn StorageBackend>>;
}

/// A file in a data directory that this process has locked.
pub(super) struct FileDisk {
    dir: PathBuf,
    _lock: File,
}

impl FileDisk {
    /// Takes the data directory, creating it (mode 0700) when it is not there.
    ///
    /// # Errors
    /// It cannot be created or written, or another agent holds it.
    pub(super) fn take(dir: &Path) -> Result<Self, StoreError> {
        let failed = |source| StoreError::Directory { path: dir.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
        let mut options = OpenOptions::new();
        let mut lock = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(dir.join(LOCK_FILE))
            .map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StoreError::Locked { path: dir.to_owned(), holder: holder_of(&mut lock) });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        // Only for the message that another agent would show; the lock does not depend on it, so a full disk is no reason to stop.
        if let Err(error) = note_holder(&mut lock) {
            tracing::debug!(%error, "could not write the process id into the lock file");
        }
        Ok(Self { dir: dir.to_owned(), _lock: lock })
    }
}

impl Disk for FileDisk {
    fn open(&self) -> io::Result<Box<dyn StorageBackend>> {
        let path = self.dir.join(DATABASE_FILE);
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        if file.metadata()?.len() == 0 {
            // The name of a new file is durable only once its directory is.
            File::open(&self.dir)?.sync_all()?;
        }
        Ok(Box::new(FileBackend::new(file).map_err(io::Error::other)?))
    }
}

fn note_holder(lock: &mut File) -> io::Result<()> {
    lock.set_len(0)?;
    lock.rewind()?;
    lock.write_all(std::process::id().to_string().as_bytes())
}

/// The process that holds the lock, as far as it has told.
fn holder_of(lock: &mut File) -> Option<u32> {
    /// Longest decimal process id, in bytes.
    const PID_DIGITS_MAX: u64 = 10;
    let mut text = String::new();
    lock.take(PID_DIGITS_MAX).read_to_string(&mut text).ok()?;
    text.parse().ok()
}

/// What the database has cost the disk since the store was opened.
#[derive(Debug, Default)]
pub(super) struct Meter {
    /// Syncs to the disk.
    pub(super) syncs: AtomicU64,
    /// Bytes written, amplification included.
    pub(super) written: AtomicU64,
    /// Length of the database, in bytes.
    pub(super) length: AtomicU64,
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
