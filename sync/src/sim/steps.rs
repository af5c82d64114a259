//! One event after the other: what is scheduled happens, replicas are fed, and what they answer is carried out.

use super::again::{Elsewhere, is_known_elsewhere};
use super::disk::Write;
use super::{CrashPoint, Next, Sim};
use crate::causal::VersionVector;
use crate::change::Change;
use crate::commit::{Batch, RequestId};
use crate::id::{Dot, NodeId, Stream};
use crate::key::Key;
use crate::replica::{Event, Input, Message, Output, RepairEnd};

/// Lines of narration kept for a failure.
const NARRATION_LINES: usize = 2_000;

/// The longest that a connection to one of two hosts with one key lasts, in milliseconds.
const CONNECTED_MS: u64 = 4_000;

/// What a client asked for, as far as the outputs of the answer have to be compared with it.
#[derive(Clone, Copy, Default)]
pub(super) struct Asked<'a> {
    pub(super) changes: &'a [(Key, Change)],
    pub(super) request: Option<RequestId>,
    /// Whether the answer has to be that of an earlier commit.
    pub(super) known: bool,
}

impl Sim<'_> {
    pub(super) fn happen(&mut self, next: Next) -> Result<(), String> {
        match next {
            Next::Tick { node, life } if self.nodes[node].life == life => {
                self.schedule(self.tick_ms(), Next::Tick { node, life });
                self.feed(node, Input::Tick)
            }
            Next::Written { node, life } if self.nodes[node].life == life => self.written(node),
            Next::StoreRecovers { node, life } if self.nodes[node].life == life => self.store_recovers(node),
            Next::Tick { .. } | Next::Written { .. } | Next::StoreRecovers { .. } => Ok(()),
            Next::Deliver { from, to, bytes } => {
                let message = Message::decode(&bytes).map_err(|error| format!("what was sent is refused: {error}"))?;
                self.note_recalled(to, &message);
                self.feed(to, Input::Receive { from: self.nodes[from].id, message })
            }
            Next::Client | Next::Fault | Next::Stage | Next::Equivocate if self.calm => Ok(()),
            Next::Client | Next::Fault | Next::Stage | Next::Equivocate if self.now_ms < self.idle_until_ms => {
                self.schedule(self.idle_until_ms - self.now_ms, next);
                Ok(())
            }
            Next::Client => {
                let in_ms = self.rng.between(1, 2 * self.scenario.client_ms);
                self.schedule(in_ms, Next::Client);
                self.clients()
            }
            Next::Fault => {
                let in_ms = self.rng.between(1, 2 * self.scenario.fault_ms);
                self.schedule(in_ms, Next::Fault);
                self.fault()
            }
            Next::Stage => self.stage_fork(),
            Next::Equivocate => self.equivocate(),
            Next::Start { node } => self.start(node),
            Next::Cut { pairs } => self.cut(&pairs),
            Next::Mend { pairs } => self.mend(&pairs),
            // Since the calm all clocks are right.
            Next::Skew { .. } if self.calm => Ok(()),
            Next::Skew { node, skew_ms } => {
                self.nodes[node].skew_ms = skew_ms;
                Ok(())
            }
            Next::Dropped { node } => self.drop_member(node),
        }
    }

    pub(super) fn feed(&mut self, node: usize, input: Input) -> Result<(), String> {
        self.feed_asked(node, input, Asked::default())
    }

    /// Gives a node an input and carries out what it answers, unless its power goes in between.
    pub(super) fn feed_asked(&mut self, index: usize, input: Input, asked: Asked<'_>) -> Result<(), String> {
        let node = &mut self.nodes[index];
        let time = node.time(self.now_ms);
        let Some(replica) = &mut node.replica else { return Ok(()) };
        self.handled += 1;
        self.trace.note(&self.now_ms.to_le_bytes());
        self.trace.note(&[u8::try_from(index % 256).unwrap_or(0)]);
        if self.scenario.narrate && input != Input::Tick {
            if self.narration.len() == NARRATION_LINES {
                self.narration.pop_front();
            }
            self.narration.push_back(format!("{} node {index} <- {input:?}", self.now_ms));
        }
        let cause = Cause::of(&input);
        let anew = matches!(input, Input::Reborn(_));
        let context = (!asked.changes.is_empty() && replica.is_settled()).then(|| replica.seen().clone());
        let mut before = None;
        for output in replica.handle(input, time) {
            let point = self.point_before(index, before, &output);
            before = Some(Kind::of(&output));
            if let Some(point) = point
                && self.reach(index, point)?
            {
                return Ok(());
            }
            cause.check(&output).map_err(|what| format!("node {index} {what}"))?;
            if anew && matches!(output, Output::Event(Event::BegunAnew { .. })) {
                self.begin_to_watch(index);
            }
            self.carry_out(index, output, asked, context.as_ref())?;
        }
        self.check_clock(index, !matches!(cause, Cause::Other))?;
        self.check_after(index)
    }

    /// The named point between two outputs of one answer at which the power may go.
    fn point_before(&self, index: usize, before: Option<Kind>, output: &Output) -> Option<CrashPoint> {
        match (before, output) {
            (_, Output::Persist { batch, .. }) if batch.stream.replica == self.nodes[index].writer() => {
                Some(CrashPoint::BeforePersist)
            }
            (_, Output::Persist { .. }) => Some(CrashPoint::BeforePersistOfOthers),
            (Some(Kind::Persist), Output::Committed { .. }) => Some(CrashPoint::BeforeAnswer),
            (_, Output::Checkpoint { .. }) => Some(CrashPoint::BeforeCheckpoint),
            (_, Output::Rebirth { .. }) => Some(CrashPoint::BeforeRebirth),
            (Some(Kind::Push), Output::Send { message: Message::Commits { .. }, .. }) => {
                Some(CrashPoint::BetweenPushes)
            }
            (_, Output::Send { message: Message::Commits { .. }, .. }) => Some(CrashPoint::BeforePush),
            (_, Output::Send { message: Message::StatePage { .. }, .. }) => Some(CrashPoint::BeforePage),
            (_, Output::Send { message: Message::StateRequest { .. }, .. }) => Some(CrashPoint::BetweenPages),
            (_, Output::Event(Event::RepairDone { .. })) => Some(CrashPoint::AfterRepair),
            (_, Output::Send { .. } | Output::Committed { .. } | Output::Event(_)) => None,
            (_, Output::Watching { .. } | Output::Changed { .. }) => None,
        }
    }

    fn carry_out(
        &mut self,
        index: usize,
        output: Output,
        asked: Asked<'_>,
        context: Option<&VersionVector>,
    ) -> Result<(), String> {
        if self.scenario.narrate {
            self.narration.push_back(format!("{} node {index}      -> {output:?}", self.now_ms));
        }
        match output {
            Output::Persist { token, batch } => {
                let own =
                    self.nodes[index].replica.as_ref().is_some_and(|replica| replica.me() == batch.stream.replica);
                if own {
                    self.coverage.count("commits");
                    self.note_own(index, &batch, asked, context)?;
                }
                self.write(index, Write::Append { token, batch });
                Ok(())
            }
            Output::Checkpoint { token, checkpoint } => {
                self.check_checkpoint(index, &checkpoint)?;
                self.write(index, Write::Checkpoint { token, checkpoint });
                Ok(())
            }
            Output::Rebirth { incarnation, fresh } => {
                fresh.iter().for_each(|fresh| self.note_fresh(index, fresh));
                self.write(index, Write::Rebirth { incarnation, fresh });
                Ok(())
            }
            Output::Send { to, message } => self.send(index, to, &message),
            Output::Committed { result: Ok(committed), .. } => self.committed(index, committed, asked),
            Output::Committed { result: Err(_), .. } => {
                self.coverage.count("refused commits");
                Ok(())
            }
            Output::Event(event) => self.note_event(index, &event),
            Output::Watching { .. } | Output::Changed { .. } => Ok(()),
        }
    }

    /// A commit of its own: what a client asked for, or one of its own past that is made again.
    fn note_own(
        &mut self,
        index: usize,
        batch: &Batch,
        asked: Asked<'_>,
        context: Option<&VersionVector>,
    ) -> Result<(), String> {
        if self.nodes[index].is_forked() {
            self.coverage.count("commits of snapshots");
            return self.ledger.note_fork(batch, asked.changes.to_vec());
        }
        let (nodes, ends) = (&self.nodes, &self.ends);
        let known = |dot: &Dot| match is_known_elsewhere(nodes, ends, index, dot) {
            true if nodes[index].excused.contains(dot) => Elsewhere::Untold,
            true => Elsewhere::Known,
            false => Elsewhere::Unknown,
        };
        if asked.changes.is_empty() && self.ledger.note_again(batch, known)?.is_some() {
            self.coverage.count("commits made again");
            return Ok(());
        }
        let stamp = self.ledger.note(batch, asked.changes.to_vec(), context.cloned())?;
        self.nodes[index].watch.check_stamp(stamp).map_err(|what| format!("node {index} {what}"))
    }

    fn note_event(&mut self, index: usize, event: &Event) -> Result<(), String> {
        match event {
            // To a snapshot that writes, equal vectors may well mean different commits.
            Event::Diverged { .. } if self.nodes[index].is_forked() => Ok(()),
            Event::Equivocation { proof } => {
                self.coverage.count("equivocations proven");
                self.nodes[index].disk.image.proofs.push((**proof).clone());
                let expected = self.scenario.copies || self.scenario.forks || Self::is_equivocal(&proof.stream);
                if expected { Ok(()) } else { Err(format!("node {index}: {event:?}")) }
            }
            Event::Rejected { .. }
            | Event::Unread { .. }
            | Event::Offence { .. }
            | Event::Diverged { .. }
            | Event::NotMadeAgain { .. }
            | Event::RepairAbandoned { why: RepairEnd::Unsound, .. } => Err(format!("node {index}: {event:?}")),
            Event::Amnesia { .. } if self.nodes[index].forgot.is_none() => Err(format!("node {index}: {event:?}")),
            Event::Amnesia { .. } => {
                self.coverage.count("new lives after amnesia");
                Ok(())
            }
            Event::RepairDone { .. } => {
                self.coverage.count("completed repairs");
                Ok(())
            }
            Event::Held { dot, ahead_ms } => {
                self.note_held(*dot, *ahead_ms);
                Ok(())
            }
            Event::Retired { replica, through } => {
                let end = self.ends.entry(*replica).or_insert(*through);
                *end = (*end).max(*through);
                self.coverage.count("retirements noticed");
                Ok(())
            }
            Event::BegunAnew { .. } => {
                self.coverage.count("replicas begun anew");
                Ok(())
            }
            Event::RepairBegun { .. } | Event::RepairAbandoned { .. } | Event::MadeAgain { .. } => Ok(()),
        }
    }

    fn send(&mut self, from: usize, to: NodeId, message: &Message) -> Result<(), String> {
        self.check_sent(from, to, message)?;
        let to = self.bearer(to, from)?;
        let bytes = message.encode();
        self.check_size(&bytes)?;
        self.trace.note(&bytes);
        self.coverage.count("messages");
        self.coverage.sent_bytes(bytes.len());
        match message {
            Message::StatePage { objects, .. } if !objects.is_empty() => self.coverage.count("pages with objects"),
            Message::Commits { hops: Some(1), .. } => self.coverage.count("pushes along the tree"),
            Message::Commits { hops: Some(_), .. } => self.coverage.count("relays"),
            Message::Announce(_) => self.coverage.count("announcements"),
            Message::Graft(_) => self.coverage.count("grafts"),
            Message::Prune => self.coverage.count("prunes"),
            _ => {}
        }
        for in_ms in self.net.fate(from, to, self.scenario, &mut self.rng) {
            self.schedule(in_ms, Next::Deliver { from, to, bytes: bytes.clone() });
        }
        Ok(())
    }

    /// Whether several hosts bear this id.
    pub(super) fn is_shared(&self, id: &NodeId) -> bool {
        self.bearers.get(id).is_some_and(|bearers| bearers.len() > 1)
    }

    /// Who gets what is sent to `id`. Two hosts with one key both have connections, and either may be found at the end of one as
    /// long as it lasts.
    fn bearer(&mut self, id: NodeId, from: usize) -> Result<usize, String> {
        let Some(bearers) = self.bearers.get(&id) else { return Err("sent to nobody".to_owned()) };
        match bearers.as_slice() {
            [one] if *one == from => Err(format!("node {from} sends to itself")),
            [one] => Ok(*one),
            several => match self.found.get(&(from, id)) {
                Some((until_ms, bearer)) if self.now_ms < *until_ms => Ok(*bearer),
                Some(_) | None => {
                    let bearer = several[self.rng.index(several.len())];
                    let until_ms = self.now_ms + self.rng.between(1, CONNECTED_MS);
                    self.found.insert((from, id), (until_ms, bearer));
                    Ok(bearer)
                }
            },
        }
    }
}

/// What an answer follows from, as far as it says what the answer may be.
enum Cause {
    /// A peer said what it has, and did not ask for anything.
    Says(NodeId),
    /// A peer sent commits: these streams, up to there.
    Pushes(NodeId, Vec<(Stream, u64)>),
    /// A peer sent something else.
    Sends,
    /// No peer did anything.
    Other,
}

impl Cause {
    fn of(input: &Input) -> Self {
        let end = |batch: &Batch| (batch.stream, batch.first + batch.commits.len() as u64 - 1);
        match input {
            Input::Receive { from, message: Message::Vector { answer: true, .. } } => Self::Says(*from),
            Input::Receive { from, message: Message::Commits { batches, .. } } => {
                Self::Pushes(*from, batches.iter().map(end).collect())
            }
            Input::Receive { .. } => Self::Sends,
            _ => Self::Other,
        }
    }

    /// Whether an answer may be sent: nobody gets unasked what it wrote itself, and what was pushed is not pushed on but along the
    /// tree, and never back.
    fn check(&self, output: &Output) -> Result<(), String> {
        let Output::Send { to, message: Message::Commits { batches, hops, .. } } = output else { return Ok(()) };
        let is_own = batches.iter().any(|batch| batch.stream.replica.node == *to);
        match self {
            Self::Says(from) if from == to && is_own => Err(format!("sends {to:?} what it wrote itself")),
            Self::Pushes(..) if is_own => Err(format!("passes on to {to:?} what it wrote itself")),
            Self::Pushes(..) if hops.is_none() => Err(format!("passes on to {to:?} what was pushed")),
            Self::Pushes(from, ends) if from == to && batches.iter().any(|batch| is_within(batch, ends)) => {
                Err(format!("passes on to {to:?} what it pushed"))
            }
            Self::Says(_) | Self::Pushes(..) | Self::Sends | Self::Other => Ok(()),
        }
    }
}

/// Whether all of a batch is among what a message brought, which ends so.
fn is_within(batch: &Batch, ends: &[(Stream, u64)]) -> bool {
    let through = batch.first + batch.commits.len() as u64 - 1;
    ends.iter().any(|(stream, end)| *stream == batch.stream && through <= *end)
}

/// What the output before was, as far as a crash point asks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Persist,
    Push,
    Other,
}

impl Kind {
    const fn of(output: &Output) -> Self {
        match output {
            Output::Persist { .. } => Self::Persist,
            Output::Send { message: Message::Commits { .. }, .. } => Self::Push,
            Output::Send { .. }
            | Output::Checkpoint { .. }
            | Output::Committed { .. }
            | Output::Rebirth { .. }
            | Output::Watching { .. }
            | Output::Changed { .. }
            | Output::Event(_) => Self::Other,
        }
    }
}
