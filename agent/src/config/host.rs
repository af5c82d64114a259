//! What defaults depend on: whose account this is, where its files belong, what the host is called.
//!
//! Reads the environment once, so that resolving a configuration is a function of its arguments.

use std::path::{Path, PathBuf};

use super::value::Token;

/// The runtime directory that the service's unit makes.
const RUN_DIR: &str = "/run/selvedge";

/// What defaults depend on.
#[derive(Clone, Debug)]
pub(super) struct Host {
    /// The host's name, as far as it can name a node.
    pub(super) name: String,
    /// Where state belongs.
    pub(super) data_dir: PathBuf,
    /// Where the API's socket belongs; `None` outside of the service.
    pub(super) socket: Option<PathBuf>,
    /// How many threads run at once here.
    pub(super) cores: usize,
}

impl Host {
    /// This host.
    pub(super) fn this() -> Self {
        let name = crate::resources::host_name().filter(|name| name.parse::<Token>().is_ok());
        let run_dir = Path::new(RUN_DIR);
        Self {
            name: name.unwrap_or_else(|| "localhost".to_owned()),
            data_dir: data_dir(is_root(), var("XDG_DATA_HOME"), var("HOME")),
            socket: run_dir.is_dir().then(|| run_dir.join("api.sock")),
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        }
    }
}

/// Where state belongs: the system's place for root, the account's own for others.
pub(super) fn data_dir(root: bool, xdg: Option<PathBuf>, home: Option<PathBuf>) -> PathBuf {
    match (root, xdg, home) {
        (true, _, _) | (false, None, None) => PathBuf::from("/var/lib/selvedge"),
        (false, Some(xdg), _) => xdg.join("selvedge"),
        (false, None, Some(home)) => home.join(".local/share/selvedge"),
    }
}

fn var(name: &str) -> Option<PathBuf> {
    // As the XDG specification has it, what is no absolute path does not count.
    std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute())
}

fn is_root() -> bool {
    // The owner of a process's own entry is the account that it runs as.
    std::fs::metadata("/proc/self").is_ok_and(|entry| std::os::unix::fs::MetadataExt::uid(&entry) == 0)
}
