//! Nodes of libp2p as its examples build them: the transports that ours uses, and one protocol: a raw stream, gossipsub or ping.
//!
//! A swarm lives in one task, as it has to; who wants to publish tells that task, as a user of it would.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use futures::{AsyncReadExt as _, AsyncWriteExt as _, StreamExt as _};
use libp2p::identity::Keypair;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{Multiaddr, PeerId, StreamProtocol, Swarm, SwarmBuilder, noise, ping, tcp, yamux};
use libp2p_gossipsub as gossipsub;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};

use super::board::{Board, Clock};
use super::{PAYLOAD_BYTES, Wire, number, payload, runtime};

const STREAM: StreamProtocol = StreamProtocol::new("/bench/raw/1");
const TOPIC: &str = "bench";

/// How often connections are pinged, as ours are.
const PING_EVERY: Duration = Duration::from_secs(5);

/// Links without traffic stay for the length of a run.
const IDLE_TIMEOUT: Duration = Duration::from_secs(3_600);

/// How long everybody may take to be connected to everybody.
const CONNECT_PATIENCE: Duration = Duration::from_secs(60);

/// Heartbeats that a mesh gets to form before it is measured.
const MESH_FORMS: Duration = Duration::from_secs(6);

/// What the nodes speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speech {
    /// Ping alone, each five seconds.
    Ping,
    /// A stream that carries payloads and nothing else.
    Stream,
    /// Gossipsub with D = 6.
    Gossip {
        /// Whether messages are signed by their authors and checked, which is the library's default.
        is_signed: bool,
        /// Whether an author sends to all it is connected to and not to its mesh alone, which is the library's default.
        floods: bool,
    },
}

#[derive(NetworkBehaviour)]
struct Spoken {
    ping: Toggle<ping::Behaviour>,
    stream: Toggle<libp2p_stream::Behaviour>,
    gossip: Toggle<gossipsub::Behaviour>,
}

enum Command {
    Dial(Multiaddr),
    Publish(u64, Board),
    Connected(oneshot::Sender<usize>),
}

/// One node.
pub(crate) struct Node {
    runtime: Runtime,
    commands: mpsc::UnboundedSender<Command>,
    control: Option<libp2p_stream::Control>,
    peer: PeerId,
    address: Multiaddr,
}

/// Some nodes that are all connected to each other.
pub(crate) struct Nodes {
    pub(crate) nodes: Vec<Node>,
    clock: Clock,
    /// The way of payloads on a raw stream, from the first node to the second.
    stream: Option<mpsc::UnboundedSender<(u64, Board)>>,
}

impl Nodes {
    /// Starts `count` nodes and waits until all are connected and, for gossip, have had time to form a mesh.
    pub(crate) fn start(count: usize, wire: Wire, speech: Speech) -> Result<Self> {
        let clock = Clock::new();
        let mut nodes: Vec<Node> = Vec::new();
        for place in 0..count {
            let node = Node::start(place, listening(wire, 0), speech, clock.board())?;
            for other in &nodes {
                node.tell(Command::Dial(other.address.clone()))?;
            }
            nodes.push(node);
        }
        for node in &nodes {
            node.await_connected(count - 1)?;
        }
        let mut nodes = Self { nodes, clock, stream: None };
        match speech {
            Speech::Gossip { .. } => std::thread::sleep(MESH_FORMS),
            Speech::Stream => nodes.stream = Some(nodes.open_stream()?),
            Speech::Ping => {}
        }
        Ok(nodes)
    }

    /// Publishes at one of them and waits until `watchers` others have it.
    pub(crate) fn once(&self, from: usize, number: u64, watchers: usize) -> Result<Duration> {
        let board = self.clock.board();
        self.clock.time(number, from, watchers, || {
            // A node that has ended is found out by the wait.
            if let Some(stream) = &self.stream {
                drop(stream.send((number, board)));
            } else {
                drop(self.nodes[from].commands.send(Command::Publish(number, board)));
            }
        })
    }

    /// Publishes at `from` and waits until all others have it.
    pub(crate) fn everywhere(&self, from: usize, number: u64) -> Result<Duration> {
        self.once(from, number, self.nodes.len() - 1)
    }

    fn open_stream(&self) -> Result<mpsc::UnboundedSender<(u64, Board)>> {
        let [from, to] = &self.nodes[..] else { return Err(anyhow!("a stream is between two")) };
        let mut incoming =
            to.control.clone().context("no streams")?.accept(STREAM).map_err(|error| anyhow!("{error}"))?;
        let board = self.clock.board();
        let _reader = to.runtime.spawn(async move {
            let (_, mut stream) = incoming.next().await?;
            let mut bytes = [0; PAYLOAD_BYTES];
            while stream.read_exact(&mut bytes).await.is_ok() {
                board.seen(1, number(&bytes)?);
            }
            Some(())
        });
        let mut control = from.control.clone().context("no streams")?;
        let mut stream = from.runtime.block_on(control.open_stream(to.peer, STREAM))?;
        let (sender, mut wanted) = mpsc::unbounded_channel::<(u64, Board)>();
        let _writer = from.runtime.spawn(async move {
            while let Some((number, board)) = wanted.recv().await {
                let payload = payload(number);
                board.begin();
                stream.write_all(&payload).await?;
                stream.flush().await?;
            }
            std::io::Result::Ok(())
        });
        Ok(sender)
    }
}

impl Node {
    /// One node; it ends with its runtime.
    pub(crate) fn start(place: usize, listen: Multiaddr, speech: Speech, board: Board) -> Result<Self> {
        let runtime = runtime()?;
        let entered = runtime.enter();
        let (mut swarm, control) = swarm(speech)?;
        swarm.listen_on(listen)?;
        drop(entered);
        let peer = *swarm.local_peer_id();
        let address = runtime.block_on(async {
            loop {
                if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
                    return address;
                }
            }
        });
        let (commands, wanted) = mpsc::unbounded_channel();
        let _task = runtime.spawn(run(swarm, wanted, place, board));
        Ok(Self { runtime, commands, control, peer, address })
    }

    /// Dials somebody; failures show as a lack of connections.
    pub(crate) fn dial(&self, address: Multiaddr) -> Result<()> {
        self.tell(Command::Dial(address))
    }

    fn tell(&self, command: Command) -> Result<()> {
        self.commands.send(command).map_err(|_| anyhow!("a node has ended"))
    }

    /// Waits until it is connected to so many others.
    pub(crate) fn await_connected(&self, others: usize) -> Result<()> {
        let deadline = std::time::Instant::now() + CONNECT_PATIENCE;
        loop {
            let (sender, connected) = oneshot::channel();
            self.tell(Command::Connected(sender))?;
            let connected = self.runtime.block_on(connected)?;
            if connected >= others {
                return Ok(());
            }
            anyhow::ensure!(std::time::Instant::now() < deadline, "connected to {connected} of {others}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Where to listen on loopback.
pub(crate) fn listening(wire: Wire, port: u16) -> Multiaddr {
    let address = match wire {
        Wire::Quic => format!("/ip4/127.0.0.1/udp/{port}/quic-v1"),
        Wire::Tcp => format!("/ip4/127.0.0.1/tcp/{port}"),
    };
    address.parse().expect("a multiaddr")
}

fn swarm(speech: Speech) -> Result<(Swarm<Spoken>, Option<libp2p_stream::Control>)> {
    let keypair = Keypair::generate_ed25519();
    let ping = ping::Behaviour::new(ping::Config::new().with_interval(PING_EVERY));
    let stream = (speech == Speech::Stream).then(libp2p_stream::Behaviour::new);
    let control = stream.as_ref().map(libp2p_stream::Behaviour::new_control);
    let spoken = Spoken {
        ping: Toggle::from((speech == Speech::Ping).then_some(ping)),
        stream: Toggle::from(stream),
        gossip: Toggle::from(gossip(speech, &keypair)?),
    };
    let builder = SwarmBuilder::with_existing_identity(keypair).with_tokio();
    let builder = builder.with_tcp(tcp::Config::new(), noise::Config::new, yamux::Config::default)?;
    let builder = builder.with_quic().with_behaviour(|_| spoken)?;
    let builder = builder.with_swarm_config(|config| config.with_idle_connection_timeout(IDLE_TIMEOUT));
    Ok((builder.build(), control))
}

fn gossip(speech: Speech, keypair: &Keypair) -> Result<Option<gossipsub::Behaviour>> {
    let Speech::Gossip { is_signed, floods } = speech else { return Ok(None) };
    let mut config = gossipsub::ConfigBuilder::default();
    config.mesh_n(6).flood_publish(floods);
    let author = if is_signed {
        gossipsub::MessageAuthenticity::Signed(keypair.clone())
    } else {
        config.validation_mode(gossipsub::ValidationMode::Anonymous);
        config.message_id_fn(|message| gossipsub::MessageId::from(message.data.get(..8).unwrap_or_default()));
        gossipsub::MessageAuthenticity::Anonymous
    };
    let mut gossip =
        gossipsub::Behaviour::new(author, config.build()?).map_err(|error| anyhow!("gossipsub: {error}"))?;
    gossip.subscribe(&gossipsub::IdentTopic::new(TOPIC))?;
    Ok(Some(gossip))
}

async fn run(mut swarm: Swarm<Spoken>, mut wanted: mpsc::UnboundedReceiver<Command>, place: usize, board: Board) {
    loop {
        tokio::select! {
            event = swarm.select_next_some() => {
                if let SwarmEvent::Behaviour(SpokenEvent::Gossip(gossipsub::Event::Message { message, .. })) = event
                    && let Some(number) = number(&message.data)
                {
                    board.seen(place, number);
                }
            }
            command = wanted.recv() => match command {
                Some(Command::Dial(address)) => {
                    if let Err(error) = swarm.dial(address) {
                        eprintln!("a dial failed: {error}");
                    }
                }
                Some(Command::Publish(number, board)) => {
                    let payload = payload(number);
                    board.begin();
                    let gossip = swarm.behaviour_mut().gossip.as_mut().expect("only gossip publishes");
                    if let Err(error) = gossip.publish(gossipsub::IdentTopic::new(TOPIC), payload) {
                        eprintln!("gossipsub refused a message: {error}");
                    }
                }
                // Whoever asked has given up if nobody listens.
                Some(Command::Connected(answer)) => drop(answer.send(swarm.network_info().num_peers())),
                None => return,
            },
        }
    }
}
