//! A peer that speaks the transports and says whatever a test wants: with credentials or without.
//!
//! It sends back what comes on streams that the other side opens, which is what ping wants and what confirms any protocol.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::Poll;

use futures::io::{AsyncReadExt, AsyncWriteExt};
use libp2p::PeerId;
use libp2p::Transport;
use libp2p::core::Endpoint;
use libp2p::core::muxing::{StreamMuxer, StreamMuxerBox, StreamMuxerExt, SubstreamBox};
use libp2p::core::transport::{Boxed, DialOpts, PortUse};

use super::*;

/// How it behaves on streams that the other side opens.
#[derive(Default)]
struct Ways {
    /// It reads and says nothing any more.
    is_silent: AtomicBool,
    /// Streams of hints, and lines, are not read any more.
    is_deaf: AtomicBool,
    /// Streams of hints are broken off as soon as something is on them.
    breaks_hints: AtomicBool,
    /// How many were.
    broken: AtomicUsize,
}

/// One connection, driven by a task of its own until this is dropped.
pub(super) struct Rogue {
    ways: Arc<Ways>,
    opens: mpsc::Sender<oneshot::Sender<SubstreamBox>>,
    task: tokio::task::JoinHandle<()>,
    /// Keeps the sockets.
    _stack: Boxed<(PeerId, StreamMuxerBox)>,
}

impl Rogue {
    /// A member, as far as its credentials go.
    pub(super) async fn member(seed: u8, to: &Net) -> Self {
        let gate = Arc::new(gate::Gate::alone(Arc::new(Word("word"))));
        Self::dial(transport::build(&identity::keypair([seed; 32]), gate).unwrap(), to).await.expect("it is let in")
    }

    /// The same, where it need not be let in.
    pub(super) async fn try_member(seed: u8, to: &Net) -> Option<Self> {
        let gate = Arc::new(gate::Gate::alone(Arc::new(Word("word"))));
        Self::dial(transport::build(&identity::keypair([seed; 32]), gate).unwrap(), to).await
    }

    /// A stranger that has a key and stands before the gate.
    pub(super) async fn stranger(seed: u8, to: &Net) -> Self {
        Self::dial(transport::named(&identity::keypair([seed; 32])).unwrap(), to).await.expect("it is heard")
    }

    async fn dial(mut stack: Boxed<(PeerId, StreamMuxerBox)>, to: &Net) -> Option<Self> {
        let options = DialOpts { role: Endpoint::Dialer, port_use: PortUse::New };
        let address = to.listen_addresses().remove(0).parse().unwrap();
        let (_, muxer) = within("a dial", stack.dial(address, options).unwrap()).await.ok()?;
        let (opens, asked) = mpsc::channel(64);
        let ways = Arc::<Ways>::default();
        let all = Arc::clone(&ways);
        let serve = move |stream| drop(tokio::spawn(send_back(stream, Arc::clone(&all))));
        Some(Self { ways, opens, task: tokio::spawn(drive(muxer, asked, serve)), _stack: stack })
    }

    /// Breaks off streams of hints from now on.
    pub(super) fn break_hints(&self) {
        self.ways.breaks_hints.store(true, Ordering::Release);
    }

    /// Reads no hints and no lines from now on; what the other side sends stays on the way, and with it.
    pub(super) fn turn_deaf(&self) {
        self.ways.is_deaf.store(true, Ordering::Release);
    }

    /// Reads from now on, and says nothing: the connection is half open.
    pub(super) fn fall_silent(&self) {
        self.ways.is_silent.store(true, Ordering::Release);
    }

    pub(super) fn broken(&self) -> usize {
        self.ways.broken.load(Ordering::Acquire)
    }

    /// A stream, or `None` when the connection has ended.
    pub(super) async fn open(&self) -> Option<SubstreamBox> {
        let (answer, stream) = oneshot::channel();
        self.opens.send(answer).await.ok()?;
        within("a stream or the end", stream).await.ok()
    }

    /// Opens a stream and writes `bytes`; what cannot be written is not.
    pub(super) async fn say(&self, bytes: &[u8]) -> Option<SubstreamBox> {
        let mut stream = self.open().await?;
        let said = async {
            stream.write_all(bytes).await?;
            stream.flush().await
        };
        // The other side may have reset it.
        drop(tokio::time::timeout(Duration::from_secs(5), said).await);
        Some(stream)
    }

    /// Waits until the other side has ended the connection.
    pub(super) async fn ended(&mut self) {
        within("the other side ends the connection", &mut self.task).await.unwrap();
    }
}

impl Drop for Rogue {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn send_back(mut stream: SubstreamBox, ways: Arc<Ways>) {
    let (mut bytes, mut is_hints, mut is_line) = (vec![0; 4_096], false, false);
    while let Ok(count @ 1..) = stream.read(&mut bytes).await {
        if ways.is_silent.load(Ordering::Acquire) {
            continue;
        }
        if (is_hints || is_line) && ways.is_deaf.load(Ordering::Acquire) {
            return std::future::pending().await;
        }
        if is_hints && ways.breaks_hints.load(Ordering::Acquire) {
            ways.broken.fetch_add(1, Ordering::AcqRel);
            return;
        }
        is_hints |= bytes[..count].windows(5).any(|word| word == b"hints");
        is_line |= bytes[..count].windows(7).any(|word| word == b"calls/1");
        if stream.write_all(&bytes[..count]).await.is_err() || stream.flush().await.is_err() {
            return;
        }
    }
}

async fn drive(
    mut muxer: StreamMuxerBox,
    mut asked: mpsc::Receiver<oneshot::Sender<SubstreamBox>>,
    serve: impl Fn(SubstreamBox),
) {
    let mut wanted: Option<oneshot::Sender<SubstreamBox>> = None;
    poll_fn(|cx| {
        loop {
            if wanted.is_none() {
                match asked.poll_recv(cx) {
                    Poll::Ready(Some(next)) => wanted = Some(next),
                    Poll::Ready(None) => return Poll::Ready(()),
                    Poll::Pending => {}
                }
            }
            if wanted.is_some() {
                match muxer.poll_outbound_unpin(cx) {
                    Poll::Ready(Ok(stream)) => {
                        drop(wanted.take().expect("it is wanted").send(stream));
                        continue;
                    }
                    Poll::Ready(Err(_)) => return Poll::Ready(()),
                    Poll::Pending => {}
                }
            }
            match muxer.poll_inbound_unpin(cx) {
                Poll::Ready(Ok(stream)) => {
                    serve(stream);
                    continue;
                }
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => {}
            }
            match StreamMuxer::poll(Pin::new(&mut muxer), cx) {
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await;
}

/// What negotiates `protocol` on a stream, without waiting for the answers.
pub(super) fn negotiation(protocol: &str) -> Vec<u8> {
    let line = |text: &str| {
        let length = u8::try_from(text.len() + 1).expect("short");
        [&[length], text.as_bytes(), b"\n"].concat()
    };
    [line("/multistream/1.0.0"), line(protocol)].concat()
}

/// A frame of a lane or of a stream of hints.
pub(super) fn frame(tag: u8, body: &[u8]) -> Vec<u8> {
    [&[tag][..], &u32::try_from(body.len()).unwrap().to_be_bytes(), body].concat()
}
