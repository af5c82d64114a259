//! From a file, flags and defaults to one complete configuration.
//!
//! Owns precedence (flags and environment, then file, then default) and the rules that concern several keys. Apart from what the
//! data directory says of its cluster, it is a function of its arguments.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::io::ErrorKind;
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
    API_PORT_DEFAULT, ASSETS_DISK_DEFAULT, ASSETS_MEMORY_DEFAULT, ApiConfig, AssetsConfig, CLUSTER_DEFAULT,
    ClusterConfig, Config, DWELL_MS_DEFAULT, ENTRIES_MAX, LIFETIME_MS_DEFAULT, LogConfig, LogLevel, NET_PORT_DEFAULT,
    NetConfig, NodeConfig, Overrides, PlacementConfig, REGION_DEFAULT, RETIRE_MS_DEFAULT, StateConfig,
    THRESHOLD_DEFAULT, WORKERS_MAX, WasmConfig, file,
};
use crate::cluster::{Folder, FolderError};
use crate::spec::{DEADLINE_MS_DEFAULT, MEMORY_DEFAULT};

/// The name of the API token's file in the data directory.
const TOKEN_FILE: &str = "api-token";

/// What stands in place of the file, and what fills the rest.
pub(super) struct Resolver {
    pub(super) overrides: Overrides,
    pub(super) host: Host,
}

impl Resolver {
    pub(super) fn resolve(mut self, file: file::File) -> Result<Config, ConfigError> {
        let (data_dir, origin) = self.data_dir(file.node.data_dir.clone())?;
        let (cluster, contacts) =
            cluster(&file.cluster, &data_dir).map_err(|source| ConfigError::Papers { origin, source })?;
        let is_member = cluster.papers.is_some();
        self.whole(file, data_dir, (cluster, contacts), is_member)
    }

    /// The same for somebody who may not be allowed to read the cluster's papers: then this counts as a member's.
    pub(super) fn survey(mut self, file: file::File) -> Result<Config, ConfigError> {
        let (data_dir, origin) = self.data_dir(file.node.data_dir.clone())?;
        match cluster(&file.cluster, &data_dir) {
            Ok((cluster, contacts)) => {
                let is_member = cluster.papers.is_some();
                self.whole(file, data_dir, (cluster, contacts), is_member)
            }
            Err(FolderError::File { source, .. }) if source.kind() == ErrorKind::PermissionDenied => {
                let unseen = nobodys(&file.cluster);
                self.whole(file, data_dir, (unseen, Vec::new()), true)
            }
            Err(source) => Err(ConfigError::Papers { origin, source }),
        }
    }

    /// Everything, once it is known where the data lies and of which cluster it is.
    fn whole(
        mut self,
        file: file::File,
        data_dir: PathBuf,
        (cluster, contacts): (ClusterConfig, Vec<String>),
        is_member: bool,
    ) -> Result<Config, ConfigError> {
        let node = self.node(file.node, data_dir, &cluster)?;
        let net = self.net(file.net, is_member, contacts)?;
        let api = self.api(file.api, &node.data_dir)?;
        let wasm = self.wasm(&file.wasm);
        let assets = AssetsConfig {
            memory: file.assets.memory.map_or(ASSETS_MEMORY_DEFAULT, |bytes| bytes.0),
            disk: file.assets.disk.map_or(ASSETS_DISK_DEFAULT, |bytes| bytes.0),
        };
        let log = LogConfig {
            format: word("log.format", self.overrides.log_format.take(), file.log.format, self.host.log_format)?,
            level: word("log.level", self.overrides.log_level.take(), file.log.level, LogLevel::default())?,
            otlp: file.log.otlp,
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
        Ok(Config { node, cluster, net, api, state, wasm, assets, placement, log })
    }

    /// Only this node, and whether it is a member of a cluster.
    pub(super) fn resolve_node(mut self, file: file::File) -> Result<(NodeConfig, bool), ConfigError> {
        let (data_dir, origin) = self.data_dir(file.node.data_dir.clone())?;
        let (cluster, _) =
            cluster(&file.cluster, &data_dir).map_err(|source| ConfigError::Papers { origin, source })?;
        Ok((self.node(file.node, data_dir, &cluster)?, cluster.papers.is_some()))
    }

    fn data_dir(&mut self, file: Option<PathBuf>) -> Result<(PathBuf, Origin), ConfigError> {
        let (data_dir, origin) =
            path(self.overrides.data_dir.take(), file).unwrap_or_else(|| (self.host.data_dir.clone(), Origin::Default));
        if data_dir.as_os_str().is_empty() {
            return Err(ConfigError::value("node.data_dir", origin, "a path is expected, not an empty text"));
        }
        Ok((absolute(data_dir), origin))
    }

    fn node(
        &mut self,
        file: file::Node,
        data_dir: PathBuf,
        cluster: &ClusterConfig,
    ) -> Result<NodeConfig, ConfigError> {
        let claims = cluster.papers.as_ref().and_then(|(trust, certificate)| trust.subject(certificate));
        let (certified_name, certified_region) = claims.map(|claims| (claims.name, claims.region)).unzip();
        let flag = self.overrides.name.take();
        let name = certified("node.name", certified_name, flag, file.name)?;
        let flag = self.overrides.region.take();
        let region = certified("node.region", certified_region, flag, file.region)?;
        let capabilities: BTreeSet<_> = file.capabilities.into_iter().map(|Token(name)| name).collect();
        bounded("node.capabilities", &Origin::File, capabilities.len())?;
        let labels: BTreeMap<_, _> = file.labels.into_iter().map(|(key, Token(value))| (key, value)).collect();
        bounded("node.labels", &Origin::File, labels.len())?;
        if let Some(key) = labels.keys().find(|key| key.contains('=') || key.parse::<Token>().is_err()) {
            let problem = format!("the key `{key}` is no name without blanks and `=`");
            return Err(ConfigError::value("node.labels", Origin::File, problem));
        }
        Ok(NodeConfig {
            name: name.unwrap_or_else(|| self.host.name.clone()),
            region: region.unwrap_or_else(|| REGION_DEFAULT.to_owned()),
            location: file.location,
            capabilities,
            labels,
            data_dir,
        })
    }

    fn net(&mut self, file: file::Net, is_member: bool, contacts: Vec<String>) -> Result<NetConfig, ConfigError> {
        let (listen, origin) = many::<NetListen>("net.listen", self.overrides.listen.take(), file.listen)?;
        let mut listen: Vec<SocketAddr> = listen.into_iter().map(|NetListen(address)| address).collect();
        if origin == Origin::Default {
            let ip = if is_member { Ipv4Addr::UNSPECIFIED } else { Ipv4Addr::LOCALHOST };
            listen.push(SocketAddr::new(IpAddr::V4(ip), NET_PORT_DEFAULT));
        }
        if listen.is_empty() {
            return Err(ConfigError::value("net.listen", origin, "at least one address is needed"));
        }
        if let Some(open) = listen.iter().find(|address| !is_member && !address.ip().is_loopback()) {
            let problem = format!(
                "{open} can be reached from other hosts, and this agent belongs to no cluster, so it could not tell members \
                 from strangers; run `selvedge init` here, or `selvedge join TOKEN` with a token from a member"
            );
            return Err(ConfigError::value("net.listen", origin, problem));
        }
        let text = |addresses: Vec<PeerAddress>| addresses.into_iter().map(|PeerAddress(text)| text).collect();
        let (bootstrap, origin) = many("net.bootstrap", self.overrides.bootstrap.take(), file.bootstrap)?;
        let mut bootstrap: Vec<String> = text(bootstrap);
        if origin != Origin::Flag && bootstrap.is_empty() {
            // Whoever joined by a token starts with the members that the token named.
            bootstrap = contacts;
        }
        let (advertise, _) = many("net.advertise", self.overrides.advertise.take(), file.advertise)?;
        Ok(NetConfig { listen, bootstrap, advertise: text(advertise), call_rate: file.call_rate })
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
        let given = || self.host.api_token.clone().unwrap_or_else(|| data_dir.join(TOKEN_FILE));
        let token_file = token_file.map_or_else(given, |(path, _)| absolute(path));
        Ok(ApiConfig { listen: once, token_file, call_rate: file.call_rate })
    }

    fn wasm(&self, file: &file::Wasm) -> WasmConfig {
        let cores = self.host.cores.clamp(1, usize::from(WORKERS_MAX));
        WasmConfig {
            workers: file.workers.map_or(cores, |workers| usize::from(workers.0)),
            memory: file.memory.map_or(MEMORY_DEFAULT, |memory| memory.0),
            deadline: Duration::from_millis(
                file.deadline.map_or(u64::from(DEADLINE_MS_DEFAULT), |deadline| deadline.0),
            ),
            compiler: None,
        }
    }
}

/// The cluster, as the data directory says, and where its members are to be found.
fn cluster(file: &file::Cluster, data_dir: &Path) -> Result<(ClusterConfig, Vec<String>), FolderError> {
    let folder = Folder::in_data_dir(data_dir);
    let (papers, contacts) = (folder.load()?, folder.contacts()?);
    let nobodys = nobodys(file);
    let name = papers.as_ref().map(|(trust, _)| trust.name().to_owned());
    Ok((ClusterConfig { name: name.unwrap_or(nobodys.name), papers, ..nobodys }, contacts))
}

/// What the file says of a cluster, where there is none.
fn nobodys(file: &file::Cluster) -> ClusterConfig {
    let lifetime = file.certificate_lifetime.as_ref().map_or(LIFETIME_MS_DEFAULT, |lifetime| lifetime.0);
    let certificate_lifetime = Duration::from_millis(lifetime);
    ClusterConfig { name: CLUSTER_DEFAULT.to_owned(), papers: None, certificate_lifetime }
}

/// What a certificate says of this node, or else what it is called here. Both may not differ: others believe the certificate.
fn certified(
    key: &'static str,
    certified: Option<String>,
    flag: Option<String>,
    file: Option<Token>,
) -> Result<Option<String>, ConfigError> {
    let origin = if flag.is_some() { Origin::Flag } else { Origin::File };
    let said = one(key, flag, file)?.map(|Token(said)| said);
    match (certified, said) {
        (Some(certified), Some(said)) if certified != said => Err(ConfigError::value(
            key,
            origin,
            format!(
                "{said:?}, but this node's certificate says {certified:?}; leave it out, or join again under that name"
            ),
        )),
        (Some(certified), _) => Ok(Some(certified)),
        (None, said) => Ok(said),
    }
}

/// A value that is one of a few words, read from a flag as it is from the file.
fn word<T>(key: &'static str, flag: Option<String>, file: Option<T>, default: T) -> Result<T, ConfigError>
where
    T: for<'de> Deserialize<'de>,
{
    let Some(text) = flag else { return Ok(file.unwrap_or(default)) };
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

fn unix(path: &Path) -> Result<ApiListen, ConfigError> {
    let parsed = format!("unix:{}", path.display()).parse();
    parsed.map_err(|problem| ConfigError::value("api.socket", Origin::File, problem))
}
