//! Reading the objects back: one thread reads rows, others check and decode them.
//!
//! Owns that division of labour; judges nothing. The invariant: nothing is returned whose checksum does not hold, and what comes
//! back does not depend on the number of threads.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;

use redb::ReadTransaction;
use selvedge_sync::crdt::ObjectState;
use selvedge_sync::key::Key;

use super::contents::{for_each_row, guarded};
use super::error::StoreError;
use super::layout::{self, OBJECTS};
use super::rows::Tally;

/// Bytes of rows that are handed over at once.
const CHUNK_BYTES: usize = 256 * 1024;

/// Chunks that wait to be decoded: enough to keep the threads busy, little enough to be no matter.
const CHUNKS_WAITING_MAX: usize = 4;

/// More threads than this have nothing to do while one reads.
const THREADS_MAX: usize = 4;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The objects, in order of their rows.
    pub(super) objects: Vec<(Key, ObjectState)>,
    /// Those that are damaged.
    pub(super) damage: Vec<String>,
    /// How many rows there are, whatever they hold.
    pub(super) tally: Tally,
}

/// Rows, one behind the other, and where each ends: its key, then the row.
#[derive(Debug, Default)]
struct Chunk {
    number: usize,
    bytes: Vec<u8>,
    ends: Vec<(usize, usize)>,
}

/// A chunk when it is decoded.
#[derive(Debug)]
struct Decoded {
    number: usize,
    objects: Vec<(Key, ObjectState)>,
    damage: Vec<String>,
}

/// Reads all objects.
///
/// # Errors
/// The database cannot be read, or the system gives no thread.
pub(super) fn read(transaction: &ReadTransaction) -> Result<Found, StoreError> {
    let threads = thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
    let (give, chunks) = sync_channel(CHUNKS_WAITING_MAX);
    let chunks = Mutex::new(chunks);
    thread::scope(|scope| {
        let begin = |_| thread::Builder::new().spawn_scoped(scope, || decode_all(&chunks));
        let decoders: Vec<_> = (0..threads).map(begin).collect::<Result<_, _>>().map_err(super::recovery::failed)?;
        let mut found = Found::default();
        guarded(|| read_rows(transaction, give, &mut found.tally))?;
        let mut decoded = Vec::new();
        for decoder in decoders {
            decoded.extend(decoder.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        decoded.sort_unstable_by_key(|chunk: &Decoded| chunk.number);
        found.objects.reserve(decoded.iter().map(|chunk| chunk.objects.len()).sum());
        for chunk in decoded {
            found.objects.extend(chunk.objects);
            found.damage.extend(chunk.damage);
        }
        Ok(found)
    })
}

fn read_rows(transaction: &ReadTransaction, give: SyncSender<Chunk>, tally: &mut Tally) -> Result<(), StoreError> {
    let mut chunk = Chunk::default();
    for_each_row(transaction, OBJECTS, |key, row| {
        tally.count_object(row);
        chunk.bytes.extend_from_slice(key);
        let key_end = chunk.bytes.len();
        chunk.bytes.extend_from_slice(row);
        chunk.ends.push((key_end, chunk.bytes.len()));
        if chunk.bytes.len() >= CHUNK_BYTES {
            let next = Chunk { number: chunk.number + 1, bytes: Vec::with_capacity(2 * CHUNK_BYTES), ends: Vec::new() };
            // Decoders end when nothing is given any more, and not before.
            give.send(std::mem::replace(&mut chunk, next)).unwrap_or_default();
        }
    })?;
    give.send(chunk).unwrap_or_default();
    Ok(())
}

fn decode_all(chunks: &Mutex<Receiver<Chunk>>) -> Vec<Decoded> {
    let next = || chunks.lock().unwrap_or_else(PoisonError::into_inner).recv().ok();
    std::iter::from_fn(next).map(|chunk| decode(&chunk)).collect()
}

fn decode(chunk: &Chunk) -> Decoded {
    let (mut objects, mut damage) = (Vec::with_capacity(chunk.ends.len()), Vec::new());
    let mut begin = 0;
    for (key_end, end) in &chunk.ends {
        match read_object(&chunk.bytes[begin..*key_end], &chunk.bytes[*key_end..*end]) {
            Ok(object) => objects.push(object),
            Err(what) => damage.push(what),
        }
        begin = *end;
    }
    Decoded { number: chunk.number, objects, damage }
}

fn read_object(bytes: &[u8], row: &[u8]) -> Result<(Key, ObjectState), String> {
    let key = layout::parse_object_key(bytes).ok_or("the key of an object")?;
    let content = layout::unseal("objects", bytes, row).ok_or_else(|| format!("the object {key}"))?;
    let state = layout::decode_object(content).map_err(|error| format!("the object {key}: {error}"))?;
    state.validate(key.kind()).map_err(|error| format!("the object {key}: {error}"))?;
    Ok((key, state))
}
