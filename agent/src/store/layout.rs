//! How rows look on disk: tables, keys, checksums and the format's version.
//!
//! Owns the bytes and nothing that happens to them. The invariant: a row that [`unseal`] accepts is what [`seal`] was given,
//! under the same table and key; a row that was damaged or has strayed is refused.

use redb::TableDefinition;
use selvedge_sync::id::{Incarnation, NodeId, ReplicaId, Scope, Stream};

/// The format that this release writes, and the newest that it reads.
pub(super) const FORMAT: u32 = 1;

/// Facts about the store itself, by name.
pub(super) const FACTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("facts");

/// Whatever other parts of the agent want to keep, by name.
pub(super) const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");

/// Encoded commits, by stream and sequence number.
pub(super) const LOG: TableDefinition<'_, &LogKey, &[u8]> = TableDefinition::new("log");

/// Encoded objects, by encoded key.
pub(super) const OBJECTS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("objects");

/// The name of the format's version among the facts: four bytes, little-endian, readable by every release.
pub(super) const FACT_FORMAT: &str = "format";

/// The name of the identity among the facts.
pub(super) const FACT_IDENTITY: &str = "identity";

/// The name of the checkpoint's version vector among the facts.
pub(super) const FACT_VECTOR: &str = "vector";
/// What objects show beyond the vector, while a repair is under way.
pub(super) const FACT_AHEAD: &str = "ahead";

/// Present among the facts from the moment our own stream is found damaged until there is a new identity, so that a crash
/// between the two does not forget it.
pub(super) const FACT_OWN_DAMAGED: &str = "own-damaged";

/// Scope, node, incarnation and sequence number, so that rows lie in order of stream, then of number.
pub(super) type LogKey = [u8; 52];

/// Bytes of the checksum before each row's content: enough against accidents, a third of a small commit's cost less.
const CHECKSUM_BYTES: usize = 16;

/// The key of a commit.
pub(super) fn log_key(stream: &Stream, seq: u64) -> LogKey {
    let mut key = [0; 52];
    key[..4].copy_from_slice(&stream.scope.0.to_be_bytes());
    key[4..36].copy_from_slice(&stream.replica.node.0);
    key[36..44].copy_from_slice(&stream.replica.incarnation.0.to_be_bytes());
    key[44..].copy_from_slice(&seq.to_be_bytes());
    key
}

/// The stream and the sequence number that a key stands for.
pub(super) fn parse_log_key(key: &LogKey) -> (Stream, u64) {
    let (mut scope, mut node, mut incarnation, mut seq) = ([0; 4], [0; 32], [0; 8], [0; 8]);
    scope.copy_from_slice(&key[..4]);
    node.copy_from_slice(&key[4..36]);
    incarnation.copy_from_slice(&key[36..44]);
    seq.copy_from_slice(&key[44..]);
    let replica = ReplicaId { node: NodeId(node), incarnation: Incarnation(u64::from_be_bytes(incarnation)) };
    (Stream { scope: Scope(u32::from_be_bytes(scope)), replica }, u64::from_be_bytes(seq))
}

/// The row for `content` in `table` under `key`.
pub(super) fn seal(table: &str, key: &[u8], content: &[u8]) -> Vec<u8> {
    let mut row = Vec::with_capacity(CHECKSUM_BYTES + content.len());
    row.extend_from_slice(&checksum(table, key, content));
    row.extend_from_slice(content);
    row
}

/// The content of a row; `None` when it is damaged or belongs elsewhere.
pub(super) fn unseal<'a>(table: &str, key: &[u8], row: &'a [u8]) -> Option<&'a [u8]> {
    let (sum, content) = row.split_at_checked(CHECKSUM_BYTES)?;
    (sum == checksum(table, key, content)).then_some(content)
}

fn checksum(table: &str, key: &[u8], content: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut hasher = blake3::Hasher::new_derive_key("selvedge store row v1");
    for part in [table.as_bytes(), key] {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.update(content);
    let mut sum = [0; CHECKSUM_BYTES];
    sum.copy_from_slice(&hasher.finalize().as_bytes()[..CHECKSUM_BYTES]);
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(node: u8, incarnation: u64) -> Stream {
        Stream::global(ReplicaId { node: NodeId([node; 32]), incarnation: Incarnation(incarnation) })
    }

    #[test]
    fn log_keys_order_as_streams_and_numbers_do() {
        let names = [(stream(1, 1), 1), (stream(1, 1), 256), (stream(1, 300), 2), (stream(2, 1), 1)];
        let keys: Vec<_> = names.iter().map(|(stream, seq)| log_key(stream, *seq)).collect();
        assert!(keys.is_sorted());
        assert!(names.is_sorted());
        assert!(keys.iter().map(parse_log_key).eq(names));
    }

    #[test]
    fn a_row_is_accepted_only_whole_and_in_its_place() {
        let row = seal("log", b"key", b"content");
        assert_eq!(unseal("log", b"key", &row), Some(&b"content"[..]));
        assert_eq!(unseal("log", b"other", &row), None);
        assert_eq!(unseal("objects", b"key", &row), None);
        assert_eq!(unseal("log", b"key", &row[..row.len() - 1]), None);
        assert_eq!(unseal("log", b"key", &[]), None);
        for at in 0..row.len() {
            let mut damaged = row.clone();
            damaged[at] ^= 1;
            assert_eq!(unseal("log", b"key", &damaged), None, "byte {at}");
        }
    }
}
