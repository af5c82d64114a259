//! What defaults depend on: whose account this is, where its files belong, what the host is called.
//!
//! Reads the environment once, so that resolving a configuration is a function of its arguments.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::LogFormat;
use super::value::Token;

/// The runtime directory that the service's unit makes.
const RUN_DIR: &str = "/run/selvedge";

/// Where the service keeps its state.
pub(crate) const SERVICE_DATA_DIR: &str = "/var/lib/selvedge";

/// The name of the API's token among the credentials that the service's unit asks for.
const API_TOKEN: &str = "api-token";

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
    /// The API's token, where the service manager was given one.
    pub(super) api_token: Option<PathBuf>,
    /// How log lines look: the journal's own way, where stderr is the journal.
    pub(super) log_format: LogFormat,
}

impl Host {
    /// This host.
    pub(super) fn this() -> Self {
        let name = crate::resources::host_name().filter(|name| name.parse::<Token>().is_ok());
        let run_dir = Path::new(RUN_DIR);
        Self {
            name: name.unwrap_or_else(|| "localhost".to_owned()),
            data_dir: data_dir(var("STATE_DIRECTORY"), is_root(), var("XDG_DATA_HOME"), var("HOME")),
            socket: run_dir.is_dir().then(|| run_dir.join("api.sock")),
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            api_token: credential(API_TOKEN),
            log_format: if stderr_is_the_journal() { LogFormat::Journald } else { LogFormat::Text },
        }
    }
}

/// Where state belongs: where the service manager says (systemd.exec(5), `StateDirectory=`), else the system's place for root, and the
/// account's own for others.
pub(super) fn data_dir(
    of_service: Option<PathBuf>,
    root: bool,
    xdg: Option<PathBuf>,
    home: Option<PathBuf>,
) -> PathBuf {
    match (of_service, root, xdg, home) {
        (Some(of_service), ..) => of_service,
        (None, true, _, _) | (None, false, None, None) => PathBuf::from(SERVICE_DATA_DIR),
        (None, false, Some(xdg), _) => xdg.join("selvedge"),
        (None, false, None, Some(home)) => home.join(".local/share/selvedge"),
    }
}

fn var(name: &str) -> Option<PathBuf> {
    // As the XDG specification has it, what is no absolute path does not count.
    std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute())
}

/// A credential of this service (systemd.exec(5), `LoadCredential=`), where there is one.
pub(super) fn credential(name: &str) -> Option<PathBuf> {
    var("CREDENTIALS_DIRECTORY").map(|folder| folder.join(name)).filter(|path| path.exists())
}

/// Whether what we write to stderr goes to the journal: systemd says which file that is (systemd.exec(5), `JOURNAL_STREAM`), since whoever
/// starts a program from a service may have redirected it.
pub(crate) fn stderr_is_the_journal() -> bool {
    let stream = std::env::var("JOURNAL_STREAM").ok();
    let stderr = std::fs::metadata("/proc/self/fd/2").ok();
    stream.zip(stderr).is_some_and(|(stream, stderr)| stream == format!("{}:{}", stderr.dev(), stderr.ino()))
}

fn is_root() -> bool {
    // The owner of a process's own entry is the account that it runs as.
    std::fs::metadata("/proc/self").is_ok_and(|entry| entry.uid() == 0)
}
