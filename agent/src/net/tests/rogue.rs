//! A peer that speaks the transports and says whatever a test wants: with credentials or without.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use futures::io::AsyncWriteExt;
use libp2p::PeerId;
use libp2p::Transport;
use libp2p::core::Endpoint;
use libp2p::core::muxing::{StreamMuxer, StreamMuxerBox, StreamMuxerExt, SubstreamBox};
use libp2p::core::transport::{Boxed, DialOpts, PortUse};

use super::*;

/// One connection, driven by a task of its own until this is dropped. What the other side opens is reset.
pub(super) struct Rogue {
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
        Some(Self { opens, task: tokio::spawn(drive(muxer, asked)), _stack: stack })
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

async fn drive(mut muxer: StreamMuxerBox, mut asked: mpsc::Receiver<oneshot::Sender<SubstreamBox>>) {
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
                    drop(stream);
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
