//! Content-addressed files on disk: one file per blob, named by the digest of its bytes.
//!
//! Owns one folder in the data directory for each kind of blob, and what lies there. What a blob means is its user's affair
//! (`artifacts`, `assets`); `outline` says how one travels, `fetch` and `serve` move it between members. The invariant: what
//! [`Blobs::read`] returns has the digest that was asked for, and no digest leads out of the folder.

pub mod fetch;
pub mod outline;
pub mod serve;

use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use crate::spec::Digest;

/// What the names of files begin with that are still being written.
const UNFINISHED_PREFIX: &str = "tmp-";

/// What sort of blobs a folder holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// What one is called, for people.
    pub noun: &'static str,
    /// The folder in the data directory.
    pub folder: &'static str,
    /// What the names of finished files end in.
    pub extension: &'static str,
    /// The largest, in bytes. It is held in memory while it is read.
    pub bytes_max: usize,
    /// Whether a blob that was stored has to survive a power cut. What can be fetched again need not.
    pub is_durable: bool,
}

/// The blobs of one kind in one data directory. Clones share them. All calls block on the disk: none is for an async task.
#[derive(Clone, Debug)]
pub struct Blobs {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    kind: Kind,
    folder: PathBuf,
    unfinished: AtomicU64,
    /// Held while a file is put in its place, and while it is made sure that one is still what was read, and removed.
    placing: Mutex<()>,
}

/// One blob that is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blob {
    /// Its name.
    pub digest: Digest,
    /// Its size.
    pub bytes: u64,
    /// When it was last written, or [`touched`](Blobs::touch).
    pub used: SystemTime,
}

/// Why a blob could not be stored or read.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The caller asks for what is not here. It may be fetched from another member.
    #[error("the {noun} {digest} is not on this host")]
    Missing {
        /// What it would be.
        noun: &'static str,
        /// What was asked for.
        digest: Digest,
    },
    /// The caller gave more than a blob of this kind may have. Nothing was stored.
    #[error("the {noun} has {bytes} bytes; at most {bytes_max} are allowed")]
    TooLarge {
        /// What it would be.
        noun: &'static str,
        /// How many there are.
        bytes: u64,
        /// How many are allowed.
        bytes_max: usize,
    },
    /// The disk gave other bytes than were stored. The file was removed, so that the blob can be fetched again.
    #[error("the {noun} {digest} was damaged on disk and was removed; it can be fetched or uploaded again")]
    Damaged {
        /// What it was.
        noun: &'static str,
        /// What was asked for.
        digest: Digest,
    },
    /// The disk failed. What was stored before still is.
    #[error("{} cannot be used", path.display())]
    Disk {
        /// The folder or file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Blobs {
    /// Opens the folder in `data_dir`, creates it (mode 0700) when it is not there, and removes what an earlier process was
    /// still writing when it ended. The data directory must be this agent's own.
    ///
    /// # Errors
    /// The folder cannot be created or read.
    pub fn open(data_dir: &Path, kind: Kind) -> Result<Self, BlobError> {
        let folder = data_dir.join(kind.folder);
        let shared = Shared { kind, folder, unfinished: AtomicU64::new(0), placing: Mutex::default() };
        let failed = |source| disk_failed(&shared.folder, source);
        DirBuilder::new().recursive(true).mode(0o700).create(&shared.folder).map_err(failed)?;
        for name in shared.names()? {
            if name.starts_with(UNFINISHED_PREFIX) {
                remove_file(&shared.folder.join(name))?;
            }
        }
        Ok(Self { shared: Arc::new(shared) })
    }

    /// What sort of blobs these are.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.shared.kind
    }

    /// Where they lie.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.shared.folder
    }

    /// Stores `bytes` and returns their digest, once they are durable if the kind wants that. Storing what is here already
    /// changes nothing.
    ///
    /// # Errors
    /// There are more than the kind allows, or the disk fails. Nothing is stored then.
    pub fn put(&self, bytes: &[u8]) -> Result<Digest, BlobError> {
        let Kind { noun, bytes_max, .. } = self.shared.kind;
        if bytes.len() > bytes_max {
            return Err(BlobError::TooLarge { noun, bytes: bytes.len() as u64, bytes_max });
        }
        let digest = Digest::of(bytes);
        // A damaged file is no reason to refuse: reading it removes it, and then it is written anew.
        match self.read(&digest) {
            Ok(_) => return Ok(digest),
            Err(BlobError::Missing { .. } | BlobError::Damaged { .. }) => {}
            Err(error @ (BlobError::TooLarge { .. } | BlobError::Disk { .. })) => return Err(error),
        }
        let shared = &self.shared;
        let number = shared.unfinished.fetch_add(1, Ordering::Relaxed);
        let unfinished = shared.folder.join(format!("{UNFINISHED_PREFIX}{number}"));
        let stored = shared
            .write(&unfinished, bytes)
            .and_then(|()| shared.place(&unfinished, &shared.path(&digest)))
            .and_then(|()| if shared.kind.is_durable { File::open(&shared.folder)?.sync_all() } else { Ok(()) });
        if let Err(source) = stored {
            if let Err(error) = remove_file(&unfinished) {
                tracing::debug!(%error, "an unfinished file stays until the next start");
            }
            return Err(disk_failed(&shared.path(&digest), source));
        }
        Ok(digest)
    }

    /// The bytes of a blob, verified against its digest.
    ///
    /// # Errors
    /// It is not here, it was damaged (and is now removed), or the disk fails.
    pub fn read(&self, digest: &Digest) -> Result<Vec<u8>, BlobError> {
        let Kind { noun, bytes_max, .. } = self.shared.kind;
        let path = self.shared.path(digest);
        loop {
            let file = self.shared.open(digest)?;
            let mut bytes = Vec::new();
            // One byte more than allowed is enough to see that the file is none of ours.
            let read = (&file).take(bytes_max as u64 + 1).read_to_end(&mut bytes);
            read.map_err(|source| disk_failed(&path, source))?;
            if Digest::of(&bytes) == *digest {
                return Ok(bytes);
            }
            // It may have been written anew meanwhile: then that is what was asked for.
            if self.shared.remove_this(&path, &file)? {
                tracing::warn!(%digest, noun, "a file was damaged on disk; it is removed");
                return Err(BlobError::Damaged { noun, digest: *digest });
            }
        }
    }

    /// Whether a blob is what it is called, piece by piece, so that it takes no memory of its own size; and how many bytes of it were
    /// read. One that is damaged is removed, as by [`Blobs::read`].
    ///
    /// # Errors
    /// It is not here, or the disk fails.
    pub fn verify(&self, digest: &Digest) -> Result<(bool, u64), BlobError> {
        let Kind { noun, bytes_max, .. } = self.shared.kind;
        let path = self.shared.path(digest);
        let mut read = 0;
        loop {
            let file = self.shared.open(digest)?;
            let mut hasher = blake3::Hasher::new();
            hasher.update_reader((&file).take(bytes_max as u64 + 1)).map_err(|source| disk_failed(&path, source))?;
            read += hasher.count();
            if hasher.finalize() == blake3::Hash::from_bytes(digest.0) {
                return Ok((true, read));
            }
            if self.shared.remove_this(&path, &file)? {
                tracing::warn!(%digest, noun, "a file was damaged on disk; it is removed");
                return Ok((false, read));
            }
        }
    }

    /// Up to `bytes_max` bytes of a blob from `start` on, **not** verified; fewer only at its end.
    ///
    /// # Errors
    /// It is not here, or the disk fails.
    pub fn part(&self, digest: &Digest, start: u64, bytes_max: usize) -> Result<Vec<u8>, BlobError> {
        let failed = |source| disk_failed(&self.shared.path(digest), source);
        let mut file = self.shared.open(digest)?;
        file.seek(SeekFrom::Start(start)).map_err(failed)?;
        let mut bytes = Vec::with_capacity(bytes_max);
        file.take(bytes_max as u64).read_to_end(&mut bytes).map_err(failed)?;
        Ok(bytes)
    }

    /// Whether the blob is here. Does not read it, so that damage is found only by [`Blobs::read`].
    #[must_use]
    pub fn contains(&self, digest: &Digest) -> bool {
        self.shared.path(digest).is_file()
    }

    /// Notes on disk that a blob was used now, where the disk allows it.
    pub fn touch(&self, digest: &Digest) {
        let touched = File::open(self.shared.path(digest)).and_then(|file| file.set_modified(SystemTime::now()));
        if let Err(error) = touched {
            tracing::debug!(%digest, %error, "when it was used is not noted");
        }
    }

    /// The blobs that are here, in order of digest. Files that are none of ours are passed over.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn list(&self) -> Result<Vec<Blob>, BlobError> {
        let mut blobs = Vec::new();
        for digest in self.shared.names()?.iter().filter_map(|name| self.shared.parse_name(name)) {
            let path = self.shared.path(&digest);
            let read = path.metadata().and_then(|metadata| Ok((metadata.len(), metadata.modified()?)));
            match read {
                Ok((bytes, used)) => blobs.push(Blob { digest, bytes, used }),
                // It was removed meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(disk_failed(&path, error)),
            }
        }
        blobs.sort_unstable_by_key(|blob| blob.digest);
        Ok(blobs)
    }

    /// Removes a blob; tells whether it was here.
    ///
    /// # Errors
    /// The disk fails; it may still be here.
    pub fn remove(&self, digest: &Digest) -> Result<bool, BlobError> {
        remove_file(&self.shared.path(digest))
    }
}

impl Shared {
    /// A digest's name holds hexadecimal digits only, so that no path leads out of the folder.
    fn path(&self, digest: &Digest) -> PathBuf {
        self.folder.join(format!("{}{}", digest.hex(), self.kind.extension))
    }

    fn parse_name(&self, name: &str) -> Option<Digest> {
        let hex = name.strip_suffix(self.kind.extension)?;
        let digest = Digest::from_str(&format!("blake3:{hex}")).ok()?;
        // Other spellings of the same digits would be other files.
        (digest.hex() == hex).then_some(digest)
    }

    fn names(&self) -> Result<Vec<String>, BlobError> {
        let failed = |source| disk_failed(&self.folder, source);
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.folder).map_err(failed)? {
            names.extend(entry.map_err(failed)?.file_name().into_string());
        }
        Ok(names)
    }

    fn open(&self, digest: &Digest) -> Result<File, BlobError> {
        let path = self.path(digest);
        File::open(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => BlobError::Missing { noun: self.kind.noun, digest: *digest },
            _ => disk_failed(&path, error),
        })
    }

    fn place(&self, unfinished: &Path, path: &Path) -> io::Result<()> {
        let _placing = self.placing.lock().unwrap_or_else(PoisonError::into_inner);
        std::fs::rename(unfinished, path)
    }

    /// Removes the file at `path` if it is still the one that was opened as `file`; tells whether it was.
    fn remove_this(&self, path: &Path, file: &File) -> Result<bool, BlobError> {
        let _placing = self.placing.lock().unwrap_or_else(PoisonError::into_inner);
        let identity = |metadata: &Metadata| (metadata.dev(), metadata.ino());
        let opened = file.metadata().map_err(|source| disk_failed(path, source))?;
        match std::fs::symlink_metadata(path) {
            // As long as it is open, nothing else can have its number.
            Ok(there) if identity(&there) == identity(&opened) => remove_file(path),
            Ok(_) => Ok(false),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(disk_failed(path, error)),
        }
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        file.write_all(bytes)?;
        if self.kind.is_durable { file.sync_all() } else { Ok(()) }
    }
}

/// Removes a file; tells whether it was there.
fn remove_file(path: &Path) -> Result<bool, BlobError> {
    match std::fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(disk_failed(path, error)),
    }
}

fn disk_failed(path: &Path, source: io::Error) -> BlobError {
    BlobError::Disk { path: path.to_owned(), source }
}

/// Reads or writes files where that may take its time.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

#[cfg(test)]
mod tests;
