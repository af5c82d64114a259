//! What the network did and what it refused, counted.
//!
//! Counters only ever grow; a [`NetCounters`] is a copy taken at one moment. The invariant: each frame, hint or connection that is
//! dropped adds to exactly one counter that names the reason.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::conduct::Offence;
use super::lane::Lane;
use crate::timing::LaneTimings;

/// Frames and bytes of one lane since the start. Bytes are bodies, without the headers of the transports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LaneCounters {
    /// Questions, hints and answers written.
    pub frames_out: u64,
    /// Questions, hints and answers read.
    pub frames_in: u64,
    /// Bytes of the bodies written.
    pub bytes_out: u64,
    /// Bytes of the bodies read.
    pub bytes_in: u64,
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $label:literal,)+) => {
        /// Why something was dropped, refused or failed, or (the dials) that it went well.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum NetReason {
            $($(#[$doc])* $name,)+
        }

        impl NetReason {
            /// Every reason.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// The reason's word, as it stands in logs and metrics.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $label,)+
                }
            }
        }
    };
}

reasons! {
    /// A dial ended in an admitted connection.
    DialOk = "dial_ok",
    /// A dial failed, for whatever reason; it is tried again later.
    DialFailed = "dial_failed",
    /// Somebody came with an invitation and got its answer.
    Joined = "joined",
    /// A member was disconnected, because it is none any more.
    Expelled = "expelled",
    /// Somebody who dialed us did not prove membership (or was too slow to).
    AdmissionRefusedIncoming = "admission_refused_incoming",
    /// Somebody whom we dialed refused us, or did not prove membership to us.
    AdmissionRefusedOutgoing = "admission_refused_outgoing",
    /// An incoming connection broke off before admission: a scanner, garbage, a handshake that was never finished.
    IncomingFailed = "incoming_failed",
    /// A connection was closed because its other side answered no pings: a host that stalled or vanished, or holds it half open.
    PingUnanswered = "ping_unanswered",
    /// A connection was denied by the limit on their number.
    ConnectionLimit = "connection_limit",
    /// A hint was not queued: no connection to its peer.
    HintNotConnected = "hint_not_connected",
    /// A hint was not queued: its peer takes them too slowly and the queue's byte budget is spent.
    HintQueueFull = "hint_queue_full",
    /// A hint was not queued: it exceeds the lane's frame limit.
    HintTooLarge = "hint_too_large",
    /// A hint was queued or on its way when the last connection to its peer went, or its stream broke.
    HintLost = "hint_lost",
    /// A hint or a stream from a peer was dropped here, as one of far more than any member has reason to send.
    IncomingFlood = "incoming_flood",
    /// A stream from a peer broke the framing, and was closed.
    IncomingMalformed = "incoming_malformed",
    /// A question from a peer was answered with "busy": this agent takes events too slowly.
    IncomingRequestBusy = "incoming_request_busy",
    /// A peer sent what only a later release knows; it was left out, and is held against nobody.
    IncomingLater = "incoming_later_release",
    /// A frame above its lane's limit arrived; its stream was closed unread.
    IncomingTooLarge = "incoming_too_large",
    /// A member was read from slowly from then on, because of its conduct.
    ConductSlowed = "conduct_slowed",
    /// A member was disconnected and refused for a while, because of its conduct.
    ConductRefused = "conduct_refused",
    /// A connection from or to a member was refused, because it broke the rules not long ago.
    RefusedForConduct = "refused_for_conduct",
    /// A connection was refused: another process with the same key is connected.
    TwoHolders = "two_holders",
    /// A connection was refused before its handshake: too many, or too many a second, from its address.
    StrangerLimit = "stranger_limit",
    /// A connection was refused before its handshake: too many are in set-up.
    StrangersBusy = "strangers_busy",
    /// Somebody asked to join after too many wrong invitations, from its address or from everywhere, and was not heard.
    JoinSlowed = "join_slowed",
    /// A question was not asked: too many to its peer are unanswered.
    RequestSaturated = "request_saturated",
    /// An address heard by gossip was of no use: invalid, or naming another node.
    AddressRefused = "address_refused",
    /// An address or member was not taken in because a bound on their number was reached.
    AddressLimit = "address_limit",
}

/// The counters of the network at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetCounters {
    lanes: [LaneCounters; Lane::ALL.len()],
    reasons: [u64; NetReason::ALL.len()],
    offences: [u64; Offence::ALL.len()],
}

impl NetCounters {
    /// Traffic of one lane.
    #[must_use]
    pub const fn lane(&self, lane: Lane) -> LaneCounters {
        self.lanes[lane.index()]
    }

    /// How often `reason` occurred.
    #[must_use]
    pub const fn of(&self, reason: NetReason) -> u64 {
        self.reasons[reason as usize]
    }

    /// How often members were caught at `offence`.
    #[must_use]
    pub const fn offences(&self, offence: Offence) -> u64 {
        self.offences[offence.index()]
    }
}

#[derive(Debug, Default)]
struct LaneTally {
    frames_out: AtomicU64,
    frames_in: AtomicU64,
    bytes_out: AtomicU64,
    bytes_in: AtomicU64,
}

/// The live counters, shared by the handle, the swarm's task and the connections' tasks.
#[derive(Debug, Default)]
pub(super) struct Tally {
    lanes: [LaneTally; Lane::ALL.len()],
    reasons: [AtomicU64; NetReason::ALL.len()],
    offences: [AtomicU64; Offence::ALL.len()],
    /// How long answers took.
    pub(super) answered: LaneTimings,
}

impl Tally {
    pub(super) fn offended(&self, offence: Offence) {
        self.offences[offence.index()].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count(&self, reason: NetReason) {
        self.count_many(reason, 1);
    }

    pub(super) fn count_many(&self, reason: NetReason, times: usize) {
        self.reasons[reason as usize].fetch_add(times as u64, Ordering::Relaxed);
    }

    pub(super) fn wrote(&self, lane: Lane, bytes: usize) {
        let tally = &self.lanes[lane.index()];
        tally.frames_out.fetch_add(1, Ordering::Relaxed);
        tally.bytes_out.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn read(&self, lane: Lane, bytes: usize) {
        let tally = &self.lanes[lane.index()];
        tally.frames_in.fetch_add(1, Ordering::Relaxed);
        tally.bytes_in.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn snapshot(&self) -> NetCounters {
        let lanes = self.lanes.each_ref().map(|tally| LaneCounters {
            frames_out: tally.frames_out.load(Ordering::Relaxed),
            frames_in: tally.frames_in.load(Ordering::Relaxed),
            bytes_out: tally.bytes_out.load(Ordering::Relaxed),
            bytes_in: tally.bytes_in.load(Ordering::Relaxed),
        });
        NetCounters {
            lanes,
            reasons: self.reasons.each_ref().map(|count| count.load(Ordering::Relaxed)),
            offences: self.offences.each_ref().map(|count| count.load(Ordering::Relaxed)),
        }
    }
}

/// What passes between this agent and one peer while it is connected. What is counted here is counted in the [`Tally`] too.
#[derive(Debug)]
pub(super) struct PeerTally {
    all: Arc<Tally>,
    bytes_out: AtomicU64,
    bytes_in: AtomicU64,
    reasons: [AtomicU64; NetReason::ALL.len()],
}

impl PeerTally {
    pub(super) fn new(all: Arc<Tally>) -> Self {
        let reasons = std::array::from_fn(|_| AtomicU64::new(0));
        Self { all, bytes_out: AtomicU64::new(0), bytes_in: AtomicU64::new(0), reasons }
    }

    #[cfg(test)]
    pub(super) fn for_tests() -> Arc<Self> {
        Arc::new(Self::new(Arc::default()))
    }

    pub(super) fn count(&self, reason: NetReason) {
        self.count_many(reason, 1);
    }

    pub(super) fn count_many(&self, reason: NetReason, times: usize) {
        self.all.count_many(reason, times);
        self.reasons[reason as usize].fetch_add(times as u64, Ordering::Relaxed);
    }

    /// A hint was written.
    pub(super) fn wrote(&self, lane: Lane, bytes: usize) {
        self.all.wrote(lane, bytes);
        self.sent(bytes);
    }

    /// A hint was read.
    pub(super) fn read(&self, lane: Lane, bytes: usize) {
        self.all.read(lane, bytes);
        self.received(bytes);
    }

    /// A question or answer was given to its lane, which counts it when it is written.
    pub(super) fn sent(&self, bytes: usize) {
        self.bytes_out.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// A question or answer came from its lane, which has counted it.
    pub(super) fn received(&self, bytes: usize) {
        self.bytes_in.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Bytes in and out.
    pub(super) fn bytes(&self) -> (u64, u64) {
        (self.bytes_in.load(Ordering::Relaxed), self.bytes_out.load(Ordering::Relaxed))
    }

    /// What was dropped, by reason.
    pub(super) fn drops(&self) -> Vec<(NetReason, u64)> {
        let counts = NetReason::ALL.iter().zip(&self.reasons);
        counts.map(|(reason, count)| (*reason, count.load(Ordering::Relaxed))).filter(|(_, count)| *count > 0).collect()
    }
}
