//! Local commits: from a caller's changes to an applied commit that waits for the store.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{CommitError, Committed, Output, Replica};
use crate::change::{Change, ChangeError};
use crate::commit::{Batch, Commit, CommitBytes, RequestId};
use crate::crdt::Context;
use crate::draft::Draft;
use crate::hlc::Hlc;
use crate::id::Dot;
use crate::key::Key;
use crate::limits::{COMMIT_BYTES_MAX, KEYS_PER_COMMIT_MAX, OBJECT_BYTES_MAX};
use crate::planted::{self, Bug};
use crate::time::Time;

/// The ids of recent requests, wherever they were made, with the commits that answered them.
#[derive(Debug)]
pub(super) struct Requests {
    limit: usize,
    answers: BTreeMap<RequestId, (Dot, Hlc)>,
    order: VecDeque<RequestId>,
}

impl Requests {
    pub(super) const fn remembering(limit: usize) -> Self {
        Self { limit, answers: BTreeMap::new(), order: VecDeque::new() }
    }

    pub(super) fn remember(&mut self, request: RequestId, dot: Dot, hlc: Hlc) {
        if self.answers.insert(request, (dot, hlc)).is_none() {
            self.order.push_back(request);
        }
        if self.order.len() > self.limit
            && let Some(oldest) = self.order.pop_front()
        {
            self.answers.remove(&oldest);
        }
    }

    /// Forgets requests whose commits do not count any more.
    pub(super) fn forget(&mut self, requests: &BTreeSet<RequestId>) {
        self.answers.retain(|request, _| !requests.contains(request));
        self.order.retain(|request| !requests.contains(request));
    }

    pub(super) fn answer(&self, request: &RequestId) -> Option<Committed> {
        self.answers.get(request).map(|(dot, hlc)| Committed { dot: *dot, hlc: *hlc, repeated: true })
    }
}

impl Replica {
    pub(super) fn handle_commit(
        &mut self,
        ticket: u64,
        changes: &[(Key, Change)],
        request: Option<RequestId>,
        now: Time,
        out: &mut Vec<Output>,
    ) {
        let repeated = request.and_then(|request| self.requests.answer(&request));
        let result = match repeated {
            Some(committed) => Ok(committed),
            None => self.commit(changes, request, now, out),
        };
        out.push(Output::Committed { ticket, result });
    }

    fn commit(
        &mut self,
        changes: &[(Key, Change)],
        request: Option<RequestId>,
        now: Time,
        out: &mut Vec<Output>,
    ) -> Result<Committed, CommitError> {
        if self.durability.is_read_only() {
            return Err(CommitError::ReadOnly);
        }
        if self.lineage.holds_writes() {
            return Err(CommitError::Fenced);
        }
        let (commit, bytes) = self.prepare(changes, request, now)?;
        let committed = Committed { dot: commit.dot(), hlc: commit.hlc, repeated: false };
        self.append(commit, bytes, out);
        Ok(committed)
    }

    /// Applies a commit of ours, and gives it to the store.
    pub(super) fn append(&mut self, commit: Commit, bytes: CommitBytes, out: &mut Vec<Output>) {
        // Before the commit, or after a crash in between nobody would know that it is in doubt.
        self.say_if_unsaid(out);
        let batch = Batch::new(commit.stream, commit.seq, vec![bytes.clone()]);
        self.counters.commits_local += 1;
        self.apply(commit, bytes);
        out.push(self.durability.append(batch));
    }

    fn prepare(
        &mut self,
        changes: &[(Key, Change)],
        request: Option<RequestId>,
        now: Time,
    ) -> Result<(Commit, CommitBytes), CommitError> {
        let mut draft = Draft::new(&self.state);
        for (index, (key, change)) in changes.iter().enumerate() {
            let full = self.state.object(key).is_some_and(|object| object.content().bytes() > OBJECT_BYTES_MAX);
            // What the agent itself has to say, it can say however much others have put there: revocations are among it.
            if full && change.adds() && !key.is_reserved() {
                return Err(CommitError::Change { index, source: ChangeError::ObjectFull });
            }
            draft.change(key, change.clone()).map_err(|source| CommitError::Change { index, source })?;
        }
        if draft.len() > KEYS_PER_COMMIT_MAX {
            return Err(CommitError::TooLarge("too many keys"));
        }
        let stream = self.own_stream();
        let known = if planted::is(Bug::DotReused) { self.durable() } else { &self.seen };
        let dot = Dot { replica: self.me, seq: known.seq(&stream) + 1 };
        let ops = self.state.operations(draft.into_folded(), &dot);
        for (index, (key, op)) in ops.iter().enumerate() {
            if op.validate(key.kind(), &dot).is_err() {
                return Err(CommitError::TooLarge(if index == 0 {
                    "too many members"
                } else {
                    "too many members in one operation"
                }));
            }
        }
        let commit = Commit { stream, seq: dot.seq, hlc: self.clock.issue(now.wall_ms), request, ops };
        let bytes = commit.encode();
        if bytes.len() > COMMIT_BYTES_MAX {
            return Err(CommitError::TooLarge("too many bytes"));
        }
        Ok((commit, bytes))
    }

    /// Applies a commit that is the next of its stream and was checked.
    pub(super) fn apply(&mut self, commit: Commit, bytes: CommitBytes) {
        let (stream, dot, hlc) = (commit.stream, commit.dot(), commit.hlc);
        if let Some(request) = commit.request.filter(|_| dot.replica == self.me || !planted::is(Bug::RequestsOfOthers))
        {
            self.requests.remember(request, dot, hlc);
        }
        let whole = commit.ops.len() < 2 || !planted::is(Bug::HalfOfCommit);
        let count = commit.ops.len() - usize::from(!whole);
        for (key, op) in commit.ops.into_iter().take(count) {
            self.retired.note(&key);
            let context = Context { ahead: self.repair.ahead.of(&key), ..Context::of(&self.seen) };
            if planted::is(Bug::ShownTwice) || !context.covers(&dot) {
                self.state.apply(key, op, dot, hlc, context);
            }
        }
        self.seen.advance(stream, dot.seq);
        self.clock.observe(hlc);
        self.note_changes(Some(dot), hlc);
        self.log.push(stream, dot.seq, bytes);
        self.log.shrink_to(self.config.log_bytes, (&self.own_stream(), self.lineage.confirmed_through()));
    }
}
