//! The replica: one door, [`Replica::handle`], through which everything that changes replicated state passes.
//!
//! An input and the time go in; outputs come out, to be carried out in order. The replica decides what to persist, to send and
//! to answer; it does nothing itself. Invariants: a commit of ours is sent to nobody before the store reported it durable;
//! commits of a stream apply in order and once; equal vectors mean equal roots.

mod ahead;
mod anti_entropy;
mod carried;
mod closing;
mod compare;
mod conduct;
mod counters;
mod durability;
mod early;
mod evidence;
mod giver;
mod guard;
mod io;
mod lineage;
mod local;
mod peers;
mod plan;
mod proofs;
mod recall;
mod receive;
mod recovery;
mod reissue;
mod repair;
mod retire;
mod spread;
mod streams;
mod unread;
mod watch;

use std::collections::BTreeSet;
use std::sync::Arc;

pub use ahead::Ahead;
pub use carried::{Checkpoint, CommitError, Committed, Fresh, Orphans, RepairProgress};
pub use compare::Ask;
pub use conduct::Offence;
pub use counters::Counters;
pub use evidence::Head;
pub use guard::{Guard, Judgement, Unguarded};
pub use io::{Event, Input, Message, Output, RepairEnd};
pub use lineage::Tip;
pub use peers::{PeerView, Progress, Unseen};
pub use recovery::{RecoverError, Recovery};
use spread::Way;
pub use watch::{KeyPrefix, WatchError};

use crate::broadcast::Event as Tell;
use crate::causal::VersionVector;
use crate::crdt::{ContentHash, Seeded};
use crate::hlc::Clock;
use crate::id::{NodeId, ReplicaId, Scope, Stream};
use crate::limits::{
    CHECKPOINT_BYTES, CHECKPOINT_MS, LOG_BYTES_MAX, LOG_COMMITS_KEPT, MAX_DRIFT_MS, PAGE_BYTES, REQUESTS_REMEMBERED,
    RETIRE_AFTER_MS, STRAIGHT_MEMBERS_MAX,
};
use crate::log::Log;
use crate::planted::{self, Bug};
use crate::seal::{HashKeys, Keys};
use crate::state::State;
use crate::time::Time;

/// What a replica is told once. The defaults are the constants of [`crate::limits`], with their reasons; a simulation makes
/// them small, so that pages, forgetting and repair happen within seconds. By default the keys are a stand-in ([`HashKeys`]) that
/// an agent must replace, and nothing is guarded ([`Unguarded`]).
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
    /// Bytes of commits given to the store after which changed objects are written to it.
    pub checkpoint_bytes: u64,
    /// How long changed objects may go unwritten all the same, in milliseconds.
    pub checkpoint_ms: u64,
    /// How long a node that is no member any more has to be silent before its streams are closed, in milliseconds.
    pub retire_after_ms: u64,
    /// Most members that commits are pushed to straight by their writer; above, they go by the broadcast tree.
    pub straight_members_max: usize,
    /// Decides who is whose neighbour in the broadcast tree; to be the same for all members of a cluster.
    pub broadcast_seed: u64,
    /// Seeds the tables of keys and members. Nobody who chooses names should know it; nothing that comes out depends on it.
    pub hash_seed: u64,
    /// Signs our commits for those who get them from others, and verifies theirs.
    pub keys: Arc<dyn Keys>,
    /// Says what may be written to keys that belong to the agents themselves.
    pub guard: Arc<dyn Guard>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_drift_ms: MAX_DRIFT_MS,
            page_bytes: PAGE_BYTES,
            log_bytes: LOG_BYTES_MAX,
            log_commits_kept: LOG_COMMITS_KEPT,
            requests_remembered: REQUESTS_REMEMBERED,
            checkpoint_bytes: CHECKPOINT_BYTES,
            checkpoint_ms: CHECKPOINT_MS,
            retire_after_ms: RETIRE_AFTER_MS,
            straight_members_max: STRAIGHT_MEMBERS_MAX,
            broadcast_seed: 0,
            hash_seed: 0,
            keys: Arc::new(HashKeys),
            guard: Arc::new(Unguarded),
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
    unread: unread::Unread,
    evidence: evidence::Evidence,
    spread: spread::Spread,
    lineage: lineage::Lineage,
    retired: retire::Retired,
    closings: closing::Closings,
    watches: watch::Watches,
    counters: Counters,
}

impl Replica {
    /// A replica without a past.
    #[must_use]
    pub fn new(me: ReplicaId, config: Config) -> Self {
        Self {
            me,
            state: State::seeded(me, Seeded(config.hash_seed)),
            clock: Clock::default(),
            seen: VersionVector::default(),
            log: Log::default(),
            requests: local::Requests::remembering(config.requests_remembered),
            durability: durability::Durability::default(),
            members: BTreeSet::new(),
            peers: peers::Peers::default(),
            repair: repair::RepairState::default(),
            early: early::Early::default(),
            unread: unread::Unread::default(),
            evidence: evidence::Evidence::default(),
            spread: spread::Spread::of(me.node, &config),
            lineage: lineage::Lineage::default(),
            retired: retire::Retired::default(),
            closings: closing::Closings::default(),
            watches: watch::Watches::default(),
            counters: Counters::default(),
            config,
        }
    }

    /// Takes an input at `now` and says what follows from it, to be carried out in order.
    pub fn handle(&mut self, input: Input, now: Time) -> Vec<Output> {
        let mut out = Vec::new();
        if self.lineage.is_void() && matches!(input, Input::Receive { .. } | Input::Tick) {
            // The store is about to begin anew: what came now would be written before that, and be gone.
            return out;
        }
        match input {
            Input::Commit { ticket, changes, request } => self.handle_commit(ticket, &changes, request, now, &mut out),
            Input::Receive { from, message } => self.handle_message(from, message, now, &mut out),
            Input::PeerUp(node) => {
                self.handle_peer_up(node, &mut out);
                self.tell_proofs(node, &mut out);
                self.tell_tree(Tell::PeerUp(node), now, &mut out);
            }
            Input::PeerDown(node) => {
                self.handle_peer_down(node, &mut out);
                self.tell_tree(Tell::PeerDown(node), now, &mut out);
            }
            Input::Members(members) => {
                self.members = members.into_iter().filter(|node| *node != self.me.node).collect();
                self.peers.moved = true;
                self.note_members();
                self.look_at_strangers(now, &mut out);
                self.tell_tree(Tell::Members(self.members.len() + 1), now, &mut out);
            }
            Input::Persisted { token } => self.handle_persisted(token, now, &mut out),
            Input::StoreFailed => self.durability.become_read_only(),
            Input::StoreRecovered => {
                self.durability.become_writable();
                // A repair that ended meanwhile must be stored before any commit that follows it.
                self.checkpoint_if_due(now, &mut out);
            }
            Input::Reborn(incarnation) => self.handle_reborn(incarnation, now, &mut out),
            Input::Watch { id, prefix } => self.handle_watch(id, prefix, &mut out),
            Input::Unwatch { id } => self.handle_unwatch(id),
            Input::Tick => self.handle_tick(now, &mut out),
        }
        self.look_at_retired(now, &mut out);
        if self.lineage.is_fenced() {
            // Until it is known what our stream means, nothing is said that could give it another meaning elsewhere.
            out.retain(
                |output| !matches!(output, Output::Send { message, .. } if !matches!(message, Message::Recall { .. })),
            );
        }
        self.tell_changes(&mut out);
        out
    }

    fn handle_message(&mut self, from: NodeId, message: Message, now: Time, out: &mut Vec<Output>) {
        if !self.trusts(from, &message) || !self.affords(from, &message, now, out) {
            return;
        }
        if matches!(message, Message::Commits { .. } | Message::StatePage { .. } | Message::Forgotten)
            && let Some(peer) = self.peers.known.get_mut(&from)
        {
            peer.awaited_ms = None;
        }
        match message {
            Message::Commits { batches, more, hops } => {
                self.handle_commits(Way { from, hops, waited: false }, batches, more, now, out);
            }
            Message::Digest { root, vector, durable, exact, tip } => {
                self.handle_digest(from, anti_entropy::Digest { root, vector, durable, exact, tip }, now, out);
            }
            Message::Vector { seen, behind, root, answer, tip } => {
                self.handle_vector(from, anti_entropy::Heard { seen, behind, root, tip }, answer, now, out);
            }
            Message::Recall { incarnation, from: first } => self.handle_recall(from, incarnation, first, out),
            Message::Recalled { incarnation, known, batch } => {
                self.handle_recalled(from, (incarnation, known), batch, now, out);
            }
            Message::Heads { heads } => self.handle_heads(from, &heads, out),
            Message::Witness { stream, testimony } => self.handle_witness(stream, testimony, now, out),
            Message::Proof(proof) => self.handle_proof(from, *proof, now, out),
            Message::Forgotten => self.handle_forgotten(from, now, out),
            Message::StateRequest { asks } => self.handle_state_request(from, &asks, out),
            Message::StatePage { seen, ahead, latest, to, last, equal, objects } => {
                self.handle_state_page(from, repair::Page { seen, ahead, latest, to, last, equal, objects }, now, out);
            }
            Message::Announce(news) => self.handle_announced(from, news, now, out),
            Message::Graft(wants) => self.handle_grafted(from, wants, now, out),
            Message::Prune => self.tell_tree(Tell::Pruned { from }, now, out),
            Message::Link(up) => self.tell_tree(Tell::Linked { from, up }, now, out),
        }
    }

    /// The writer that local commits are attributed to.
    #[must_use]
    pub const fn me(&self) -> ReplicaId {
        self.me
    }

    /// The objects.
    #[must_use]
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// The objects as readers are to see them: while a replica that began anew is being repaired, those that it had before.
    #[must_use]
    pub fn readable(&self) -> &State {
        self.lineage.before().unwrap_or(&self.state)
    }

    /// What waits to be made again, because nobody else has it.
    #[must_use]
    pub const fn orphans(&self) -> &Orphans {
        self.lineage.orphans()
    }

    /// Whether local writes are refused: until it is known what our own stream means elsewhere, and after this replica began anew
    /// until its state is back, as long as readers are shown what it had before ([`Replica::readable`]).
    #[must_use]
    pub const fn is_fenced(&self) -> bool {
        self.lineage.holds_writes()
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
        if planted::is(Bug::OfferedTooEarly) {
            return self.seen.clone();
        }
        self.seen.with_only(&own, self.durable().seq(&own))
    }

    /// Whether the root is exactly that of the offered vector: no commit of ours awaits the store, and no repair has put
    /// content here that the vector does not cover yet.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        let own = self.own_stream();
        self.seen.seq(&own) == self.durable().seq(&own) && self.is_settled()
    }

    /// Whether a repair has put content here that shows more of `stream` than our vector.
    #[must_use]
    pub fn shows_more_of(&self, stream: &Stream) -> bool {
        self.repair.ahead.most_of(stream) > self.seen.seq(stream)
    }

    /// Whether no repair has put content here that our vector does not cover yet.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.repair.ahead.is_within(&self.seen)
    }
}

/// The only scope there is so far.
const SCOPE: Scope = Scope::GLOBAL;
