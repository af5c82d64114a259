//! Compiled code on disk: one file per component, under an authentication code.
//!
//! Owns the folder and its bound. Compiles nothing and trusts nothing: an entry counts only if this host's key vouches for
//! it, for this component and this engine. The invariants: what [`Cache::read`] gives was written by [`Cache::write`] with
//! the same key, byte for byte; losing all of it costs time only, so nothing here is synced to disk.
//!
//! An entry is a magic number with the format's version, the fingerprint of the engine, the authentication code (BLAKE3,
//! keyed, over all the rest and the component's digest), and the code.

use std::fs::{DirBuilder, File, FileTimes, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use super::CacheConfig;
use super::helper::CODE_BYTES_MAX;
use super::native::Code;
use crate::wasm::error::WasmError;

/// What an entry begins with; the last digit is the version of its form.
const MAGIC: &[u8; 8] = b"slvgcd01";
const HASH_BYTES: usize = 32;
/// What stands before the code.
const HEADER_BYTES: usize = MAGIC.len() + 2 * HASH_BYTES;
/// What the names of entries end in.
const EXTENSION: &str = "code";
/// What the names of entries end in while they are written.
const UNFINISHED: &str = "part";

/// The folder of compiled code.
pub(super) struct Cache {
    config: CacheConfig,
    fingerprint: [u8; HASH_BYTES],
    unfinished: AtomicU64,
    /// Held while the folder's size is looked at and reduced.
    evicting: Mutex<()>,
}

/// What the cache has of a component.
pub(super) enum Found {
    /// Its code.
    Code(Code),
    /// Code for another engine or CPU. The next write replaces it.
    Outdated,
    /// Bytes that this host did not write, or damaged ones; gone now.
    Refused(&'static str),
    /// Nothing.
    Nothing,
}

/// What lies in a folder of compiled code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CodeSurvey {
    /// Entries for this release and this CPU.
    pub current: u64,
    /// Entries for others, which only take room.
    pub outdated: u64,
    /// How much room, in bytes.
    pub outdated_bytes: u64,
}

/// Counts the entries of `folder` by whether their engine is the one of this fingerprint. Believes what they begin with: nothing is run.
pub(super) fn survey(folder: &Path, fingerprint: [u8; HASH_BYTES]) -> io::Result<CodeSurvey> {
    let mut survey = CodeSurvey::default();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != EXTENSION) {
            continue;
        }
        let (mut header, mut file) = ([0; MAGIC.len() + HASH_BYTES], File::open(&path)?);
        let is_current = file.read_exact(&mut header).is_ok() && header == *[&MAGIC[..], &fingerprint].concat();
        if is_current {
            survey.current += 1;
        } else {
            survey.outdated += 1;
            survey.outdated_bytes += file.metadata()?.len();
        }
    }
    Ok(survey)
}

impl Cache {
    /// Opens the folder, makes it (mode 0700) if need be, and removes what an earlier process left half written.
    ///
    /// # Errors
    /// The folder cannot be made or read.
    pub(super) fn open(config: CacheConfig, fingerprint: [u8; HASH_BYTES]) -> Result<Self, WasmError> {
        let cache = Self { config, fingerprint, unfinished: AtomicU64::new(0), evicting: Mutex::default() };
        let failed = |source| WasmError::Cache { folder: cache.config.folder.clone(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(&cache.config.folder).map_err(failed)?;
        for path in cache.files(UNFINISHED).map_err(failed)? {
            remove(&path);
        }
        Ok(cache)
    }

    pub(super) fn folder(&self) -> &Path {
        &self.config.folder
    }

    /// The code of the component with this digest.
    pub(super) fn read(&self, digest: &[u8; HASH_BYTES]) -> Found {
        let path = self.path(digest);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Found::Nothing,
            Err(_) => return Found::Refused("it cannot be read"),
        };
        let found = self.verified(&file, digest);
        match found {
            // What was used last goes last; where that cannot be noted, the order suffers and nothing else.
            Found::Code(_) => drop(file.set_times(FileTimes::new().set_modified(SystemTime::now()))),
            Found::Outdated | Found::Nothing => {}
            Found::Refused(_) => remove(&path),
        }
        found
    }

    fn verified(&self, file: &File, digest: &[u8; HASH_BYTES]) -> Found {
        let (mut entry, most) = (Vec::new(), HEADER_BYTES as u64 + CODE_BYTES_MAX);
        if let Ok(metadata) = file.metadata() {
            entry.reserve_exact(usize::try_from(metadata.len().min(most)).unwrap_or(0));
        }
        match file.take(most + 1).read_to_end(&mut entry) {
            Ok(bytes) if bytes as u64 > most => return Found::Refused("it is too large"),
            Ok(_) => {}
            Err(_) => return Found::Refused("it cannot be read"),
        }
        let Some((header, code)) = entry.split_at_checked(HEADER_BYTES) else { return Found::Refused("it is cut off") };
        let (magic, header) = header.split_at(MAGIC.len());
        let (fingerprint, mac) = header.split_at(HASH_BYTES);
        if magic != MAGIC {
            return Found::Refused("it does not begin as it should");
        }
        if fingerprint != self.fingerprint {
            return Found::Outdated;
        }
        // Comparing hashes of this crate takes the same time wherever they differ.
        let right = mac.try_into().is_ok_and(|mac| self.mac(digest, code) == blake3::Hash::from_bytes(mac));
        if !right {
            return Found::Refused("its authentication code is wrong");
        }
        entry.drain(..HEADER_BYTES);
        Found::Code(Code::vouched_for(entry))
    }

    /// Keeps `code` and returns how many other entries had to go for it. Code beyond the cache's whole size is not kept.
    ///
    /// # Errors
    /// The disk fails. What was kept before still is.
    pub(super) fn write(&self, digest: &[u8; HASH_BYTES], code: &Code) -> io::Result<u64> {
        let bytes = code.bytes();
        if (HEADER_BYTES + bytes.len()) as u64 > self.config.bytes_max {
            return Ok(0);
        }
        let number = self.unfinished.fetch_add(1, Ordering::Relaxed);
        let unfinished = self.config.folder.join(format!("{number}.{UNFINISHED}"));
        let written = self.write_entry(&unfinished, digest, bytes);
        if let Err(error) = written.and_then(|()| std::fs::rename(&unfinished, self.path(digest))) {
            remove(&unfinished);
            return Err(error);
        }
        self.evict()
    }

    fn write_entry(&self, path: &Path, digest: &[u8; HASH_BYTES], code: &[u8]) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        file.write_all(MAGIC)?;
        file.write_all(&self.fingerprint)?;
        file.write_all(self.mac(digest, code).as_bytes())?;
        file.write_all(code)
    }

    /// Removes an entry.
    pub(super) fn remove(&self, digest: &[u8; HASH_BYTES]) {
        remove(&self.path(digest));
    }

    /// Removes what was used longest ago until all fits.
    fn evict(&self) -> io::Result<u64> {
        let _alone = self.evicting.lock().unwrap_or_else(PoisonError::into_inner);
        let mut entries = Vec::new();
        for path in self.files(EXTENSION)? {
            // Another thread may have removed it meanwhile.
            if let Ok(metadata) = path.metadata() {
                entries.push((metadata.modified()?, metadata.len(), path));
            }
        }
        entries.sort();
        let mut bytes: u64 = entries.iter().map(|(_, bytes, _)| bytes).sum();
        let mut evicted = 0;
        for (_, size, path) in entries {
            if bytes <= self.config.bytes_max {
                break;
            }
            remove(&path);
            bytes -= size;
            evicted += 1;
        }
        Ok(evicted)
    }

    fn mac(&self, digest: &[u8; HASH_BYTES], code: &[u8]) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.config.key);
        hasher.update(MAGIC).update(&self.fingerprint).update(digest).update(code);
        hasher.finalize()
    }

    /// A digest's name holds hexadecimal digits only, so that no path leads out of the folder.
    fn path(&self, digest: &[u8; HASH_BYTES]) -> PathBuf {
        self.config.folder.join(format!("{}.{EXTENSION}", blake3::Hash::from_bytes(*digest).to_hex()))
    }

    fn files(&self, extension: &str) -> io::Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&self.config.folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|found| found == extension) {
                files.push(path);
            }
        }
        Ok(files)
    }
}

/// Removes a file. One that stays is overwritten later, or refused again.
fn remove(path: &Path) {
    if let Err(error) = std::fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "a file of compiled code could not be removed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: [u8; 32] = [1; 32];
    const TWO: [u8; 32] = [2; 32];

    fn cache(folder: &Path, key: u8, engine: u8) -> Cache {
        let config = CacheConfig { folder: folder.to_owned(), key: [key; 32], bytes_max: 1_000 };
        Cache::open(config, [engine; 32]).expect("opens")
    }

    fn code(bytes: &[u8]) -> Code {
        Code::vouched_for(bytes.to_vec())
    }

    fn read(cache: &Cache, digest: &[u8; 32]) -> Result<Vec<u8>, &'static str> {
        match cache.read(digest) {
            Found::Code(code) => Ok(code.bytes().to_vec()),
            Found::Outdated => Err("outdated"),
            Found::Refused(_) => Err("refused"),
            Found::Nothing => Err("nothing"),
        }
    }

    #[test]
    fn what_was_kept_is_there_for_this_component_key_and_engine_only() {
        let folder = tempfile::tempdir().expect("a folder");
        let ours = cache(folder.path(), 7, 9);
        assert_eq!(read(&ours, &ONE), Err("nothing"));
        ours.write(&ONE, &code(b"native")).expect("writes");
        assert_eq!(read(&ours, &ONE), Ok(b"native".to_vec()));
        assert_eq!(read(&cache(folder.path(), 7, 9), &ONE), Ok(b"native".to_vec()), "after a restart");
        assert_eq!(read(&cache(folder.path(), 7, 8), &ONE), Err("outdated"));
        // Under another component's name it is as good as forged.
        std::fs::copy(ours.path(&ONE), ours.path(&TWO)).expect("copies");
        assert_eq!(read(&ours, &TWO), Err("refused"));
        assert_eq!(read(&ours, &TWO), Err("nothing"), "what was refused is gone");
        assert_eq!(read(&cache(folder.path(), 6, 9), &ONE), Err("refused"), "another host's");
    }

    #[test]
    fn an_entry_that_was_changed_or_cut_anywhere_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = cache(folder.path(), 7, 9);
        cache.write(&ONE, &code(b"native")).expect("writes");
        let entry = std::fs::read(cache.path(&ONE)).expect("reads");
        for at in 0..entry.len() {
            let mut changed = entry.clone();
            changed[at] ^= 0x10;
            for bytes in [&changed[..], &entry[..at]] {
                std::fs::write(cache.path(&ONE), bytes).expect("writes");
                assert!(matches!(read(&cache, &ONE), Err("refused" | "outdated")), "byte {at}");
            }
        }
        let longer = [&entry[..], b"x"].concat();
        std::fs::write(cache.path(&ONE), longer).expect("writes");
        assert_eq!(read(&cache, &ONE), Err("refused"));
        cache.write(&ONE, &code(b"native")).expect("writes again");
        assert_eq!(read(&cache, &ONE), Ok(b"native".to_vec()));
    }

    #[test]
    fn what_was_used_longest_ago_makes_room() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = cache(folder.path(), 7, 9);
        let third = code(&[0; 300]);
        for (age_s, digest) in [(20, [1; 32]), (30, [2; 32])] {
            assert_eq!(cache.write(&digest, &third).expect("writes"), 0);
            let long_ago = SystemTime::now() - std::time::Duration::from_secs(age_s);
            let file = File::options().write(true).open(cache.path(&digest)).expect("opens");
            file.set_times(FileTimes::new().set_modified(long_ago)).expect("ages");
        }
        // Using it makes it young.
        assert!(read(&cache, &TWO).is_ok());
        assert_eq!(cache.write(&[3; 32], &third).expect("writes"), 1);
        assert_eq!(read(&cache, &ONE), Err("nothing"));
        assert!(read(&cache, &TWO).is_ok());
        assert_eq!(cache.write(&[4; 32], &code(&[0; 1_000])).expect("is passed over"), 0);
        assert_eq!(read(&cache, &[4; 32]), Err("nothing"));
    }

    #[test]
    fn half_written_entries_go_at_the_next_start() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("0.part"), b"half").expect("writes");
        cache(folder.path(), 7, 9);
        assert_eq!(std::fs::read_dir(folder.path()).expect("lists").count(), 0);
    }
}
