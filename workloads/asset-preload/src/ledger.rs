//! What is known and what this call adds to it, as one.
//!
//! Owns the cache of what was read and the list of what is to be written. The invariants: nothing is read twice; reads see what
//! was added before, so that many moves in one call teach the same as one call each.

use std::collections::{BTreeMap, BTreeSet};

/// Where what is known lies: the shared state, or a stand-in for it.
pub trait Store {
    /// A counter's value; `None` when nobody wrote it.
    fn counter(&self, name: &str) -> Option<u64>;
    /// The texts in a grow-only set.
    fn members(&self, name: &str) -> BTreeSet<String>;
    /// A field of a map, if it is a text.
    fn field(&self, map: &str, field: &str) -> Option<String>;
}

/// What is to be written: less than one change for each object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Writes {
    /// By how much each counter grows.
    pub counters: BTreeMap<String, u64>,
    /// What each set gets.
    pub members: BTreeMap<String, BTreeSet<String>>,
    /// What each map's fields become.
    pub fields: BTreeMap<String, BTreeMap<String, String>>,
}

impl Writes {
    /// Bytes of names and texts, which the host bounds for one call.
    #[must_use]
    pub fn bytes(&self) -> usize {
        /// What the host counts for a number, and for the type of a text.
        const PLAIN_BYTES: usize = 8;
        let counters: usize = self.counters.keys().map(|name| name.len() + PLAIN_BYTES).sum();
        let texts = |set: &BTreeSet<String>| set.iter().map(|text| text.len() + PLAIN_BYTES).sum::<usize>();
        let members: usize = self.members.iter().map(|(name, set)| name.len() + texts(set)).sum();
        let entry = |(field, text): (&String, &String)| field.len() + text.len() + PLAIN_BYTES;
        let fields: usize =
            self.fields.iter().map(|(name, map)| name.len() + map.iter().map(entry).sum::<usize>()).sum();
        counters + members + fields
    }

    /// Objects that are written.
    #[must_use]
    pub fn objects(&self) -> usize {
        self.counters.len() + self.members.len() + self.fields.len()
    }
}

/// A store with what this call has read and added.
#[derive(Debug)]
pub struct Ledger<'a, S> {
    store: &'a S,
    counters: BTreeMap<String, Option<u64>>,
    members: BTreeMap<String, BTreeSet<String>>,
    writes: Writes,
    reads: usize,
}

impl<'a, S: Store> Ledger<'a, S> {
    /// A ledger over `store` to which nothing was added yet.
    pub fn new(store: &'a S) -> Self {
        Self { store, counters: BTreeMap::new(), members: BTreeMap::new(), writes: Writes::default(), reads: 0 }
    }

    /// A counter's value; `None` when nobody wrote it.
    pub fn counter(&mut self, name: &str) -> Option<u64> {
        if let Some(known) = self.counters.get(name) {
            return *known;
        }
        self.reads += 1;
        let value = self.store.counter(name);
        self.counters.insert(name.to_owned(), value);
        value
    }

    /// Adds to a counter.
    pub fn increment(&mut self, name: &str, by: u64) {
        let value = self.counter(name).unwrap_or(0).saturating_add(by);
        self.counters.insert(name.to_owned(), Some(value));
        let pending = self.writes.counters.entry(name.to_owned()).or_default();
        *pending = pending.saturating_add(by);
    }

    /// The texts in a set.
    pub fn members(&mut self, name: &str) -> &BTreeSet<String> {
        if !self.members.contains_key(name) {
            self.reads += 1;
            self.members.insert(name.to_owned(), self.store.members(name));
        }
        &self.members[name]
    }

    /// Adds a text to a set; one that is there already costs no write.
    pub fn add(&mut self, name: &str, member: &str) {
        if self.members(name).contains(member) {
            return;
        }
        self.members.entry(name.to_owned()).or_default().insert(member.to_owned());
        self.writes.members.entry(name.to_owned()).or_default().insert(member.to_owned());
    }

    /// A field of a map.
    pub fn field(&mut self, map: &str, field: &str) -> Option<String> {
        match self.writes.fields.get(map).and_then(|fields| fields.get(field)) {
            Some(written) => Some(written.clone()),
            None => {
                self.reads += 1;
                self.store.field(map, field)
            }
        }
    }

    /// Overwrites a field of a map.
    pub fn put(&mut self, map: &str, field: &str, text: String) {
        self.writes.fields.entry(map.to_owned()).or_default().insert(field.to_owned(), text);
    }

    /// How often the store was asked.
    #[must_use]
    pub const fn reads(&self) -> usize {
        self.reads
    }

    /// What was added.
    #[must_use]
    pub fn into_writes(self) -> Writes {
        self.writes
    }
}

/// A store in memory: for tests, and for whoever measures the model natively.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    counters: BTreeMap<String, u64>,
    members: BTreeMap<String, BTreeSet<String>>,
    fields: BTreeMap<(String, String), String>,
}

impl Memory {
    /// Writes what a call added.
    pub fn apply(&mut self, writes: Writes) {
        for (name, by) in writes.counters {
            *self.counters.entry(name).or_default() += by;
        }
        for (name, members) in writes.members {
            self.members.entry(name).or_default().extend(members);
        }
        for (map, fields) in writes.fields {
            self.fields.extend(fields.into_iter().map(|(field, text)| ((map.clone(), field), text)));
        }
    }

    /// How many objects it holds.
    #[must_use]
    pub fn objects(&self) -> usize {
        self.counters.len() + self.members.len()
    }
}

impl Store for Memory {
    fn counter(&self, name: &str) -> Option<u64> {
        self.counters.get(name).copied()
    }

    fn members(&self, name: &str) -> BTreeSet<String> {
        self.members.get(name).cloned().unwrap_or_default()
    }

    fn field(&self, map: &str, field: &str) -> Option<String> {
        self.fields.get(&(map.to_owned(), field.to_owned())).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_see_what_was_added_and_ask_the_store_once() {
        let mut memory = Memory::default();
        let mut ledger = Ledger::new(&memory);
        assert_eq!(ledger.counter("a"), None);
        ledger.increment("a", 2);
        ledger.increment("a", 3);
        ledger.add("s", "x");
        ledger.add("s", "x");
        ledger.put("m", "f", "one".to_owned());
        assert_eq!((ledger.counter("a"), ledger.members("s").len()), (Some(5), 1));
        assert_eq!(ledger.field("m", "f").as_deref(), Some("one"));
        assert_eq!(ledger.reads(), 2);
        let writes = ledger.into_writes();
        assert_eq!((writes.objects(), writes.bytes()), (3, (1 + 8) + (1 + 1 + 8) + (1 + 1 + 3 + 8)));
        memory.apply(writes);
        let mut ledger = Ledger::new(&memory);
        ledger.add("s", "x");
        assert_eq!((ledger.counter("a"), ledger.field("m", "f").as_deref()), (Some(5), Some("one")));
        assert_eq!(ledger.into_writes(), Writes::default(), "what is known costs nothing");
    }
}
