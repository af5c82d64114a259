//! What happened to a replica, counted by reason. Counters only ever grow.

/// What happened to a replica so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Commits made here.
    pub commits_local: u64,
    /// Commits of others applied here.
    pub commits_remote: u64,
    /// Commits received that were already here.
    pub duplicates: u64,
    /// Commits received whose predecessors were missing.
    pub gaps: u64,
    /// Commits received that break the rules.
    pub rejected: u64,
    /// Commits received that a later release wrote, and others behind them: they wait until this host is upgraded.
    pub unread: u64,
    /// Commits that came from others than their writer, and without its seal.
    pub unsealed: u64,
    /// Commits with a seal that is not their writer's.
    pub forged: u64,
    /// Commits received of a frozen stream.
    pub frozen: u64,
    /// Commits received of a stream for which there is no room: its writer, or all together, have too many.
    pub crowded: u64,
    /// Commits not looked at, because their sender had us verify too much that brought nothing new.
    pub unverified: u64,
    /// Commits that overtook their predecessors and were dropped, because what their senders have here already is as much as may wait.
    pub early_dropped: u64,
    /// Commits not taken because of what they write to keys of the agents' own.
    pub barred: u64,
    /// Members of the agents' own sets that answers to repairs held, and that were not taken.
    pub state_barred: u64,
    /// Streams frozen because their writer gave one name to two commits.
    pub equivocations: u64,
    /// Proofs of that for which there was no room, or no more.
    pub proofs_crowded: u64,
    /// Messages dropped because their sender sent more than anybody has to.
    pub throttled: u64,
    /// Times that a stream had to wait for our clock.
    pub held: u64,
    /// Commits not taken because the store cannot write, or has yet to be given the repair that they stand on.
    pub deferred: u64,
    /// Differences of root between equal vectors.
    pub diverged: u64,
    /// Repairs from state begun.
    pub repairs: u64,
    /// Repairs from state given up.
    pub repairs_abandoned: u64,
    /// Digests sent.
    pub digests: u64,
    /// Times that a peer which was asked for what it says it has brought nothing: it holds it back, or has it not.
    pub unanswered: u64,
    /// Digests that differed and were not answered, nor the difference asked for, because the sender had just been answered at length,
    /// or, above the straight limit, others had.
    pub spared: u64,
    /// Commits received that lie beyond the end of a closed stream.
    pub closed: u64,
    /// Closings that do not count: most members have more of the stream.
    pub closings_denied: u64,
    /// Commits of an earlier incarnation that were made again.
    pub made_again: u64,
    /// Commits of an earlier incarnation that could not be made again; each was told by [`Event::NotMadeAgain`](super::Event::NotMadeAgain).
    pub not_made_again: u64,
}
