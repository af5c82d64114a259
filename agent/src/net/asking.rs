//! A question of a handle: by the line to its peer where there is one, else by way of the swarm's task.
//!
//! Owns the choice of the way. The invariant: either way a question counts against what may be open to its peer, until it ends or nobody
//! waits for it.

use std::sync::Arc;

use selvedge_sync::id::NodeId;
use tokio::sync::oneshot;

use super::counters::{NetReason, PeerTally};
use super::lane::Lane;
use super::line;
use super::peers::Ticket;
use super::shared::Shared;
use super::{Ask, Net, RequestError, lock};

impl Net {
    /// Asks and waits for the answer, as long as it takes.
    pub(super) async fn exchange(&self, to: NodeId, lane: Lane, mut bytes: Vec<u8>) -> Result<Vec<u8>, RequestError> {
        if self.shared.stop.is_cancelled() {
            return Err(RequestError::Stopped);
        }
        let by_line = lane == Lane::Call && bytes.len() <= line::QUESTION_BYTES_MAX;
        let line = by_line.then(|| lock(&self.shared.peers).line(to)).flatten();
        if let Some(line) = line {
            let open = Open::begin(&self.shared, to, lane)?;
            let asked_bytes = bytes.len();
            match line.ask(bytes) {
                Ok(question) => {
                    open.tally.wrote(lane, asked_bytes);
                    return question.answer().await?.into_body();
                }
                Err(back) => bytes = back,
            }
        }
        let (answer, answered) = oneshot::channel();
        let ask = Ask { to, lane, body: bytes, answer };
        self.asks.send(ask).await.map_err(|_| RequestError::Stopped)?;
        answered.await.unwrap_or(Err(RequestError::Stopped))
    }
}

/// A question on a line that is open, as the peer table counts it.
struct Open<'a> {
    shared: &'a Shared,
    ticket: Ticket,
    tally: Arc<PeerTally>,
}

impl<'a> Open<'a> {
    fn begin(shared: &'a Shared, to: NodeId, lane: Lane) -> Result<Self, RequestError> {
        let mut peers = lock(&shared.peers);
        let tally = peers.tally(to).map(Arc::clone).ok_or(RequestError::NotConnected)?;
        let Some(ticket) = peers.begin_request(to, lane) else {
            drop(peers);
            tally.count(NetReason::RequestSaturated);
            return Err(RequestError::Saturated);
        };
        Ok(Self { shared, ticket, tally })
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        lock(&self.shared.peers).finish(self.ticket);
    }
}
