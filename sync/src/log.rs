//! The retained log: encoded commits in memory, by stream, from which peers that are behind are served.
//!
//! Owns retention in memory; durability is the store's. `sealed` keeps what their writers signed, and gives peers only that. The
//! invariant: the commits of a stream are consecutive, and end at the newest that was applied.

mod sealed;

use std::collections::{BTreeMap, VecDeque};

use self::sealed::Sealed;
pub use self::sealed::Served;
use crate::commit::{Batch, CommitBytes};
use crate::id::Stream;
use crate::planted::{self, Bug};

/// Commits by stream.
#[derive(Clone, Debug, Default)]
pub struct Log {
    streams: BTreeMap<Stream, Segment>,
    bytes: usize,
    commits: usize,
    seals: usize,
}

#[derive(Clone, Debug)]
struct Segment {
    first: u64,
    commits: VecDeque<CommitBytes>,
    /// What is sealed of them, in order and apart.
    seals: VecDeque<Sealed>,
}

/// What the log holds of a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Range {
    /// Nothing is asked for.
    Nothing,
    /// The beginning of the range is not retained any more.
    Forgotten,
    /// A batch from the beginning of the range; `whole` when it reaches the end.
    Batch {
        /// The commits.
        batch: Batch,
        /// Whether nothing of the range is left out.
        whole: bool,
    },
}

impl Log {
    /// Appends the commit at `seq`. A gap before it, as a repair leaves, forgets what was before the gap.
    pub fn push(&mut self, stream: Stream, seq: u64, commit: CommitBytes) {
        let gap = self.streams.get(&stream).is_some_and(|segment| segment.next() != seq);
        if gap && !planted::is(Bug::LogBridgesGap) {
            self.forget_stream(&stream);
        }
        self.bytes += commit.len();
        self.commits += 1;
        let empty = || Segment { first: seq, commits: VecDeque::new(), seals: VecDeque::new() };
        let segment = self.streams.entry(stream).or_insert_with(empty);
        segment.commits.push_back(commit);
    }

    /// The commits of `stream` from `from` to `through`, as many as fit into `budget` bytes but at least one. Without seals: nobody
    /// else is given these.
    #[must_use]
    pub fn range(&self, stream: &Stream, from: u64, through: u64, budget: usize) -> Range {
        if from > through {
            return Range::Nothing;
        }
        let Some(segment) = self.streams.get(stream).filter(|segment| segment.first <= from && from < segment.next())
        else {
            return forgotten();
        };
        let mut batch = Batch::new(*stream, from, Vec::new());
        let mut bytes = 0;
        let wanted = through.min(segment.next() - 1);
        for commit in (from..=wanted).filter_map(|seq| segment.commit(seq)) {
            if bytes + commit.len() > budget && !batch.commits.is_empty() {
                break;
            }
            bytes += commit.len();
            batch.commits.push(commit.clone());
        }
        let whole = from + batch.commits.len() as u64 > through;
        Range::Batch { batch, whole }
    }

    /// Drops the oldest commits while `droppable` holds for (stream, seq, how many the stream retains).
    pub fn forget_while(&mut self, droppable: impl Fn(&Stream, u64, usize) -> bool) {
        for (stream, segment) in &mut self.streams {
            while !segment.commits.is_empty() && droppable(stream, segment.first, segment.commits.len()) {
                let Some((commit, unsealed)) = segment.pop_first(stream) else { break };
                self.bytes -= commit.len();
                self.commits -= 1;
                self.seals -= unsealed;
            }
        }
    }

    /// Drops oldest commits, from the longest stream first, until at most `limit` bytes are left. Of the stream of `kept`, what
    /// follows the commit of that number goes last: nobody else may have it.
    pub fn shrink_to(&mut self, limit: usize, kept: (&Stream, u64)) {
        while self.bytes > limit && !planted::is(Bug::LogUnbounded) {
            let spare = |(stream, segment): &(&Stream, &mut Segment)| {
                let all = segment.commits.len() as u64;
                let droppable =
                    if *stream == kept.0 { all.min((kept.1 + 1).saturating_sub(segment.first)) } else { all };
                (droppable, all)
            };
            let longest = self.streams.iter_mut().max_by_key(spare);
            let Some((stream, segment)) = longest else { return };
            let Some((commit, unsealed)) = segment.pop_first(stream) else { return };
            self.bytes -= commit.len();
            self.commits -= 1;
            self.seals -= unsealed;
        }
    }

    /// The commit at `seq`; `None` when it is not retained.
    #[must_use]
    pub fn get(&self, stream: &Stream, seq: u64) -> Option<&CommitBytes> {
        self.streams.get(stream).and_then(|segment| segment.commit(seq))
    }

    /// The first and the last retained sequence number of `stream`; `None` when nothing of it is retained.
    #[must_use]
    pub fn retained(&self, stream: &Stream) -> Option<(u64, u64)> {
        let segment = self.streams.get(stream).filter(|segment| !segment.commits.is_empty())?;
        Some((segment.first, segment.next() - 1))
    }

    /// The first retained sequence number of each stream.
    #[must_use]
    pub fn firsts(&self) -> Vec<(Stream, u64)> {
        self.streams.iter().map(|(stream, segment)| (*stream, segment.first)).collect()
    }

    /// Bytes retained.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Commits retained.
    #[must_use]
    pub const fn commits(&self) -> usize {
        self.commits
    }

    fn forget_stream(&mut self, stream: &Stream) {
        if let Some(segment) = self.streams.remove(stream) {
            self.commits -= segment.commits.len();
            self.seals -= segment.seals.len();
            self.bytes -= segment.commits.iter().map(CommitBytes::len).sum::<usize>();
        }
    }
}

impl Segment {
    fn next(&self) -> u64 {
        self.first + self.commits.len() as u64
    }

    fn commit(&self, seq: u64) -> Option<&CommitBytes> {
        let index = usize::try_from(seq.checked_sub(self.first)?).ok()?;
        self.commits.get(index)
    }

    /// Drops the oldest commit; returns it, and how many seals went with it.
    fn pop_first(&mut self, stream: &Stream) -> Option<(CommitBytes, usize)> {
        let commit = self.commits.pop_front()?;
        let seq = self.first;
        self.first += 1;
        match self.seals.front_mut() {
            Some(sealed) if sealed.seal.through == seq => {
                self.seals.pop_front();
                Some((commit, 1))
            }
            Some(sealed) if sealed.seal.from == seq => {
                sealed.seal = sealed.seal.without_first(stream, &commit.hash());
                Some((commit, 0))
            }
            Some(_) | None => Some((commit, 0)),
        }
    }
}

fn forgotten() -> Range {
    if planted::is(Bug::LogDeniesForgetting) { Range::Nothing } else { Range::Forgotten }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{Incarnation, NodeId, ReplicaId};

    fn stream() -> Stream {
        Stream::global(ReplicaId { node: NodeId([1; 32]), incarnation: Incarnation(1) })
    }

    fn log(seqs: std::ops::RangeInclusive<u64>) -> Log {
        let mut log = Log::default();
        seqs.for_each(|seq| log.push(stream(), seq, CommitBytes::from_bytes(&[0; 10])));
        log
    }

    #[test]
    fn a_range_is_paged_by_bytes() {
        let check = |from, through, budget, expect: Option<(usize, bool)>| match log(3..=9).range(
            &stream(),
            from,
            through,
            budget,
        ) {
            Range::Batch { batch, whole } => assert_eq!(Some((batch.commits.len(), whole)), expect),
            Range::Nothing | Range::Forgotten => assert_eq!(None, expect),
        };
        check(3, 9, 1_000, Some((7, true)));
        check(3, 9, 25, Some((2, false)));
        check(3, 9, 1, Some((1, false)));
        check(8, 9, 20, Some((2, true)));
        check(2, 9, 1_000, None);
        check(10, 9, 1_000, None);
    }

    #[test]
    fn a_gap_forgets_what_was_before_it() {
        let mut log = log(1..=5);
        log.push(stream(), 9, CommitBytes::from_bytes(&[0; 4]));
        assert_eq!((log.firsts(), log.commits(), log.bytes()), (vec![(stream(), 9)], 1, 4));
    }

    #[test]
    fn what_nobody_else_may_have_goes_last() {
        let mut log = log(1..=10);
        let other = Stream::global(ReplicaId { node: NodeId([9; 32]), incarnation: Incarnation(1) });
        (1..=3).for_each(|seq| log.push(other, seq, CommitBytes::from_bytes(&[0; 10])));
        log.shrink_to(80, (&stream(), 2));
        assert_eq!(log.retained(&stream()), Some((3, 10)));
        assert_eq!(log.retained(&other), None);
        log.shrink_to(30, (&stream(), 2));
        assert_eq!(log.retained(&stream()), Some((8, 10)));
    }

    #[test]
    fn shrinking_keeps_the_newest() {
        let mut log = log(1..=10);
        log.shrink_to(35, (&Stream::global(ReplicaId { node: NodeId([9; 32]), incarnation: Incarnation(1) }), 0));
        assert_eq!((log.firsts(), log.bytes()), (vec![(stream(), 8)], 30));
    }
}
