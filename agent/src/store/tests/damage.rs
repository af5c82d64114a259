//! What recovery makes of bytes that were changed behind the store's back, and of files that are none of ours.

use super::*;

/// Changes rows of the database behind the store's back.
pub(super) fn tamper(disk: &SimDisk, change: impl FnOnce(&redb::WriteTransaction)) {
    let database = writer::open_database(disk, &Counters::default()).expect("opens");
    let transaction = writer::begin(&database).expect("begins");
    change(&transaction);
    transaction.commit().expect("commits");
}

/// The segments, in order.
fn segments(disk: &SimDisk) -> Vec<String> {
    disk.names().into_iter().filter(|name| name.ends_with(".log")).collect()
}

/// Changes one byte of a commit, or the one `before` bytes in front of it.
pub(super) fn damage(disk: &SimDisk, commit: &CommitBytes, before: usize) {
    let mut damaged = 0;
    for name in segments(disk) {
        disk.tamper(&name, |bytes| {
            if let Some(at) = bytes.windows(commit.len()).position(|window| window == commit.as_bytes()) {
                bytes[at - before] ^= 0x20;
                damaged += 1;
            }
        });
    }
    assert_eq!(damaged, 1, "the commit is there once");
}

/// A store of node 1 with three frames: commits 1 to 3 of node 1 and 1 and 2 of node 2; 4 and 3; 4 and 5 of node 2.
fn written() -> SimDisk {
    let disk = SimDisk::default();
    let (store, mut events, _) = open_sim(&disk);
    store.set_identity(Identity { replica: replica(1) }).expect("room").wait().expect("durable");
    append_durably(&store, &mut events, 1, vec![batch(1, 1, 3), batch(2, 1, 2)]);
    append_durably(&store, &mut events, 2, vec![batch(1, 4, 1), batch(2, 3, 1)]);
    append_durably(&store, &mut events, 3, vec![batch(2, 4, 2)]);
    store.close().expect("closes");
    disk
}

#[test]
fn newer_data_is_refused_and_left_alone() {
    let disk = written();
    tamper(&disk, |transaction| {
        let mut facts = transaction.open_table(layout::FACTS).expect("the table");
        facts.insert(layout::FACT_FORMAT, (layout::FORMAT + 1).to_le_bytes().as_slice()).expect("writes");
    });
    let before = disk.names();
    for _ in 0..2 {
        let refused = try_open_sim(&disk).expect_err("newer");
        assert!(matches!(refused, StoreError::Newer { found: 4, known: 3 }), "{refused}");
    }
    assert_eq!(disk.names(), before);
}

#[test]
fn a_damaged_commit_cuts_its_stream_and_no_other() {
    let disk = written();
    damage(&disk, &commit(2, 3), 0);
    let (store, mut events, recovered) = open_sim(&disk);
    assert_eq!(recovered.log, vec![batch(1, 1, 4), batch(2, 1, 2)]);
    assert_eq!(recovered.cuts, vec![Cut { stream: stream(2), from: 3, rows: 3 }]);
    assert!(!recovered.own_damaged && !recovered.damaged);
    append_durably(&store, &mut events, 2, vec![batch(2, 3, 1)]);
    store.close().expect("closes");
    let recovered = open_sim(&disk).2;
    assert_eq!(recovered.log, vec![batch(1, 1, 4), batch(2, 1, 3)], "the damage is gone");
    assert!(recovered.cuts.is_empty());
}

#[test]
fn a_frame_that_cannot_be_read_may_have_held_ours() {
    let disk = written();
    // The table of the second frame, where it says what the frame holds of node 2.
    damage(&disk, &commit(1, 4), 5);
    for _ in 0..2 {
        let (store, _events, recovered) = open_sim(&disk);
        assert_eq!(recovered.log, vec![batch(1, 1, 3), batch(2, 1, 2)]);
        assert!(recovered.own_damaged && !recovered.damaged);
        store.close().expect("closes");
    }
}

#[test]
fn damage_to_our_own_stream_is_remembered_until_there_is_a_new_identity() {
    let disk = written();
    damage(&disk, &commit(1, 4), 0);
    for _ in 0..2 {
        let (store, _events, recovered) = open_sim(&disk);
        assert!(recovered.own_damaged);
        assert_eq!(recovered.log, vec![batch(1, 1, 3), batch(2, 1, 5)]);
        store.close().expect("closes");
    }
    let (store, _events, _) = open_sim(&disk);
    let fresh = ReplicaId { incarnation: Incarnation(8), ..replica(1) };
    store.set_identity(Identity { replica: fresh }).expect("room").wait().expect("durable");
    store.close().expect("closes");
    assert!(!open_sim(&disk).2.own_damaged);
}

#[test]
fn what_is_intact_of_ours_behind_damage_waits_to_be_made_again() {
    // A commit, and the table of the frame that holds it and names the streams.
    for before in [0, 12] {
        let disk = SimDisk::default();
        let (store, mut events, _) = open_sim(&disk);
        store.set_identity(Identity { replica: replica(1) }).expect("room").wait().expect("durable");
        append_durably(&store, &mut events, 1, vec![batch(1, 1, 1), batch(2, 1, 1)]);
        append_durably(&store, &mut events, 2, vec![batch(1, 2, 1), batch(2, 2, 1)]);
        append_durably(&store, &mut events, 3, vec![batch(1, 3, 2)]);
        store.close().expect("closes");
        damage(&disk, &commit(1, 1), before);
        for _ in 0..2 {
            let (store, _events, recovered) = open_sim(&disk);
            assert!(recovered.own_damaged && !recovered.damaged);
            assert!(recovered.log.iter().all(|run| run.stream != stream(1)), "{:?}", recovered.log);
            assert_eq!(recovered.orphans.doubtful, vec![batch(1, 2, 3)], "{before}");
            assert!(recovered.orphans.certain.is_empty());
            store.close().expect("closes");
        }
        let (store, _events, _) = open_sim(&disk);
        let reborn = Identity { replica: ReplicaId { incarnation: Incarnation(8), ..replica(1) } };
        store.rebirth(reborn, None).expect("room").wait().expect("durable");
        store.close().expect("closes");
        let recovered = open_sim(&disk).2;
        assert_eq!(recovered.orphans.doubtful, vec![batch(1, 2, 3)]);
        assert!(!recovered.own_damaged);
    }
}

#[test]
fn another_life_does_not_inherit_what_was_confirmed_of_the_last() {
    let identity = Some(Identity { replica: replica(1) });
    let orphans = Orphans { doubtful: vec![batch(1, 2, 3)], unconfirmed_after: Some(17), ..Orphans::default() };
    let recovered = Recovered { identity, orphans: orphans.clone(), ..Recovered::default() };
    assert_eq!(recovered.clone().into_recovery(replica(1)).orphans, orphans);
    let reborn = ReplicaId { incarnation: Incarnation(8), ..replica(1) };
    assert_eq!(recovered.into_recovery(reborn).orphans, Orphans { unconfirmed_after: None, ..orphans });
}

#[test]
fn damage_to_the_very_end_of_a_closed_log_is_noticed() {
    let disk = SimDisk::default();
    let (store, mut events, _) = open_sim(&disk);
    store.set_identity(Identity { replica: replica(1) }).expect("room").wait().expect("durable");
    append_durably(&store, &mut events, 1, vec![batch(1, 1, 3)]);
    append_durably(&store, &mut events, 2, vec![batch(1, 4, 1)]);
    let killed = disk.after_power_cut(1);
    store.close().expect("closes");
    for before in [0, 15] {
        let disk = disk.after_power_cut(1);
        damage(&disk, &commit(1, 4), before);
        let recovered = open_sim(&disk).2;
        assert!(recovered.own_damaged, "{before}");
        assert_eq!(recovered.log, vec![batch(1, 1, 3)]);
    }
    // Where the log was not closed, a broken end is what a power cut leaves of a write that nobody was told of.
    damage(&killed, &commit(1, 4), 15);
    let (store, mut events, recovered) = open_sim(&killed);
    assert!(!recovered.own_damaged && recovered.cuts.is_empty());
    assert_eq!(recovered.log, vec![batch(1, 1, 3)]);
    append_durably(&store, &mut events, 2, vec![batch(1, 4, 2)]);
    store.close().expect("closes");
    let recovered = open_sim(&killed).2;
    assert_eq!(recovered.log, vec![batch(1, 1, 5)]);
    assert!(!recovered.own_damaged && recovered.cuts.is_empty());
}

#[test]
fn damage_below_the_checkpoint_costs_only_history() {
    for before in [0, 15] {
        let disk = written();
        let (store, mut events, _) = open_sim(&disk);
        let both = [(stream(1), 4), (stream(2), 5)].into_iter().collect();
        checkpoint_durably(&store, &mut events, checkpoint(9, both, Vec::new()));
        append_durably(&store, &mut events, 10, vec![batch(1, 5, 1), batch(2, 6, 1)]);
        store.close().expect("closes");
        damage(&disk, &commit(1, 4), before);
        let recovered = open_sim(&disk).2;
        assert!(!recovered.own_damaged && recovered.cuts.is_empty() && !recovered.damaged);
        assert!(recovered.log.contains(&batch(1, 5, 1)), "{:?}", recovered.log);
        assert!(recovered.log.iter().any(|run| run.stream == stream(2) && run.first + run.commits.len() as u64 == 7));
    }
}

#[test]
fn a_segment_that_is_gone_is_damage() {
    let disk = SimDisk::default();
    let (store, mut events, _) = open_sim(&disk);
    store.set_identity(Identity { replica: replica(1) }).expect("room").wait().expect("durable");
    for seq in 1..=120 {
        append_durably(&store, &mut events, seq, vec![batch(1, seq, 1)]);
    }
    store.close().expect("closes");
    let names = segments(&disk);
    assert!(names.len() > 2, "{names:?}");
    disk.lose(&names[1]);
    let recovered = open_sim(&disk).2;
    assert!(recovered.own_damaged);
    assert_eq!(recovered.cuts.len(), 1);
}

/// A checkpoint with an object, one orphan, and our commits 1 to 3 in the log.
fn checkpointed(open: &dyn Fn() -> Opened) {
    let (store, mut events, _) = open();
    store.set_identity(Identity { replica: replica(1) }).expect("room").wait().expect("durable");
    store.set_meta("life", Some(vec![7])).expect("room").wait().expect("durable");
    append_durably(&store, &mut events, 1, vec![batch(1, 1, 3), batch(2, 1, 3)]);
    let orphans = Orphans { certain: vec![batch(9, 1, 1)], doubtful: Vec::new(), unconfirmed_after: None };
    let written = checkpoint(2, vector(1, 2), vec![object("a", 1), object("b", 2)]);
    checkpoint_durably(&store, &mut events, Checkpoint { orphans: Some(orphans), ..written });
    store.close().expect("closes");
}

/// The damaged store gives back nothing but the log, again and again, until it is told what to begin with.
fn check_begins_anew(open: &dyn Fn() -> Opened, identity: Option<Identity>, orphans: usize) {
    for _ in 0..2 {
        let (store, _events, recovered) = open();
        assert!(recovered.damaged && recovered.own_damaged);
        assert!(store.stats().damaged.is_some());
        assert!(recovered.objects.is_empty() && recovered.checkpoint_vector.is_empty());
        assert_eq!(recovered.identity, identity);
        assert_eq!(recovered.orphans.certain.len(), orphans);
        assert_eq!(recovered.log, vec![batch(1, 1, 3), batch(2, 1, 3)]);
        store.close().expect("closes");
    }
    let (store, mut events, recovered) = open();
    let reborn = Identity { replica: ReplicaId { incarnation: Incarnation(8), ..replica(1) } };
    let own = recovered.log.into_iter().filter(|batch| batch.stream.replica.node == replica(1).node).collect();
    let orphans = Orphans { certain: recovered.orphans.certain, doubtful: own, unconfirmed_after: None };
    let fresh = Fresh { orphans: orphans.clone() };
    store.rebirth(reborn, Some(fresh)).expect("room").wait().expect("durable");
    let after = Batch { stream: Stream::global(reborn.replica), ..batch(1, 1, 2) };
    append_durably(&store, &mut events, 1, vec![after.clone()]);
    store.close().expect("closes");
    let (store, _events, recovered) = open();
    assert!(!recovered.damaged && !recovered.own_damaged && store.stats().damaged.is_none());
    assert_eq!(recovered.identity, Some(reborn));
    assert_eq!(recovered.orphans, orphans);
    assert_eq!(recovered.log, vec![after]);
    assert!(recovered.objects.is_empty() && recovered.cuts.is_empty());
    store.close().expect("closes");
}

#[test]
fn a_damaged_object_lets_the_store_begin_anew() {
    let disk = SimDisk::default();
    checkpointed(&|| open_sim(&disk));
    tamper(&disk, |transaction| {
        let mut objects = transaction.open_table(layout::OBJECTS).expect("the table");
        let key = layout::object_key(&object("a", 1).0);
        objects.insert(key.as_slice(), [0; 40].as_slice()).expect("writes");
    });
    check_begins_anew(&|| open_sim(&disk), Some(Identity { replica: replica(1) }), 1);
    assert_eq!(open_sim(&disk).2.meta, BTreeMap::from([("life".to_owned(), vec![7])]));
}

#[test]
fn a_damaged_fact_lets_the_store_begin_anew() {
    for (fact, identity, orphans) in [
        (layout::FACT_VECTOR, true, 1),
        (layout::FACT_AHEAD, true, 1),
        (layout::FACT_LOG, true, 1),
        (layout::FACT_IDENTITY, false, 1),
        (layout::FACT_ORPHANS, true, 0),
    ] {
        let disk = SimDisk::default();
        checkpointed(&|| open_sim(&disk));
        tamper(&disk, |transaction| {
            let mut facts = transaction.open_table(layout::FACTS).expect("the table");
            facts.insert(fact, [1; 40].as_slice()).expect("writes");
        });
        let identity = identity.then_some(Identity { replica: replica(1) });
        check_begins_anew(&|| open_sim(&disk), identity, orphans);
    }
}

#[test]
fn a_row_that_vanished_or_is_out_of_date_lets_the_store_begin_anew() {
    let key = |name| layout::object_key(&object(name, 0).0);
    let vanish = |transaction: &redb::WriteTransaction| {
        let mut objects = transaction.open_table(layout::OBJECTS).expect("the table");
        objects.remove(key("a").as_slice()).expect("removes").expect("was there");
    };
    let go_back = |transaction: &redb::WriteTransaction| {
        let mut objects = transaction.open_table(layout::OBJECTS).expect("the table");
        let row = layout::seal("objects", &key("a"), &layout::encode_object(&object("a", 7).1));
        objects.insert(key("a").as_slice(), row.as_slice()).expect("writes").expect("was there");
    };
    let lose_the_vector = |transaction: &redb::WriteTransaction| {
        let mut facts = transaction.open_table(layout::FACTS).expect("the table");
        facts.remove(layout::FACT_VECTOR).expect("removes").expect("was there");
    };
    let ways: [&dyn Fn(&redb::WriteTransaction); 3] = [&vanish, &go_back, &lose_the_vector];
    for way in ways {
        let disk = SimDisk::default();
        checkpointed(&|| open_sim(&disk));
        tamper(&disk, way);
        check_begins_anew(&|| open_sim(&disk), Some(Identity { replica: replica(1) }), 1);
    }
}

#[test]
fn a_damaged_value_counts_as_missing() {
    let disk = SimDisk::default();
    checkpointed(&|| open_sim(&disk));
    tamper(&disk, |transaction| {
        let mut meta = transaction.open_table(layout::META).expect("the table");
        meta.insert("life", [1; 40].as_slice()).expect("writes");
    });
    let recovered = open_sim(&disk).2;
    assert!(!recovered.damaged && recovered.meta.is_empty());
    assert_eq!(recovered.objects.len(), 2);
}

#[test]
fn a_destroyed_database_is_set_aside_and_the_log_stays() {
    let ruins: [fn(&mut Vec<u8>); 3] =
        [|bytes| bytes.fill(b'x'), |bytes| bytes.truncate(1_000), |bytes| bytes[4_096..].fill(0xff)];
    for ruin in ruins {
        let disk = SimDisk::default();
        checkpointed(&|| open_sim(&disk));
        disk.tamper(DATABASE_FILE, ruin);
        check_begins_anew(&|| open_sim(&disk), None, 0);
        let kept = disk.names().iter().filter(|name| name.starts_with("state.redb.damaged-")).count();
        assert_eq!(kept, 1, "{:?}", disk.names());
    }
}

#[test]
fn a_database_that_is_gone_is_noticed_by_its_log() {
    let disk = SimDisk::default();
    checkpointed(&|| open_sim(&disk));
    disk.lose(DATABASE_FILE);
    check_begins_anew(&|| open_sim(&disk), None, 0);
}

#[test]
fn a_real_file_that_is_no_database_is_kept() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    checkpointed(&|| Store::open(dir.path()).expect("opens"));
    std::fs::write(dir.path().join(DATABASE_FILE), vec![b'x'; 8192]).expect("writes");
    check_begins_anew(&|| Store::open(dir.path()).expect("opens"), None, 0);
    let kept = std::fs::read_dir(dir.path()).expect("lists").filter_map(Result::ok);
    let kept: Vec<_> = kept.filter(|entry| entry.file_name().to_string_lossy().contains(".damaged-")).collect();
    assert_eq!(kept.len(), 1);
    assert_eq!(std::fs::read(kept[0].path()).expect("reads"), vec![b'x'; 8192]);
}

/// All bytes of the disk.
fn image(disk: &SimDisk) -> Vec<(String, Vec<u8>)> {
    let read = |name: String| {
        let mut copy = Vec::new();
        disk.tamper(&name, |bytes| copy.clone_from(bytes));
        (name, copy)
    };
    disk.names().into_iter().map(read).collect()
}

/// What a survey says, and that it has changed nothing.
fn surveyed(disk: &SimDisk) -> Result<Survey, StoreError> {
    let before = image(disk);
    let survey = survey::survey(disk);
    assert!(image(disk) == before, "it was only looked at");
    survey
}

#[test]
fn a_survey_says_what_a_start_would_find_and_changes_nothing() {
    let disk = written();
    let survey = surveyed(&disk).expect("is read");
    assert_eq!((survey.objects, survey.commits, survey.cuts, &survey.damage), (0, 9, 0, &None));
    assert!(survey.latest_ms > 0);
    damage(&disk, &commit(2, 3), 0);
    assert_eq!(surveyed(&disk).expect("is read"), Survey { commits: 6, cuts: 1, latest_ms: 4, ..survey });
    assert_eq!(open_sim(&disk).2.cuts.len(), 1, "as it was said");

    let disk = written();
    tamper(&disk, |transaction| {
        let mut facts = transaction.open_table(layout::FACTS).expect("the table");
        facts.remove(layout::FACT_LOG).expect("removes");
    });
    assert!(surveyed(&disk).expect("is read").damage.is_some());
    assert!(open_sim(&disk).2.damaged, "as it was said");
}

#[test]
fn a_survey_tells_other_releases_apart() {
    for (format, older) in [(layout::FORMAT + 1, None), (layout::FORMAT - 1, Some(layout::FORMAT - 1))] {
        let disk = written();
        tamper(&disk, |transaction| {
            let mut facts = transaction.open_table(layout::FACTS).expect("the table");
            facts.insert(layout::FACT_FORMAT, format.to_le_bytes().as_slice()).expect("writes");
        });
        match surveyed(&disk) {
            Ok(survey) => assert_eq!(survey.older, older),
            Err(refused) => assert!(older.is_none() && matches!(refused, StoreError::Newer { .. }), "{refused}"),
        }
    }
}
