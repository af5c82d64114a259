//! Whose series there are, so that those go whose owners are gone.
//!
//! Scrapes come at the same time and each brings the figures up to date. Owns the names of the last time; touches no figure itself. The
//! invariant: who was told of before and still is there is in every scrape between, which clearing and filling anew would not keep.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// The names that the series of some families have.
#[derive(Debug)]
pub(super) struct Told<K>(Mutex<BTreeSet<K>>);

impl<K> Default for Told<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Ord> Told<K> {
    /// Has `fill` tell of all that there are `now`, and `forget` called for each that there was the last time and is no more. One caller at
    /// a time; whoever reads the figures waits for none of them.
    pub(super) fn renew(&self, now: BTreeSet<K>, fill: impl FnOnce(), forget: impl Fn(&K)) {
        let mut before = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        fill();
        before.difference(&now).for_each(forget);
        *before = now;
    }
}
