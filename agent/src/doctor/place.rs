//! Where the installation is: its configuration, its data directory, and the agent that runs there, if one does.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::finding::{Finding, Outcome};
use crate::cli::{ApiAddr, Ask, CliError, DoctorArgs, client_for, default_api};
use crate::config::{self, Config, Overrides};
use crate::runtime_info::RuntimeInfo;

/// The configuration file that packages install.
const CONFIG_FILE: &str = "/etc/selvedge/selvedge.toml";

/// Where everything is.
pub(super) struct Place {
    pub(super) config_file: Option<PathBuf>,
    /// The configuration, or what is wrong with it.
    pub(super) config: Result<Config, String>,
    pub(super) data_dir: PathBuf,
    /// The agent that runs there.
    pub(super) running: Option<RuntimeInfo>,
    /// An agent ran there and did not end in good order.
    pub(super) was_killed: bool,
    pub(super) api: ApiAddr,
}

/// What a running agent says.
pub(super) struct Agent {
    pub(super) status: Value,
    pub(super) nodes: Value,
    /// `None` from an agent of an earlier release.
    pub(super) clocks: Option<Value>,
}

impl Place {
    /// Reads what there is; whatever cannot be read is told by the checks.
    pub(super) fn of(args: &DoctorArgs) -> Self {
        let installed = Path::new(CONFIG_FILE);
        let config_file = args.config.clone().or_else(|| installed.exists().then(|| installed.to_owned()));
        let overrides = Overrides { data_dir: args.data_dir.clone(), ..Overrides::default() };
        let config = Config::load(config_file.as_deref(), overrides).map_err(|error| error.to_string());
        let data_dir = match &config {
            Ok(config) => config.node.data_dir.clone(),
            Err(_) => args.data_dir.clone().unwrap_or_else(config::default_data_dir),
        };
        let info = RuntimeInfo::read(&data_dir).ok().flatten();
        let lives = |info: &RuntimeInfo| Path::new(&format!("/proc/{}", info.pid)).exists();
        let was_killed = info.as_ref().is_some_and(|info| !lives(info));
        let running = info.filter(lives);
        let told = running.as_ref().and_then(|info| info.api.iter().find_map(|api| api.parse().ok()));
        let api = args.api.clone().or(told).unwrap_or_else(default_api);
        Self { config_file, config, data_dir, running, was_killed, api }
    }

    /// Asks the agent for what the checks look at.
    pub(super) async fn ask(&self, patience: Duration) -> Result<Agent, CliError> {
        let mut client = client_for(self.api.clone(), patience);
        let status = client.json(Ask::get("/v1/status")).await?;
        let nodes = client.json(Ask::get("/v1/nodes")).await?;
        let clocks = client.json(Ask::get("/v1/clocks")).await.ok();
        Ok(Agent { status, nodes, clocks })
    }

    /// Why a file or folder of the data directory could not be looked at.
    pub(super) fn unseen(&self, error: &std::io::Error) -> String {
        format!("{} cannot be read ({error}); run this as the agent's user, or as root", self.data_dir.display())
    }
}

/// Whether the configuration can be used.
pub(super) fn configuration(place: &Place) -> Outcome {
    let Err(problem) = &place.config else { return Ok(Vec::new()) };
    let mend = match &place.config_file {
        Some(file) => format!("correct it, then: selvedge check-config {}", file.display()),
        None => "correct what the message names; no configuration file is in use".to_owned(),
    };
    Ok(vec![Finding::error(problem.clone(), mend)])
}
