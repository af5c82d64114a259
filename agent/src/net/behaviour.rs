//! What runs on an admitted connection: the four lanes, the channel of hints, ping, and the limits on connections.
//!
//! Owns the composition and its bounds; reacts to nothing itself (the [`driver`](super::driver) does). The invariant: nothing else is
//! spoken; no discovery, no relaying, no gossip of libp2p's own.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use libp2p::connection_limits::{self, ConnectionLimits};
use libp2p::ping;
use libp2p::request_response::{self, ProtocolSupport};
use libp2p::swarm::NetworkBehaviour;

use super::channel::Channel;
use super::counters::Tally;
use super::doorkeeper::Doorkeeper;
use super::frame::FrameCodec;
use super::lane::Lane;
use super::strangers::Strangers;

/// Dials that may be under way at once.
const PENDING_OUTGOING_MAX: u32 = 32;

/// Connections to one peer: two from simultaneous dials, and the one that replaces them when the peer was restarted and
/// its dead ones have not been noticed yet. The driver closes what is more than two.
const PER_PEER_MAX: u32 = 3;

/// Connections in all: direct links to 500 members, which is past what one agent keeps.
const ESTABLISHED_MAX: u32 = 1_024;

/// How often each connection is pinged: its round-trip time is at most this old. More often, pings are most of what idle members
/// send; whether somebody is there is found out by probes, and sooner.
const PING_INTERVAL: Duration = Duration::from_secs(10);

/// A ping unanswered for this long failed. The library forgives one failure; the second closes the connection.
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// One lane.
pub(super) type Exchange = request_response::Behaviour<FrameCodec>;

/// Everything that is spoken on a connection.
#[derive(NetworkBehaviour)]
pub(super) struct Behaviour {
    door: Doorkeeper,
    limits: connection_limits::Behaviour,
    ping: ping::Behaviour,
    pub(super) channel: Channel,
    sync: Exchange,
    members: Exchange,
    call: Exchange,
    artifact: Exchange,
}

impl Behaviour {
    pub(super) fn new(tally: &Arc<Tally>, strangers: Arc<Mutex<Strangers>>) -> Self {
        let limits = ConnectionLimits::default()
            .with_max_pending_outgoing(Some(PENDING_OUTGOING_MAX))
            .with_max_established_per_peer(Some(PER_PEER_MAX))
            .with_max_established(Some(ESTABLISHED_MAX));
        let lane = |lane: Lane| {
            let config = request_response::Config::default()
                .with_request_timeout(lane.timeout_max())
                .with_max_concurrent_streams(lane.streams_max());
            let codec = FrameCodec::new(lane, Arc::clone(tally));
            Exchange::with_codec(codec, [(lane.protocol(), ProtocolSupport::Full)], config)
        };
        Self {
            door: Doorkeeper::new(strangers),
            limits: connection_limits::Behaviour::new(limits),
            ping: ping::Behaviour::new(ping::Config::new().with_interval(PING_INTERVAL).with_timeout(PING_TIMEOUT)),
            channel: Channel::default(),
            sync: lane(Lane::Sync),
            members: lane(Lane::Members),
            call: lane(Lane::Call),
            artifact: lane(Lane::Artifact),
        }
    }

    pub(super) fn lane(&mut self, lane: Lane) -> &mut Exchange {
        match lane {
            Lane::Sync => &mut self.sync,
            Lane::Members => &mut self.members,
            Lane::Call => &mut self.call,
            Lane::Artifact => &mut self.artifact,
        }
    }
}
