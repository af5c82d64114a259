//! What a data directory that is taken away under the store does to it.

use std::fs;
use std::path::Path;

use super::*;

/// A store in `dir` that gives up soon.
fn open(dir: &Path) -> Opened {
    let disk = FileDisk::take(dir).expect("is taken");
    Store::open_on(Arc::new(disk), log::SEGMENT_BYTES, PATIENCE).expect("opens")
}

fn failed(events: &mut StoreEvents) {
    let told = next(events);
    assert!(matches!(&told, StoreEvent::Failed { reason } if reason == TAKEN_AWAY), "{told:?}");
}

/// Opens a store in a folder, has `take_away` do something to it, and sees that nothing is called durable from then on.
fn check(take_away: impl FnOnce(&Path)) {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("data");
    let (store, mut events, _) = open(&dir);
    append_durably(&store, &mut events, 1, vec![batch(1, 1, 1)]);
    take_away(&dir);
    store.append(2, vec![batch(1, 2, 1)]).expect("room");
    store.checkpoint(checkpoint(3, vector(1, 2), Vec::new())).expect("room");
    failed(&mut events);
    store.close().expect_err("what was queued is nowhere");
    assert_eq!(events.try_next(), None, "nothing became durable");
}

#[test]
fn a_directory_that_was_taken_away_makes_nothing_durable() {
    check(|dir| fs::remove_dir_all(dir).expect("removes"));
    check(|dir| fs::rename(dir, dir.with_extension("away")).expect("renames"));
    check(|dir| {
        fs::rename(dir, dir.with_extension("away")).expect("renames");
        fs::create_dir(dir).expect("puts another there");
    });
    check(|dir| {
        for entry in fs::read_dir(dir).expect("lists") {
            let path = entry.expect("an entry").path();
            if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.expect("removes");
        }
    });
}

#[test]
fn a_directory_that_is_taken_away_is_missed_before_anybody_writes() {
    for part in ["", "state.redb", "log"] {
        let folder = tempfile::tempdir().expect("a folder");
        let dir = folder.path().join("data");
        let (store, mut events, _) = open(&dir);
        append_durably(&store, &mut events, 1, vec![batch(1, 1, 1)]);
        let (here, away) = (dir.join(part), folder.path().join("away"));
        fs::rename(&here, &away).expect("renames");
        failed(&mut events);
        assert_eq!(store.stats().failing.as_deref(), Some(TAKEN_AWAY));
        let refused = store.set_meta("name", None).expect("room").wait();
        assert!(matches!(refused, Err(StoreError::Failing { .. })), "whoever waits is told: {refused:?}");
        store.append(2, vec![batch(1, 2, 1)]).expect("room");
        fs::rename(&away, &here).expect("puts it back");
        assert_eq!(next(&mut events), StoreEvent::Recovered, "{part}");
        assert_eq!(next(&mut events), StoreEvent::Appended { token: 2 }, "{part}");
        store.close().expect("closes");
        assert_eq!(open(&dir).2.log, vec![batch(1, 1, 2)], "{part}");
    }
}

#[test]
fn a_log_that_is_taken_away_is_missed_while_somebody_always_writes() {
    /// Far more often than the disk is looked at.
    const PACE: Duration = Duration::from_millis(10);
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("data");
    let (store, mut events, _) = open(&dir);
    append_durably(&store, &mut events, 1, vec![batch(1, 1, 1)]);
    fs::rename(dir.join("log"), folder.path().join("away")).expect("renames");
    let begun = Instant::now();
    for token in 2.. {
        store.append(token, vec![batch(1, token, 1)]).expect("room");
        match next(&mut events) {
            StoreEvent::Appended { token: told } => assert_eq!(told, token),
            StoreEvent::Failed { reason } => {
                assert_eq!(reason, TAKEN_AWAY);
                break;
            }
            told @ (StoreEvent::Checkpointed { .. } | StoreEvent::Recovered) => panic!("{told:?}"),
        }
        assert!(begun.elapsed() < SOON, "nobody has looked");
        std::thread::sleep(PACE);
    }
    store.close().expect_err("what was called durable is elsewhere");
}

#[test]
fn a_stop_without_the_directory_is_no_stop_in_order() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("data");
    let (store, mut events, _) = open(&dir);
    append_durably(&store, &mut events, 1, vec![batch(1, 1, 1)]);
    fs::remove_dir_all(&dir).expect("removes");
    let error = store.close().expect_err("what was durable is gone");
    assert!(matches!(error, StoreError::TakenAway), "{error}");
    assert!(!dir.exists(), "no other is made in its place");
}
