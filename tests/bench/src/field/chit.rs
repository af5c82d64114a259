//! Nodes of the chitchat crate over UDP on loopback.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::Result;
use chitchat::transport::UdpTransport;
use chitchat::{ChitchatConfig, ChitchatHandle, ChitchatId, FailureDetectorConfig, ProtocolVersion, spawn_chitchat};
use tokio::runtime::Runtime;

use super::board::{Board, Clock};
use super::{payload, runtime};

const KEY: &str = "bench";

/// How long everybody may take to know everybody.
const MEET_PATIENCE: Duration = Duration::from_secs(60);

/// One node.
pub(crate) struct Node {
    runtime: Runtime,
    handle: ChitchatHandle,
}

/// Some nodes that all know each other.
pub(crate) struct Nodes {
    nodes: Vec<Node>,
    clock: Clock,
}

impl Nodes {
    /// Starts `count` nodes and waits until all know each other.
    pub(crate) fn start(count: usize, every: Duration) -> Result<Self> {
        let clock = Clock::new();
        let ports = free_ports(count)?;
        let nodes: Result<Vec<Node>> = (0..count).map(|place| Node::start(place, &ports, every)).collect();
        let nodes = Self { nodes: nodes?, clock };
        for (place, node) in nodes.nodes.iter().enumerate() {
            node.await_known(count)?;
            node.watch(place, nodes.clock.board());
        }
        Ok(nodes)
    }

    /// Sets a value at `from` and waits until all others have it.
    pub(crate) fn everywhere(&self, from: usize, number: u64) -> Result<Duration> {
        let (node, board) = (&self.nodes[from], self.clock.board());
        self.clock.time(number, from, self.nodes.len() - 1, || {
            let chitchat = node.handle.chitchat();
            let _task = node.runtime.spawn(async move {
                let value = text(number);
                board.begin();
                chitchat.lock().await.self_node_state().set(KEY, value);
            });
        })
    }
}

impl Node {
    /// The `place`th of those who listen on these ports. The first is everybody's seed.
    pub(crate) fn start(place: usize, ports: &[u16], every: Duration) -> Result<Self> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, ports[place]));
        let seed = SocketAddr::from((Ipv4Addr::LOCALHOST, ports[0]));
        let config = ChitchatConfig {
            chitchat_id: ChitchatId::new(format!("node-{place}"), 0, address),
            cluster_id: "bench".to_owned(),
            gossip_interval: every,
            listen_addr: address,
            seed_nodes: if place == 0 { Vec::new() } else { vec![seed.to_string()] },
            failure_detector_config: FailureDetectorConfig::default(),
            marked_for_deletion_grace_period: Duration::from_secs(3_600),
            catchup_callback: None,
            extra_liveness_predicate: None,
            // The newest, which compresses its digests.
            protocol_version: ProtocolVersion::V1,
        };
        let runtime = runtime()?;
        let handle = runtime.block_on(spawn_chitchat(config, Vec::new(), &UdpTransport))?;
        Ok(Self { runtime, handle })
    }

    /// Waits until it knows so many as alive, itself included.
    pub(crate) fn await_known(&self, count: usize) -> Result<()> {
        let deadline = Instant::now() + MEET_PATIENCE;
        loop {
            let known = self.runtime.block_on(self.handle.with_chitchat(|chitchat| chitchat.live_nodes().count()));
            if known >= count {
                return Ok(());
            }
            anyhow::ensure!(Instant::now() < deadline, "it knows {known} of {count}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn watch(&self, place: usize, board: Board) {
        let listener = self.runtime.block_on(self.handle.with_chitchat(|chitchat| {
            let board = board.clone();
            chitchat.subscribe_event(KEY, move |event| {
                // Every payload begins with its number in decimal digits.
                let number = event.value.split_once(' ').and_then(|(number, _)| number.parse().ok());
                number.into_iter().for_each(|number| board.seen(place, number));
            })
        }));
        listener.forever();
    }
}

/// As many bytes as the others send, as text, for chitchat holds text.
fn text(number: u64) -> String {
    let mut text = format!("{number} ");
    let noise = blake3::hash(&payload(number)).to_hex();
    text.push_str(&noise[..super::PAYLOAD_BYTES - text.len()]);
    text
}

/// Ports that were free a moment ago.
pub(crate) fn free_ports(count: usize) -> Result<Vec<u16>> {
    let sockets: std::io::Result<Vec<UdpSocket>> =
        (0..count).map(|_| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))).collect();
    Ok(sockets?.iter().map(|socket| socket.local_addr().map(|address| address.port())).collect::<Result<_, _>>()?)
}
