//! A simulated store: what is on the disk, and what is on its way there.
//!
//! Writes become durable in the order in which they were given, in groups, as a store with one writer and one sync per group
//! does it. The invariant: a crash keeps a prefix of what was given, and at least all that was reported.

use std::collections::{BTreeMap, VecDeque};

use super::rng::Rng;
use crate::causal::VersionVector;
use crate::commit::{Batch, CommitBytes};
use crate::crdt::ObjectState;
use crate::hlc::Hlc;
use crate::id::{Incarnation, Stream};
use crate::key::Key;

use crate::replica::{Ahead, Checkpoint, Fresh, Orphans, Recovery};
use crate::seal::{Proof, Seal};

/// The most commits that recovery hands over in one batch: a real store reads rows in chunks too.
const RECOVERED_BATCH_MAX: usize = 7;

/// What a restart would find.
#[derive(Clone, Debug)]
pub(super) struct Image {
    pub(super) incarnation: Incarnation,
    vector: VersionVector,
    ahead: Ahead,
    orphans: Orphans,
    latest: Hlc,
    objects: BTreeMap<Key, Vec<u8>>,
    log: BTreeMap<(Stream, u64), CommitBytes>,
    /// Seals, by the last commit that they are for.
    seals: BTreeMap<(Stream, u64), Seal>,
    pub(super) proofs: Vec<Proof>,
}

/// Something to write.
#[derive(Clone, Debug)]
pub(super) enum Write {
    Append { token: u64, batch: Batch },
    Checkpoint { token: u64, checkpoint: Checkpoint },
    Rebirth { incarnation: Incarnation, fresh: Option<Fresh> },
}

/// How much of the group being written outlives a crash.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kept {
    /// Any prefix of it.
    Any,
    /// Some of it, and not all.
    Part,
    /// Exactly so many writes.
    First(usize),
}

/// An image and the writes that are not in it yet.
#[derive(Clone, Debug)]
pub(super) struct Disk {
    pub(super) image: Image,
    queue: VecDeque<Write>,
    /// How many of the queue are being written now.
    group: usize,
    pub(super) failing: bool,
}

impl Image {
    pub(super) fn blank(incarnation: Incarnation) -> Self {
        let (vector, ahead, orphans, latest, objects, log, seals, proofs) = Default::default();
        Self { incarnation, vector, ahead, orphans, latest, objects, log, seals, proofs }
    }

    /// The same content on behalf of another incarnation.
    pub(super) fn with_incarnation(&self, incarnation: Incarnation) -> Self {
        Self { incarnation, ..self.clone() }
    }

    fn write(&mut self, write: &Write) {
        match write {
            Write::Append { batch, .. } => {
                for (seq, commit) in (batch.first..).zip(&batch.commits) {
                    self.log.insert((batch.stream, seq), commit.clone());
                }
                self.seals.extend(batch.seals.iter().map(|seal| ((batch.stream, seal.through), *seal)));
            }
            Write::Checkpoint { checkpoint, .. } => {
                self.vector.merge(&checkpoint.vector);
                self.ahead.clone_from(&checkpoint.ahead);
                if let Some(orphans) = &checkpoint.orphans {
                    self.orphans.clone_from(orphans);
                }
                self.latest = checkpoint.latest;
                for (key, row) in &checkpoint.objects {
                    match row {
                        Some(row) => self.objects.insert(key.clone(), row.as_bytes().to_vec()),
                        None => self.objects.remove(key),
                    };
                }
                for (stream, first) in &checkpoint.log_first {
                    self.log.retain(|(of, seq), _| of != stream || seq >= first);
                    self.seals.retain(|(of, through), _| of != stream || through >= first);
                }
            }
            Write::Rebirth { incarnation, fresh: None } => self.incarnation = *incarnation,
            Write::Rebirth { incarnation, fresh: Some(fresh) } => {
                let proofs = std::mem::take(&mut self.proofs);
                *self = Self { orphans: fresh.orphans.clone(), proofs, ..Self::blank(*incarnation) };
            }
        }
    }

    /// What a store would give back after a restart.
    pub(super) fn recovery(&self) -> Result<Recovery, String> {
        let mut log: Vec<Batch> = Vec::new();
        for ((stream, seq), commit) in &self.log {
            match log.last_mut() {
                Some(last)
                    if last.stream == *stream
                        && last.first + last.commits.len() as u64 == *seq
                        && last.commits.len() < RECOVERED_BATCH_MAX =>
                {
                    last.commits.push(commit.clone());
                }
                Some(_) | None => log.push(Batch::new(*stream, *seq, vec![commit.clone()])),
            }
        }
        for batch in &mut log {
            let last = batch.first + batch.commits.len() as u64 - 1;
            let seals = self.seals.range((batch.stream, batch.first)..=(batch.stream, last));
            batch.seals = seals.map(|(_, seal)| *seal).collect();
        }
        let decode = |(key, bytes): (&Key, &Vec<u8>)| {
            let object = ObjectState::from_row(bytes).map_err(|error| format!("{key}: {error}"))?;
            Ok((key.clone(), object))
        };
        let objects = self.objects.iter().map(decode).collect::<Result<_, String>>()?;
        Ok(Recovery {
            vector: self.vector.clone(),
            ahead: self.ahead.clone(),
            orphans: self.orphans.clone(),
            latest: self.latest,
            objects,
            proofs: self.proofs.clone(),
            log,
        })
    }

    /// The commits of its own `stream` that a life that began with this image would doubt, although others may know them since:
    /// after the first number, up to the second.
    pub(super) fn doubts(&self, stream: &Stream) -> Option<(u64, u64)> {
        let (after, last) = (self.orphans.unconfirmed_after?, self.seq(stream));
        (after < last).then_some((after, last))
    }

    /// Whether it holds commits that are to be made again.
    pub(super) const fn has_orphans(&self) -> bool {
        !self.orphans.is_empty()
    }

    /// What the image has of `stream`, in the checkpoint or in the log.
    pub(super) fn seq(&self, stream: &Stream) -> u64 {
        let logged = self.log.range((*stream, 0)..=(*stream, u64::MAX)).next_back().map_or(0, |((_, seq), _)| *seq);
        self.vector.seq(stream).max(logged)
    }
}

impl Disk {
    pub(super) fn blank(incarnation: Incarnation) -> Self {
        Self { image: Image::blank(incarnation), queue: VecDeque::new(), group: 0, failing: false }
    }

    /// Takes a write; true when the disk was idle and has to be started.
    pub(super) fn push(&mut self, write: Write) -> bool {
        self.queue.push_back(write);
        self.start()
    }

    /// Begins to write all that is queued as one group; false when it is busy, has nothing to do or cannot.
    pub(super) fn start(&mut self) -> bool {
        let idle = self.group == 0 && !self.queue.is_empty() && !self.failing;
        if idle {
            self.group = self.queue.len();
        }
        idle
    }

    /// Writes again after a failure: the group that failed is taken anew.
    pub(super) fn resume(&mut self) {
        self.group = 0;
    }

    /// The group is durable; returns it.
    pub(super) fn finish(&mut self) -> Vec<Write> {
        let done: Vec<Write> = self.queue.drain(..self.group).collect();
        self.group = 0;
        done.iter().for_each(|write| self.image.write(write));
        done
    }

    /// What is being written now.
    pub(super) fn group(&self) -> Vec<Write> {
        self.queue.iter().take(self.group).cloned().collect()
    }

    /// Which of the writes under way is the checkpoint that strikes off what was to be made again.
    pub(super) fn strikes_off(&self) -> Option<usize> {
        let strikes = |write: &Write| match write {
            Write::Checkpoint { checkpoint, .. } => checkpoint.orphans.as_ref().is_some_and(Orphans::is_empty),
            Write::Append { .. } | Write::Rebirth { .. } => false,
        };
        self.image.has_orphans().then(|| self.queue.iter().take(self.group).position(strikes)).flatten()
    }

    /// The store fails. A prefix of the group may be durable all the same, and is written again later. Returns that prefix.
    pub(super) fn fail(&mut self, rng: &mut Rng) -> Vec<Write> {
        self.failing = true;
        let kept = if self.group == 0 { 0 } else { rng.index(self.group + 1) };
        let done: Vec<Write> = self.queue.iter().take(kept).cloned().collect();
        done.iter().for_each(|write| self.image.write(write));
        done
    }

    /// The power goes: what was queued is lost, but for a prefix of the group being written. Returns that prefix.
    pub(super) fn crash(&mut self, kept: Kept, rng: &mut Rng) -> Vec<Write> {
        let kept = match kept {
            Kept::First(first) => first.min(self.group),
            Kept::Part if self.group > 1 => 1 + rng.index(self.group - 1),
            Kept::Any | Kept::Part if self.group > 0 => rng.index(self.group + 1),
            Kept::Any | Kept::Part => 0,
        };
        let done: Vec<Write> = self.queue.drain(..kept).collect();
        done.iter().for_each(|write| self.image.write(write));
        self.queue.clear();
        (self.group, self.failing) = (0, false);
        done
    }
}
