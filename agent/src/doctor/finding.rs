//! What a check finds, and the report of all of them.

use serde::Serialize;

use super::place::Place;
use crate::cli::printable;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Severity {
    /// Good to know; nothing has to be done.
    Note,
    /// It works, and will not for ever, or not as well as it could.
    Warning,
    /// It does not work, or not safely.
    Error,
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub(super) severity: Severity,
    /// What is wrong.
    pub(super) what: String,
    /// A command, or what to do.
    pub(super) mend: String,
}

impl Finding {
    pub(super) fn error(what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { severity: Severity::Error, what: what.into(), mend: mend.into() }
    }

    pub(super) fn warning(what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, what: what.into(), mend: mend.into() }
    }

    pub(super) fn note(what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { severity: Severity::Note, what: what.into(), mend: mend.into() }
    }
}

/// What a check found, or why it could not look.
pub(super) type Outcome = Result<Vec<Finding>, String>;

/// The document.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    healthy: bool,
    data_dir: String,
    /// The agent that was asked; `None` when none answered.
    agent: Option<String>,
    checks: Vec<Check>,
}

#[derive(Debug, Serialize)]
struct Check {
    check: &'static str,
    findings: Vec<Finding>,
    /// Why it could not look.
    skipped: Option<String>,
}

impl Report {
    pub(super) fn new(place: &Place, answers: bool) -> Self {
        let agent = answers.then(|| place.api.to_string());
        Self { healthy: true, data_dir: place.data_dir.display().to_string(), agent, checks: Vec::new() }
    }

    pub(super) fn add(&mut self, check: &'static str, outcome: Outcome) {
        let (findings, skipped) = match outcome {
            Ok(findings) => (findings, None),
            Err(why) => (Vec::new(), Some(why)),
        };
        self.healthy &= findings.iter().all(|finding| finding.severity == Severity::Note);
        self.checks.push(Check { check, findings, skipped });
    }

    /// Whether there is nothing to mend.
    pub(super) fn is_healthy(&self) -> bool {
        self.healthy
    }

    /// What could not be looked at and why; once for those in a row that one thing keeps from it.
    fn skipped(&self) -> Vec<(String, &str)> {
        let mut all: Vec<(String, &str)> = Vec::new();
        for check in &self.checks {
            let Some(why) = check.skipped.as_deref() else { continue };
            match all.last_mut() {
                Some((checks, last)) if *last == why => {
                    checks.push_str(", ");
                    checks.push_str(check.check);
                }
                _ => all.push((check.check.to_owned(), why)),
            }
        }
        all
    }

    /// The worst first, then what could not be looked at, then the sum.
    pub(super) fn text(&self) -> String {
        let agent =
            self.agent.as_deref().map_or_else(|| "no agent answers".to_owned(), |api| format!("agent at {api}"));
        let mut text = format!("data directory {}, {agent}\n", self.data_dir);
        let all = self.checks.iter().flat_map(|check| check.findings.iter().map(|finding| (check.check, finding)));
        let mut all: Vec<_> = all.collect();
        all.sort_by_key(|(_, finding)| std::cmp::Reverse(finding.severity));
        for (check, Finding { severity, what, mend }) in &all {
            let word = match severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
                Severity::Note => "note",
            };
            text += &format!("\n{word}: {check}: {}\n  mend: {}\n", printable(what), printable(mend));
        }
        for (checks, why) in self.skipped() {
            text += &format!("\nnot looked at: {checks}: {}", printable(why));
        }
        let bad = all.iter().filter(|(_, finding)| finding.severity != Severity::Note).count();
        let looked = self.checks.iter().filter(|check| check.skipped.is_none()).count();
        let verdict = match bad {
            0 => "nothing to mend".to_owned(),
            1 => "one thing to mend".to_owned(),
            many => format!("{many} things to mend"),
        };
        format!("{}\n\n{looked} checks: {verdict}", text.trim_end())
    }
}
