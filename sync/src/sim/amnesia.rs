//! Disks that forget: backups restored, disks lost, data directories copied; and members that stay away beyond the horizon.

use super::disk::{Image, Kept};
use super::node::{EPOCH_MS, Node};
use super::{Next, Sim};
use crate::commit::CommitBytes;
use crate::id::{Dot, Incarnation, ReplicaId, Stream};
use crate::replica::{Fresh, Input, Message};

impl Sim<'_> {
    /// Every stream that this node has ever written, with what of it was ever durable.
    fn written_by(&self, index: usize) -> Vec<(Stream, u64)> {
        let id = self.nodes[index].id;
        self.ledger.durable().iter().filter(|(stream, _)| stream.replica.node == id).collect()
    }

    /// Whether what `index` may forget is in safe hands: every commit of its own that is durable is durable elsewhere too, and
    /// no other node is still catching up after it forgot something itself.
    pub(super) fn may_forget(&mut self, index: usize) -> bool {
        self.note_remembered();
        let elsewhere = |(stream, known): &(Stream, u64)| {
            let mut others = self.nodes.iter().enumerate().filter(|(other, _)| *other != index);
            others.any(|(_, peer)| peer.disk.image.seq(stream) >= *known)
        };
        self.nodes[index].joined
            && self.nodes.iter().all(|node| node.forgot.is_none())
            && self.written_by(index).iter().all(elsewhere)
    }

    /// A copy of a disk is kept; not while it may hold what a snapshot wrote, nor commits that wait to be made again: whoever
    /// restores that after they were, and finds no log that says so, makes them again once more.
    pub(super) fn back_up(&mut self, index: usize) {
        if self.nodes[index].is_forgetful() || self.nodes[index].disk.image.has_orphans() {
            return;
        }
        self.nodes[index].backup = Some(self.nodes[index].disk.image.clone());
    }

    /// An old copy of a disk takes its place. Half the time the agent notices, and takes a new incarnation at once.
    pub(super) fn restore(&mut self) -> Result<(), String> {
        let kept: Vec<usize> = (0..self.nodes.len()).filter(|index| self.nodes[*index].backup.is_some()).collect();
        if kept.is_empty() {
            return Ok(());
        }
        let index = kept[self.rng.index(kept.len())];
        self.crash(index, Kept::Any)?;
        if self.may_forget(index)
            && let Some(mut image) = self.nodes[index].backup.clone()
        {
            self.coverage.count("restored backups");
            if self.rng.chance(500) {
                image.incarnation = self.unused_incarnation(index);
            } else if self.rng.chance(600) {
                self.lay_trap_at_rebirth();
            }
            self.replace_disk(index, image);
            self.allow_fork(index);
        }
        let in_ms = self.rng.between(1, 1_000);
        self.schedule(in_ms, Next::Start { node: index });
        Ok(())
    }

    /// A peer says what it has of a stream: from the last commit that is the same on, back to the first, none is in doubt.
    pub(super) fn note_recalled(&mut self, index: usize, message: &Message) {
        let Message::Recalled { batch: Some(batch), .. } = message else { return };
        let node = &mut self.nodes[index];
        let Some(replica) = node.replica.as_ref() else { return };
        let own = Stream::global(replica.me());
        let same = |(seq, bytes): &(u64, &CommitBytes)| replica.log().get(&own, *seq) == Some(bytes);
        let told = (batch.first..).zip(&batch.commits).filter(|_| batch.stream == own).filter(same).last();
        if let Some((seq, _)) = told {
            node.told = node.told.max(seq);
        }
    }

    /// What a replica is about to make again may be known to others and yet not be told from what a snapshot wrote: when its old
    /// disk said that nobody had confirmed it, and none of those whom it asked retained it. They have only a number of it then,
    /// which commits of either meaning bear. Such a commit counts twice: a limit that only more memory at everybody could lift.
    pub(super) fn note_fresh(&mut self, index: usize, fresh: &Fresh) {
        let node = &mut self.nodes[index];
        let Some((stream, after, through)) = node.in_doubt else { return };
        let batches = fresh.orphans.certain.iter().filter(|batch| batch.stream == stream);
        let seqs = batches.flat_map(|batch| batch.first..batch.first + batch.commits.len() as u64);
        let doubted = seqs.filter(|seq| after.max(node.told) < *seq && *seq <= through);
        node.excused.extend(doubted.map(|seq| Dot { replica: stream.replica, seq }));
    }

    /// A disk is lost; the node comes back with an empty one and a new incarnation.
    pub(super) fn wipe(&mut self, index: usize) -> Result<(), String> {
        self.crash(index, Kept::Any)?;
        if self.may_forget(index) {
            self.coverage.count("wiped disks");
            let incarnation = self.unused_incarnation(index);
            self.replace_disk(index, Image::blank(incarnation));
            self.nodes[index].backup = None;
        }
        if self.nodes[index].joined {
            self.schedule(1, Next::Start { node: index });
        }
        Ok(())
    }

    pub(super) fn replace_disk(&mut self, index: usize, image: Image) {
        let written = self.written_by(index);
        let forgotten = |(stream, known): &(Stream, u64)| *known > image.seq(stream);
        // Of all streams that it forgot, the one that it would write again is the one to wait for.
        let again = |(stream, _): &(Stream, u64)| stream.replica.incarnation == image.incarnation;
        let lost: Vec<_> = written.into_iter().filter(forgotten).collect();
        let node = &mut self.nodes[index];
        node.forgot = lost.iter().find(|lost| again(lost)).or(lost.last()).copied();
        (node.fork, node.has_forgotten) = (None, true);
        let own = Stream::global(ReplicaId { node: node.id, incarnation: image.incarnation });
        node.in_doubt = image.doubts(&own).map(|(after, through)| (own, after, through));
        node.disk.image = image;
        node.reported = crate::causal::VersionVector::default();
    }

    fn unused_incarnation(&self, index: usize) -> Incarnation {
        let used = self.written_by(index).into_iter().map(|(stream, _)| stream.replica.incarnation.0);
        Incarnation(used.max().unwrap_or(0).max(self.nodes[index].disk.image.incarnation.0) + 1)
    }

    /// Who has caught up with what it forgot may forget again.
    pub(super) fn note_remembered(&mut self) {
        for node in &mut self.nodes {
            let Some((stream, seq)) = node.forgot else { continue };
            if node
                .replica
                .as_ref()
                .is_some_and(|replica| replica.me() != stream.replica && replica.durable().seq(&stream) >= seq)
            {
                (node.forgot, node.fork) = (None, None);
            }
        }
    }

    /// A data directory is copied, key and all, and the copy is started beside the original. The place of a directory tells
    /// the agent before the engine runs: the copy writes as a new incarnation.
    pub(super) fn copy(&mut self, index: usize) {
        let original = &self.nodes[index];
        let twins = self.nodes.iter().any(|node| node.is_copy);
        if twins || !self.scenario.copies || !original.joined || original.forgot.is_some() || original.away {
            return;
        }
        self.coverage.count("copied data directories");
        let incarnation = Incarnation(EPOCH_MS + self.now_ms);
        let mut copy = Node::new(original.id, incarnation, original.skew_ms);
        copy.disk.image = original.disk.image.with_incarnation(incarnation);
        copy.is_copy = true;
        let place = self.nodes.len();
        self.bearers.entry(copy.id).or_default().push(place);
        self.nodes.push(copy);
        let in_ms = self.rng.between(1, 1_000);
        self.schedule(in_ms, Next::Start { node: place });
    }

    /// A member goes away for long. After a while the others stop waiting for it, and forget what only it had to see.
    pub(super) fn leave(&mut self, index: usize) -> Result<(), String> {
        let present = self.nodes.iter().filter(|node| node.joined && !node.away).count();
        if present < 3 || self.is_shared(&self.nodes[index].id) || !self.nodes[index].joined || self.nodes[index].away {
            return Ok(());
        }
        self.crash(index, Kept::Any)?;
        self.nodes[index].away = true;
        self.coverage.count("members that left");
        let dropped_ms = self.rng.between(200, 2_000);
        self.schedule(dropped_ms, Next::Dropped { node: index });
        let in_ms = dropped_ms + self.rng.between(500, self.scenario.away_ms.max(500));
        self.schedule(in_ms, Next::Start { node: index });
        Ok(())
    }

    pub(super) fn drop_member(&mut self, index: usize) -> Result<(), String> {
        if !self.nodes[index].away || self.nodes[index].dropped {
            return Ok(());
        }
        self.nodes[index].dropped = true;
        self.coverage.count("members dropped");
        for other in self.running() {
            self.part(other, index)?;
            self.feed(other, Input::Members(self.members()))?;
        }
        Ok(())
    }
}
