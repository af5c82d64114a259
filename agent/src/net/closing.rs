//! Ends connections in bounded time, whatever the other side does.
//!
//! Owns one deadline: how long a connection may take to say goodbye. The invariant: a connection that is to be closed is closed, and
//! its peer can be dialed again, even when what was written to it is never taken: TCP would keep trying for a quarter of an hour.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use libp2p::core::muxing::{StreamMuxer, StreamMuxerBox, StreamMuxerEvent};
use tokio::time::Sleep;

/// The longest that a goodbye may take: longer than a round trip round the world, with a retransmission.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// A connection that closes in time.
pub(super) struct Closing {
    inner: StreamMuxerBox,
    /// When it is given up, once it is to be closed.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl Closing {
    /// Bounds how long `inner` may take to close.
    pub(super) fn bounded(inner: StreamMuxerBox) -> StreamMuxerBox {
        StreamMuxerBox::new(Self { inner, deadline: None })
    }
}

impl StreamMuxer for Closing {
    type Substream = <StreamMuxerBox as StreamMuxer>::Substream;
    type Error = io::Error;

    fn poll_inbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<Self::Substream>> {
        Pin::new(&mut self.inner).poll_inbound(cx)
    }

    fn poll_outbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<Self::Substream>> {
        Pin::new(&mut self.inner).poll_outbound(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Poll::Ready(result) = Pin::new(&mut self.inner).poll_close(cx) {
            return Poll::Ready(result);
        }
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep(CLOSE_TIMEOUT)));
        deadline.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<StreamMuxerEvent>> {
        Pin::new(&mut self.inner).poll(cx)
    }
}
