//! What lies in a folder, in the order in which it was used.
//!
//! Pure bookkeeping; touches no disk. The invariant: `bytes` is the sum of what is listed.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::spec::Digest;

/// Sizes and order of use of the blobs in a folder.
#[derive(Debug, Default)]
pub(super) struct Uses {
    blobs: BTreeMap<Digest, Use>,
    /// By when it was used, the eldest first.
    order: BTreeMap<u64, Digest>,
    bytes: u64,
    /// Counts uses.
    clock: u64,
}

#[derive(Clone, Copy, Debug)]
struct Use {
    bytes: u64,
    at: u64,
}

impl Uses {
    /// Notes that a blob is here and was used now.
    pub(super) fn note(&mut self, digest: Digest, bytes: u64) {
        self.forget(&digest);
        self.clock += 1;
        self.blobs.insert(digest, Use { bytes, at: self.clock });
        self.order.insert(self.clock, digest);
        self.bytes += bytes;
    }

    /// Notes that a blob that is here was used now.
    pub(super) fn touch(&mut self, digest: &Digest) {
        if let Some(bytes) = self.size(digest) {
            self.note(*digest, bytes);
        }
    }

    /// Notes that a blob is gone; tells whether it was here.
    pub(super) fn forget(&mut self, digest: &Digest) -> bool {
        let Some(known) = self.blobs.remove(digest) else { return false };
        self.order.remove(&known.at);
        self.bytes -= known.bytes;
        true
    }

    /// A blob's size, if it is here.
    pub(super) fn size(&self, digest: &Digest) -> Option<u64> {
        self.blobs.get(digest).map(|known| known.bytes)
    }

    /// Blobs and their sizes in order of digest, those after one.
    pub(super) fn after(&self, digest: Option<Digest>) -> impl Iterator<Item = (Digest, u64)> {
        let beyond = (digest.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
        self.blobs.range(beyond).map(|(digest, known)| (*digest, known.bytes))
    }

    /// The blob that was not used for the longest time.
    pub(super) fn eldest(&self) -> Option<Digest> {
        self.order.values().next().copied()
    }

    /// Bytes of all together.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_eldest_is_what_was_not_used_for_longest_and_bytes_add_up() {
        let [a, b, c] = [b"a", b"b", b"c"].map(|bytes| Digest::of(bytes));
        let mut uses = Uses::default();
        [(a, 1), (b, 10), (c, 100)].into_iter().for_each(|(digest, bytes)| uses.note(digest, bytes));
        assert_eq!((uses.eldest(), uses.bytes()), (Some(a), 111));
        uses.touch(&a);
        assert_eq!(uses.eldest(), Some(b));
        uses.note(b, 20);
        assert_eq!((uses.eldest(), uses.bytes(), uses.size(&b)), (Some(c), 121, Some(20)));
        assert!(uses.forget(&c) && !uses.forget(&c));
        uses.touch(&c);
        assert_eq!((uses.eldest(), uses.bytes(), uses.size(&c)), (Some(a), 21, None));
    }
}
