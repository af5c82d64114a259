//! Looking at a store that no agent has open, without touching it.
//!
//! Owns what is said of it; how it is read is recovery's, to the same rules. The invariants: no byte of the data directory is written, what the
//! database wants to write while it opens stays in memory, and that is bounded.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;
use redb::backends::FileBackend;
use selvedge_sync::commit::Commit;

use super::contents::{self, guarded, opening_failed};
use super::disk::{self, DATABASE_FILE, Disk, LogFile};
use super::layout::FORMAT;
use super::recovery::{failed, read_log};
use super::runs::{self, Runs};
use super::stats::Counters;
use super::{StoreError, writer};

/// Bytes that what was written is kept by.
const PAGE_BYTES: usize = 4_096;
/// Pages that are kept: what a database writes to open, with room.
const PAGES_MAX: usize = 16 * 1_024;
/// What is damaged is named one by one up to here.
const DAMAGE_NAMED_MAX: usize = 3;

/// What a store holds, and what of it is damaged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Objects of the checkpoint.
    pub objects: usize,
    /// Commits of the log.
    pub commits: usize,
    /// When the newest of all was made, in milliseconds since 1970; 0 where there is none.
    pub latest_ms: u64,
    /// The format, where it is an older one: the next start brings it forward, and nothing else of it was looked at.
    pub older: Option<u32>,
    /// What of the checkpoint is damaged: the next start begins anew without it.
    pub damage: Option<String>,
    /// Places of the log that cannot be read: the next start cuts it there.
    pub cuts: usize,
}

/// Looks at the store in `dir`; `None` where there is none. Reads all of it, as a start does.
///
/// # Errors
/// A newer release wrote it, or it may not be read.
pub(super) fn of_folder(dir: &Path) -> Result<Option<Survey>, StoreError> {
    if !dir.join(DATABASE_FILE).try_exists().map_err(failed)? {
        return Ok(None);
    }
    survey(&LookedAt { dir: dir.to_owned() }).map(Some)
}

/// Looks at the store on `disk`.
pub(super) fn survey(disk: &dyn Disk) -> Result<Survey, StoreError> {
    match read(disk) {
        Err(StoreError::Damaged { what }) => Ok(Survey { damage: Some(what), ..Survey::default() }),
        read => read,
    }
}

fn read(disk: &dyn Disk) -> Result<Survey, StoreError> {
    let database = guarded(|| {
        let overlay = Overlay::over(disk.open().map_err(redb::Error::Io).map_err(opening_failed)?);
        writer::open_over(Box::new(overlay), &Counters::default()).map_err(opening_failed)
    })?;
    match contents::format(&database)? {
        None => return Ok(Survey::default()),
        Some(found) if found > FORMAT => return Err(StoreError::Newer { found, known: FORMAT }),
        Some(FORMAT) => {}
        Some(older) => return Ok(Survey { older: Some(older), ..Survey::default() }),
    }
    let mut contents = contents::read(&database)?;
    let mut survey =
        Survey { objects: contents.objects.len(), latest_ms: contents.latest.millis(), ..Survey::default() };
    let Some(place) = contents.place.take().filter(|_| contents.damage.is_empty()) else {
        let named: Vec<&str> = contents.damage.iter().take(DAMAGE_NAMED_MAX).map(String::as_str).collect();
        survey.damage = Some(format!("{} damaged: {}", contents.damage.len(), named.join(", ")));
        return Ok(survey);
    };
    let (_, found) = read_log(disk, &contents, place)?;
    let Runs { log, cuts, .. } = runs::continuing(found.rows, &contents.vector);
    survey.cuts = cuts.len() + usize::try_from(found.lost).unwrap_or(usize::MAX);
    for batch in &log {
        survey.commits += batch.commits.len();
        let last = batch.first.saturating_add(batch.commits.len() as u64).saturating_sub(1);
        let newest = batch.commits.last().and_then(|bytes| Commit::decode(batch.stream, last, bytes).ok());
        survey.latest_ms = survey.latest_ms.max(newest.map_or(0, |commit| commit.hlc.millis()));
    }
    Ok(survey)
}

/// The files of a data directory that nobody has taken.
struct LookedAt {
    dir: PathBuf,
}

impl Disk for LookedAt {
    fn open(&self) -> io::Result<Box<dyn StorageBackend>> {
        let file = File::open(self.dir.join(DATABASE_FILE))?;
        Ok(Box::new(FileBackend::new(file).map_err(io::Error::other)?))
    }

    fn segments(&self) -> io::Result<Vec<String>> {
        disk::segments_in(&self.dir)
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        fs::read(disk::segment_in(&self.dir, name))
    }

    fn set_aside(&self) -> io::Result<String> {
        Err(untouched())
    }

    fn create(&self, _: &str) -> io::Result<Box<dyn LogFile>> {
        Err(untouched())
    }

    fn reuse(&self, _: &str, _: &str) -> io::Result<Box<dyn LogFile>> {
        Err(untouched())
    }

    fn rename(&self, _: &str, _: &str) -> io::Result<()> {
        Err(untouched())
    }

    fn remove(&self, _: &str) -> io::Result<()> {
        Err(untouched())
    }
}

fn untouched() -> io::Error {
    io::ErrorKind::ReadOnlyFilesystem.into()
}

/// A database whose file is only read: what is written over it stays in memory, by pages.
#[derive(Debug)]
struct Overlay {
    below: Box<dyn StorageBackend>,
    written: Mutex<Written>,
}

#[derive(Debug, Default)]
struct Written {
    /// How long the whole is, once that was changed.
    length: Option<u64>,
    pages: BTreeMap<u64, Box<[u8; PAGE_BYTES]>>,
}

impl Overlay {
    fn over(below: Box<dyn StorageBackend>) -> Self {
        Self { below, written: Mutex::default() }
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What lies below, with zeros behind its end.
    fn read_below(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let there = usize::try_from(self.below.len()?.saturating_sub(offset)).unwrap_or(usize::MAX).min(out.len());
        let (there, behind) = out.split_at_mut(there);
        behind.fill(0);
        if there.is_empty() { Ok(()) } else { self.below.read(offset, there) }
    }
}

/// The parts of `length` bytes at `offset`, page by page: which page, where in it, and where in the whole.
fn parts(offset: u64, length: usize) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = offset + done as u64;
        let within = usize::try_from(at % PAGE_BYTES as u64).expect("below a page");
        let count = (PAGE_BYTES - within).min(length - done);
        (count > 0).then(|| {
            let range = done..done + count;
            done += count;
            (at / PAGE_BYTES as u64, within, range)
        })
    })
}

impl StorageBackend for Overlay {
    fn len(&self) -> io::Result<u64> {
        self.written().length.map_or_else(|| self.below.len(), Ok)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let written = self.written();
        for (page, within, range) in parts(offset, out.len()) {
            let out = &mut out[range.clone()];
            match written.pages.get(&page) {
                Some(bytes) => out.copy_from_slice(&bytes[within..within + range.len()]),
                None => self.read_below(offset + range.start as u64, out)?,
            }
        }
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.written().length = Some(length);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut written = self.written();
        for (page, within, range) in parts(offset, data.len()) {
            if !written.pages.contains_key(&page) {
                if written.pages.len() >= PAGES_MAX {
                    return Err(io::ErrorKind::OutOfMemory.into());
                }
                let mut bytes = Box::new([0; PAGE_BYTES]);
                self.read_below(page * PAGE_BYTES as u64, bytes.as_mut_slice())?;
                written.pages.insert(page, bytes);
            }
            let bytes = written.pages.get_mut(&page).expect("it was just put there");
            bytes[within..within + range.len()].copy_from_slice(&data[range]);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use redb::backends::InMemoryBackend;

    use super::*;

    #[test]
    fn what_is_written_is_read_back_and_lies_nowhere_else() {
        let below = InMemoryBackend::new();
        below.set_len(10_000).expect("grows");
        below.write(0, &[1; 10_000]).expect("writes");
        let overlay = Overlay::over(Box::new(below));
        overlay.set_len(20_000).expect("grows");
        overlay.write(4_000, &[2; 5_000]).expect("writes");
        let mut all = vec![9; 20_000];
        overlay.read(0, &mut all).expect("reads");
        let expect = [vec![1; 4_000], vec![2; 5_000], vec![1; 1_000], vec![0; 10_000]].concat();
        assert!(all == expect && overlay.len().expect("is known") == 20_000);
        let mut untouched = vec![0; 10_000];
        overlay.below.read(0, &mut untouched).expect("reads");
        assert_eq!(untouched, vec![1; 10_000]);
        let too_much = (0..).map(|page| overlay.write(page * PAGE_BYTES as u64, &[1])).take(PAGES_MAX + 1);
        assert_eq!(too_much.filter(Result::is_err).count(), 1, "memory is bounded");
    }
}
