//! The replica: one door, [`Replica::handle`], through which everything that changes replicated state passes.
//!
//! An input and the time go in; outputs come out, to be carried out in order. The replica decides what to persist, to send and
//! to answer; it does nothing itself. Invariants: a commit of ours is sent to nobody before the store reported it durable;
//! commits of a stream apply in order and once; equal vectors mean equal roots.

mod ahead;
mod anti_entropy;
mod durability;
mod early;
mod io;
mod local;
mod peers;
mod receive;
mod recovery;
mod repair;
mod watch;

use std::collections::BTreeSet;

pub use ahead::Ahead;
pub use io::{Checkpoint, CommitError, Committed, Counters, Event, Fresh, Input, Message, Orphans, Output};
pub use peers::{PeerView, Progress};
pub use recovery::{RecoverError, Recovery};
pub use watch::{KeyPrefix, WatchError};

use crate::causal::VersionVector;
use crate::crdt::ContentHash;
use crate::hlc::Clock;
use crate::id::{NodeId, ReplicaId, Scope, Stream};
use crate::limits::{CHECKPOINT_MS, LOG_BYTES_MAX, LOG_COMMITS_KEPT, MAX_DRIFT_MS, PAGE_BYTES, REQUESTS_REMEMBERED};
use crate::log::Log;
use crate::state::State;
use crate::time::Time;

/// What a replica is told once. The defaults are the constants of [`crate::limits`], with their reasons; a simulation makes
/// them small, so that pages, forgetting and repair happen within seconds.
#[derive(Clone, Debug)]
pub struct Config {
    /// How far ahead of our clock a commit may be stamped before its stream waits, in milliseconds.
    pub max_drift_ms: u64,
    /// Bytes of commits or objects that one message carries before the rest goes into the next page.
    pub page_bytes: usize,
    /// Bytes of commits kept in memory to serve peers that are behind.
    pub log_bytes: usize,
    /// Commits per stream that stay in memory although every member has them.
    pub log_commits_kept: usize,
    /// Request ids remembered to make a retried write harmless.
    pub requests_remembered: usize,
    /// How often changed objects are written to the store, in milliseconds.
    pub checkpoint_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_drift_ms: MAX_DRIFT_MS,
            page_bytes: PAGE_BYTES,
            log_bytes: LOG_BYTES_MAX,
            log_commits_kept: LOG_COMMITS_KEPT,
            requests_remembered: REQUESTS_REMEMBERED,
            checkpoint_ms: CHECKPOINT_MS,
        }
    }
}

/// One replica of the shared state.
#[derive(Debug)]
pub struct Replica {
    config: Config,
    me: ReplicaId,
    state: State,
    clock: Clock,
    /// What is applied here.
    seen: VersionVector,
    log: Log,
    requests: local::Requests,
    durability: durability::Durability,
    members: BTreeSet<NodeId>,
    peers: peers::Peers,
    repair: repair::RepairState,
    early: early::Early,
    watches: watch::Watches,
    counters: Counters,
}

impl Replica {
    /// A replica without a past.
    #[must_use]
    pub fn new(me: ReplicaId, config: Config) -> Self {
        Self {
            me,
            state: State::new(me),
            clock: Clock::default(),
            seen: VersionVector::default(),
            log: Log::default(),
            requests: local::Requests::remembering(config.requests_remembered),
            durability: durability::Durability::default(),
            members: BTreeSet::new(),
            peers: peers::Peers::default(),
            repair: repair::RepairState::default(),
            early: early::Early::default(),
            watches: watch::Watches::default(),
            counters: Counters::default(),
            config,
        }
    }

    /// Takes an input at `now` and says what follows from it, to be carried out in order.
    pub fn handle(&mut self, input: Input, now: Time) -> Vec<Output> {
        let mut out = Vec::new();
        match input {
            Input::Commit { ticket, changes, request } => self.handle_commit(ticket, &changes, request, now, &mut out),
            Input::Receive { from, message } => self.handle_message(from, message, now, &mut out),
            Input::PeerUp(node) => self.handle_peer_up(node, now, &mut out),
            Input::PeerDown(node) => self.handle_peer_down(node),
            Input::Members(members) => {
                self.members = members.into_iter().filter(|node| *node != self.me.node).collect();
            }
            Input::Persisted { token } => self.handle_persisted(token, now, &mut out),
            Input::StoreFailed => self.durability.become_read_only(),
            Input::StoreRecovered => {
                self.durability.become_writable();
                // A repair that ended meanwhile must be stored before any commit that follows it.
                self.checkpoint_if_due(now, &mut out);
            }
            Input::Reborn(incarnation) => self.handle_reborn(incarnation),
            Input::Watch { id, prefix } => self.handle_watch(id, prefix, &mut out),
            Input::Unwatch { id } => self.handle_unwatch(id),
            Input::Tick => self.handle_tick(now, &mut out),
        }
        self.tell_changes(&mut out);
        out
    }

    fn handle_message(&mut self, from: NodeId, message: Message, now: Time, out: &mut Vec<Output>) {
        match message {
            Message::Commits { batches, more } => self.handle_commits(from, batches, more, now, out),
            Message::Digest { root, vector, durable, exact } => {
                self.handle_digest(from, anti_entropy::Digest { root, vector, durable, exact }, now, out);
            }
            Message::Vector { seen, durable, root, answer } => {
                self.handle_vector(from, anti_entropy::Heard { seen, durable, root }, answer, now, out);
            }
            Message::Forgotten => self.handle_forgotten(from, now, out),
            Message::StateRequest { after } => self.handle_state_request(from, after, out),
            Message::StatePage { seen, ahead, after, objects, next } => {
                self.handle_state_page(from, repair::Page { seen, ahead, after, objects, next }, now, out);
            }
        }
    }

    /// The writer that local commits are attributed to.
    #[must_use]
    pub const fn me(&self) -> ReplicaId {
        self.me
    }

    /// The objects, for reading.
    #[must_use]
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// The hash of all live content: equal on replicas that have seen the same commits.
    #[must_use]
    pub const fn root(&self) -> ContentHash {
        self.state.root()
    }

    /// What is applied here.
    #[must_use]
    pub const fn seen(&self) -> &VersionVector {
        &self.seen
    }

    /// What is durable here.
    #[must_use]
    pub const fn durable(&self) -> &VersionVector {
        self.durability.vector()
    }

    /// The newest stamp issued or observed here.
    #[must_use]
    pub const fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The retained log.
    #[must_use]
    pub const fn log(&self) -> &Log {
        &self.log
    }

    /// Whether local writes are refused because the store does not take them.
    #[must_use]
    pub const fn is_read_only(&self) -> bool {
        self.durability.is_read_only()
    }

    /// What happened so far, counted.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    fn own_stream(&self) -> Stream {
        Stream::global(self.me)
    }

    /// What we tell others that we have: of our own stream only what is durable, for the rest would be a promise.
    fn offered(&self) -> VersionVector {
        let own = self.own_stream();
        if self.seen.seq(&own) == self.durable().seq(&own) {
            return self.seen.clone();
        }
        let mut offered: VersionVector = self.seen.iter().filter(|(stream, _)| *stream != own).collect();
        if self.durable().seq(&own) > 0 {
            offered.advance(own, self.durable().seq(&own));
        }
        offered
    }

    /// Whether the root is exactly that of the offered vector: no commit of ours awaits the store, and no repair has put
    /// content here that the vector does not cover yet.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        let own = self.own_stream();
        self.seen.seq(&own) == self.durable().seq(&own) && self.is_settled()
    }

    /// Whether no repair has put content here that our vector does not cover yet.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.repair.ahead.is_empty() || {
            let mut ahead = self.repair.ahead.clone();
            ahead.settle(&self.seen);
            ahead.is_empty()
        }
    }
}

/// The only scope there is so far.
const SCOPE: Scope = Scope::GLOBAL;
