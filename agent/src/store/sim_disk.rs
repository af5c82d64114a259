//! A disk in memory that fails and loses power on demand, for tests.
//!
//! Keeps what was synced apart from what was only written, for the database and for each segment of the log. The invariant:
//! after a power cut, what was synced is there, and of what was written since, any part of any write may be.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use redb::StorageBackend;

use super::disk::{DATABASE_FILE, Disk, LogFile};

/// The piece of a write that a disk writes whole, in bytes.
const SECTOR: usize = 512;

/// How the disk behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Mood {
    /// It does what it should.
    #[default]
    Works,
    /// Every write fails, as on a full disk.
    Full,
    /// Every write writes a part of what it should and fails, as on a disk that is just becoming full.
    Short,
    /// Every sync fails, as on a dying disk, and drops what was written: to sync again would succeed and prove nothing.
    SyncFails,
    /// Nothing is synced, not even the name of a file that was just made, and nothing can be removed.
    Stuck,
    /// Everything fails.
    Gone,
    /// A write does not end until the mood is another.
    Hangs,
}

/// What a disk says that does not sync.
fn unsynced<T>() -> io::Result<T> {
    Err(io::Error::other("the disk does not sync"))
}

#[derive(Clone, Debug, Default)]
struct SimFile {
    /// What a reader sees.
    seen: Vec<u8>,
    /// What survives a power cut for certain.
    synced: Vec<u8>,
    /// What may survive one in part, in order.
    since: Vec<Change>,
}

#[derive(Clone, Debug)]
enum Change {
    Length(usize),
    Write(usize, Vec<u8>),
}

#[derive(Debug, Default)]
struct Contents {
    mood: Mood,
    files: BTreeMap<String, SimFile>,
    /// Files whose removal or renaming a power cut may undo.
    removed: BTreeMap<String, SimFile>,
    /// Writes, syncs and changes of names so far.
    operations: u64,
    /// The operation with which the power goes.
    power_until: Option<u64>,
}

/// The disk. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub(super) struct SimDisk(Arc<Mutex<Contents>>);

/// A file on the disk.
#[derive(Clone, Debug)]
struct SimHandle {
    disk: SimDisk,
    name: String,
}

impl SimFile {
    fn resize(&mut self, length: usize) {
        self.seen.resize(length, 0);
        self.since.push(Change::Length(length));
    }

    fn write(&mut self, offset: usize, data: &[u8]) {
        let end = offset + data.len();
        if self.seen.len() < end {
            self.resize(end);
        }
        self.seen[offset..end].copy_from_slice(data);
        self.since.push(Change::Write(offset, data.to_vec()));
    }

    /// The file with those of the writes since the last sync that were `lucky`.
    fn after_power_cut(&self, lucky: &mut impl FnMut() -> bool) -> Self {
        let mut left = self.synced.clone();
        for change in &self.since {
            match change {
                Change::Length(length) => left.resize(*length, 0),
                Change::Write(offset, data) => {
                    for (at, sector) in (*offset..).step_by(SECTOR).zip(data.chunks(SECTOR)) {
                        if lucky() {
                            left[at..at + sector.len()].copy_from_slice(sector);
                        }
                    }
                }
            }
        }
        Self { seen: left.clone(), synced: left, since: Vec::new() }
    }
}

impl SimDisk {
    /// Changes how the disk behaves from now on.
    pub(super) fn become_mood(&self, mood: Mood) {
        self.contents().mood = mood;
    }

    /// The power goes with the operation of this number, counted from the first ever.
    pub(super) fn lose_power_at(&self, operation: u64) {
        self.contents().power_until = Some(operation);
    }

    /// Writes, syncs and changes of names so far.
    pub(super) fn operations(&self) -> u64 {
        self.contents().operations
    }

    /// The disk as it is found after a power cut now. `seed` decides what of the writes since the last sync reached it.
    pub(super) fn after_power_cut(&self, seed: u64) -> Self {
        let contents = self.contents();
        let mut state = seed.wrapping_mul(2).wrapping_add(1);
        let mut lucky = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state >> 63 == 1
        };
        let mut files = BTreeMap::new();
        for (name, file) in &contents.removed {
            if lucky() {
                files.insert(name.clone(), file.after_power_cut(&mut lucky));
            }
        }
        for (name, file) in &contents.files {
            files.insert(name.clone(), file.after_power_cut(&mut lucky));
        }
        Self(Arc::new(Mutex::new(Contents { files, ..Contents::default() })))
    }

    /// Changes a file behind the store's back, for certain.
    pub(super) fn tamper(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut contents = self.contents();
        let file = contents.files.get_mut(name).expect("the file is there");
        change(&mut file.seen);
        file.synced = file.seen.clone();
    }

    /// Makes durable all that was written, behind the store's back.
    pub(super) fn settle(&self) {
        for file in self.contents().files.values_mut() {
            (file.synced, file.since) = (file.seen.clone(), Vec::new());
        }
    }

    /// Removes a file behind the store's back, for certain.
    pub(super) fn lose(&self, name: &str) {
        self.contents().files.remove(name).expect("the file is there");
    }

    /// The names of all files.
    pub(super) fn names(&self) -> Vec<String> {
        self.contents().files.keys().cloned().collect()
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        self.0.lock().expect("no test panics while it holds the disk")
    }

    /// Counts an operation that changes something, and refuses it when the disk does.
    fn operate(&self) -> io::Result<MutexGuard<'_, Contents>> {
        let mut contents = self.contents();
        while contents.mood == Mood::Hangs {
            drop(contents);
            std::thread::yield_now();
            contents = self.contents();
        }
        contents.operations += 1;
        if contents.power_until.is_some_and(|until| contents.operations >= until) {
            contents.mood = Mood::Gone;
        }
        match contents.mood {
            Mood::Works | Mood::Hangs | Mood::SyncFails | Mood::Stuck | Mood::Short => Ok(contents),
            Mood::Full => Err(io::ErrorKind::StorageFull.into()),
            Mood::Gone => Err(io::Error::other("the disk is gone")),
        }
    }

    fn handle(&self, name: &str) -> SimHandle {
        SimHandle { disk: self.clone(), name: name.to_owned() }
    }

    fn present(&self) -> io::Result<MutexGuard<'_, Contents>> {
        let contents = self.contents();
        if contents.mood == Mood::Gone { Err(io::Error::other("the disk is gone")) } else { Ok(contents) }
    }

    fn take(contents: &mut Contents, name: &str) -> io::Result<SimFile> {
        let file = contents.files.remove(name).ok_or(io::ErrorKind::NotFound)?;
        contents.removed.insert(name.to_owned(), file.clone());
        Ok(file)
    }
}

impl Disk for SimDisk {
    fn open(&self) -> io::Result<Box<dyn StorageBackend>> {
        self.present()?.files.entry(DATABASE_FILE.to_owned()).or_default();
        Ok(Box::new(self.handle(DATABASE_FILE)))
    }

    fn set_aside(&self) -> io::Result<String> {
        let mut contents = self.operate()?;
        let name = format!("{DATABASE_FILE}.damaged-{}", contents.operations);
        let file = contents.files.remove(DATABASE_FILE).ok_or(io::ErrorKind::NotFound)?;
        contents.files.insert(name.clone(), file);
        Ok(name)
    }

    fn segments(&self) -> io::Result<Vec<String>> {
        let contents = self.present()?;
        Ok(contents.files.keys().filter(|name| !name.starts_with(DATABASE_FILE)).cloned().collect())
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        Ok(self.present()?.files.get(name).ok_or(io::ErrorKind::NotFound)?.seen.clone())
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn LogFile>> {
        let mut contents = self.operate()?;
        if contents.files.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        contents.files.insert(name.to_owned(), SimFile::default());
        if contents.mood == Mood::Stuck { unsynced() } else { Ok(Box::new(self.handle(name))) }
    }

    fn reuse(&self, from: &str, to: &str) -> io::Result<Box<dyn LogFile>> {
        let mut contents = self.operate()?;
        let file = contents.files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        contents.removed.remove(from);
        contents.files.insert(to.to_owned(), file);
        if contents.mood == Mood::Stuck { unsynced() } else { Ok(Box::new(self.handle(to))) }
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut contents = self.operate()?;
        let file = Self::take(&mut contents, from)?;
        contents.files.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut contents = self.operate()?;
        if contents.mood == Mood::Stuck { unsynced() } else { Self::take(&mut contents, name).map(drop) }
    }
}

impl SimHandle {
    fn put(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let from = usize::try_from(offset).map_err(io::Error::other)?;
        let mut contents = self.disk.operate()?;
        let short = contents.mood == Mood::Short;
        let file = contents.files.get_mut(&self.name).ok_or(io::ErrorKind::NotFound)?;
        file.write(from, if short { &data[..data.len() / 2] } else { data });
        if short { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn make_durable(&self) -> io::Result<()> {
        let mut contents = self.disk.operate()?;
        let fails = matches!(contents.mood, Mood::SyncFails | Mood::Stuck);
        let file = contents.files.get_mut(&self.name).ok_or(io::ErrorKind::NotFound)?;
        if fails {
            // As the page cache does it: what was written still reads back, is clean now, and is not on the disk.
            file.since.clear();
            return unsynced();
        }
        for change in std::mem::take(&mut file.since) {
            match change {
                Change::Length(length) => file.synced.resize(length, 0),
                Change::Write(offset, data) => {
                    if file.synced.len() < offset + data.len() {
                        file.synced.resize(offset + data.len(), 0);
                    }
                    file.synced[offset..offset + data.len()].copy_from_slice(&data);
                }
            }
        }
        Ok(())
    }
}

impl LogFile for SimHandle {
    fn write(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.put(offset, data)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.make_durable()
    }
}

impl StorageBackend for SimHandle {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.contents().files.get(&self.name).ok_or(io::ErrorKind::NotFound)?.seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let from = usize::try_from(offset).map_err(io::Error::other)?;
        let contents = self.disk.contents();
        let file = contents.files.get(&self.name).ok_or(io::ErrorKind::NotFound)?;
        let bytes = file.seen.get(from..from + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let length = usize::try_from(length).map_err(io::Error::other)?;
        let mut contents = self.disk.operate()?;
        contents.files.get_mut(&self.name).ok_or(io::ErrorKind::NotFound)?.resize(length);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.make_durable()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.put(offset, data)
    }
}
