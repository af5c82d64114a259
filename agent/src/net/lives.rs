//! Which process stands behind a key: two of them with one key are told from one that was restarted.
//!
//! Pure. Each process draws a number at its start and shows it when it is admitted. The rule: a process that was restarted shows
//! a new number and never an earlier one again; so whoever shows an earlier number again is a second process. The invariant:
//! once two are known, the one that is connected stays, and the links of the key do not go back and forth.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use selvedge_sync::id::NodeId;

/// Earlier numbers that are remembered of a node: more processes than that with one key are not told apart at once.
const EARLIER_MAX: usize = 4;

/// Nodes that are remembered: as many as there may be connections.
const NODES_MAX: usize = 1_024;

/// How long it is held against a key that two processes had it. A second process dials every few seconds, so this says only how soon
/// a key is in good standing again once its copy has ended.
const SUSPICION: Duration = Duration::from_mins(2);

/// Another process with the same key is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TwoHolders;

#[derive(Debug)]
struct Seen {
    current: u64,
    earlier: VecDeque<u64>,
    /// When two were last seen.
    two_at: Option<Instant>,
    at: Instant,
}

/// The numbers that nodes have shown.
#[derive(Debug, Default)]
pub(super) struct Lives {
    seen: BTreeMap<NodeId, Seen>,
}

impl Lives {
    /// A process with `node`'s key shows `life`. `is_connected` says whether one is connected now.
    pub(super) fn meet(&mut self, node: NodeId, life: u64, is_connected: bool, now: Instant) -> Result<(), TwoHolders> {
        if self.seen.len() >= NODES_MAX && !self.seen.contains_key(&node) {
            let eldest = self.seen.iter().min_by_key(|(_, seen)| seen.at).map(|(node, _)| *node);
            eldest.and_then(|node| self.seen.remove(&node));
        }
        let seen = self.seen.entry(node).or_insert_with(|| Seen {
            current: life,
            earlier: VecDeque::new(),
            two_at: None,
            at: now,
        });
        seen.at = now;
        if life == seen.current {
            return Ok(());
        }
        if seen.earlier.contains(&life) {
            seen.two_at = Some(now);
        }
        if is_connected && seen.is_suspect(now) {
            seen.two_at = Some(now);
            return Err(TwoHolders);
        }
        seen.earlier.retain(|earlier| *earlier != life);
        seen.earlier.push_back(std::mem::replace(&mut seen.current, life));
        if seen.earlier.len() > EARLIER_MAX {
            seen.earlier.pop_front();
        }
        Ok(())
    }

    /// Another process shows our own number's key.
    pub(super) fn meet_own(&mut self, own: NodeId, now: Instant) {
        let seen = self.seen.entry(own).or_insert_with(|| Seen {
            current: 0,
            earlier: VecDeque::new(),
            two_at: None,
            at: now,
        });
        (seen.two_at, seen.at) = (Some(now), now);
    }

    /// The number of the process that was admitted last.
    pub(super) fn current(&self, node: NodeId) -> Option<u64> {
        self.seen.get(&node).map(|seen| seen.current)
    }

    /// The nodes whose key two processes have had of late.
    pub(super) fn suspects(&self, now: Instant) -> Vec<NodeId> {
        self.seen.iter().filter(|(_, seen)| seen.is_suspect(now)).map(|(node, _)| *node).collect()
    }
}

impl Seen {
    fn is_suspect(&self, now: Instant) -> bool {
        self.two_at.is_some_and(|at| now.saturating_duration_since(at) < SUSPICION)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: NodeId = NodeId([1; 32]);

    #[test]
    fn restarts_are_no_second_holder() {
        let (mut lives, now) = (Lives::default(), Instant::now());
        for life in 0..100 {
            assert_eq!(lives.meet(NODE, life, true, now), Ok(()));
            assert_eq!(lives.meet(NODE, life, true, now), Ok(()), "a second link");
            assert_eq!(lives.current(NODE), Some(life));
        }
        assert!(lives.suspects(now).is_empty());
    }

    #[test]
    fn of_two_holders_the_one_that_is_connected_stays() {
        let (mut lives, now) = (Lives::default(), Instant::now());
        assert_eq!(lives.meet(NODE, 1, false, now), Ok(()));
        assert_eq!(lives.meet(NODE, 2, true, now), Ok(()), "it may have been restarted");
        for _ in 0..10 {
            assert_eq!(lives.meet(NODE, 1, true, now), Err(TwoHolders));
            assert_eq!(lives.meet(NODE, 2, true, now), Ok(()));
        }
        assert_eq!(lives.suspects(now), [NODE]);
        assert_eq!(lives.meet(NODE, 3, true, now), Err(TwoHolders), "nor a third");
        assert_eq!(lives.meet(NODE, 1, false, now), Ok(()), "unless nobody is connected");
        assert!(lives.suspects(now + SUSPICION).is_empty());
        assert_eq!(lives.meet(NODE, 9, true, now + SUSPICION), Ok(()), "and it may be restarted again");
    }
}
