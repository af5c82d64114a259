//! The transports: QUIC, and TCP with Noise and Yamux, with DNS names, all behind the one gate.
//!
//! Owns how bytes get from host to host; decides nothing about whom to talk to. The invariant: what it hands to the swarm is
//! encrypted, bound to an ed25519 identity and admitted, on either transport.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use libp2p::PeerId;
use libp2p::core::connection::ConnectedPoint;
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::{Boxed, Transport};
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::{dns, noise, quic, tcp, yamux};

use super::closing::Closing;
use super::doorkeeper;
use super::gate::{Gate, GateError, Role};
use super::meter::Meters;

/// The longest that encryption and multiplexing may take to set up, after which the next address is tried.
const SETUP_TIMEOUT: Duration = Duration::from_secs(5);

/// Silence after which a QUIC connection is dead, in milliseconds. That a host was killed is found out by probes, and sooner; this is
/// for its connection to go.
const QUIC_IDLE_MS: u32 = 16_000;

/// How often an otherwise silent QUIC connection shows that it lives: three chances within [`QUIC_IDLE_MS`]. Each costs both sides an
/// answer and some timers, on every link of an idle host; pings come in between as it is.
const QUIC_KEEP_ALIVE: Duration = Duration::from_secs(5);

/// Streams on one QUIC or Yamux connection: all lanes at their bounds, both ways, need fewer.
const STREAMS_MAX: u16 = 384;

/// Bytes that a QUIC connection holds unread, so what a stranger can make us hold within its few seconds. At 100 ms
/// of round trip it carries 40 MB a second.
const QUIC_UNREAD_BYTES_MAX: u32 = 4 * 1024 * 1024;

/// The same for one stream.
const QUIC_STREAM_UNREAD_BYTES_MAX: u32 = 2 * 1024 * 1024;

/// The whole stack for `keypair`, with `gate` before everything else.
pub(super) fn build(keypair: &Keypair, gate: Arc<Gate>) -> Result<Boxed<(PeerId, StreamMuxerBox)>, io::Error> {
    let meters = Meters::default();
    let admitted = metered(keypair, &meters)?.and_then(move |(peer, muxer), point| {
        let (role, remote) = match point {
            ConnectedPoint::Dialer { address, .. } => (Role::Dialer, address),
            ConnectedPoint::Listener { send_back_addr, .. } => (Role::Listener, send_back_addr),
        };
        let admitted = meters.clone();
        async move {
            let from = doorkeeper::origin(&remote).filter(|_| role == Role::Listener);
            let passed = gate.pass(peer, muxer, role, from).await?;
            admitted.admit(&remote);
            Ok::<_, GateError>(passed)
        }
    });
    Ok(admitted.map_err(|error| error.either(io::Error::other, io::Error::other)).boxed())
}

/// The stack without the gate, with names resolved.
pub(super) fn named(keypair: &Keypair) -> Result<Boxed<(PeerId, StreamMuxerBox)>, io::Error> {
    metered(keypair, &Meters::default())
}

fn metered(keypair: &Keypair, meters: &Meters) -> Result<Boxed<(PeerId, StreamMuxerBox)>, io::Error> {
    let inner = || encrypted(keypair, meters.clone());
    let named = match dns::tokio::Transport::system(inner()?) {
        Ok(named) => named,
        Err(error) => {
            // A host without a resolver configuration still reaches addresses.
            tracing::warn!(%error, "the system's name resolution cannot be read; using the library's defaults");
            dns::tokio::Transport::custom(inner()?, dns::ResolverConfig::default(), dns::ResolverOpts::default())
        }
    };
    Ok(named.boxed())
}

/// Whether a connection failed because the gate refused it, and not before it came there.
pub(super) fn is_refusal(error: &io::Error) -> bool {
    refusal(error).is_some()
}

/// Whether a connection ended because a stranger who came to join has its answer, which is how joining goes.
pub(super) fn is_answered(error: &io::Error) -> bool {
    matches!(refusal(error), Some(GateError::Joined))
}

fn refusal(error: &io::Error) -> Option<&GateError> {
    let mut inner = error.get_ref();
    while let Some(cause) = inner {
        if let Some(refusal) = cause.downcast_ref::<GateError>() {
            return Some(refusal);
        }
        inner = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    }
    None
}

/// QUIC, or TCP with Noise and Yamux, whichever an address asks for.
fn encrypted(keypair: &Keypair, meters: Meters) -> Result<Boxed<(PeerId, StreamMuxerBox)>, io::Error> {
    let mut mux = yamux::Config::default();
    mux.set_max_num_streams(STREAMS_MAX.into());
    let tcp = tcp::tokio::Transport::new(tcp::Config::new())
        .map(move |stream, point| match point {
            ConnectedPoint::Dialer { .. } => Meters::unlimited(stream),
            ConnectedPoint::Listener { send_back_addr, .. } => meters.limited(stream, send_back_addr),
        })
        .upgrade(Version::V1Lazy)
        .authenticate(noise::Config::new(keypair).map_err(io::Error::other)?)
        .multiplex(mux)
        .timeout(SETUP_TIMEOUT)
        .map(|(peer, muxer), _| (peer, Closing::bounded(StreamMuxerBox::new(muxer))));

    let mut config = quic::Config::new(keypair);
    config.handshake_timeout = SETUP_TIMEOUT;
    config.max_idle_timeout = QUIC_IDLE_MS;
    config.keep_alive_interval = QUIC_KEEP_ALIVE;
    config.max_connection_data = QUIC_UNREAD_BYTES_MAX;
    config.max_stream_data = QUIC_STREAM_UNREAD_BYTES_MAX;
    config.max_concurrent_stream_limit = STREAMS_MAX.into();
    let quic = quic::tokio::Transport::new(config).map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));

    Ok(quic.or_transport(tcp).map(|either, _| either.into_inner()).boxed())
}
