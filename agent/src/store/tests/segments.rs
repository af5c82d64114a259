//! Segments: begun, given up and used again; and what is kept of them.

use super::*;

fn segments(disk: &SimDisk) -> usize {
    disk.names().iter().filter(|name| name.ends_with(".log")).count()
}

fn all_firsts(first: u64) -> Vec<(Stream, u64)> {
    vec![(stream(1), first)]
}

#[test]
fn the_log_stays_bounded_and_its_files_are_used_again() {
    let disk = SimDisk::default();
    let (store, mut events, _) = open_sim(&disk);
    let mut most = 0;
    for seq in 1..=2_000 {
        append_durably(&store, &mut events, seq, vec![batch(1, seq, 1)]);
        if seq % 100 == 0 {
            let written = checkpoint(seq, vector(1, seq), vec![object("a", seq)]);
            checkpoint_durably(&store, &mut events, Checkpoint { log_first: all_firsts(seq - 10), ..written });
        }
        most = most.max(disk.names().len());
    }
    assert!(most <= 14, "{most} files");
    let stats = store.stats();
    assert!(stats.segments >= 1 && stats.log_bytes > 0 && stats.log_bytes < 20 * SEGMENT_BYTES, "{stats:?}");
    store.close().expect("closes");
    let recovered = open_sim(&disk).2;
    assert_eq!(recovered.log, vec![batch(1, 1_990, 11)]);
}

#[test]
fn a_stream_that_nobody_writes_any_more_does_not_hold_the_log_for_ever() {
    let disk = SimDisk::default();
    let (store, mut events, _) = open_sim(&disk);
    append_durably(&store, &mut events, 1, vec![batch(2, 1, 5)]);
    for seq in 2..=2_000 {
        append_durably(&store, &mut events, seq, vec![batch(1, seq - 1, 1)]);
        if seq % 100 == 0 {
            let seen = [(stream(1), seq - 1), (stream(2), 5)].into_iter().collect();
            let log_first = vec![(stream(1), seq - 1), (stream(2), 1)];
            checkpoint_durably(&store, &mut events, Checkpoint { log_first, ..checkpoint(seq, seen, Vec::new()) });
        }
    }
    assert!(segments(&disk) <= 8, "{}", segments(&disk));
    store.close().expect("closes");
    let recovered = open_sim(&disk).2;
    assert!(recovered.cuts.is_empty() && !recovered.own_damaged);
    assert_eq!(recovered.checkpoint_vector.seq(&stream(2)), 5);
}

#[test]
fn what_the_checkpoint_lacks_is_never_given_up() {
    let disk = SimDisk::default();
    let (store, mut events, _) = open_sim(&disk);
    for seq in 1..=500 {
        append_durably(&store, &mut events, seq, vec![batch(1, seq, 1)]);
    }
    assert!(segments(&disk) > 10);
    store.close().expect("closes");
    let (store, mut events, recovered) = open_sim(&disk);
    assert_eq!(recovered.log, vec![batch(1, 1, 500)]);
    append_durably(&store, &mut events, 501, vec![batch(1, 501, 1)]);
    store.close().expect("closes");
    assert_eq!(open_sim(&disk).2.log, vec![batch(1, 1, 501)]);
}

#[test]
fn what_was_given_up_stays_given_up() {
    let disk = SimDisk::default();
    let (store, mut events, _) = open_sim(&disk);
    append_durably(&store, &mut events, 1, vec![batch(1, 1, 3), batch(2, 1, 3)]);
    let written = checkpoint(2, vector(1, 3), Vec::new());
    let log_first = vec![(stream(2), u64::MAX), (stream(1), 2)];
    checkpoint_durably(&store, &mut events, Checkpoint { log_first, ..written });
    // Says nothing of stream 2 any more, and the segment that held it is still there.
    checkpoint_durably(&store, &mut events, checkpoint(3, vector(1, 3), Vec::new()));
    store.close().expect("closes");
    for _ in 0..2 {
        let (store, _events, recovered) = open_sim(&disk);
        assert_eq!(recovered.log, vec![batch(1, 2, 2)]);
        store.close().expect("closes");
    }
    let (store, mut events, _) = open_sim(&disk);
    append_durably(&store, &mut events, 4, vec![batch(2, 1, 2)]);
    store.close().expect("closes");
    assert_eq!(open_sim(&disk).2.log, vec![batch(1, 2, 2), batch(2, 1, 2)], "what was written after that is there");
}

#[test]
fn lazy_commits_wait_for_company_and_are_taken_along() {
    let disk = SimDisk::default();
    let (store, mut events, _) = open_sim(&disk);
    let before = store.stats().transactions;
    for seq in 1..=5 {
        store.append_soon(seq, vec![batch(2, seq, 1)]).expect("room");
    }
    assert_eq!(events.try_next(), None);
    store.append(6, vec![batch(1, 1, 1)]).expect("room");
    for token in 1..=6 {
        assert_eq!(next(&mut events), StoreEvent::Appended { token });
    }
    assert_eq!(store.stats().transactions - before, 1, "one write for all");
    store.append_soon(7, vec![batch(2, 6, 1)]).expect("room");
    assert_eq!(next(&mut events), StoreEvent::Appended { token: 7 }, "in the end without company");
    store.append_soon(8, vec![batch(2, 7, 1)]).expect("room");
    store.flush();
    assert_eq!(next(&mut events), StoreEvent::Appended { token: 8 });
    store.append_soon(9, vec![batch(2, 8, 1)]).expect("room");
    store.close().expect("closes");
    assert_eq!(open_sim(&disk).2.log, vec![batch(1, 1, 1), batch(2, 1, 8)]);
}

#[test]
fn a_lone_commit_takes_one_sync_and_little_more_than_its_bytes() {
    let disk = SimDisk::default();
    let (store, mut events, _) = open_sim(&disk);
    append_durably(&store, &mut events, 1, vec![batch(1, 1, 1)]);
    let before = store.stats();
    append_durably(&store, &mut events, 2, vec![batch(1, 2, 1)]);
    let after = store.stats();
    assert_eq!(after.syncs - before.syncs, 1);
    let overhead = after.bytes_written - before.bytes_written - commit(1, 2).len() as u64;
    assert!(overhead <= 28, "{overhead} bytes beside the commit");
    store.close().expect("closes");
}

#[test]
fn small_frames_lie_in_one_page_each() {
    const PAGE: usize = 4096;
    const COMMITS: u64 = 2_000;
    let disk = SimDisk::default();
    let open = |disk: &SimDisk| Store::open_on(Arc::new(disk.clone()), 1 << 20, PATIENCE).expect("opens");
    let (store, mut events, _) = open(&disk);
    for seq in 1..=COMMITS {
        append_durably(&store, &mut events, seq, vec![batch(1, seq, 1)]);
    }
    let killed = disk.after_power_cut(1);
    store.close().expect("closes");
    let name = disk.names().into_iter().find(|name| name.ends_with(".log")).expect("a segment");
    disk.tamper(&name, |bytes| {
        for seq in 1..=COMMITS {
            let commit = commit(1, seq);
            let at = bytes.windows(commit.len()).position(|found| found == commit.as_bytes()).expect("is there");
            // A frame's last byte is the last of its commit, and it is longer than that by what stands before it.
            let (begin, last) = (at - 20, at + commit.len() - 1);
            assert!(begin / PAGE == last / PAGE || begin % PAGE >= PAGE - 4, "commit {seq} lies at {at}");
        }
    });
    for disk in [&disk, &killed] {
        let (store, _events, recovered) = open(disk);
        assert_eq!(recovered.log, vec![batch(1, 1, COMMITS)]);
        assert!(recovered.cuts.is_empty() && !recovered.own_damaged);
        store.close().expect("closes");
    }
}
