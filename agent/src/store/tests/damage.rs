//! What recovery makes of rows that were changed behind the store's back, and of files that are none of ours.

use redb::ReadableTable;

use super::*;

/// Changes rows behind the store's back.
fn tamper(disk: &SimDisk, change: impl FnOnce(&redb::WriteTransaction)) {
    let database = writer::open_database(disk, &Counters::default()).expect("opens");
    let transaction = writer::begin(&database).expect("begins");
    change(&transaction);
    transaction.commit().expect("commits");
}

fn damage_commit(disk: &SimDisk, node: u8, seq: u64) {
    tamper(disk, |transaction| {
        let key = layout::log_key(&stream(node), seq);
        let mut log = transaction.open_table(layout::LOG).expect("the table");
        let mut row = log.get(&key).expect("reads").expect("there").value().to_vec();
        *row.last_mut().expect("not empty") ^= 1;
        log.insert(&key, row.as_slice()).expect("writes");
    });
}

#[test]
fn newer_data_is_refused() {
    let disk = SimDisk::default();
    open_sim(&disk).0.close().expect("closes");
    tamper(&disk, |transaction| {
        let mut facts = transaction.open_table(layout::FACTS).expect("the table");
        facts.insert(layout::FACT_FORMAT, (layout::FORMAT + 1).to_le_bytes().as_slice()).expect("writes");
    });
    let refused = Store::open_on(Box::new(disk), RETRY).expect_err("newer");
    assert!(matches!(refused, StoreError::Newer { found: 2, known: 1 }), "{refused}");
}

#[test]
fn a_damaged_row_cuts_its_stream_and_no_other() {
    let disk = SimDisk::default();
    let (store, mut events, _) = open_sim(&disk);
    store.set_identity(Identity { replica: replica(1) }).expect("room").wait().expect("durable");
    append_durably(&store, &mut events, 1, vec![batch(1, 1, 3), batch(2, 1, 5)]);
    store.close().expect("closes");
    damage_commit(&disk, 2, 3);
    let (store, mut events, recovered) = open_sim(&disk);
    assert_eq!(recovered.log, vec![batch(1, 1, 3), batch(2, 1, 2)]);
    assert_eq!(recovered.cuts, vec![Cut { stream: stream(2), from: 3, rows: 3 }]);
    assert!(!recovered.own_damaged);
    append_durably(&store, &mut events, 2, vec![batch(2, 3, 1)]);
    store.close().expect("closes");
    let recovered = open_sim(&disk).2;
    assert_eq!(recovered.log, vec![batch(1, 1, 3), batch(2, 1, 3)], "the damage is gone");
    assert!(recovered.cuts.is_empty());
}

#[test]
fn damage_to_our_own_stream_is_remembered_until_there_is_a_new_identity() {
    let disk = SimDisk::default();
    let (store, mut events, _) = open_sim(&disk);
    store.set_identity(Identity { replica: replica(1) }).expect("room").wait().expect("durable");
    append_durably(&store, &mut events, 1, vec![batch(1, 1, 3)]);
    store.close().expect("closes");
    damage_commit(&disk, 1, 3);
    for _ in 0..2 {
        let (store, _events, recovered) = open_sim(&disk);
        assert!(recovered.own_damaged);
        assert_eq!(recovered.log, vec![batch(1, 1, 2)]);
        store.close().expect("closes");
    }
    let (store, _events, _) = open_sim(&disk);
    let fresh = ReplicaId { incarnation: Incarnation(8), ..replica(1) };
    store.set_identity(Identity { replica: fresh }).expect("room").wait().expect("durable");
    store.close().expect("closes");
    assert!(!open_sim(&disk).2.own_damaged);
}

#[test]
fn damage_to_the_checkpoint_is_refused_and_nothing_is_touched() {
    let disk = SimDisk::default();
    let (store, mut events, _) = open_sim(&disk);
    let (key, state) = object("a", 1);
    store.checkpoint(Checkpoint { objects: vec![(key, Some(state))], ..Checkpoint::default() }).expect("room");
    next(&mut events);
    store.close().expect("closes");
    tamper(&disk, |transaction| {
        let mut objects = transaction.open_table(layout::OBJECTS).expect("the table");
        let key = selvedge_sync::codec::encode(&object("a", 1).0);
        objects.insert(key.as_slice(), [0; 40].as_slice()).expect("writes");
    });
    for _ in 0..2 {
        let refused = Store::open_on(Box::new(disk.clone()), RETRY).expect_err("damaged");
        assert!(matches!(&refused, StoreError::Damaged { .. }), "{refused}");
        assert!(refused.to_string().contains("state.redb"), "{refused}");
    }
}

#[test]
fn a_file_that_is_no_database_is_refused() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(dir.path().join("state.redb"), vec![b'x'; 8192]).expect("writes");
    let refused = Store::open(dir.path()).expect_err("no database");
    assert!(matches!(refused, StoreError::Damaged { .. }), "{refused:?}");
}
