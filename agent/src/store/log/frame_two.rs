//! Frames of the log's format 2, which is read and not written any more.
//!
//! Owns what differs from [`super::frame`]: headers of fixed length, entries that call a stream by its hash, and a length before
//! each commit. The invariant: what a release that wrote it called intact is intact.
//!
//! ```text
//! header   sum u64 · length of what follows u32 · length of the table u32 · index in the segment u32
//! entry    1, stream (44 bytes)  or  0, hash of a stream that this segment has named (8 bytes)
//!          · first · commits · bytes (varints) · sum u64
//! commits  for each its length (varint) and its bytes
//! ```

use selvedge_sync::id::Stream;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::frame::{Header, Name, STREAM_BYTES, parse_stream, stream_bytes, take};

const HEADER_BYTES: usize = 20;

const KNOWN: u8 = 0;
const NAMED: u8 = 1;

/// The header at the beginning of `bytes`.
pub(super) fn header(bytes: &[u8]) -> Option<Header> {
    let number = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let size = |at: usize| usize::try_from(number(at)?).ok();
    let (length, table, index) = (size(8)?, size(12)?, number(16)?);
    Some(Header { sum: 0, bytes: HEADER_BYTES, table, commits: length.checked_sub(table)?, index })
}

/// Whose the entry is at whose beginning `table` stands.
pub(super) fn name(table: &mut &[u8]) -> Option<Name> {
    match *take(table, 1)? {
        [KNOWN] => Some(Name::Known(u64::from_le_bytes(take(table, 8)?.try_into().ok()?))),
        [NAMED] => {
            let stream = parse_stream(take(table, STREAM_BYTES)?)?;
            Some(Name::Spelled(stream, hash_of(&stream)))
        }
        _ => None,
    }
}

/// What an entry calls a stream.
pub(super) fn hash_of(stream: &Stream) -> u64 {
    xxh3_64_with_seed(&stream_bytes(stream), 0)
}

/// A frame as it was written, for tests. `known` holds the streams that the segment has named.
#[cfg(test)]
pub(super) fn encode(
    salt: super::frame::Salt,
    index: u32,
    batches: &[selvedge_sync::commit::Batch],
    known: &mut std::collections::BTreeSet<Stream>,
) -> Vec<u8> {
    use super::frame::{entry_sum, put_varint};
    let (mut table, mut commits) = (Vec::new(), Vec::new());
    for batch in batches {
        let begun = commits.len();
        for commit in &batch.commits {
            put_varint(&mut commits, commit.len() as u64);
            commits.extend_from_slice(commit.as_bytes());
        }
        let stream = stream_bytes(&batch.stream);
        if known.insert(batch.stream) {
            table.push(NAMED);
            table.extend_from_slice(&stream);
        } else {
            table.push(KNOWN);
            table.extend_from_slice(&hash_of(&batch.stream).to_le_bytes());
        }
        for number in [batch.first, batch.commits.len() as u64, (commits.len() - begun) as u64] {
            put_varint(&mut table, number);
        }
        table.extend_from_slice(&entry_sum(salt, &stream, batch.first, &commits[begun..]).to_le_bytes());
    }
    let mut rest = Vec::new();
    for length in [table.len() + commits.len(), table.len()] {
        rest.extend_from_slice(&u32::try_from(length).expect("a small frame").to_le_bytes());
    }
    rest.extend_from_slice(&index.to_le_bytes());
    rest.extend_from_slice(&table);
    [xxh3_64_with_seed(&rest, salt.seed).to_le_bytes().as_slice(), &rest, &commits].concat()
}
