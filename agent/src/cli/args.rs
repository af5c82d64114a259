//! What may stand on the command line.
//!
//! Owns the grammar, the help texts and the environment variables; does nothing. The invariant: only commands that work
//! appear here.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::styling::Styles;
use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

mod bench;
mod doctor;
mod kind;
mod workload;

pub(crate) use self::bench::{BenchArgs, Over};
pub(crate) use self::doctor::DoctorArgs;
pub(crate) use self::workload::{
    CallArgs, DeployArgs, NameArgs, NewArgs, PlacingArgs, ReplayArgs, RollbackArgs, UndeployArgs,
};
use super::address::ApiAddr;
use crate::release;

const AFTER_HELP: &str = "\
Exit codes: 0 done; 1 the agent refused or the thing failed; 2 wrong usage; 3 no agent could be reached; 4 timed out.
Changes over TCP need the agent's token: on the agent's own host it is found, elsewhere put it into SELVEDGE_TOKEN.";

const WORKLOADS_HELP: &str = "\
Columns:
  READY           instances that answer calls, of those that are wanted; while a new version comes, those of the previous one too
  CALLS HERE      calls that came in on this agent since it started, wherever they were answered
  REFUSED         those of them that were the caller's own mistake
  ERRORS          those that failed: trapped, out of time, turned away, nobody in reach
  P50, P99        of the calls of the last 2.5 to 5 minutes, refused ones left out; - without any";

const EXPLAIN_HELP: &str = "\
The first table is the score of each host that may run it, term by term; the second what the terms were made from, and how old that is; the
third who may not, and why. Below stands what the agent that is asked waits for itself. --json is the decision itself.";

/// An agent for edge hosts: replicated state, placed workloads, sandboxed WebAssembly.
#[derive(Debug, Parser)]
#[command(name = "selvedge", version = release::in_words(), arg_required_else_help = true, disable_help_subcommand = true)]
#[command(after_help = AFTER_HELP, styles = Styles::plain())]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start agents on this machine, drive game traffic through them and prove that they converge
    Demo(DemoArgs),
    /// Found a new cluster, with this machine as its first member
    Init(InitArgs),
    /// Make a one-time token with which another machine joins
    Invite(InviteArgs),
    /// List the invitations that have not expired: who they are for, and who has used them
    Invitations(WatchArgs),
    /// Become a member of the cluster that a token is from
    Join(JoinArgs),
    /// Run the agent in the foreground
    Run(Box<RunArgs>),
    /// Show this agent, its peers and its workloads
    Status(WatchArgs),
    /// List every member: region, resources, load
    Nodes(WatchArgs),
    /// List the peers of this agent: round trips and what they lack
    Peers(WatchArgs),
    /// List the deployed workloads and where they run
    #[command(after_help = WORKLOADS_HELP)]
    Workloads(WatchArgs),
    /// Show this agent and its cluster live: health, members, workloads, what happens
    Top(ClientArgs),
    /// Begin a workload: a project that builds, tests and deploys as it stands
    New(NewArgs),
    /// Store a component and run it; waits until it runs or says why it does not
    Deploy(Box<DeployArgs>),
    /// Go back to the version of a workload before this one
    Rollback(RollbackArgs),
    /// Forget a workload's spec, and wait until nobody runs it any more
    Undeploy(UndeployArgs),
    /// Call a function of a workload
    Call(CallArgs),
    /// Run a recorded call again, here and without an agent, and say whether it does the same
    Replay(ReplayArgs),
    /// Call a workload at rising rates, and say how the cluster bears it and where it breaks
    Bench(Box<BenchArgs>),
    /// Show the score of every node for a workload, and why the rejected were rejected
    #[command(after_help = EXPLAIN_HELP)]
    Explain(NameArgs),
    /// Read one object of the shared state
    Get(GetArgs),
    /// Change one object of the shared state
    Put(PutArgs),
    /// Print changes of the shared state as they happen
    Watch(WatchPrefixArgs),
    /// Say whether all agents hold the same state
    Converged(ConvergedArgs),
    /// Say how one member's state stands to this agent's
    Diff(DiffArgs),
    /// Have this agent take no new workloads and hand over what it runs
    Drain(DrainArgs),
    /// Hand over what this agent has, tell the others that it leaves, and stop it
    Leave(LeaveArgs),
    /// Put a member out of the cluster, for ever and everywhere
    Revoke(RevokeArgs),
    /// Put a new authority in the place of the present one; what that has signed holds on
    RotateAuthority(ClientArgs),
    /// Look for what is wrong with this installation, and say how to mend it
    Doctor(DoctorArgs),
    /// Check a configuration file
    CheckConfig(CheckConfigArgs),
    /// Print what a shell needs to complete this command line
    Completions(CompletionsArgs),
    /// Show the version
    Version(VersionArgs),
    /// Write what a package holds beside the binary; `deploy/package` starts this
    #[command(hide = true)]
    PackageFiles(PackageFilesArgs),
    /// Compile the component on stdin to native code on stdout; the agent starts this by itself
    #[command(hide = true)]
    CompileComponent(CompileArgs),
}

/// What a compilation may use.
#[derive(Debug, Args)]
pub(crate) struct CompileArgs {
    /// Address space, in bytes
    #[arg(long)]
    pub(crate) memory_bytes: u64,
    /// CPU time, in seconds
    #[arg(long)]
    pub(crate) cpu_seconds: u64,
}

/// How to reach an agent and how to show its answer.
#[derive(Clone, Debug, Args)]
pub(crate) struct ClientArgs {
    /// The agent's API: http://HOST:PORT or unix:PATH [default: unix:/run/selvedge/api.sock if it exists, else
    /// http://127.0.0.1:7411]
    #[arg(long, value_name = "ADDR", env = "SELVEDGE_API", hide_env_values = true)]
    pub(crate) api: Option<ApiAddr>,
    /// Print exactly one JSON document
    #[arg(long)]
    pub(crate) json: bool,
    /// How long to wait for an answer, as in 500ms or 1m [default: 10s]
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(crate) timeout: Option<Duration>,
}

/// The new cluster.
#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// Where identity, state and components are kept
    #[arg(long, value_name = "DIR", env = "SELVEDGE_DATA_DIR")]
    pub(crate) data_dir: PathBuf,
    /// The cluster's name for people
    #[arg(long, value_name = "NAME", default_value = "selvedge")]
    pub(crate) cluster: String,
    #[command(flatten)]
    pub(crate) node: NamedNodeArgs,
    /// Print exactly one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

/// What this machine is called in its certificate.
#[derive(Debug, Args)]
pub(crate) struct NamedNodeArgs {
    /// This node's name [default: the host's]
    #[arg(long, env = "SELVEDGE_NAME")]
    pub(crate) name: Option<String>,
    /// This node's region [default: default]
    #[arg(long, env = "SELVEDGE_REGION")]
    pub(crate) region: Option<String>,
    /// Bring the state along that an agent without a cluster has left in the data directory
    #[arg(long)]
    pub(crate) keep_state: bool,
}

/// Who is invited, and until when.
#[derive(Debug, Args)]
#[command(after_help = "\
The token is shown once. Whoever has it can join, once, until it expires: treat it as a password.

Examples:
  selvedge invite --ttl 1h
  selvedge invite --cancel ID                                     (as `selvedge invitations` lists it)
  selvedge join selvedge-join-… --data-dir /var/lib/selvedge      (on the other machine)")]
pub(crate) struct InviteArgs {
    /// The name that the new member gets; without it, it names itself
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// The region that the new member gets; without it, it says where it is
    #[arg(long)]
    pub(crate) region: Option<String>,
    /// The new member may run workloads and call them, but what is deployed by its agent is run by nobody
    #[arg(long)]
    pub(crate) no_deploy: bool,
    /// Take back the invitation with this id, which nobody has used, instead of making one
    #[arg(long, value_name = "ID", conflicts_with_all = ["name", "region", "ttl", "no_deploy"])]
    pub(crate) cancel: Option<String>,
    /// How long the token can be used
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = humantime::parse_duration)]
    pub(crate) ttl: Duration,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// With what to join, and as what.
#[derive(Debug, Args)]
pub(crate) struct JoinArgs {
    /// The token that `selvedge invite` printed, or - to read it from stdin
    pub(crate) token: String,
    /// Where identity, state and components are kept
    #[arg(long, value_name = "DIR", env = "SELVEDGE_DATA_DIR")]
    pub(crate) data_dir: PathBuf,
    #[command(flatten)]
    pub(crate) node: NamedNodeArgs,
    /// Print exactly one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

/// Whether to empty an agent.
#[derive(Debug, Args)]
#[command(after_help = "\
A workload is stopped here once others run it. What can run nowhere else goes on here, and comes back here after a restart, until
another host can take it or it is undeployed; `selvedge status` and --wait name it. The order stands until --off, over restarts.

Examples:
  selvedge drain --wait            (exit code 0: nothing runs here any more; 4: something still does, and why)
  selvedge drain --wait 30s
  selvedge drain --off")]
pub(crate) struct DrainArgs {
    /// Take part again
    #[arg(long)]
    pub(crate) off: bool,
    /// Return only when nothing runs here any more, and say meanwhile what still does [default: 5m]
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, num_args = 0..=1, default_missing_value = "5m")]
    #[arg(conflicts_with = "off")]
    pub(crate) wait: Option<Duration>,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// Whether to leave whatever that means for the others.
#[derive(Debug, Args)]
pub(crate) struct LeaveArgs {
    /// Leave even if only this host holds the cluster's authority key, so that while it is away nobody can invite, renew or revoke; or if
    /// a workload would end, for no other host may take it over
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// Who is put out.
#[derive(Debug, Args)]
pub(crate) struct RevokeArgs {
    /// The member's id, the beginning or end of that as tables show it, or its name
    pub(crate) node: String,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// A table that may be redrawn.
#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    #[command(flatten)]
    pub(crate) client: ClientArgs,
    /// Show it again every second until interrupted; with --json, one document a line
    #[arg(long)]
    pub(crate) watch: bool,
}

/// Which object to read.
#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    /// type/name, as in gcounter/kills; types are gcounter, pncounter, gset, orset and lwwmap
    pub(crate) key: String,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// Which object to change, and how.
#[derive(Debug, Args)]
#[command(after_help = "\
Operations:
  gcounter/NAME   increment N
  pncounter/NAME  increment N | decrement N
  gset/NAME       add VALUE…
  orset/NAME      add VALUE… | remove VALUE…
  lwwmap/NAME     put FIELD=VALUE… | remove FIELD…

A value is JSON if it parses as JSON, and text otherwise: 5 is a number, '\"5\"' and five are text.

Examples:
  selvedge put gcounter/kills increment 5
  selvedge put orset/online add alice bob
  selvedge put lwwmap/player:42 put hp=5 name=x
  selvedge put lwwmap/player:42 remove hp --durable")]
pub(crate) struct PutArgs {
    /// type/name, as in gcounter/kills
    pub(crate) key: String,
    /// What to do with it; see below
    #[arg(required = true, value_name = "OPERATION", allow_negative_numbers = true)]
    pub(crate) operation: Vec<String>,
    /// Return only after the agent has synced the change to its disk
    #[arg(long)]
    pub(crate) durable: bool,
    /// A word that makes repeating this command harmless
    #[arg(long, value_name = "KEY")]
    pub(crate) idempotency_key: Option<String>,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// Which objects to watch.
#[derive(Debug, Args)]
#[command(after_help = "\
Prints one line for each object that changes, with its new value, until interrupted. A connection that breaks is taken up
again where it broke; what could not be kept meanwhile is said on stderr, and with --json as {\"event\":\"reset\",…}.

Examples:
  selvedge watch gcounter/kills
  selvedge watch lwwmap/player: --json
  selvedge watch ''")]
pub(crate) struct WatchPrefixArgs {
    /// How the keys begin, as in gcounter/ki or lwwmap/; '' for all but the agent's own
    pub(crate) prefix: String,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// How long convergence may take.
#[derive(Debug, Args)]
pub(crate) struct ConvergedArgs {
    /// Wait this long for it, as in 10s; without it, answers at once with exit code 0 or 1
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(crate) wait: Option<Duration>,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// With whom to compare.
#[derive(Debug, Args)]
#[command(after_help = "\
The exit code is 0 when both hold the same state, 1 when they do not or when that is not known, and 2 when NODE may mean no other
member, or several. Up to 20 keys are named that were written here and are not known to be there. What is there and not here is counted
only: ask the other way round, at that member.")]
pub(crate) struct DiffArgs {
    /// The member's name, its id, or the beginning or end of that as tables show it
    pub(crate) node: String,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// Which file to check.
#[derive(Debug, Args)]
pub(crate) struct CheckConfigArgs {
    /// The configuration file, TOML
    pub(crate) file: PathBuf,
    /// Print exactly one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

/// For which shell.
#[derive(Debug, Args)]
#[command(after_help = "\
Packages put this where the shell finds it. By hand:
  selvedge completions bash > ~/.local/share/bash-completion/completions/selvedge
  selvedge completions zsh > ~/.zfunc/_selvedge                  (with ~/.zfunc in fpath)
  selvedge completions fish > ~/.config/fish/completions/selvedge.fish")]
pub(crate) struct CompletionsArgs {
    /// The shell
    pub(crate) shell: Shell,
}

/// Where a package is put together.
#[derive(Debug, Args)]
pub(crate) struct PackageFilesArgs {
    /// The root of the package's files; folders are made below it
    #[arg(value_name = "DIR")]
    pub(crate) root: PathBuf,
}

/// How to show the version.
#[derive(Debug, Args)]
pub(crate) struct VersionArgs {
    /// Print exactly one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

/// The agent's settings. Flags win over the environment, which wins over the file.
#[derive(Debug, Default, Args)]
pub(crate) struct RunArgs {
    /// The configuration file, TOML; every key has a default
    #[arg(long, value_name = "FILE", env = "SELVEDGE_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Where identity, state and components are kept
    #[arg(long, value_name = "DIR", env = "SELVEDGE_DATA_DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Where to listen for other agents: HOST:PORT or a multiaddress; may be repeated
    #[arg(long, value_name = "ADDR", env = "SELVEDGE_LISTEN", value_delimiter = ',', num_args = 1..)]
    pub(crate) listen: Vec<String>,
    /// An agent to begin with: HOST:PORT or a multiaddress; may be repeated
    #[arg(long, value_name = "ADDR", env = "SELVEDGE_BOOTSTRAP", value_delimiter = ',', num_args = 1..)]
    pub(crate) bootstrap: Vec<String>,
    /// An address at which others reach this agent, if it is not one that it listens on; may be repeated
    #[arg(long, value_name = "ADDR", env = "SELVEDGE_ADVERTISE", value_delimiter = ',', num_args = 1..)]
    pub(crate) advertise: Vec<String>,
    /// Where to serve the API: HOST:PORT or unix:PATH; may be repeated
    // Not SELVEDGE_API: that one tells the commands whom to ask, and one shell may well have both.
    #[arg(long, value_name = "ADDR", env = "SELVEDGE_API_LISTEN", value_delimiter = ',', num_args = 1..)]
    pub(crate) api: Vec<String>,
    /// This node's name
    #[arg(long, env = "SELVEDGE_NAME")]
    pub(crate) name: Option<String>,
    /// This node's region
    #[arg(long, env = "SELVEDGE_REGION")]
    pub(crate) region: Option<String>,
    /// The file with the token that allows changes over TCP [default: DATA_DIR/api-token]
    #[arg(long, value_name = "FILE", env = "SELVEDGE_TOKEN_FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// text, json or journald
    #[arg(long, value_name = "FORMAT", env = "SELVEDGE_LOG_FORMAT")]
    pub(crate) log_format: Option<String>,
    /// error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL", env = "SELVEDGE_LOG_LEVEL")]
    pub(crate) log_level: Option<String>,
    /// Shut down when stdin closes, so that no agent outlives the program that started it
    #[arg(long, hide = true)]
    pub(crate) exit_with_stdin: bool,
}

/// How large and how long the demo is.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// How many agents to start
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=16))]
    pub(crate) agents: u8,
    /// How long to drive traffic
    #[arg(long, value_name = "S", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub(crate) seconds: u32,
    /// Calls per second through all agents together
    #[arg(long, value_name = "CALLS_PER_SECOND", default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub(crate) rate: u32,
    /// Print the report as exactly one JSON document
    #[arg(long)]
    pub(crate) json: bool,
    /// Keep the agents' data and logs, and say where they are
    #[arg(long)]
    pub(crate) keep: bool,
}

#[cfg(test)]
mod tests;
