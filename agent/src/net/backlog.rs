//! How much a peer has handed to this agent that is not dealt with yet.
//!
//! Owns two counts per peer, frames and bytes, and the permits that give them back. The invariant: what one peer can make
//! this agent hold is bounded, however slowly the agent takes it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Frames of one peer that may await their reply at once: every question that it may ask on all lanes, and some hints.
pub(super) const BACKLOG_FRAMES_MAX: usize = 256;

/// Bytes of those frames: a few of the largest, or very many ordinary ones.
const BACKLOG_BYTES_MAX: usize = 32 * 1024 * 1024;

/// What one peer's unhandled frames take.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    frames: AtomicUsize,
    bytes: AtomicUsize,
}

/// Room for one frame, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Permit {
    backlog: Arc<Backlog>,
    bytes: usize,
}

impl Backlog {
    /// Room for a frame of `bytes`, or `None`. Only the swarm's task takes, so that looking and taking are one step.
    pub(super) fn take(self: &Arc<Self>, bytes: usize) -> Option<Permit> {
        let frames = self.frames.load(Ordering::Acquire);
        let held = self.bytes.load(Ordering::Acquire);
        if frames >= BACKLOG_FRAMES_MAX || held.saturating_add(bytes) > BACKLOG_BYTES_MAX {
            return None;
        }
        self.frames.fetch_add(1, Ordering::AcqRel);
        self.bytes.fetch_add(bytes, Ordering::AcqRel);
        Some(Permit { backlog: Arc::clone(self), bytes })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.backlog.frames.fetch_sub(1, Ordering::AcqRel);
        self.backlog.bytes.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_and_bytes_are_bounded_and_given_back() {
        let backlog = Arc::new(Backlog::default());
        let permits: Vec<_> = std::iter::from_fn(|| backlog.take(0)).collect();
        assert_eq!(permits.len(), BACKLOG_FRAMES_MAX);
        drop(permits);
        let whole = backlog.take(BACKLOG_BYTES_MAX);
        assert!(whole.is_some() && backlog.take(1).is_none());
        drop(whole);
        assert!(backlog.take(1).is_some());
    }
}
