//! Why a request failed, in the words that its caller gets.
//!
//! Owns the classes of fault and the parts of an error. It knows no status line; the API maps classes to HTTP and the CLI to
//! exit codes. The invariant: an error says whose fault it is, and what changed if anything did.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// Whose fault an error is, and of what class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// The caller's: the request makes no sense.
    Caller,
    /// The caller's: it did not say who it is.
    Unauthorized,
    /// The caller's: it may not do this.
    Forbidden,
    /// What was named does not exist.
    NotFound,
    /// It exists, but not with this method.
    WrongMethod,
    /// The request clashes with what there is.
    Conflict,
    /// The request, or a value in it, is too large.
    TooLarge,
    /// A value is of the wrong type or out of its range.
    WrongValue,
    /// The agent has too much to do.
    Busy {
        /// After how many seconds a retry makes sense.
        retry_after_s: u32,
    },
    /// The agent cannot do this now.
    Unavailable,
    /// It took longer than was allowed.
    TimedOut,
    /// Ours, or the workload's: it broke while it worked on a sound request.
    Internal,
}

/// An error as its caller gets it. Travels between agents too, so that a forwarded call fails in the same words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct ServiceError {
    fault: Fault,
    code: Cow<'static, str>,
    message: Box<str>,
    field: Option<Box<str>>,
    hint: Option<Box<str>>,
    changed: Option<Box<str>>,
    /// After how many seconds a retry makes sense, of an error that passes by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retry_after_s: Option<u32>,
    /// The call that failed, as JSON, if it was to be recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    recording: Option<Box<str>>,
}

impl ServiceError {
    /// An error of this class. `code` is for programs (`unknown_key_type`), `message` for people.
    #[must_use]
    pub fn new(fault: Fault, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            fault,
            code: Cow::Borrowed(code),
            message: message.into().into(),
            field: None,
            hint: None,
            changed: None,
            retry_after_s: None,
            recording: None,
        }
    }

    /// Nothing of this kind and name exists.
    #[must_use]
    pub fn not_found(code: &'static str, what: &str, name: &str) -> Self {
        Self::new(Fault::NotFound, code, format!("there is no {what} `{}`", shorten(name)))
    }

    /// Names the part of the request that is wrong, as a path: `ops[3].add[0]`.
    #[must_use]
    pub fn at(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into().into());
        self
    }

    /// Says what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into().into());
        self
    }

    /// Says what changed although the request failed. Without it, nothing did.
    #[must_use]
    pub fn changed(mut self, what: impl Into<String>) -> Self {
        self.changed = Some(what.into().into());
        self
    }

    /// Says after how many seconds a retry makes sense, where what is missing comes by itself.
    #[must_use]
    pub fn again_in(mut self, seconds: u32) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    /// Carries the recording of the call that failed.
    #[must_use]
    pub fn recorded(mut self, recording: impl Into<String>) -> Self {
        self.recording = Some(recording.into().into());
        self
    }

    /// Whose fault it is.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        self.fault
    }

    /// The error's name for programs.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.code
    }

    /// The error in a sentence.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The wrong part of the request.
    #[must_use]
    pub fn field(&self) -> Option<&str> {
        self.field.as_deref()
    }

    /// What to do about it.
    #[must_use]
    pub fn hint_text(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// The recording of the call that failed.
    #[must_use]
    pub fn recording(&self) -> Option<&str> {
        self.recording.as_deref()
    }

    /// After how many seconds a retry makes sense, if that is known.
    #[must_use]
    pub const fn retry_after_s(&self) -> Option<u32> {
        if let Fault::Busy { retry_after_s } = self.fault { Some(retry_after_s) } else { self.retry_after_s }
    }

    /// What changed nevertheless.
    #[must_use]
    pub fn changed_text(&self) -> Option<&str> {
        self.changed.as_deref()
    }
}

/// Characters of a caller's own text that an error repeats.
const ECHO_CHARS_MAX: usize = 80;

/// The beginning of a text that a caller sent, short enough to repeat in an error.
pub(crate) fn shorten(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(ECHO_CHARS_MAX) {
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
        None => Cow::Borrowed(text),
    }
}
