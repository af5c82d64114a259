//! Blobs for other members: the answers to their questions for outlines and chunks.
//!
//! Owns the questions' form and the order in which they are answered: what a member may have of us is `ration`'s, what is given
//! `outlines`'. The invariants: what is given was verified, so that a damaged disk here does not make this host look like a liar; a chunk
//! costs the reading of a chunk; what one member asks for makes no other wait longer than one outline and one chunk of each take.

mod outlines;
mod ration;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use selvedge_sync::codec::{self, DecodeError};
use selvedge_sync::id::NodeId;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use self::outlines::Outlines;
use self::ration::{Asking, Rations};
use super::outline::{CHUNK_BYTES, Claimed, Outline};
use crate::net::Reply;
use crate::spec::Digest;

/// Largest question, in bytes: it names a digest and a number.
const QUESTION_BYTES_MAX: usize = 256;

/// What a question counts as that makes us read nothing, in bytes read: some four thousand of them a second.
const QUESTION_COST_BYTES: u64 = 64 * 1024;

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

/// Why a question is not answered. Either is its sender's doing.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// It cannot be read.
    #[error(transparent)]
    Undecodable(#[from] DecodeError),
    /// So many of its sender's are unanswered that no honest member has asked them.
    #[error("too many questions of one member are unanswered")]
    Flood,
}

/// Where blobs of one sort are read. It may block.
pub trait Library: Send + Sync + 'static {
    /// Whether a blob is here, as far as one can tell without reading it.
    fn has(&self, digest: &Digest) -> bool;

    /// Up to `bytes_max` bytes of a blob from `start` on, not verified; fewer only at its end. `None` when it is not here.
    fn part(&self, digest: &Digest, start: u64, bytes_max: usize) -> Option<Bytes>;

    /// Looks at the whole of a blob of which a part was wrong, and removes it if it is damaged, so that it is fetched again.
    fn inspect(&self, digest: &Digest) -> Inspected;
}

/// What came of an inspection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Inspected {
    /// Whether the blob was damaged.
    pub is_damaged: bool,
    /// Bytes that were read for it.
    pub bytes: u64,
}

/// What was done for other members so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServeStats {
    /// Blobs that were read whole for their outlines.
    pub outlines: u64,
    /// Bytes of chunks given.
    pub bytes: u64,
    /// Bytes counted against the shares of those who asked: what was read for them, and a little for each question.
    pub charged: u64,
    /// Questions that had to wait, because their sender has had its share.
    pub delayed: u64,
    /// Questions dropped, as those of a flood.
    pub dropped: u64,
    /// Questions that had to wait for room, because answers that nobody reads take it.
    pub crowded: u64,
    /// Blobs found to be damaged on disk, and removed.
    pub damaged: u64,
}

/// Answers other members. Cheap to clone.
#[derive(Clone)]
pub struct Server {
    shared: Arc<Shared>,
}

struct Shared {
    rations: Rations,
    outlines: Outlines,
    bytes: AtomicU64,
}

impl Server {
    /// A server over these.
    pub fn new(artifacts: impl Library, assets: impl Library) -> Self {
        let outlines = Outlines::of(Arc::new(artifacts), Arc::new(assets));
        Self { shared: Arc::new(Shared { rations: Rations::default(), outlines, bytes: AtomicU64::new(0) }) }
    }

    /// Answers a question of `from`, when its turn comes. One that is not answered ends so.
    ///
    /// # Errors
    /// The question is nothing to be answered, which is its sender's fault.
    pub async fn serve(&self, from: NodeId, question: &[u8], reply: Reply) -> Result<(), ServeError> {
        let (answer, held) = self.answer(from, question).await?;
        reply.send_holding(answer, held);
        Ok(())
    }

    /// What has been done so far.
    #[must_use]
    pub fn stats(&self) -> ServeStats {
        let Shared { rations, outlines, bytes } = &*self.shared;
        let bytes = bytes.load(Ordering::Relaxed);
        let ((outlines, damaged), (delayed, dropped, crowded)) = (outlines.figures(), rations.figures());
        let charged = rations.charged();
        ServeStats { charged, outlines, bytes, delayed, dropped, crowded, damaged }
    }

    /// The answer, and what counts it until it is written.
    async fn answer(&self, from: NodeId, question: &[u8]) -> Result<(Vec<u8>, Asking), ServeError> {
        let Question { sort, digest, want } = codec::decode(question, QUESTION_BYTES_MAX)?;
        let mut asking = self.shared.rations.begin(from).ok_or(ServeError::Flood)?;
        let digest = Digest(digest);
        match want {
            Want::Outline => {
                asking.afford(QUESTION_COST_BYTES).await;
                let outline = self.shared.outlines.outline_of_what_is_here(&asking, sort, digest).await;
                let answer: Answer<Claimed> = outline.map(|outline| outline.claimed());
                Ok((codec::encode(&answer), asking))
            }
            Want::Chunk(index) => {
                asking.afford(CHUNK_BYTES as u64).await;
                let outline = self.shared.outlines.outline(&asking, sort, digest).await;
                let chunk = match outline {
                    Some(outline) => self.chunk(&mut asking, (sort, outline), index).await,
                    None => None,
                };
                let answer = chunk.unwrap_or_else(|| codec::encode(&Answer::<ByteBuf>::None));
                Ok((answer, asking))
            }
        }
    }

    /// The encoded answer with a chunk, once there is room for it.
    async fn chunk(&self, asking: &mut Asking, (sort, outline): (Sort, Arc<Outline>), index: u32) -> Option<Vec<u8>> {
        let index = usize::try_from(index).ok().filter(|index| *index < outline.chunks())?;
        asking.take_room().await;
        let answer = self.shared.outlines.chunk(asking, (sort, outline), index).await?;
        self.shared.bytes.fetch_add(answer.len() as u64, Ordering::Relaxed);
        Some(answer)
    }
}

#[cfg(test)]
pub(in crate::blobs) mod tests;
