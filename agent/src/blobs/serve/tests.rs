//! What is given to other members: how much is read for it, who waits for whom, and what a damaged disk does.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use super::*;
use crate::artifacts;

const DEADLINE: Duration = Duration::from_secs(60);
const A: NodeId = NodeId([1; 32]);
const B: NodeId = NodeId([2; 32]);

/// Blobs in memory, which counts what is read of them. Some may be stuck, as on a disk that does not answer.
#[derive(Clone, Default)]
pub(in crate::blobs) struct Shelf(Arc<Inner>);

#[derive(Default)]
struct Inner {
    blobs: BTreeMap<Digest, Bytes>,
    stuck: Mutex<BTreeSet<Digest>>,
    freed: Condvar,
    waiting: AtomicU64,
    bytes_read: AtomicU64,
    /// From where on the disk gives nothing.
    unreadable_from: Option<usize>,
}

impl Shelf {
    pub(in crate::blobs) fn of(blobs: impl IntoIterator<Item = Bytes>) -> Self {
        let blobs = blobs.into_iter().map(|bytes| (Digest::of(&bytes), bytes)).collect();
        Self(Arc::new(Inner { blobs, ..Inner::default() }))
    }

    fn unreadable_from(bytes: Bytes, at: usize) -> Self {
        let blobs = [(Digest::of(&bytes), bytes)].into();
        Self(Arc::new(Inner { blobs, unreadable_from: Some(at), ..Inner::default() }))
    }

    pub(in crate::blobs) fn bytes_read(&self) -> u64 {
        self.0.bytes_read.load(Ordering::Relaxed)
    }

    fn digests(&self) -> Vec<Digest> {
        self.0.blobs.keys().copied().collect()
    }

    fn stick(&self, digests: impl IntoIterator<Item = Digest>) {
        self.0.stuck.lock().expect("no panic").extend(digests);
    }

    fn free(&self) {
        self.0.stuck.lock().expect("no panic").clear();
        self.0.freed.notify_all();
    }
}

impl Library for Shelf {
    fn has(&self, digest: &Digest) -> bool {
        self.0.blobs.contains_key(digest)
    }

    fn part(&self, digest: &Digest, start: u64, bytes_max: usize) -> Option<Bytes> {
        let bytes = self.0.blobs.get(digest)?;
        let mut stuck = self.0.stuck.lock().expect("no panic");
        while stuck.contains(digest) {
            self.0.waiting.fetch_add(1, Ordering::Relaxed);
            let (again, waited) = self.0.freed.wait_timeout(stuck, DEADLINE).expect("no panic");
            self.0.waiting.fetch_sub(1, Ordering::Relaxed);
            assert!(!waited.timed_out(), "nobody frees it");
            stuck = again;
        }
        drop(stuck);
        let start = usize::try_from(start).expect("small").min(bytes.len());
        if self.0.unreadable_from.is_some_and(|at| start >= at) {
            return None;
        }
        let part = bytes.slice(start..(start + bytes_max).min(bytes.len()));
        self.0.bytes_read.fetch_add(part.len() as u64, Ordering::Relaxed);
        Some(part)
    }

    fn inspect(&self, _: &Digest) -> Inspected {
        panic!("what is in memory is not damaged")
    }
}

fn question(digest: Digest, want: Want) -> Vec<u8> {
    codec::encode(&Question { sort: Sort::Artifact, digest: digest.0, want })
}

async fn outline(server: &Server, from: NodeId, digest: Digest) -> Option<Outline> {
    let question = question(digest, Want::Outline);
    let answered = server.answer(from, &question);
    let (answer, _) = tokio::time::timeout(DEADLINE, answered).await.expect("in time").expect("is answered");
    let claimed: Answer<Claimed> = codec::decode(&answer, usize::MAX).expect("an answer");
    Some(Outline::check(&claimed?, digest, 64 * CHUNK_BYTES).expect("leads to the digest"))
}

async fn chunk(server: &Server, from: NodeId, digest: Digest, index: u32) -> Option<Vec<u8>> {
    let question = question(digest, Want::Chunk(index));
    let answered = server.answer(from, &question);
    let (answer, _) = tokio::time::timeout(DEADLINE, answered).await.expect("in time").expect("is answered");
    codec::decode::<Answer<ByteBuf>>(&answer, usize::MAX).expect("an answer").map(ByteBuf::into_vec)
}

#[test]
fn questions_and_answers_that_are_none_are_errors() {
    for want in [Want::Outline, Want::Chunk(7)] {
        let whole = codec::encode(&Question { sort: Sort::Artifact, digest: [7; 32], want });
        let read = |bytes: &[u8]| codec::decode::<Question>(bytes, QUESTION_BYTES_MAX).is_ok();
        crate::outside::check("a question", &whole, read);
    }
    let claimed = Outline::of(&[7; 2 * CHUNK_BYTES]).claimed();
    let read = |bytes: &[u8]| codec::decode::<Answer<Claimed>>(bytes, 2 * CHUNK_BYTES).is_ok();
    crate::outside::check("an outline", &codec::encode(&Some(claimed)), read);
    let read = |bytes: &[u8]| codec::decode::<Answer<ByteBuf>>(bytes, 2 * CHUNK_BYTES).is_ok();
    crate::outside::check("a chunk", &codec::encode(&Some(ByteBuf::from(vec![7; 300]))), read);
}

#[tokio::test]
async fn questions_that_are_cut_off_cost_their_sender_nothing_of_its_share() {
    let server = Server::new(Shelf::of([Bytes::from_static(b"blob")]), Shelf::default());
    let whole = question(Digest::of(b"blob"), Want::Chunk(0));
    for cut in (0..whole.len()).chain(0..whole.len()) {
        assert!(matches!(server.answer(A, &whole[..cut]).await, Err(ServeError::Undecodable(_))));
    }
    assert_eq!(chunk(&server, A, Digest::of(b"blob"), 0).await.as_deref(), Some(&b"blob"[..]));
    assert_eq!(server.stats().dropped, 0);
}

#[tokio::test]
async fn each_blob_is_read_whole_once_however_many_are_fetched_side_by_side() {
    // Together more than any one of them may have, and asked for by two members.
    let length = 24 * CHUNK_BYTES;
    let shelf = Shelf::of((0..3).map(|number| Bytes::from(vec![number; length])));
    let server = Server::new(shelf.clone(), Shelf::default());
    for index in 0..24 {
        for digest in shelf.digests() {
            for from in [A, B] {
                assert!(outline(&server, from, digest).await.is_some());
                assert_eq!(chunk(&server, from, digest, index).await.map(|chunk| chunk.len()), Some(CHUNK_BYTES));
            }
        }
    }
    assert_eq!(server.stats().outlines, 3);
    assert_eq!(shelf.bytes_read(), 3 * 3 * length as u64, "once for the outline, and once for each of both");
    assert_eq!(chunk(&server, A, shelf.digests()[0], 24).await, None, "beyond the end");
    assert_eq!(chunk(&server, A, Digest::of(b"another"), 0).await, None);
    assert_eq!(outline(&server, A, Digest::of(b"another")).await, None);
    assert_eq!(shelf.bytes_read(), 3 * 3 * length as u64);
}

#[tokio::test]
async fn a_member_that_asks_for_everything_at_once_holds_up_nobody_else() {
    let shelf = Shelf::of((0..40).map(|number| Bytes::from(vec![number; 2 * CHUNK_BYTES])));
    let server = Server::new(shelf.clone(), Shelf::default());
    let (wanted, flood) = (shelf.digests()[0], shelf.digests().split_off(1));
    shelf.stick(flood.clone());
    let asking: Vec<_> = flood
        .into_iter()
        .map(|digest| {
            let server = server.clone();
            tokio::spawn(async move { server.answer(A, &question(digest, Want::Chunk(0))).await.map(drop) })
        })
        .collect();
    let begun = async {
        while shelf.0.waiting.load(Ordering::Relaxed) == 0 || server.stats().dropped == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, begun).await.expect("in time");
    for index in [0, 1] {
        assert_eq!(chunk(&server, B, wanted, index).await.map(|chunk| chunk.len()), Some(CHUNK_BYTES));
    }
    assert_eq!(shelf.0.waiting.load(Ordering::Relaxed), 1, "of one member, one is read at a time");
    shelf.free();
    let mut flooded = 0;
    for asked in asking {
        flooded += u64::from(matches!(asked.await.expect("no panic"), Err(ServeError::Flood)));
    }
    assert_eq!((flooded, server.stats().dropped), (39 - 16, 39 - 16), "sixteen is twice what anybody has to ask");
    assert!(chunk(&server, A, wanted, 0).await.is_some(), "and it is answered again when it asks as others do");
}

fn given(stored: &artifacts::Artifacts) -> artifacts::Given {
    artifacts::Given::new(stored.clone(), |_| {})
}

#[tokio::test]
async fn what_is_read_for_nothing_is_at_its_askers_expense() {
    let bytes = Bytes::from(vec![7; 64 * CHUNK_BYTES]);
    let (digest, shelf) = (Digest::of(&bytes), Shelf::unreadable_from(bytes, 63 * CHUNK_BYTES));
    let server = Server::new(shelf.clone(), Shelf::default());
    assert_eq!(outline(&server, A, digest).await, None);
    assert_eq!(shelf.bytes_read(), 63 * CHUNK_BYTES as u64);
    assert_eq!(server.stats().charged, QUESTION_COST_BYTES + 64 * CHUNK_BYTES as u64, "and the part that failed");
}

#[tokio::test]
async fn looking_for_damage_is_at_its_askers_expense_and_the_blob_is_asked_for_again() {
    let dir = tempfile::tempdir().expect("a folder");
    let stored = artifacts::open(dir.path()).expect("opens");
    let digest = stored.put(&[1; 3 * CHUNK_BYTES]).expect("is kept");
    let gone = Arc::<Mutex<Vec<Digest>>>::default();
    let noted = Arc::clone(&gone);
    let library = artifacts::Given::new(stored, move |digest| noted.lock().expect("no panic").push(digest));
    let server = Server::new(library, Shelf::default());
    damage(&artifacts::file(dir.path(), &digest), 7);
    // Read for the outline, which is wrong, and read again to make sure.
    assert_eq!(outline(&server, A, digest).await, None);
    assert_eq!(server.stats().charged, QUESTION_COST_BYTES + 2 * 3 * CHUNK_BYTES as u64);
    assert_eq!((server.stats().damaged, &*gone.lock().expect("no panic")), (1, &vec![digest]));
}

/// Turns a bit of a file.
fn damage(file: &std::path::Path, at: u64) {
    let file: File = OpenOptions::new().read(true).write(true).open(file).expect("opens");
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("reads");
    file.write_all_at(&[byte[0] ^ 1], at).expect("writes");
}

#[tokio::test]
async fn what_the_disk_has_damaged_is_not_given_and_is_found_once() {
    let dir = tempfile::tempdir().expect("a folder");
    let stored = artifacts::open(dir.path()).expect("opens");
    let [first, second] = [1, 2].map(|number| stored.put(&vec![number; 3 * CHUNK_BYTES]).expect("is kept"));
    let server = Server::new(given(&stored), Shelf::default());
    let file = |digest: &Digest| artifacts::file(dir.path(), digest);
    // After its outline was made, and before.
    assert!(outline(&server, A, first).await.is_some());
    damage(&file(&first), CHUNK_BYTES as u64 + 7);
    damage(&file(&second), 7);
    assert!(chunk(&server, A, first, 0).await.is_some(), "that part is as it was");
    for _ in 0..3 {
        assert_eq!(chunk(&server, A, first, 1).await, None);
        assert_eq!(outline(&server, A, first).await, None);
        assert_eq!(outline(&server, A, second).await, None);
        assert_eq!(server.stats().damaged, 2);
    }
    assert!(!file(&first).exists() && !file(&second).exists(), "so that they can be fetched again");
    stored.put(&vec![1; 3 * CHUNK_BYTES]).expect("is kept");
    assert!(outline(&server, A, first).await.is_some() && chunk(&server, A, first, 1).await.is_some());
}

#[tokio::test]
async fn what_was_removed_is_not_claimed_although_its_outline_is_known() {
    let dir = tempfile::tempdir().expect("a folder");
    let stored = artifacts::open(dir.path()).expect("opens");
    let digest = stored.put(b"a component").expect("is kept");
    let server = Server::new(given(&stored), Shelf::default());
    assert!(outline(&server, A, digest).await.is_some());
    stored.remove(&digest).expect("is removed");
    assert_eq!((outline(&server, A, digest).await, chunk(&server, A, digest, 0).await), (None, None));
    assert_eq!(server.stats().damaged, 0);
}
