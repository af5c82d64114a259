//! One listener's way through the events, in a task of its own.
//!
//! Takes what the listener wants out of the ring and hands it on as fast as it is taken; a listener that takes nothing falls
//! behind here and nowhere else. What waits for it is bounded by [`WAITING_MAX`] and one look into the ring.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::StreamExt as _;
use futures::stream;
use tokio::sync::{mpsc, watch};

use super::ring::Look;
use super::{Interest, Patience, wanted};
use crate::service::{Event, Kinds, Notice, Notices};

/// Notices that wait to be taken.
const WAITING_MAX: usize = 16;

pub(super) struct Listener {
    pub(super) interest: Interest,
    pub(super) kinds: Kinds,
    /// The event to look at next.
    pub(super) position: u64,
    pub(super) head: watch::Receiver<u64>,
}

/// Why a listener hears no more.
enum End {
    Gone,
    Lagged,
    Stalled,
}

/// Begins to feed a listener, with `opening` as the first notice.
pub(super) fn start(listener: Listener, opening: Notice) -> Notices {
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    tokio::spawn(listener.run(opening, sender));
    stream::unfold(receiver, async |mut receiver| Some((receiver.recv().await?, receiver))).boxed()
}

impl Listener {
    async fn run(mut self, opening: Notice, notices: mpsc::Sender<Notice>) {
        let end = match self.tell(opening, &notices).await {
            Ok(()) => self.feed(&notices).await,
            Err(end) => end,
        };
        let counts = &self.interest.events.shared.counts;
        match end {
            End::Gone => {}
            End::Lagged => {
                counts.lagged.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(watched = ?self.interest.watched(), "a listener to events was too slow");
            }
            End::Stalled => {
                counts.stalled.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(watched = ?self.interest.watched(), "a listener to events takes nothing any more");
            }
        }
    }

    async fn feed(&mut self, notices: &mpsc::Sender<Notice>) -> End {
        loop {
            let look = self.interest.events.bus().ring.look(self.position);
            let fed = match look {
                Look::Gone(missed) => {
                    let lagged = self.notice(Some(Arc::new(Event::Lagged { missed })));
                    return self.tell(lagged, notices).await.err().unwrap_or(End::Lagged);
                }
                Look::Events(events) if events.is_empty() => self.wait(notices).await,
                Look::Events(events) => self.pass_on(events, notices).await,
            };
            if let Err(end) = fed {
                return end;
            }
        }
    }

    async fn pass_on(&mut self, events: Vec<Option<Arc<Event>>>, notices: &mpsc::Sender<Notice>) -> Result<(), End> {
        let prefix = self.interest.watched().map(|watched| watched.prefix.clone());
        for event in events {
            self.position += 1;
            if let Some(event) = event.and_then(|event| wanted(&event, prefix.as_ref(), &self.kinds)) {
                self.tell(self.notice(Some(event)), notices).await?;
            }
        }
        Ok(())
    }

    /// Waits until something happens; says how far the listener has heard when nothing does for long.
    async fn wait(&mut self, notices: &mpsc::Sender<Notice>) -> Result<(), End> {
        let keep_alive = self.patience().keep_alive;
        tokio::select! {
            // The bus lives for as long as we do.
            _ = self.head.changed() => Ok(()),
            () = notices.closed() => Err(End::Gone),
            () = tokio::time::sleep(keep_alive) => self.tell(self.notice(None), notices).await,
        }
    }

    async fn tell(&self, notice: Notice, notices: &mpsc::Sender<Notice>) -> Result<(), End> {
        match tokio::time::timeout(self.patience().stalled, notices.send(notice)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(End::Gone),
            Err(_) => Err(End::Stalled),
        }
    }

    fn patience(&self) -> Patience {
        self.interest.events.shared.patience
    }

    fn notice(&self, event: Option<Arc<Event>>) -> Notice {
        Notice { id: self.interest.events.id(self.position - 1), event }
    }
}
