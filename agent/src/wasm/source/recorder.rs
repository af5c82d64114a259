//! Keeps what the state answers to a call.
//!
//! The invariants: it answers as the state does; it keeps at most so many reads and bytes, and says when there were more.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use selvedge_sync::draft::ReadState;
use selvedge_sync::key::Key;
use selvedge_sync::scalar::Scalar;

use crate::spec::Digest;
use crate::wasm::assets::AssetView;
use crate::wasm::instance::Base;
use crate::wasm::recording::{Plain, Read};

/// What all values that were read may take together, in bytes: with arguments and result, a recording still fits into one
/// message between members. A call that reads more is not recorded, and does not happen.
pub(in crate::wasm) const READ_BYTES_MAX: usize = 1024 * 1024;
/// What a read takes beside texts and byte strings, about, in bytes. It bounds their number, too.
const READ_BYTES: usize = 32;
/// The same for one value of several.
const VALUE_BYTES: usize = 8;

/// Reads the state, and remembers.
pub(in crate::wasm) struct Recorder {
    base: &'static Base,
    assets: Arc<dyn AssetView>,
    tape: RefCell<Tape>,
}

#[derive(Default)]
struct Tape {
    reads: Vec<Read>,
    bytes: usize,
}

impl Recorder {
    pub(in crate::wasm) fn new(base: &'static Base, assets: Arc<dyn AssetView>) -> Self {
        Self { base, assets, tape: RefCell::default() }
    }

    pub(super) fn asset_size(&self, digest: &Digest) -> Option<u64> {
        let value = self.assets.size(digest);
        self.keep(0, || Read::Asset { digest: *digest, value });
        value
    }

    /// All reads so far; `None` when there were too many to keep.
    pub(in crate::wasm) fn take(&mut self) -> Option<Vec<Read>> {
        let tape = std::mem::take(self.tape.get_mut());
        (tape.bytes <= READ_BYTES_MAX).then_some(tape.reads)
    }

    fn keep_of(&self, key: &Key, bytes: usize, read: impl FnOnce(Key) -> Read) {
        self.keep(key.name().len() + bytes, || read(key.clone()));
    }

    fn keep(&self, bytes: usize, read: impl FnOnce() -> Read) {
        let mut tape = self.tape.borrow_mut();
        tape.bytes = tape.bytes.saturating_add(READ_BYTES + bytes);
        if tape.bytes <= READ_BYTES_MAX {
            tape.reads.push(read());
        }
    }
}

impl ReadState for Recorder {
    fn counter(&self, key: &Key) -> Option<i128> {
        let value = self.base.counter(key);
        self.keep_of(key, 0, |key| Read::Counter { key, value });
        value
    }

    fn own_totals(&self, key: &Key) -> (u64, u64) {
        let value = self.base.own_totals(key);
        self.keep_of(key, 0, |key| Read::OwnTotals { key, value });
        value
    }

    fn contains(&self, key: &Key, member: &Scalar) -> bool {
        let value = self.base.contains(key, member);
        self.keep_of(key, member.weight(), |key| Read::Contains { key, member: Plain(member.clone()), value });
        value
    }

    fn members(&self, key: &Key) -> Option<Vec<Scalar>> {
        let value = self.base.members(key);
        let bytes = value.iter().flatten().map(|member| VALUE_BYTES + member.weight()).sum();
        let plain = || value.clone().map(|members| members.into_iter().map(Plain).collect());
        self.keep_of(key, bytes, |key| Read::Members { key, value: plain() });
        value
    }

    fn field(&self, key: &Key, field: &str) -> Option<Scalar> {
        let value = self.base.field(key, field);
        let bytes = field.len() + value.as_ref().map_or(0, Scalar::weight);
        let plain = || value.clone().map(Plain);
        self.keep_of(key, bytes, |key| Read::Field { key, field: field.to_owned(), value: plain() });
        value
    }

    fn fields(&self, key: &Key) -> Option<BTreeMap<String, Scalar>> {
        let value = self.base.fields(key);
        let bytes = value.iter().flatten().map(|(field, value)| VALUE_BYTES + field.len() + value.weight()).sum();
        let plain =
            || value.clone().map(|fields| fields.into_iter().map(|(field, value)| (field, Plain(value))).collect());
        self.keep_of(key, bytes, |key| Read::Fields { key, value: plain() });
        value
    }
}
