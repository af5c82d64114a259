//! A test that cannot run on this machine says so where somebody sees it, or fails.
//!
//! Owns what becomes of a skip. The invariants: it is on stderr even where cargo swallows what passing tests print; and what
//! [`NO_SKIP`] names is never skipped, so that a machine that has a tool cannot be green without the test that needs it.

use std::io::Write as _;

/// Variable that names what may not be missing, separated by commas; `1` or `all` is everything.
pub const NO_SKIP: &str = "SELVEDGE_NO_SKIP";
/// Variable that names a file to which each skip is added, a line each.
pub const SKIPS: &str = "SELVEDGE_SKIPS";

/// Tells that the running test, or a part of it, is left out for want of `need`, and why.
///
/// # Panics
/// [`NO_SKIP`] names `need`, or the file of [`SKIPS`] cannot be written.
pub fn skip(need: &str, why: &str) {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let why = why.split_whitespace().collect::<Vec<_>>().join(" ");
    let required = std::env::var(NO_SKIP).unwrap_or_default();
    assert!(!is_required(need, &required), "{test} was skipped for want of {need}, which {NO_SKIP} forbids: {why}");
    let line = format!("skipped for want of {need}: {test}: {why}\n");
    // Not `eprint`, which a test's harness captures.
    drop(std::io::stderr().write_all(line.as_bytes()));
    if let Some(file) = std::env::var_os(SKIPS) {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(file);
        file.and_then(|mut file| file.write_all(line.as_bytes())).expect("skips can be written down");
    }
}

fn is_required(need: &str, required: &str) -> bool {
    required.split(',').map(str::trim).any(|name| ["1", "all", need].contains(&name))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn what_is_required_is_named_or_everything() {
        let check = |required: &str, expect: bool| assert_eq!(is_required("boot", required), expect, "{required}");
        check("", false);
        check("browser", false);
        check("browser, boot", true);
        check("boots", false);
        check("1", true);
        check("all", true);
    }

    #[test]
    #[ignore = "skips itself; the test below runs it"]
    fn skips_itself() {
        skip("boot", "it is\nSunday");
    }

    #[test]
    fn a_skip_is_seen_and_kept_and_a_forbidden_one_fails() {
        let folder = tempfile::tempdir().expect("a folder");
        let skips = folder.path().join("skips");
        let run = |required: &str| {
            let mut this = Command::new(std::env::current_exe().expect("a path"));
            this.args(["--exact", "skip::tests::skips_itself", "--ignored"]).env(NO_SKIP, required).env(SKIPS, &skips);
            let output = this.output().expect("it runs");
            (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
        };
        let line = "skipped for want of boot: skip::tests::skips_itself: it is Sunday\n";
        assert_eq!(run("browser"), (true, line.to_owned()), "without --nocapture");
        assert_eq!(std::fs::read_to_string(&skips).expect("a file"), line);
        assert!(!run("browser,boot").0);
        assert_eq!(std::fs::read_to_string(&skips).expect("a file"), line, "what failed was not skipped");
    }
}
