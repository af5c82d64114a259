//! Where the bytes of the store lie: one database file, and a folder of log segments beside it.
//!
//! Owns the data directory and its lock; knows neither tables nor frames. The invariants: whoever holds a [`FileDisk`] is the
//! only agent on that directory, and a file that was created or renamed keeps its name through a power cut. Whether what was
//! opened is still where a restart would look for it can be asked: files that are open can be written after they were removed.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use redb::StorageBackend;
use redb::backends::FileBackend;

use super::error::StoreError;

/// The database's name in the data directory.
pub(super) const DATABASE_FILE: &str = "state.redb";

/// The folder of the log's segments in the data directory.
const LOG_FOLDER: &str = "log";

/// The name of the file whose lock marks the data directory as taken.
const LOCK_FILE: &str = "lock";

/// How often a data directory is tried to be taken, and the pause in between: who only asks whether somebody holds it
/// ([`holder`]) gives it back within microseconds.
const TAKES: usize = 5;
const TAKE_PAUSE: Duration = Duration::from_millis(10);

/// Whoever holds a data directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its process, where it could be noted.
    pub pid: Option<u32>,
}

/// Something that can hold a database and log segments.
pub(super) trait Disk: Send + Sync + 'static {
    /// Opens the database's storage, creating it when there is none. It is opened again after every failure, because the
    /// database does not go on after one.
    fn open(&self) -> io::Result<Box<dyn StorageBackend>>;

    /// Gives the database another name, so that a new one can begin, and tells the name.
    fn set_aside(&self) -> io::Result<String>;

    /// The names of all segments.
    fn segments(&self) -> io::Result<Vec<String>>;

    /// A whole segment.
    fn read(&self, name: &str) -> io::Result<Vec<u8>>;

    /// Makes an empty segment, whose name is durable.
    fn create(&self, name: &str) -> io::Result<Box<dyn LogFile>>;

    /// Gives a segment another name, which is durable, to be written from its beginning. What it holds is left there: to
    /// overwrite blocks that a file has costs a disk less than to give it new ones.
    fn reuse(&self, from: &str, to: &str) -> io::Result<Box<dyn LogFile>>;

    /// Gives a segment another name, which need not be durable.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a segment. It may come back with a power cut.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Whether a restart would find this disk where it was opened. Cheap: asked after each write.
    fn is_there(&self) -> bool {
        true
    }

    /// The same of all that was opened on it.
    fn is_whole(&self) -> bool {
        self.is_there()
    }
}

/// A segment to write to.
pub(super) trait LogFile: Send {
    /// Writes all of `data`.
    fn write(&mut self, offset: u64, data: &[u8]) -> io::Result<()>;

    /// Makes durable what was written. After a failure nothing is known of what was written since the last success, and
    /// trying again proves nothing: the system may have dropped the pages.
    fn sync(&mut self) -> io::Result<()>;
}

/// Files in a data directory that this process has locked.
pub(super) struct FileDisk {
    dir: PathBuf,
    log: PathBuf,
    /// Whether the folder of segments is known to be there after a power cut.
    log_is_durable: AtomicBool,
    /// Where it lies, the directory does.
    lock: Place,
    /// The database and the folder of segments.
    opened: Mutex<Vec<Place>>,
}

/// Where a file or a folder was opened, and which one it was.
#[derive(Debug)]
struct Place {
    path: PathBuf,
    device: u64,
    inode: u64,
    /// While it is open it keeps its number, which some file systems give out anew, and nothing else can have it.
    _held: Option<File>,
}

impl Place {
    /// What was opened as `file`, which somebody else holds.
    fn of(path: PathBuf, file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self { path, device: metadata.dev(), inode: metadata.ino(), _held: None })
    }

    fn holding(path: PathBuf, file: File) -> io::Result<Self> {
        let place = Self::of(path, &file)?;
        Ok(Self { _held: Some(file), ..place })
    }

    /// Whether it is still there. What cannot be looked at was not taken away: whether it can be written, a write tells.
    fn is_there(&self) -> bool {
        match fs::metadata(&self.path) {
            Ok(found) => (found.dev(), found.ino()) == (self.device, self.inode),
            Err(error) => !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory),
        }
    }
}

impl FileDisk {
    /// Takes the data directory, creating it (mode 0700) when it is not there.
    ///
    /// # Errors
    /// It cannot be created or written, or another agent holds it.
    pub(super) fn take(dir: &Path) -> Result<Self, StoreError> {
        let failed = |source| StoreError::Directory { path: dir.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
        let mut options = OpenOptions::new();
        let mut lock = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(dir.join(LOCK_FILE))
            .map_err(failed)?;
        let mut takes = 1;
        loop {
            match lock.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if takes < TAKES => std::thread::sleep(TAKE_PAUSE),
                Err(TryLockError::WouldBlock) => {
                    return Err(StoreError::Locked { path: dir.to_owned(), holder: holder_of(&mut lock) });
                }
                Err(TryLockError::Error(source)) => return Err(failed(source)),
            }
            takes += 1;
        }
        // Only for the message that another agent would show; the lock does not depend on it, so a full disk is no reason to stop.
        if let Err(error) = note_holder(&mut lock) {
            tracing::debug!(%error, "could not write the process id into the lock file");
        }
        let lock = Place::holding(dir.join(LOCK_FILE), lock).map_err(failed)?;
        Ok(Self {
            dir: dir.to_owned(),
            log: dir.join(LOG_FOLDER),
            log_is_durable: AtomicBool::new(false),
            lock,
            opened: Mutex::default(),
        })
    }

    /// The folder of segments, made when it is first written to: a directory of a newer release is to be left as it is.
    fn log_folder(&self) -> io::Result<()> {
        let make = || DirBuilder::new().recursive(true).mode(0o700).create(&self.log);
        make_durably(&self.log_is_durable, make, || {
            sync_folder(&self.dir)?;
            self.note(Place::holding(self.log.clone(), File::open(&self.log)?)?);
            Ok(())
        })
    }

    /// Remembers what was opened, in the place of what was opened there before.
    fn note(&self, place: Place) {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        opened.retain(|before| before.path != place.path);
        opened.push(place);
    }
}

/// Makes something once, and again if making it durable failed: that it is there proves nothing then.
fn make_durably(
    is_durable: &AtomicBool,
    make: impl FnOnce() -> io::Result<()>,
    sync: impl FnOnce() -> io::Result<()>,
) -> io::Result<()> {
    if !is_durable.load(Ordering::Relaxed) {
        make()?;
        sync()?;
        is_durable.store(true, Ordering::Relaxed);
    }
    Ok(())
}

impl Disk for FileDisk {
    fn open(&self) -> io::Result<Box<dyn StorageBackend>> {
        let path = self.dir.join(DATABASE_FILE);
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&path)?;
        if file.metadata()?.len() == 0 {
            // The name of a new file is durable only once its directory is.
            sync_folder(&self.dir)?;
        }
        // The database holds it, and lets it go when it is closed.
        self.note(Place::of(path, &file)?);
        Ok(Box::new(FileBackend::new(file).map_err(io::Error::other)?))
    }

    fn set_aside(&self) -> io::Result<String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let name = format!("{DATABASE_FILE}.damaged-{now}");
        fs::rename(self.dir.join(DATABASE_FILE), self.dir.join(&name))?;
        sync_folder(&self.dir)?;
        Ok(name)
    }

    fn segments(&self) -> io::Result<Vec<String>> {
        segments_in(&self.dir)
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        fs::read(self.log.join(name))
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn LogFile>> {
        self.log_folder()?;
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(self.log.join(name))?;
        sync_folder(&self.log)?;
        Ok(Box::new(SegmentFile(file)))
    }

    fn reuse(&self, from: &str, to: &str) -> io::Result<Box<dyn LogFile>> {
        fs::rename(self.log.join(from), self.log.join(to))?;
        sync_folder(&self.log)?;
        Ok(Box::new(SegmentFile(OpenOptions::new().write(true).open(self.log.join(to))?)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.log.join(from), self.log.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.log.join(name))
    }

    fn is_there(&self) -> bool {
        self.lock.is_there()
    }

    fn is_whole(&self) -> bool {
        let opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        self.lock.is_there() && opened.iter().all(Place::is_there)
    }
}

/// The names of all segments of the data directory `dir`.
pub(super) fn segments_in(dir: &Path) -> io::Result<Vec<String>> {
    match fs::read_dir(dir.join(LOG_FOLDER)) {
        Ok(entries) => entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Where the segment `name` of the data directory `dir` lies.
pub(super) fn segment_in(dir: &Path, name: &str) -> PathBuf {
    dir.join(LOG_FOLDER).join(name)
}

struct SegmentFile(File);

impl LogFile for SegmentFile {
    fn write(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_all_at(data, offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn note_holder(lock: &mut File) -> io::Result<()> {
    lock.set_len(0)?;
    lock.rewind()?;
    lock.write_all(std::process::id().to_string().as_bytes())
}

/// Who holds the data directory `dir`, if somebody does. Asked by its lock, which is given back at once: a process id that was noted there
/// may long be another program's.
///
/// # Errors
/// The directory is there and may not be looked into.
pub(super) fn holder(dir: &Path) -> io::Result<Option<Holder>> {
    let mut lock = match File::open(dir.join(LOCK_FILE)) {
        Ok(lock) => lock,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    match lock.try_lock_shared() {
        Ok(()) => Ok(None),
        Err(TryLockError::WouldBlock) => Ok(Some(Holder { pid: holder_of(&mut lock) })),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// The process that holds the lock, as far as it has told.
fn holder_of(lock: &mut File) -> Option<u32> {
    /// Longest decimal process id, in bytes.
    const PID_DIGITS_MAX: u64 = 10;
    let mut text = String::new();
    lock.take(PID_DIGITS_MAX).read_to_string(&mut text).ok()?;
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_holds_a_directory_is_told_by_its_lock_and_not_by_what_is_written_there() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(holder(&folder.path().join("none")).expect("looks"), None);
        let disk = FileDisk::take(folder.path()).expect("takes");
        assert_eq!(holder(folder.path()).expect("looks"), Some(Holder { pid: Some(std::process::id()) }));
        drop(disk);
        // Our own process lives, and is noted there: it holds nothing any more.
        assert_eq!(holder(folder.path()).expect("looks"), None);
        drop(FileDisk::take(folder.path()).expect("whoever has asked has given it back"));
    }

    #[test]
    fn what_was_made_and_not_synced_is_synced_by_the_next_attempt() {
        let (is_durable, mut syncs) = (AtomicBool::new(false), 0);
        make_durably(&is_durable, || Ok(()), || Err(io::ErrorKind::Other.into())).expect_err("the sync fails");
        for _ in 0..2 {
            let sync = || {
                syncs += 1;
                Ok(())
            };
            make_durably(&is_durable, || Ok(()), sync).expect("works");
        }
        assert_eq!(syncs, 1, "once, and not for ever");
    }
}
