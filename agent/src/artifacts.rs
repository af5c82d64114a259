//! Artefacts on disk: one file per component, named by the digest of its bytes.
//!
//! Owns `DATA_DIR/artifacts` and what lies there; fetches, verifies signatures and loads nothing. The invariant: what
//! [`Artifacts::read`] returns has the digest that was asked for, and a file under its final name is complete and durable.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::spec::Digest;

/// Largest artefact, in bytes: some ten times a large guest with its data. It is held in memory while it is compiled.
pub const ARTIFACT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The folder's name in the data directory.
const FOLDER: &str = "artifacts";

/// What the names of finished artefacts end in.
const EXTENSION: &str = ".wasm";

/// What the names of files begin with that are still being written.
const UNFINISHED_PREFIX: &str = "tmp-";

/// The artefacts of one data directory. Clones share it. All calls block on the disk: none is for an async task.
#[derive(Clone, Debug)]
pub struct Artifacts {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    folder: PathBuf,
    unfinished: AtomicU64,
}

/// One artefact that is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Artifact {
    /// Its name.
    pub digest: Digest,
    /// Its size.
    pub bytes: u64,
}

/// Why an artefact could not be stored or read.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// The caller asks for what is not here. It may be fetched from another member.
    #[error("the artefact {0} is not on this host")]
    Missing(Digest),
    /// The caller gave more than an artefact may have. Nothing was stored.
    #[error("the artefact has {bytes} bytes; at most {ARTIFACT_BYTES_MAX} are allowed")]
    TooLarge {
        /// How many there are.
        bytes: u64,
    },
    /// The disk gave other bytes than were stored. The file was removed, so that the artefact can be fetched again.
    #[error("the artefact {0} was damaged on disk and was removed; it can be fetched or uploaded again")]
    Damaged(Digest),
    /// The disk failed. What was stored before still is.
    #[error("the artefacts in {} cannot be used", path.display())]
    Disk {
        /// The folder or file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Artifacts {
    /// Opens the folder in `data_dir`, creates it (mode 0700) when it is not there, and removes what an earlier process was
    /// still writing when it ended. The data directory must be this agent's own.
    ///
    /// # Errors
    /// The folder cannot be created or read.
    pub fn open(data_dir: &Path) -> Result<Self, ArtifactError> {
        let folder = data_dir.join(FOLDER);
        let shared = Shared { folder, unfinished: AtomicU64::new(0) };
        let failed = |source| disk_failed(&shared.folder, source);
        DirBuilder::new().recursive(true).mode(0o700).create(&shared.folder).map_err(failed)?;
        for name in shared.names()? {
            if name.starts_with(UNFINISHED_PREFIX) {
                remove_file(&shared.folder.join(name))?;
            }
        }
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Stores `bytes` and returns their digest once they are durable. Storing what is here already changes nothing.
    ///
    /// # Errors
    /// There are more than [`ARTIFACT_BYTES_MAX`], or the disk fails. Nothing is stored then.
    pub fn put(&self, bytes: &[u8]) -> Result<Digest, ArtifactError> {
        if bytes.len() > ARTIFACT_BYTES_MAX {
            return Err(ArtifactError::TooLarge { bytes: bytes.len() as u64 });
        }
        let digest = Digest::of(bytes);
        // A damaged file is no reason to refuse: reading it removes it, and then it is written anew.
        match self.read(&digest) {
            Ok(_) => return Ok(digest),
            Err(ArtifactError::Missing(_) | ArtifactError::Damaged(_)) => {}
            Err(error @ (ArtifactError::TooLarge { .. } | ArtifactError::Disk { .. })) => return Err(error),
        }
        let shared = &self.shared;
        let number = shared.unfinished.fetch_add(1, Ordering::Relaxed);
        let unfinished = shared.folder.join(format!("{UNFINISHED_PREFIX}{number}"));
        let stored = write_durably(&unfinished, bytes)
            .and_then(|()| std::fs::rename(&unfinished, shared.path(&digest)))
            .and_then(|()| File::open(&shared.folder)?.sync_all());
        if let Err(source) = stored {
            if let Err(error) = remove_file(&unfinished) {
                tracing::debug!(%error, "an unfinished artefact stays until the next start");
            }
            return Err(disk_failed(&shared.path(&digest), source));
        }
        Ok(digest)
    }

    /// The bytes of an artefact, verified against its digest.
    ///
    /// # Errors
    /// It is not here, it was damaged (and is now removed), or the disk fails.
    pub fn read(&self, digest: &Digest) -> Result<Vec<u8>, ArtifactError> {
        let path = self.shared.path(digest);
        let failed = |source| disk_failed(&path, source);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(ArtifactError::Missing(*digest)),
            Err(error) => return Err(failed(error)),
        };
        let mut bytes = Vec::new();
        // One byte more than allowed is enough to see that the file is none of ours.
        file.take(ARTIFACT_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
        if Digest::of(&bytes) == *digest {
            return Ok(bytes);
        }
        tracing::warn!(%digest, "an artefact was damaged on disk; it is removed");
        remove_file(&path)?;
        Err(ArtifactError::Damaged(*digest))
    }

    /// A part of an artefact, from `offset` on and at most `length` bytes, with the size of the whole. Not verified: whoever puts
    /// the parts together checks the digest of the whole.
    ///
    /// # Errors
    /// It is not here, or the disk fails.
    pub fn read_part(&self, digest: &Digest, offset: u64, length: u64) -> Result<(u64, Vec<u8>), ArtifactError> {
        let path = self.shared.path(digest);
        let failed = |source| disk_failed(&path, source);
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(ArtifactError::Missing(*digest)),
            Err(error) => return Err(failed(error)),
        };
        let total = file.metadata().map_err(failed)?.len();
        file.seek(io::SeekFrom::Start(offset.min(total))).map_err(failed)?;
        let mut bytes = Vec::new();
        file.take(length).read_to_end(&mut bytes).map_err(failed)?;
        Ok((total, bytes))
    }

    /// Whether the artefact is here. Does not read it, so that damage is found only by [`Artifacts::read`].
    #[must_use]
    pub fn contains(&self, digest: &Digest) -> bool {
        self.shared.path(digest).is_file()
    }

    /// The artefacts that are here, in order of digest. Files that are none of ours are passed over.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn list(&self) -> Result<Vec<Artifact>, ArtifactError> {
        let mut artifacts = Vec::new();
        for digest in self.shared.names()?.iter().filter_map(|name| parse_name(name)) {
            match self.shared.path(&digest).metadata() {
                Ok(metadata) => artifacts.push(Artifact { digest, bytes: metadata.len() }),
                // It was removed meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(disk_failed(&self.shared.path(&digest), error)),
            }
        }
        artifacts.sort_unstable_by_key(|artifact| artifact.digest);
        Ok(artifacts)
    }

    /// Removes an artefact; tells whether it was here.
    ///
    /// # Errors
    /// The disk fails; it may still be here.
    pub fn remove(&self, digest: &Digest) -> Result<bool, ArtifactError> {
        remove_file(&self.shared.path(digest))
    }
}

impl Shared {
    /// A digest's name holds hexadecimal digits only, so that no path leads out of the folder.
    fn path(&self, digest: &Digest) -> PathBuf {
        self.folder.join(format!("{}{EXTENSION}", digest.hex()))
    }

    fn names(&self) -> Result<Vec<String>, ArtifactError> {
        let failed = |source| disk_failed(&self.folder, source);
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.folder).map_err(failed)? {
            names.extend(entry.map_err(failed)?.file_name().into_string());
        }
        Ok(names)
    }
}

/// Removes a file; tells whether it was there.
fn remove_file(path: &Path) -> Result<bool, ArtifactError> {
    match std::fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(disk_failed(path, error)),
    }
}

fn disk_failed(path: &Path, source: io::Error) -> ArtifactError {
    ArtifactError::Disk { path: path.to_owned(), source }
}

fn parse_name(name: &str) -> Option<Digest> {
    let hex = name.strip_suffix(EXTENSION)?;
    let digest = Digest::from_str(&format!("blake3:{hex}")).ok()?;
    // Other spellings of the same digits would be other files.
    (digest.hex() == hex).then_some(digest)
}

fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open() -> (tempfile::TempDir, Artifacts) {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let artifacts = Artifacts::open(dir.path()).expect("opens");
        (dir, artifacts)
    }

    #[test]
    fn what_was_stored_is_read_listed_and_removed() {
        let (dir, artifacts) = open();
        let digest = artifacts.put(b"one").expect("stores");
        let other = artifacts.put(b"three").expect("stores");
        assert_eq!(artifacts.put(b"one").expect("stores again"), digest);
        assert_eq!(artifacts.read(&digest).expect("reads"), b"one");
        assert!(artifacts.contains(&digest));
        let mut expect = vec![Artifact { digest, bytes: 3 }, Artifact { digest: other, bytes: 5 }];
        expect.sort_unstable_by_key(|artifact| artifact.digest);
        assert_eq!(Artifacts::open(dir.path()).expect("opens").list().expect("lists"), expect);
        assert!(artifacts.remove(&digest).expect("removes"));
        assert!(!artifacts.remove(&digest).expect("is gone already"));
        assert!(matches!(artifacts.read(&digest), Err(ArtifactError::Missing(missing)) if missing == digest));
    }

    #[test]
    fn a_damaged_file_is_an_error_once_and_can_be_stored_again() {
        let (dir, artifacts) = open();
        let digest = artifacts.put(b"bytes").expect("stores");
        let file = dir.path().join(FOLDER).join(format!("{}.wasm", digest.hex()));
        std::fs::write(&file, b"other").expect("damages");
        assert!(matches!(artifacts.read(&digest), Err(ArtifactError::Damaged(_))));
        assert!(matches!(artifacts.read(&digest), Err(ArtifactError::Missing(_))));
        artifacts.put(b"bytes").expect("stores again");
        std::fs::write(&file, b"").expect("damages");
        artifacts.put(b"bytes").expect("stores over the damage");
        assert_eq!(artifacts.read(&digest).expect("reads"), b"bytes");
    }

    #[test]
    fn an_artefact_has_a_largest_size() {
        let (_dir, artifacts) = open();
        let error = artifacts.put(&vec![0; ARTIFACT_BYTES_MAX + 1]).expect_err("refused");
        assert!(matches!(error, ArtifactError::TooLarge { .. }));
        assert!(artifacts.list().expect("lists").is_empty());
    }

    #[test]
    fn strange_files_are_passed_over_and_unfinished_ones_removed() {
        let (dir, artifacts) = open();
        let digest = artifacts.put(b"one").expect("stores");
        let folder = dir.path().join(FOLDER);
        let upper = format!("{}.wasm", digest.hex().to_uppercase());
        for name in ["tmp-0", "notes.txt", "..wasm", "x.wasm", upper.as_str()] {
            std::fs::write(folder.join(name), b"?").expect("writes");
        }
        let artifacts = Artifacts::open(dir.path()).expect("opens");
        assert_eq!(artifacts.list().expect("lists").len(), 1);
        assert!(!folder.join("tmp-0").exists() && folder.join("notes.txt").exists());
    }

    #[test]
    fn a_folder_that_takes_no_files_is_an_error_with_its_path() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(dir.path().join(FOLDER), b"a file").expect("writes");
        let error = Artifacts::open(dir.path()).expect_err("no folder");
        assert!(error.to_string().contains("artifacts"), "{error}");
    }
}
