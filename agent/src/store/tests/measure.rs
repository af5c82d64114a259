//! Figures of this disk, for whoever wants them: `cargo test --release store::tests::measure -- --ignored --nocapture`.

use std::os::unix::fs::FileExt;

use selvedge_sync::codec;

use super::*;

fn commit_of(bytes: usize, seq: u64) -> CommitBytes {
    let mut content = vec![0x5a; bytes];
    content[..8].copy_from_slice(&seq.to_le_bytes());
    CommitBytes::from_bytes(&content)
}

fn lone(bytes: usize, seq: u64) -> Vec<Batch> {
    vec![Batch::new(stream(1), seq, vec![commit_of(bytes, seq)])]
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// Waits as the driver does, without spinning.
fn wait(runtime: &tokio::runtime::Runtime, events: &mut StoreEvents, token: Token) {
    while runtime.block_on(events.next()) != Some(StoreEvent::Appended { token }) {}
}

#[test]
#[ignore = "a measurement"]
fn lone_commits_against_append_and_sync() {
    const COMMITS: u64 = 300;
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (store, mut events, _) = Store::open(&dir.path().join("data")).expect("opens");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let file = std::fs::File::create(dir.path().join("plain")).expect("creates");
    let (mut ours, mut plain, mut at) = (Vec::new(), Vec::new(), 0);
    let before = store.stats();
    for seq in 1..=COMMITS {
        let begun = Instant::now();
        store.append(seq, lone(256, seq)).expect("room");
        wait(&runtime, &mut events, seq);
        ours.push(begun.elapsed());
        let bytes = vec![0x5a; 300];
        let begun = Instant::now();
        file.write_all_at(&bytes, at).expect("writes");
        file.sync_data().expect("syncs");
        plain.push(begun.elapsed());
        at += 300;
    }
    let after = store.stats();
    let (ours, plain) = (median(ours), median(plain));
    println!(
        "lone commit: {ours:?}; append + fdatasync: {plain:?}; ratio {:.2}",
        ours.as_secs_f64() / plain.as_secs_f64()
    );
    println!("bytes per commit: {}", (after.bytes_written - before.bytes_written) / COMMITS);
    store.close().expect("closes");
}

#[test]
#[ignore = "a measurement"]
fn sixty_four_writers() {
    const WRITERS: u64 = 64;
    const ROUNDS: u64 = 100;
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (store, mut events, _) = Store::open(dir.path()).expect("opens");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let begun = Instant::now();
    // Each writer queues its next commit when its last is durable, as 64 callers do.
    let mut queued = 0;
    for _ in 0..WRITERS {
        queued += 1;
        store.append(queued, lone(256, queued)).expect("room");
    }
    for _ in 0..WRITERS * ROUNDS {
        let Some(StoreEvent::Appended { .. }) = runtime.block_on(events.next()) else { panic!("it fails") };
        queued += 1;
        store.append(queued, lone(256, queued)).expect("room");
    }
    let rate = (WRITERS * ROUNDS) as f64 / begun.elapsed().as_secs_f64();
    println!("64 writers: {rate:.0} commits a second; {:?}", store.stats());
    store.close().expect("closes");
}

#[test]
#[ignore = "a measurement of a minute"]
fn bytes_at_twenty_commits_a_second() {
    const COMMITS: u64 = 1_200;
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (store, mut events, _) = Store::open(dir.path()).expect("opens");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let before = store.stats();
    let begun = Instant::now();
    for seq in 1..=COMMITS {
        store.append(seq, lone(256, seq)).expect("room");
        wait(&runtime, &mut events, seq);
        let next = Duration::from_millis(50 * seq);
        std::thread::sleep(next.saturating_sub(begun.elapsed()));
    }
    let log = store.stats();
    let objects: Vec<_> = (0..COMMITS).map(|number| map_object(number % 200)).collect();
    checkpoint_durably(&store, &mut events, checkpoint(9_999, vector(1, COMMITS), objects));
    let after = store.stats();
    println!("log: {} bytes and {} syncs a commit", (log.bytes_written - before.bytes_written) / COMMITS, 1);
    println!("one checkpoint of 200 objects: {} bytes", after.bytes_written - log.bytes_written);
    store.close().expect("closes");
}

fn map_object(number: u64) -> (Key, ObjectState) {
    let key: Key = format!("lwwmap/player:{number:06}").parse().expect("a key");
    let commit =
        Commit { stream: stream(1), seq: number + 1, hlc: Hlc::from_millis(number), request: None, ops: Vec::new() };
    let mut object = selvedge_sync::crdt::Object::new(&key);
    let value = Scalar::Text("x".repeat(64));
    let assign = selvedge_sync::crdt::Assign { member: "position".to_owned(), value: Some(value), over: Vec::new() };
    let seen = VersionVector::default();
    object.apply(Op::LwwMap(vec![assign]), commit.dot(), commit.hlc, selvedge_sync::crdt::Context::of(&seen));
    (key, object.state())
}

#[test]
#[ignore = "a measurement"]
fn reopening_a_hundred_thousand_keys() {
    const KEYS: u64 = 100_000;
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (store, mut events, _) = Store::open(dir.path()).expect("opens");
    let objects: Vec<_> = (0..KEYS).map(map_object).collect();
    let bytes: usize = objects.iter().map(|(key, state)| key.name().len() + codec::encode(state).len()).sum();
    let begun = Instant::now();
    checkpoint_durably(&store, &mut events, checkpoint(1, vector(1, KEYS), objects));
    println!("writing {KEYS} objects of {bytes} bytes: {:?}", begun.elapsed());
    store.close().expect("closes");
    let file = dir.path().join(DATABASE_FILE);
    let (mut ours, mut plain) = (Vec::new(), Vec::new());
    for _ in 0..7 {
        let begun = Instant::now();
        let content = std::fs::read(&file).expect("reads");
        let sum = blake3::hash(&content);
        plain.push(begun.elapsed());
        let begun = Instant::now();
        let (store, _events, recovered) = Store::open(dir.path()).expect("opens");
        ours.push(begun.elapsed());
        assert_eq!(recovered.objects.len() as u64, KEYS, "{sum}");
        store.close().expect("closes");
    }
    let (ours, plain) = (median(ours), median(plain));
    let length = std::fs::metadata(&file).expect("there").len();
    println!(
        "opening: {ours:?}; reading and hashing the {length} bytes of the file: {plain:?}; ratio {:.1}",
        ours.as_secs_f64() / plain.as_secs_f64()
    );
}
