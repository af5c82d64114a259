//! The last events that are no commits, with the time at which they were recorded, for whoever comes later.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::service::Event;

/// Events kept: what a person reads through, and some hours of a quiet mesh.
const EVENTS_MAX: usize = 128;

#[derive(Debug, Default)]
pub(super) struct Journal(VecDeque<(u64, u64, Arc<Event>)>);

impl Journal {
    /// Keeps an event that was recorded at this position, unless it is a commit: those are many, and state tells what they did.
    pub(super) fn note(&mut self, position: u64, event: &Arc<Event>) {
        if matches!(**event, Event::Commit(_)) {
            return;
        }
        if self.0.len() == EVENTS_MAX {
            self.0.pop_front();
        }
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let at_ms = u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX);
        self.0.push_back((position, at_ms, Arc::clone(event)));
    }

    /// Positions, times in milliseconds since 1970, and events.
    pub(super) fn latest_first(&self) -> Vec<(u64, u64, Arc<Event>)> {
        self.0.iter().rev().cloned().collect()
    }
}
