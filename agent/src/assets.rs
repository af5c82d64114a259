//! Assets: what clients load from the agent beside them, kept in memory over disk and fetched from other members.
//!
//! Owns which assets are on this host, and the bounds on their bytes. What an asset means is the game's affair; which are wanted
//! next, a workload's. The invariants: bytes that are handed out have the digest that was asked for; memory and disk stay within
//! their bounds; an asset is fetched once, however many ask for it at the same time; what was uploaded here stays until it is
//! removed.

mod flights;
mod preload;
mod shelves;
mod tally;
mod uses;

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures::future::BoxFuture;
use moka::sync::Cache;

use self::flights::Flights;
pub use self::preload::Preloader;
use self::shelves::{Found, Kept, Look, Shelves};
pub use self::tally::{AssetStats, WishStats};
use self::tally::{Tally, add};
use crate::blobs::fetch::{FetchError, Fetched};
use crate::blobs::serve::{Inspected, Library};
use crate::blobs::{BlobError, blocking};
use crate::spec::Digest;
use crate::wasm::AssetView;

/// Largest asset, in bytes: a map or a bundle of models. It is held in memory while it is received, fetched and given.
pub const ASSET_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Damaged uploads that are remembered as such until they come back: 32 KiB of digests. Of more, the rest comes back as copies.
const LOST_MAX: usize = 1_024;

/// How assets are fetched from other members.
pub type Fetch = Box<dyn Fn(Digest) -> BoxFuture<'static, Result<Fetched, FetchError>> + Send + Sync>;

/// Bounds on what is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AssetLimits {
    /// Bytes of assets in memory.
    pub memory_bytes: u64,
    /// Bytes of assets on disk, uploads and copies together.
    pub disk_bytes: u64,
}

/// An asset on this host's disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub digest: Digest,
    /// Its size.
    pub bytes: u64,
    /// Whether it stays until it is removed; else it is a copy of what others have.
    pub is_upload: bool,
}

/// Why an asset cannot be had, kept or removed. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum AssetError {
    /// It is neither here nor with any member in reach.
    #[error(transparent)]
    Elsewhere(#[from] FetchError),
    /// The disk, or the caller gave too much.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// The uploads that are kept leave no room for another.
    #[error("{kept} bytes of uploaded assets are kept and {bytes} more do not fit into {bytes_max}")]
    Full {
        /// Bytes that are kept.
        kept: u64,
        /// Bytes that were to be added.
        bytes: u64,
        /// The bound.
        bytes_max: u64,
    },
    /// The disk has too little room left.
    #[error("{bytes} bytes do not fit on the disk and leave the agent's own files enough room")]
    DiskFull {
        /// Bytes that were to be added.
        bytes: u64,
    },
}

/// The assets of this host. Cheap to clone.
#[derive(Clone)]
pub struct Assets {
    shared: Arc<Shared>,
}

struct Shared {
    /// By use and frequency (moka's TinyLFU), so that one large fetch does not drive out what is asked for all the time.
    memory: Cache<Digest, Bytes>,
    shelves: Shelves,
    fetch: Fetch,
    flights: Flights<Loaded>,
    /// Uploads that were damaged and are to be uploads again when they come.
    lost: Mutex<BTreeSet<Digest>>,
    wishes: preload::Wishes,
    tally: Arc<Tally>,
}

/// How a load ended, for all who waited for it.
type Loaded = Result<Bytes, FetchError>;

impl Assets {
    /// Opens the assets of a data directory. Wishes are fulfilled by the [`Preloader`].
    ///
    /// # Errors
    /// The folders cannot be created or read.
    pub fn open(data_dir: &Path, limits: AssetLimits, fetch: Fetch) -> Result<(Self, Preloader), BlobError> {
        let tally = Arc::<Tally>::default();
        let evicted = Arc::clone(&tally);
        let memory = Cache::builder()
            .weigher(|_, bytes: &Bytes| u32::try_from(bytes.len()).unwrap_or(u32::MAX))
            .max_capacity(limits.memory_bytes)
            .eviction_listener(move |_, _, cause| {
                if cause.was_evicted() {
                    add(&evicted.evicted_memory, 1);
                }
            })
            .build();
        let shelves = Shelves::open(data_dir, limits.disk_bytes)?;
        let (wishes, queue) = preload::wishes();
        let shared =
            Shared { memory, shelves, fetch, flights: Flights::default(), lost: Mutex::default(), wishes, tally };
        let assets = Self { shared: Arc::new(shared) };
        Ok((assets.clone(), Preloader::new(assets, queue)))
    }

    /// Keeps an asset until it is removed; returns its digest once it is durable.
    ///
    /// # Errors
    /// It is too large, the uploads leave no room, or the disk fails.
    pub async fn put(&self, bytes: Bytes) -> Result<Digest, AssetError> {
        let this = self.clone();
        blocking(move || {
            let digest = Digest::of(&bytes);
            let evicted = this.shared.shelves.upload(digest, &bytes)?;
            add(&this.shared.tally.evicted_disk, evicted);
            this.lost().remove(&digest);
            this.shared.memory.insert(digest, bytes);
            Ok(digest)
        })
        .await
    }

    /// An asset, from memory, disk or another member.
    ///
    /// # Errors
    /// Nobody in reach has it.
    pub async fn get(&self, digest: Digest) -> Result<Bytes, FetchError> {
        if let Some(bytes) = self.shared.memory.get(&digest) {
            add(&self.shared.tally.hits_memory, 1);
            return Ok(bytes);
        }
        self.shared.flights.join(digest, || self.load(digest, true)).await
    }

    /// Has an asset on this host, if anybody gives it. Counts as nobody's request.
    async fn bring(&self, digest: Digest) -> Result<(), FetchError> {
        if self.shared.shelves.size(&digest).is_some() {
            return Ok(());
        }
        if let Some(bytes) = self.shared.memory.get(&digest) {
            if self.lost().contains(&digest) {
                let this = self.clone();
                blocking(move || this.keep(digest, &bytes)).await;
            }
            return Ok(());
        }
        self.shared.flights.join(digest, || self.load(digest, false)).await.map(drop)
    }

    /// Removes an asset from this host; tells whether it was here. Other members keep theirs.
    ///
    /// # Errors
    /// The disk fails; it may still be here.
    pub async fn remove(&self, digest: Digest) -> Result<bool, BlobError> {
        let this = self.clone();
        blocking(move || {
            this.lost().remove(&digest);
            let was_in_memory = this.shared.memory.remove(&digest).is_some();
            Ok(this.shared.shelves.remove(&digest)? || was_in_memory)
        })
        .await
    }

    /// Takes note of what workloads want to have here soon. Returns at once.
    pub fn preload(&self, digests: impl IntoIterator<Item = Digest>) {
        for digest in digests {
            self.shared.wishes.add(digest, self.size(&digest).is_some());
        }
    }

    /// Up to `limit` assets that are on this host's disk, in order of digest, those after `after`.
    #[must_use]
    pub fn list(&self, after: Option<Digest>, limit: usize) -> Vec<Listed> {
        let listed = self.shared.shelves.list(after, limit);
        listed.into_iter().map(|(digest, bytes, is_upload)| Listed { digest, bytes, is_upload }).collect()
    }

    /// What has been counted so far, and what is held now.
    #[must_use]
    pub fn stats(&self) -> AssetStats {
        let shared = &self.shared;
        // What was evicted is noticed only then.
        shared.memory.run_pending_tasks();
        let (upload_bytes, copy_bytes) = shared.shelves.bytes();
        let memory_bytes = shared.memory.weighted_size();
        AssetStats { memory_bytes, upload_bytes, copy_bytes, wishes: shared.wishes.stats(), ..shared.tally.stats() }
    }

    /// From disk, or else from others; what was fetched is kept.
    async fn load(&self, digest: Digest, is_request: bool) -> Loaded {
        let (this, requests) = (self.clone(), u64::from(is_request));
        let found = blocking(move || this.on_disk(&digest)).await;
        if let Found::Here(bytes) = found {
            add(&self.shared.tally.hits_disk, requests);
            let bytes = Bytes::from(bytes);
            self.shared.memory.insert(digest, bytes.clone());
            return Ok(bytes);
        }
        let tally = &self.shared.tally;
        add(&tally.misses, requests);
        let fetched = (self.shared.fetch)(digest).await;
        // Its room is taken until it is kept: a disk that is slower than the network holds up the next.
        let Fetched { bytes, room } = fetched.inspect_err(|_| add(&tally.fetches_failed, 1))?;
        add(&tally.fetched, 1);
        add(&tally.fetched_bytes, bytes.len() as u64);
        self.shared.memory.insert(digest, bytes.clone());
        let (this, kept) = (self.clone(), bytes.clone());
        blocking(move || this.keep(digest, &kept)).await;
        drop(room);
        Ok(bytes)
    }

    /// What the disk has of an asset. One that fails counts as empty: others may still have it.
    fn on_disk(&self, digest: &Digest) -> Found {
        match self.shared.shelves.read(digest) {
            Ok(found) => {
                if let Found::Damaged { was_upload } = found {
                    self.note_damage(*digest, was_upload);
                }
                found
            }
            Err(error) => {
                self.note_failure(digest, &error);
                Found::Nothing
            }
        }
    }

    fn note_damage(&self, digest: Digest, was_upload: bool) {
        add(&self.shared.tally.damaged, 1);
        let mut lost = self.lost();
        if was_upload && lost.len() < LOST_MAX {
            lost.insert(digest);
        }
    }

    fn lost(&self) -> MutexGuard<'_, BTreeSet<Digest>> {
        self.shared.lost.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note_failure(&self, digest: &Digest, error: &BlobError) {
        add(&self.shared.tally.disk_failed, 1);
        tracing::warn!(%digest, %error, "an asset cannot be read from disk");
    }

    /// Keeps what was fetched. An upload that was damaged is one again.
    fn keep(&self, digest: Digest, bytes: &[u8]) {
        let (shelves, tally) = (&self.shared.shelves, &self.shared.tally);
        let was_upload = self.lost().remove(&digest);
        if was_upload {
            match shelves.upload(digest, bytes) {
                Ok(evicted) => return add(&tally.evicted_disk, evicted),
                Err(error) => tracing::warn!(%digest, %error, "a damaged upload was fetched and is only a copy now"),
            }
        }
        let (kept, evicted) = shelves.copy(digest, bytes);
        add(&tally.evicted_disk, evicted);
        match kept {
            Kept::Yes => {}
            Kept::NoRoom => add(&tally.not_kept, 1),
            Kept::Failed => add(&tally.disk_failed, 1),
        }
    }
}

impl fmt::Debug for Assets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Assets").field("shelves", &self.shared.shelves).finish_non_exhaustive()
    }
}

/// Other members are given what is here, from memory if it is there.
impl Library for Assets {
    fn has(&self, digest: &Digest) -> bool {
        self.size(digest).is_some()
    }

    fn part(&self, digest: &Digest, start: u64, bytes_max: usize) -> Option<Bytes> {
        if let Some(bytes) = self.shared.memory.get(digest) {
            let start = usize::try_from(start).map_or(bytes.len(), |start| start.min(bytes.len()));
            return Some(bytes.slice(start..start.saturating_add(bytes_max).min(bytes.len())));
        }
        match self.shared.shelves.part(digest, start, bytes_max) {
            Ok(part) => part.map(Bytes::from),
            Err(error) => {
                self.note_failure(digest, &error);
                None
            }
        }
    }

    /// One that is damaged is asked for from others at once, for it may be nobody's but theirs now; not on behalf of who found that out.
    fn inspect(&self, digest: &Digest) -> Inspected {
        let Look { is_damaged, was_upload, bytes } = self.shared.shelves.inspect(digest).unwrap_or_else(|error| {
            self.note_failure(digest, &error);
            Look::default()
        });
        if is_damaged {
            self.note_damage(*digest, was_upload);
            self.shared.wishes.again(*digest);
        }
        Inspected { is_damaged, bytes }
    }
}

impl AssetView for Assets {
    fn size(&self, digest: &Digest) -> Option<u64> {
        let in_memory = || self.shared.memory.get(digest).map(|bytes| bytes.len() as u64);
        self.shared.shelves.size(digest).or_else(in_memory)
    }
}

#[cfg(test)]
mod tests;
