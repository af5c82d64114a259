//! The arguments of `doctor`.
//!
//! Owns their grammar and help texts, and does nothing.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::cli::address::ApiAddr;

/// Which installation to look at.
#[derive(Debug, Args)]
#[command(after_help = "\
Looks at configuration, data directory, key, token, certificate, disk, stored state, clock, compiled code, ports, other members and the
service, with the agent running or not, and changes nothing. Members are asked whether they reach this host. The exit code is 0 when all
is well and 1 when something was found; notes do not count. As another user than the agent's, what that user may not read is left out;
the report says so.

Examples:
  selvedge doctor
  sudo selvedge doctor --data-dir /var/lib/selvedge --json")]
pub(crate) struct DoctorArgs {
    /// The configuration file [default: /etc/selvedge/selvedge.toml, if it exists]
    #[arg(long, value_name = "FILE", env = "SELVEDGE_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Where identity, state and components are kept [default: as the configuration says]
    #[arg(long, value_name = "DIR", env = "SELVEDGE_DATA_DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// The agent's API [default: where the agent of the data directory says it listens]
    #[arg(long, value_name = "ADDR", env = "SELVEDGE_API", hide_env_values = true)]
    pub(crate) api: Option<ApiAddr>,
    /// How long to wait for each answer of the agent
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = humantime::parse_duration)]
    pub(crate) timeout: Duration,
    /// Print exactly one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}
