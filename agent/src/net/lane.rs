//! The four lanes between members and their bounds: frame size, longest wait, and how much may be under way at once.
//!
//! Owns the numbers; moves nothing. The invariant: each lane is a protocol of its own, so that a lane which is full or
//! slow (a large artifact) never holds back another (a digest). Hints have streams of their own.

use std::fmt;
use std::time::Duration;

use libp2p::StreamProtocol;

/// What a frame is for. Each lane is negotiated as its own protocol and has its own bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Replication: pushed commits, digests, pages of missing ranges, repair.
    Sync,
    /// Membership: node records and failure detection.
    Members,
    /// Calls forwarded to a member that runs the workload.
    Call,
    /// Chunks of content-addressed artifacts.
    Artifact,
}

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

impl Lane {
    /// Every lane.
    pub const ALL: [Self; 4] = [Self::Sync, Self::Members, Self::Call, Self::Artifact];

    /// The lane's word, as it stands in logs and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::Members => "members",
            Self::Call => "call",
            Self::Artifact => "artifact",
        }
    }

    /// The largest body of a frame, question or answer, in bytes.
    ///
    /// Sync carries pages within the engine's byte budget and one commit of the greatest size; a record of a member is
    /// a few hundred bytes and they are paged; a call is bounded by the API's body limit; an artifact comes in chunks of a
    /// mebibyte with their proof.
    #[must_use]
    pub const fn frame_bytes_max(self) -> usize {
        match self {
            Self::Sync | Self::Call => 4 * MIB,
            Self::Members => 256 * KIB,
            Self::Artifact => 2 * MIB,
        }
    }

    /// The longest that a question may stay unanswered, whatever its asker allows.
    ///
    /// Membership decides quickly; a sync page may cross a thin uplink; a call's own deadline is far shorter than this and is
    /// the asker's to keep; a chunk of an artifact may cross the thinnest link of all.
    #[must_use]
    pub const fn timeout_max(self) -> Duration {
        match self {
            Self::Members => Duration::from_secs(5),
            Self::Sync => Duration::from_secs(15),
            Self::Call | Self::Artifact => Duration::from_secs(30),
        }
    }

    /// Questions to one peer that may be unanswered at once; the next is refused here as saturated.
    ///
    /// Anti-entropy asks one thing at a time and repair pages a few ahead; calls are many and small; artifacts are few
    /// and large, so eight of them bound the memory of a fetch to 16 MiB.
    #[must_use]
    pub const fn requests_in_flight_max(self) -> usize {
        match self {
            Self::Sync => 16,
            Self::Members | Self::Artifact => 8,
            Self::Call => 128,
        }
    }

    /// Whether the lane carries hints, which nobody waits for.
    pub(super) const fn carries_hints(self) -> bool {
        match self {
            Self::Sync | Self::Members => true,
            Self::Call | Self::Artifact => false,
        }
    }

    /// Streams that one connection may have open for this lane's questions, those of both sides.
    pub(super) const fn streams_max(self) -> usize {
        2 * self.requests_in_flight_max()
    }

    /// Position in arrays that hold one thing per lane.
    pub(super) const fn index(self) -> usize {
        match self {
            Self::Sync => 0,
            Self::Members => 1,
            Self::Call => 2,
            Self::Artifact => 3,
        }
    }

    pub(super) const fn protocol(self) -> StreamProtocol {
        StreamProtocol::new(match self {
            Self::Sync => "/selvedge/sync/1",
            Self::Members => "/selvedge/members/1",
            Self::Call => "/selvedge/call/1",
            Self::Artifact => "/selvedge/artifact/1",
        })
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
