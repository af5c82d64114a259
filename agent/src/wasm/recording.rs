//! A call as a document: all that went into it and all that came out.
//!
//! Owns the form of a recording in JSON and its bounds (`docs/calls.md` describes it). Makes none and runs none. The
//! invariants: what is written is read back the same, to the last bit of a number; bytes from outside are refused with a
//! reason, and never cost more than their length.

use std::collections::BTreeMap;
use std::fmt;

use selvedge_sync::change::Change;
use selvedge_sync::hlc::Hlc;
use selvedge_sync::key::Key;
use selvedge_sync::scalar::Scalar;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::{Map, Value};

use super::error::CallError;
use super::instance::Done;
use super::limits::Limits;
use crate::service::json::{JsonScalar, scalar};
use crate::spec::Digest;

/// The longest recording, in bytes: it crosses the mesh as one answer to a forwarded call.
pub const RECORDING_BYTES_MAX: usize = 3 * 1024 * 1024;
/// What naming a commit takes, at most, in bytes: two ids, two numbers, the field's name.
const COMMIT_BYTES_MAX: usize = 256;
/// What the field `format` says.
const FORMAT: &str = "selvedge-recording";
/// The version that this release writes. It reads the first as well, which knew neither failures nor wishes.
const VERSION: u32 = 2;
/// The oldest version that it reads.
const VERSION_MIN: u32 = 1;

/// One call, recorded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recording {
    format: String,
    version: u32,
    /// The workload.
    pub workload: String,
    /// The function, as the caller named it.
    pub function: String,
    /// The component that ran.
    pub artifact: Digest,
    /// The arguments.
    pub arguments: Value,
    /// What the import `random` drew from.
    pub seed: u64,
    /// What the import `clock` told.
    #[serde(with = "stamp")]
    pub now: Hlc,
    /// What the import `config` told.
    pub config: BTreeMap<String, String>,
    /// What the call might use.
    pub limits: Limits,
    /// What it read, in order.
    pub reads: Vec<Read>,
    /// What it answered; null for one that failed.
    pub result: Value,
    /// Why it failed, if it did. Then it wrote nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// What it wrote, each as an operation of `POST /v1/commits`.
    pub writes: Vec<Value>,
    /// Which assets it asked its host to fetch; `None` where the recording is of a release that did not keep that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preloads: Option<Vec<Digest>>,
    /// The id of the host that ran it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The commit of its writes, `REPLICA/SEQ`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
}

/// Why a recorded call gave no result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    /// Of which kind it was.
    pub kind: FailureKind,
    /// The argument with which the workload found fault, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// What its caller was told.
    pub message: String,
}

/// The ways in which a call fails that has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The workload found fault with an argument.
    Fault,
    /// It ran for longer than it might. How long a call takes is the host's affair, so this says nothing of what the workload does.
    Deadline,
    /// It failed.
    Trap,
    /// It met its limit of memory or of table elements.
    Memory,
    /// Its result was too large.
    Output,
    /// It called the host too often.
    HostCalls,
    /// It wrote too much.
    Writes,
}

impl Failure {
    /// What is recorded of an error; `None` for one that came before the guest ran, or from the host.
    pub(super) fn of(error: &CallError) -> Option<Self> {
        let kind = match error {
            CallError::Fault { .. } => FailureKind::Fault,
            CallError::Deadline { .. } => FailureKind::Deadline,
            CallError::Trap { .. } => FailureKind::Trap,
            CallError::Memory { .. } => FailureKind::Memory,
            CallError::OutputTooLarge { .. } => FailureKind::Output,
            CallError::HostCalls { .. } => FailureKind::HostCalls,
            CallError::Writes { .. } => FailureKind::Writes,
            CallError::NotLoaded { .. }
            | CallError::UnknownFunction { .. }
            | CallError::AmbiguousFunction { .. }
            | CallError::Argument { .. }
            | CallError::ArgumentsTooLarge { .. }
            | CallError::Expired
            | CallError::RecordingTooLarge { .. }
            | CallError::Busy { .. }
            | CallError::Overloaded { .. }
            | CallError::Host(_) => return None,
        };
        Some(Self { kind, field: error.field().map(str::to_owned), message: error.to_string() })
    }

    /// Whether two failures are the same, as far as a workload has a say in them: a deadline tells how much time there was.
    #[must_use]
    pub fn is_same_as(&self, other: &Self) -> bool {
        self == other || self.kind == FailureKind::Deadline && other.kind == FailureKind::Deadline
    }
}

/// What came out of a call, besides its reads.
pub(super) type Outcome<'a> = Result<&'a Done, Failure>;

/// What goes into a call.
pub(super) struct Inputs<'a> {
    pub(super) workload: &'a str,
    pub(super) function: &'a str,
    pub(super) artifact: Digest,
    pub(super) arguments: &'a Value,
    pub(super) seed: u64,
    pub(super) now: Hlc,
    pub(super) config: &'a BTreeMap<String, String>,
    pub(super) limits: &'a Limits,
}

/// One read of the state, with what it found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Read {
    /// A counter's value; null when nobody had written it.
    Counter {
        /// Which.
        key: Key,
        /// Its value.
        value: Option<i128>,
    },
    /// What the host itself had added to and taken from a counter: an increment has to know, so as not to overflow.
    OwnTotals {
        /// Which.
        key: Key,
        /// Both sums.
        value: (u64, u64),
    },
    /// Whether a set had a member.
    Contains {
        /// Which set.
        key: Key,
        /// The member.
        member: Plain,
        /// Whether it was there.
        value: bool,
    },
    /// All members of a set; null when nobody had written it.
    Members {
        /// Which.
        key: Key,
        /// The members, in order.
        value: Option<Vec<Plain>>,
    },
    /// A field of a map; without `value` when it was not there.
    Field {
        /// Which map.
        key: Key,
        /// The field's name.
        field: String,
        /// Its value.
        #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
        value: Option<Plain>,
    },
    /// All fields of a map; null when nobody had written it.
    Fields {
        /// Which.
        key: Key,
        /// The fields.
        value: Option<BTreeMap<String, Plain>>,
    },
    /// Whether the host had an asset: its size in bytes, or null.
    Asset {
        /// Which.
        digest: Digest,
        /// Its size.
        value: Option<u64>,
    },
}

/// A scalar in the JSON form that the API gives it.
#[derive(Clone, Debug, PartialEq)]
pub struct Plain(pub Scalar);

/// Why bytes are no recording.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// There are too many of them.
    #[error("a recording has at most {RECORDING_BYTES_MAX} bytes")]
    TooLarge,
    /// It was written by another release, or is something else.
    #[error(
        "it says `format` {format:?} and `version` {version}; this release reads {FORMAT:?} of versions {VERSION_MIN} to {VERSION}"
    )]
    Version {
        /// What it says.
        format: String,
        /// What it says.
        version: u32,
    },
    /// It is no JSON of the right shape.
    #[error("it is no recording: {0}")]
    Malformed(#[from] serde_json::Error),
}

impl Recording {
    pub(super) fn new(inputs: &Inputs<'_>, reads: Vec<Read>, outcome: Outcome<'_>) -> Self {
        let (result, failure, writes, preloads) = match outcome {
            Ok(done) => (done.result.clone(), None, operations(&done.changes), done.preloads.clone()),
            Err(failure) => (Value::Null, Some(failure), Vec::new(), Vec::new()),
        };
        Self {
            format: FORMAT.to_owned(),
            version: VERSION,
            workload: inputs.workload.to_owned(),
            function: inputs.function.to_owned(),
            artifact: inputs.artifact,
            arguments: inputs.arguments.clone(),
            seed: inputs.seed,
            now: inputs.now,
            config: inputs.config.clone(),
            limits: inputs.limits.clone(),
            reads,
            result,
            failure,
            writes,
            preloads: Some(preloads),
            node: None,
            commit: None,
        }
    }

    /// Reads a recording.
    ///
    /// # Errors
    /// The bytes are too many, no JSON, of another version, or not of a recording's shape.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordingError> {
        /// What every version says.
        #[derive(Deserialize)]
        struct Head {
            format: String,
            version: u32,
        }
        if bytes.len() > RECORDING_BYTES_MAX {
            return Err(RecordingError::TooLarge);
        }
        let Head { format, version } = serde_json::from_slice(bytes)?;
        if format != FORMAT || !(VERSION_MIN..=VERSION).contains(&version) {
            return Err(RecordingError::Version { format: format.chars().take(80).collect(), version });
        }
        Ok(serde_json::from_slice(bytes)?)
    }

    /// Whether it can be encoded once it names a commit as well.
    ///
    /// # Errors
    /// It has more than [`RECORDING_BYTES_MAX`].
    pub fn fits(&self) -> Result<(), RecordingError> {
        let bytes = self.encode().len().saturating_add(COMMIT_BYTES_MAX);
        if bytes > RECORDING_BYTES_MAX { Err(RecordingError::TooLarge) } else { Ok(()) }
    }

    /// The recording as one line of JSON.
    #[must_use]
    pub fn encode(&self) -> String {
        serde_json::to_string(self).expect("a recording has a form in JSON")
    }
}

impl fmt::Display for Read {
    /// What was read, without what was found.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Counter { key, .. } => write!(f, "the counter {key}"),
            Self::OwnTotals { key, .. } => write!(f, "this host's share of {key}"),
            Self::Contains { key, .. } => write!(f, "a member of {key}"),
            Self::Members { key, .. } => write!(f, "the members of {key}"),
            Self::Field { key, .. } => write!(f, "a field of {key}"),
            Self::Fields { key, .. } => write!(f, "the fields of {key}"),
            Self::Asset { digest, .. } => write!(f, "the asset {digest}"),
        }
    }
}

impl Serialize for Plain {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        JsonScalar(&self.0).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Plain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        scalar(&Value::deserialize(deserializer)?).map(Self).map_err(de::Error::custom)
    }
}

/// Writes as operations of `POST /v1/commits`.
pub(super) fn operations(changes: &[(Key, Change)]) -> Vec<Value> {
    changes.iter().map(|(key, change)| operation(key, change)).collect()
}

fn operation(key: &Key, change: &Change) -> Value {
    let scalar = |scalar: &Scalar| serde_json::to_value(JsonScalar(scalar)).expect("a scalar has a form in JSON");
    let operand = match change {
        Change::Increment(by) | Change::Decrement(by) => Value::from(*by),
        Change::Add(members) | Change::Remove(members) => members.iter().map(scalar).collect(),
        Change::Put(fields) => {
            Value::Object(fields.iter().map(|(field, value)| (field.clone(), scalar(value))).collect())
        }
        Change::RemoveFields(fields) => fields.iter().map(String::as_str).collect(),
    };
    let key = ("key".to_owned(), Value::from(key.to_string()));
    Value::Object(Map::from_iter([key, (change.name().to_owned(), operand)]))
}

/// What is there is a value, null too.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Plain>, D::Error> {
    Plain::deserialize(deserializer).map(Some)
}

/// A call's time with its two parts apart: together they are beyond what other readers of JSON hold exactly.
mod stamp {
    use super::{Deserialize, Deserializer, Hlc, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Stamp {
        millis: u64,
        counter: u16,
    }

    pub(super) fn serialize<S: Serializer>(hlc: &Hlc, serializer: S) -> Result<S::Ok, S::Error> {
        let counter = u16::try_from(hlc.counter()).unwrap_or(u16::MAX);
        Stamp { millis: hlc.millis(), counter }.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Hlc, D::Error> {
        let Stamp { millis, counter } = Stamp::deserialize(deserializer)?;
        Ok(Hlc(Hlc::from_millis(millis).0 | u64::from(counter)))
    }
}
