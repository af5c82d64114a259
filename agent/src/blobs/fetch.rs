//! Blobs from other members: found, taken chunk by chunk from whoever has them, each chunk checked as it comes.
//!
//! Owns the questions and the order in which members are asked; stores nothing. The invariants: no byte is believed that does not
//! lead to the digest; a member is blamed only for a chunk that does not fit the outline that it gave itself; what is under way at
//! once is bounded in bytes and in time.

mod gather;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use selvedge_sync::codec;
use selvedge_sync::id::NodeId;
use serde::de::DeserializeOwned;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use self::gather::Gathering;
use super::outline::{CHUNK_BYTES, Claimed, Outline};
use super::serve::{Answer, Question, Sort, Want};
use crate::net::{Lane, Net, Offence, RequestError};
use crate::spec::Digest;

/// Members that are asked whether they have a blob, the nearest first. In a larger mesh some of them will.
const ASKED_MAX: usize = 64;
/// How many of them are asked at once, until one has it: each that has it reads and hashes all of it to answer.
const ASKED_AT_ONCE: usize = 4;
/// How long a member may take to say what it has: it reads and hashes the whole blob for that.
const OUTLINE_PATIENCE: Duration = Duration::from_secs(5);
/// How long one chunk may take; the thinnest uplink that we plan for moves a mebibyte in half of it.
const CHUNK_PATIENCE: Duration = Duration::from_secs(20);
/// How long a whole blob may take: 64 chunks over that thinnest uplink.
const FETCH_PATIENCE: Duration = Duration::from_mins(11);
/// Chunks of all assets together that may be in memory until they are complete and dealt with: 128 MiB, two of the largest.
const ASSET_CHUNKS_UNDER_WAY: usize = 128;
/// The same of artefacts, one of the largest: apart, so that assets that come slowly keep no workload from starting.
const ARTIFACT_CHUNKS_UNDER_WAY: usize = 64;
/// How often a busy member is asked again, and after which pause: two seconds in all.
const BUSY_TRIES: u32 = 40;
const BUSY_PAUSE: Duration = Duration::from_millis(50);

/// Why a blob could not be had from others. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// No connected member gave it.
    #[error("no connected member has the {sort} {digest}{}", last.as_ref().map_or_else(String::new, |why| format!(" ({why})")))]
    Nowhere {
        /// What it would be.
        sort: Sort,
        /// What was looked for.
        digest: Digest,
        /// What the last member that did not simply lack it said.
        last: Option<String>,
    },
    /// Members had it, and it did not come in time.
    #[error("the {sort} {digest} did not arrive within {} s", FETCH_PATIENCE.as_secs())]
    TooSlow {
        /// What it would be.
        sort: Sort,
        /// What was looked for.
        digest: Digest,
    },
}

/// A blob that was fetched.
#[derive(Debug)]
pub struct Fetched {
    /// All of it, verified.
    pub bytes: Bytes,
    /// What it takes of the room for fetches, until this is dropped: to be kept while nothing else bounds how many blobs are in memory.
    pub room: Option<OwnedSemaphorePermit>,
}

/// Fetches blobs. Clones share their bounds.
#[derive(Clone, Debug)]
pub struct Fetcher {
    net: Net,
    artifact_room: Arc<Semaphore>,
    asset_room: Arc<Semaphore>,
}

/// A blob that is being looked for.
#[derive(Clone, Copy)]
struct Wanted<'a> {
    fetcher: &'a Fetcher,
    sort: Sort,
    digest: Digest,
    bytes_max: usize,
}

/// What a member said when it was asked for an outline.
type Found = (NodeId, Result<Option<Outline>, RequestError>);

/// Who has yet to be asked, and who has yet to answer.
struct Asking<'a> {
    wanted: Wanted<'a>,
    rest: VecDeque<NodeId>,
    under_way: FuturesUnordered<BoxFuture<'a, Found>>,
}

impl Asking<'_> {
    /// The next answer; asks more members if it has to. `None` when all have answered.
    async fn next(&mut self) -> Option<Found> {
        self.ask();
        self.under_way.next().await
    }

    /// Asks as many as may be asked at once.
    fn ask(&mut self) {
        while self.under_way.len() < ASKED_AT_ONCE
            && let Some(node) = self.rest.pop_front()
        {
            let wanted = self.wanted;
            self.under_way.push(async move { (node, wanted.outline(node).await) }.boxed());
        }
    }
}

/// What is known of who has the blob.
#[derive(Default)]
struct Finds {
    /// Outlines that lead to the digest, and who gave each.
    outlines: VecDeque<(Outline, Vec<NodeId>)>,
    last: Option<String>,
}

impl Finds {
    fn note(&mut self, (node, answer): Found) {
        match answer {
            Ok(Some(outline)) => match self.outlines.iter_mut().find(|(known, _)| *known == outline) {
                Some((_, givers)) => givers.push(node),
                None => self.outlines.push_back((outline, vec![node])),
            },
            Ok(None) => {}
            Err(error) => self.last = Some(format!("{node}: {error}")),
        }
    }

    /// Takes the members that have given this outline since it was taken from here.
    fn givers(&mut self, outline: &Outline) -> Vec<NodeId> {
        let known = self.outlines.iter().position(|(known, _)| known == outline);
        known.and_then(|at| self.outlines.remove(at)).map(|(_, givers)| givers).unwrap_or_default()
    }
}

impl Fetcher {
    /// A fetcher over this network.
    #[must_use]
    pub fn new(net: Net) -> Self {
        let [artifact_room, asset_room] =
            [ARTIFACT_CHUNKS_UNDER_WAY, ASSET_CHUNKS_UNDER_WAY].map(|chunks| Arc::new(Semaphore::new(chunks)));
        Self { net, artifact_room, asset_room }
    }

    const fn room(&self, sort: Sort) -> &Arc<Semaphore> {
        match sort {
            Sort::Artifact => &self.artifact_room,
            Sort::Asset => &self.asset_room,
        }
    }

    /// A blob of at most `bytes_max`, from whichever connected members have it. Dropped, it asks for nothing more.
    ///
    /// # Errors
    /// Nobody in reach gave it, or not in time.
    pub async fn fetch(&self, sort: Sort, digest: Digest, bytes_max: usize) -> Result<Fetched, FetchError> {
        let wanted = Wanted { fetcher: self, sort, digest, bytes_max };
        match tokio::time::timeout(FETCH_PATIENCE, wanted.hunt()).await {
            Ok(found) => found,
            Err(_) => Err(FetchError::TooSlow { sort, digest }),
        }
    }

    /// The connected members, nearest first.
    fn nearest(&self) -> VecDeque<NodeId> {
        let mut links = self.net.peers();
        links.sort_by_key(|link| (link.rtt.unwrap_or(Duration::MAX), link.node));
        links.into_iter().take(ASKED_MAX).map(|link| link.node).collect()
    }
}

impl Wanted<'_> {
    async fn hunt(self) -> Result<Fetched, FetchError> {
        let mut asking = Asking { wanted: self, rest: self.fetcher.nearest(), under_way: FuturesUnordered::new() };
        let mut finds = Finds::default();
        loop {
            if let Some((outline, givers)) = finds.outlines.pop_front() {
                if let Some(fetched) = self.gather(&outline, givers, &mut asking, &mut finds).await {
                    return Ok(fetched);
                }
            } else if let Some(found) = asking.next().await {
                finds.note(found);
            } else {
                return Err(FetchError::Nowhere { sort: self.sort, digest: self.digest, last: finds.last });
            }
        }
    }

    /// All chunks of one outline, from those who gave it and those who still do; `None` when none of them is left.
    async fn gather(
        self,
        outline: &Outline,
        givers: Vec<NodeId>,
        asking: &mut Asking<'_>,
        finds: &mut Finds,
    ) -> Option<Fetched> {
        let room = u32::try_from(outline.chunks()).unwrap_or(u32::MAX);
        // Closed it never is; an outline has no more chunks than there is room for.
        let room = Arc::clone(self.fetcher.room(self.sort)).acquire_many_owned(room).await.ok()?;
        let whole = Gathering::new(self, outline).run(givers, asking, finds).await?;
        Some(Fetched { bytes: whole.into(), room: Some(room) })
    }

    /// A chunk that is right, or why its giver is asked no more, and whether it has lied.
    fn check(
        self,
        outline: &Outline,
        giver: NodeId,
        index: usize,
        answer: Result<Option<Vec<u8>>, RequestError>,
    ) -> Result<Vec<u8>, (String, bool)> {
        match answer {
            Ok(Some(chunk)) if outline.fits(index, &chunk) => Ok(chunk),
            Ok(Some(_)) => Err((format!("{giver} gave other bytes than it has claimed"), true)),
            Ok(None) => Err((format!("{giver} has it no more"), false)),
            Err(error) => Err((format!("{giver}: {error}"), false)),
        }
    }

    fn blame(self, node: NodeId, why: &str) {
        tracing::warn!(%node, digest = %self.digest, why, "a member lies about an artefact or an asset");
        self.fetcher.net.penalise(node, Offence::WrongBytes);
    }

    async fn outline(self, node: NodeId) -> Result<Option<Outline>, RequestError> {
        let claimed: Option<Claimed> = self.ask(node, Want::Outline, OUTLINE_PATIENCE).await?;
        let Some(claimed) = claimed else { return Ok(None) };
        let outline = Outline::check(&claimed, self.digest, self.bytes_max);
        if outline.is_none() {
            self.blame(node, "what it claims does not lead to the digest");
        }
        Ok(outline)
    }

    async fn chunk(self, node: NodeId, index: usize) -> Result<Option<Vec<u8>>, RequestError> {
        let index = u32::try_from(index).unwrap_or(u32::MAX);
        let chunk: Option<serde_bytes::ByteBuf> = self.ask(node, Want::Chunk(index), CHUNK_PATIENCE).await?;
        Ok(chunk.map(serde_bytes::ByteBuf::into_vec))
    }

    /// Asks one member, again while it is busy. An answer that cannot be read counts as none.
    async fn ask<T: DeserializeOwned>(
        self,
        node: NodeId,
        want: Want,
        patience: Duration,
    ) -> Result<Option<T>, RequestError> {
        let question = codec::encode(&Question { sort: self.sort, digest: self.digest.0, want });
        let mut tries = 0;
        loop {
            let answer = self.fetcher.net.request(node, Lane::Artifact, question.clone(), patience).await;
            match answer {
                Err(RequestError::Busy | RequestError::Saturated) if tries < BUSY_TRIES => {
                    tries += 1;
                    tokio::time::sleep(BUSY_PAUSE).await;
                }
                Err(error) => return Err(error),
                Ok(answer) => return Ok(codec::decode::<Answer<T>>(&answer, ANSWER_BYTES_MAX).ok().flatten()),
            }
        }
    }
}

/// A chunk, or the outline of the largest blob, with what the codec puts around it.
const ANSWER_BYTES_MAX: usize = CHUNK_BYTES + 1_024;

#[cfg(test)]
mod tests;
