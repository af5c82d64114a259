//! What seals say of a batch: whether its writer made it, and how they are shown for parts of it.
//!
//! Owns the way in which seals lie over commits. The invariant: whatever numbers came from outside, nothing here fails but by saying so.

use super::{Batch, CommitBytes};
use crate::limits::{SEAL_BYTES_MAX, SEAL_COMMITS_MAX, SEALS_PER_BATCH_MAX};
use crate::seal::{Hash, Keys, Seal, Testimony};

/// What is wrong with a batch that somebody else than its writer sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// No seal covers some of it.
    #[error("a commit that its writer has not sealed")]
    Unsealed,
    /// A seal is not its writer's, or too long to be one.
    #[error("a seal that is not the writer's")]
    Forged,
}

impl Batch {
    /// The commits that a seal of this batch is shown for; `None` when it is for others, or for too many bytes.
    fn under(&self, seal: &Seal) -> Option<&[CommitBytes]> {
        let begin = usize::try_from(seal.from.checked_sub(self.first)?).ok()?;
        let commits = self.commits.get(begin..begin.checked_add(seal.count()?)?)?;
        let bytes: usize = commits.iter().map(CommitBytes::len).sum();
        (commits.len() == 1 || bytes <= SEAL_BYTES_MAX).then_some(commits)
    }

    fn hashes_under(&self, seal: &Seal) -> Option<Vec<Hash>> {
        Some(self.under(seal)?.iter().map(CommitBytes::hash).collect())
    }

    /// The batch of small commits as its writer seals it: for whoever makes commits without a replica.
    #[must_use]
    pub fn sealed(mut self, keys: &dyn Keys) -> Self {
        let hashes: Vec<Hash> = self.commits.iter().map(CommitBytes::hash).collect();
        let (mut from, mut before) = (self.first, None);
        self.seals.clear();
        for hashes in hashes.chunks(SEAL_COMMITS_MAX) {
            let (seal, end) = Seal::make(keys, &self.stream, (self.first, from, before), hashes);
            (from, before) = (seal.through + 1, Some(end));
            self.seals.push(seal);
        }
        self
    }

    /// Whether the writer sealed each commit of this batch.
    ///
    /// # Errors
    /// What is wrong. Each seal costs a verification, and there are at most [`SEALS_PER_BATCH_MAX`].
    pub fn verify(&self, keys: &dyn Keys) -> Result<(), Flaw> {
        if self.seals.len() > SEALS_PER_BATCH_MAX {
            return Err(Flaw::Forged);
        }
        let mut next = self.first;
        for seal in &self.seals {
            if seal.from != next {
                return Err(Flaw::Unsealed);
            }
            let hashes = self.hashes_under(seal).ok_or(Flaw::Forged)?;
            if !seal.holds(&self.stream, &hashes, keys) {
                return Err(Flaw::Forged);
            }
            next = seal.through + 1;
        }
        let end = self.first.checked_add(self.commits.len() as u64);
        if end == Some(next) { Ok(()) } else { Err(Flaw::Unsealed) }
    }

    /// Keeps of the seals those that can be what they say, in order and apart.
    pub(crate) fn tidy_seals(&mut self) {
        let mut next = self.first;
        let seals = std::mem::take(&mut self.seals).into_iter().filter(|seal| {
            let fits = seal.from >= next && self.under(seal).is_some();
            next = if fits { seal.through + 1 } else { next };
            fits
        });
        self.seals = seals.collect();
    }

    /// Drops the first `count` commits, and shows the seals for the rest.
    pub(crate) fn skip(&mut self, count: usize) {
        let next = self.first + count as u64;
        let seals = std::mem::take(&mut self.seals);
        let shown = |seal: Seal| {
            let mut seal = (seal.through >= next).then_some(seal)?;
            while seal.from < next {
                let index = usize::try_from(seal.from.checked_sub(self.first)?).ok()?;
                seal = seal.without_first(&self.stream, &self.commits.get(index)?.hash());
            }
            Some(seal)
        };
        self.seals = seals.into_iter().filter_map(shown).collect();
        self.commits.drain(..count.min(self.commits.len()));
        self.first = next;
    }

    /// How many of the first `count` commits there are before the seal that covers the next one too: what is signed as one is taken
    /// as one.
    pub(crate) fn whole_runs(&self, count: usize) -> usize {
        let next = self.first.saturating_add(count as u64);
        let cut = self.seals.iter().find(|seal| seal.from < next && seal.through >= next);
        cut.map_or(count, |seal| usize::try_from(seal.from.saturating_sub(self.first)).unwrap_or(0).min(count))
    }

    /// Keeps the first `count` commits, and the seals that cover no others.
    pub(crate) fn truncate(&mut self, count: usize) {
        self.commits.truncate(count);
        let end = self.first.saturating_add(count as u64);
        self.seals.retain(|seal| seal.through < end);
    }

    /// What the writer says of the commit at `seq`, if a seal of this batch covers it.
    pub(crate) fn testimony(&self, seq: u64) -> Option<Testimony> {
        let mut seal = *self.seals.iter().find(|seal| (seal.from..=seal.through).contains(&seq))?;
        let mut hashes = self.hashes_under(&seal)?;
        while seal.from < seq {
            seal = seal.without_first(&self.stream, &hashes.remove(0));
        }
        Some(Testimony { seal, hashes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{Incarnation, NodeId, ReplicaId, Stream};
    use crate::seal::{HashKeys, Proof};

    fn stream() -> Stream {
        Stream::global(ReplicaId { node: NodeId([1; 32]), incarnation: Incarnation(1) })
    }

    fn commits(text: &str) -> Vec<CommitBytes> {
        text.bytes().map(|byte| CommitBytes::from_bytes(&[byte; 40])).collect()
    }

    /// Commits from `first` on, sealed in runs of these lengths of one chain.
    fn sealed(first: u64, text: &str, runs: &[usize]) -> Batch {
        let mut batch = Batch::new(stream(), first, commits(text));
        let hashes: Vec<Hash> = batch.commits.iter().map(CommitBytes::hash).collect();
        let (mut from, mut before, mut at) = (first, None, 0);
        for length in runs {
            let (seal, end) = Seal::make(&HashKeys, &stream(), (first, from, before), &hashes[at..at + length]);
            (from, before, at) = (seal.through + 1, Some(end), at + length);
            batch.seals.push(seal);
        }
        batch
    }

    #[test]
    fn a_batch_is_its_writers_whole_or_not_at_all() {
        let batch = sealed(5, "abcdef", &[2, 1, 3]);
        assert_eq!(batch.verify(&HashKeys), Ok(()));
        for index in 0..6 {
            let mut changed = batch.clone();
            changed.commits[index] = CommitBytes::from_bytes(b"x");
            assert_eq!(changed.verify(&HashKeys), Err(Flaw::Forged), "commit {index}");
        }
        for index in 0..3 {
            let mut changed = batch.clone();
            changed.seals.remove(index);
            assert_eq!(changed.verify(&HashKeys), Err(Flaw::Unsealed), "without seal {index}");
        }
        let moved = Batch { first: 6, ..batch.clone() };
        assert_eq!(moved.verify(&HashKeys), Err(Flaw::Unsealed));
        let other = Stream::global(ReplicaId { node: NodeId([2; 32]), incarnation: Incarnation(1) });
        assert_eq!(Batch { stream: other, ..batch.clone() }.verify(&HashKeys), Err(Flaw::Forged));
        let longer = Batch { commits: commits("abcdefg"), ..batch };
        assert_eq!(longer.verify(&HashKeys), Err(Flaw::Unsealed));
    }

    #[test]
    fn whoever_relays_begins_anywhere() {
        let whole = sealed(5, "abcdef", &[2, 1, 3]);
        for count in 0..6 {
            let mut batch = whole.clone();
            batch.skip(count);
            assert_eq!((batch.first, batch.commits.len()), (5 + count as u64, 6 - count));
            assert_eq!(batch.verify(&HashKeys), Ok(()), "without the first {count}");
        }
        let mut batch = whole;
        batch.truncate(4);
        assert_eq!(batch.verify(&HashKeys), Err(Flaw::Unsealed), "the end of a run is missing");
        batch.truncate(3);
        assert_eq!(batch.verify(&HashKeys), Ok(()));
    }

    #[test]
    fn seals_of_no_sense_are_forged_and_do_not_panic() {
        let batch = sealed(1, "ab", &[2]);
        let seal = batch.seals[0];
        let wrong = [
            Seal { from: 0, ..seal },
            Seal { first: 0, ..seal },
            Seal { first: u64::MAX, ..seal },
            Seal { through: u64::MAX, ..seal },
            Seal { through: 0, ..seal },
            Seal { through: 1, ..seal },
            Seal { from: u64::MAX, through: u64::MAX, ..seal },
            Seal { before: Some(Hash([0; 32])), ..seal },
        ];
        for seal in wrong {
            let mut changed = Batch { seals: vec![seal], ..batch.clone() };
            assert!(changed.verify(&HashKeys).is_err(), "{seal:?}");
            changed.tidy_seals();
            changed.skip(1);
            drop(changed.testimony(2));
        }
    }

    #[test]
    fn a_run_is_bounded() {
        let text: String = std::iter::repeat_n('a', SEAL_COMMITS_MAX + 1).collect();
        assert_eq!(sealed(1, &text[1..], &[SEAL_COMMITS_MAX]).verify(&HashKeys), Ok(()));
        assert_eq!(sealed(1, &text, &[SEAL_COMMITS_MAX + 1]).verify(&HashKeys), Err(Flaw::Forged));
    }

    #[test]
    fn two_commits_under_one_name_are_a_proof_and_nothing_else_is() {
        let (one, other) = (sealed(5, "abcdef", &[6]), sealed(3, "xyaBc", &[1, 4]));
        let proof = |seq| {
            let (one, other) = (one.testimony(seq)?, other.testimony(seq)?);
            Some(Proof { stream: stream(), one, other })
        };
        assert!(proof(6).is_some_and(|proof| proof.verify(&HashKeys) && proof.dot().seq == 6), "b and B");
        assert!(proof(5).is_some_and(|proof| !proof.verify(&HashKeys)), "a and a");
        assert!(proof(7).is_some_and(|proof| !proof.verify(&HashKeys)), "c and c");
        let sound = proof(6).expect("covered by both");
        let mut forged = sound.clone();
        forged.other.hashes[0] = Hash([9; 32]);
        assert!(!forged.verify(&HashKeys));
        let other = Stream::global(ReplicaId { node: NodeId([2; 32]), incarnation: Incarnation(1) });
        assert!(!Proof { stream: other, ..sound }.verify(&HashKeys), "of another writer");
    }
}
