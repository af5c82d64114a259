//! A disk in memory that fails and loses power on demand, for tests.
//!
//! Keeps what was synced apart from what was only written. The invariant: after a power cut, what was synced is there, and of
//! what was written since, any part of any write may be.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use redb::StorageBackend;

use super::disk::Disk;

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
    /// Every sync fails, as on a dying disk.
    SyncFails,
    /// Everything fails.
    Gone,
}

#[derive(Debug, Default)]
struct Contents {
    mood: Mood,
    /// What a reader sees.
    seen: Vec<u8>,
    /// What survives a power cut for certain.
    synced: Vec<u8>,
    /// What may survive one in part, in order.
    since: Vec<Change>,
}

#[derive(Debug)]
enum Change {
    Length(usize),
    Write(usize, Vec<u8>),
}

/// The disk. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub(super) struct SimDisk(Arc<Mutex<Contents>>);

impl SimDisk {
    /// Changes how the disk behaves from now on.
    pub(super) fn become_mood(&self, mood: Mood) {
        self.contents().mood = mood;
    }

    /// The disk as it is found after a power cut now. `seed` decides what of the writes since the last sync reached it.
    pub(super) fn after_power_cut(&self, seed: u64) -> Self {
        let contents = self.contents();
        let mut left = contents.synced.clone();
        let mut state = seed.wrapping_mul(2).wrapping_add(1);
        let mut lucky = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state >> 63 == 1
        };
        for change in &contents.since {
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
        Self(Arc::new(Mutex::new(Contents { seen: left.clone(), synced: left, ..Contents::default() })))
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        self.0.lock().expect("no test panics while it holds the disk")
    }

    fn writable(&self) -> io::Result<MutexGuard<'_, Contents>> {
        let contents = self.contents();
        match contents.mood {
            Mood::Works | Mood::SyncFails => Ok(contents),
            Mood::Full => Err(io::ErrorKind::StorageFull.into()),
            Mood::Gone => Err(io::Error::other("the disk is gone")),
        }
    }
}

impl Disk for SimDisk {
    fn open(&self) -> io::Result<Box<dyn StorageBackend>> {
        if self.contents().mood == Mood::Gone {
            return Err(io::Error::other("the disk is gone"));
        }
        Ok(Box::new(self.clone()))
    }
}

impl StorageBackend for SimDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.contents().seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let from = usize::try_from(offset).map_err(io::Error::other)?;
        let contents = self.contents();
        let bytes = contents.seen.get(from..from + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let length = usize::try_from(length).map_err(io::Error::other)?;
        let mut contents = self.writable()?;
        contents.seen.resize(length, 0);
        contents.since.push(Change::Length(length));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut contents = self.writable()?;
        if contents.mood == Mood::SyncFails {
            return Err(io::Error::other("the disk does not sync"));
        }
        contents.synced = contents.seen.clone();
        contents.since.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let from = usize::try_from(offset).map_err(io::Error::other)?;
        let mut contents = self.writable()?;
        contents.seen[from..from + data.len()].copy_from_slice(data);
        contents.since.push(Change::Write(from, data.to_vec()));
        Ok(())
    }
}
