//! Where the installation is: its configuration, its data directory, and the agent that runs there, if one does.

use std::io::ErrorKind::PermissionDenied;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::finding::{Finding, Outcome};
use crate::agent;
use crate::cli::{ApiAddr, Ask, CliError, DoctorArgs, client_for, default_api};
use crate::config::{self, API_PORT_DEFAULT, Config, Overrides};
use crate::runtime_info::RuntimeInfo;
use crate::store::Store;

/// The configuration file that packages install.
const CONFIG_FILE: &str = "/etc/selvedge/selvedge.toml";

/// The bit of a mode that lets everybody write.
const OTHERS_WRITE: u32 = 0o002;

/// Where everything is.
pub(super) struct Place {
    pub(super) config_file: Option<PathBuf>,
    /// The configuration, or what is wrong with it.
    pub(super) config: Result<Config, String>,
    pub(super) data_dir: PathBuf,
    /// Whether that is where the service has its data.
    pub(super) is_services: bool,
    /// Why nobody can tell whether an agent runs there: this user may not look.
    pub(super) closed: Option<std::io::Error>,
    /// The agent that runs there.
    pub(super) running: Option<RuntimeInfo>,
    /// An agent ran there and did not end in good order.
    pub(super) was_killed: bool,
    pub(super) api: ApiAddr,
    /// What the caller has named of both.
    named: Named,
}

/// Which of an installation's two ends the caller has named; what is not named was looked for.
#[derive(Clone, Copy, Debug)]
struct Named {
    /// With `--data-dir` or by a configuration.
    dir: bool,
    /// With `--api`.
    api: bool,
}

/// What becomes of a data directory and an agent that do not belong together: one of them is looked at, the other named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Apart {
    /// Whether the agent is left out, and not the directory.
    pub(super) is_of_directory: bool,
    /// What is said of it.
    pub(super) finding: Finding,
    /// Why the one that is left out is not looked at.
    pub(super) why: String,
}

/// What a running agent says.
pub(super) struct Agent {
    pub(super) status: Value,
    pub(super) nodes: Value,
    /// `None` from an agent of an earlier release.
    pub(super) clocks: Option<Value>,
    /// The same.
    pub(super) reach: Option<Value>,
}

impl Place {
    /// Reads what there is; whatever cannot be read is told by the checks.
    pub(super) fn of(args: &DoctorArgs) -> Self {
        let installed = Path::new(CONFIG_FILE);
        let config_file = args.config.clone().or_else(|| installed.exists().then(|| installed.to_owned()));
        let overrides = Overrides { data_dir: args.data_dir.clone(), ..Overrides::default() };
        // Where the service has its data does not depend on who asks.
        let is_service = args.data_dir.is_none() && config_file.as_deref() == Some(installed);
        let config = Config::survey(config_file.as_deref(), overrides, is_service).map_err(|error| error.to_string());
        let data_dir = match &config {
            Ok(config) => config.node.data_dir.clone(),
            Err(_) if is_service => config::SERVICE_DATA_DIR.into(),
            Err(_) => args.data_dir.clone().unwrap_or_else(config::default_data_dir),
        };
        let is_services = is_service || data_dir == Path::new(config::SERVICE_DATA_DIR);
        let info = RuntimeInfo::read(&data_dir).ok().flatten();
        let (running, was_killed, closed) = match Store::holder(&data_dir) {
            Ok(Some(_)) => (info, false, None),
            Ok(None) => (None, info.is_some(), None),
            Err(error) => (None, false, Some(error)),
        };
        let told = running.as_ref().and_then(|info| info.api.iter().find_map(|api| api.parse().ok()));
        let api = args.api.clone().or(told).unwrap_or_else(usual_api);
        let named = Named { dir: args.data_dir.is_some() || args.config.is_some(), api: args.api.is_some() };
        Self { config_file, config, data_dir, is_services, closed, running, was_killed, api, named }
    }

    /// What is to be said where the agent that answers is not that of the data directory, by the key that each of them has. `None`
    /// also where this user may not see the directory's.
    pub(super) fn apart(&self, agent: &Agent) -> Option<Apart> {
        let says = |at: &str| agent.status.pointer(at).and_then(Value::as_str);
        let theirs = says("/node/id")?;
        self.looked().ok()?;
        let ours = agent::read_node(&self.data_dir).ok()?.map(|node| node.to_string());
        if ours.as_deref() == Some(theirs) {
            return None;
        }
        let (api, dir, name) = (&self.api, self.data_dir.display(), says("/node/name").unwrap_or("a node"));
        let holds = ours.map_or_else(|| "holds no node's key".to_owned(), |ours| format!("holds the key of {ours}"));
        let what = format!("two installations: the agent at {api} is {name} ({theirs}), and {dir} {holds}");
        let is_of_directory = self.named.dir || !self.named.api;
        let why = if is_of_directory {
            format!("the agent at {api} is another installation's")
        } else {
            format!("{dir} is another installation's")
        };
        let finding = match self.named {
            Named { dir: true, api: true } => Finding::warning(
                what,
                format!(
                    "name two that belong together; what is said here is of {dir}, and --api (SELVEDGE_API) may be left out"
                ),
            ),
            Named { api: true, dir: false } => Finding::note(
                what,
                format!("--data-dir names that agent's own; what is said here is of the agent at {api}"),
            ),
            Named { api: false, .. } => {
                Finding::note(what, format!("--api names this directory's own agent; what is said here is of {dir}"))
            }
        };
        Some(Apart { is_of_directory, finding, why })
    }

    /// Whether it could be told if an agent runs here.
    ///
    /// # Errors
    /// This user may not look.
    pub(super) fn looked(&self) -> Result<(), String> {
        self.closed.as_ref().map_or(Ok(()), |error| Err(self.unseen(error)))
    }

    /// Asks the agent for what the checks look at.
    pub(super) async fn ask(&self, patience: Duration) -> Result<Agent, CliError> {
        let mut client = client_for(self.api.clone(), patience);
        let status = client.json(Ask::get("/v1/status")).await?;
        let nodes = client.json(Ask::get("/v1/nodes")).await?;
        let clocks = client.json(Ask::get("/v1/clocks")).await.ok();
        let reach = client.json(Ask::get("/v1/reach")).await.ok();
        Ok(Agent { status, nodes, clocks, reach })
    }

    /// Why a file or folder of the data directory could not be looked at.
    pub(super) fn unseen(&self, error: &std::io::Error) -> String {
        format!("{} cannot be read ({error}); run this as the agent's user, or as root", self.data_dir.display())
    }
}

/// Where the API usually is: over TCP, where everybody on this host may read, if this user may not open the socket.
fn usual_api() -> ApiAddr {
    match default_api() {
        ApiAddr::Unix(path) if UnixStream::connect(&path).is_err_and(|error| error.kind() == PermissionDenied) => {
            ApiAddr::Tcp { host: Ipv4Addr::LOCALHOST.to_string(), port: API_PORT_DEFAULT }
        }
        usual => usual,
    }
}

/// Whether the configuration can be used.
pub(super) fn configuration(place: &Place) -> Outcome {
    let mut found: Vec<Finding> = place.config_file.as_deref().and_then(open).into_iter().collect();
    let Err(problem) = &place.config else { return Ok(found) };
    let mend = match &place.config_file {
        Some(file) => format!("correct it, then: selvedge check-config {}", file.display()),
        None => "correct what the message names; no configuration file is in use".to_owned(),
    };
    found.push(Finding::error(problem.clone(), mend));
    Ok(found)
}

/// That a configuration file is everybody's: whoever writes it says where keys and state lie, and to whom the agent listens.
fn open(file: &Path) -> Option<Finding> {
    let mode = std::fs::metadata(file).ok()?.permissions().mode() & 0o7777;
    let file = file.display();
    let is_open = mode & OTHERS_WRITE != 0;
    is_open
        .then(|| Finding::error(format!("everybody can write to {file} (mode {mode:o})"), format!("chmod o-w {file}")))
}
