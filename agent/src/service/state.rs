//! Documents about the shared state: keys, values, commits, and how far they have spread.

use std::collections::BTreeMap;

use selvedge_sync::change::ChangeError;
use selvedge_sync::commit::RequestId;
use selvedge_sync::crdt::Value;
use selvedge_sync::hlc::Hlc;
use selvedge_sync::id::{NodeId, ReplicaId};
use selvedge_sync::key::Key;
use serde::{Deserialize, Serialize};

use super::{json, text};

/// Keys in order, a page at a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyPage {
    /// The keys of this page.
    pub keys: Vec<KeyEntry>,
    /// The last key of this page if there are more: what `after` is for the next one.
    pub next: Option<Key>,
}

/// One key that somebody wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyEntry {
    /// The whole key, `type/name`.
    pub key: Key,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
}

/// The value of one key, and the commits that it includes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StateEntry {
    /// The key.
    pub key: Key,
    /// A whole number, a sorted array or an object, by type.
    #[serde(serialize_with = "json::value")]
    pub value: Value,
    /// The root of this host's whole state when it was read, in hexadecimal.
    pub root: String,
    /// By replica, the sequence number up to which its commits are included.
    pub clock: BTreeMap<String, u64>,
}

/// How a commit is to be made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CommitOptions {
    /// Makes a retry harmless.
    pub request: Option<RequestId>,
    /// Whether to answer only after the sync to this host's disk.
    pub durable: bool,
}

/// The name of a commit that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Committed {
    /// Who wrote it.
    #[serde(with = "text")]
    pub replica: ReplicaId,
    /// Its position among the writer's commits, from 1.
    pub seq: u64,
    /// When it was made, as `milliseconds.counter`.
    #[serde(with = "text::stamp")]
    pub hlc: Hlc,
}

impl Committed {
    /// Its name in one word, `REPLICA/SEQ`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}", self.replica, self.seq)
    }
}

/// Why a commit was not made, or not confirmed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// A change is not acceptable. The caller's fault; nothing changed.
    #[error("change {index}: {error}")]
    Change {
        /// Which of the changes, from 0.
        index: usize,
        /// What is wrong with it.
        #[source]
        error: ChangeError,
    },
    /// The commit as a whole breaks a bound. The caller's fault; nothing changed.
    #[error("the commit is too large: {0}")]
    TooLarge(String),
    /// This host takes no writes, as when its disk is full or failing. Nothing changed.
    #[error("this host takes no writes: {0}")]
    ReadOnly(String),
    /// Too many writes wait already. Nothing changed.
    #[error("too many writes are waiting")]
    Busy,
    /// The commit was made and is visible here, but its sync to disk was not confirmed in time.
    #[error("the commit was applied, but its sync to disk took too long")]
    NotDurableInTime(Committed),
    /// The agent is stopping, or took too long to answer. The commit may or may not have been made.
    #[error("the agent did not answer in time")]
    NoAnswer,
}

/// How far a commit has got.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Whether it is on this host's disk.
    pub durable: bool,
    /// Members that are known to have it, this one included.
    pub seen_by: Vec<NodeId>,
    /// Whether every member of the epoch has it.
    pub stable: bool,
}

/// Whether the members hold the same state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Convergence {
    /// Whether every member's root, as last heard, equals this host's.
    pub converged: bool,
    /// This host's root, in hexadecimal.
    pub root: String,
    /// What the others last said of themselves.
    pub peers: Vec<ConvergencePeer>,
}

/// What a member last said of its state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConvergencePeer {
    /// The member.
    pub node: NodeId,
    /// Its name for people, as far as it is known.
    #[serde(default)]
    pub name: String,
    /// How it fares, in one word, as in the list of members; `unknown` for one that has not said anything of itself.
    #[serde(default)]
    pub status: String,
    /// Whether convergence waits for it.
    #[serde(default)]
    pub awaited: bool,
    /// Why convergence waits for a member that cannot answer, or does not wait for one.
    #[serde(default)]
    pub reason: Option<String>,
    /// Its root, in hexadecimal; `None` before it was heard.
    pub root: Option<String>,
    /// Whether that is this host's root.
    pub root_equal: bool,
    /// How many commits either side is known to lack; `None` before it was heard.
    pub lag_commits: Option<u64>,
}
