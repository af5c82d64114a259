//! One write of the log as bytes: a frame.
//!
//! Owns the bytes and nothing that happens to them. A frame is a header, a table of entries and the commits of each entry:
//!
//! ```text
//! header   check u32 · sum u64 · bytes of the table · bytes of the commits · index in the segment
//! entry    0, number, stream (44 bytes)  or  the number under which this segment has named a stream before
//!          · first · commits · bytes · sum u64
//! commits  for each its length and its bytes; a lone one without its length
//! ```
//!
//! The seals of commits are an entry of their own, of no commits: a version byte and CBOR in their place. They may be lost, for what
//! is held without them is only not given to others. A release that does not know them takes nothing from such an entry.
//!
//! The check, sums and the parts of a stream are little-endian, everything else is a varint: most frames hold one small commit.
//! The check covers the three numbers of the header, so that whoever looks for a frame among bytes that are none hashes a few of
//! them at each place, and not as many as whatever lies there seems to say. The sum of the header covers these numbers and the
//! table, the sum of an entry its stream and commits, so that damage costs only the entries that it hit, and an entry whose stream
//! was named in a frame that is damaged can still be told from the others. The check and all sums depend on the segment: what a
//! segment held before it was used again is no frame of it. The invariant: a frame is written and synced whole before the next
//! one is written. What segments of format 2 hold is read by [`super::frame_two`].

use std::collections::BTreeMap;

use selvedge_sync::codec;
use selvedge_sync::commit::{Batch, CommitBytes};
use selvedge_sync::id::{Incarnation, NodeId, ReplicaId, Scope, Stream};
use selvedge_sync::seal::Seal;
use xxhash_rust::xxh3::{Xxh3, xxh3_64_with_seed};

use super::frame_two;
use super::name::Shape;

/// Bytes of the check: among other bytes, one place in four thousand million passes it.
const CHECK_BYTES: usize = 4;

/// Bytes of a sum.
pub(super) const SUM_BYTES: usize = 8;

/// Fewest bytes of a header.
const HEADER_BYTES_MIN: usize = CHECK_BYTES + SUM_BYTES + 3;

/// Bytes of a stream that is spelled out.
pub(super) const STREAM_BYTES: usize = 44;

/// Stands before a stream that is spelled out; numbers count from 1.
const NAMED: u64 = 0;

/// The number of commits in an entry that holds seals.
const SEALS: u64 = 0;

/// Which segment a frame is in, mixed into every sum.
#[derive(Clone, Copy, Debug)]
pub(super) struct Salt {
    pub(super) shape: Shape,
    pub(super) seed: u64,
}

impl Salt {
    /// The salt of a segment.
    pub(super) fn of(shape: Shape, generation: u64, number: u64) -> Self {
        let mut text = match shape {
            Shape::Two => *b"selvedge log v2.................",
            Shape::Three => *b"selvedge log v3.................",
        };
        text[16..24].copy_from_slice(&generation.to_le_bytes());
        text[24..].copy_from_slice(&number.to_le_bytes());
        Self { shape, seed: xxh3_64_with_seed(&text, 0) }
    }
}

/// The streams that a segment has named so far, and under which number.
pub(super) type Known = BTreeMap<Stream, u64>;

/// Appends to `out` the frame that holds `batches`; without any it is the mark of a log that was closed in order.
pub(super) fn encode(out: &mut Vec<u8>, salt: Salt, index: u32, batches: &[&Batch], known: &mut Known) {
    let (mut table, mut commits) = (Vec::new(), Vec::new());
    for batch in batches.iter().filter(|batch| !batch.commits.is_empty()) {
        let begun = commits.len();
        for commit in &batch.commits {
            if batch.commits.len() > 1 {
                put_varint(&mut commits, commit.len() as u64);
            }
            commits.extend_from_slice(commit.as_bytes());
        }
        put_entry(&mut table, salt, batch, batch.commits.len() as u64, &commits[begun..], known);
        if !batch.seals.is_empty() {
            let begun = commits.len();
            commits.extend_from_slice(&codec::encode(&batch.seals));
            put_entry(&mut table, salt, batch, SEALS, &commits[begun..], known);
        }
    }
    let mut rest = Vec::with_capacity(16 + table.len());
    for number in [table.len() as u64, commits.len() as u64, u64::from(index)] {
        put_varint(&mut rest, number);
    }
    out.extend_from_slice(&check_of(&rest, salt));
    rest.extend_from_slice(&table);
    out.extend_from_slice(&hash(&rest, salt));
    out.extend_from_slice(&rest);
    out.extend_from_slice(&commits);
}

/// Writes an entry about the commits of `batch` into the table.
fn put_entry(table: &mut Vec<u8>, salt: Salt, batch: &Batch, count: u64, content: &[u8], known: &mut Known) {
    let stream = stream_bytes(&batch.stream);
    if let Some(number) = known.get(&batch.stream) {
        put_varint(table, *number);
    } else {
        let number = known.len() as u64 + 1;
        known.insert(batch.stream, number);
        put_varint(table, NAMED);
        put_varint(table, number);
        table.extend_from_slice(&stream);
    }
    put_varint(table, batch.first);
    put_varint(table, count);
    put_varint(table, content.len() as u64);
    table.extend_from_slice(&entry_sum(salt, &stream, batch.first, content).to_le_bytes());
}

/// The check of a header with these `numbers`.
pub(super) fn check_of(numbers: &[u8], salt: Salt) -> [u8; CHECK_BYTES] {
    let [check @ .., _, _, _, _] = hash(numbers, salt);
    check
}

fn hash(bytes: &[u8], salt: Salt) -> [u8; SUM_BYTES] {
    #[cfg(test)]
    HASHED.set(HASHED.get() + bytes.len() as u64);
    xxh3_64_with_seed(bytes, salt.seed).to_le_bytes()
}

#[cfg(test)]
thread_local! {
    /// How many bytes were hashed to find frames, but for what their entries hold.
    pub(super) static HASHED: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// A frame whose header and table are intact.
pub(super) struct Frame<'a> {
    /// Its place in the segment, from 0.
    pub(super) index: u32,
    /// Where the next one begins, or the gap before it.
    pub(super) end: usize,
    /// That of its segment.
    pub(super) salt: Salt,
    table: &'a [u8],
    commits: &'a [u8],
}

/// Where the parts of a frame lie, as its header says.
pub(super) struct Header {
    /// Where its sum lies.
    pub(super) sum: usize,
    /// Its own length.
    pub(super) bytes: usize,
    pub(super) table: usize,
    pub(super) commits: usize,
    pub(super) index: u32,
}

impl Header {
    fn read(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes.get(CHECK_BYTES + SUM_BYTES..)?;
        let (table, commits, index) = (varint(&mut rest)?, varint(&mut rest)?, varint(&mut rest)?);
        let (table, commits) = (usize::try_from(table).ok()?, usize::try_from(commits).ok()?);
        let (sum, bytes, index) = (CHECK_BYTES, bytes.len() - rest.len(), u32::try_from(index).ok()?);
        Some(Self { sum, bytes, table, commits, index })
    }

    /// Whether `frame`, which begins with this, can be one. Hashes the numbers only.
    fn is_likely(&self, frame: &[u8], salt: Salt) -> bool {
        match salt.shape {
            // Numbers of fixed length are seldom small enough to be taken for sizes.
            Shape::Two => true,
            Shape::Three => check_of(&frame[self.sum + SUM_BYTES..self.bytes], salt) == frame[..CHECK_BYTES],
        }
    }
}

/// The commits of one stream in a frame.
pub(super) struct Entry<'a> {
    /// Whose they are.
    pub(super) name: Name,
    /// The sequence number of the first.
    pub(super) first: u64,
    /// How many there are.
    pub(super) count: u64,
    pub(super) sum: u64,
    pub(super) salt: Salt,
    pub(super) content: &'a [u8],
}

/// How an entry says whose it is: by what its segment calls a stream, a number or (in format 2) its hash.
#[derive(Clone, Copy, Debug)]
pub(super) enum Name {
    /// Spelled out, and called so from here on.
    Spelled(Stream, u64),
    /// By what it was called before.
    Known(u64),
}

/// What stands at the beginning of `bytes`, if it has the form of a header.
pub(super) fn header(bytes: &[u8], shape: Shape) -> Option<Header> {
    match shape {
        Shape::Two => frame_two::header(bytes),
        Shape::Three => Header::read(bytes),
    }
}

/// The frame of the segment that begins at `at` and has at least the index `least`; `None` when there is none.
pub(super) fn parse(segment: &[u8], at: usize, salt: Salt, least: u32) -> Option<Frame<'_>> {
    let rest = segment.get(at..)?;
    let header = header(rest, salt.shape)?;
    // Every frame has a header, so a segment has no more of them than fit.
    if header.index < least || usize::try_from(header.index).ok()? > segment.len() / HEADER_BYTES_MIN {
        return None;
    }
    let table_end = header.bytes.checked_add(header.table)?;
    let end = table_end.checked_add(header.commits).filter(|end| *end <= rest.len())?;
    if !header.is_likely(rest, salt) {
        return None;
    }
    let (sum, summed) = rest[header.sum..table_end].split_at(SUM_BYTES);
    if hash(summed, salt) != sum {
        return None;
    }
    let (table, commits) = (&rest[header.bytes..table_end], &rest[table_end..end]);
    Some(Frame { index: header.index, end: at + end, salt, table, commits })
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
        while !table.is_empty() {
            let name = match self.salt.shape {
                Shape::Two => frame_two::name(&mut table)?,
                Shape::Three => name(&mut table)?,
            };
            let (first, count, bytes) = (varint(&mut table)?, varint(&mut table)?, varint(&mut table)?);
            let sum = u64::from_le_bytes(take(&mut table, 8)?.try_into().ok()?);
            let content = take(&mut commits, usize::try_from(bytes).ok()?)?;
            // Each of several commits takes a byte at least.
            if count > bytes.max(1) {
                return None;
            }
            entries.push(Entry { name, first, count, sum, salt: self.salt, content });
        }
        Some(entries)
    }
}

fn name(table: &mut &[u8]) -> Option<Name> {
    Some(match varint(table)? {
        NAMED => {
            let number = varint(table)?;
            Name::Spelled(parse_stream(take(table, STREAM_BYTES)?)?, number)
        }
        number => Name::Known(number),
    })
}

impl Entry<'_> {
    /// The commits, if the entry is intact and of `stream`.
    pub(super) fn commits(&self, stream: &Stream) -> Option<Vec<CommitBytes>> {
        if !self.holds_for(stream) {
            return None;
        }
        if self.is_seals() {
            return Some(Vec::new());
        }
        let mut content = self.content;
        if self.count == 1 && self.salt.shape == Shape::Three {
            return Some(vec![CommitBytes::from_bytes(content)]);
        }
        let mut commits = Vec::new();
        while !content.is_empty() {
            let length = usize::try_from(varint(&mut content)?).ok()?;
            commits.push(CommitBytes::from_bytes(take(&mut content, length)?));
        }
        (commits.len() as u64 == self.count).then_some(commits)
    }

    /// Whether it holds seals in place of commits.
    pub(super) fn is_seals(&self) -> bool {
        self.count == SEALS && self.salt.shape == Shape::Three
    }

    /// The seals, if the entry holds them, is intact and of `stream`.
    pub(super) fn seals(&self, stream: &Stream) -> Vec<Seal> {
        if self.is_seals() && self.holds_for(stream) {
            codec::decode(self.content, self.content.len()).unwrap_or_default()
        } else {
            Vec::new()
        }
    }

    /// Whether the entry is called `name` and can be of `stream`, where what named it cannot be read.
    pub(super) fn may_be_of(&self, name: u64, stream: &Stream) -> bool {
        match self.salt.shape {
            Shape::Two => frame_two::hash_of(stream) == name,
            Shape::Three => self.holds_for(stream),
        }
    }

    fn holds_for(&self, stream: &Stream) -> bool {
        entry_sum(self.salt, &stream_bytes(stream), self.first, self.content) == self.sum
    }
}

pub(super) fn entry_sum(salt: Salt, stream: &[u8; STREAM_BYTES], first: u64, content: &[u8]) -> u64 {
    let mut hasher = Xxh3::with_seed(salt.seed);
    hasher.update(stream);
    hasher.update(&first.to_le_bytes());
    hasher.update(content);
    hasher.digest()
}

pub(super) fn stream_bytes(stream: &Stream) -> [u8; STREAM_BYTES] {
    let mut bytes = [0; STREAM_BYTES];
    bytes[..4].copy_from_slice(&stream.scope.0.to_le_bytes());
    bytes[4..36].copy_from_slice(&stream.replica.node.0);
    bytes[36..].copy_from_slice(&stream.replica.incarnation.0.to_le_bytes());
    bytes
}

pub(super) fn parse_stream(bytes: &[u8]) -> Option<Stream> {
    let scope = Scope(u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?));
    let node = NodeId(bytes.get(4..36)?.try_into().ok()?);
    let incarnation = Incarnation(u64::from_le_bytes(bytes.get(36..44)?.try_into().ok()?));
    Some(Stream { scope, replica: ReplicaId { node, incarnation } })
}

pub(super) fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}

pub(super) fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
}

pub(super) fn varint(bytes: &mut &[u8]) -> Option<u64> {
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
