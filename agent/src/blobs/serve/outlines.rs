//! What is given to other members: outlines, which are kept, and chunks, which are read and checked against them each time.
//!
//! Owns the outlines that were made and how much is read at once. The invariants: nothing leaves that does not fit its digest; a blob is
//! read whole once for all who ask, unless its outline was forgotten for others; damage is found once, for then the blob is gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use selvedge_sync::codec;
use serde_bytes::Bytes as Blob;
use tokio::sync::Semaphore;

use super::ration::Asking;
use super::{Inspected, Library, Sort};
use crate::blobs::blocking;
use crate::blobs::outline::{CHUNK_BYTES, Outline};
use crate::spec::Digest;

/// Bytes of outlines that are kept: those of four hundred of the largest blobs, or three thousand small ones.
const OUTLINES_BYTES_MAX: u64 = 1024 * 1024;
/// What an outline takes beside its hashes in the cache, in bytes, at a guess.
const ENTRY_BYTES: usize = 256;
/// Outlines that may be made at once, in all: it takes a core each, and two mebibytes.
const MAKING_MAX: usize = 2;
/// Chunks that may be read at once, in all: a disk takes no more at a time, and each takes two mebibytes until it is encoded.
const READING_MAX: usize = 4;
/// Chunks of the largest blob of any sort.
const CHUNKS_MAX: usize = 64;

/// The outlines of what is here.
pub(super) struct Outlines {
    artifacts: Arc<dyn Library>,
    assets: Arc<dyn Library>,
    /// The ones used last: whoever has just been given an outline is about to ask for chunks.
    known: Cache<(Sort, Digest), Arc<Outline>>,
    making: Semaphore,
    reading: Semaphore,
    made: Arc<AtomicU64>,
    damaged: Arc<AtomicU64>,
}

impl Outlines {
    pub(super) fn of(artifacts: Arc<dyn Library>, assets: Arc<dyn Library>) -> Self {
        let weight = |_: &(Sort, Digest), outline: &Arc<Outline>| ENTRY_BYTES + outline.size();
        let known = Cache::builder()
            .weigher(move |key, outline| u32::try_from(weight(key, outline)).unwrap_or(u32::MAX))
            .max_capacity(OUTLINES_BYTES_MAX)
            .eviction_policy(EvictionPolicy::lru())
            .build();
        let (making, reading) = (Semaphore::new(MAKING_MAX), Semaphore::new(READING_MAX));
        Self { artifacts, assets, known, making, reading, made: Arc::default(), damaged: Arc::default() }
    }

    /// How many outlines were made, and how many blobs were damaged.
    pub(super) fn figures(&self) -> (u64, u64) {
        (self.made.load(Ordering::Relaxed), self.damaged.load(Ordering::Relaxed))
    }

    /// The outline of a blob that is here now, which it may not be although its outline is known.
    pub(super) async fn outline_of_what_is_here(
        &self,
        asking: &Asking,
        sort: Sort,
        digest: Digest,
    ) -> Option<Arc<Outline>> {
        let library = Arc::clone(self.library(sort));
        if !blocking(move || library.has(&digest)).await {
            return None;
        }
        self.outline(asking, sort, digest).await
    }

    /// The outline of a blob, made if it has to be, at its asker's expense; `None` when the blob is not here.
    pub(super) async fn outline(&self, asking: &Asking, sort: Sort, digest: Digest) -> Option<Arc<Outline>> {
        if let Some(outline) = self.known.get(&(sort, digest)) {
            return Some(outline);
        }
        // In this order: of one member, only one question waits where all members do. Closed they never are.
        let _turn = asking.outline_turn().acquire().await.ok()?;
        asking.afford(0).await;
        let _making = self.making.acquire().await.ok()?;
        let (known, library) = (self.known.clone(), Arc::clone(self.library(sort)));
        let (made, damaged) = (Arc::clone(&self.made), Arc::clone(&self.damaged));
        let (outline, bytes) = blocking(move || {
            let mut bytes = 0;
            // Whoever waited for somebody else's finds it here.
            let outline = known.optionally_get_with((sort, digest), || {
                // Counted as it is read: what ends with a part that cannot be had was read all the same, and so was that part.
                let (outline, _) = Outline::read(CHUNKS_MAX, |index| {
                    let part = library.part(&digest, (index * CHUNK_BYTES) as u64, CHUNK_BYTES);
                    bytes += part.as_ref().map_or(CHUNK_BYTES, Bytes::len) as u64;
                    part
                })?;
                made.fetch_add(1, Ordering::Relaxed);
                if outline.digest() == digest {
                    return Some(Arc::new(outline));
                }
                bytes += note_damage(&*library, &digest, &damaged);
                None
            });
            (outline, bytes)
        })
        .await;
        asking.owe(bytes);
        outline
    }

    /// An encoded answer with a chunk of the blob that this is the outline of; `None` when it is not here any more, or damaged.
    pub(super) async fn chunk(
        &self,
        asking: &Asking,
        (sort, outline): (Sort, Arc<Outline>),
        index: usize,
    ) -> Option<Vec<u8>> {
        let _turn = asking.chunk_turn().acquire().await.ok()?;
        let _reading = self.reading.acquire().await.ok()?;
        let (known, library, damaged) = (self.known.clone(), Arc::clone(self.library(sort)), Arc::clone(&self.damaged));
        let (answer, bytes) = blocking(move || {
            let digest = outline.digest();
            let Some(chunk) = library.part(&digest, (index * CHUNK_BYTES) as u64, CHUNK_BYTES) else {
                return (None, 0);
            };
            if outline.fits(index, &chunk) {
                return (Some(codec::encode(&Some(Blob::new(&chunk)))), 0);
            }
            known.invalidate(&(sort, digest));
            (None, note_damage(&*library, &digest, &damaged))
        })
        .await;
        asking.owe(bytes);
        answer
    }

    fn library(&self, sort: Sort) -> &Arc<dyn Library> {
        match sort {
            Sort::Artifact => &self.artifacts,
            Sort::Asset => &self.assets,
        }
    }
}

/// Looks for damage and counts it; tells how many bytes were read for that.
fn note_damage(library: &dyn Library, digest: &Digest, damaged: &AtomicU64) -> u64 {
    let Inspected { is_damaged, bytes } = library.inspect(digest);
    damaged.fetch_add(u64::from(is_damaged), Ordering::Relaxed);
    bytes
}
