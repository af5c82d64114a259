use super::*;

const KIND: Kind = Kind { noun: "thing", folder: "things", extension: ".thing", bytes_max: 1_024, is_durable: true };

fn open() -> (tempfile::TempDir, Blobs) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let blobs = Blobs::open(dir.path(), KIND).expect("opens");
    (dir, blobs)
}

#[test]
fn what_was_stored_is_read_listed_and_removed() {
    let (dir, blobs) = open();
    let digest = blobs.put(b"one").expect("stores");
    let other = blobs.put(b"three").expect("stores");
    assert_eq!(blobs.put(b"one").expect("stores again"), digest);
    assert_eq!(blobs.read(&digest).expect("reads"), b"one");
    assert!(blobs.contains(&digest));
    let mut expect = vec![(digest, 3), (other, 5)];
    expect.sort_unstable();
    let listed = Blobs::open(dir.path(), KIND).expect("opens").list().expect("lists");
    assert_eq!(listed.iter().map(|blob| (blob.digest, blob.bytes)).collect::<Vec<_>>(), expect);
    assert!(blobs.remove(&digest).expect("removes"));
    assert!(!blobs.remove(&digest).expect("is gone already"));
    assert!(matches!(blobs.read(&digest), Err(BlobError::Missing { digest: missing, .. }) if missing == digest));
}

#[test]
fn a_damaged_file_is_an_error_once_and_can_be_stored_again() {
    let (dir, blobs) = open();
    let digest = blobs.put(b"bytes").expect("stores");
    let file = dir.path().join(KIND.folder).join(format!("{}.thing", digest.hex()));
    std::fs::write(&file, b"other").expect("damages");
    assert!(matches!(blobs.read(&digest), Err(BlobError::Damaged { .. })));
    assert!(matches!(blobs.read(&digest), Err(BlobError::Missing { .. })));
    blobs.put(b"bytes").expect("stores again");
    std::fs::write(&file, b"").expect("damages");
    blobs.put(b"bytes").expect("stores over the damage");
    assert_eq!(blobs.read(&digest).expect("reads"), b"bytes");
}

#[test]
fn who_found_damage_removes_only_what_was_damaged() {
    let (dir, blobs) = open();
    let digest = blobs.put(b"bytes").expect("stores");
    let path = dir.path().join(KIND.folder).join(format!("{}.thing", digest.hex()));
    std::fs::write(&path, b"other").expect("damages");
    let opened = File::open(&path).expect("opens");
    // Somebody else finds the damage, too, and writes the file anew before the first has come to remove it.
    blobs.put(b"bytes").expect("stores over the damage");
    assert!(!blobs.shared.remove_this(&path, &opened).expect("looks"));
    assert_eq!(blobs.read(&digest).expect("reads"), b"bytes");
    let opened = File::open(&path).expect("opens");
    assert!(blobs.shared.remove_this(&path, &opened).expect("removes"));
    assert!(!blobs.shared.remove_this(&path, &opened).expect("is gone already"));
}

#[test]
fn a_part_of_a_blob_is_what_lies_there() {
    let (_dir, blobs) = open();
    let digest = blobs.put(b"bytes").expect("stores");
    let part = |start, bytes_max| blobs.part(&digest, start, bytes_max).expect("reads");
    assert_eq!((part(1, 2), part(3, 9), part(9, 1)), (b"yt".to_vec(), b"es".to_vec(), Vec::new()));
    assert!(matches!(blobs.part(&Digest::of(b"none"), 0, 1), Err(BlobError::Missing { .. })));
}

#[test]
fn a_blob_has_a_largest_size() {
    let (_dir, blobs) = open();
    let error = blobs.put(&vec![0; KIND.bytes_max + 1]).expect_err("refused");
    assert!(matches!(error, BlobError::TooLarge { .. }));
    assert!(error.to_string().contains("1024"), "{error}");
    assert!(blobs.list().expect("lists").is_empty());
}

#[test]
fn strange_files_are_passed_over_and_unfinished_ones_removed() {
    let (dir, blobs) = open();
    let digest = blobs.put(b"one").expect("stores");
    let folder = dir.path().join(KIND.folder);
    let upper = format!("{}.thing", digest.hex().to_uppercase());
    for name in ["tmp-0", "notes.txt", "..thing", "x.thing", upper.as_str()] {
        std::fs::write(folder.join(name), b"?").expect("writes");
    }
    let blobs = Blobs::open(dir.path(), KIND).expect("opens");
    assert_eq!(blobs.list().expect("lists").len(), 1);
    assert!(!folder.join("tmp-0").exists() && folder.join("notes.txt").exists());
}

#[test]
fn what_is_touched_was_used_later() {
    let (dir, blobs) = open();
    let digest = blobs.put(b"one").expect("stores");
    let path = dir.path().join(KIND.folder).join(format!("{}.thing", digest.hex()));
    let past = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000);
    File::open(&path).and_then(|file| file.set_modified(past)).expect("is set back");
    assert_eq!(blobs.list().expect("lists")[0].used, past);
    blobs.touch(&digest);
    assert!(blobs.list().expect("lists")[0].used > past);
}

#[test]
fn a_folder_that_takes_no_files_is_an_error_with_its_path() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(dir.path().join(KIND.folder), b"a file").expect("writes");
    let error = Blobs::open(dir.path(), KIND).expect_err("no folder");
    assert!(error.to_string().contains("things"), "{error}");
}
