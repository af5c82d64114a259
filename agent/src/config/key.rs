//! The shared key of a cluster, as a file.
//!
//! Owns reading and judging the file; what the key admits to is the network layer's. The invariant: a key that others on this
//! host can read is not used, and no key is ever printed.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Digits of a key in its file.
const KEY_DIGITS: usize = 64;

/// What members of one cluster share. 32 bytes; never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct ClusterKey(pub [u8; 32]);

impl fmt::Debug for ClusterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClusterKey(…)")
    }
}

/// A command that makes a key at `path`, for messages.
pub(super) fn how_to_make(path: &Path) -> String {
    format!("(umask 077; head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \\n' > {})", path.display())
}

/// Reads the key at `path`.
///
/// # Errors
/// What is wrong with the file, and how to mend it.
pub(super) fn read(path: &Path) -> Result<ClusterKey, String> {
    let unreadable =
        |error| format!("{} cannot be read: {error}; a new key is made by {}", path.display(), how_to_make(path));
    let file = File::open(path).map_err(unreadable)?;
    let mode = file.metadata().map_err(unreadable)?.permissions().mode();
    if mode & 0o077 != 0 {
        let path = path.display();
        return Err(format!(
            "{path} may be read or written by others (mode {:03o}); run chmod 600 {path}",
            mode & 0o777
        ));
    }
    let mut text = String::new();
    // Room for the digits and a line end; what is longer is no key, whatever it is.
    file.take(KEY_DIGITS as u64 + 8).read_to_string(&mut text).map_err(unreadable)?;
    let key = blake3::Hash::from_hex(text.trim()).map_err(|_| {
        format!(
            "{} does not hold {KEY_DIGITS} hexadecimal digits; a new key is made by {}",
            path.display(),
            how_to_make(path)
        )
    })?;
    Ok(ClusterKey(*key.as_bytes()))
}
