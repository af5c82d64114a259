use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::FutureExt as _;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::blobs::serve::Sort;

const KIB: u64 = 1_024;

/// What other members have, and how often they were asked. Whoever asks waits for a permit, of which there are plenty unless a
/// test takes them.
struct Others {
    have: Mutex<BTreeMap<Digest, Bytes>>,
    asked: AtomicU64,
    open: Semaphore,
}

impl Others {
    fn with(blobs: &[&[u8]]) -> Arc<Self> {
        let have = blobs.iter().map(|bytes| (Digest::of(bytes), Bytes::copy_from_slice(bytes))).collect();
        Arc::new(Self { have: Mutex::new(have), asked: AtomicU64::new(0), open: Semaphore::new(1_000) })
    }

    fn fetch(self: &Arc<Self>) -> Fetch {
        let others = Arc::clone(self);
        Box::new(move |digest| {
            let others = Arc::clone(&others);
            async move {
                others.asked.fetch_add(1, Ordering::Relaxed);
                let _open = others.open.acquire().await.expect("is never closed");
                let found = others.have.lock().unwrap().get(&digest).cloned();
                let fetched = found.map(|bytes| Fetched { bytes, room: None });
                fetched.ok_or(FetchError::Nowhere { sort: Sort::Asset, digest, last: None })
            }
            .boxed()
        })
    }

    fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }
}

struct Host {
    dir: tempfile::TempDir,
    limits: AssetLimits,
    others: Arc<Others>,
    assets: Assets,
    preloader: Preloader,
}

fn host(memory_bytes: u64, disk_bytes: u64, others: &Arc<Others>) -> Host {
    let dir = tempfile::tempdir().expect("a folder");
    let limits = AssetLimits { memory_bytes, disk_bytes };
    let (assets, preloader) = Assets::open(dir.path(), limits, others.fetch()).expect("opens");
    Host { dir, limits, others: Arc::clone(others), assets, preloader }
}

impl Host {
    /// The same host after a restart.
    fn again(self) -> Self {
        let (assets, preloader) = Assets::open(self.dir.path(), self.limits, self.others.fetch()).expect("opens");
        Self { assets, preloader, ..self }
    }

    fn file(&self, folder: &str, bytes: &[u8]) -> PathBuf {
        self.dir.path().join("assets").join(folder).join(format!("{}.asset", Digest::of(bytes).hex()))
    }

    async fn get(&self, bytes: &[u8]) -> Result<Bytes, FetchError> {
        self.assets.get(Digest::of(bytes)).await
    }
}

/// Distinct bytes of a length.
fn blob(number: u8, length: u64) -> Vec<u8> {
    vec![number; usize::try_from(length).expect("fits")]
}

#[tokio::test]
async fn what_others_have_is_fetched_once_and_then_comes_from_memory_and_after_a_restart_from_disk() {
    let others = Others::with(&[b"map"]);
    let host = host(KIB, KIB, &others);
    for _ in 0..3 {
        assert_eq!(host.get(b"map").await.expect("is there"), "map");
    }
    let stats = host.assets.stats();
    assert_eq!((stats.misses, stats.hits_memory, stats.fetched, stats.fetched_bytes), (1, 2, 1, 3));
    assert_eq!((stats.memory_bytes, stats.copy_bytes, stats.upload_bytes), (3, 3, 0));
    let host = host.again();
    assert_eq!(host.assets.size(&Digest::of(b"map")), Some(3));
    assert_eq!(host.get(b"map").await.expect("is there"), "map");
    assert_eq!((host.assets.stats().hits_disk, others.asked()), (1, 1));
}

#[tokio::test]
async fn many_who_ask_at_once_cause_one_fetch_and_one_that_goes_away_stops_nobody() {
    let others = Others::with(&[b"map"]);
    let host = host(KIB, KIB, &others);
    let shut = others.open.acquire_many(1_000).await.expect("open");
    let mut first = Box::pin(host.get(b"map"));
    let mut rest = Box::pin(futures::future::join_all((0..50).map(|_| host.get(b"map"))));
    while others.asked() == 0 {
        assert!(futures::poll!(&mut first).is_pending());
        tokio::task::yield_now().await;
    }
    assert!(futures::poll!(&mut rest).is_pending());
    drop(first);
    drop(shut);
    assert!(rest.await.iter().all(|got| got.as_ref().is_ok_and(|bytes| *bytes == "map")));
    assert_eq!(others.asked(), 2, "the second is whoever took over");
    assert_eq!(host.assets.stats().fetched, 1);
}

#[tokio::test]
async fn what_nobody_has_is_an_error_each_time_and_counted() {
    let others = Others::with(&[]);
    let host = host(KIB, KIB, &others);
    for _ in 0..2 {
        assert!(matches!(host.get(b"map").await, Err(FetchError::Nowhere { .. })));
    }
    let stats = host.assets.stats();
    assert_eq!((stats.misses, stats.fetches_failed, stats.fetched, others.asked()), (2, 2, 0, 2));
    others.have.lock().unwrap().insert(Digest::of(b"map"), Bytes::from_static(b"map"));
    host.get(b"map").await.expect("somebody has it by now");
}

#[tokio::test]
async fn copies_give_way_in_the_order_of_use_and_uploads_stay() {
    let blobs: Vec<_> = (0..4).map(|number| blob(number, KIB)).collect();
    let others = Others::with(&[&blobs[0], &blobs[1], &blobs[2]]);
    let host = host(0, 3 * KIB, &others);
    host.get(&blobs[0]).await.expect("is there");
    host.get(&blobs[1]).await.expect("is there");
    host.assets.put(blobs[3].clone().into()).await.expect("is kept");
    host.get(&blobs[0]).await.expect("is there");
    let sizes =
        |host: &Host| blobs.iter().map(|bytes| host.assets.size(&Digest::of(bytes)).is_some()).collect::<Vec<_>>();
    assert_eq!(sizes(&host), [true, true, false, true]);
    host.get(&blobs[2]).await.expect("is there");
    assert_eq!(sizes(&host), [true, false, true, true], "the one that was not used for longest went");
    assert!(!host.file("copies", &blobs[1]).exists() && host.file("uploads", &blobs[3]).exists());
    let listed = host.assets.list(None, 10);
    assert!(listed.iter().all(|one| one.bytes == KIB && one.is_upload == (one.digest == Digest::of(&blobs[3]))));
    assert_eq!((listed.len(), host.assets.list(None, 2)), (3, listed[..2].to_vec()));
    assert_eq!(host.assets.list(Some(listed[1].digest), 2), listed[2..]);
    let stats = host.assets.stats();
    assert_eq!((stats.evicted_disk, stats.upload_bytes, stats.copy_bytes), (1, KIB, 2 * KIB));
    // A smaller bound holds from the next start on.
    let host = Host { limits: AssetLimits { disk_bytes: 2 * KIB, ..host.limits }, ..host }.again();
    assert_eq!(sizes(&host), [false, false, true, true]);
}

#[tokio::test]
async fn uploads_that_leave_no_room_are_refused_and_change_nothing() {
    let others = Others::with(&[]);
    let host = host(KIB, 2 * KIB, &others);
    let digest = host.assets.put(blob(1, KIB).into()).await.expect("is kept");
    assert_eq!(host.assets.put(blob(1, KIB).into()).await.expect("again"), digest);
    let refused = host.assets.put(blob(2, KIB + 1).into()).await.expect_err("refused");
    assert!(matches!(refused, AssetError::Full { kept: KIB, .. }), "{refused}");
    host.assets.put(blob(2, KIB).into()).await.expect("fits");
    assert!(host.assets.remove(digest).await.expect("removes"));
    assert!(!host.assets.remove(digest).await.expect("is gone"));
    assert!(matches!(host.get(&blob(1, KIB)).await, Err(FetchError::Nowhere { .. })));
    host.assets.put(blob(3, KIB).into()).await.expect("there is room again");
    let too_large = vec![0; ASSET_BYTES_MAX + 1];
    assert!(matches!(host.assets.put(too_large.into()).await, Err(AssetError::Full { .. })));
}

#[tokio::test]
async fn a_damaged_file_is_fetched_again_and_is_what_it_was() {
    let others = Others::with(&[b"copy", b"upload"]);
    let host = host(0, KIB, &others);
    host.get(b"copy").await.expect("is there");
    host.assets.put(Bytes::from_static(b"upload")).await.expect("is kept");
    for (folder, bytes) in [("copies", &b"copy"[..]), ("uploads", b"upload")] {
        std::fs::write(host.file(folder, bytes), b"something else").expect("damages");
        assert_eq!(host.get(bytes).await.expect("is there"), bytes);
        assert_eq!(std::fs::read(host.file(folder, bytes)).expect("is there again"), bytes);
    }
    let stats = host.assets.stats();
    assert_eq!((stats.damaged, stats.misses, stats.upload_bytes, stats.copy_bytes), (2, 3, 6, 4));
    // One that was removed by hand is noticed, too.
    std::fs::remove_file(host.file("copies", b"copy")).expect("removes");
    others.have.lock().unwrap().clear();
    assert!(host.get(b"copy").await.is_err());
    assert_eq!(host.assets.size(&Digest::of(b"copy")), None);
}

#[tokio::test]
async fn a_disk_that_takes_nothing_stops_nobody() {
    let others = Others::with(&[b"map"]);
    let host = host(KIB, KIB, &others);
    std::fs::remove_dir(host.dir.path().join("assets/copies")).expect("removes");
    std::fs::write(host.dir.path().join("assets/copies"), b"no folder").expect("writes");
    assert_eq!(host.get(b"map").await.expect("is given all the same"), "map");
    assert!(host.assets.stats().disk_failed > 0);
    let large = blob(1, 2 * KIB);
    others.have.lock().unwrap().insert(Digest::of(&large), large.clone().into());
    assert_eq!(host.get(&large).await.expect("is given all the same"), large);
    assert_eq!(host.assets.stats().not_kept, 1, "larger than the bound");
}

#[tokio::test]
async fn wishes_are_fulfilled_in_the_background_and_repeated_ones_cost_nothing() {
    let others = Others::with(&[b"map", b"sound"]);
    let Host { dir: _dir, assets, preloader, .. } = host(KIB, KIB, &others);
    let [map, sound, nothing] = [&b"map"[..], b"sound", b"nothing"].map(Digest::of);
    let stop = CancellationToken::new();
    let running = tokio::spawn(preloader.run(stop.clone()));
    assets.preload([map, sound, nothing, nothing]);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while assets.stats().fetched + assets.stats().fetches_failed < 3 {
        assert!(tokio::time::Instant::now() < deadline, "{:?}", assets.stats());
        tokio::task::yield_now().await;
    }
    assets.preload([map, nothing]);
    let stats = assets.stats();
    assert_eq!(stats.wishes, WishStats { here: 1, queued: 3, repeated: 2, dropped: 0 });
    assert_eq!((stats.misses, stats.hits_memory, others.asked()), (0, 0, 3), "nobody has asked for them");
    assert_eq!(assets.get(map).await.expect("is there"), "map");
    assert_eq!(assets.stats().hits_memory, 1);
    stop.cancel();
    running.await.expect("ends");
    assets.preload((0..1_000_u16).map(|number| Digest::of(&number.to_be_bytes())));
    assert!(assets.stats().wishes.dropped > 0, "the queue is bounded");
}

#[tokio::test]
async fn others_are_given_what_is_here() {
    let others = Others::with(&[]);
    let host = host(0, KIB, &others);
    let digest = host.assets.put(Bytes::from_static(b"map")).await.expect("is kept");
    assert_eq!(Library::part(&host.assets, &digest, 1, 9).expect("is there"), "ap");
    let whole = Inspected { is_damaged: false, bytes: 3 };
    assert!(Library::has(&host.assets, &digest) && host.assets.inspect(&digest) == whole);
    std::fs::write(host.file("uploads", b"map"), b"mop").expect("damages");
    assert!(host.assets.inspect(&digest).is_damaged && !Library::has(&host.assets, &digest));
    assert_eq!((Library::part(&host.assets, &digest, 0, 9), host.assets.stats().damaged), (None, 1));
    assert_eq!(others.asked(), 0, "and nobody is asked on another's behalf");
}

#[tokio::test]
async fn an_upload_that_others_find_damaged_is_fetched_again_and_is_an_upload_still() {
    let others = Others::with(&[b"map"]);
    let host = host(0, KIB, &others);
    let digest = host.assets.put(Bytes::from_static(b"map")).await.expect("is kept");
    std::fs::write(host.file("uploads", b"map"), b"mop").expect("damages");
    assert!(host.assets.inspect(&digest).is_damaged);
    assert_eq!(host.assets.stats().upload_bytes, 0);
    let file = host.file("uploads", b"map");
    let stop = CancellationToken::new();
    let running = tokio::spawn(host.preloader.run(stop.clone()));
    let is_back = async {
        while host.assets.stats().upload_bytes != 3 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), is_back).await.expect("in time");
    assert_eq!(std::fs::read(file).expect("is there"), b"map");
    assert_eq!((host.assets.stats().copy_bytes, others.asked()), (0, 1));
    stop.cancel();
    running.await.expect("ends");
}
