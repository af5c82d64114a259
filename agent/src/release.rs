//! Which release of the agent this is, and which commit it was built from.
//!
//! Builds of one version between two releases are told apart by the commit alone. Nothing decides by it: what agents of different
//! builds make of each other hangs on the formats that they speak.

use std::sync::LazyLock;

/// The version, as in `0.1.0`.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit, as in `1f2e3d4c5b6a`, or `1f2e3d4c5b6a+dirty` where sources were changed since; `None` of a build outside of the repository.
pub const COMMIT: Option<&str> = selvedge_commit::COMMIT;

/// Both, for people: `0.1.0 (1f2e3d4c5b6a)`.
#[must_use]
pub fn in_words() -> &'static str {
    static WORDS: LazyLock<String> = LazyLock::new(|| words(COMMIT));
    &WORDS
}

fn words(commit: Option<&str>) -> String {
    commit.map_or_else(|| VERSION.to_owned(), |commit| format!("{VERSION} ({commit})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_without_a_commit_has_a_version_alone() {
        assert_eq!(words(None), VERSION);
        assert_eq!(words(Some("1f2e3d4c5b6a+dirty")), format!("{VERSION} (1f2e3d4c5b6a+dirty)"));
    }

    #[test]
    fn a_commit_is_twelve_digits_and_whether_sources_were_changed() {
        let Some(commit) = COMMIT else { return };
        let digits = commit.strip_suffix("+dirty").unwrap_or(commit);
        assert!(digits.len() == 12 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()), "{commit}");
        assert!(in_words().ends_with(&format!("({commit})")));
    }
}
