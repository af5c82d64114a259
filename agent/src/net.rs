//! The network among members: connections over QUIC and TCP, kept up, and frames on four lanes.
//!
//! Moves bytes and decodes nothing of ours: what a frame says is for the engine, the member table, the calls and the
//! artifacts to know. No libp2p type crosses this handle. The invariants: no protocol of ours is served to a peer that has
//! not proven membership; every queue is bounded, and what does not fit is dropped and counted by reason; `Up` and `Down`
//! are about nodes, however many connections there are to one.
//!
//! **Order.** Hints of one lane and urgency arrive in the order in which they were given, unless a link breaks in between; they
//! may be lost and never arrive twice. Nothing else is in order: questions travel on a stream each, and so does each urgency.
//! Whoever needs an order numbers its frames (the engine does).
//!
//! **Fairness.** Each peer has a bounded share of what waits for a consumer, and consumers serve the peers by turns. Whose
//! share is full is not read from until there is room, so that a member which sends too much fills its own queue.

mod address;
mod admission;
mod asking;
mod backlog;
mod behaviour;
mod bucket;
mod channel;
mod closing;
mod conduct;
mod counters;
mod desk;
mod dialer;
mod doorkeeper;
mod driver;
mod frame;
mod gate;
mod identity;
mod inbox;
mod join;
mod knock;
mod lane;
mod line;
mod link;
mod lives;
mod meter;
mod peers;
mod post;
mod reply;
mod shared;
mod start;
mod strangers;
#[cfg(test)]
pub(crate) mod tests;
mod transport;

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use selvedge_sync::id::NodeId;
use tokio::sync::{broadcast, mpsc, oneshot};

pub use address::{AddressError, ListenAddr};
pub use admission::{Admission, CREDENTIALS_BYTES_MAX, JOIN_BYTES_MAX, Later, Refused, Registrar};
pub use conduct::Offence;
pub use counters::{LaneCounters, NetCounters, NetReason};
pub use identity::node_of_seed;
pub use inbox::NetEvents;
pub use join::{JoinFailed, join};
pub(crate) use knock::{Door, PATIENCE as KNOCK_PATIENCE};
pub use lane::Lane;
pub use link::{LinkChange, LinkEvent, LinkState, LinkView, PeerLink};
pub use reply::Reply;

use inbox::Inboxes;
use post::Class;
use reply::{Body, Way};
use shared::Shared;

use crate::timing::LaneTimings;

/// Changes of links that a listener may be behind; then it is told how many it has missed.
const CHANGES_MAX: usize = 256;

/// Requests that may wait for the swarm's task. It takes them within microseconds; the bound is a safety net, and who
/// comes later waits within its own time-out.
const COMMANDS_MAX: usize = 256;

/// What the network needs to know before it starts.
pub struct NetConfig {
    /// The ed25519 seed of this node's identity.
    pub secret_key: [u8; 32],
    /// What we show to others, and how we judge what they show.
    pub admission: Arc<dyn Admission>,
    /// Answers strangers who were invited, where this agent can.
    pub registrar: Option<Arc<dyn Registrar>>,
    /// Where to listen. Empty: this agent only dials.
    pub listen: Vec<ListenAddr>,
    /// Addresses to connect to for ever: `host:port` (QUIC is tried first, then TCP) or multiaddrs.
    pub bootstrap: Vec<String>,
    /// Addresses to tell others instead of those that are bound, for a host behind a translated or named address.
    pub advertise: Vec<String>,
}

impl fmt::Debug for NetConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NetConfig")
            .field("listen", &self.listen)
            .field("bootstrap", &self.bootstrap)
            .field("advertise", &self.advertise)
            .finish_non_exhaustive()
    }
}

/// Why the network did not start. Nothing is left bound.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// An address of the configuration is none.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// Somebody else listens there.
    #[error(
        "cannot listen on {address}: it is in use by another process (choose another port, or port 0 for a free one)"
    )]
    AddressInUse {
        /// The address, as it was configured.
        address: String,
    },
    /// The system does not let us listen there.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address, as it was configured.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// The transports cannot be set up on this system.
    #[error("the transports cannot be set up: {0}")]
    Transport(#[source] io::Error),
}

/// What the network tells its one consumer.
#[derive(Debug)]
pub enum NetEvent {
    /// A member is connected.
    Up {
        /// Who.
        node: NodeId,
    },
    /// The last connection to a member is gone.
    Down {
        /// Who.
        node: NodeId,
    },
    /// A frame of a connected member.
    Message {
        /// Who sent it; the transport has verified that.
        from: NodeId,
        /// What it is for.
        lane: Lane,
        /// The body, at most [`Lane::frame_bytes_max`] long.
        bytes: Vec<u8>,
        /// Takes the answer. Until it is used or dropped, the frame counts against its sender's backlog.
        reply: Reply,
    },
}

/// Why a question got no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// No connection; nothing was sent.
    #[error("not connected")]
    NotConnected,
    /// No answer in time. It is not known whether the other side acted.
    #[error("no answer in time")]
    TimedOut,
    /// The other side is too busy and did nothing.
    #[error("the other side is busy")]
    Busy,
    /// Too many questions of ours to this node are unanswered; nothing was sent.
    #[error("too many requests to this node are unanswered")]
    Saturated,
    /// The question exceeds the lane's limit; nothing was sent.
    #[error("a request of {bytes} bytes exceeds the limit of {max}")]
    TooLarge {
        /// Length of the body.
        bytes: usize,
        /// The lane's limit.
        max: usize,
    },
    /// The other side's answer exceeds the lane's limit. It has acted.
    #[error("the answer exceeds the frame limit")]
    AnswerTooLarge,
    /// The other side took the question and chose not to answer.
    #[error("the other side gave no answer")]
    Unanswered,
    /// The connection or its stream broke. It is not known whether the other side acted.
    #[error("the connection broke before the answer")]
    Closed,
    /// The other side does not speak this lane.
    #[error("the other side does not speak this protocol")]
    Unsupported,
    /// This network has been shut down.
    #[error("the network is shut down")]
    Stopped,
}

/// Why a hint was not queued. Each is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// No connection to the node.
    #[error("not connected")]
    NotConnected,
    /// The node takes hints too slowly, and its queue is full.
    #[error("the queue to this node is full")]
    QueueFull,
    /// The hint exceeds the lane's limit.
    #[error("a hint of {bytes} bytes exceeds the limit of {max}")]
    TooLarge {
        /// Length of the body.
        bytes: usize,
        /// The lane's limit.
        max: usize,
    },
    /// The lane carries only questions that want an answer; use [`Net::request`].
    #[error("this lane carries no hints")]
    NoHints,
}

/// A question on its way to the swarm's task.
#[derive(Debug)]
struct Ask {
    to: NodeId,
    lane: Lane,
    body: Vec<u8>,
    answer: oneshot::Sender<Result<Vec<u8>, RequestError>>,
}

/// The handle: cheap to clone, usable from any task. The network stops when it is told to, or when the last handle goes.
#[derive(Clone, Debug)]
pub struct Net {
    shared: Arc<Shared>,
    asks: mpsc::Sender<Ask>,
}

impl Net {
    /// Binds, listens and begins to dial. Returns once every listener is bound; unreachable bootstrap addresses are no
    /// error (see [`Net::unreached_bootstrap`]). Must be called within a tokio runtime.
    ///
    /// # Errors
    /// An address that is none, one that is in use or not ours, or a system without what the transports need.
    pub async fn start(config: NetConfig) -> Result<(Self, NetEvents), NetError> {
        let inboxes = Inboxes::joint();
        let events = NetEvents::new(Arc::clone(inboxes.of(Lane::Members)));
        Ok((start::start(config, inboxes).await?, events))
    }

    /// The same with two consumers: the first for what comes on [`Lane::Sync`], the second for all other lanes. Both are told who
    /// comes and goes.
    ///
    /// # Errors
    /// As for [`Net::start`].
    pub async fn start_split(config: NetConfig) -> Result<(Self, NetEvents, NetEvents), NetError> {
        let inboxes = Inboxes::apart();
        let sync = NetEvents::new(Arc::clone(inboxes.of(Lane::Sync)));
        let rest = NetEvents::new(Arc::clone(inboxes.of(Lane::Members)));
        Ok((start::start(config, inboxes).await?, sync, rest))
    }

    /// This node.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.shared.own
    }

    /// What is bound now, as multiaddrs with their real ports; for `0.0.0.0` one per interface.
    #[must_use]
    pub fn listen_addresses(&self) -> Vec<String> {
        lock(&self.shared.bound).iter().map(ToString::to_string).collect()
    }

    /// What others should be told: the configured addresses, or else those that are bound and can be reached from elsewhere
    /// (loopback only where there is nothing else).
    #[must_use]
    pub fn advertised(&self) -> Vec<String> {
        if !self.shared.advertise.is_empty() {
            return self.shared.advertise.clone();
        }
        address::worth_telling(lock(&self.shared.bound).iter())
    }

    /// Asks a connected node and waits for its answer, for at most `timeout` (and never longer than the lane allows).
    ///
    /// # Errors
    /// Each variant of [`RequestError`] says whether the other side may have acted.
    pub async fn request(
        &self,
        to: NodeId,
        lane: Lane,
        bytes: Vec<u8>,
        timeout: Duration,
    ) -> Result<Vec<u8>, RequestError> {
        let max = lane.frame_bytes_max();
        if bytes.len() > max {
            return Err(RequestError::TooLarge { bytes: bytes.len(), max });
        }
        let asked = Instant::now();
        let exchange = self.exchange(to, lane, bytes);
        let answer = tokio::time::timeout(timeout, exchange).await.unwrap_or(Err(RequestError::TimedOut));
        if answer.is_ok() {
            self.shared.tally.answered.record(lane.name(), asked.elapsed());
        }
        answer
    }

    /// Queues a hint for a connected node and returns at once. It may be lost on the way; losses are counted.
    ///
    /// # Errors
    /// It was not queued; see [`SendError`].
    pub fn send(&self, to: NodeId, lane: Lane, bytes: Vec<u8>) -> Result<(), SendError> {
        let class = if lane == Lane::Members { Class::Members } else { Class::Sync };
        self.send_as(class, to, lane, bytes)
    }

    /// Like [`Net::send`], for what is large and not urgent. It overtakes nothing and holds nothing up.
    ///
    /// # Errors
    /// It was not queued; see [`SendError`].
    pub fn send_bulk(&self, to: NodeId, lane: Lane, bytes: Vec<u8>) -> Result<(), SendError> {
        self.send_as(Class::Bulk, to, lane, bytes)
    }

    fn send_as(&self, class: Class, to: NodeId, lane: Lane, bytes: Vec<u8>) -> Result<(), SendError> {
        let max = lane.frame_bytes_max();
        if !lane.carries_hints() {
            return Err(SendError::NoHints);
        }
        if bytes.len() > max {
            self.shared.tally.count(NetReason::HintTooLarge);
            return Err(SendError::TooLarge { bytes: bytes.len(), max });
        }
        let Some(post) = lock(&self.shared.peers).post(to).map(Arc::clone) else {
            self.shared.tally.count(NetReason::HintNotConnected);
            return Err(SendError::NotConnected);
        };
        if post.push(class, lane, bytes) { Ok(()) } else { Err(SendError::QueueFull) }
    }

    /// Tells where a member can be found; from then on this agent keeps connected to it. The latest word about a member
    /// replaces earlier ones, and an empty list forgets it. At most 8 addresses are kept per member, of 1,024 members;
    /// what is unusable or too many is counted.
    pub fn learn(&self, node: NodeId, addresses: Vec<String>) {
        if !addresses.is_empty() && lock(&self.shared.forbidden).contains(&node) {
            return;
        }
        let mut learned = lock(&self.shared.learned);
        if learned.len() >= dialer::MEMBERS_MAX && !learned.contains_key(&node) {
            self.shared.tally.count(NetReason::AddressLimit);
            return;
        }
        learned.insert(node, addresses);
        drop(learned);
        self.shared.work.notify_one();
    }

    /// Closes all connections to a node that is no member any more. Whether it gets in again is for the [`Admission`] to say.
    pub fn expel(&self, node: NodeId) {
        if lock(&self.shared.peers).is_connected(node) {
            lock(&self.shared.expelled).insert(node);
            self.shared.work.notify_one();
        }
    }

    /// Closes all connections to a member that does not answer: what waits for it is dropped, and it is dialed as one that has gone.
    pub fn hang_up(&self, node: NodeId) {
        if lock(&self.shared.peers).is_connected(node) {
            lock(&self.shared.silent).insert(node);
            self.shared.work.notify_one();
        }
    }

    /// The same for a node that will never be a member again: nor is it dialed any more.
    pub fn forbid(&self, node: NodeId) {
        if lock(&self.shared.forbidden).insert(node) {
            self.learn(node, Vec::new());
        }
        self.expel(node);
    }

    /// Holds an offence against a member. Offences that add up make it be read from slowly, then disconnected and refused for a
    /// while, whoever dials; time heals. What is not its own doing (a commit that it passed on) is not its offence.
    pub fn penalise(&self, node: NodeId, offence: Offence) {
        self.shared.penalise(node, offence);
    }

    /// Takes note that a member sent what cannot be read here: an offence, unless a later release may well say so.
    pub fn unreadable(&self, node: NodeId, offence: Offence, is_of_a_later_release: bool) {
        if is_of_a_later_release {
            self.shared.tally.count(NetReason::IncomingLater);
        } else {
            self.shared.penalise(node, offence);
        }
    }

    /// The connected members, ordered by node id.
    #[must_use]
    pub fn peers(&self) -> Vec<PeerLink> {
        let conduct = lock(&self.shared.conduct);
        lock(&self.shared.peers).links(&conduct, Instant::now())
    }

    /// The round trip to a member, as [`PeerLink::rtt`] has it: `None` if it is not connected, nothing within before one was measured.
    #[must_use]
    pub fn round_trip(&self, node: NodeId) -> Option<Option<Duration>> {
        lock(&self.shared.peers).round_trip(node)
    }

    /// Everybody whom this agent is connected to, wants to be, or refuses.
    #[must_use]
    pub fn links(&self) -> Vec<LinkView> {
        self.shared.links()
    }

    /// The nodes of which two processes have shown the key within the last minutes; this node, if another process has its key.
    #[must_use]
    pub fn two_holders(&self) -> Vec<NodeId> {
        lock(&self.shared.lives).suspects(Instant::now())
    }

    /// What happens to links from now on, in order. A listener that is more than 256 changes behind is told how many it missed.
    #[must_use]
    pub fn changes(&self) -> broadcast::Receiver<LinkChange> {
        self.shared.changes.subscribe()
    }

    /// How long answers take.
    #[must_use]
    pub fn answered(&self) -> LaneTimings {
        self.shared.tally.answered.clone()
    }

    /// All counters at this moment.
    #[must_use]
    pub fn counters(&self) -> NetCounters {
        self.shared.tally.snapshot()
    }

    /// The bootstrap addresses, as configured, behind which no member is connected at present. They are being tried.
    #[must_use]
    pub fn unreached_bootstrap(&self) -> Vec<String> {
        lock(&self.shared.dialer).unreached()
    }

    /// Closes all connections and listeners, and returns when that is done. Requests under way end as
    /// [`RequestError::Stopped`] or [`RequestError::Closed`].
    pub async fn shutdown(&self) {
        self.shared.stop.cancel();
        self.shared.stopped.cancelled().await;
    }
}

/// Locks. A panic elsewhere while the lock was held does not matter: each change under it is complete in itself.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
