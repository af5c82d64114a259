//! One write of the log as bytes: a frame.
//!
//! Owns the bytes and nothing that happens to them. A frame is a header, a table of entries and the commits of each entry:
//!
//! ```text
//! header   sum u64 · length of what follows u32 · length of the table u32 · index in the segment u32
//! entry    1, stream (44 bytes)  or  0, hash of a stream that this segment has named (8 bytes)
//!          · first · commits · bytes (varints) · sum u64
//! commits  for each its length (varint) and its bytes
//! ```
//!
//! All integers are little-endian. The sum of the header covers the table, the sum of an entry its stream and commits, so that
//! damage costs only the entries that it hit. All sums depend on the segment: what a segment held before it was used again is
//! no frame of it. The invariant: a frame is written and synced whole before the next one is written.

use std::collections::BTreeMap;
use std::io;

use selvedge_sync::commit::{Batch, CommitBytes};
use selvedge_sync::id::{Incarnation, NodeId, ReplicaId, Scope, Stream};
use xxhash_rust::xxh3::{Xxh3, xxh3_64_with_seed};

/// Bytes of a header.
const HEADER_BYTES: usize = 20;

/// Bytes of a stream that is spelled out.
const STREAM_BYTES: usize = 44;

const KNOWN: u8 = 0;
const NAMED: u8 = 1;

/// Which segment a frame is in, mixed into every sum.
#[derive(Clone, Copy, Debug)]
pub(super) struct Salt(u64);

impl Salt {
    /// The salt of a segment of the log's format 2.
    pub(super) fn of(generation: u64, number: u64) -> Self {
        let mut text = *b"selvedge log v2.................";
        text[16..24].copy_from_slice(&generation.to_le_bytes());
        text[24..].copy_from_slice(&number.to_le_bytes());
        Self(xxh3_64_with_seed(&text, 0))
    }
}

/// The streams that a segment has named so far, by hash.
pub(super) type Known = BTreeMap<u64, Stream>;

/// Appends to `out` the frame that holds `batches`; without any it is the mark of a log that was closed in order.
///
/// # Errors
/// The batches are larger than a frame can be.
pub(super) fn encode(
    out: &mut Vec<u8>,
    salt: Salt,
    index: u32,
    batches: &[&Batch],
    known: &mut Known,
) -> io::Result<()> {
    let (mut table, mut commits) = (Vec::new(), Vec::new());
    for batch in batches.iter().filter(|batch| !batch.commits.is_empty()) {
        let begun = commits.len();
        for commit in &batch.commits {
            put_varint(&mut commits, commit.len() as u64);
            commits.extend_from_slice(commit.as_bytes());
        }
        let content = &commits[begun..];
        let stream = stream_bytes(&batch.stream);
        let hash = hash_of(&stream);
        if known.get(&hash) == Some(&batch.stream) {
            table.push(KNOWN);
            table.extend_from_slice(&hash.to_le_bytes());
        } else {
            // Of two streams with one hash, only the first is ever referred to by it.
            known.entry(hash).or_insert(batch.stream);
            table.push(NAMED);
            table.extend_from_slice(&stream);
        }
        put_varint(&mut table, batch.first);
        put_varint(&mut table, batch.commits.len() as u64);
        put_varint(&mut table, content.len() as u64);
        table.extend_from_slice(&entry_sum(salt, &stream, batch.first, content).to_le_bytes());
    }
    let too_large = |_| io::Error::other("a frame of more than four gigabytes");
    let length = u32::try_from(table.len() + commits.len()).map_err(too_large)?;
    let table_length = u32::try_from(table.len()).map_err(too_large)?;
    let mut rest = Vec::with_capacity(12 + table.len());
    for number in [length, table_length, index] {
        rest.extend_from_slice(&number.to_le_bytes());
    }
    rest.extend_from_slice(&table);
    out.extend_from_slice(&xxh3_64_with_seed(&rest, salt.0).to_le_bytes());
    out.extend_from_slice(&rest);
    out.extend_from_slice(&commits);
    Ok(())
}

/// A frame whose header and table are intact.
pub(super) struct Frame<'a> {
    /// Its place in the segment, from 0.
    pub(super) index: u32,
    /// Where the next one begins.
    pub(super) end: usize,
    /// That of its segment.
    pub(super) salt: Salt,
    table: &'a [u8],
    commits: &'a [u8],
}

/// The commits of one stream in a frame.
pub(super) struct Entry<'a> {
    /// Whose they are; the hash, where the frame does not spell it out.
    pub(super) stream: Result<Stream, u64>,
    /// The sequence number of the first.
    pub(super) first: u64,
    /// How many there are.
    pub(super) count: u64,
    sum: u64,
    salt: Salt,
    content: &'a [u8],
}

/// The frame of the segment that begins at `at` and has at least the index `least`; `None` when there is none.
pub(super) fn parse(segment: &[u8], at: usize, salt: Salt, least: u32) -> Option<Frame<'_>> {
    let rest = segment.get(at..)?;
    let (header, body) = rest.split_at_checked(HEADER_BYTES)?;
    let (sum, numbers) = header.split_at(8);
    let number = |at: usize| Some(u32::from_le_bytes(numbers.get(at..at + 4)?.try_into().ok()?));
    let (length, table, index) = (size(number(0)?)?, size(number(4)?)?, number(8)?);
    // Every frame has a header, so a segment has no more of them than fit.
    let possible = length <= body.len() && table <= length && index >= least;
    if !possible || size(index)? > segment.len() / HEADER_BYTES {
        return None;
    }
    let covered = rest.get(8..HEADER_BYTES + table)?;
    if xxh3_64_with_seed(covered, salt.0).to_le_bytes() != *sum {
        return None;
    }
    let (table, commits) = body[..length].split_at(table);
    Some(Frame { index, end: at + HEADER_BYTES + length, salt, table, commits })
}

impl<'a> Frame<'a> {
    /// Whether this marks a log that was closed in order.
    pub(super) const fn is_end(&self) -> bool {
        self.table.is_empty()
    }

    /// The entries; `None` when the table is not what [`encode`] makes, though its sum holds.
    pub(super) fn entries(&self) -> Option<Vec<Entry<'a>>> {
        let (mut table, mut commits) = (self.table, self.commits);
        let mut entries = Vec::new();
        while let Some((tag, rest)) = table.split_first() {
            table = rest;
            let stream = match *tag {
                KNOWN => Err(u64::from_le_bytes(take(&mut table, 8)?.try_into().ok()?)),
                NAMED => Ok(parse_stream(take(&mut table, STREAM_BYTES)?)?),
                _ => return None,
            };
            let (first, count, bytes) = (varint(&mut table)?, varint(&mut table)?, varint(&mut table)?);
            let sum = u64::from_le_bytes(take(&mut table, 8)?.try_into().ok()?);
            let content = take(&mut commits, usize::try_from(bytes).ok()?)?;
            // Each commit takes a byte at least.
            if count > bytes {
                return None;
            }
            entries.push(Entry { stream, first, count, sum, salt: self.salt, content });
        }
        Some(entries)
    }
}

impl Entry<'_> {
    /// The commits, if the entry is intact and of `stream`.
    pub(super) fn commits(&self, stream: &Stream) -> Option<Vec<CommitBytes>> {
        if entry_sum(self.salt, &stream_bytes(stream), self.first, self.content) != self.sum {
            return None;
        }
        let mut content = self.content;
        let mut commits = Vec::new();
        while !content.is_empty() {
            let length = usize::try_from(varint(&mut content)?).ok()?;
            commits.push(CommitBytes::from_bytes(take(&mut content, length)?));
        }
        (commits.len() as u64 == self.count).then_some(commits)
    }
}

/// The hash that a frame refers to a stream by.
pub(super) fn hash_of_stream(stream: &Stream) -> u64 {
    hash_of(&stream_bytes(stream))
}

fn hash_of(stream: &[u8; STREAM_BYTES]) -> u64 {
    xxh3_64_with_seed(stream, 0)
}

fn entry_sum(salt: Salt, stream: &[u8; STREAM_BYTES], first: u64, content: &[u8]) -> u64 {
    let mut hasher = Xxh3::with_seed(salt.0);
    hasher.update(stream);
    hasher.update(&first.to_le_bytes());
    hasher.update(content);
    hasher.digest()
}

fn stream_bytes(stream: &Stream) -> [u8; STREAM_BYTES] {
    let mut bytes = [0; STREAM_BYTES];
    bytes[..4].copy_from_slice(&stream.scope.0.to_le_bytes());
    bytes[4..36].copy_from_slice(&stream.replica.node.0);
    bytes[36..].copy_from_slice(&stream.replica.incarnation.0.to_le_bytes());
    bytes
}

fn parse_stream(bytes: &[u8]) -> Option<Stream> {
    let scope = Scope(u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?));
    let node = NodeId(bytes.get(4..36)?.try_into().ok()?);
    let incarnation = Incarnation(u64::from_le_bytes(bytes.get(36..44)?.try_into().ok()?));
    Some(Stream { scope, replica: ReplicaId { node, incarnation } })
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}

fn size(number: u32) -> Option<usize> {
    usize::try_from(number).ok()
}

fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}
