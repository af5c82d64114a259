//! Whether the data directory is this agent's alone, before anything in it is believed.
//!
//! Whoever can write there can put another key, certificate or authority in the place of ours, whatever the modes of the files are.
//! So a directory that everybody can write is refused. Two things are warned of instead: a directory that its group can write,
//! because with the umask 002 of many distributions every directory is one and its group has one member; and any
//! directory where root runs in a container, because volumes come with modes that nobody chose and nobody else is in there.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

const GROUP_WRITES: u32 = 0o020;
const OTHERS_WRITE: u32 = 0o002;
const STICKY: u32 = 0o1000;

/// The data directory is not this agent's alone. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum GroundError {
    /// Everybody can write there.
    #[error(
        "everybody can write to {0} (mode {mode:o}) and so replace this agent's key and certificate; make it yours alone: \
         chmod go-w {0}",
        path.display()
    )]
    Open {
        /// The directory.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It cannot be looked at.
    #[error("{}: {source}", path.display())]
    Unseen {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Sound,
    Warn,
    Refuse,
}

const fn judge(mode: u32, is_contained_root: bool) -> Verdict {
    if mode & OTHERS_WRITE != 0 && !is_contained_root {
        Verdict::Refuse
    } else if mode & (OTHERS_WRITE | GROUP_WRITES) != 0 {
        Verdict::Warn
    } else {
        Verdict::Sound
    }
}

/// Looks at the data directory and at its folder of keys; what is not there yet is made with mode 0700 later.
///
/// # Errors
/// Everybody can write to one of them, or it cannot be looked at.
pub(crate) fn check(data_dir: &Path) -> Result<(), GroundError> {
    for path in [data_dir.to_owned(), data_dir.join("cluster")] {
        let mode = match fs::metadata(&path) {
            Ok(metadata) => metadata.permissions().mode() & 0o7777,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(source) => return Err(GroundError::Unseen { path, source }),
        };
        match judge(mode, is_contained_root()) {
            Verdict::Sound => {}
            Verdict::Warn => {
                let path = path.display();
                tracing::warn!(%path, mode = format!("{mode:o}"), "others can write to the data directory: chmod go-w {path}");
            }
            Verdict::Refuse => return Err(GroundError::Open { path, mode }),
        }
    }
    if let Some(above) = open_above(data_dir) {
        let above = above.display();
        tracing::warn!(%above, "everybody can write above the data directory and so replace it: chmod o-w {above}");
    }
    Ok(())
}

/// The nearest folder above the data directory in which everybody can rename it and put another in its place. A sticky one, as /tmp, is
/// none: there only its owner can.
pub(crate) fn open_above(data_dir: &Path) -> Option<PathBuf> {
    let path = data_dir.canonicalize().ok()?;
    let is_open = |above: &&Path| {
        let mode = fs::metadata(above).map_or(0, |found| found.permissions().mode());
        mode & OTHERS_WRITE != 0 && mode & STICKY == 0
    };
    path.ancestors().skip(1).find(is_open).map(Path::to_owned)
}

/// Whether this is root in a container, as far as container engines say so.
fn is_contained_root() -> bool {
    let is_root = fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
    let is_marked = ["/.dockerenv", "/run/.containerenv"].iter().any(|mark| Path::new(mark).exists());
    let is_told = ["container", "KUBERNETES_SERVICE_HOST"].iter().any(|name| std::env::var_os(name).is_some());
    is_root && (is_marked || is_told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_everybody_writes_is_refused_but_for_root_in_a_container() {
        let check =
            |mode, expect: [Verdict; 2]| assert_eq!([judge(mode, false), judge(mode, true)], expect, "{mode:o}");
        check(0o700, [Verdict::Sound; 2]);
        check(0o755, [Verdict::Sound; 2]);
        check(0o775, [Verdict::Warn; 2]);
        check(0o2770, [Verdict::Warn; 2]);
        check(0o777, [Verdict::Refuse, Verdict::Warn]);
        check(0o1777, [Verdict::Refuse, Verdict::Warn]);
        check(0o702, [Verdict::Refuse, Verdict::Warn]);
    }

    #[test]
    fn a_folder_above_that_everybody_writes_is_found_unless_it_is_sticky() {
        let folder = tempfile::tempdir().expect("a folder");
        let (above, dir) = (folder.path().join("above"), folder.path().join("above/below/data"));
        fs::create_dir_all(&dir).expect("is made");
        for (mode, is_found) in [(0o755, false), (0o777, true), (0o1777, false), (0o775, false)] {
            fs::set_permissions(&above, fs::Permissions::from_mode(mode)).expect("changes");
            let found = open_above(&dir);
            assert_eq!(found, is_found.then(|| above.canonicalize().expect("is there")), "{mode:o}");
        }
    }

    #[test]
    fn the_error_names_the_directory_and_the_remedy() {
        let dir = tempfile::tempdir().expect("a folder");
        assert!(check(dir.path()).is_ok() && check(&dir.path().join("not yet there")).is_ok());
        for open in [dir.path().to_owned(), dir.path().join("cluster")] {
            fs::create_dir_all(&open).expect("is made");
            fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).expect("changes");
            if !is_contained_root() {
                let error = check(dir.path()).expect_err("is refused").to_string();
                assert!(error.contains(&format!("chmod go-w {}", open.display())), "{error}");
            }
            fs::set_permissions(&open, fs::Permissions::from_mode(0o700)).expect("changes");
        }
    }
}
