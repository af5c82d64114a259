//! What can go wrong between a person at a terminal and an agent.
//!
//! Owns the texts that reach stderr and the exit code of each kind of failure; prints nothing. The invariant: a message
//! says what happened, whose fault it is and what to do next; what an error leaves changed is [`CliError::changed`], and nothing is
//! where that is silent.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use serde_json::Value;

/// Exit code: done.
pub(crate) const EXIT_DONE: u8 = 0;
/// Exit code: the agent refused, or the thing failed.
pub(crate) const EXIT_FAILED: u8 = 1;
/// Exit code: wrong usage. Clap uses the same one.
pub(crate) const EXIT_USAGE: u8 = 2;
/// Exit code: no agent could be reached.
pub(crate) const EXIT_UNREACHABLE: u8 = 3;
/// Exit code: timed out.
pub(crate) const EXIT_TIMED_OUT: u8 = 4;
/// Exit code: interrupted from the terminal, as a shell reports SIGINT.
pub(crate) const EXIT_INTERRUPTED: u8 = 130;

/// The status of an answer that came too late inside the agent.
const GATEWAY_TIMEOUT: u16 = 504;

/// What stands between a text and what to do about it.
pub(crate) const HINT: &str = "\n  hint: ";

/// Why a command did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// The caller's fault; nothing was sent.
    #[error("{0}")]
    Usage(String),
    /// What a command was pointed to cannot be used: a file, standard input, a credential. As wrong as wrong usage, and its help says
    /// nothing of it; nothing was sent.
    #[error("{0}")]
    Unusable(String),
    /// Nobody answers at the address; nothing was changed.
    #[error(
        "no agent answers at {api}: {reason}\n  hint: start one with `selvedge run`, or name another with --api or SELVEDGE_API; `systemctl status selvedge` tells what a service waits for that is being started"
    )]
    Unreachable {
        /// The address as it was tried.
        api: String,
        /// What the operating system said.
        reason: String,
    },
    /// The agent's socket is there, and this user may not open it; nothing was changed.
    #[error(
        "this user may not open the agent's socket {api}: {reason}\n  hint: use it as root or as a member of its group, `selvedge`; --api http://127.0.0.1:7411 answers anybody on this host that only reads"
    )]
    Forbidden {
        /// The address as it was tried.
        api: String,
        /// What the operating system said.
        reason: String,
    },
    /// The agent was reached and did not answer in time.
    #[error("no answer within {} while waiting for {what}\n  hint: raise --timeout; the agent may still finish it", humantime::format_duration(*.after))]
    TimedOut {
        /// What was waited for.
        what: String,
        /// How long.
        after: Duration,
    },
    /// What was waited for has not happened in time.
    #[error("{what} after {}", humantime::format_duration(*.after))]
    NotInTime {
        /// How things stand instead.
        what: String,
        /// How long it was waited for.
        after: Duration,
    },
    /// The agent's own refusal.
    #[error("{0}")]
    Refused(Box<Problem>),
    /// The agent's answer makes no sense: its fault, or another program listens there.
    #[error(
        "the answer to {what} is not what an agent says: {reason}\n  hint: is {api} a selvedge agent of this version?"
    )]
    BadAnswer {
        /// Method and path.
        what: String,
        /// What is wrong with it.
        reason: String,
        /// Who was asked.
        api: String,
    },
    /// The thing was tried and failed; the text says why.
    #[error("{0}")]
    Failed(String),
    /// It failed after something had been changed, or perhaps had been.
    #[error("{error}\n  changed nevertheless: {changed}")]
    After {
        /// What was changed.
        changed: String,
        /// What failed.
        error: Box<Self>,
    },
    /// Standard output is closed or full.
    #[error("cannot write to standard output")]
    Output(#[source] std::io::Error),
    /// Interrupted by the user.
    #[error("interrupted")]
    Interrupted,
}

impl CliError {
    /// The same after something had been changed, or perhaps had been. An error that says more of that already stays as it is.
    #[must_use]
    pub(crate) fn after(self, changed: impl Into<String>) -> Self {
        if self.changed().is_some() { self } else { Self::After { changed: changed.into(), error: Box::new(self) } }
    }

    /// What was changed, or perhaps was, although the command failed; `None` when nothing was.
    #[must_use]
    pub(crate) fn changed(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::After { changed, .. } => Some(Cow::Borrowed(changed)),
            Self::Refused(problem) => problem.changed.as_deref().map(Cow::Borrowed),
            // The command itself does not know how far it had got; neither do we.
            Self::Interrupted => Some(Cow::Borrowed("unknown: look before you repeat it")),
            Self::Usage(_)
            | Self::Unusable(_)
            | Self::Unreachable { .. }
            | Self::Forbidden { .. }
            | Self::TimedOut { .. }
            | Self::NotInTime { .. }
            | Self::BadAnswer { .. }
            | Self::Failed(_)
            | Self::Output(_) => None,
        }
    }

    /// What failed, without what was changed.
    #[must_use]
    pub(crate) fn root(&self) -> &Self {
        if let Self::After { error, .. } = self { error.root() } else { self }
    }

    /// The error's name for programs: the agent's, or one of our own.
    #[must_use]
    pub(crate) fn code(&self) -> &str {
        match self {
            Self::Usage(_) | Self::Unusable(_) => "usage",
            Self::Unreachable { .. } => "unreachable",
            Self::Forbidden { .. } => "forbidden",
            Self::TimedOut { .. } | Self::NotInTime { .. } => "timed_out",
            Self::Refused(problem) if problem.code.is_empty() => "refused",
            Self::Refused(problem) => &problem.code,
            Self::BadAnswer { .. } => "bad_answer",
            Self::Failed(_) => "failed",
            Self::After { error, .. } => error.code(),
            Self::Output(_) => "output",
            Self::Interrupted => "interrupted",
        }
    }

    /// The process's exit code.
    #[must_use]
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::Unusable(_) => EXIT_USAGE,
            Self::Unreachable { .. } | Self::Forbidden { .. } => EXIT_UNREACHABLE,
            Self::TimedOut { .. } | Self::NotInTime { .. } => EXIT_TIMED_OUT,
            Self::Refused(problem) if problem.status == GATEWAY_TIMEOUT => EXIT_TIMED_OUT,
            Self::Refused(_) | Self::BadAnswer { .. } | Self::Failed(_) | Self::Output(_) => EXIT_FAILED,
            Self::After { error, .. } => error.exit_code(),
            Self::Interrupted => EXIT_INTERRUPTED,
        }
    }
}

/// An error answer of the API: `{"error":{"code","message","field","hint"}}`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Problem {
    /// HTTP status.
    pub(crate) status: u16,
    /// Stable word for scripts, such as `unknown_function`.
    pub(crate) code: String,
    /// What is wrong, for people.
    pub(crate) message: String,
    /// Which field of the request is at fault.
    pub(crate) field: Option<String>,
    /// What to do about it.
    pub(crate) hint: Option<String>,
    /// What changed although the request failed; without it, nothing did.
    pub(crate) changed: Option<String>,
    /// The recording of the call that failed, as JSON.
    pub(crate) recording: Option<String>,
    /// Where the agent on this host keeps the token that the request lacked.
    pub(crate) token_file: Option<String>,
}

impl Problem {
    /// Reads an error answer. Whatever is missing is replaced by the HTTP status, so that no failure goes unexplained.
    #[must_use]
    pub(crate) fn from_answer(status: u16, body: &[u8]) -> Self {
        let json: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
        let error = json.get("error").unwrap_or(&json);
        let text = |name: &str| error.get(name).or_else(|| json.get(name)).and_then(Value::as_str).map(str::to_owned);
        Self {
            status,
            code: text("code").unwrap_or_default(),
            message: text("message").unwrap_or_else(|| format!("the agent answered with HTTP status {status}")),
            field: text("field").filter(|field| !field.is_empty()),
            hint: text("hint").filter(|hint| !hint.is_empty()),
            changed: text("changed").filter(|changed| !changed.is_empty()),
            recording: text("recording"),
            token_file: text("token_file"),
        }
    }

    /// The same with something more to do about it.
    #[must_use]
    pub(crate) fn hinting(mut self, more: &str) -> Self {
        self.hint = Some(self.hint.map_or_else(|| more.to_owned(), |hint| format!("{hint}; {more}")));
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if !self.code.is_empty() {
            write!(f, " ({})", self.code)?;
        }
        if let Some(field) = &self.field {
            write!(f, "\n  field: {field}")?;
        }
        if let Some(changed) = &self.changed {
            write!(f, "\n  changed nevertheless: {changed}")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_shows_message_field_and_hint() {
        let body = br#"{"error":{"code":"wrong_type","message":"expected a whole number","field":"increment","hint":"send 5"}}"#;
        let problem = Problem::from_answer(422, body);
        assert_eq!(problem.to_string(), "expected a whole number (wrong_type)\n  field: increment\n  hint: send 5");
    }

    #[test]
    fn an_answer_without_a_body_is_still_explained() {
        let problem = Problem::from_answer(503, b"<html>");
        assert_eq!(problem.to_string(), "the agent answered with HTTP status 503");
    }

    #[test]
    fn exit_codes_are_the_promised_ones() {
        let refused = |status| CliError::Refused(Box::new(Problem { status, ..Problem::default() }));
        let check = |error: CliError, code: u8| assert_eq!(error.exit_code(), code, "{error}");
        check(CliError::Usage("x".into()), 2);
        check(CliError::Unreachable { api: "x".into(), reason: "y".into() }, 3);
        check(CliError::TimedOut { what: "x".into(), after: Duration::from_secs(1) }, 4);
        check(refused(422), 1);
        check(refused(504), 4);
        check(CliError::Failed("x".into()), 1);
    }
}
