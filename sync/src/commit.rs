//! Commits and batches: the unit of atomicity and the unit of log and wire.
//!
//! Owns their shape and their checks. A commit is encoded once, by its writer, and travels and rests in those bytes; a batch
//! frames consecutive commits of one stream. The invariant: what [`Commit::decode`] returned can be applied without failing.

mod sealed;

use std::sync::Arc;

pub use sealed::Flaw;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::codec::{self, DecodeError};
use crate::crdt::Op;
use crate::hlc::Hlc;
use crate::id::{Dot, Stream};
use crate::key::Key;
use crate::limits::{COMMIT_BYTES_MAX, KEYS_PER_COMMIT_MAX, SEQ_MAX};
use crate::seal::{Hash, Seal};

/// Makes a retried write harmless: a second commit with the same id is answered with the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RequestId(#[serde(with = "serde_bytes")] pub [u8; 16]);

/// All that one call or request wrote: applied whole or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Whose it is.
    pub stream: Stream,
    /// Its position in the stream, from 1.
    pub seq: u64,
    /// When it was made.
    pub hlc: Hlc,
    /// The id that its caller gave it.
    pub request: Option<RequestId>,
    /// What it does, at most one operation per key.
    pub ops: Vec<(Key, Op)>,
}

/// A commit as its writer encoded it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitBytes(Arc<[u8]>);

/// Consecutive commits of one stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// Whose they are.
    #[serde(rename = "s")]
    pub stream: Stream,
    /// The sequence number of the first.
    #[serde(rename = "f")]
    pub first: u64,
    /// The commits, encoded.
    #[serde(rename = "c")]
    pub commits: Vec<CommitBytes>,
    /// Their writer's seals, in order. What comes from anybody else is believed as far as they reach.
    #[serde(rename = "l", default, skip_serializing_if = "Vec::is_empty")]
    pub seals: Vec<Seal>,
}

#[derive(Serialize)]
struct BodyRef<'a>(Hlc, Option<RequestId>, &'a [(Key, Op)]);

#[derive(Deserialize)]
struct Body(Hlc, Option<RequestId>, Vec<(Key, Op)>);

impl Commit {
    /// The commit's name within its scope.
    #[must_use]
    pub const fn dot(&self) -> Dot {
        Dot { replica: self.stream.replica, seq: self.seq }
    }

    /// The bytes that travel and rest. Stream and position are the batch's, so that they are not repeated.
    #[must_use]
    pub fn encode(&self) -> CommitBytes {
        CommitBytes(codec::encode(&BodyRef(self.hlc, self.request, &self.ops)).into())
    }

    /// Reads the commit at `seq` of `stream` and checks everything that applying relies on.
    ///
    /// # Errors
    /// The bytes are malformed, too large, of an unknown version, or an operation breaks a bound.
    pub fn decode(stream: Stream, seq: u64, bytes: &CommitBytes) -> Result<Self, DecodeError> {
        let Body(hlc, request, ops) = codec::decode(&bytes.0, COMMIT_BYTES_MAX)?;
        if ops.len() > KEYS_PER_COMMIT_MAX {
            return Err(DecodeError::Bound("more keys than a commit may touch"));
        }
        if !(1..=SEQ_MAX).contains(&seq) {
            return Err(DecodeError::Bound("a commit with a sequence number out of range"));
        }
        if !ops.is_sorted_by(|(before, _), (after, _)| before < after) {
            return Err(DecodeError::Bound("keys of a commit that are not in order, or twice"));
        }
        let commit = Self { stream, seq, hlc, request, ops };
        for (key, op) in &commit.ops {
            op.validate(key.kind(), &commit.dot())?;
        }
        Ok(commit)
    }
}

impl Batch {
    /// A batch without seals.
    #[must_use]
    pub const fn new(stream: Stream, first: u64, commits: Vec<CommitBytes>) -> Self {
        Self { stream, first, commits, seals: Vec::new() }
    }
}

impl CommitBytes {
    /// Bytes read from a store or a peer; [`Commit::decode`] says whether they are a commit.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// How many bytes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The hash that chains of seals are made of.
    #[must_use]
    pub fn hash(&self) -> Hash {
        Hash::of(&self.0)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for CommitBytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for CommitBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        serde_bytes::ByteBuf::deserialize(deserializer).map(|bytes| Self(bytes.into_vec().into()))
    }
}
