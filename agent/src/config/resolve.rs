//! From a file, flags and defaults to one complete configuration.
//!
//! Owns precedence (flags and environment, then file, then default) and the rules that concern several keys. Apart from the
//! cluster's key file, it is a function of its arguments.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use selvedge_sync::limits::MAX_DRIFT_MS;
use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::{Error as ValueError, StringDeserializer};

use super::error::{ConfigError, Origin};
use super::host::Host;
use super::value::{ApiListen, NetListen, OneOrMany, PeerAddress, Token};
use super::{
    API_PORT_DEFAULT, ApiConfig, CLUSTER_DEFAULT, ClusterConfig, Config, DWELL_MS_DEFAULT, ENTRIES_MAX, LogConfig,
    NET_PORT_DEFAULT, NetConfig, NodeConfig, Overrides, PlacementConfig, REGION_DEFAULT, RETIRE_MS_DEFAULT,
    StateConfig, THRESHOLD_DEFAULT, WORKERS_MAX, WasmConfig, file, key,
};
use crate::spec::{DEADLINE_MS_DEFAULT, MEMORY_DEFAULT};

/// The cluster key's name in the data directory.
const KEY_FILE: &str = "cluster.key";

/// The name of the API token's file in the data directory.
const TOKEN_FILE: &str = "api-token";

/// What stands in place of the file, and what fills the rest.
pub(super) struct Resolver {
    pub(super) overrides: Overrides,
    pub(super) host: Host,
}

impl Resolver {
    pub(super) fn resolve(mut self, file: file::File) -> Result<Config, ConfigError> {
        let node = self.node(file.node)?;
        let (cluster, key_path) = self.cluster(file.cluster, &node.data_dir)?;
        let net = self.net(file.net, cluster.key.is_some(), &key_path)?;
        let api = self.api(file.api, &node.data_dir)?;
        let wasm = self.wasm(&file.wasm);
        let log = LogConfig {
            format: word("log.format", self.overrides.log_format.take(), file.log.format)?,
            level: word("log.level", self.overrides.log_level.take(), file.log.level)?,
        };
        let state = StateConfig {
            max_drift: Duration::from_millis(file.state.max_drift.map_or(MAX_DRIFT_MS, |drift| drift.0)),
            retire_after: Duration::from_millis(file.state.retire_after.map_or(RETIRE_MS_DEFAULT, |after| after.0)),
        };
        let placement = PlacementConfig {
            weights: file.placement.weights.unwrap_or_default(),
            dwell: Duration::from_millis(file.placement.dwell.map_or(DWELL_MS_DEFAULT, |dwell| dwell.0)),
            threshold: file.placement.threshold.map_or(THRESHOLD_DEFAULT, |threshold| threshold.0),
        };
        Ok(Config { node, cluster, net, api, state, wasm, placement, log })
    }

    fn node(&mut self, file: file::Node) -> Result<NodeConfig, ConfigError> {
        let name = one("node.name", self.overrides.name.take(), file.name)?;
        let region = one("node.region", self.overrides.region.take(), file.region)?;
        let capabilities: BTreeSet<_> = file.capabilities.into_iter().map(|Token(name)| name).collect();
        bounded("node.capabilities", &Origin::File, capabilities.len())?;
        let (data_dir, origin) = path(self.overrides.data_dir.take(), file.data_dir)
            .unwrap_or_else(|| (self.host.data_dir.clone(), Origin::Default));
        if data_dir.as_os_str().is_empty() {
            return Err(ConfigError::value("node.data_dir", origin, "a path is expected, not an empty text"));
        }
        Ok(NodeConfig {
            name: name.map_or_else(|| self.host.name.clone(), |Token(name)| name),
            region: region.map_or_else(|| REGION_DEFAULT.to_owned(), |Token(region)| region),
            location: file.location,
            capabilities,
            data_dir: absolute(data_dir),
        })
    }

    /// The cluster, and where its key is or would be.
    fn cluster(&mut self, file: file::Cluster, data_dir: &Path) -> Result<(ClusterConfig, PathBuf), ConfigError> {
        let name = one("cluster.name", self.overrides.cluster.take(), file.name)?;
        let (path, origin) = path(self.overrides.key_file.take(), file.key_file)
            .unwrap_or_else(|| (data_dir.join(KEY_FILE), Origin::Default));
        // Only a file that was named has to be there. One that is there and unusable is an error either way: to go on with the
        // key of development would silently leave the cluster.
        let key = if origin == Origin::Default && !is_there(&path) {
            None
        } else {
            Some(key::read(&path).map_err(|problem| ConfigError::value("cluster.key_file", origin, problem))?)
        };
        let name = name.map_or_else(|| CLUSTER_DEFAULT.to_owned(), |Token(name)| name);
        Ok((ClusterConfig { name, key }, path))
    }

    fn net(&mut self, file: file::Net, has_key: bool, key_path: &Path) -> Result<NetConfig, ConfigError> {
        let (listen, origin) = many::<NetListen>("net.listen", self.overrides.listen.take(), file.listen)?;
        let mut listen: Vec<SocketAddr> = listen.into_iter().map(|NetListen(address)| address).collect();
        if origin == Origin::Default {
            let ip = if has_key { Ipv4Addr::UNSPECIFIED } else { Ipv4Addr::LOCALHOST };
            listen.push(SocketAddr::new(IpAddr::V4(ip), NET_PORT_DEFAULT));
        }
        if listen.is_empty() {
            return Err(ConfigError::value("net.listen", origin, "at least one address is needed"));
        }
        if let Some(open) = listen.iter().find(|address| !has_key && !address.ip().is_loopback()) {
            let problem = format!(
                "{open} can be reached from other hosts, and this agent has no cluster key to tell members from strangers; \
                 make one, and give every member the same: {}",
                key::how_to_make(key_path)
            );
            return Err(ConfigError::value("net.listen", origin, problem));
        }
        let text = |addresses: Vec<PeerAddress>| addresses.into_iter().map(|PeerAddress(text)| text).collect();
        let (bootstrap, _) = many("net.bootstrap", self.overrides.bootstrap.take(), file.bootstrap)?;
        let (advertise, _) = many("net.advertise", self.overrides.advertise.take(), file.advertise)?;
        Ok(NetConfig { listen, bootstrap: text(bootstrap), advertise: text(advertise) })
    }

    fn api(&mut self, file: file::Api, data_dir: &Path) -> Result<ApiConfig, ConfigError> {
        let (mut listen, origin) = many::<ApiListen>("api.listen", self.overrides.api.take(), file.listen)?;
        if origin == Origin::Default {
            listen.push(ApiListen::Tcp(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), API_PORT_DEFAULT)));
        }
        // Whoever says with a flag where the API is to listen means there and nowhere else.
        if origin != Origin::Flag {
            match file.socket {
                Some(none) if none.as_os_str().is_empty() => {}
                Some(path) => listen.push(unix(&path)?),
                None => listen.extend(self.host.socket.clone().map(ApiListen::Unix)),
            }
        }
        let mut once = Vec::new();
        for place in listen {
            if !once.contains(&place) {
                once.push(place);
            }
        }
        if once.is_empty() {
            return Err(ConfigError::value(
                "api.listen",
                origin,
                "there is no socket either: nobody could talk to the agent",
            ));
        }
        let token_file = path(self.overrides.token_file.take(), file.token_file);
        let token_file = token_file.map_or_else(|| data_dir.join(TOKEN_FILE), |(path, _)| absolute(path));
        Ok(ApiConfig { listen: once, token_file })
    }

    fn wasm(&self, file: &file::Wasm) -> WasmConfig {
        let cores = self.host.cores.clamp(1, usize::from(WORKERS_MAX));
        WasmConfig {
            workers: file.workers.map_or(cores, |workers| usize::from(workers.0)),
            memory: file.memory.map_or(MEMORY_DEFAULT, |memory| memory.0),
            deadline: Duration::from_millis(
                file.deadline.map_or(u64::from(DEADLINE_MS_DEFAULT), |deadline| deadline.0),
            ),
        }
    }
}

/// A value that is one of a few words, read from a flag as it is from the file.
fn word<T>(key: &'static str, flag: Option<String>, file: Option<T>) -> Result<T, ConfigError>
where
    T: for<'de> Deserialize<'de> + Default,
{
    let Some(text) = flag else { return Ok(file.unwrap_or_default()) };
    let words: StringDeserializer<ValueError> = text.into_deserializer();
    T::deserialize(words).map_err(|error| ConfigError::value(key, Origin::Flag, error))
}

/// One text: the flag's, or else the file's.
fn one<T: FromStr<Err: Display>>(
    key: &'static str,
    flag: Option<String>,
    file: Option<T>,
) -> Result<Option<T>, ConfigError> {
    match flag {
        Some(text) => text.parse().map(Some).map_err(|error| ConfigError::value(key, Origin::Flag, error)),
        None => Ok(file),
    }
}

/// Several texts: the flags', or else the file's, and who gave them.
fn many<T: FromStr<Err = String>>(
    key: &'static str,
    flags: Option<Vec<String>>,
    file: Option<OneOrMany<T>>,
) -> Result<(Vec<T>, Origin), ConfigError> {
    let (values, origin) = match (flags, file) {
        (Some(texts), _) => {
            let values: Result<_, _> = texts.iter().map(|text| text.parse()).collect();
            (values.map_err(|error| ConfigError::value(key, Origin::Flag, error))?, Origin::Flag)
        }
        (None, Some(OneOrMany(values))) => (values, Origin::File),
        (None, None) => (Vec::new(), Origin::Default),
    };
    bounded(key, &origin, values.len())?;
    Ok((values, origin))
}

fn path(flag: Option<PathBuf>, file: Option<PathBuf>) -> Option<(PathBuf, Origin)> {
    flag.map(|path| (path, Origin::Flag)).or_else(|| file.map(|path| (path, Origin::File)))
}

/// The path as seen from everywhere, since others are told where these files lie.
fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

fn bounded(key: &'static str, origin: &Origin, entries: usize) -> Result<(), ConfigError> {
    match entries {
        0..=ENTRIES_MAX => Ok(()),
        _ => Err(ConfigError::value(
            key,
            origin.clone(),
            format!("{entries} entries; at most {ENTRIES_MAX} are allowed"),
        )),
    }
}

/// Whether something lies at `path`; what cannot be told is taken to be there, so that reading it says why.
fn is_there(path: &Path) -> bool {
    path.try_exists().unwrap_or(true)
}

fn unix(path: &Path) -> Result<ApiListen, ConfigError> {
    let parsed = format!("unix:{}", path.display()).parse();
    parsed.map_err(|problem| ConfigError::value("api.socket", Origin::File, problem))
}
