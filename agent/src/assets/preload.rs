//! Wishes of workloads: assets that should be here before a client asks.
//!
//! Owns their queue and the loop that fulfils them. The invariants: a wish costs its workload nothing; what is queued and what is
//! fetched at once is bounded; for what nobody has, members are not asked again and again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use moka::sync::Cache;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Assets;
use super::tally::{WishStats, add};
use crate::spec::Digest;

/// Wishes that may wait: some calls' worth. What does not fit is wished again by the next plan.
const WISHES_MAX: usize = 256;
/// Wishes that are fulfilled at once, so that clients' own requests find room.
const AT_ONCE: usize = 2;
/// How long a wish stands for all like it: plans name the same assets many times a second, and one that nobody has would be
/// looked for with every member each time.
const WISHED_FOR: Duration = Duration::from_secs(30);
/// How many wishes are remembered for that.
const WISHED_MAX: u64 = 4_096;

/// Where wishes come in.
#[derive(Debug)]
pub(super) struct Wishes {
    queue: mpsc::Sender<Digest>,
    /// What was wished for lately.
    wished: Cache<Digest, ()>,
    here: AtomicU64,
    queued: AtomicU64,
    repeated: AtomicU64,
    dropped: AtomicU64,
}

/// Wishes, and where they wait.
pub(super) fn wishes() -> (Wishes, mpsc::Receiver<Digest>) {
    let (queue, waiting) = mpsc::channel(WISHES_MAX);
    let wished = Cache::builder().max_capacity(WISHED_MAX).time_to_live(WISHED_FOR).build();
    let (here, queued, repeated, dropped) = Default::default();
    (Wishes { queue, wished, here, queued, repeated, dropped }, waiting)
}

impl Wishes {
    pub(super) fn add(&self, digest: Digest, is_here: bool) {
        let counter = if is_here {
            &self.here
        } else if self.wished.contains_key(&digest) {
            &self.repeated
        } else if self.queue.try_send(digest).is_ok() {
            self.wished.insert(digest, ());
            &self.queued
        } else {
            &self.dropped
        };
        add(counter, 1);
    }

    /// Wishes for what was here and is gone, whatever was wished for lately.
    pub(super) fn again(&self, digest: Digest) {
        self.wished.invalidate(&digest);
        self.add(digest, false);
    }

    pub(super) fn stats(&self) -> WishStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        WishStats {
            here: read(&self.here),
            queued: read(&self.queued),
            repeated: read(&self.repeated),
            dropped: read(&self.dropped),
        }
    }
}

/// Fulfils wishes.
#[derive(Debug)]
pub struct Preloader {
    assets: Assets,
    waiting: mpsc::Receiver<Digest>,
}

impl Preloader {
    pub(super) const fn new(assets: Assets, waiting: mpsc::Receiver<Digest>) -> Self {
        Self { assets, waiting }
    }

    /// Fetches what is wished for until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut under_way = FuturesUnordered::new();
        loop {
            tokio::select! {
                wish = self.waiting.recv(), if under_way.len() < AT_ONCE => match wish {
                    Some(digest) => under_way.push(fulfil(&self.assets, digest)),
                    None => return,
                },
                Some(()) = under_way.next() => {}
                () = stop.cancelled() => return,
            }
        }
    }
}

async fn fulfil(assets: &Assets, digest: Digest) {
    if let Err(error) = assets.bring(digest).await {
        tracing::debug!(%digest, %error, "an asset that was wished for cannot be had");
    }
}
