//! Watches: who wants to hear of changes to which keys.
//!
//! Owns the prefixes that are watched and the changes that wait to be told at the end of an input. Knows no values: a change
//! is told after it is applied, so whoever hears of it can read. The invariants: a changed key is told once per commit and
//! watch; with no watch nothing is collected.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Bound::{Excluded, Included, Unbounded};
use std::str::FromStr;
use std::sync::Arc;

use super::{Output, Replica};
use crate::hlc::Hlc;
use crate::id::Dot;
use crate::key::{Key, KeyError, Kind, RESERVED_PREFIX};
use crate::limits::{KEYS_PER_CHANGE_MAX, NAME_BYTES_MAX, WATCHES_MAX};

/// The beginning of a key's text: `gcounter/ki`, `lwwmap/`, or nothing, which is where every key begins.
///
/// Keys of the agent itself are covered only by a prefix that names them, as `lwwmap/selvedge:` does.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyPrefix(Arc<str>);

/// Why a prefix is not watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WatchError {
    /// There are [`WATCHES_MAX`] already.
    #[error("{WATCHES_MAX} prefixes are watched already; that is as many as there may be")]
    TooMany,
}

impl KeyPrefix {
    /// The prefix of every key.
    #[must_use]
    pub fn everything() -> Self {
        Self("".into())
    }

    /// The prefix as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether changes to `key` are told to whoever watches this prefix.
    #[must_use]
    pub fn covers(&self, key: &Key) -> bool {
        match split(&self.0) {
            (kind, None) => !key.is_reserved() && key.kind().as_str().starts_with(kind),
            (kind, Some(name)) => {
                kind == key.kind().as_str()
                    && key.name().starts_with(name)
                    && (!key.is_reserved() || name.starts_with(RESERVED_PREFIX))
            }
        }
    }
}

impl FromStr for KeyPrefix {
    type Err = KeyError;

    /// Text that no key can begin with is refused: whoever watched it would wait for ever.
    fn from_str(text: &str) -> Result<Self, KeyError> {
        match split(text) {
            (kind, None) if Kind::ALL.iter().any(|known| known.as_str().starts_with(kind)) => {}
            (kind, None) => return Err(KeyError::UnknownKind(kind.chars().take(40).collect())),
            (_, Some(long)) if long.len() > NAME_BYTES_MAX => return Err(KeyError::LongName(long.len())),
            (_, Some(odd)) if odd.chars().any(char::is_control) => return Err(KeyError::ControlCharacter),
            (kind, Some(_)) => drop(kind.parse::<Kind>()?),
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for KeyPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

fn split(prefix: &str) -> (&str, Option<&str>) {
    prefix.split_once('/').map_or((prefix, None), |(kind, name)| (kind, Some(name)))
}

/// Keys that changed together.
#[derive(Debug)]
struct Changes {
    keys: BTreeSet<Key>,
    dot: Option<Dot>,
    hlc: Hlc,
}

/// The watches of one replica.
#[derive(Debug, Default)]
pub(super) struct Watches {
    prefixes: BTreeMap<u64, KeyPrefix>,
    /// The same the other way round, in order of text: the prefixes of a key are found without looking at the others.
    watching: BTreeMap<Vec<u8>, BTreeSet<u64>>,
    untold: Vec<Changes>,
}

impl Watches {
    fn begin(&mut self, watch: u64, prefix: KeyPrefix) -> Result<(), WatchError> {
        if self.prefixes.len() >= WATCHES_MAX && !self.prefixes.contains_key(&watch) {
            return Err(WatchError::TooMany);
        }
        self.end(watch);
        self.watching.entry(prefix.as_str().into()).or_default().insert(watch);
        self.prefixes.insert(watch, prefix);
        Ok(())
    }

    fn end(&mut self, watch: u64) {
        let Some(prefix) = self.prefixes.remove(&watch) else { return };
        if let Some(watches) = self.watching.get_mut(prefix.as_str().as_bytes()) {
            watches.remove(&watch);
            if watches.is_empty() {
                self.watching.remove(prefix.as_str().as_bytes());
            }
        }
    }

    /// The watches that `key` is told to.
    ///
    /// The greatest prefix that is not behind the key's text either begins it, or shows how much of the text any prefix of it
    /// can still have in common: each step looks up one prefix and shortens the text, however many others are watched.
    fn of(&self, key: &Key, mut found: impl FnMut(u64)) {
        let text = key.to_string();
        let named = key.kind().as_str().len() + "/".len() + RESERVED_PREFIX.len();
        let shortest = if key.is_reserved() { named } else { 0 };
        let mut end = Included(text.as_bytes());
        while let Some((prefix, watches)) = self.watching.range::<[u8], _>((Unbounded, end)).next_back() {
            let common = common(prefix, text.as_bytes());
            if common < shortest {
                return;
            }
            if common == prefix.len() {
                watches.iter().copied().for_each(&mut found);
                end = Excluded(&text.as_bytes()[..common]);
            } else {
                end = Included(&text.as_bytes()[..common]);
            }
        }
    }

    fn tell(&mut self, out: &mut Vec<Output>) {
        for Changes { keys, dot, hlc } in std::mem::take(&mut self.untold) {
            let mut told: BTreeMap<u64, Vec<Key>> = BTreeMap::new();
            for key in &keys {
                self.of(key, |watch| told.entry(watch).or_default().push(key.clone()));
            }
            for (watch, keys) in told {
                let outputs = keys.chunks(KEYS_PER_CHANGE_MAX);
                out.extend(outputs.map(|keys| Output::Changed { watch, keys: keys.to_vec(), dot, hlc }));
            }
        }
    }
}

fn common(one: &[u8], other: &[u8]) -> usize {
    one.iter().zip(other).take_while(|(one, other)| one == other).count()
}

impl Replica {
    pub(super) fn handle_watch(&mut self, watch: u64, prefix: KeyPrefix, out: &mut Vec<Output>) {
        let result = self.watches.begin(watch, prefix);
        self.state.collect_touched(!self.watches.prefixes.is_empty());
        out.push(Output::Watching { watch, result });
    }

    pub(super) fn handle_unwatch(&mut self, watch: u64) {
        self.watches.end(watch);
        self.state.collect_touched(!self.watches.prefixes.is_empty());
    }

    /// Puts what was touched since the last call down to the commit `dot`, or to a repair.
    pub(super) fn note_changes(&mut self, dot: Option<Dot>, hlc: Hlc) {
        if self.watches.prefixes.is_empty() {
            return;
        }
        let keys = self.state.take_touched();
        if !keys.is_empty() {
            self.watches.untold.push(Changes { keys, dot, hlc });
        }
    }

    /// Tells what has changed by the input that has just been handled.
    pub(super) fn tell_changes(&mut self, out: &mut Vec<Output>) {
        if self.watches.prefixes.is_empty() {
            return;
        }
        self.note_changes(None, self.clock.last());
        self.watches.tell(out);
        // A state that has begun anew does not know yet that it is watched.
        self.state.collect_touched(true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> KeyPrefix {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn key(text: &str) -> Key {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn a_prefix_is_the_beginning_of_a_key() {
        for text in ["", "g", "gcounter", "gcounter/", "gcounter/ki", "lwwmap/player:42", "orset/a/b", "gset/selvedge:"]
        {
            assert_eq!(prefix(text).to_string(), text);
        }
        let check = |text: &str, expect: KeyError| assert_eq!(text.parse::<KeyPrefix>(), Err(expect), "{text}");
        check("kills", KeyError::UnknownKind("kills".into()));
        check("counter/kills", KeyError::UnknownKind("counter".into()));
        check("g/kills", KeyError::UnknownKind("g".into()));
        check("/", KeyError::UnknownKind(String::new()));
        check("gset/a\n", KeyError::ControlCharacter);
        check(&format!("gset/{}", "x".repeat(257)), KeyError::LongName(257));
    }

    #[test]
    fn keys_are_covered_by_their_beginnings_and_the_agents_own_only_by_name() {
        let check = |text: &str, key_text: &str, expect: bool| {
            assert_eq!(prefix(text).covers(&key(key_text)), expect, "{text:?} of {key_text}");
            let mut watches = Watches::default();
            // Others that come before, between and after it must not hide it.
            for (watch, other) in (1..).zip(["gcounter", "gcounter/kill", "gcounter/killz", "gset/a", "pncounter/"]) {
                watches.begin(watch, prefix(other)).expect("there is room");
            }
            watches.begin(9, prefix(text)).expect("there is room");
            let mut found = Vec::new();
            watches.of(&key(key_text), |watch| found.push(watch));
            assert_eq!(found.contains(&9), expect, "{text:?} of {key_text}: {found:?}");
        };
        for covering in ["", "g", "gc", "gcounter", "gcounter/", "gcounter/k", "gcounter/kills"] {
            check(covering, "gcounter/kills", true);
        }
        for other in ["gs", "gset", "gset/", "gcounter/kills2", "gcounter/kilt", "p", "lwwmap/"] {
            check(other, "gcounter/kills", false);
        }
        for unnamed in ["", "l", "lwwmap", "lwwmap/", "lwwmap/selv", "lwwmap/selvedge"] {
            check(unnamed, "lwwmap/selvedge:specs", false);
        }
        for named in ["lwwmap/selvedge:", "lwwmap/selvedge:sp"] {
            check(named, "lwwmap/selvedge:specs", true);
        }
    }

    #[test]
    fn a_watch_that_ends_is_forgotten_whole() {
        let mut watches = Watches::default();
        for watch in 0..WATCHES_MAX as u64 {
            watches.begin(watch, prefix("gset/")).expect("there is room");
        }
        assert_eq!(watches.begin(u64::MAX, prefix("orset/")), Err(WatchError::TooMany));
        assert_eq!(watches.begin(7, prefix("orset/")), Ok(()), "one that is there may change its mind");
        (0..WATCHES_MAX as u64).for_each(|watch| watches.end(watch));
        watches.end(u64::MAX);
        assert!(watches.prefixes.is_empty() && watches.watching.is_empty());
    }
}
