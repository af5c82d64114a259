//! Carrying out what the replica decided: the store first, then answers, then messages.

use std::collections::VecDeque;

use selvedge_sync::commit::Batch;
use selvedge_sync::id::{NodeId, ReplicaId};
use selvedge_sync::replica::{self, Event, Fresh, Message, Output};
use tokio::sync::mpsc;

use super::handle::Request;
use super::helm::Helm;
use crate::net::{Lane, Offence};
use crate::store::{Checkpoint, Identity, Pending, Store, Token};

/// What the store had no room for, in order. While it is not empty, the driver takes no new input.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    jobs: VecDeque<Job>,
}

#[derive(Debug)]
enum Job {
    Append(Token, Vec<Batch>),
    Checkpoint(Box<Checkpoint>),
    Rebirth(ReplicaId, Option<Fresh>),
}

impl Backlog {
    pub(super) fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// Hands jobs to the store until it has no room. Commits of others wait a moment for ours: nobody here waits for them.
    /// Returns the rebirths that were taken, of which somebody has to be told when they are durable.
    fn flush(&mut self, store: &Store, node: NodeId) -> Vec<(ReplicaId, Pending)> {
        let mut reborn = Vec::new();
        while let Some(job) = self.jobs.pop_front() {
            let back = match job {
                Job::Append(token, batches) => {
                    let ours = batches.iter().any(|batch| batch.stream.replica.node == node);
                    let taken = if ours { store.append(token, batches) } else { store.append_soon(token, batches) };
                    taken.err().map(|full| Job::Append(token, full.0))
                }
                Job::Checkpoint(checkpoint) => store.checkpoint(*checkpoint).err().map(|full| Job::Checkpoint(full.0)),
                Job::Rebirth(replica, fresh) => match store.rebirth(Identity { replica }, fresh) {
                    Ok(pending) => {
                        reborn.push((replica, pending));
                        None
                    }
                    Err(full) => Some(Job::Rebirth(replica, full.0)),
                },
            };
            if let Some(job) = back {
                self.jobs.push_front(job);
                break;
            }
        }
        reborn
    }

    /// Appends of one pass become one job: its last token stands for all of them.
    fn append(&mut self, token: Token, batch: Batch) {
        if let Some(Job::Append(last, batches)) = self.jobs.back_mut() {
            *last = token;
            match batches.last_mut() {
                Some(before)
                    if before.stream == batch.stream && before.first + before.commits.len() as u64 == batch.first =>
                {
                    before.commits.extend(batch.commits);
                    before.seals.extend(batch.seals);
                }
                Some(_) | None => batches.push(batch),
            }
        } else {
            self.jobs.push_back(Job::Append(token, vec![batch]));
        }
    }
}

impl Helm {
    pub(super) fn carry_out(&mut self, outputs: Vec<Output>) {
        let mut rest = Vec::new();
        for output in outputs {
            match output {
                Output::Persist { token, batch } => self.backlog.append(token, batch),
                Output::Checkpoint { token, checkpoint } => {
                    self.backlog.jobs.push_back(Job::Checkpoint(Box::new(Checkpoint::of(token, checkpoint))));
                }
                Output::Rebirth { incarnation, fresh } => {
                    let replica = ReplicaId { node: self.net.node(), incarnation };
                    self.backlog.jobs.push_back(Job::Rebirth(replica, fresh));
                }
                other => rest.push(other),
            }
        }
        for (replica, pending) in self.backlog.flush(&self.store, self.net.node()) {
            tokio::spawn(report_reborn(pending, self.requests.clone(), replica));
        }
        let mut last = None;
        for output in rest {
            match output {
                Output::Committed { ticket, result } => self.waiting.answer(ticket, result),
                Output::Send { to, message } => self.send(to, message, &mut last),
                Output::Event(event) => {
                    self.hold_against(&event);
                    report(&event);
                    if let Event::Equivocation { proof } = &event {
                        self.listening.fraud(proof.dot());
                        self.keep_proofs();
                    }
                }
                Output::Watching { watch, result } => self.listening.began(watch, result, &self.view),
                Output::Changed { keys, dot, hlc, .. } => self.listening.note(keys, dot, hlc),
                Output::Persist { .. } | Output::Checkpoint { .. } | Output::Rebirth { .. } => {
                    unreachable!("the store's share was taken above")
                }
            }
        }
        self.listening.tell(&self.view);
    }

    /// What a member did wrong is held against it; what it only passed on is not.
    fn hold_against(&self, event: &Event) {
        match event {
            Event::Rejected { from, dot, .. } if *from == dot.replica.node => {
                self.net.penalise(*from, Offence::Rejected);
            }
            Event::Equivocation { proof } => self.net.penalise(proof.stream.replica.node, Offence::Equivocation),
            Event::Offence { peer, what } => self.net.penalise(*peer, offence_of(*what)),
            _ => {}
        }
    }

    /// A message is a hint: what does not get through, anti-entropy brings. The network counts what it drops. What goes to many
    /// is encoded once, for it is said to one after the other: `last` is the message before, as it was sent.
    fn send(&self, to: NodeId, message: Message, last: &mut Option<(Message, Vec<u8>)>) {
        let bytes = match last {
            Some((said, bytes)) if *said == message => bytes.clone(),
            _ => message.encode(),
        };
        // What heals may wait for what is new.
        let sent = if matches!(message, Message::StatePage { .. }) {
            self.net.send_bulk(to, Lane::Sync, bytes)
        } else {
            if matches!(message, Message::Commits { .. }) {
                *last = Some((message, bytes.clone()));
            }
            self.net.send(to, Lane::Sync, bytes)
        };
        if let Err(error) = sent {
            tracing::debug!(%to, %error, "a sync message was dropped");
        }
    }
}

/// What the network calls it.
const fn offence_of(what: replica::Offence) -> Offence {
    match what {
        replica::Offence::Unsealed | replica::Offence::Forged => Offence::Forged,
        replica::Offence::FalseProof | replica::Offence::Futile | replica::Offence::Unfounded => Offence::Lie,
        replica::Offence::Barred => Offence::Rejected,
        replica::Offence::Flood => Offence::Flood,
    }
}

/// Tells the driver of a new incarnation once it is durable, however long the disk takes.
async fn report_reborn(pending: Pending, driver: mpsc::Sender<Request>, replica: ReplicaId) {
    match pending.durable().await {
        // Closed means that the agent stops; there is nobody left to tell.
        Ok(()) => drop(driver.send(Request::Reborn(replica.incarnation)).await),
        Err(error) => tracing::error!(%error, "the new incarnation did not become durable"),
    }
}

fn report(event: &Event) {
    match event {
        Event::Rejected { from, dot, reason } => {
            tracing::warn!(%from, replica = %dot.replica, seq = dot.seq, reason, "a commit breaks the rules and was not applied");
        }
        Event::Offence { peer, what } => tracing::warn!(%peer, ?what, "a member does what no honest one does"),
        Event::Equivocation { proof } => {
            let (replica, seq) = (proof.stream.replica, proof.dot().seq);
            tracing::error!(%replica, seq, "a member gave one name to two commits: a copy of its data runs elsewhere, or it lies; the stream is frozen");
        }
        Event::Unread { dot, what } => {
            tracing::warn!(replica = %dot.replica, seq = dot.seq, what, "a member writes what this release cannot read; its stream waits until this host is upgraded");
        }
        Event::Held { dot, ahead_ms } => {
            tracing::warn!(replica = %dot.replica, seq = dot.seq, ahead_ms, "a stream waits: its next commit is from the future");
        }
        Event::Diverged { peer } => {
            tracing::error!(%peer, "equal vectors with different roots: a bug or damage; repairing from state");
        }
        Event::RepairBegun { from } => tracing::info!(%from, "repair from state begins"),
        Event::RepairDone { from } => tracing::info!(%from, "repair from state is complete"),
        Event::Retired { replica, through } => {
            tracing::warn!(%replica, through, "a writer was silent for too long; its stream is closed");
        }
        Event::BegunAnew { orphans, missing } => {
            tracing::error!(
                orphans,
                missing,
                "this node's past is not everybody's: its state comes back from the members"
            );
        }
        Event::MadeAgain { commits } => tracing::warn!(commits, "commits of an earlier life were made again"),
        Event::NotMadeAgain { dot, reason } => {
            tracing::error!(replica = %dot.replica, seq = dot.seq, reason, "a commit of an earlier life cannot be made again; it is lost");
        }
        Event::RepairAbandoned { from, why } => {
            tracing::warn!(%from, ?why, "repair from state was given up; another giver is tried next");
        }
        Event::Amnesia { peer, known, own } => {
            tracing::error!(%peer, known, own, "this data directory has forgotten commits of its own: a restored backup or a copy");
        }
    }
}
