//! Seals: a writer's word that commits are its own, so that others may be given them by whoever has them.
//!
//! Owns the chain over the commits of a stream, what is signed, and what proves that a writer gave one name to two commits. A
//! chain begins anywhere in a stream, at [`Seal::first`], and each commit adds a link to it: `c = H(c before, H(commit))`. A seal
//! signs the chain's value after one commit, and so all commits since the beginning. Whoever passes commits on may begin anywhere,
//! given the value before, and end wherever there is a seal. A writer that seals the same commits again, in another chain, does
//! not contradict itself. Does not know keys: [`Keys`] does. The invariant: what a seal was verified for was signed by the
//! stream's writer, commit by commit.

use std::fmt::Debug;

use serde::{Deserialize, Serialize};

use crate::id::{Dot, NodeId, Stream};
use crate::limits::{SEAL_COMMITS_MAX, SEQ_MAX};

/// What is signed begins with this, so that it can be taken for nothing else that a node signs.
const DOMAIN: &[u8] = b"selvedge seal v1";

/// What hashes the beginning of a chain.
const CHAIN: &str = "selvedge seal chain v1";

/// Signs as this node, and verifies what others signed.
pub trait Keys: Debug + Send + Sync {
    /// The signature of `me`, this node, under `bytes`.
    fn sign(&self, me: NodeId, bytes: &[u8]) -> [u8; 64];

    /// Whether `signature` is that of `signer` under `bytes`.
    fn verify(&self, signer: NodeId, bytes: &[u8], signature: &[u8; 64]) -> bool;
}

/// Stands in for keys in simulations and tests: a hash of the signer's name and the bytes. It keeps out mistakes and nobody who
/// knows this line; an agent has real keys.
#[derive(Clone, Copy, Debug, Default)]
pub struct HashKeys;

impl Keys for HashKeys {
    fn sign(&self, me: NodeId, bytes: &[u8]) -> [u8; 64] {
        let mut signature = [0; 64];
        blake3::Hasher::new_keyed(&me.0).update(bytes).finalize_xof().fill(&mut signature);
        signature
    }

    fn verify(&self, signer: NodeId, bytes: &[u8], signature: &[u8; 64]) -> bool {
        self.sign(signer, bytes) == *signature
    }
}

/// The hash of a commit, or a chain's value after one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Hash(#[serde(with = "serde_bytes")] pub [u8; 32]);

impl Hash {
    /// The hash of a commit as it travels.
    #[must_use]
    pub fn of(commit: &[u8]) -> Self {
        Self(blake3::hash(commit).into())
    }

    /// A chain's value before its first commit.
    fn start(stream: &Stream, first: u64) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(CHAIN);
        hasher.update(&name_of(stream)).update(&first.to_le_bytes());
        Self(hasher.finalize().into())
    }

    /// A chain's value after one more commit.
    #[must_use]
    pub(crate) fn then(&self, commit: &Self) -> Self {
        let mut bytes = [0; 64];
        bytes[..32].copy_from_slice(&self.0);
        bytes[32..].copy_from_slice(&commit.0);
        Self(blake3::hash(&bytes).into())
    }
}

/// The writer's signature under a run of consecutive commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seal {
    /// The commit with which the chain begins.
    #[serde(rename = "f")]
    pub first: u64,
    /// The first commit that this seal is shown for here.
    #[serde(rename = "b")]
    pub from: u64,
    /// The last commit, after which the chain was signed.
    #[serde(rename = "t")]
    pub through: u64,
    /// The chain's value before `from`; absent where the chain begins there.
    #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Hash>,
    /// The writer's signature.
    #[serde(rename = "s", with = "serde_bytes")]
    pub signature: [u8; 64],
}

impl Seal {
    /// The seal of the writer `me` under `hashes`, which begin at `from` in the chain that begins at `first`; and the chain's value
    /// after them.
    pub(crate) fn make(
        keys: &dyn Keys,
        stream: &Stream,
        (first, from, before): (u64, u64, Option<Hash>),
        hashes: &[Hash],
    ) -> (Self, Hash) {
        let through = from + (hashes.len() as u64).saturating_sub(1);
        let unsigned = Self { first, from, through, before, signature: [0; 64] };
        let end = unsigned.end_over(stream, hashes);
        let signature = keys.sign(stream.replica.node, &unsigned.preimage(stream, &end));
        (Self { signature, ..unsigned }, end)
    }

    /// How many commits it is shown for; `None` when its numbers make no sense.
    #[must_use]
    pub fn count(&self) -> Option<usize> {
        let begins = (self.from == self.first) == self.before.is_none();
        let sound = begins && 0 < self.first && self.first <= self.from && self.from <= self.through;
        let count = usize::try_from(self.through.checked_sub(self.from)?.checked_add(1)?).ok()?;
        (sound && self.through <= SEQ_MAX && count <= SEAL_COMMITS_MAX).then_some(count)
    }

    /// The chain's value before the commit at `from`.
    pub(crate) fn begin(&self, stream: &Stream) -> Hash {
        self.before.unwrap_or_else(|| Hash::start(stream, self.first))
    }

    /// The chain's value after `hashes`, the commits that it is shown for.
    pub(crate) fn end_over(&self, stream: &Stream, hashes: &[Hash]) -> Hash {
        hashes.iter().fold(self.begin(stream), |link, hash| link.then(hash))
    }

    /// Shown for less: from one commit later on.
    pub(crate) fn without_first(self, stream: &Stream, hash: &Hash) -> Self {
        let before = Some(self.begin(stream).then(hash));
        Self { from: self.from + 1, before, ..self }
    }

    /// Whether the stream's writer signed the chain that has the value `end` after `through`.
    pub(crate) fn is_signed(&self, stream: &Stream, end: &Hash, keys: &dyn Keys) -> bool {
        keys.verify(stream.replica.node, &self.preimage(stream, end), &self.signature)
    }

    /// Whether the stream's writer sealed the commits with these hashes, and none beside.
    #[must_use]
    pub fn holds(&self, stream: &Stream, hashes: &[Hash], keys: &dyn Keys) -> bool {
        self.count() == Some(hashes.len()) && self.is_signed(stream, &self.end_over(stream, hashes), keys)
    }

    fn preimage(&self, stream: &Stream, end: &Hash) -> Vec<u8> {
        let (first, through) = (self.first.to_le_bytes(), self.through.to_le_bytes());
        [DOMAIN, &name_of(stream), &first, &through, &end.0].concat()
    }
}

/// A seal with the hashes of what it is shown for: enough to know what was signed, whatever it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Testimony {
    /// The seal, shown for the commit in question and what follows.
    #[serde(rename = "s")]
    pub seal: Seal,
    /// The hashes of these commits.
    #[serde(rename = "h")]
    pub hashes: Vec<Hash>,
}

/// That a writer gave one name to two commits. Anybody can verify it; nobody but the writer (or who has its key) can make it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// The stream.
    #[serde(rename = "s")]
    pub stream: Stream,
    /// What the writer signed.
    #[serde(rename = "a")]
    pub one: Testimony,
    /// What it signed as well, from the same commit on.
    #[serde(rename = "b")]
    pub other: Testimony,
}

impl Proof {
    /// The name that was given twice.
    #[must_use]
    pub const fn dot(&self) -> Dot {
        Dot { replica: self.stream.replica, seq: self.one.seal.from }
    }

    /// Whether it proves what it says. Two verifications.
    #[must_use]
    pub fn verify(&self, keys: &dyn Keys) -> bool {
        let (one, other) = (&self.one, &self.other);
        let same_name = one.seal.from == other.seal.from;
        let two_commits = !one.hashes.is_empty() && one.hashes.first() != other.hashes.first();
        let holds = |of: &Testimony| of.seal.holds(&self.stream, &of.hashes, keys);
        same_name && two_commits && holds(one) && holds(other)
    }
}

/// A stream in bytes of constant length.
fn name_of(stream: &Stream) -> [u8; 44] {
    let mut name = [0; 44];
    name[..4].copy_from_slice(&stream.scope.0.to_le_bytes());
    name[4..36].copy_from_slice(&stream.replica.node.0);
    name[36..].copy_from_slice(&stream.replica.incarnation.0.to_le_bytes());
    name
}
