//! Two bare swarms of libp2p with its own request-response: one asks, the other answers at once.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use futures::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, StreamExt as _};
use libp2p::request_response::{self, Codec, Event, Message, ProtocolSupport};
use libp2p::swarm::SwarmEvent;
use libp2p::{PeerId, StreamProtocol, Swarm, SwarmBuilder, noise, tcp, yamux};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};

use super::swarm::listening;
use super::{Wire, runtime};

const PROTOCOL: StreamProtocol = StreamProtocol::new("/bench/exchange/1");
/// Links without traffic stay for the length of a run.
const IDLE_TIMEOUT: Duration = Duration::from_secs(3_600);
/// The largest question or answer, in bytes.
const BYTES_MAX: u64 = 4 << 20;

/// Bytes as they are, to the end of the stream, as in the library's own codecs.
#[derive(Clone, Default)]
struct Plain;

impl Codec for Plain {
    type Protocol = StreamProtocol;
    type Request = Vec<u8>;
    type Response = Vec<u8>;

    async fn read_request<T>(&mut self, _: &StreamProtocol, io: &mut T) -> std::io::Result<Vec<u8>>
    where
        T: AsyncRead + Unpin + Send,
    {
        read(io).await
    }

    async fn read_response<T>(&mut self, _: &StreamProtocol, io: &mut T) -> std::io::Result<Vec<u8>>
    where
        T: AsyncRead + Unpin + Send,
    {
        read(io).await
    }

    async fn write_request<T>(&mut self, _: &StreamProtocol, io: &mut T, bytes: Vec<u8>) -> std::io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        io.write_all(&bytes).await
    }

    async fn write_response<T>(&mut self, _: &StreamProtocol, io: &mut T, bytes: Vec<u8>) -> std::io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        io.write_all(&bytes).await
    }
}

async fn read(io: &mut (impl AsyncRead + Unpin + Send)) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    io.take(BYTES_MAX).read_to_end(&mut bytes).await?;
    Ok(bytes)
}

type Node = Swarm<request_response::Behaviour<Plain>>;
type Ask = oneshot::Sender<Vec<u8>>;

/// Whoever asks and whoever answers, each with a runtime of its own, as agents have.
pub(crate) struct Exchange {
    asker: Runtime,
    _answerer: Runtime,
    asks: mpsc::UnboundedSender<Ask>,
}

impl Exchange {
    /// Starts both and waits until a question was answered. Questions and answers have so many bytes.
    pub(crate) fn start(wire: Wire, asked: usize, answered: usize) -> Result<Self> {
        let (asker, answerer) = (runtime()?, runtime()?);
        let (address, peer) = answerer.block_on(async {
            let mut node = node()?;
            node.listen_on(listening(wire, 0))?;
            let address = loop {
                if let SwarmEvent::NewListenAddr { address, .. } = node.select_next_some().await {
                    break address;
                }
            };
            let peer = *node.local_peer_id();
            drop(tokio::spawn(answer(node, vec![7; answered])));
            anyhow::Ok((address, peer))
        })?;
        let (asks, wanted) = mpsc::unbounded_channel();
        asker.block_on(async {
            let mut node = node()?;
            node.dial(address)?;
            loop {
                if let SwarmEvent::ConnectionEstablished { .. } = node.select_next_some().await {
                    break;
                }
            }
            drop(tokio::spawn(ask(node, peer, vec![5; asked], wanted)));
            anyhow::Ok(())
        })?;
        let exchange = Self { asker, _answerer: answerer, asks };
        exchange.once()?;
        Ok(exchange)
    }

    /// Asks once, and waits for the answer in a task of the asker's.
    pub(crate) fn once(&self) -> Result<Duration> {
        let asks = self.asks.clone();
        self.asker.block_on(self.asker.spawn(async move {
            let begun = Instant::now();
            let (sender, answer) = oneshot::channel();
            asks.send(sender).map_err(|_| anyhow!("the asker has ended"))?;
            answer.await.context("no answer")?;
            Ok(begun.elapsed())
        }))?
    }
}

fn node() -> Result<Node> {
    let builder = SwarmBuilder::with_new_identity().with_tokio();
    let builder = builder.with_tcp(tcp::Config::new(), noise::Config::new, yamux::Config::default)?;
    let config = request_response::Config::default();
    let behaviour = request_response::Behaviour::new([(PROTOCOL, ProtocolSupport::Full)], config);
    let builder = builder.with_quic().with_behaviour(|_| behaviour)?;
    Ok(builder.with_swarm_config(|config| config.with_idle_connection_timeout(IDLE_TIMEOUT)).build())
}

async fn answer(mut node: Node, bytes: Vec<u8>) {
    loop {
        if let SwarmEvent::Behaviour(Event::Message { message: Message::Request { channel, .. }, .. }) =
            node.select_next_some().await
        {
            // Whoever asked and has gone away needs no answer.
            drop(node.behaviour_mut().send_response(channel, bytes.clone()));
        }
    }
}

async fn ask(mut node: Node, peer: PeerId, bytes: Vec<u8>, mut wanted: mpsc::UnboundedReceiver<Ask>) {
    let mut asked = HashMap::new();
    loop {
        tokio::select! {
            event = node.select_next_some() => match event {
                SwarmEvent::Behaviour(Event::Message { message: Message::Response { request_id, response }, .. }) => {
                    if let Some(ask) = asked.remove(&request_id) {
                        // Whoever wanted it waits, or the run is over.
                        drop(Ask::send(ask, response));
                    }
                }
                // Whoever waits hears that nothing comes.
                SwarmEvent::Behaviour(Event::OutboundFailure { request_id, .. }) => drop(asked.remove(&request_id)),
                _ => {}
            },
            ask = wanted.recv() => match ask {
                Some(ask) => drop(asked.insert(node.behaviour_mut().send_request(&peer, bytes.clone()), ask)),
                None => return,
            },
        }
    }
}
