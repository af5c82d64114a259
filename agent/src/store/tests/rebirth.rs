//! A new incarnation, and a store that begins anew with it.

use super::super::sim_disk::Mood;
use super::*;

fn reborn() -> Identity {
    Identity { replica: ReplicaId { incarnation: Incarnation(8), ..replica(1) } }
}

fn fresh() -> Fresh {
    Fresh {
        orphans: Orphans { certain: vec![batch(1, 3, 1)], doubtful: vec![batch(1, 1, 2)], unconfirmed_after: None },
    }
}

/// A store with a past: an identity, a value, objects, a log.
fn write_past(store: &Store, events: &mut StoreEvents) {
    store.set_identity(Identity { replica: replica(1) }).expect("room").wait().expect("durable");
    store.set_meta("life", Some(vec![7])).expect("room").wait().expect("durable");
    append_durably(store, events, 1, vec![batch(1, 1, 3), batch(2, 1, 3)]);
    checkpoint_durably(store, events, checkpoint(2, vector(1, 2), vec![object("a", 1)]));
    append_durably(store, events, 3, vec![batch(1, 4, 30)]);
}

#[test]
fn a_fresh_store_keeps_its_orphans_and_named_values_only() {
    on_each_disk(|open| {
        let (store, mut events, _) = open();
        write_past(&store, &mut events);
        store.rebirth(reborn(), Some(fresh())).expect("room").wait().expect("durable");
        append_durably(&store, &mut events, 4, vec![batch(3, 1, 1)]);
        store.close().expect("closes");
        for _ in 0..2 {
            let (store, _events, recovered) = open();
            assert_eq!(recovered.identity, Some(reborn()));
            assert_eq!(recovered.orphans, fresh().orphans);
            assert_eq!(recovered.log, vec![batch(3, 1, 1)]);
            assert!(recovered.objects.is_empty() && recovered.checkpoint_vector.is_empty() && !recovered.own_damaged);
            assert_eq!(recovered.meta, BTreeMap::from([("life".to_owned(), vec![7])]));
            store.close().expect("closes");
        }
        let (store, mut events, _) = open();
        checkpoint_durably(&store, &mut events, checkpoint(5, vector(3, 1), Vec::new()));
        store.close().expect("closes");
        assert!(open().2.orphans.is_empty(), "a checkpoint replaces them");
        drop(events);
    });
}

#[test]
fn without_fresh_everything_stays() {
    on_each_disk(|open| {
        let (store, mut events, _) = open();
        write_past(&store, &mut events);
        store.rebirth(reborn(), None).expect("room").wait().expect("durable");
        store.close().expect("closes");
        let (store, _events, recovered) = open();
        assert_eq!(recovered.identity, Some(reborn()));
        assert_eq!(recovered.objects, vec![object("a", 1)]);
        assert_eq!(recovered.log, vec![batch(1, 1, 33), batch(2, 1, 3)]);
        store
            .rebirth(Identity { replica: replica(1) }, Some(Fresh { orphans: Orphans::default() }))
            .expect("room")
            .wait()
            .expect("durable");
        store.close().expect("closes");
        assert!(open().2.log.is_empty());
    });
}

#[test]
fn a_rebirth_waits_for_a_disk_that_fails() {
    let disk = SimDisk::default();
    let (store, mut events, _) = open_sim(&disk);
    write_past(&store, &mut events);
    disk.become_mood(Mood::Full);
    let pending = store.rebirth(reborn(), Some(fresh())).expect("room");
    assert!(matches!(next(&mut events), StoreEvent::Failed { .. }));
    disk.become_mood(Mood::Works);
    pending.wait().expect("durable at last");
    store.close().expect("closes");
    assert_eq!(open_sim(&disk).2.orphans, fresh().orphans);
}

#[test]
fn a_power_cut_during_a_rebirth_leaves_the_old_store_or_the_new() {
    let prepared = || {
        let disk = SimDisk::default();
        let (store, mut events, _) = open_sim(&disk);
        write_past(&store, &mut events);
        (disk, store, events)
    };
    let (whole, store, _events) = prepared();
    let first = whole.operations() + 1;
    store.rebirth(reborn(), Some(fresh())).expect("room").wait().expect("durable");
    store.close().expect("closes");
    let last = whole.operations();
    let (mut old, mut new) = (0, 0);
    for operation in first..=last {
        let (disk, store, events) = prepared();
        disk.lose_power_at(operation);
        drop(store.rebirth(reborn(), Some(fresh())).expect("room"));
        store.close().unwrap_or_default();
        drop(events);
        for seed in 0..3 {
            let recovered = open_sim(&disk.after_power_cut(seed)).2;
            assert!(!recovered.damaged && !recovered.own_damaged && recovered.cuts.is_empty());
            if recovered.identity == Some(reborn()) {
                new += 1;
                assert!(recovered.log.is_empty() && recovered.objects.is_empty());
                assert_eq!(recovered.orphans, fresh().orphans);
            } else {
                old += 1;
                assert_eq!(recovered.log, vec![batch(1, 1, 33), batch(2, 1, 3)]);
                assert_eq!(recovered.objects, vec![object("a", 1)]);
            }
        }
    }
    assert!(old > 0 && new > 0, "{old} {new}");
}
