//! Which prefixes somebody listens to, and since when without a gap.
//!
//! Owns the names of watches and their ends. A prefix outlives its last listener for a while, so that one that comes back has
//! missed nothing. Time is an argument.

use std::collections::BTreeMap;
use std::time::Instant;

use selvedge_sync::replica::KeyPrefix;

use super::LINGER;

/// Prefixes watched, those included that only linger: several times the listeners that there may be, and well below what the
/// replica allows. Beyond it, the one that has lingered longest ends at once.
const PREFIXES_MAX: usize = 256;

#[derive(Debug, Default)]
pub(super) struct Interests {
    by_prefix: BTreeMap<KeyPrefix, Interest>,
    last_watch: u64,
    ended: Vec<u64>,
}

#[derive(Debug)]
struct Interest {
    watch: u64,
    listeners: usize,
    /// The position from which on everything under the prefix is recorded; `None` until the replica watches.
    since: Option<u64>,
    idle_since: Option<Instant>,
}

impl Interests {
    /// One more listener; returns the name of the watch.
    pub(super) fn join(&mut self, prefix: &KeyPrefix) -> u64 {
        if !self.by_prefix.contains_key(prefix) {
            self.make_room();
            self.last_watch += 1;
        }
        let interest = self.by_prefix.entry(prefix.clone()).or_insert(Interest {
            watch: self.last_watch,
            listeners: 0,
            since: None,
            idle_since: None,
        });
        interest.listeners += 1;
        interest.idle_since = None;
        interest.watch
    }

    /// The replica watches; `position` gives where what it tells begins. Nothing new for a watch that had begun before.
    pub(super) fn began(&mut self, watch: u64, position: impl FnOnce() -> u64) {
        let interest = self.by_prefix.values_mut().find(|interest| interest.watch == watch);
        if let Some(interest) = interest.filter(|interest| interest.since.is_none()) {
            interest.since = Some(position());
        }
    }

    /// One listener less.
    pub(super) fn leave(&mut self, prefix: &KeyPrefix, now: Instant) {
        if let Some(interest) = self.by_prefix.get_mut(prefix) {
            interest.listeners -= 1;
            if interest.listeners == 0 {
                interest.idle_since = Some(now);
            }
        }
    }

    /// The position from which on everything under this very prefix is recorded.
    pub(super) fn since(&self, prefix: &KeyPrefix) -> Option<u64> {
        self.by_prefix.get(prefix).and_then(|interest| interest.since)
    }

    /// The watches that have lingered for long enough, each told once.
    pub(super) fn take_ended(&mut self, now: Instant) -> Vec<u64> {
        let Self { by_prefix, ended, .. } = self;
        by_prefix.retain(|_, interest| {
            let over = interest.idle_since.is_some_and(|idle| now.saturating_duration_since(idle) >= LINGER);
            if over {
                ended.push(interest.watch);
            }
            !over
        });
        std::mem::take(ended)
    }

    fn make_room(&mut self) {
        if self.by_prefix.len() < PREFIXES_MAX {
            return;
        }
        let idle = self.by_prefix.iter().filter_map(|(prefix, interest)| Some((interest.idle_since?, prefix)));
        if let Some(prefix) = idle.min().map(|(_, prefix)| prefix.clone())
            && let Some(interest) = self.by_prefix.remove(&prefix)
        {
            self.ended.push(interest.watch);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn prefix(text: &str) -> KeyPrefix {
        text.parse().expect("a prefix")
    }

    #[test]
    fn a_prefix_lingers_after_its_last_listener() {
        let (mut interests, start) = (Interests::default(), Instant::now());
        let watch = interests.join(&prefix("gset/"));
        assert_eq!(interests.join(&prefix("gset/")), watch, "one watch serves all listeners");
        assert_eq!(interests.since(&prefix("gset/")), None);
        interests.began(watch, || 7);
        interests.began(watch, || panic!("it began before"));
        interests.leave(&prefix("gset/"), start);
        assert_eq!(interests.take_ended(start + 2 * LINGER).len(), 0, "somebody listens");
        interests.leave(&prefix("gset/"), start);
        assert_eq!(interests.take_ended(start + LINGER - Duration::from_millis(1)).len(), 0);
        assert_eq!(interests.join(&prefix("gset/")), watch);
        assert_eq!(interests.since(&prefix("gset/")), Some(7), "whoever came back in time has missed nothing");
        interests.leave(&prefix("gset/"), start);
        assert_eq!(interests.take_ended(start + LINGER), [watch]);
        assert_eq!(interests.take_ended(start + LINGER).len(), 0, "told once");
        assert_eq!(interests.since(&prefix("gset/")), None);
        assert_ne!(interests.join(&prefix("gset/")), watch);
    }

    #[test]
    fn prefixes_that_linger_make_room() {
        let (mut interests, start) = (Interests::default(), Instant::now());
        let names: Vec<KeyPrefix> = (0..=PREFIXES_MAX).map(|at| prefix(&format!("gset/{at}"))).collect();
        let watches: Vec<u64> = names[1..].iter().map(|name| interests.join(name)).collect();
        names[1..].iter().zip(1..).for_each(|(name, at)| interests.leave(name, start + Duration::from_millis(at)));
        interests.join(&names[0]);
        assert_eq!(interests.take_ended(start), [watches[0]], "the one that has lingered longest ends");
        assert_eq!(interests.by_prefix.len(), PREFIXES_MAX);
    }
}
