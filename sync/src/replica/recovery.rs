//! A replica with a past: objects from the checkpoint, then the log on top.

use std::collections::BTreeSet;

use super::evidence::Evidence;
use super::lineage::{Fence, Lineage, requests_of};
use super::{Ahead, Config, Orphans, Replica, durability::Durability};
use crate::causal::VersionVector;
use crate::codec::DecodeError;
use crate::commit::{Batch, Commit};
use crate::crdt::{ObjectState, OpError};
use crate::hlc::Hlc;
use crate::id::{Dot, ReplicaId, Stream};
use crate::key::Key;
use crate::planted::{self, Bug};
use crate::seal::Proof;

/// What the store gave back.
#[derive(Clone, Debug, Default)]
pub struct Recovery {
    /// What the objects have seen.
    pub vector: VersionVector,
    /// What the objects may show beyond that; see [`Checkpoint::ahead`](super::Checkpoint::ahead).
    pub ahead: Ahead,
    /// The newest stamp that the last checkpoint knew.
    pub latest: Hlc,
    /// Commits of earlier incarnations that are to be made again; see [`Checkpoint::orphans`](super::Checkpoint::orphans).
    pub orphans: Orphans,
    /// The objects of the checkpoint.
    pub objects: Vec<(Key, ObjectState)>,
    /// What proves that writers gave one name to two commits; see [`Replica::proofs`].
    pub proofs: Vec<Proof>,
    /// The retained log, consecutive within each stream; it may begin before the vector and go on after it.
    pub log: Vec<Batch>,
}

/// What the store gave back is not what a store of ours holds.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// A stored object is of another type than its key, or breaks a bound.
    #[error("the stored object {key}: {source}")]
    Object {
        /// Which.
        key: Key,
        /// What is wrong.
        source: OpError,
    },
    /// A stored commit does not decode.
    #[error("the stored commit {} of {}: {source}", dot.seq, dot.replica)]
    Commit {
        /// Which.
        dot: Dot,
        /// What is wrong.
        source: DecodeError,
    },
    /// The stored log has a gap after the checkpoint.
    #[error("the stored log of {} continues at {} after {known}", dot.replica, dot.seq)]
    Gap {
        /// The first commit after the gap.
        dot: Dot,
        /// The last before it.
        known: u64,
    },
}

impl Replica {
    /// The replica that wrote what the store gave back, ready to go on.
    ///
    /// # Errors
    /// The store holds what no store of ours holds; nothing was taken from it.
    pub fn recover(me: ReplicaId, config: Config, recovery: Recovery) -> Result<Self, RecoverError> {
        let mut replica = Self::new(me, config);
        let mut objects = recovery.objects;
        for (key, object) in &mut objects {
            object.name_unknown(|replica| {
                let stream = Stream::global(*replica);
                recovery.ahead.of(key).map_or(0, |ahead| ahead.seq(&stream)).max(recovery.vector.seq(&stream))
            });
            object.validate(key.kind()).map_err(|source| RecoverError::Object { key: key.clone(), source })?;
            if let ObjectState::LwwMap(map) = object {
                let stamps = map.members.iter().flat_map(|(_, entries)| entries).map(|entry| entry.value.0);
                stamps.for_each(|stamp| replica.clock.observe(stamp));
            }
        }
        replica.state.restore(objects);
        replica.clock.observe(recovery.latest);
        let checkpointed = (recovery.vector.clone(), recovery.ahead.clone());
        replica.seen = recovery.vector;
        replica.repair.ahead = recovery.ahead;
        let (mut applied_bytes, mut made_again) = (0, BTreeSet::new());
        let own = replica.own_stream();
        for batch in recovery.log {
            if batch.stream == own && !recovery.orphans.is_empty() {
                made_again.extend(requests_of(std::slice::from_ref(&batch)));
            }
            applied_bytes += replica.replay(batch)?;
        }
        replica.evidence = Evidence::of(recovery.proofs);
        replica.durability = Durability::starting_from(replica.seen.clone(), applied_bytes, checkpointed);
        replica.lineage = Lineage::with(recovery.orphans, replica.seen.seq(&own), made_again);
        if replica.evidence.is_frozen(&own) {
            replica.lineage.fence = Some(Fence::Frozen(None));
        }
        Ok(replica)
    }

    /// Takes a batch of the log and tells how many bytes of it the checkpoint lacked.
    fn replay(&mut self, batch: Batch) -> Result<u64, RecoverError> {
        let mut applied_bytes = 0;
        let (stream, seals) = (batch.stream, batch.seals);
        for (seq, bytes) in (batch.first..).zip(batch.commits) {
            let dot = Dot { replica: batch.stream.replica, seq };
            let commit =
                Commit::decode(batch.stream, seq, &bytes).map_err(|source| RecoverError::Commit { dot, source })?;
            let known = self.seen.seq(&batch.stream);
            if seq > known + 1 {
                return Err(RecoverError::Gap { dot, known });
            }
            if seq == known + 1 {
                if planted::is(Bug::RecoveryForgetsTail) {
                    break;
                }
                applied_bytes += bytes.len() as u64;
                self.apply(commit, bytes);
                continue;
            }
            self.clock.observe(commit.hlc);
            if let Some(request) = commit.request.filter(|_| !planted::is(Bug::RequestsForgotten)) {
                self.requests.remember(request, dot, commit.hlc);
            }
            self.log.push(batch.stream, seq, bytes);
            self.log.shrink_to(self.config.log_bytes, (&self.own_stream(), self.lineage.confirmed_through()));
        }
        self.log.attach(&stream, &seals, false);
        Ok(applied_bytes)
    }
}
