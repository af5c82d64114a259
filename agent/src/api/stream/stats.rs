//! What is counted about connections: those of the call stream, and all whose other side does not read.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::End;

/// The counters. Read by whoever tells metrics.
#[derive(Debug, Default)]
pub struct StreamStats {
    open: AtomicU64,
    answered: AtomicU64,
    failed: AtomicU64,
    malformed: AtomicU64,
    stuck: AtomicU64,
    silent: AtomicU64,
    broken: AtomicU64,
    turned_away: AtomicU64,
    unread: AtomicU64,
    late: AtomicU64,
    displaced: AtomicU64,
}

/// What has been counted so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamFigures {
    /// Connections that are open.
    pub open: u64,
    /// Frames whose call gave a result.
    pub answered: u64,
    /// Frames whose call failed.
    pub failed: u64,
    /// Frames that made no sense.
    pub malformed: u64,
    /// Connections that were dropped because they took no answers.
    pub stuck: u64,
    /// Connections that were closed because nothing was heard of them any more.
    pub silent: u64,
    /// Connections that were closed because what they sent was no binary frame.
    pub broken: u64,
    /// Connections that were not taken because there were too many.
    pub turned_away: u64,
    /// Connections of any kind that were closed because their other side did not read.
    pub unread: u64,
    /// Connections of any kind that were closed because a request's head had begun and was not whole in time.
    pub late: u64,
    /// Connections of any kind that said nothing and gave up their place to a newcomer.
    pub displaced: u64,
}

/// A connection that is open for as long as this lives.
pub(super) struct Open(Arc<StreamStats>);

impl StreamStats {
    /// What has been counted so far.
    #[must_use]
    pub fn figures(&self) -> StreamFigures {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        StreamFigures {
            open: read(&self.open),
            answered: read(&self.answered),
            failed: read(&self.failed),
            malformed: read(&self.malformed),
            stuck: read(&self.stuck),
            silent: read(&self.silent),
            broken: read(&self.broken),
            turned_away: read(&self.turned_away),
            unread: read(&self.unread),
            late: read(&self.late),
            displaced: read(&self.displaced),
        }
    }

    pub(super) fn opened(self: &Arc<Self>) -> Open {
        count(&self.open);
        Open(Arc::clone(self))
    }

    pub(super) fn answered(&self, gave_a_result: bool) {
        count(if gave_a_result { &self.answered } else { &self.failed });
    }

    pub(super) fn malformed(&self) {
        count(&self.malformed);
    }

    pub(in crate::api) fn turned_away(&self) {
        count(&self.turned_away);
    }

    pub(in crate::api) fn unread(&self) {
        count(&self.unread);
    }

    pub(in crate::api) fn late(&self) {
        count(&self.late);
    }

    pub(in crate::api) fn displaced(&self) {
        count(&self.displaced);
    }

    pub(super) fn ended(&self, end: End) {
        match end {
            End::Gone | End::Closing => {}
            End::Text | End::Broken => count(&self.broken),
            End::Stuck => count(&self.stuck),
            End::Silent => count(&self.silent),
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
