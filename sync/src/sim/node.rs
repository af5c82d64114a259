//! A simulated host: a replica or none, a disk that outlives it, and a clock that may be wrong.

use std::collections::BTreeSet;

use super::disk::{Disk, Image};
use super::watch::Watch;
use crate::causal::VersionVector;
use crate::commit::CommitBytes;
use crate::id::{Dot, Incarnation, NodeId, ReplicaId, Stream};
use crate::replica::{Config, Replica};
use crate::time::Time;

/// Where virtual time begins, as walls show it. Any recent moment will do.
pub(super) const EPOCH_MS: u64 = 1_800_000_000_000;

/// What a snapshot may write before it knows that it is one.
#[derive(Clone, Debug)]
pub(super) struct ForkRoom {
    /// Of its stream, it begins after this commit.
    pub(super) after: u64,
    /// It may not come to this one, which everybody else knows.
    pub(super) below: u64,
    /// So many bytes its log surely retains: what the log had to drop nobody could make again.
    pub(super) bytes: usize,
}

impl ForkRoom {
    fn has_more(&self, replica: &Replica) -> bool {
        let own = Stream::global(replica.me());
        let written = (self.after + 1..).map_while(|seq| replica.log().get(&own, seq)).map(CommitBytes::len);
        replica.seen().seq(&own) + 1 < self.below && written.sum::<usize>() < self.bytes
    }
}

/// A host.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) id: NodeId,
    /// None while the process is down.
    pub(super) replica: Option<Replica>,
    pub(super) disk: Disk,
    /// Counts restarts: what was scheduled for an earlier life is void.
    pub(super) life: u64,
    pub(super) skew_ms: i64,
    started_ms: u64,
    /// Whether it takes part at all yet.
    pub(super) joined: bool,
    /// Set while it does not know that its disk was replaced by an older one: the stream that it forgot, and how far that
    /// had got. Clients do not write here until it knows: what is written before is the known limit of detection by peers.
    pub(super) forgot: Option<(Stream, u64)>,
    /// The commits that the disk that took the place of its own could not tell from a snapshot's: it had never heard that
    /// others knew them.
    pub(super) in_doubt: Option<(Stream, u64, u64)>,
    /// The last of its commits that a peer has shown to this life to be the same.
    pub(super) told: u64,
    /// Those in doubt that it makes again although others have them, because nobody could show it that.
    pub(super) excused: BTreeSet<Dot>,
    /// Whether it ever forgot anything durable.
    pub(super) has_forgotten: bool,
    pub(super) backup: Option<Image>,
    /// Whether it is the copy of another node's data directory, and bears that node's id.
    pub(super) is_copy: bool,
    /// Set while it may write although it forgot.
    pub(super) fork: Option<ForkRoom>,
    /// Whether it has gone for long.
    pub(super) away: bool,
    /// Whether the others have stopped waiting for it.
    pub(super) dropped: bool,
    /// Until when its disk is slow.
    pub(super) slow_until_ms: u64,
    /// What was last reported durable; the next life must know it.
    pub(super) reported: VersionVector,
    pub(super) watch: Watch,
}

impl Node {
    pub(super) fn new(id: NodeId, incarnation: Incarnation, skew_ms: i64) -> Self {
        Self {
            id,
            replica: None,
            disk: Disk::blank(incarnation),
            life: 0,
            skew_ms,
            started_ms: 0,
            joined: false,
            forgot: None,
            in_doubt: None,
            told: 0,
            excused: BTreeSet::new(),
            has_forgotten: false,
            backup: None,
            is_copy: false,
            fork: None,
            away: false,
            dropped: false,
            slow_until_ms: 0,
            reported: VersionVector::default(),
            watch: Watch::default(),
        }
    }

    /// The time as this host sees it at the virtual moment `now_ms`.
    pub(super) fn time(&self, now_ms: u64) -> Time {
        let wall_ms = (EPOCH_MS + now_ms).saturating_add_signed(self.skew_ms);
        Time { wall_ms, mono_ms: now_ms - self.started_ms }
    }

    /// The writer that the disk stands for.
    pub(super) const fn writer(&self) -> ReplicaId {
        ReplicaId { node: self.id, incarnation: self.disk.image.incarnation }
    }

    /// Whether clients are let in.
    pub(super) fn takes_writes(&self) -> bool {
        let may_fork = |replica: &Replica| self.fork.as_ref().is_some_and(|room| room.has_more(replica));
        self.replica.as_ref().is_some_and(|replica| !self.is_forgetful() || may_fork(replica))
    }

    /// Whether it would give names to commits that mean others elsewhere.
    pub(super) fn is_forgetful(&self) -> bool {
        let writer = self.replica.as_ref().map_or(self.writer(), Replica::me);
        self.forgot.is_some_and(|(stream, _)| stream.replica == writer)
    }

    /// Whether it may have written such commits: what it shows is then nothing to go by.
    pub(super) fn is_forked(&self) -> bool {
        self.fork.is_some() && self.is_forgetful()
    }

    /// Starts the process from what is on the disk.
    pub(super) fn start(&mut self, config: &Config, now_ms: u64) -> Result<(), String> {
        let recovery = self.disk.image.recovery()?;
        let replica = Replica::recover(self.writer(), config.clone(), recovery).map_err(|error| error.to_string())?;
        if !replica.seen().includes(&self.reported) {
            return Err(format!("a restart knows {:?}; durable was {:?}", replica.seen(), self.reported));
        }
        // What a peer had shown to a life that ended before it could say so, no store remembers.
        self.told = 0;
        self.watch = Watch::of(&replica);
        self.replica = Some(replica);
        self.life += 1;
        self.started_ms = now_ms;
        Ok(())
    }
}
