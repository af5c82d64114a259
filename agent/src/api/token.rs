//! The token that changes over TCP must show: made at the first start, kept in a file that only its owner may read.
//!
//! Owns its text, its file and its comparison. The invariants: a token is never printed, a half-written file is never left
//! under the token's name, and comparing takes the same time wherever the texts differ.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Random bytes in a token. Shown in hexadecimal, twice as many characters.
const TOKEN_BYTES: usize = 32;

/// Only the owner reads and writes.
const FILE_MODE: u32 = 0o600;

/// A secret that gives the right to change things.
#[derive(Clone)]
pub struct Token(String);

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file cannot be read or written.
    #[error("the API's token in {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file holds something else.
    #[error("{0} holds no token of the API (64 hexadecimal digits); remove it to have a new one made")]
    Malformed(PathBuf),
    /// The operating system gives no randomness.
    #[error("no randomness for the API's token: {0}")]
    Random(getrandom::Error),
}

/// The token in `path`; makes one, with mode 0600, where there is none.
///
/// # Errors
/// The file cannot be read or written, or holds something that is no token.
pub fn load_or_create(path: &Path) -> Result<Token, TokenError> {
    let failed = |source| TokenError::Io { path: path.to_owned(), source };
    match File::open(path) {
        Ok(file) => load(path, file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let token = Token::random()?;
            store(path, &token).map_err(failed)?;
            Ok(token)
        }
        Err(error) => Err(failed(error)),
    }
}

fn load(path: &Path, file: File) -> Result<Token, TokenError> {
    let failed = |source| TokenError::Io { path: path.to_owned(), source };
    if file.metadata().map_err(failed)?.permissions().mode() & 0o007 != 0 {
        tracing::warn!(path = %path.display(), "everybody on this host can read the API's token; chmod 600 it");
    }
    let mut text = String::new();
    // A token and a newline or two; what is longer is none, whatever it is.
    file.take(4 * TOKEN_BYTES as u64).read_to_string(&mut text).map_err(failed)?;
    Token::parse(text.trim_ascii()).ok_or_else(|| TokenError::Malformed(path.to_owned()))
}

/// Writes beside the file and renames, so that a crash leaves no half of a token.
fn store(path: &Path, token: &Token) -> io::Result<()> {
    let beside = path.with_extension("new");
    match std::fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(&beside)?;
    file.write_all(format!("{}\n", token.0).as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&beside, path)
}

impl Token {
    /// A token from its text, 64 hexadecimal digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let sound = text.len() == 2 * TOKEN_BYTES && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        sound.then(|| Self(text.to_owned()))
    }

    fn random() -> Result<Self, TokenError> {
        let mut bytes = [0; TOKEN_BYTES];
        getrandom::fill(&mut bytes).map_err(TokenError::Random)?;
        Ok(Self(blake3::Hash::from_bytes(bytes).to_hex().to_string()))
    }

    /// The secret itself, for whoever has to show it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether a caller showed this token. Hashes of both are compared, in constant time, so that neither their common
    /// beginning nor their lengths can be told from how long it takes.
    pub(super) fn is(&self, shown: &[u8]) -> bool {
        blake3::hash(self.0.as_bytes()) == blake3::hash(shown)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_made_once_and_for_its_owner_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("api-token");
        let made = load_or_create(&path).expect("made");
        let mode = std::fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, FILE_MODE);
        let found = load_or_create(&path).expect("found");
        assert!(found.is(made.reveal().as_bytes()));
        assert!(!found.is(b""));
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 1, "nothing else is left");
        assert!(!format!("{made:?}").contains(made.reveal()));
    }

    #[test]
    fn a_file_without_a_token_is_refused_and_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("api-token");
        for text in ["", "secret", &"x".repeat(64), &"a".repeat(65)] {
            std::fs::write(&path, text).expect("written");
            assert!(matches!(load_or_create(&path), Err(TokenError::Malformed(_))), "{text}");
            assert_eq!(std::fs::read_to_string(&path).expect("there"), text);
        }
    }
}
