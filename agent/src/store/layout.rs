//! How rows of the database look: tables, keys, checksums and the format's version.
//!
//! Owns the bytes and nothing that happens to them. The invariant: a row that [`unseal`] accepts is what [`seal`] was given,
//! under the same table and key; a row that was damaged or has strayed is refused. The checksum is made against accidents and
//! for speed (xxh3, 128 bits): whoever can write into the data directory can do as he likes anyway.

use redb::TableDefinition;
use selvedge_sync::codec::DecodeError;
use selvedge_sync::crdt::ObjectState;
use selvedge_sync::id::Stream;
use selvedge_sync::key::{Key, Kind};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128_with_seed};

/// The format that this release writes, and the newest that it reads.
pub(super) const FORMAT: u32 = 3;

/// Facts about the store itself, by name.
pub(super) const FACTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("facts");

/// Whatever other parts of the agent want to keep, by name.
pub(super) const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");

/// Encoded objects, by [`object_key`].
pub(super) const OBJECTS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("objects");

/// The name of the format's version among the facts: four bytes, little-endian, readable by every release.
pub(super) const FACT_FORMAT: &str = "format";

/// The name of the identity among the facts.
pub(super) const FACT_IDENTITY: &str = "identity";

/// The name of the checkpoint's version vector among the facts.
pub(super) const FACT_VECTOR: &str = "vector";

/// What objects show beyond the vector, while a repair is under way.
pub(super) const FACT_AHEAD: &str = "ahead";

/// Commits of earlier incarnations that wait to be made again; absent when there are none.
pub(super) const FACT_ORPHANS: &str = "orphans";

/// The newest stamp issued or observed.
pub(super) const FACT_LATEST: &str = "latest";

/// The name of a [`LogPlace`] among the facts.
pub(super) const FACT_LOG: &str = "log";

/// The name of the tally among the facts: which rows there are.
pub(super) const FACT_TALLY: &str = "tally";

/// Present among the facts from the moment our own stream is found damaged until there is a new identity, so that a crash
/// between the two does not forget it.
pub(super) const FACT_OWN_DAMAGED: &str = "own-damaged";

/// Present among the facts, with what was damaged, while this database stands in for one that could not be read.
pub(super) const FACT_DAMAGED: &str = "damaged";

/// Largest encoded object or fact that is read back, in bytes. What lies here was written by us and its checksum holds, so
/// this only keeps a mistake of our own from taking all memory.
pub(super) const ROW_BYTES_MAX: usize = 1024 * 1024 * 1024;

/// Bytes of the checksum before each row's content.
const CHECKSUM_BYTES: usize = 16;

/// Which part of the log folder is the log, and what of it the checkpoint stands for.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct LogPlace {
    /// Segments of other generations are not the log any more, or not yet.
    pub(super) generation: u64,
    /// Frames below this number were written before the checkpoint.
    pub(super) covered: u64,
    /// Below these sequence numbers, commits in those frames are not needed any more.
    pub(super) firsts: Vec<(Stream, u64)>,
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
    let place = xxh3_64_with_seed(key, xxh3_64_with_seed(table.as_bytes(), 0));
    xxh3_128_with_seed(content, place).to_le_bytes()
}

/// The key of an object's row: a byte for the type, then the name.
pub(super) fn object_key(key: &Key) -> Vec<u8> {
    let tag = (0..).zip(Kind::ALL).find_map(|(tag, kind)| (kind == key.kind()).then_some(tag));
    let mut bytes = Vec::with_capacity(1 + key.name().len());
    bytes.push(tag.expect("every type is among all types"));
    bytes.extend_from_slice(key.name().as_bytes());
    bytes
}

/// The key that a row's key stands for; `None` when it stands for none.
pub(super) fn parse_object_key(bytes: &[u8]) -> Option<Key> {
    let (tag, name) = bytes.split_first()?;
    Key::new(*Kind::ALL.get(usize::from(*tag))?, std::str::from_utf8(name).ok()?).ok()
}

/// An object as the content of its row.
pub(super) fn encode_object(state: &ObjectState) -> Vec<u8> {
    state.to_row()
}

/// The object that a row holds.
pub(super) fn decode_object(content: &[u8]) -> Result<ObjectState, DecodeError> {
    ObjectState::from_row(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_accepted_only_whole_and_in_its_place() {
        let row = seal("facts", b"key", b"content");
        assert_eq!(unseal("facts", b"key", &row), Some(&b"content"[..]));
        assert_eq!(unseal("facts", b"other", &row), None);
        assert_eq!(unseal("objects", b"key", &row), None);
        assert_eq!(unseal("facts", b"key", &row[..row.len() - 1]), None);
        assert_eq!(unseal("facts", b"key", &[]), None);
        for at in 0..row.len() {
            let mut damaged = row.clone();
            damaged[at] ^= 1;
            assert_eq!(unseal("facts", b"key", &damaged), None, "byte {at}");
        }
    }

    #[test]
    fn keys_of_rows_are_keys_of_objects() {
        for text in ["gcounter/kills", "pncounter/hp:42", "gset/seen", "orset/online", "lwwmap/player:42/inventory"] {
            let key: Key = text.parse().expect("a key");
            assert_eq!(parse_object_key(&object_key(&key)), Some(key));
        }
        assert_eq!(parse_object_key(&[]), None);
        assert_eq!(parse_object_key(&[9, b'x']), None);
        assert_eq!(parse_object_key(&[0]), None);
    }
}
