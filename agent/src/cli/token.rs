//! The token that changes over TCP need, as the CLI on the agent's host finds it.
//!
//! Owns the check of a file that an agent points to; sends nothing. The invariant: whatever answers at the API's address,
//! it learns nothing from us but the content of a file that is by name, mode and form an API token.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// The file's name in an agent's data directory.
pub(crate) const TOKEN_FILE_NAME: &str = "api-token";
/// Hexadecimal digits of a token: 256 bits.
pub(crate) const TOKEN_DIGITS: usize = 64;
/// Mode bits that let everybody on the host read or change a file.
const OTHERS: u32 = 0o007;
/// Bytes read at most: the digits and a line end of either kind.
const READ_BYTES_MAX: u64 = TOKEN_DIGITS as u64 + 2;

/// Why a file was not used as a token.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TokenError {
    /// The agent named a file that is no token by its name.
    #[error("it is not named {TOKEN_FILE_NAME}")]
    Name,
    /// It does not exist, or this user may not read it.
    #[error("{0}")]
    Unreadable(#[from] std::io::Error),
    /// A symbolic link, a folder or a device.
    #[error("it is no regular file")]
    NoFile,
    /// Everybody can read it, so it proves nothing.
    #[error("others may read it (mode {0:o}); the agent makes it with mode 600")]
    Open(u32),
    /// It holds something else.
    #[error("it does not hold {TOKEN_DIGITS} hexadecimal digits")]
    Content,
}

/// Reads the token from `path`, if it is one.
///
/// # Errors
/// Says which check failed. Nothing of the file's content is in the error.
pub(crate) fn read_token(path: &Path) -> Result<String, TokenError> {
    if path.file_name().is_none_or(|name| name != TOKEN_FILE_NAME) {
        return Err(TokenError::Name);
    }
    let meta = fs::symlink_metadata(path)?;
    if !meta.is_file() {
        return Err(TokenError::NoFile);
    }
    let mode = meta.permissions().mode() & 0o777;
    if mode & OTHERS != 0 {
        return Err(TokenError::Open(mode));
    }
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(READ_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    let text = String::from_utf8(bytes).map_err(|_| TokenError::Content)?;
    let token = text.trim_end_matches(['\r', '\n']);
    if token.len() == TOKEN_DIGITS && token.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        Ok(token.to_owned())
    } else {
        Err(TokenError::Content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(dir: &Path, name: &str, content: &str, mode: u32) -> std::path::PathBuf {
        let path = dir.join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn a_private_file_of_digits_is_a_token() {
        let dir = tempfile::tempdir().unwrap();
        let digits = "0123456789abcdef".repeat(4);
        assert_eq!(read_token(&file(dir.path(), TOKEN_FILE_NAME, &format!("{digits}\n"), 0o600)).unwrap(), digits);
    }

    #[test]
    fn nothing_else_is() {
        let digits = "ab".repeat(32);
        let check = |name: &str, content: &str, mode: u32, wanted: &str| {
            let dir = tempfile::tempdir().unwrap();
            let error = read_token(&file(dir.path(), name, content, mode)).unwrap_err();
            assert!(error.to_string().contains(wanted), "{name}: {error}");
        };
        check("id_rsa", &digits, 0o600, "not named");
        check(TOKEN_FILE_NAME, &digits, 0o644, "mode 644");
        check(TOKEN_FILE_NAME, "root:x:0:0", 0o600, "does not hold");
        check(TOKEN_FILE_NAME, &format!("{digits}{digits}"), 0o600, "does not hold");
        check(TOKEN_FILE_NAME, &"zz".repeat(32), 0o600, "does not hold");
    }

    #[test]
    fn a_link_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let real = file(dir.path(), "real", &"ab".repeat(32), 0o600);
        let link = dir.path().join(TOKEN_FILE_NAME);
        std::os::unix::fs::symlink(real, &link).unwrap();
        assert!(matches!(read_token(&link), Err(TokenError::NoFile)));
        assert!(matches!(read_token(&dir.path().join("none").join(TOKEN_FILE_NAME)), Err(TokenError::Unreadable(_))));
    }
}
