//! What the callers know: every commit that was acknowledged to them, and what every counter must read in the end.
//!
//! Owns sums only; it asks nobody. The invariant: it counts answers, never requests, so that it holds no more and no less
//! than what the agents promised.

use std::collections::BTreeMap;

/// What one or many callers were promised.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Expected value by key, such as `gcounter/combat:damage:7`.
    counters: BTreeMap<String, i128>,
    /// Acknowledged sequence numbers by replica, in order of arrival.
    acknowledged: BTreeMap<String, Vec<u64>>,
}

/// A commit's name that makes no sense.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} names no commit: it is written REPLICA/SEQ")]
pub(super) struct BadCommit(String);

impl Tally {
    /// The counter `key` must read `by` more.
    pub(super) fn count(&mut self, key: String, by: i128) {
        *self.counters.entry(key).or_default() += by;
    }

    /// An agent acknowledged the commit `REPLICA/SEQ`.
    pub(super) fn acknowledge(&mut self, commit: &str) -> Result<(), BadCommit> {
        let bad = || BadCommit(commit.chars().take(120).collect());
        let (replica, seq) = commit.rsplit_once('/').ok_or_else(bad)?;
        let seq = seq.parse().ok().filter(|&seq| seq > 0 && !replica.is_empty()).ok_or_else(bad)?;
        self.acknowledged.entry(replica.to_owned()).or_default().push(seq);
        Ok(())
    }

    /// Takes in what another caller knows.
    pub(super) fn merge(&mut self, other: Self) {
        for (key, by) in other.counters {
            self.count(key, by);
        }
        for (replica, seqs) in other.acknowledged {
            self.acknowledged.entry(replica).or_default().extend(seqs);
        }
    }

    /// Sorts what was acknowledged. Returns how many acknowledgements named a commit that another one had named already:
    /// two calls in one commit, which must not be.
    pub(super) fn settle(&mut self) -> u64 {
        let mut twice = 0;
        for seqs in self.acknowledged.values_mut() {
            let before = seqs.len();
            seqs.sort_unstable();
            seqs.dedup();
            twice += (before - seqs.len()) as u64;
        }
        twice
    }

    /// How many commits were acknowledged.
    pub(super) fn commits(&self) -> u64 {
        self.acknowledged.values().map(|seqs| seqs.len() as u64).sum()
    }

    /// What every counter must read.
    pub(super) fn counters(&self) -> &BTreeMap<String, i128> {
        &self.counters
    }

    /// The acknowledged sequence numbers of every replica, ascending after [`Tally::settle`].
    pub(super) fn acknowledged(&self) -> &BTreeMap<String, Vec<u64>> {
        &self.acknowledged
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_of_several_callers_add_up() {
        let (mut a, mut b) = (Tally::default(), Tally::default());
        a.count("gcounter/x".into(), 5);
        a.count("pncounter/y".into(), -3);
        b.count("gcounter/x".into(), 7);
        b.count("pncounter/y".into(), 1);
        b.count("gcounter/z".into(), 0);
        a.merge(b);
        let expect = [("gcounter/x", 12), ("gcounter/z", 0), ("pncounter/y", -2)];
        assert_eq!(a.counters().iter().map(|(key, value)| (key.as_str(), *value)).collect::<Vec<_>>(), expect);
    }

    #[test]
    fn acknowledged_commits_are_sorted_and_counted_once() {
        let (mut a, mut b) = (Tally::default(), Tally::default());
        for commit in ["12D3.1/3", "12D3.1/1", "12D4.1/9"] {
            a.acknowledge(commit).unwrap();
        }
        b.acknowledge("12D3.1/2").unwrap();
        b.acknowledge("12D3.1/3").unwrap();
        a.merge(b);
        assert_eq!(a.settle(), 1);
        assert_eq!(a.commits(), 4);
        assert_eq!(a.acknowledged()["12D3.1"], [1, 2, 3]);
        assert_eq!(a.acknowledged()["12D4.1"], [9]);
    }

    #[test]
    fn a_commit_needs_a_replica_and_a_number() {
        for text in ["", "x", "x/", "/1", "x/0", "x/-1", "x/1.5", "x/18446744073709551616"] {
            assert_eq!(Tally::default().acknowledge(text), Err(BadCommit(text.to_owned())));
        }
    }
}
