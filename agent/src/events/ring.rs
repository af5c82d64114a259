//! The last events, in order, each at its position.
//!
//! Owns their bounds, in number and in bytes. The invariant: positions count up by one and are never used twice, so whoever
//! knows the position that it has heard last can be told what it missed, or that it is not kept.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::service::Event;

/// The position of the first event of a life.
pub(super) const FIRST: u64 = 1;

/// Events kept: at a thousand commits a second, some seconds to come back in.
const EVENTS_MAX: usize = 8_192;

/// Bytes of keys and values kept with them.
const BYTES_MAX: usize = 16 * 1024 * 1024;

/// What an event, and each of its changes, counts for beyond its keys and values.
const OVERHEAD_BYTES: usize = 128;

/// Events that are looked at under one lock.
const LOOK_EVENTS: usize = 64;

#[derive(Debug)]
pub(super) struct Ring {
    first: u64,
    /// `None` where nothing happened but that a prefix began to be watched.
    events: VecDeque<Option<Arc<Event>>>,
    bytes: usize,
}

/// What is at a position.
#[derive(Debug)]
pub(super) enum Look {
    /// These events; the first is at the position that was asked for. None when nothing has happened there yet.
    Events(Vec<Option<Arc<Event>>>),
    /// Something that is not kept any more, and this many events with it.
    Gone(u64),
}

impl Default for Ring {
    fn default() -> Self {
        Self { first: FIRST, events: VecDeque::new(), bytes: 0 }
    }
}

impl Ring {
    /// The position of the oldest event that is kept.
    pub(super) const fn first(&self) -> u64 {
        self.first
    }

    /// The position of the event that happens next.
    pub(super) fn next(&self) -> u64 {
        self.first + self.events.len() as u64
    }

    pub(super) fn push(&mut self, event: Arc<Event>) {
        self.bytes += weight(&event);
        self.put(Some(event));
    }

    /// Leaves a position empty; returns the next one.
    pub(super) fn skip(&mut self) -> u64 {
        self.put(None);
        self.next()
    }

    /// What happened at `position` and after it, as far as one look goes.
    pub(super) fn look(&self, position: u64) -> Look {
        match position.checked_sub(self.first) {
            None => Look::Gone(self.first - position),
            Some(index) => {
                let index = usize::try_from(index).unwrap_or(usize::MAX);
                Look::Events(self.events.iter().skip(index).take(LOOK_EVENTS).cloned().collect())
            }
        }
    }

    fn put(&mut self, event: Option<Arc<Event>>) {
        self.events.push_back(event);
        while self.events.len() > EVENTS_MAX || (self.bytes > BYTES_MAX && self.events.len() > 1) {
            let oldest = self.events.pop_front().flatten();
            self.bytes -= oldest.map_or(0, |event| weight(&event));
            self.first += 1;
        }
    }
}

/// About how many bytes an event occupies. A value that several events share counts for each.
fn weight(event: &Event) -> usize {
    let changes = match event {
        Event::Commit(commit) => commit.changes.as_slice(),
        Event::Member(_)
        | Event::Link(_)
        | Event::Fraud(_)
        | Event::Placement(_)
        | Event::Rollout(_)
        | Event::Decision(_)
        | Event::Reset { .. }
        | Event::Lagged { .. } => &[],
    };
    OVERHEAD_BYTES + changes.iter().map(|change| OVERHEAD_BYTES + change.bytes).sum::<usize>()
}
