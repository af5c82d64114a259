//! The workload spec: what an operator asks to run, with which limits and where.
//!
//! Owns the JSON shape of a spec, its defaults, its validation and the small types in it: [`Digest`],
//! [`WorkloadName`], [`Rule`]. It fetches, places and runs nothing. The invariant: a [`Spec`] that exists is valid;
//! there is no way to make one that skips the checks, not even by decoding what another member stored.

mod config;
mod deployment;
mod difference;
mod digest;
mod error;
mod fields;
mod gates;
mod name;
mod overrun;
mod partition;
mod revision;
mod routing;
mod rule;
mod spread;
mod units;

use std::collections::BTreeSet;

use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

pub use self::config::{CONFIG_BYTES_MAX, CONFIG_ENTRIES_MAX, CONFIG_NAME_BYTES_MAX, Config};
pub use self::deployment::{DeploymentId, Origin, ParseDeploymentIdError};
pub use self::difference::{Difference, differences};
pub use self::digest::{Digest, ParseDigestError};
pub use self::error::SpecError;
use self::fields::{Fields, Unknown};
pub use self::gates::{CANARY_CALLS_DEFAULT, CANARY_MS_DEFAULT, CANARY_MS_MAX, Gates};
pub use self::name::{NAME_BYTES_MAX, ParseNameError, WorkloadName};
pub use self::overrun::{ANSWERS_BYTES_MAX, OnOverrun};
pub use self::partition::{ParsePartitionError, Partition, STOP_AFTER_MS_MAX};
pub use self::revision::Revision;
pub use self::routing::{ParseRoutingError, Routing};
pub use self::rule::{Match, ParseRuleError, Rule};
pub use self::spread::{REGIONS_MAX, REPLICAS_DEFAULT, REPLICAS_MAX, Spread};
pub use self::units::{UnitError, parse_bytes, parse_millis};

/// Most entries in `require`, and in `must` and `affinity` together: far above real use, and small enough to score in microseconds.
pub const RULES_MAX: usize = 32;
/// Longest region, capability, label or node name, in bytes. The same as a DNS label, with one to spare.
pub const TOKEN_BYTES_MAX: usize = 64;

/// Workload memory in bytes when the spec is silent: ten times what the shipped guests use, and small enough that a
/// host of 1 GiB holds several.
pub const MEMORY_DEFAULT: u64 = 64 << 20;
/// Least memory in bytes: 16 pages of WebAssembly, about what an empty guest with an allocator needs.
pub const MEMORY_MIN: u64 = 1 << 20;
/// Most memory in bytes: the address space of a 32-bit guest.
pub const MEMORY_MAX: u64 = 4 << 30;
/// Deadline of a call in milliseconds when the spec is silent: one tick of a 20 Hz game server. Latency-critical guests
/// ask for less; a shorter default would kill honest first calls on small edge hosts.
pub const DEADLINE_MS_DEFAULT: u32 = 50;
/// Longest deadline in milliseconds. A call holds a worker all that time; longer work does not belong into a call.
pub const DEADLINE_MS_MAX: u32 = 10_000;
/// Bytes of a call's answer when the spec is silent: some ten thousand flat records as JSON.
pub const OUTPUT_BYTES_DEFAULT: u64 = 1 << 20;
/// Most bytes of an answer: what the API will hold in memory for one caller.
pub const OUTPUT_BYTES_MAX: u64 = 8 << 20;
/// Host calls (state, log, clock…) within one call when the spec is silent: several per record of a batch of 1,000.
pub const HOST_CALLS_DEFAULT: u32 = 100_000;
/// Most host calls within one call: epochs do not interrupt the host, so this bounds the time spent there.
pub const HOST_CALLS_MAX: u32 = 1_000_000;
/// Lines that one call may log when the spec is silent: enough to debug, too few to flood a journal.
pub const LOG_LINES_DEFAULT: u32 = 32;
/// Most lines that one call may log.
pub const LOG_LINES_MAX: u32 = 1_024;
/// Calls that run at once on one host when the spec is silent: keeps several cores busy and bounds memory to
/// four times the workload's own.
pub const CONCURRENCY_DEFAULT: u16 = 4;
/// Most calls at once on one host.
pub const CONCURRENCY_MAX: u16 = 256;
/// Elements in a guest's tables (function pointers) when the spec is silent: ten times a large Rust guest's.
pub const TABLE_ELEMENTS_DEFAULT: u32 = 10_000;
/// Most elements in a guest's tables: what the guest host reserves for each instance.
pub const TABLE_ELEMENTS_MAX: u32 = 20_000;
/// Largest `latency.max_ms`: a minute, beyond which no round trip on Earth is a reason.
pub const LATENCY_MS_MAX: u32 = 60_000;

/// What a call may use. None of these can be switched off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// Linear memory of one instance, in bytes.
    pub memory: u64,
    /// Wall-clock time of one call, in milliseconds.
    pub deadline_ms: u32,
    /// Size of the answer, in bytes.
    pub output_bytes: u64,
    /// Calls into the host within one call.
    pub host_calls: u32,
    /// Lines logged within one call.
    pub log_lines: u32,
    /// Calls that run at the same time on one host; what is above waits briefly or is told "busy".
    pub concurrency: u16,
    /// Elements in all tables of one instance.
    pub table_elements: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: MEMORY_DEFAULT,
            deadline_ms: DEADLINE_MS_DEFAULT,
            output_bytes: OUTPUT_BYTES_DEFAULT,
            host_calls: HOST_CALLS_DEFAULT,
            log_lines: LOG_LINES_DEFAULT,
            concurrency: CONCURRENCY_DEFAULT,
            table_elements: TABLE_ELEMENTS_DEFAULT,
        }
    }
}

/// What to run, how many of it, where, and within which limits. Its workload's name is not part of it.
///
/// As JSON, where everything but `artifact` may be left out:
/// ```json
/// {"artifact": "blake3:…", "replicas": 2, "region": "eu", "require": ["avx2"], "must": ["!workload=chat"],
///  "affinity": ["label:tier=edge", "!node=fra-1"],
///  "limits": {"memory": "64MiB", "deadline_ms": 5}, "latency": {"max_ms": 20}, "config": {"speed-max": "7.5"},
///  "on_overrun": {"predict": []}, "rollout": {"canary_ms": "10s"}, "state_schema": 2}
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// The component to run.
    pub artifact: Digest,
    /// On how many hosts; `replicas`, `everywhere`, `per_region` and `spread` in JSON.
    pub spread: Spread,
    /// Only on hosts of this region.
    pub region: Option<String>,
    /// Only on hosts that have all of these capabilities.
    pub require: BTreeSet<String>,
    /// Only on hosts where all of these rules hold.
    pub must: Vec<Rule>,
    /// Preferences, which cost score where they do not hold.
    pub affinity: Vec<Rule>,
    /// What one call may use.
    pub limits: Limits,
    /// Longest acceptable round trip from the callers, in milliseconds; `latency.max_ms` in JSON.
    pub latency_max_ms: Option<u32>,
    /// How calls choose among its instances.
    pub routing: Routing,
    /// What becomes of its instances where a host is cut off from others.
    pub partition: Partition,
    /// What the workload reads through its import `config`.
    pub config: Config,
    /// What calls are answered that run out of time; `"error"` in JSON when there is nothing.
    pub on_overrun: OnOverrun,
    /// What a new version must keep to before it replaces the one that runs; `rollout` in JSON.
    pub gates: Gates,
    /// The version of what the workload keeps in the shared state. Versions of two do not serve at the same time on hosts that see each
    /// other, and an older one does not run where a newer one did unless it is forced; on two sides of a cut they may.
    pub state_schema: u32,
}

impl Spec {
    /// A spec that runs one instance of `artifact` anywhere, with default limits.
    #[must_use]
    pub fn new(artifact: Digest) -> Self {
        Self {
            artifact,
            spread: Spread::Replicas(REPLICAS_DEFAULT),
            region: None,
            require: BTreeSet::new(),
            must: Vec::new(),
            affinity: Vec::new(),
            limits: Limits::default(),
            latency_max_ms: None,
            routing: Routing::default(),
            partition: Partition::default(),
            config: Config::new(),
            on_overrun: OnOverrun::new(),
            gates: Gates::default(),
            state_schema: 0,
        }
    }

    /// Reads what a user sent, and refuses fields that it does not know, so that a misspelt limit is never ignored.
    ///
    /// # Errors
    /// The first field, by its full name (`limits.memory`), that is missing, unknown, of the wrong type or out of range.
    pub fn from_json(json: &Value) -> Result<Self, SpecError> {
        Self::read(json, Unknown::Refused)
    }

    /// What its instances are made from.
    #[must_use]
    pub fn revision(&self) -> Revision {
        Revision::of(self)
    }

    fn read(json: &Value, unknown: Unknown) -> Result<Self, SpecError> {
        const KNOWN: &[&str] = &[
            "artifact",
            "replicas",
            "everywhere",
            "per_region",
            "spread",
            "region",
            "require",
            "must",
            "affinity",
            "limits",
            "latency",
            "routing",
            "partition",
            "config",
            "on_overrun",
            "rollout",
            "state_schema",
        ];
        let fields = Fields::new("", json, KNOWN, unknown)?;
        let (must, affinity) = read_rules(&fields, unknown)?;
        Ok(Self {
            artifact: fields.parsed("artifact")?.ok_or_else(|| fields.missing("artifact"))?,
            spread: Spread::read(&fields)?,
            region: fields.token("region")?,
            require: fields.tokens("require", RULES_MAX)?.into_iter().collect(),
            must,
            affinity,
            limits: match fields.object("limits") {
                Some(limits) => read_limits(limits, unknown)?,
                None => Limits::default(),
            },
            latency_max_ms: match fields.object("latency") {
                Some(latency) => {
                    Fields::new("latency", latency, &["max_ms"], unknown)?.millis("max_ms", 1..=LATENCY_MS_MAX)?
                }
                None => None,
            },
            routing: match fields.parsed("routing") {
                // A strategy that only newer members know: calls from here go the ordinary way.
                Err(_) if unknown == Unknown::PassedOver => Routing::default(),
                routing => routing?.unwrap_or_default(),
            },
            partition: fields.parsed("partition")?.unwrap_or_default(),
            config: config::read(&fields)?,
            on_overrun: overrun::read(&fields)?,
            gates: gates::read(&fields, unknown)?,
            state_schema: fields.integer("state_schema", 0..=u32::MAX)?.unwrap_or(0),
        })
    }
}

/// The fields `must` and `affinity`. A preference of a kind that only newer members know costs nothing here.
fn read_rules(fields: &Fields<'_>, unknown: Unknown) -> Result<(Vec<Rule>, Vec<Rule>), SpecError> {
    let must: Vec<Rule> = fields.parsed_list("must", RULES_MAX)?;
    let affinity = match unknown {
        Unknown::Refused => fields.parsed_list("affinity", RULES_MAX)?,
        Unknown::PassedOver => {
            let rules = fields.list("affinity", RULES_MAX)?.iter();
            rules.filter_map(|rule| rule.as_str()?.parse().ok()).collect()
        }
    };
    if must.len() + affinity.len() > RULES_MAX {
        return Err(fields.invalid("must", format_args!("at most {RULES_MAX} entries together with `affinity`")));
    }
    Ok((must, affinity))
}

fn read_limits(json: &Value, unknown: Unknown) -> Result<Limits, SpecError> {
    const KNOWN: &[&str] =
        &["memory", "deadline_ms", "output_bytes", "host_calls", "log_lines", "concurrency", "table_elements"];
    let fields = Fields::new("limits", json, KNOWN, unknown)?;
    let default = Limits::default();
    Ok(Limits {
        memory: fields.bytes("memory", MEMORY_MIN..=MEMORY_MAX)?.unwrap_or(default.memory),
        deadline_ms: fields.millis("deadline_ms", 1..=DEADLINE_MS_MAX)?.unwrap_or(default.deadline_ms),
        output_bytes: fields.bytes("output_bytes", 1..=OUTPUT_BYTES_MAX)?.unwrap_or(default.output_bytes),
        host_calls: fields.integer("host_calls", 0..=HOST_CALLS_MAX)?.unwrap_or(default.host_calls),
        log_lines: fields.integer("log_lines", 0..=LOG_LINES_MAX)?.unwrap_or(default.log_lines),
        concurrency: fields.integer("concurrency", 1..=CONCURRENCY_MAX)?.unwrap_or(default.concurrency),
        table_elements: fields.integer("table_elements", 0..=TABLE_ELEMENTS_MAX)?.unwrap_or(default.table_elements),
    })
}

/// The JSON that [`Spec::from_json`] reads, with every default spelt out, so that a stored spec keeps its meaning when
/// a default changes.
impl Serialize for Spec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("artifact", &self.artifact.to_string())?;
        self.spread.write(&mut map)?;
        if let Some(region) = &self.region {
            map.serialize_entry("region", region)?;
        }
        map.serialize_entry("require", &self.require)?;
        if !self.must.is_empty() {
            map.serialize_entry("must", &self.must)?;
        }
        map.serialize_entry("affinity", &self.affinity)?;
        map.serialize_entry("limits", &self.limits)?;
        if let Some(max_ms) = self.latency_max_ms {
            map.serialize_entry("latency", &serde_json::json!({ "max_ms": max_ms }))?;
        }
        if self.routing != Routing::default() {
            map.serialize_entry("routing", self.routing.name())?;
        }
        if self.partition != Partition::default() {
            map.serialize_entry("partition", &self.partition.to_string())?;
        }
        if !self.config.is_empty() {
            map.serialize_entry("config", &self.config)?;
        }
        if !self.on_overrun.is_empty() {
            map.serialize_entry("on_overrun", &self.on_overrun)?;
        }
        if self.gates != Gates::default() {
            map.serialize_entry("rollout", &self.gates)?;
        }
        if self.state_schema != 0 {
            map.serialize_entry("state_schema", &self.state_schema)?;
        }
        map.end()
    }
}

/// Reads what a member stored. Checked like a user's, except that fields of a newer version are passed over: one
/// upgraded member must not make the others unable to read the spec.
impl<'de> Deserialize<'de> for Spec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = Value::deserialize(deserializer)?;
        Self::read(&json, Unknown::PassedOver).map_err(serde::de::Error::custom)
    }
}

/// Whether `text` can name a region, a capability, a node or part of a label: 1 to [`TOKEN_BYTES_MAX`] bytes without
/// blanks and control characters.
#[must_use]
pub fn is_token(text: &str) -> bool {
    (1..=TOKEN_BYTES_MAX).contains(&text.len()) && !text.chars().any(|c| c.is_whitespace() || c.is_control())
}

#[cfg(test)]
mod tests;
