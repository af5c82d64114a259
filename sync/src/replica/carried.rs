//! What outputs carry: what the store is to keep, and what callers are answered.
//!
//! Owns shapes only; when they are made is for `durability`, `lineage` and `local`. Plain data, as everything that leaves a
//! replica.

use serde::{Deserialize, Serialize};

use super::Ahead;
use crate::causal::VersionVector;
use crate::change::ChangeError;
use crate::codec::ObjectRow;
use crate::commit::Batch;
use crate::hlc::Hlc;
use crate::id::{Dot, NodeId, Stream};
use crate::key::Key;

/// A store that begins anew: objects, log, vector and everything else that was checkpointed go, and this is all that stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fresh {
    /// See [`Checkpoint::orphans`].
    pub orphans: Orphans,
}

/// Commits of earlier incarnations of ours that may have to be made again under the present one: whoever lost the memory of
/// its stream, or was away until its stream was closed, loses no write by it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Orphans {
    /// Nobody has these: their dots mean other commits elsewhere, or were refused.
    pub certain: Vec<Batch>,
    /// Nobody has these, unless some member turns out to.
    pub doubtful: Vec<Batch>,
    /// Our own commits after this one were made since anybody last confirmed that our stream is the one that it knows; `None`
    /// when somebody has since this process began.
    #[serde(default)]
    pub unconfirmed_after: Option<u64>,
}

impl Orphans {
    /// Whether there is nothing to make again.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.certain.is_empty() && self.doubtful.is_empty()
    }

    /// Whether there is nothing worth remembering.
    #[must_use]
    pub const fn says_nothing(&self) -> bool {
        self.is_empty() && self.unconfirmed_after.is_none()
    }
}

/// Changed objects and the vector up to which all objects, changed or not, are then stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// What the stored objects have seen.
    pub vector: VersionVector,
    /// What the stored objects show beyond that, because a repair is under way or was cut short. Nearly always empty.
    /// [`Recovery::ahead`](super::Recovery::ahead) is to be what the last checkpoint said.
    pub ahead: Ahead,
    /// Objects that changed since the last checkpoint; `None` for one that was forgotten.
    pub objects: Vec<(Key, Option<ObjectRow>)>,
    /// The newest stamp issued or observed: no restart may fall behind it.
    pub latest: Hlc,
    /// Commits of earlier incarnations of ours that wait to be made again, when they are others than the store holds: they replace
    /// those. [`Recovery::orphans`](super::Recovery::orphans) is to be what was last given, here or with [`Fresh`].
    pub orphans: Option<Orphans>,
    /// The log below these sequence numbers is not needed any more.
    pub log_first: Vec<(Stream, u64)>,
}

/// A commit that was made here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Its name.
    pub dot: Dot,
    /// When it was made.
    pub hlc: Hlc,
    /// Whether it is the answer to an earlier request with the same id, and nothing was done now.
    pub repeated: bool,
}

/// Why a commit was refused. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// A change does not fit; the caller's fault.
    #[error("change {index}: {source}")]
    Change {
        /// Which of the changes.
        index: usize,
        /// What is wrong with it.
        source: ChangeError,
    },
    /// The commit touches more keys, or is larger, than one may be; the caller's fault.
    #[error("the commit is too large: {0}")]
    TooLarge(&'static str),
    /// The store does not take writes at present; this host's fault.
    #[error("this agent is read-only: its store cannot write")]
    ReadOnly,
    /// This replica has found that it forgot commits of its own and is taking a new incarnation.
    #[error("this agent is taking a new incarnation; try again in a moment")]
    Fenced,
}

/// How far a repair from state has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RepairProgress {
    /// The giver.
    pub from: NodeId,
    /// How much of the state is known to be as the giver has it, of a thousand.
    pub done_permille: u16,
    /// Answers so far.
    pub answers: u64,
    /// Objects taken so far.
    pub objects: u64,
}
