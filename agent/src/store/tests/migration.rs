//! Data directories of formats 1 and 2 open and lose nothing.

use selvedge_sync::codec;

use super::super::disk::Disk;
use super::super::migrate::one_to_three::{LOG, LogKey, checksum};
use super::damage::{damage, tamper};
use super::*;

/// Format 1 as it was written: the log in the database, rows under BLAKE3, objects under their keys in CBOR.
fn write_format_1(disk: &SimDisk, tamper: impl Fn(&str, &[u8], &mut Vec<u8>)) {
    let seal = |table: &str, key: &[u8], content: &[u8]| {
        let mut row = [checksum(table, key, content).as_slice(), content].concat();
        tamper(table, key, &mut row);
        row
    };
    let database = writer::open_database(disk, &Counters::default()).expect("opens");
    let transaction = writer::begin(&database).expect("begins");
    {
        let mut facts = transaction.open_table(layout::FACTS).expect("a table");
        facts.insert("format", 1_u32.to_le_bytes().as_slice()).expect("writes");
        for (name, content) in [
            ("identity", codec::encode(&Identity { replica: replica(1) })),
            ("vector", codec::encode(&vector(1, 2))),
            ("ahead", codec::encode(&Ahead::default())),
        ] {
            facts.insert(name, seal("facts", name.as_bytes(), &content).as_slice()).expect("writes");
        }
        let mut meta = transaction.open_table(layout::META).expect("a table");
        meta.insert("life", seal("meta", b"life", &[7]).as_slice()).expect("writes");
        let mut log = transaction.open_table(LOG).expect("a table");
        for (node, through) in [(1, 6), (2, 4)] {
            for seq in 1..=through {
                let key = log_key(&stream(node), seq);
                log.insert(&key, seal("log", &key, commit(node, seq).as_bytes()).as_slice()).expect("writes");
            }
        }
        let mut objects = transaction.open_table(layout::OBJECTS).expect("a table");
        for (key, state) in [object("a", 1), object("b", 2)] {
            let key = codec::encode(&key);
            let row = seal("objects", &key, &codec::encode(&state));
            objects.insert(key.as_slice(), row.as_slice()).expect("writes");
        }
    }
    transaction.commit().expect("commits");
}

fn log_key(stream: &Stream, seq: u64) -> LogKey {
    let mut key = [0; 52];
    key[..4].copy_from_slice(&stream.scope.0.to_be_bytes());
    key[4..36].copy_from_slice(&stream.replica.node.0);
    key[36..44].copy_from_slice(&stream.replica.incarnation.0.to_be_bytes());
    key[44..].copy_from_slice(&seq.to_be_bytes());
    key
}

fn check_whole(recovered: &Recovered) {
    assert!(!recovered.damaged && !recovered.own_damaged && recovered.cuts.is_empty());
    assert_eq!(recovered.identity, Some(Identity { replica: replica(1) }));
    assert_eq!(recovered.checkpoint_vector, vector(1, 2));
    assert_eq!(recovered.objects, vec![object("a", 1), object("b", 2)]);
    assert_eq!(recovered.log, vec![batch(1, 1, 6), batch(2, 1, 4)]);
    assert_eq!(recovered.meta, BTreeMap::from([("life".to_owned(), vec![7])]));
}

#[test]
fn format_1_opens_and_loses_nothing() {
    let disk = SimDisk::default();
    write_format_1(&disk, |_, _, _| {});
    check_whole(&open_sim(&disk).2);
    let (store, mut events, recovered) = open_sim(&disk);
    check_whole(&recovered);
    append_durably(&store, &mut events, 1, vec![batch(1, 7, 1)]);
    store.close().expect("closes");
    assert_eq!(open_sim(&disk).2.log, vec![batch(1, 1, 7), batch(2, 1, 4)]);
}

#[test]
fn damage_in_format_1_stays_damage() {
    let damaged = |which: &'static str, of: Vec<u8>| {
        let disk = SimDisk::default();
        write_format_1(&disk, move |table, key, row| {
            if table == which && *key == of {
                *row.last_mut().expect("not empty") ^= 1;
            }
        });
        let recovered = open_sim(&disk).2;
        assert_eq!(open_sim(&disk).2.damaged, recovered.damaged, "what was brought forward says the same");
        recovered
    };
    assert!(damaged("objects", codec::encode(&object("a", 1).0)).damaged);
    for fact in ["identity", "vector", "ahead"] {
        assert!(damaged("facts", fact.into()).damaged, "{fact}");
    }
    let recovered = damaged("log", log_key(&stream(1), 6).to_vec());
    assert!(recovered.own_damaged && !recovered.damaged, "the last of our commits");
    assert_eq!(recovered.log, vec![batch(1, 1, 5), batch(2, 1, 4)]);
    let recovered = damaged("log", log_key(&stream(2), 2).to_vec());
    assert!(!recovered.own_damaged);
    assert_eq!(recovered.log, vec![batch(1, 1, 6), batch(2, 1, 1)]);
}

#[test]
fn a_power_cut_during_the_migration_loses_nothing() {
    let whole = SimDisk::default();
    write_format_1(&whole, |_, _, _| {});
    let first = whole.operations() + 1;
    open_sim(&whole).0.close().expect("closes");
    for operation in first..=whole.operations() {
        let disk = SimDisk::default();
        write_format_1(&disk, |_, _, _| {});
        disk.lose_power_at(operation);
        if let Ok((store, _events, _)) = try_open_sim(&disk) {
            store.close().unwrap_or_default();
        }
        for seed in 0..3 {
            check_whole(&open_sim(&disk.after_power_cut(seed)).2);
        }
    }
}

/// Format 2 as it was written: the log in segments of longer frames, and no tally. Returns its frames, but for the mark at the end.
pub(super) fn write_format_2(disk: &SimDisk) -> Vec<Vec<Batch>> {
    let (_database, frames) = write_format_2_on(disk);
    disk.settle();
    frames
}

fn write_format_2_on(disk: &dyn Disk) -> (redb::Database, Vec<Vec<Batch>>) {
    let database = writer::open_database(disk, &Counters::default()).expect("opens");
    let transaction = writer::begin(&database).expect("begins");
    {
        let mut facts = transaction.open_table(layout::FACTS).expect("a table");
        facts.insert("format", 2_u32.to_le_bytes().as_slice()).expect("writes");
        let place = layout::LogPlace { generation: 3, covered: 1, firsts: Vec::new() };
        for (name, content) in [
            ("identity", codec::encode(&Identity { replica: replica(1) })),
            ("vector", codec::encode(&vector(1, 2))),
            ("log", codec::encode(&place)),
        ] {
            let row = layout::seal("facts", name.as_bytes(), &content);
            facts.insert(name, row.as_slice()).expect("writes");
        }
        let mut meta = transaction.open_table(layout::META).expect("a table");
        meta.insert("life", layout::seal("meta", b"life", &[7]).as_slice()).expect("writes");
        let mut objects = transaction.open_table(layout::OBJECTS).expect("a table");
        for (key, state) in [object("a", 1), object("b", 2)] {
            let key = layout::object_key(&key);
            let row = layout::seal("objects", &key, &layout::encode_object(&state));
            objects.insert(key.as_slice(), row.as_slice()).expect("writes");
        }
    }
    transaction.commit().expect("commits");
    let first = [vec![batch(1, 1, 2), batch(2, 1, 1)], vec![batch(1, 3, 1)], vec![batch(2, 2, 2), batch(1, 4, 1)]];
    let second = [vec![batch(1, 5, 2), batch(2, 4, 1)], Vec::new()];
    for (number, first_frame, frames) in [(0, 0, &first[..]), (1, 3, &second[..])] {
        let (name, bytes) = log::segment_two(3, number, first_frame, frames);
        disk.create(&name).expect("creates").write(0, &bytes).expect("writes");
    }
    (database, first.into_iter().chain(second).filter(|frame| !frame.is_empty()).collect())
}

/// The directory that `tests/tests/boot.rs` puts under an upgraded package. It is what is written here on a disk, and is written again where
/// `SELVEDGE_KEEP` is set.
#[test]
fn the_kept_directory_of_format_2_opens_and_loses_nothing() {
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/kept/format-2.tar.gz");
    let tar = |how: &str, folder: &Path, what: &[&str]| {
        let status = std::process::Command::new("tar").arg(how).arg(&kept).arg("-C").arg(folder).args(what).status();
        assert!(status.expect("there is a tar").success());
    };
    if std::env::var_os("SELVEDGE_KEEP").is_some() {
        let folder = tempfile::tempdir().expect("a folder");
        let disk = FileDisk::take(folder.path()).expect("takes");
        drop(write_format_2_on(&disk));
        tar("-czf", folder.path(), &["state.redb", "log"]);
    }
    let folder = tempfile::tempdir().expect("a folder");
    tar("-xzf", folder.path(), &[]);
    let (store, _events, recovered) = Store::open(folder.path()).expect("opens");
    check_whole(&recovered);
    store.close().expect("closes");
}

#[test]
fn format_2_opens_and_loses_nothing() {
    let disk = SimDisk::default();
    write_format_2(&disk);
    check_whole(&open_sim(&disk).2);
    let (store, mut events, recovered) = open_sim(&disk);
    check_whole(&recovered);
    append_durably(&store, &mut events, 1, vec![batch(1, 7, 1)]);
    store.close().expect("closes");
    assert_eq!(open_sim(&disk).2.log, vec![batch(1, 1, 7), batch(2, 1, 4)], "old segments and new ones are one log");
    tamper(&disk, |transaction| {
        let mut objects = transaction.open_table(layout::OBJECTS).expect("the table");
        let key = layout::object_key(&object("a", 1).0);
        objects.remove(key.as_slice()).expect("removes").expect("was there");
    });
    assert!(open_sim(&disk).2.damaged, "the rows of format 2 were counted");
}

#[test]
fn damage_in_format_2_is_located() {
    for (damaged, before, ours, others, own_damaged) in [
        // A commit, and its frame's table: of that it is not known whose it was.
        (commit(2, 2), 0, 6, 1, false),
        (commit(1, 3), 0, 2, 4, true),
        (commit(1, 3), 10, 2, 4, true),
        // Where a stream is named, in a frame that the checkpoint stands for: a later one speaks of a stream that nobody knows.
        (commit(1, 1), 40, 6, 0, true),
    ] {
        let disk = SimDisk::default();
        write_format_2(&disk);
        damage(&disk, &damaged, before);
        let recovered = open_sim(&disk).2;
        let last = |run: &Batch| run.first + run.commits.len() as u64 - 1;
        let length = |node| recovered.log.iter().find(|run| run.stream == stream(node)).map_or(0, last);
        assert_eq!((length(1), length(2)), (ours, others), "{before}: {:?}", recovered.log);
        assert_eq!(recovered.own_damaged, own_damaged, "{before}");
        assert!(!recovered.damaged);
    }
}

#[test]
fn a_damaged_fact_or_object_of_format_2_stays_damaged() {
    let ways: [fn(&redb::WriteTransaction); 4] = [
        |transaction| damage_fact(transaction, layout::FACT_IDENTITY),
        |transaction| damage_fact(transaction, layout::FACT_VECTOR),
        |transaction| damage_fact(transaction, layout::FACT_LOG),
        |transaction| {
            let mut objects = transaction.open_table(layout::OBJECTS).expect("the table");
            let key = layout::object_key(&object("a", 1).0);
            objects.insert(key.as_slice(), [1; 40].as_slice()).expect("writes");
        },
    ];
    for way in ways {
        let disk = SimDisk::default();
        write_format_2(&disk);
        tamper(&disk, way);
        for _ in 0..2 {
            let recovered = open_sim(&disk).2;
            assert!(recovered.damaged && recovered.objects.is_empty() && recovered.checkpoint_vector.is_empty());
        }
    }
}

fn damage_fact(transaction: &redb::WriteTransaction, fact: &str) {
    let mut facts = transaction.open_table(layout::FACTS).expect("the table");
    facts.insert(fact, [1; 40].as_slice()).expect("writes").expect("was there");
}

#[test]
fn a_power_cut_between_formats_2_and_3_loses_nothing() {
    let whole = SimDisk::default();
    write_format_2(&whole);
    let first = whole.operations() + 1;
    open_sim(&whole).0.close().expect("closes");
    for operation in first..=whole.operations() {
        let disk = SimDisk::default();
        write_format_2(&disk);
        disk.lose_power_at(operation);
        if let Ok((store, _events, _)) = try_open_sim(&disk) {
            store.close().unwrap_or_default();
        }
        for seed in 0..3 {
            check_whole(&open_sim(&disk.after_power_cut(seed)).2);
        }
    }
}
