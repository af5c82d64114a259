//! What a disk that fails, a power cut and a killed process do to the store.

use std::io::Write;
use std::process::{Command, Stdio};

use super::super::sim_disk::Mood;
use super::*;

#[test]
fn a_full_queue_gives_back_what_it_does_not_take() {
    let disk = SimDisk::default();
    let (store, mut events, _) = open_sim(&disk);
    disk.become_mood(Mood::Full);
    let taken = (1..=QUEUE_JOBS_MAX as u64 + 1)
        .find(|token| store.append(*token, vec![batch(1, *token, 1)]).is_err())
        .expect("it fills");
    assert_eq!(taken, QUEUE_JOBS_MAX as u64 + 1);
    let QueueFull(batches) = store.append(taken, vec![batch(1, taken, 1)]).expect_err("full");
    assert_eq!(batches, vec![batch(1, taken, 1)]);
    assert!(store.checkpoint(Checkpoint::default()).is_err());
    disk.become_mood(Mood::Works);
    let mut durable = 0;
    while durable < QUEUE_JOBS_MAX as u64 {
        if let StoreEvent::Appended { token } = next(&mut events) {
            durable += 1;
            assert_eq!(token, durable);
        }
    }
    append_durably(&store, &mut events, taken, batches);
}

#[test]
fn bytes_and_checkpoints_in_the_queue_are_bounded() {
    let disk = SimDisk::default();
    let (store, mut events, _) = open_sim(&disk);
    disk.become_mood(Mood::Full);
    let large = |first| {
        let commit = CommitBytes::from_bytes(&vec![7; QUEUE_BYTES_MAX / 2 + 1]);
        Batch::new(stream(1), first, vec![commit])
    };
    store.append(1, vec![large(1)]).expect("the first fits");
    store.append(2, vec![large(2)]).expect_err("the second does not");
    store.checkpoint(Checkpoint { token: 3, ..Checkpoint::default() }).expect("one checkpoint");
    store.checkpoint(Checkpoint { token: 4, ..Checkpoint::default() }).expect_err("no second");
    disk.become_mood(Mood::Works);
    let mut seen = Vec::new();
    while seen.len() < 2 {
        match next(&mut events) {
            StoreEvent::Failed { .. } | StoreEvent::Recovered => {}
            event @ (StoreEvent::Appended { .. } | StoreEvent::Checkpointed { .. }) => seen.push(event),
        }
    }
    assert_eq!(seen, [StoreEvent::Appended { token: 1 }, StoreEvent::Checkpointed { token: 3 }]);
    store.append(2, vec![large(2)]).expect("there is room again");
}

#[test]
fn a_failing_disk_delays_and_loses_nothing() {
    for mood in [Mood::Full, Mood::Short, Mood::SyncFails, Mood::Stuck, Mood::Gone] {
        let disk = SimDisk::default();
        let (store, mut events, _) = open_sim(&disk);
        append_durably(&store, &mut events, 1, vec![batch(1, 1, 1)]);
        disk.become_mood(mood);
        store.append(2, vec![batch(1, 2, 1)]).expect("room");
        let failed = next(&mut events);
        assert!(matches!(&failed, StoreEvent::Failed { reason } if !reason.is_empty()), "{mood:?}: {failed:?}");
        for token in 3..10 {
            store.append(token, vec![batch(1, token, 1)]).expect("room");
        }
        assert!(store.stats().failing.is_some());
        let lost_power = disk.after_power_cut(1);
        disk.become_mood(Mood::Works);
        assert_eq!(next(&mut events), StoreEvent::Recovered, "{mood:?}");
        for token in 2..10 {
            assert_eq!(next(&mut events), StoreEvent::Appended { token }, "{mood:?}");
        }
        assert_eq!(store.stats().failing, None);
        store.close().expect("closes");
        assert_eq!(open_sim(&disk).2.log, vec![batch(1, 1, 9)], "{mood:?}");
        let log = open_sim(&lost_power).2.log;
        assert!(log == vec![batch(1, 1, 1)] || log == vec![batch(1, 1, 2)], "{mood:?}: {log:?}");
    }
}

#[test]
fn a_disk_that_neither_syncs_nor_removes_collects_no_files() {
    for keeps_one in [false, true] {
        let disk = SimDisk::default();
        let (store, mut events, _) = open_sim(&disk);
        let mut appended = 0;
        while appended < if keeps_one { 60 } else { 1 } {
            appended += 1;
            append_durably(&store, &mut events, appended, vec![batch(1, appended, 1)]);
        }
        if keeps_one {
            // Gives up segments, of which some wait to be used again.
            let written = checkpoint(99, vector(1, appended), Vec::new());
            let log_first = vec![(stream(1), appended)];
            checkpoint_durably(&store, &mut events, Checkpoint { log_first, ..written });
        }
        let before = disk.names().len();
        disk.become_mood(Mood::Stuck);
        store.append(appended + 1, vec![batch(1, appended + 1, 1)]).expect("room");
        let (begun, tries) = (Instant::now(), disk.operations() + 40);
        while disk.operations() < tries {
            assert!(begun.elapsed() < SOON, "it does not try again");
            std::thread::yield_now();
        }
        assert!(disk.names().len() <= before + 1, "{before} files, then {:?}", disk.names());
        disk.become_mood(Mood::Works);
        while next(&mut events) != (StoreEvent::Appended { token: appended + 1 }) {}
        store.close().expect("closes");
        let (store, _events, recovered) = open_sim(&disk);
        assert!(recovered.cuts.is_empty() && !recovered.own_damaged);
        assert_eq!(recovered.log.last().and_then(|run| run.commits.last()), Some(&commit(1, appended + 1)));
        store.close().expect("closes");
    }
}

#[test]
fn whoever_waits_is_told_that_the_disk_fails() {
    let disk = SimDisk::default();
    let (store, mut events, _) = open_sim(&disk);
    disk.become_mood(Mood::Full);
    let identity = Identity { replica: replica(1) };
    let error = store.set_identity(identity).expect("room").wait().expect_err("not durable");
    assert!(matches!(error, StoreError::Failing { .. }), "{error}");
    disk.become_mood(Mood::Works);
    append_durably_after_recovery(&store, &mut events);
    store.close().expect("closes");
    assert_eq!(open_sim(&disk).2.identity, Some(identity), "it was tried again");
}

fn append_durably_after_recovery(store: &Store, events: &mut StoreEvents) {
    store.append(1, vec![batch(1, 1, 1)]).expect("room");
    while next(events) != (StoreEvent::Appended { token: 1 }) {}
}

#[test]
fn a_power_cut_at_any_moment_keeps_what_was_durable() {
    for seed in 0..40 {
        let disk = SimDisk::default();
        let (store, mut events, _) = open_sim(&disk);
        let (mut durable, mut queued) = (0, 0);
        for _ in 0..=seed % 7 {
            for _ in 0..3 {
                queued += 1;
                store.append(queued, vec![batch(1, queued, 1)]).expect("room");
            }
            while let Some(event) = events.try_next() {
                assert!(matches!(event, StoreEvent::Appended { .. }));
                durable += 1;
            }
        }
        let found = disk.after_power_cut(seed);
        let recovered = open_sim(&found).2;
        let there = recovered.log.first().map_or(0, |run| run.commits.len() as u64);
        assert!((durable..=queued).contains(&there), "seed {seed}: {there} of {durable} durable, {queued} queued");
        assert!(recovered.cuts.is_empty());
        assert!(there == 0 || recovered.log == vec![batch(1, 1, there)]);
    }
}

/// Not a test of its own: the process that the next test kills.
#[test]
#[ignore = "run by a_killed_process_loses_nothing_durable"]
fn child_that_writes_until_it_is_killed() {
    let dir = std::path::PathBuf::from(std::env::var_os("SELVEDGE_TEST_DIR").expect("run by its parent"));
    let (store, mut events, _) = Store::open(&dir.join("data")).expect("opens");
    let mut told = std::fs::File::create(dir.join("durable")).expect("creates");
    for seq in 1.. {
        let mut taken = false;
        while !taken {
            while let Some(event) = events.try_next() {
                if let StoreEvent::Appended { token } = event {
                    told.write_all(&token.to_le_bytes()).expect("writes");
                }
            }
            taken = store.append(seq, vec![batch(1, seq, 1)]).is_ok();
        }
    }
}

#[test]
fn a_killed_process_loses_nothing_durable() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let durable = || {
        let told = std::fs::read(dir.path().join("durable")).unwrap_or_default();
        told.chunks_exact(8).last().map_or(0, |last| u64::from_le_bytes(last.try_into().expect("eight")))
    };
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "--ignored", "store::tests::failure::child_that_writes_until_it_is_killed"])
        .env("SELVEDGE_TEST_DIR", dir.path())
        .stdout(Stdio::null())
        .spawn()
        .expect("starts");
    let begun = Instant::now();
    while durable() < 500 && begun.elapsed() < SOON {
        std::thread::yield_now();
    }
    let refused = Store::open(&dir.path().join("data")).expect_err("the child holds it");
    let expect = format!("process {}", child.id());
    assert!(refused.to_string().contains(&expect), "{refused}");
    child.kill().expect("kills");
    child.wait().expect("ends");
    let durable = durable();
    assert!(durable >= 500, "only {durable} in time");
    let recovered = Store::open(&dir.path().join("data")).expect("opens").2;
    let there = recovered.log.first().map_or(0, |run| run.commits.len() as u64);
    assert!(there >= durable, "{there} of {durable}");
    assert_eq!(recovered.log, vec![batch(1, 1, there)]);
}
