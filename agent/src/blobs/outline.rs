//! The outline of a blob: the hashes of its chunks, from which its digest follows.
//!
//! Pure. BLAKE3 is a tree (O'Connor, Aumasson, Neves and Wilcox-O'Hearn, 2020): the digest of a blob is made from the chaining
//! values of its subtrees, here one for each mebibyte. Whoever has the digest can check an outline, and whoever has the outline can
//! check each chunk on its own, whoever it came from. The invariant: an [`Outline`] that exists leads to its digest.
//!
//! An outline that was made up can still lead to the digest, by giving the values of larger subtrees for those of chunks; no
//! chunk then fits it. So a chunk that does not fit shows that its giver lies only if the giver gave the outline as well.

use blake3::Hasher;
use blake3::hazmat::{ChainingValue, HasherExt, Mode, left_subtree_len, merge_subtrees_non_root, merge_subtrees_root};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::spec::Digest;

/// Bytes of a chunk, but for the last one, which may have fewer: half a frame of the artefact lane, so that its envelope always
/// fits. A power of two, as subtrees want it.
pub const CHUNK_BYTES: usize = 1024 * 1024;

/// The hashes of a blob's chunks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outline {
    digest: Digest,
    /// Empty for a blob of a single chunk: its digest is that chunk's hash.
    values: Vec<ChainingValue>,
}

/// An outline on its way between members: nobody has checked it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claimed {
    #[serde(with = "serde_bytes")]
    values: Vec<u8>,
}

impl Outline {
    /// The outline of these bytes. Hashes them: a gigabyte or two per second.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let values = match bytes.len() {
            0..=CHUNK_BYTES => Vec::new(),
            _ => bytes.chunks(CHUNK_BYTES).enumerate().map(|(index, chunk)| chaining_value(index, chunk)).collect(),
        };
        Self { digest: root(&values).unwrap_or_else(|| Digest::of(bytes)), values }
    }

    /// The outline of a blob whose chunks `read` gives one after the other until one is not full, and its length. `None` when one cannot
    /// be had. Keeps no more than two of them in memory, and reads no more than `chunks_max`.
    pub fn read(chunks_max: usize, mut read: impl FnMut(usize) -> Option<Bytes>) -> Option<(Self, u64)> {
        let first = read(0)?;
        let (mut values, mut length) = (Vec::new(), first.len() as u64);
        let mut is_full = first.len() == CHUNK_BYTES;
        while is_full && values.len().max(1) < chunks_max {
            let index = values.len().max(1);
            let chunk = read(index)?;
            if chunk.is_empty() {
                break;
            }
            if values.is_empty() {
                values.push(chaining_value(0, &first));
            }
            values.push(chaining_value(index, &chunk));
            (length, is_full) = (length + chunk.len() as u64, chunk.len() == CHUNK_BYTES);
        }
        Some((Self { digest: root(&values).unwrap_or_else(|| Digest::of(&first)), values }, length))
    }

    /// Checks an outline of a blob of at most `bytes_max`; `None` when it does not lead to this digest.
    #[must_use]
    pub fn check(claimed: &Claimed, digest: Digest, bytes_max: usize) -> Option<Self> {
        let (values, rest) = claimed.values.as_chunks::<{ blake3::OUT_LEN }>();
        let is_whole = rest.is_empty() && values.len() != 1 && values.len() <= bytes_max.div_ceil(CHUNK_BYTES);
        let leads_there = root(values).is_none_or(|root| root == digest);
        (is_whole && leads_there).then(|| Self { digest, values: values.to_vec() })
    }

    /// The outline as it travels.
    #[must_use]
    pub fn claimed(&self) -> Claimed {
        Claimed { values: self.values.concat() }
    }

    /// The digest of the whole.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// How many chunks there are, from 1.
    #[must_use]
    pub fn chunks(&self) -> usize {
        self.values.len().max(1)
    }

    /// Bytes of memory that it takes.
    #[must_use]
    pub const fn size(&self) -> usize {
        size_of::<Self>() + self.values.len() * blake3::OUT_LEN
    }

    /// Whether these are the bytes of a chunk. Only the last one may be shorter than the others: an outline that was made up can give
    /// the value of one that is, and what is put together from such chunks is not what the outline leads to.
    #[must_use]
    pub fn fits(&self, index: usize, chunk: &[u8]) -> bool {
        let is_last = index + 1 == self.chunks();
        if chunk.len() > CHUNK_BYTES || (chunk.len() < CHUNK_BYTES && !is_last) {
            return false;
        }
        match self.values.get(index) {
            Some(value) => !chunk.is_empty() && chaining_value(index, chunk) == *value,
            None => self.values.is_empty() && index == 0 && Digest::of(chunk) == self.digest,
        }
    }
}

fn chaining_value(index: usize, chunk: &[u8]) -> ChainingValue {
    Hasher::new().set_input_offset((index * CHUNK_BYTES) as u64).update(chunk).finalize_non_root()
}

/// The digest that two or more values lead to.
fn root(values: &[ChainingValue]) -> Option<Digest> {
    let (left, right) = split(values)?;
    Some(Digest(*merge_subtrees_root(&inner(left), &inner(right), Mode::Hash).as_bytes()))
}

fn inner(values: &[ChainingValue]) -> ChainingValue {
    match split(values) {
        Some((left, right)) => merge_subtrees_non_root(&inner(left), &inner(right), Mode::Hash),
        None => values[0],
    }
}

/// The left subtree is the largest that is full and leaves something on the right. Chunks count for what they are in bytes, the
/// last for a whole one: that changes no split.
fn split(values: &[ChainingValue]) -> Option<(&[ChainingValue], &[ChainingValue])> {
    if values.len() < 2 {
        return None;
    }
    let left = left_subtree_len((values.len() * CHUNK_BYTES) as u64) / CHUNK_BYTES as u64;
    values.split_at_checked(usize::try_from(left).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 8 * CHUNK_BYTES;

    fn bytes(length: usize) -> Vec<u8> {
        (0..length).map(|at| u8::try_from(at * 31 % 251).unwrap()).collect()
    }

    #[test]
    fn an_outline_leads_to_the_digest_whatever_the_size() {
        for length in [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES, 5 * CHUNK_BYTES + 17, MAX]
        {
            let bytes = bytes(length);
            let outline = Outline::of(&bytes);
            assert_eq!(outline.digest(), Digest::of(&bytes), "{length}");
            assert_eq!(Outline::check(&outline.claimed(), Digest::of(&bytes), MAX), Some(outline.clone()), "{length}");
            let whole = Bytes::from(bytes.clone());
            let part =
                |index: usize| whole.slice((index * CHUNK_BYTES).min(length)..((index + 1) * CHUNK_BYTES).min(length));
            let read = Outline::read(MAX / CHUNK_BYTES, |index| Some(part(index)));
            assert_eq!(read, Some((outline.clone(), length as u64)), "{length}");
            assert_eq!(Outline::read(9, |index| (index + 1 < outline.chunks()).then(|| part(index))), None, "{length}");
            assert_eq!(outline.chunks(), length.div_ceil(CHUNK_BYTES).max(1));
            let chunks: Vec<_> = if bytes.is_empty() { vec![&bytes[..]] } else { bytes.chunks(CHUNK_BYTES).collect() };
            for (index, chunk) in chunks.iter().enumerate() {
                assert!(outline.fits(index, chunk), "{length}, chunk {index}");
                let mut other = chunk.to_vec();
                other.push(0);
                assert!(!outline.fits(index, &other) && !outline.fits(index + 1, chunk), "{length}, chunk {index}");
                assert!(other.len() < 2 || !outline.fits(index, &other[..other.len() - 2]), "{length}, chunk {index}");
            }
        }
    }

    #[test]
    fn what_does_not_lead_to_the_digest_is_no_outline() {
        let bytes = bytes(3 * CHUNK_BYTES);
        let outline = Outline::of(&bytes);
        let check = |values: Vec<u8>, max| Outline::check(&Claimed { values }, Digest::of(&bytes), max).is_some();
        let good = outline.claimed().values;
        assert!(check(good.clone(), MAX));
        assert!(!check(good.clone(), 2 * CHUNK_BYTES), "larger than it may be");
        assert!(!check(good[..64].to_vec(), MAX), "a chunk less");
        assert!(!check(good[..32].to_vec(), MAX), "a single value says nothing that the digest does not");
        assert!(!check(good[1..].to_vec(), MAX), "no whole number of values");
        let mut turned = good[32..].to_vec();
        turned.extend_from_slice(&good[..32]);
        assert!(!check(turned, MAX));
    }

    #[test]
    fn a_chunk_that_is_not_full_fits_at_the_end_only() {
        let (short, end) = (bytes(CHUNK_BYTES - 1), bytes(5));
        let values = [chaining_value(0, &short), chaining_value(1, &end)];
        let claimed = Claimed { values: values.concat() };
        let made_up = Outline::check(&claimed, root(&values).unwrap(), MAX).unwrap();
        assert!(!made_up.fits(0, &short) && made_up.fits(1, &end));
    }

    #[test]
    fn values_of_larger_subtrees_pass_and_no_chunk_fits_them() {
        let bytes = bytes(4 * CHUNK_BYTES);
        let values = Outline::of(&bytes).values;
        let claimed = Claimed { values: [inner(&values[..2]), inner(&values[2..])].concat() };
        let made_up = Outline::check(&claimed, Digest::of(&bytes), MAX).unwrap();
        assert!(bytes.chunks(CHUNK_BYTES).enumerate().all(|(index, chunk)| !made_up.fits(index, chunk)));
    }
}
