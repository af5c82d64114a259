//! Limits what a TCP connection may send before it is admitted.
//!
//! Yamux takes in a quarter of a mebibyte for each stream that the other side opens, up to hundreds of them, whether anybody
//! reads or not; a stranger must not fill that. QUIC has a window for the whole connection, which is small enough. The
//! invariant: until the gate has let a connection pass, no more than [`UNADMITTED_BYTES_MAX`] of it are read. A connection that ended
//! without a word is told from one whose handshake failed.

use std::collections::HashMap;
use std::error::Error;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use futures::io::{AsyncRead, AsyncWrite};
use libp2p::Multiaddr;

use super::lock;

/// Bytes of a handshake: encryption, multiplexing and two frames of the gate, of which a joiner's are the largest, three times over.
const UNADMITTED_BYTES_MAX: u64 = 256 * 1024;

/// The incoming connections that are not admitted yet, by where they come from.
#[derive(Clone, Debug, Default)]
pub(super) struct Meters {
    open: Arc<Mutex<HashMap<Multiaddr, Arc<AtomicU64>>>>,
}

impl Meters {
    /// Limits a connection that came from `remote`.
    pub(super) fn limited<S>(&self, stream: S, remote: Multiaddr) -> Metered<S> {
        let left = Arc::new(AtomicU64::new(UNADMITTED_BYTES_MAX));
        lock(&self.open).insert(remote.clone(), Arc::clone(&left));
        Metered { stream, limit: Some(Limit { left, remote, meters: self.clone() }) }
    }

    /// Does not limit a connection.
    pub(super) const fn unlimited<S>(stream: S) -> Metered<S> {
        Metered { stream, limit: None }
    }

    /// The connection from `remote` is a member's.
    pub(super) fn admit(&self, remote: &Multiaddr) {
        if let Some(left) = lock(&self.open).get(remote) {
            left.store(u64::MAX, Ordering::Relaxed);
        }
    }
}

#[derive(Debug)]
struct Limit {
    left: Arc<AtomicU64>,
    remote: Multiaddr,
    meters: Meters,
}

impl Drop for Limit {
    fn drop(&mut self) {
        let mut open = lock(&self.meters.open);
        if open.get(&self.remote).is_some_and(|left| Arc::ptr_eq(left, &self.left)) {
            open.remove(&self.remote);
        }
    }
}

/// A stream of bytes that ends with an error when it has spent its limit.
#[derive(Debug)]
pub(super) struct Metered<S> {
    stream: S,
    limit: Option<Limit>,
}

/// A connection ended before it had said anything: somebody looked whether the port is open, and that is all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it was closed without a word")]
pub(super) struct Wordless;

impl Wordless {
    /// Whether this is why `error` happened.
    pub(super) fn caused(error: &(dyn Error + 'static)) -> bool {
        let mut causes = std::iter::successors(Some(error), |cause| behind(*cause));
        causes.any(|cause| cause.is::<Self>())
    }
}

/// The next cause of an error. What an error of the system's wraps is not among its sources: those are the wrapped one's.
fn behind<'a>(cause: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(wrapped) => Some(wrapped),
        None => cause.source(),
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let read = ready!(Pin::new(&mut self.stream).poll_read(cx, buffer));
        if let Some(limit) = &self.limit {
            let left = limit.left.load(Ordering::Relaxed);
            if left == UNADMITTED_BYTES_MAX && !buffer.is_empty() && !matches!(read, Ok(1..)) {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::UnexpectedEof, Wordless)));
            }
            let count = *read.as_ref().unwrap_or(&0);
            if left == u64::MAX {
                self.limit = None;
            } else {
                let rest =
                    left.checked_sub(count as u64).ok_or_else(|| io::Error::other("too much before admission"))?;
                // The gate may have lifted the limit meanwhile; then it stays lifted.
                let seen = limit.left.compare_exchange(left, rest, Ordering::Relaxed, Ordering::Relaxed);
                seen.unwrap_or_else(|lifted| lifted);
            }
        }
        Poll::Ready(read)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buffer)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, buffers)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }
}

#[cfg(test)]
mod tests {
    use futures::io::{AsyncReadExt, Cursor};

    use super::*;

    #[tokio::test]
    async fn who_is_not_admitted_is_cut_off_and_who_is_admitted_is_not() {
        let (meters, remote) = (Meters::default(), "/ip4/192.0.2.1/tcp/1".parse::<Multiaddr>().unwrap());
        let bytes = vec![0; usize::try_from(UNADMITTED_BYTES_MAX).unwrap() * 2];
        for is_admitted in [false, true] {
            let mut stream = meters.limited(Cursor::new(bytes.clone()), remote.clone());
            let mut first = vec![0; 1_000];
            stream.read_exact(&mut first).await.unwrap();
            if is_admitted {
                meters.admit(&remote);
            }
            assert_eq!(stream.read_to_end(&mut first).await.is_ok(), is_admitted);
        }
        assert!(lock(&meters.open).is_empty());
    }

    #[tokio::test]
    async fn who_says_nothing_is_told_from_who_breaks_off() {
        let (meters, remote) = (Meters::default(), "/ip4/192.0.2.1/tcp/1".parse::<Multiaddr>().unwrap());
        for (bytes, is_wordless) in [(&b""[..], true), (b"a", false)] {
            let mut stream = meters.limited(Cursor::new(bytes), remote.clone());
            let broken_off = stream.read_exact(&mut [0; 2]).await.expect_err("it ends");
            let in_layers = io::Error::other(io::Error::other(broken_off));
            assert_eq!(Wordless::caused(&in_layers), is_wordless, "{in_layers:?}");
        }
    }
}
