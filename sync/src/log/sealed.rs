//! The seals of retained commits, and what peers are given: nothing that its writer has not signed.
//!
//! Seals of one chain that follow each other are one seal for all that they cover, so old ones are joined, and a page of small
//! commits has few. What came straight from its writer was believed without looking at its seals: those are looked at before
//! they are shown to others. The invariant: whoever verifies what [`Log::serve`] gives finds it sound.

use super::{Log, Range, Segment, forgotten};
use crate::commit::{Batch, CommitBytes};
use crate::id::Stream;
use crate::limits::{SEAL_BYTES_MAX, SEAL_COMMITS_MAX, SEALS_FINE, SEALS_MAX, SEALS_PER_BATCH_MAX};
use crate::planted::{self, Bug};
use crate::seal::{Hash, Keys, Seal, Testimony};

/// What a seal takes in a message, in bytes.
const SEAL_WIRE_BYTES: usize = 128;

#[derive(Clone, Debug)]
pub(super) struct Sealed {
    pub(super) seal: Seal,
    /// The chain's value after it, once that is known.
    end: Option<Hash>,
    /// Whether the signature was verified.
    is_checked: bool,
}

/// What a peer may be given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// The commits, sealed.
    pub range: Range,
    /// A commit whose writer gave us a seal that is none: it was dropped.
    pub forged: Option<u64>,
}

/// Some of the seals of a stream, shown as one.
struct Run {
    seal: Seal,
    /// The chain's value after it.
    end: Hash,
    /// Which seal it ends with: the one that was signed.
    last: usize,
}

impl Log {
    /// Keeps the seals of a batch whose commits were pushed, as far as they go on after those that are kept already.
    pub fn attach(&mut self, stream: &Stream, seals: &[Seal], is_checked: bool) {
        let Some(segment) = self.streams.get_mut(stream) else { return };
        for seal in seals {
            let next = segment.seals.back().map_or(segment.first, |last| last.seal.through + 1);
            if seal.from >= next && seal.through < segment.next() && seal.count().is_some() {
                segment.seals.push_back(Sealed { seal: *seal, end: None, is_checked });
                self.seals += 1;
                self.seals -= segment.join_old(stream);
            }
        }
        while self.seals > SEALS_MAX && segment.seals.pop_front().is_some() {
            self.seals -= 1;
        }
    }

    /// Seals what is not sealed yet of a stream of ours, up to `through`.
    pub fn seal(&mut self, stream: &Stream, through: u64, keys: &dyn Keys) {
        let Some(segment) = self.streams.get_mut(stream) else { return };
        let through = through.min(segment.next() - 1);
        loop {
            let last = segment.seals.back().map(|last| (last.seal, last.end));
            let from = last.map_or(segment.first, |(seal, _)| seal.through + 1);
            if from > through {
                return;
            }
            let chain = match last {
                Some((seal, Some(end))) => (seal.first, from, Some(end)),
                Some((_, None)) | None => (from, from, None),
            };
            let (seal, end) = Seal::make(keys, stream, chain, &segment.hashes(from, segment.end_of_run(from, through)));
            segment.seals.push_back(Sealed { seal, end: Some(end), is_checked: true });
            self.seals += 1;
            self.seals -= segment.join_old(stream);
        }
    }

    /// The commits of `stream` from `from` to `through` with their seals, as many as fit into `budget` bytes but at least one run.
    /// What is held without a seal counts as not retained.
    pub fn serve(&mut self, stream: &Stream, (from, through): (u64, u64), budget: usize, keys: &dyn Keys) -> Served {
        let (mut batch, mut bytes, mut forged) = (Batch::new(*stream, from, Vec::new()), 0, None);
        if from > through {
            return Served { range: Range::Nothing, forged };
        }
        let Some(segment) = self.streams.get_mut(stream).filter(|of| of.first <= from && from < of.next()) else {
            return Served { range: forgotten(), forged };
        };
        let (mut at, mut is_covered) = (from, false);
        while let Some(index) = segment.seal_of(at) {
            is_covered = true;
            let room = budget.saturating_sub(bytes);
            let Some(Run { seal, end, last }) = segment.run(stream, index, (at, through), room) else { break };
            let more = segment.bytes(at, seal.through) + SEAL_WIRE_BYTES;
            if (bytes + more > budget && !batch.commits.is_empty()) || batch.seals.len() == SEALS_PER_BATCH_MAX {
                break;
            }
            if !segment.seals[last].is_checked && !seal.is_signed(stream, &end, keys) {
                // Its writer has only itself to blame: straight from it, nobody looked.
                (forged, is_covered) = (Some(at), false);
                segment.seals.remove(last);
                self.seals -= 1;
                break;
            }
            segment.seals[last].is_checked = true;
            batch.commits.extend((at..=seal.through).filter_map(|seq| segment.commit(seq).cloned()));
            batch.seals.push(seal);
            (bytes, at) = (bytes + more, seal.through + 1);
        }
        if planted::is(Bug::LogSkipsCommit) && batch.commits.len() > 1 {
            batch.commits.remove(1);
        }
        let range = match (batch.commits.is_empty(), is_covered) {
            (false, _) => Range::Batch { whole: at > through, batch },
            // The run goes on beyond what is durable here: that is for the next time.
            (true, true) => Range::Nothing,
            (true, false) => forgotten(),
        };
        Served { range, forged }
    }

    /// What the writer says of its commit at `seq`, if it is retained with a seal that holds.
    #[must_use]
    pub fn testimony(&self, stream: &Stream, seq: u64, keys: &dyn Keys) -> Option<Testimony> {
        let segment = self.streams.get(stream)?;
        let sealed = segment.seals.get(segment.seal_of(seq)?)?;
        let mut seal = sealed.seal;
        let mut hashes = segment.hashes(seal.from, seal.through);
        if !sealed.is_checked && !seal.holds(stream, &hashes, keys) {
            return None;
        }
        while seal.from < seq {
            seal = seal.without_first(stream, &hashes.remove(0));
        }
        Some(Testimony { seal, hashes })
    }

    /// How many seals are kept.
    #[must_use]
    pub const fn seals(&self) -> usize {
        self.seals
    }
}

impl Segment {
    /// Which seal covers the commit at `seq`.
    fn seal_of(&self, seq: u64) -> Option<usize> {
        let index = self.seals.partition_point(|of| of.seal.through < seq);
        self.seals.get(index).filter(|of| of.seal.from <= seq).map(|_| index)
    }

    fn hashes(&self, from: u64, through: u64) -> Vec<Hash> {
        (from..=through).filter_map(|seq| self.commit(seq)).map(CommitBytes::hash).collect()
    }

    fn bytes(&self, from: u64, through: u64) -> usize {
        (from..=through).filter_map(|seq| self.commit(seq)).map(CommitBytes::len).sum()
    }

    /// Whether one seal may be shown for these.
    fn fits(&self, from: u64, through: u64) -> bool {
        let count = through - from + 1;
        count == 1 || (count <= SEAL_COMMITS_MAX as u64 && self.bytes(from, through) <= SEAL_BYTES_MAX)
    }

    /// The last of as many commits as one seal may be shown for.
    fn end_of_run(&self, from: u64, through: u64) -> u64 {
        let mut end = from;
        while end < through && self.fits(from, end + 1) {
            end += 1;
        }
        end
    }

    /// The seal at `index` and those that go on after it in its chain, shown for `at` and what follows, up to `through` and while
    /// there is `room`. `None` when the first of them ends later.
    fn run(&self, stream: &Stream, index: usize, (at, through): (u64, u64), room: usize) -> Option<Run> {
        let first = self.seals.get(index).filter(|first| first.seal.through <= through)?;
        let (mut seal, mut last) = (first.seal, index);
        let mut hashes = self.hashes(seal.from, seal.through).into_iter();
        while seal.from < at {
            seal = seal.without_first(stream, &hashes.next()?);
        }
        let mut end = hashes.fold(seal.begin(stream), |link, hash| link.then(&hash));
        while let Some(next) = self.seals.get(last + 1)
            && next.seal.through <= through
            && follows(&seal, &end, &next.seal)
            && self.fits(at, next.seal.through)
            && self.bytes(at, next.seal.through) <= room
        {
            end = self.hashes(next.seal.from, next.seal.through).iter().fold(end, |link, hash| link.then(hash));
            seal = Seal { through: next.seal.through, signature: next.seal.signature, ..seal };
            last += 1;
        }
        Some(Run { seal, end, last })
    }

    /// Joins the newest seal but [`SEALS_FINE`] with the one before it, if they are of one chain; returns how many are gone. The
    /// newest stay as they are: what is not durable yet is not given to others, and a run is given whole.
    fn join_old(&mut self, stream: &Stream) -> usize {
        let Some(next) = self.seals.len().checked_sub(SEALS_FINE + 1).filter(|next| *next > 0) else { return 0 };
        let end_of = |of: &Sealed| {
            let hashes = || self.hashes(of.seal.from, of.seal.through);
            of.end.unwrap_or_else(|| of.seal.end_over(stream, &hashes()))
        };
        let (before, after) = (&self.seals[next - 1], &self.seals[next]);
        if after.seal.first != before.seal.first || !self.fits(before.seal.from, after.seal.through) {
            return 0;
        }
        let end = end_of(before);
        if !follows(&before.seal, &end, &after.seal) {
            return 0;
        }
        let seal = Seal { through: after.seal.through, signature: after.seal.signature, ..before.seal };
        self.seals[next - 1] = Sealed { seal, end: Some(end_of(after)), is_checked: after.is_checked };
        self.seals.remove(next);
        1
    }
}

/// Whether `next` goes on in the chain of `seal`, which has the value `end` after it.
fn follows(seal: &Seal, end: &Hash, next: &Seal) -> bool {
    next.first == seal.first && next.from == seal.through + 1 && next.before == Some(*end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{Incarnation, NodeId, ReplicaId};
    use crate::seal::HashKeys;

    fn stream() -> Stream {
        Stream::global(ReplicaId { node: NodeId([1; 32]), incarnation: Incarnation(1) })
    }

    /// A log of the writer that holds these commits, sealed one by one.
    fn written(seqs: std::ops::RangeInclusive<u64>) -> Log {
        let mut log = Log::default();
        for seq in seqs {
            log.push(stream(), seq, CommitBytes::from_bytes(&seq.to_le_bytes()));
            log.seal(&stream(), seq, &HashKeys);
        }
        log
    }

    fn given(log: &mut Log, from: u64, through: u64, budget: usize) -> Option<(Batch, bool)> {
        match log.serve(&stream(), (from, through), budget, &HashKeys).range {
            Range::Batch { batch, whole } => Some((batch, whole)),
            Range::Nothing | Range::Forgotten => None,
        }
    }

    #[test]
    fn what_is_given_is_sealed_wherever_it_begins() {
        for (from, through) in [(3, 300), (4, 300), (100, 299), (250, 300), (299, 300)] {
            let mut log = written(3..=300);
            let mut at = from;
            while at <= through {
                let (batch, whole) = given(&mut log, at, through, 1_000).unwrap_or_else(|| panic!("{at} to {through}"));
                assert_eq!(batch.verify(&HashKeys), Ok(()), "{at} to {through}");
                at += batch.commits.len() as u64;
                assert_eq!(whole, at > through);
            }
            assert_eq!(at, through + 1);
        }
    }

    #[test]
    fn a_relay_gives_what_it_was_given() {
        let (mut writer, mut relay) = (Log::default(), Log::default());
        for seq in 3..=200 {
            writer.push(stream(), seq, CommitBytes::from_bytes(&seq.to_le_bytes()));
            writer.seal(&stream(), seq, &HashKeys);
            let (batch, _) = given(&mut writer, seq, seq, 1_000).expect("it was just made");
            relay.push(stream(), seq, batch.commits[0].clone());
            relay.attach(&stream(), &batch.seals, false);
        }
        let (batch, whole) = given(&mut relay, 50, 200, 1 << 20).expect("retained");
        assert!(whole && batch.verify(&HashKeys) == Ok(()));
        assert!(batch.seals.len() <= 4 && relay.seals() <= 12, "{} of {} seals", batch.seals.len(), relay.seals());
        relay.forget_while(|_, seq, _| seq < 100);
        let (batch, _) = given(&mut relay, 100, 200, 1 << 20).expect("retained");
        assert_eq!(batch.verify(&HashKeys), Ok(()), "a run of which the beginning is forgotten");
        assert!(relay.testimony(&stream(), 110, &HashKeys).is_some_and(|of| of.seal.from == 110));
        relay.forget_while(|_, _, _| true);
        assert_eq!((relay.seals(), relay.commits()), (0, 0));
    }

    #[test]
    fn what_is_not_sealed_is_not_given() {
        let mut log = Log::default();
        (1..=3).for_each(|seq| log.push(stream(), seq, CommitBytes::from_bytes(&[7; 9])));
        let served = log.serve(&stream(), (1, 3), 1_000, &HashKeys);
        assert_eq!(served, Served { range: Range::Forgotten, forged: None });
        log.seal(&stream(), 2, &HashKeys);
        let (batch, whole) = given(&mut log, 1, 3, 1_000).expect("two are sealed");
        assert_eq!((batch.commits.len(), whole), (2, false));
        assert_eq!(given(&mut log, 1, 1, 1_000), None, "a run is given whole");
    }

    #[test]
    fn a_seal_that_is_none_is_found_before_it_is_shown() {
        let mut log = written(1..=2);
        let (batch, _) = given(&mut log, 1, 2, 1_000).expect("sealed");
        let mut relay = Log::default();
        (1..=2).for_each(|seq| relay.push(stream(), seq, CommitBytes::from_bytes(b"another")));
        relay.attach(&stream(), &batch.seals, false);
        assert_eq!(relay.testimony(&stream(), 1, &HashKeys), None);
        let served = relay.serve(&stream(), (1, 2), 1_000, &HashKeys);
        assert_eq!(served, Served { range: Range::Forgotten, forged: Some(1) });
    }
}
