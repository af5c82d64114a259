//! Connections whose other side does not read: how long one is waited for.
//!
//! Owns the measure, around any stream; knows nothing of what is written, and of what is read only that it came. The invariant: what is written to a connection is taken at
//! [`READ_BYTES_PER_SECOND_MIN`] over all the time that it is waited for, give or take the patience, or the connection breaks.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::limits::READ_BYTES_PER_SECOND_MIN;
use super::places::Place;
use super::stream::StreamStats;

/// A stream whose writes fail when its other side does not read.
pub(super) struct Patient<S> {
    stream: S,
    stats: Arc<StreamStats>,
    place: Arc<Place>,
    patience: Patience,
    /// Comes when the write that waits has waited for too long.
    end: Option<Pin<Box<Sleep>>>,
}

/// How much longer the other side may keep us waiting. Pure; takes the time as an argument.
#[derive(Debug)]
struct Patience {
    most: Duration,
    left: Duration,
    /// Since when it does.
    since: Option<Instant>,
}

impl Patience {
    const fn of(most: Duration) -> Self {
        Self { most, left: most, since: None }
    }

    /// A write has to wait: until when it may.
    fn wait(&mut self, now: Instant) -> Instant {
        *self.since.get_or_insert(now) + self.left
    }

    /// So many bytes were taken.
    fn took(&mut self, bytes: usize, now: Instant) {
        if let Some(since) = self.since.take() {
            self.left = self.left.saturating_sub(now.saturating_duration_since(since));
        }
        let earned = Duration::from_micros(bytes as u64 * 1_000_000 / READ_BYTES_PER_SECOND_MIN);
        self.left = (self.left + earned).min(self.most);
    }
}

impl<S> Patient<S> {
    /// Around `stream`, whose other side may keep us waiting for `patience`.
    pub(super) fn new(stream: S, (stats, place): (Arc<StreamStats>, Arc<Place>), patience: Duration) -> Self {
        Self { stream, stats, place, patience: Patience::of(patience), end: None }
    }

    /// What becomes of a write: one that waits, waits as long as there is patience for it.
    fn judge(&mut self, written: Poll<io::Result<usize>>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let now = Instant::now();
        if let Poll::Ready(written) = written {
            self.end = None;
            self.patience.took(written.as_ref().copied().unwrap_or(0), now);
            return Poll::Ready(written);
        }
        let until = self.patience.wait(now);
        let end = self.end.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
        ready!(end.as_mut().poll(cx));
        self.stats.unread();
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the other side does not read")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.place.heard();
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.judge(written, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.judge(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt as _, duplex};

    use super::super::limits::READ_PATIENCE;
    use super::*;

    #[tokio::test]
    async fn who_does_not_read_is_let_go_of_and_counted() {
        let (ours, _theirs) = duplex(1_024);
        let (stats, place) = (Arc::<StreamStats>::default(), Arc::new(Place::new(std::time::Instant::now())));
        let mut ours = Patient::new(ours, (Arc::clone(&stats), place), Duration::from_millis(1));
        let error = ours.write_all(&[7; 2_048]).await.expect_err("is not read");
        assert_eq!((error.kind(), stats.figures().unread), (io::ErrorKind::TimedOut, 1));
    }

    /// How long the other side is waited for that takes so many bytes after each such pause; `None` for ever.
    fn waited(bytes: usize, pause: Duration) -> Option<Duration> {
        let start = Instant::now();
        let (mut patience, mut now) = (Patience::of(READ_PATIENCE), start);
        for _ in 0..100_000 {
            let end = patience.wait(now);
            if end < now + pause {
                return Some(end - start);
            }
            now += pause;
            patience.took(bytes, now);
        }
        None
    }

    #[test]
    fn who_reads_drop_by_drop_is_not_waited_for_longer_than_who_reads_nothing() {
        let second = Duration::from_secs(1);
        assert_eq!(waited(0, 2 * READ_PATIENCE), Some(READ_PATIENCE));
        assert!(waited(1, second).is_some_and(|waited| waited < READ_PATIENCE + second));
        let half = usize::try_from(READ_BYTES_PER_SECOND_MIN / 2).expect("fits");
        assert!(waited(half, second).is_some_and(|waited| waited < 3 * READ_PATIENCE));
    }

    #[test]
    fn who_reads_steadily_is_waited_for_and_so_is_who_pauses_now_and_then() {
        let second = usize::try_from(READ_BYTES_PER_SECOND_MIN).expect("fits");
        assert_eq!(waited(second, Duration::from_secs(1)), None);
        assert_eq!(waited(second * 29, Duration::from_secs(29)), None);
        let mut patience = Patience::of(READ_PATIENCE);
        let start = Instant::now();
        patience.took(second, start);
        let later = start + Duration::from_hours(1);
        assert_eq!(patience.wait(later), later + READ_PATIENCE, "while nothing is written, nobody waits");
    }
}
