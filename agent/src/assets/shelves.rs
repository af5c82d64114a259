//! Assets on disk: what was uploaded here, and copies of what others have.
//!
//! Owns `DATA_DIR/assets` and the bound on its bytes. What was uploaded here stays until somebody removes it, since it may be the
//! only one; copies go when there is need of room, those first that were not used for the longest time. The invariants: both
//! together stay within the bound; what is read has its digest. All calls block on the disk.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::uses::Uses;
use super::{ASSET_BYTES_MAX, AssetError};
use crate::blobs::{Blob, BlobError, Blobs, Kind};
use crate::spec::Digest;

/// Bytes that must stay free on the disk after an asset was written, or a tenth of the disk where that is less: the agent's own log
/// and checkpoints lie there too, and matter more.
const FREE_BYTES_MIN: u64 = 256 * 1024 * 1024;

const UPLOADS: Kind =
    Kind { noun: "asset", folder: "assets/uploads", extension: ".asset", bytes_max: ASSET_BYTES_MAX, is_durable: true };

const COPIES: Kind = Kind { folder: "assets/copies", is_durable: false, ..UPLOADS };

/// Both folders.
#[derive(Debug)]
pub(super) struct Shelves {
    uploads: Blobs,
    copies: Blobs,
    bytes_max: u64,
    lists: Mutex<Lists>,
    /// One writer at a time, so that the bound holds.
    writing: Mutex<()>,
}

#[derive(Debug, Default)]
struct Lists {
    uploads: Uses,
    copies: Uses,
}

impl Lists {
    fn of(&mut self, is_upload: bool) -> &mut Uses {
        if is_upload { &mut self.uploads } else { &mut self.copies }
    }
}

/// What was found on disk.
#[derive(Debug)]
pub(super) enum Found {
    /// The asset.
    Here(Vec<u8>),
    /// It is not here.
    Nothing,
    /// It was here, damaged, and is removed. `was_upload` says whether it has to be kept once it is fetched.
    Damaged { was_upload: bool },
}

/// What a look at an asset has shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Look {
    /// Whether it was damaged, and is removed.
    pub(super) is_damaged: bool,
    /// Whether that was an upload.
    pub(super) was_upload: bool,
    /// Bytes that were read.
    pub(super) bytes: u64,
}

/// What became of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// It is on disk.
    Yes,
    /// There is no room for it within the bound, or on the disk.
    NoRoom,
    /// The disk failed.
    Failed,
}

impl Shelves {
    /// Opens both folders, and brings them within the bound.
    pub(super) fn open(data_dir: &Path, bytes_max: u64) -> Result<Self, BlobError> {
        let (uploads, copies) = (Blobs::open(data_dir, UPLOADS)?, Blobs::open(data_dir, COPIES)?);
        let lists = Lists { uploads: listed(&uploads)?, copies: listed(&copies)? };
        let shelves = Self { uploads, copies, bytes_max, lists: Mutex::new(lists), writing: Mutex::default() };
        let evicted = shelves.make_room(0);
        if evicted > 0 {
            tracing::info!(evicted, bytes_max, "copies of assets were removed to stay within the bound");
        }
        Ok(shelves)
    }

    /// Reads an asset.
    pub(super) fn read(&self, digest: &Digest) -> Result<Found, BlobError> {
        for (is_upload, blobs) in [(true, &self.uploads), (false, &self.copies)] {
            match blobs.read(digest) {
                Ok(bytes) => {
                    self.note_use(digest, is_upload);
                    return Ok(Found::Here(bytes));
                }
                // Somebody may have removed the file by hand.
                Err(BlobError::Missing { .. }) => self.forget_if_gone(digest, is_upload),
                Err(BlobError::Damaged { .. }) => {
                    self.forget_if_gone(digest, is_upload);
                    return Ok(Found::Damaged { was_upload: is_upload });
                }
                Err(error @ (BlobError::TooLarge { .. } | BlobError::Disk { .. })) => return Err(error),
            }
        }
        Ok(Found::Nothing)
    }

    /// Looks whether an asset is damaged, without holding it.
    pub(super) fn inspect(&self, digest: &Digest) -> Result<Look, BlobError> {
        for (is_upload, blobs) in [(true, &self.uploads), (false, &self.copies)] {
            match blobs.verify(digest) {
                Ok((true, bytes)) => return Ok(Look { bytes, ..Look::default() }),
                Ok((false, bytes)) => {
                    self.forget_if_gone(digest, is_upload);
                    return Ok(Look { is_damaged: true, was_upload: is_upload, bytes });
                }
                Err(BlobError::Missing { .. }) => self.forget_if_gone(digest, is_upload),
                Err(error) => return Err(error),
            }
        }
        Ok(Look::default())
    }

    /// Up to `bytes_max` bytes of an asset from `start` on, not verified; `None` when it is not here.
    pub(super) fn part(&self, digest: &Digest, start: u64, bytes_max: usize) -> Result<Option<Vec<u8>>, BlobError> {
        for (is_upload, blobs) in [(true, &self.uploads), (false, &self.copies)] {
            if self.lists().of(is_upload).size(digest).is_none() {
                continue;
            }
            match blobs.part(digest, start, bytes_max) {
                Ok(part) => {
                    if start == 0 {
                        self.note_use(digest, is_upload);
                    }
                    return Ok(Some(part));
                }
                Err(BlobError::Missing { .. }) => self.forget_if_gone(digest, is_upload),
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    fn note_use(&self, digest: &Digest, is_upload: bool) {
        self.lists().copies.touch(digest);
        if !is_upload {
            self.copies.touch(digest);
        }
    }

    /// Keeps an asset until it is removed, and returns how many copies had to go. Durable when it returns.
    pub(super) fn upload(&self, digest: Digest, bytes: &[u8]) -> Result<u64, AssetError> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let length = bytes.len() as u64;
        let kept = {
            let lists = self.lists();
            lists.uploads.bytes() - lists.uploads.size(&digest).unwrap_or(0)
        };
        if kept + length > self.bytes_max {
            return Err(AssetError::Full { kept, bytes: length, bytes_max: self.bytes_max });
        }
        let evicted = self.make_room(length);
        if !has_room(self.uploads.folder(), length) {
            return Err(AssetError::DiskFull { bytes: length });
        }
        self.uploads.put(bytes)?;
        self.lists().uploads.note(digest, length);
        // The copy is of no more use.
        if self.lists().copies.forget(&digest) {
            self.copies.remove(&digest)?;
        }
        Ok(evicted)
    }

    /// Keeps a copy as long as there is room, and returns how many others had to go for it.
    pub(super) fn copy(&self, digest: Digest, bytes: &[u8]) -> (Kept, u64) {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let length = bytes.len() as u64;
        if self.lists().uploads.bytes() + length > self.bytes_max {
            return (Kept::NoRoom, 0);
        }
        let evicted = self.make_room(length);
        if !has_room(self.copies.folder(), length) {
            return (Kept::NoRoom, evicted);
        }
        match self.copies.put(bytes) {
            Ok(_) => {
                // What the system notes itself is coarser than what it is told, and could come before an earlier use.
                self.copies.touch(&digest);
                self.lists().copies.note(digest, length);
                (Kept::Yes, evicted)
            }
            Err(error) => {
                tracing::warn!(%digest, %error, "an asset is not kept on disk");
                (Kept::Failed, evicted)
            }
        }
    }

    /// Removes an asset; tells whether it was here.
    pub(super) fn remove(&self, digest: &Digest) -> Result<bool, BlobError> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let removed = (self.uploads.remove(digest)?, self.copies.remove(digest)?);
        let mut lists = self.lists();
        lists.uploads.forget(digest);
        lists.copies.forget(digest);
        Ok(removed.0 || removed.1)
    }

    /// Up to `limit` assets that are on disk, by digest, those after `after`; each with its size and whether it is an upload.
    pub(super) fn list(&self, after: Option<Digest>, limit: usize) -> Vec<(Digest, u64, bool)> {
        let lists = self.lists();
        let copies = lists.copies.after(after).map(|(digest, bytes)| (digest, bytes, false));
        let uploads = lists.uploads.after(after).map(|(digest, bytes)| (digest, bytes, true));
        let mut listed: Vec<_> = copies.take(limit).chain(uploads.take(limit)).collect();
        listed.sort_unstable();
        listed.truncate(limit);
        listed
    }

    /// The size of an asset that is on disk.
    pub(super) fn size(&self, digest: &Digest) -> Option<u64> {
        let lists = self.lists();
        lists.uploads.size(digest).or_else(|| lists.copies.size(digest))
    }

    /// Bytes of uploads, and of copies.
    pub(super) fn bytes(&self) -> (u64, u64) {
        let lists = self.lists();
        (lists.uploads.bytes(), lists.copies.bytes())
    }

    /// Removes copies until `more` bytes fit into the bound, or none is left.
    fn make_room(&self, more: u64) -> u64 {
        let mut evicted = 0;
        loop {
            let eldest = {
                let mut lists = self.lists();
                if lists.uploads.bytes() + lists.copies.bytes() + more <= self.bytes_max {
                    return evicted;
                }
                let Some(eldest) = lists.copies.eldest() else { return evicted };
                lists.copies.forget(&eldest);
                eldest
            };
            evicted += 1;
            if let Err(error) = self.copies.remove(&eldest) {
                tracing::warn!(digest = %eldest, %error, "a copy of an asset cannot be removed");
            }
        }
    }

    /// Forgets an asset whose file was missing a moment ago, unless it was written since. Only a writer may say so, since a writer
    /// notes a file some time after it is there; and what is not listed is no reason to wait for one.
    fn forget_if_gone(&self, digest: &Digest, is_upload: bool) {
        let blobs = if is_upload { &self.uploads } else { &self.copies };
        if self.lists().of(is_upload).size(digest).is_none() {
            return;
        }
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if !blobs.contains(digest) {
            self.lists().of(is_upload).forget(digest);
        }
    }

    fn lists(&self) -> MutexGuard<'_, Lists> {
        self.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a folder holds, by when it was used.
fn listed(blobs: &Blobs) -> Result<Uses, BlobError> {
    let mut found: Vec<Blob> = blobs.list()?;
    found.sort_by_key(|blob| (blob.used, blob.digest));
    let mut uses = Uses::default();
    found.into_iter().for_each(|blob| uses.note(blob.digest, blob.bytes));
    Ok(uses)
}

/// Whether enough of the disk stays free when so much is written; yes where the system does not say.
fn has_room(folder: &Path, bytes: u64) -> bool {
    rustix::fs::statvfs(folder).map_or(true, |told| {
        let of_blocks = |blocks: u64| blocks.saturating_mul(told.f_frsize);
        of_blocks(told.f_bavail) >= bytes.saturating_add(FREE_BYTES_MIN.min(of_blocks(told.f_blocks) / 10))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_found_nothing_does_not_forget_what_was_written_since() {
        let dir = tempfile::tempdir().expect("a folder");
        let shelves = Shelves::open(dir.path(), 1_024).expect("opens");
        let (upload, copy) = (Digest::of(b"upload"), Digest::of(b"copy"));
        assert!(matches!(shelves.read(&upload), Ok(Found::Nothing)));
        shelves.upload(upload, b"upload").expect("is kept");
        assert_eq!(shelves.copy(copy, b"copy"), (Kept::Yes, 0));
        // What the reader does last comes only now.
        shelves.forget_if_gone(&upload, true);
        shelves.forget_if_gone(&copy, false);
        assert_eq!(shelves.bytes(), (6, 4));
        shelves.uploads.remove(&upload).expect("removes");
        shelves.copies.remove(&copy).expect("removes");
        for digest in [upload, copy] {
            assert!(matches!(shelves.read(&digest), Ok(Found::Nothing)));
        }
        assert_eq!(shelves.bytes(), (0, 0));
    }
}
