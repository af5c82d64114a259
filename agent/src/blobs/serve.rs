//! Blobs for other members: the answers to their questions for outlines and chunks.
//!
//! Owns the questions' form and what is kept open while somebody fetches it. The invariant: what is given was read whole and
//! verified, so that a damaged disk here does not make this host look like a liar.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use moka::sync::Cache;
use selvedge_sync::codec::{self, DecodeError};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use tokio::sync::Semaphore;

use super::blocking;
use super::outline::{CHUNK_BYTES, Claimed, Outline};
use crate::net::Reply;
use crate::spec::Digest;

/// Bytes of blobs that are kept in memory while others fetch them: one of the largest.
const OPEN_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// How long a blob stays open after the last question: longer than a chunk takes on a thin link.
const OPEN_FOR: Duration = Duration::from_secs(30);
/// Blobs that may be read and hashed at once: it takes a core each.
const OPENINGS_MAX: usize = 2;
/// Largest question, in bytes: it names a digest and a number.
const QUESTION_BYTES_MAX: usize = 256;

/// What a blob is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Sort {
    /// A component that is run.
    Artifact,
    /// Something that clients load.
    Asset,
}

impl fmt::Display for Sort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Artifact => "artefact",
            Self::Asset => "asset",
        })
    }
}

/// A question for a blob or a part of it.
#[derive(Serialize, Deserialize)]
pub(super) struct Question {
    pub(super) sort: Sort,
    #[serde(with = "serde_bytes")]
    pub(super) digest: [u8; 32],
    pub(super) want: Want,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
pub(super) enum Want {
    /// The outline: whoever has the blob gives it.
    Outline,
    /// The chunk of this number, from 0.
    Chunk(u32),
}

/// `None` from whoever does not have it.
pub(super) type Answer<T> = Option<T>;

/// Where blobs of one sort are read, whole and verified. It may block.
pub trait Library: Send + Sync + 'static {
    /// The bytes of a blob; `None` when it is not here.
    fn read(&self, digest: &Digest) -> Option<Bytes>;
}

/// Answers other members. Cheap to clone.
#[derive(Clone)]
pub struct Server {
    shared: Arc<Shared>,
}

struct Shared {
    artifacts: Box<dyn Library>,
    assets: Box<dyn Library>,
    open: Cache<(Sort, Digest), Arc<Open>>,
    openings: Semaphore,
}

struct Open {
    bytes: Bytes,
    outline: Outline,
}

impl Server {
    /// A server over these.
    pub fn new(artifacts: impl Library, assets: impl Library) -> Self {
        let open = Cache::builder()
            .weigher(|_, open: &Arc<Open>| u32::try_from(open.bytes.len()).unwrap_or(u32::MAX))
            .max_capacity(OPEN_BYTES_MAX)
            .time_to_idle(OPEN_FOR)
            .build();
        let openings = Semaphore::new(OPENINGS_MAX);
        Self { shared: Arc::new(Shared { artifacts: Box::new(artifacts), assets: Box::new(assets), open, openings }) }
    }

    /// Answers a question. One that cannot be read ends unanswered.
    ///
    /// # Errors
    /// The question cannot be read, which is its sender's fault.
    pub async fn serve(&self, question: &[u8], reply: Reply) -> Result<(), DecodeError> {
        let Question { sort, digest, want } = codec::decode(question, QUESTION_BYTES_MAX)?;
        let open = self.open(sort, Digest(digest)).await;
        reply.send(match want {
            Want::Outline => {
                let answer: Answer<Claimed> = open.map(|open| open.outline.claimed());
                codec::encode(&answer)
            }
            Want::Chunk(index) => {
                let answer: Answer<ByteBuf> = open.and_then(|open| open.chunk(index));
                codec::encode(&answer)
            }
        });
        Ok(())
    }

    /// Lets go of what nobody has asked for lately. To be called now and then: nothing here has a clock of its own.
    pub fn tidy(&self) {
        self.shared.open.run_pending_tasks();
    }

    async fn open(&self, sort: Sort, digest: Digest) -> Option<Arc<Open>> {
        if let Some(open) = self.shared.open.get(&(sort, digest)) {
            return Some(open);
        }
        // Closed it never is.
        let _opening = self.shared.openings.acquire().await.ok()?;
        let shared = Arc::clone(&self.shared);
        // Whoever waited for somebody else's opening finds it open.
        blocking(move || shared.open.optionally_get_with((sort, digest), || shared.read(sort, &digest))).await
    }
}

impl Shared {
    fn read(&self, sort: Sort, digest: &Digest) -> Option<Arc<Open>> {
        let library = match sort {
            Sort::Artifact => &self.artifacts,
            Sort::Asset => &self.assets,
        };
        let bytes = library.read(digest)?;
        let outline = Outline::of(&bytes);
        Some(Arc::new(Open { bytes, outline }))
    }
}

impl Open {
    fn chunk(&self, index: u32) -> Option<ByteBuf> {
        let start = usize::try_from(index).ok()?.checked_mul(CHUNK_BYTES)?;
        let end = start.saturating_add(CHUNK_BYTES).min(self.bytes.len());
        // The empty blob has one chunk, an empty one.
        self.bytes.get(start..end).map(|chunk| ByteBuf::from(chunk.to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_that_is_cut_off_anywhere_is_none() {
        for want in [Want::Outline, Want::Chunk(7)] {
            let whole = codec::encode(&Question { sort: Sort::Artifact, digest: [7; 32], want });
            let read = |bytes: &[u8]| codec::decode::<Question>(bytes, QUESTION_BYTES_MAX).is_ok();
            assert!(read(&whole) && !(0..whole.len()).any(|cut| read(&whole[..cut])));
        }
    }
}
