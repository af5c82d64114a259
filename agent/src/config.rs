//! The configuration: the file, what flags and the environment say in its place, and defaults for the rest.
//!
//! Owns keys, bounds and defaults; binds, creates and starts nothing (it reads the configuration file and what the data
//! directory says of its cluster). The invariant: a [`Config`] that exists is complete and within its bounds, and does not open
//! an agent that belongs to no cluster to other hosts.

mod error;
mod file;
mod host;
mod overrides;
mod resolve;
mod value;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

pub(crate) use self::error::may_pass;
pub use self::error::{ConfigError, Origin};
use self::file::File;
use self::host::Host;
pub(crate) use self::host::{SERVICE_DATA_DIR, stderr_is_the_journal};
pub use self::overrides::Overrides;
use self::resolve::Resolver;
pub use self::value::{ApiListen, Location};
use crate::cluster::{Certificate, Trust};
use crate::rates::Rate;
use crate::traces::Collector;

/// Where agents talk to each other, unless something else is said.
pub const NET_PORT_DEFAULT: u16 = 7412;
/// Where the API listens, unless something else is said.
pub const API_PORT_DEFAULT: u16 = 7411;
/// The region of a node that says none.
pub const REGION_DEFAULT: &str = "default";
/// What stands for the name of a cluster where there is none.
pub const CLUSTER_DEFAULT: &str = "development";
/// How long a certificate holds, in milliseconds: 90 days, renewed in the last third.
pub const LIFETIME_MS_DEFAULT: u64 = 90 * 24 * 3_600_000;
/// Shortest such time, in milliseconds: 12 seconds, of which four are left for the renewal.
pub const LIFETIME_MS_MIN: u64 = 12_000;
/// Longest such time, in milliseconds: two years.
pub const LIFETIME_MS_MAX: u64 = 2 * 365 * 24 * 3_600_000;

/// Least bound on clock drift, in milliseconds: less than a network's jitter would flag healthy hosts.
pub const DRIFT_MS_MIN: u64 = 10;
/// Greatest bound on clock drift, in milliseconds: a minute; beyond it the last write does not win in any useful sense.
pub const DRIFT_MS_MAX: u64 = 60_000;
/// Least time of silence after which a member is dropped, in milliseconds: a minute, longer than a restart.
pub const RETIRE_MS_MIN: u64 = 60_000;
/// Greatest time of silence after which a member is dropped, in milliseconds: 90 days, during which nothing is forgotten.
pub const RETIRE_MS_MAX: u64 = 90 * 24 * 3_600_000;
/// Time of silence after which a member is dropped, in milliseconds: a day, so that a night without power goes unnoticed.
pub const RETIRE_MS_DEFAULT: u64 = 24 * 3_600_000;
/// Most threads that run guests.
pub const WORKERS_MAX: u16 = 256;
/// How long a better host has to stay better before a workload moves, in milliseconds.
pub const DWELL_MS_DEFAULT: u64 = 30_000;
/// Longest such time, in milliseconds: a day.
pub const DWELL_MS_MAX: u64 = 24 * 3_600_000;
/// How much better, in score (0 to 1), a host has to be before a workload moves to it.
pub const THRESHOLD_DEFAULT: f64 = 0.1;
/// Bytes of assets in memory: what the clients of one zone load together.
pub const ASSETS_MEMORY_DEFAULT: u64 = 64 << 20;
/// Bytes of assets on disk: a small game's, and little of any disk.
pub const ASSETS_DISK_DEFAULT: u64 = 1 << 30;
/// Most bytes of assets, in memory or on disk: 16 TiB, beyond any edge host.
pub const ASSETS_BYTES_MAX: u64 = 16 << 40;
/// Most entries in each list of the configuration: far above real use.
pub const ENTRIES_MAX: usize = 64;

/// A complete configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// This node.
    pub node: NodeConfig,
    /// The cluster that it belongs to.
    pub cluster: ClusterConfig,
    /// How it talks to other nodes.
    pub net: NetConfig,
    /// How it is talked to on this host.
    pub api: ApiConfig,
    /// The shared state.
    pub state: StateConfig,
    /// The guests.
    pub wasm: WasmConfig,
    /// What clients load from here.
    pub assets: AssetsConfig,
    /// Where workloads run.
    pub placement: PlacementConfig,
    /// What is logged.
    pub log: LogConfig,
}

/// `[node]`
#[derive(Clone, Debug, PartialEq)]
pub struct NodeConfig {
    /// What people call it; the host's name by default.
    pub name: String,
    /// Where it is, as a name.
    pub region: String,
    /// Where it is, in degrees.
    pub location: Option<Location>,
    /// What workloads can require of it.
    pub capabilities: BTreeSet<String>,
    /// What rules of workloads can look at, by key.
    pub labels: BTreeMap<String, String>,
    /// Where its state lies.
    pub data_dir: PathBuf,
}

/// `[cluster]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterConfig {
    /// What people call it.
    pub name: String,
    /// The authorities and our certificate, as the data directory holds them. `None`: no cluster, and only this host is reached.
    pub papers: Option<(Trust, Certificate)>,
    /// How long certificates hold that an authority on this host signs. Whole milliseconds.
    pub certificate_lifetime: Duration,
}

/// `[net]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetConfig {
    /// Where to listen, at least one. All are loopback addresses when there is no cluster.
    pub listen: Vec<SocketAddr>,
    /// Members to find the others by: `HOST:PORT` or multiaddrs. Their syntax is checked only in outline.
    pub bootstrap: Vec<String>,
    /// Addresses to tell others in place of those that are bound. Same form.
    pub advertise: Vec<String>,
    /// How many calls of one workload each member may forward to this node; as many as it likes if nothing is said.
    pub call_rate: Option<Rate>,
}

/// `[api]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiConfig {
    /// Where to listen, at least one: loopback addresses and unix sockets, each once.
    pub listen: Vec<ApiListen>,
    /// Where the token lies that allows changes over TCP.
    pub token_file: PathBuf,
    /// How many calls of one workload each caller may make; as many as it likes if nothing is said.
    pub call_rate: Option<Rate>,
}

/// `[state]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateConfig {
    /// How far ahead of our clock a commit may be before its stream waits. Whole milliseconds.
    pub max_drift: Duration,
    /// After how much silence a member is dropped. Whole milliseconds.
    pub retire_after: Duration,
}

/// `[wasm]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WasmConfig {
    /// Threads that run guests, from 1.
    pub workers: usize,
    /// Memory of an instance whose spec names none, in bytes.
    pub memory: u64,
    /// Deadline of a call whose spec names none. Whole milliseconds.
    pub deadline: Duration,
    /// The program that compiles guests: a `selvedge`. No key of the file: the command line names itself, and a program that
    /// embeds the agent compiles in its own process unless it names one.
    pub compiler: Option<PathBuf>,
}

/// `[assets]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AssetsConfig {
    /// Bytes of assets in memory; 0 keeps none there.
    pub memory: u64,
    /// Bytes of assets on disk; 0 keeps none there, and takes no uploads.
    pub disk: u64,
}

/// `[placement]`
#[derive(Clone, Debug, PartialEq)]
pub struct PlacementConfig {
    /// What each term of the score counts for.
    pub weights: Weights,
    /// How long a better host has to stay better before a workload moves. Whole milliseconds.
    pub dwell: Duration,
    /// How much better it has to be, in score.
    pub threshold: f64,
}

/// What each term of the score counts for: finite, not negative, not all 0. Only their proportions matter.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(try_from = "RawWeights")]
pub struct Weights {
    /// Headroom after placing.
    pub resource: f64,
    /// Nearness to the callers.
    pub latency: f64,
    /// Idleness.
    pub load: f64,
    /// Share of the affinity rules that hold.
    pub affinity: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawWeights {
    resource: f64,
    latency: f64,
    load: f64,
    affinity: f64,
}

impl Default for Weights {
    fn default() -> Self {
        Self { resource: 0.3, latency: 0.4, load: 0.2, affinity: 0.1 }
    }
}

impl TryFrom<RawWeights> for Weights {
    type Error = &'static str;

    fn try_from(raw: RawWeights) -> Result<Self, Self::Error> {
        let RawWeights { resource, latency, load, affinity } = raw;
        let all = [resource, latency, load, affinity];
        if all.iter().any(|weight| !weight.is_finite() || *weight < 0.0) {
            return Err("a weight is a finite number from 0");
        }
        if all.iter().all(|weight| *weight == 0.0) {
            return Err("at least one weight must be above 0");
        }
        Ok(Self { resource, latency, load, affinity })
    }
}

/// `[log]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// How lines look.
    pub format: LogFormat,
    /// The least important that is written.
    pub level: LogLevel,
    /// Where traces are sent; nowhere if nothing is said.
    pub otlp: Option<Collector>,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For machines: one JSON object per line.
    Json,
    /// For the journal of systemd: an entry for each event, with its fields.
    Journald,
}

/// How important a log line is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Something is lost or stopped.
    Error,
    /// Something is wrong and was coped with.
    Warn,
    /// Something changed that an operator wants to know.
    #[default]
    Info,
    /// For whoever looks for a fault.
    Debug,
    /// Everything.
    Trace,
}

/// What this host is called, as far as that can name a node.
#[must_use]
pub fn host_name() -> String {
    Host::this().name
}

/// Where an agent of this account keeps its data unless it is told otherwise.
#[must_use]
pub fn default_data_dir() -> PathBuf {
    Host::this().data_dir
}

/// Whether a text can name a node, a region or a cluster.
///
/// # Errors
/// It cannot, and what could.
pub fn check_name(text: &str) -> Result<(), String> {
    text.parse::<value::Token>().map(drop)
}

/// Where the service manager has put a secret of this name for us (`LoadCredential=` in the unit); `None` where it has not.
#[must_use]
pub fn credential(name: &str) -> Option<PathBuf> {
    host::credential(name)
}

impl NodeConfig {
    /// This node alone, as [`Config::load`] would have it, and whether it is a member of a cluster: what has to be known before it joins one.
    ///
    /// # Errors
    /// As those of [`Config::load`], of what concerns the node.
    pub fn load(file: Option<&Path>, overrides: Overrides) -> Result<(Self, bool), ConfigError> {
        Resolver { overrides, host: Host::this() }.resolve_node(read(file)?)
    }
}

impl Config {
    /// Reads `file`, if there is one, puts `overrides` in its place, and fills in the rest.
    ///
    /// # Errors
    /// The file cannot be read, holds an unknown key or a wrong value; a flag or variable is wrong; the cluster's key cannot be
    /// used; or the agent would listen beyond this host without a key.
    pub fn load(file: Option<&Path>, overrides: Overrides) -> Result<Self, ConfigError> {
        Resolver { overrides, host: Host::this() }.resolve(read(file)?)
    }

    /// As [`Config::load`] for whoever looks at an installation that may be another account's: where the cluster's files may not be read,
    /// this counts as a member. `is_service`: of the one that a package has installed, whatever account asks.
    ///
    /// # Errors
    /// As those of [`Config::load`], but for the right to read the cluster's files.
    pub fn survey(file: Option<&Path>, overrides: Overrides, is_service: bool) -> Result<Self, ConfigError> {
        let mut host = Host::this();
        if is_service {
            host.data_dir = PathBuf::from(SERVICE_DATA_DIR);
        }
        Resolver { overrides, host }.survey(read(file)?)
    }
}

fn read(file: Option<&Path>) -> Result<File, ConfigError> {
    let Some(path) = file else { return Ok(File::default()) };
    let text =
        std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
    parse(path, &text)
}

/// Reads the text of a file; `path` is for messages only.
fn parse(path: &Path, text: &str) -> Result<File, ConfigError> {
    toml::from_str(text).map_err(|error| {
        // The one word of the library that only programmers know.
        let message = error.to_string().trim_end().replace("a nonzero u32", "a whole number, at least 1");
        ConfigError::File { path: path.to_owned(), message }
    })
}

#[cfg(test)]
mod tests;
