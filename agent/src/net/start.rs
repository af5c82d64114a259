//! From a configuration to a running network: check, bind, listen, spawn.
//!
//! Owns the order of these steps and their errors; afterwards the [`driver`](super::driver) runs alone. The invariant: when this
//! returns an error, nothing stays bound and no task stays behind.

use std::io;
use std::net::{TcpListener, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::StreamExt;
use libp2p::core::transport::{ListenerId, TransportError};
use libp2p::swarm::{self, Swarm, SwarmEvent};
use libp2p::{Multiaddr, PeerId};
use tokio::sync::{Notify, broadcast, mpsc};
use tokio_util::sync::CancellationToken;

use super::behaviour::Behaviour;
use super::conduct::Conduct;
use super::counters::Tally;
use super::dialer::Dialer;
use super::driver::Driver;
use super::gate::Gate;
use super::inbox::Inboxes;
use super::lives::Lives;
use super::peers::PeerTable;
use super::strangers::Strangers;
use super::{CHANGES_MAX, COMMANDS_MAX, ListenAddr, Net, NetConfig, NetError, Shared};
use super::{address, identity, lock, transport};

/// A connection that carried nothing but pings for this long is closed. Members exchange digests about once a second, so
/// that only a peer which has stopped being one is idle.
const IDLE_TIMEOUT: Duration = Duration::from_mins(10);

/// The longest that the system may take to tell the addresses of its interfaces.
const LISTEN_TIMEOUT: Duration = Duration::from_secs(5);

/// Starts the network that [`Net::start`] promises.
pub(super) async fn start(config: NetConfig, inboxes: Inboxes) -> Result<Net, NetError> {
    let keypair = identity::keypair(config.secret_key);
    let peer = keypair.public().to_peer_id();
    let own = identity::node_of(&peer).expect("an ed25519 key has a node id");
    let seed = getrandom::u32().map_err(|error| NetError::Transport(io::Error::other(error)))?;
    let dialer = Dialer::new(own, &config.bootstrap, seed, Instant::now())?;
    let mut advertise = Vec::new();
    for text in &config.advertise {
        advertise.extend(address::parse(text)?.iter().map(ToString::to_string));
    }
    probe(&config.listen)?;

    let tally = Arc::new(Tally::default());
    let now = Instant::now();
    let strangers = Arc::new(Mutex::new(Strangers::new(now)));
    let lives = Arc::<Mutex<Lives>>::default();
    let conduct = Arc::<Mutex<Conduct>>::default();
    let peers = Arc::new(Mutex::new(PeerTable::new(Arc::clone(&tally), inboxes.clone())));
    let changes = broadcast::channel(CHANGES_MAX).0;
    let gate = Gate {
        admission: config.admission,
        registrar: config.registrar,
        tally: Arc::clone(&tally),
        own: Some(own),
        life: getrandom::u64().map_err(|error| NetError::Transport(io::Error::other(error)))?,
        lives: Arc::clone(&lives),
        conduct: Arc::clone(&conduct),
        strangers: Arc::clone(&strangers),
        peers: Arc::clone(&peers),
        changes: changes.clone(),
    };
    let transport = transport::build(&keypair, Arc::new(gate)).map_err(NetError::Transport)?;
    let options = swarm::Config::with_tokio_executor().with_idle_connection_timeout(IDLE_TIMEOUT);
    let mut swarm = Swarm::new(transport, Behaviour::new(&tally, Arc::clone(&strangers)), peer, options);
    let shared = Arc::new(Shared {
        own,
        advertise,
        peers,
        conduct,
        strangers,
        lives,
        changes,
        dialer: Mutex::new(dialer),
        tally,
        bound: Mutex::default(),
        learned: Mutex::default(),
        expelled: Mutex::default(),
        silent: Mutex::default(),
        forbidden: Mutex::default(),
        work: Notify::new(),
        stop: CancellationToken::new(),
        stopped: CancellationToken::new(),
    });
    listen(&mut swarm, &shared, &config.listen, peer).await?;

    let (asks, asked) = mpsc::channel(COMMANDS_MAX);
    let loopback_only = config.listen.iter().flat_map(ListenAddr::addresses).any(is_loopback);
    let driver = Driver::new(swarm, Arc::clone(&shared), asked, inboxes, loopback_only);
    let stopped = shared.stopped.clone().drop_guard();
    tokio::spawn(async move {
        driver.run().await;
        drop(stopped);
    });
    Ok(Net { shared, asks })
}

/// Binds each address for a moment the ordinary way. libp2p binds TCP ports so that a second agent of the same user could bind
/// them too and get a share of the connections; this finds that out, and names the address.
fn probe(listen: &[ListenAddr]) -> Result<(), NetError> {
    for configured in listen {
        for address in configured.addresses() {
            let Some(socket) = address::socket(address) else { continue };
            let bound = if address::is_quic(address) {
                UdpSocket::bind(socket).map(drop)
            } else {
                TcpListener::bind(socket).map(drop)
            };
            bound.map_err(|source| refused(configured, source))?;
        }
    }
    Ok(())
}

fn refused(configured: &ListenAddr, source: io::Error) -> NetError {
    let address = configured.to_string();
    match source.kind() {
        io::ErrorKind::AddrInUse => NetError::AddressInUse { address },
        _ => NetError::Listen { address, source },
    }
}

/// Opens the listeners and waits until each has told an address.
async fn listen(
    swarm: &mut Swarm<Behaviour>,
    shared: &Shared,
    listen: &[ListenAddr],
    own: PeerId,
) -> Result<(), NetError> {
    let mut silent: Vec<(ListenerId, &ListenAddr)> = Vec::new();
    for configured in listen {
        for address in configured.addresses() {
            let (address, named) = address::split_peer(address.clone());
            if named.is_some_and(|named| named != own) {
                let source = io::Error::other("it names another node");
                return Err(NetError::Listen { address: configured.to_string(), source });
            }
            let listener = swarm.listen_on(address).map_err(|error| match error {
                TransportError::Other(source) => refused(configured, source),
                TransportError::MultiaddrNotSupported(_) => refused(configured, io::ErrorKind::Unsupported.into()),
            })?;
            silent.push((listener, configured));
        }
    }
    let deadline = tokio::time::Instant::now() + LISTEN_TIMEOUT;
    while let Some((_, waiting)) = silent.first() {
        let Ok(event) = tokio::time::timeout_at(deadline, swarm.select_next_some()).await else {
            return Err(refused(waiting, io::Error::other("the system told no address of its interfaces")));
        };
        match event {
            SwarmEvent::NewListenAddr { listener_id, address } => {
                silent.retain(|(listener, _)| *listener != listener_id);
                lock(&shared.bound).insert(address);
            }
            SwarmEvent::ListenerClosed { listener_id, reason: Err(source), .. }
            | SwarmEvent::ListenerError { listener_id, error: source } => {
                if let Some((_, configured)) = silent.iter().find(|(listener, _)| *listener == listener_id) {
                    return Err(refused(configured, source));
                }
            }
            // A peer that is this quick tries again: its connection is seen only once the driver runs.
            SwarmEvent::ConnectionEstablished { connection_id, .. } => {
                swarm.close_connection(connection_id);
            }
            _ => {}
        }
    }
    Ok(())
}

fn is_loopback(address: &Multiaddr) -> bool {
    address::socket(address).is_some_and(|socket| socket.ip().is_loopback())
}
