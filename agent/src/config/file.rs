//! The shape of the configuration file.
//!
//! Owns which keys there are and of what type; knows no defaults, since what stands in no file is decided elsewhere. The
//! invariant: a key that is not here is refused, so that a misspelt one is never ignored.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use super::value::{ApiListen, Bytes, Count, Location, Millis, NetListen, OneOrMany, PeerAddress, Token};
use super::{
    ASSETS_BYTES_MAX, DRIFT_MS_MAX, DRIFT_MS_MIN, DWELL_MS_MAX, LIFETIME_MS_MAX, LIFETIME_MS_MIN, LogFormat, LogLevel,
    RETIRE_MS_MAX, RETIRE_MS_MIN, WORKERS_MAX, Weights,
};
use crate::rates::Rate;
use crate::spec::{DEADLINE_MS_MAX, MEMORY_MAX, MEMORY_MIN};
use crate::traces::Collector;

/// Longest default deadline of a call, in milliseconds.
const DEADLINE_MAX: u64 = DEADLINE_MS_MAX as u64;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub(super) struct File {
    pub(super) node: Node,
    pub(super) cluster: Cluster,
    pub(super) net: Net,
    pub(super) api: Api,
    pub(super) state: State,
    pub(super) wasm: Wasm,
    pub(super) assets: Assets,
    pub(super) placement: Placement,
    pub(super) log: Log,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub(super) struct Node {
    pub(super) name: Option<Token>,
    pub(super) region: Option<Token>,
    pub(super) location: Option<Location>,
    pub(super) capabilities: Vec<Token>,
    pub(super) labels: BTreeMap<String, Token>,
    pub(super) data_dir: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub(super) struct Cluster {
    pub(super) certificate_lifetime: Option<Millis<LIFETIME_MS_MIN, LIFETIME_MS_MAX>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub(super) struct Net {
    pub(super) listen: Option<OneOrMany<NetListen>>,
    pub(super) bootstrap: Option<OneOrMany<PeerAddress>>,
    pub(super) advertise: Option<OneOrMany<PeerAddress>>,
    pub(super) call_rate: Option<Rate>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub(super) struct Api {
    pub(super) listen: Option<OneOrMany<ApiListen>>,
    pub(super) socket: Option<PathBuf>,
    pub(super) token_file: Option<PathBuf>,
    pub(super) call_rate: Option<Rate>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub(super) struct State {
    pub(super) max_drift: Option<Millis<DRIFT_MS_MIN, DRIFT_MS_MAX>>,
    pub(super) retire_after: Option<Millis<RETIRE_MS_MIN, RETIRE_MS_MAX>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub(super) struct Wasm {
    pub(super) workers: Option<Count<1, WORKERS_MAX>>,
    pub(super) memory: Option<Bytes<MEMORY_MIN, MEMORY_MAX>>,
    pub(super) deadline: Option<Millis<1, DEADLINE_MAX>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub(super) struct Assets {
    pub(super) memory: Option<Bytes<0, ASSETS_BYTES_MAX>>,
    pub(super) disk: Option<Bytes<0, ASSETS_BYTES_MAX>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub(super) struct Placement {
    pub(super) weights: Option<Weights>,
    pub(super) dwell: Option<Millis<0, DWELL_MS_MAX>>,
    pub(super) threshold: Option<Threshold>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub(super) struct Log {
    pub(super) format: Option<LogFormat>,
    pub(super) level: Option<LogLevel>,
    pub(super) otlp: Option<Collector>,
}

/// A gain in score, 0 to 1.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "f64")]
pub(super) struct Threshold(pub(super) f64);

impl TryFrom<f64> for Threshold {
    type Error = &'static str;

    fn try_from(gain: f64) -> Result<Self, Self::Error> {
        if (0.0..=1.0).contains(&gain) { Ok(Self(gain)) } else { Err("a threshold is a gain in score, 0 to 1") }
    }
}
