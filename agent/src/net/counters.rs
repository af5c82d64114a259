//! What the network did and what it refused, counted.
//!
//! Counters only ever grow; a [`NetCounters`] is a copy taken at one moment. The invariant: each frame, hint or connection that is
//! dropped adds to exactly one counter that names the reason.

use std::sync::atomic::{AtomicU64, Ordering};

use super::lane::Lane;

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
    /// A connection was denied by the limit on their number.
    ConnectionLimit = "connection_limit",
    /// A hint was not queued: no connection to its peer.
    HintNotConnected = "hint_not_connected",
    /// A hint was not queued: its peer takes them too slowly and the queue's byte budget is spent.
    HintQueueFull = "hint_queue_full",
    /// A hint was not queued: it exceeds the lane's frame limit.
    HintTooLarge = "hint_too_large",
    /// A hint was queued or on its way when the last connection to its peer went, or no answer came in time.
    HintLost = "hint_lost",
    /// A hint arrived at its peer, who was too busy to take it.
    HintPeerBusy = "hint_peer_busy",
    /// A hint from a peer was dropped here: this agent takes events too slowly.
    IncomingHintDropped = "incoming_hint_dropped",
    /// A question from a peer was answered with "busy": this agent takes events too slowly.
    IncomingRequestBusy = "incoming_request_busy",
    /// A frame above its lane's limit arrived; its stream was closed unread.
    IncomingTooLarge = "incoming_too_large",
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
}

impl Tally {
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
        NetCounters { lanes, reasons: self.reasons.each_ref().map(|count| count.load(Ordering::Relaxed)) }
    }
}
