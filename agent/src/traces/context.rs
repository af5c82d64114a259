//! The context of a trace, as W3C's Trace Context has it: which trace, which span is the parent, and whether it is recorded.
//!
//! Owns the text form, `traceparent`: <https://www.w3.org/TR/trace-context/#traceparent-header>. The invariant: neither id is all zero.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Bytes of the text form of version 0: `00-` and 32 digits, `-` and 16, `-` and 2.
const TEXT_BYTES: usize = 55;

/// The bit of the flags that says that the caller may have recorded.
const SAMPLED: u8 = 1;

/// A place in a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Context {
    trace: u128,
    span: u64,
    flags: u8,
}

/// A text that is no `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no traceparent; one looks like 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")]
pub struct NoContext;

impl Context {
    /// The beginning of a trace that is recorded; an id of zero is none, and made one that is.
    pub(super) fn root(trace: u128, span: u64) -> Self {
        Self { trace: trace.max(1), span: span.max(1), flags: SAMPLED }
    }

    /// The same trace, within another span.
    pub(super) fn within(self, span: u64) -> Self {
        Self { span: span.max(1), ..self }
    }

    /// Whether spans of this trace are recorded.
    #[must_use]
    pub const fn is_sampled(self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// The trace's id, 32 digits.
    #[must_use]
    pub fn trace_id(self) -> String {
        format!("{:032x}", self.trace)
    }

    /// The span's id, 16 digits.
    #[must_use]
    pub fn span_id(self) -> String {
        format!("{:016x}", self.span)
    }
}

impl FromStr for Context {
    type Err = NoContext;

    /// Reads a later version as far as this one goes, as the standard asks.
    fn from_str(text: &str) -> Result<Self, NoContext> {
        let (fields, rest) = text.split_at_checked(TEXT_BYTES).ok_or(NoContext)?;
        let parts: Vec<&str> = fields.split('-').collect();
        let [version, trace, span, flags] = parts[..] else { return Err(NoContext) };
        let is_hex = |digit: u8| digit.is_ascii_digit() || (b'a'..=b'f').contains(&digit);
        let has_digits = |text: &str, digits| text.len() == digits && text.bytes().all(is_hex);
        let is_whole = has_digits(version, 2) && has_digits(trace, 32) && has_digits(span, 16) && has_digits(flags, 2);
        let goes_on = match version {
            "00" => rest.is_empty(),
            "ff" => false,
            _ => rest.is_empty() || rest.starts_with('-'),
        };
        if !is_whole || !goes_on {
            return Err(NoContext);
        }
        let trace = u128::from_str_radix(trace, 16).map_err(|_| NoContext)?;
        let span = u64::from_str_radix(span, 16).map_err(|_| NoContext)?;
        let flags = u8::from_str_radix(flags, 16).map_err(|_| NoContext)? & SAMPLED;
        if trace == 0 || span == 0 { Err(NoContext) } else { Ok(Self { trace, span, flags }) }
    }
}

impl fmt::Display for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, self.flags)
    }
}

impl TryFrom<String> for Context {
    type Error = NoContext;

    fn try_from(text: String) -> Result<Self, NoContext> {
        text.parse()
    }
}

impl From<Context> for String {
    fn from(context: Context) -> Self {
        context.to_string()
    }
}
