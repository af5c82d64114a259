//! Answers the reads of a call as a recording says.
//!
//! The invariant: it answers only what was recorded, in its order. From the first read on that the recording does not have,
//! everything is as if nobody had written it, and that read is remembered.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};

use selvedge_sync::draft::ReadState;
use selvedge_sync::key::Key;
use selvedge_sync::scalar::Scalar;

use crate::spec::Digest;
use crate::wasm::recording::{Plain, Read};

/// Reads that are played back.
pub(in crate::wasm) struct Playback {
    tape: RefCell<Tape>,
}

struct Tape {
    left: VecDeque<Read>,
    played: usize,
    stray: Option<String>,
}

impl Playback {
    pub(in crate::wasm) fn new(reads: Vec<Read>) -> Self {
        Self { tape: RefCell::new(Tape { left: reads.into(), played: 0, stray: None }) }
    }

    /// How the reads so far differ from those that were recorded, in a sentence.
    pub(in crate::wasm) fn difference(&mut self) -> Option<String> {
        let tape = self.tape.get_mut();
        let unread = || {
            let next = tape.left.front()?;
            Some(format!("read {} was recorded of {next}; now there are no more", tape.played + 1))
        };
        tape.stray.clone().or_else(unread)
    }

    pub(super) fn asset_size(&self, digest: &Digest) -> Option<u64> {
        let answer = |read: &Read| {
            let Read::Asset { digest: own, value } = read else { return None };
            (own == digest).then_some(*value)
        };
        self.next(|| format!("the asset {digest}"), answer).flatten()
    }

    /// The answer to the next read, if `answer` finds that it is the one that was recorded.
    fn next<T>(&self, asked: impl FnOnce() -> String, answer: impl FnOnce(&Read) -> Option<T>) -> Option<T> {
        let mut tape = self.tape.borrow_mut();
        if tape.stray.is_some() {
            return None;
        }
        let read = tape.left.pop_front();
        tape.played += 1;
        let found = read.as_ref().and_then(answer);
        if found.is_none() {
            let recorded = read.map_or_else(|| "there were no more".to_owned(), |read| format!("it was of {read}"));
            tape.stray = Some(format!("read {} is of {} now; when recorded, {recorded}", tape.played, asked()));
        }
        found
    }
}

impl ReadState for Playback {
    fn counter(&self, key: &Key) -> Option<i128> {
        let answer = |read: &Read| {
            let Read::Counter { key: own, value } = read else { return None };
            (own == key).then_some(*value)
        };
        self.next(|| format!("the counter {key}"), answer).flatten()
    }

    fn own_totals(&self, key: &Key) -> (u64, u64) {
        let answer = |read: &Read| {
            let Read::OwnTotals { key: own, value } = read else { return None };
            (own == key).then_some(*value)
        };
        self.next(|| format!("this host's share of {key}"), answer).unwrap_or_default()
    }

    fn contains(&self, key: &Key, wanted: &Scalar) -> bool {
        let answer = |read: &Read| {
            let Read::Contains { key: own, member: Plain(member), value } = read else { return None };
            (own == key && member == wanted).then_some(*value)
        };
        self.next(|| format!("a member of {key}"), answer).unwrap_or_default()
    }

    fn members(&self, key: &Key) -> Option<Vec<Scalar>> {
        let answer = |read: &Read| {
            let Read::Members { key: own, value } = read else { return None };
            (own == key).then(|| value.clone())
        };
        let members = self.next(|| format!("the members of {key}"), answer).flatten()?;
        Some(members.into_iter().map(|Plain(member)| member).collect())
    }

    fn field(&self, key: &Key, wanted: &str) -> Option<Scalar> {
        let answer = |read: &Read| {
            let Read::Field { key: own, field, value } = read else { return None };
            (own == key && field == wanted).then(|| value.clone())
        };
        self.next(|| format!("a field of {key}"), answer).flatten().map(|Plain(value)| value)
    }

    fn fields(&self, key: &Key) -> Option<BTreeMap<String, Scalar>> {
        let answer = |read: &Read| {
            let Read::Fields { key: own, value } = read else { return None };
            (own == key).then(|| value.clone())
        };
        let fields = self.next(|| format!("the fields of {key}"), answer).flatten()?;
        Some(fields.into_iter().map(|(field, Plain(value))| (field, value)).collect())
    }
}
