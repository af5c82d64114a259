//! The arguments of the commands about workloads: to begin one, deploy it, call it, run a call again.
//!
//! Owns their grammar and help texts, and does nothing.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::ClientArgs;

/// Which workload to remove.
#[derive(Debug, Args)]
pub(crate) struct UndeployArgs {
    /// The workload's name
    pub(crate) name: String,
    /// Return as soon as the spec is removed, although instances may answer for a moment longer
    #[arg(long)]
    pub(crate) no_wait: bool,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// Which workload to take back to the version before.
#[derive(Debug, Args)]
#[command(after_help = "\
All hosts change at once, each when the older version is ready there. What the newer one has written to the shared state stays.")]
pub(crate) struct RollbackArgs {
    /// The workload's name
    pub(crate) name: String,
    /// Go back over a `state_schema` too. The older version may misread what the newer one has written, and what it cannot read is lost
    /// when it writes over it
    #[arg(long)]
    pub(crate) force: bool,
    /// Return as soon as the spec is stored
    #[arg(long)]
    pub(crate) no_wait: bool,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// A command about one workload.
#[derive(Debug, Args)]
pub(crate) struct NameArgs {
    /// The workload's name
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// What the new workload is called, and where its project goes.
#[derive(Debug, Args)]
#[command(after_help = "\
The project is in Rust; other languages need the agent's WIT alone, which is in its vendor/wit.

Example:
  selvedge new loot && cd loot && cargo test")]
pub(crate) struct NewArgs {
    /// The name of the project and of the workload
    pub(crate) name: String,
    /// The folder to make [default: the name]
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Print exactly one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

/// Where and how to run a component.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  selvedge deploy combat.wasm --name combat --replicas 2 --affinity region=eu --memory 64MiB --deadline 5ms
  selvedge deploy anti-cheat.wasm --name anti-cheat --config speed-max=7.5
  selvedge deploy asset-preload.wasm --name asset-preload --everywhere --config assets=@assets.txt")]
pub(crate) struct DeployArgs {
    /// The component, a .wasm file
    #[arg(value_name = "FILE.wasm")]
    pub(crate) file: PathBuf,
    /// The workload's name
    #[arg(long)]
    pub(crate) name: String,
    /// How many instances, each on another node [default: 1]
    #[arg(long, value_name = "N", conflicts_with = "everywhere")]
    pub(crate) replicas: Option<u16>,
    /// One instance on every node that meets the constraints
    #[arg(long)]
    pub(crate) everywhere: bool,
    /// Only on nodes of this region
    #[arg(long)]
    pub(crate) region: Option<String>,
    /// Only on nodes with this capability; may be repeated
    #[arg(long, value_name = "CAP", num_args = 1..)]
    pub(crate) require: Vec<String>,
    /// A preference, such as region=eu, node=NAME, capability=gpu, label:tier=edge or workload=NAME, with ! in front for its
    /// opposite; may be repeated
    #[arg(long, value_name = "RULE", num_args = 1..)]
    pub(crate) affinity: Vec<String>,
    #[command(flatten)]
    pub(crate) placing: PlacingArgs,
    /// Memory of one instance, as in 64MiB
    #[arg(long, value_name = "SIZE")]
    pub(crate) memory: Option<String>,
    /// Longest time that one call may take, as in 5ms
    #[arg(long, value_name = "DURATION")]
    pub(crate) deadline: Option<String>,
    /// Only on nodes within this round trip of the callers, as in 20ms
    #[arg(long, value_name = "DURATION")]
    pub(crate) max_latency: Option<String>,
    /// What the workload reads under this name through its import `config`; @FILE is what the file holds. May be repeated.
    /// What an earlier deployment set and this one does not is gone
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) config: Vec<String>,
    /// What a call of FUNCTION is answered that runs out of time or finds no place, instead of an error: JSON of the function's
    /// type. May be repeated.
    #[arg(long, value_name = "FUNCTION=JSON")]
    pub(crate) on_overrun: Vec<String>,
    /// How long the first instance of a new version serves before the others follow, as in 10s; 0s: all change at once, and nothing is
    /// compared [default: 5s]
    #[arg(long, value_name = "DURATION")]
    pub(crate) canary: Option<String>,
    /// The version of what the workload keeps in the shared state: the old version stops on all nodes that are in sight before one of
    /// another starts, and an older one is refused [default: 0]
    #[arg(long, value_name = "N")]
    pub(crate) state_schema: Option<u32>,
    /// Deploy it although callers lose functions of the version before, although no host is left that may run it, or although its
    /// `state_schema` is older than the state: then it may misread what a newer version has written, and what it cannot read is lost
    /// when it writes over it
    #[arg(long)]
    pub(crate) force: bool,
    /// Return as soon as the spec is stored
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// Show what this would come to, and change nothing: where it would run and why, what would start and stop
    #[arg(long, conflicts_with = "no_wait")]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// Where exactly, and how calls find it; `docs/placement.md` says more.
#[derive(Debug, Args)]
pub(crate) struct PlacingArgs {
    /// A rule like those of --affinity that has to hold; may be repeated
    #[arg(long, value_name = "RULE", num_args = 1..)]
    pub(crate) must: Vec<String>,
    /// So many instances in this region, and none in regions that are not named; may be repeated
    #[arg(long, value_name = "REGION=N", conflicts_with_all = ["replicas", "everywhere"])]
    pub(crate) per_region: Vec<String>,
    /// No region has two instances more than another that could take one
    #[arg(long, conflicts_with_all = ["per_region", "everywhere"])]
    pub(crate) spread_regions: bool,
    /// How calls choose among the instances: local-first (the default), round-robin, session and others
    #[arg(long, value_name = "STRATEGY")]
    pub(crate) routing: Option<String>,
    /// What a node does that is cut off from others: keep-both (the default), "stop-after 30s" or "home-only REGION"
    #[arg(long, value_name = "POLICY")]
    pub(crate) partition: Option<String>,
}

/// Which function to call, and with what.
#[derive(Debug, Args)]
#[command(after_help = "\
Each argument is one parameter, written as JSON; what is no JSON and does not begin with [ { or \" is text.
A single - reads all arguments from stdin: a JSON array in order, or an object by parameter name.

Examples:
  selvedge call prediction predict '[{\"player\":1,\"samples\":[{\"t_ms\":0,\"x\":0,\"y\":0,\"z\":0}],\"horizon_ms\":100}]'
  echo '{\"tracks\":[]}' | selvedge call prediction predict -
  selvedge call prediction predict --stream < one-call-a-line.jsonl")]
pub(crate) struct CallArgs {
    /// The workload's name
    pub(crate) name: String,
    /// The function, as the component exports it
    pub(crate) function: String,
    /// The arguments, or - for stdin
    #[arg(value_name = "JSON", allow_negative_numbers = true)]
    pub(crate) arguments: Vec<String>,
    /// A word that makes repeating this command harmless: what the call has written is not written again
    #[arg(long, value_name = "KEY")]
    pub(crate) idempotency_key: Option<String>,
    /// How long the call may take, queues and network included, as in 20ms; the workload's own deadline holds too
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(crate) deadline: Option<Duration>,
    /// Calls that belong together: the same text goes to the same instance, if the workload is routed by session
    #[arg(long, value_name = "TEXT")]
    pub(crate) session: Option<String>,
    /// The region that the caller is in, for placement
    #[arg(long)]
    pub(crate) region: Option<String>,
    /// Write all that went into the call and came out of it to this file, for `selvedge replay`
    #[arg(long, value_name = "FILE")]
    pub(crate) record: Option<PathBuf>,
    /// Call once for each line of stdin, which holds the arguments, over one connection; print an answer for each as it comes, with
    /// the number of its line as `id`
    #[arg(long, conflicts_with_all = ["arguments", "idempotency_key", "record"])]
    pub(crate) stream: bool,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// Which recorded call to run again, and with what.
#[derive(Debug, Args)]
#[command(after_help = "\
The exit code is 0 when result and writes are the same to the last bit, and 1 when they are not.
Without --wasm the component is taken from the data directory of an agent on this host, or from those that ship with it.")]
pub(crate) struct ReplayArgs {
    /// The file that `selvedge call --record` wrote
    #[arg(value_name = "FILE")]
    pub(crate) recording: PathBuf,
    /// The component, if it is not in the data directory
    #[arg(long, value_name = "FILE")]
    pub(crate) wasm: Option<PathBuf>,
    /// The data directory of an agent
    #[arg(long, value_name = "DIR", env = "SELVEDGE_DATA_DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Print exactly one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}
