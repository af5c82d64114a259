//! Which proofs of equivocation are kept: a key costs nothing to make, and with it a proof about it.
//!
//! Owns the tables and their shares; verifies nothing. The invariants: whatever is proven about others, there is room for members; what
//! is told to others is about members and writers that are known here, so that nobody makes members tell each other without end.

use std::collections::BTreeMap;

use crate::id::{NodeId, Stream};
use crate::limits::{PROOFS_FOREIGN_MAX, PROOFS_MAX, PROOFS_PER_NODE, PROOFS_STRANGE_MAX};
use crate::seal::Proof;

/// Whom a proof is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// A member, or ourselves.
    Member,
    /// Somebody who is no member and has written here.
    Writer,
    /// Somebody of whom nothing is known here.
    Stranger,
}

/// What became of a proof.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Kept {
    /// It is kept, and was not before.
    pub(super) is_new: bool,
    /// Proofs that there is no room for (any more).
    pub(super) crowded_out: u64,
}

#[derive(Debug, Default)]
pub(super) struct Proofs {
    kept: BTreeMap<Stream, Proof>,
    /// About strangers, with when each came.
    strange: BTreeMap<Stream, (u64, Proof)>,
    came: u64,
}

impl Proofs {
    /// What an earlier process kept; it had verified it.
    pub(super) fn of(proofs: Vec<Proof>) -> Self {
        let kept = proofs.into_iter().map(|proof| (proof.stream, proof)).take(PROOFS_MAX).collect();
        Self { kept, ..Self::default() }
    }

    pub(super) fn is_about(&self, stream: &Stream) -> bool {
        self.kept.contains_key(stream) || self.strange.contains_key(stream)
    }

    /// Those to be stored and told, of the greatest stream first.
    pub(super) fn kept(&self) -> impl Iterator<Item = &Proof> {
        self.kept.values().rev()
    }

    /// The streams of strangers about whom there are proofs.
    pub(super) fn strangers(&self) -> impl Iterator<Item = &Stream> {
        self.strange.keys()
    }

    pub(super) fn take_strange(&mut self, stream: &Stream) -> Option<Proof> {
        self.strange.remove(stream).map(|(_, proof)| proof)
    }

    /// Keeps a proof that was verified, if there is room for it: the newest few of each node.
    pub(super) fn keep(&mut self, proof: Proof, whose: Whose, is_member: impl Fn(&NodeId) -> bool) -> Kept {
        if self.is_about(&proof.stream) {
            return Kept::default();
        }
        if whose == Whose::Stranger {
            return self.keep_strange(proof);
        }
        let (stream, node) = (proof.stream, proof.stream.replica.node);
        let of_node = |of: &&Stream| of.replica.node == node;
        let oldest = self.kept.keys().find(of_node).copied();
        let is_full = self.kept.keys().filter(of_node).count() >= PROOFS_PER_NODE;
        let crowded_out = u64::from(is_full);
        if let Some(oldest) = oldest.filter(|_| is_full) {
            if stream < oldest {
                return Kept { is_new: false, crowded_out };
            }
            self.kept.remove(&oldest);
        }
        let foreign = || self.kept.keys().filter(|of| !is_member(&of.replica.node)).count();
        if self.kept.len() >= PROOFS_MAX || (whose == Whose::Writer && foreign() >= PROOFS_FOREIGN_MAX) {
            return Kept { is_new: false, crowded_out: 1 };
        }
        self.kept.insert(stream, proof);
        Kept { is_new: true, crowded_out }
    }

    fn keep_strange(&mut self, proof: Proof) -> Kept {
        let is_full = self.strange.len() >= PROOFS_STRANGE_MAX;
        let oldest = self.strange.iter().min_by_key(|(_, (came, _))| *came).map(|(stream, _)| *stream);
        if let Some(oldest) = oldest.filter(|_| is_full) {
            self.strange.remove(&oldest);
        }
        self.came += 1;
        self.strange.insert(proof.stream, (self.came, proof));
        Kept { is_new: true, crowded_out: u64::from(is_full) }
    }
}
