//! The command line: what each command asks of an agent, and how it ends.
//!
//! Owns dispatch and exit codes; the grammar is in `args`, each command in a file of its own. The invariant: a command that
//! fails says so on stderr and in its exit code, and one that succeeds says nothing on stderr.

mod address;
mod admission;
mod args;
mod call;
mod client;
pub(crate) mod connection;
mod deploy;
mod diff;
mod drain;
mod error;
#[cfg(test)]
pub(crate) mod fake;
mod membership;
mod near;
mod new;
mod output;
mod owner;
mod package;
mod picture;
mod progress;
mod replay;
mod report;
mod rows;
mod run;
mod state;
mod stream;
mod tables;
pub(crate) mod terminal;
mod token;
pub(crate) mod units;
mod watch;

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory as _, FromArgMatches as _};
use serde_json::json;
use tokio::runtime::{Builder, Runtime};

pub(crate) use self::address::ApiAddr;
pub(crate) use self::args::{BenchArgs, DemoArgs, DoctorArgs, Over};
use self::args::{Cli, ClientArgs, Command, CompileArgs, NameArgs, VersionArgs};
pub(crate) use self::call::{argument, call_path};
pub(crate) use self::client::Client;
pub(crate) use self::connection::{Answer, Ask, AskBody, Connection, segment};
pub(crate) use self::deploy::{Awaited, await_ready, set, store};
use self::error::HINT;
pub(crate) use self::error::{CliError, EXIT_DONE, EXIT_FAILED, EXIT_INTERRUPTED, Problem};
pub(crate) use self::output::{cell, moves, note, pretty, print, printable, short};
use self::picture::Picture;
pub(crate) use self::rows::table;
pub(crate) use self::stream::{Talk, open as open_stream};
pub(crate) use self::tables::{answers, explain as explained, resync, rollout_stage};
pub(crate) use self::token::{TOKEN_FILE_NAME, read_token};
use crate::release;

/// Threads that an agent has at least: a disk that hangs may hold up one of them (`store/hand`).
const THREADS_MIN: usize = 2;

/// How long an agent that has stopped waits for threads that are still at something: one whose disk hangs would never end.
pub(crate) const STRAGGLERS_PATIENCE: Duration = Duration::from_secs(2);

/// Parses the command line, does what it says, and returns the exit code. Wrong usage, `--help` and `--version` end the
/// process here, as clap does.
#[must_use]
pub fn main() -> ExitCode {
    let parsed = Cli::command().try_get_matches_from(words(std::env::args_os())).and_then(|matches| {
        let name = matches.subcommand_name().unwrap_or_default().to_owned();
        Ok((Cli::from_arg_matches(&matches)?, name))
    });
    let (cli, name) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => return refuse(&error),
    };
    let (as_json, is_change) = (cli.command.as_json(), cli.command.is_change());
    let is_logged = matches!(cli.command, Command::Run(_)) && crate::config::stderr_is_the_journal();
    match dispatch(cli.command) {
        Ok(code) => ExitCode::from(code),
        // Whoever reads our output has seen enough, as in `selvedge nodes | head -1`.
        Err(CliError::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::from(EXIT_DONE),
        Err(error) => {
            note(&match (as_json, is_logged) {
                (true, _) => report::json(&error, &name),
                (false, true) => report::entry(&error, &name),
                (false, false) => report::text(&error, &name, is_change),
            });
            ExitCode::from(error.exit_code())
        }
    }
}

/// The command line, where `help COMMAND` is `COMMAND --help`, as people type it who know other programs.
fn words(line: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut words: Vec<OsString> = line.collect();
    if words.get(1).is_some_and(|word| word == "help") {
        words.remove(1);
        words.truncate(2);
        words.push("--help".into());
    }
    words
}

/// Says what is wrong with the command line, to scripts as to people. Help and the version are no errors and go to stdout.
fn refuse(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() || std::env::args_os().all(|argument| argument != "--json") {
        error.exit();
    }
    let text = error.to_string();
    let (message, usage) = text.split_once("\n\n").unwrap_or((&text, ""));
    let message = message.trim_start_matches("error: ").trim();
    let error = CliError::Usage(format!("{message}{HINT}{}", usage.trim()));
    note(&report::json(&error, ""));
    ExitCode::from(error.exit_code())
}

fn dispatch(command: Command) -> Result<u8, CliError> {
    match command {
        Command::Run(args) => {
            let runtime = many_threads()?;
            let ended = runtime.block_on(run::run(*args));
            runtime.shutdown_timeout(STRAGGLERS_PATIENCE);
            ended.map(|()| EXIT_DONE)
        }
        Command::Demo(args) => many_threads()?.block_on(crate::demo::demo(&args)),
        Command::Bench(args) => many_threads()?.block_on(crate::bench::bench(&args)),
        Command::Doctor(args) => many_threads()?.block_on(crate::doctor::doctor(&args)),
        Command::Init(args) => membership::init(&args).map(|()| EXIT_DONE),
        Command::Join(args) => many_threads()?.block_on(membership::join(&args)).map(|()| EXIT_DONE),
        Command::CheckConfig(args) => run::check_config(&args).map(|()| EXIT_DONE),
        Command::New(args) => new::new(&args).map(|()| EXIT_DONE),
        Command::Replay(args) => replay::replay(&args),
        Command::Completions(args) => package::completions(&args).map(|()| EXIT_DONE),
        Command::PackageFiles(args) => package::files(&args).map(|()| EXIT_DONE),
        Command::Version(args) => version(&args).map(|()| EXIT_DONE),
        Command::CompileComponent(args) => Ok(compile(&args)),
        other => one_thread()?.block_on(ask(other)),
    }
}

async fn ask(command: Command) -> Result<u8, CliError> {
    let done = match command {
        Command::Status(args) => picture::show(Picture::Status, &args).await,
        Command::Nodes(args) => picture::show(Picture::Nodes, &args).await,
        Command::Peers(args) => picture::show(Picture::Peers, &args).await,
        Command::Workloads(args) => picture::show(Picture::Workloads, &args).await,
        Command::Invitations(args) => picture::show(Picture::Invitations, &args).await,
        Command::Top(args) => {
            let api = address(&args);
            crate::top::top(api.to_string(), connect(&args), args.json).await
        }
        Command::Invite(args) => membership::invite(&args, &mut connect(&args.client)).await,
        Command::Drain(args) => drain::drain(&args, &mut connect(&args.client)).await,
        Command::Leave(args) => membership::leave(&args, &mut connect(&args.client)).await,
        Command::Revoke(args) => membership::revoke(&args, &mut connect(&args.client)).await,
        Command::RotateAuthority(args) => membership::rotate(&args, &mut connect(&args)).await,
        Command::Deploy(args) => deploy::deploy(&args, &mut connect(&args.client)).await,
        Command::Rollback(args) => deploy::roll_back(&args, &mut connect(&args.client)).await,
        Command::Undeploy(args) => deploy::undeploy(&args, &mut connect(&args.client)).await,
        Command::Call(args) if args.stream => {
            return stream::stream(&args, &address(&args.client), &mut connect(&args.client)).await;
        }
        Command::Call(args) => call::call(&args, &mut connect(&args.client)).await,
        Command::Explain(args) => explain(&args).await,
        Command::Get(args) => state::get(&args, &mut connect(&args.client)).await,
        Command::Put(args) => state::put(&args, &mut connect(&args.client)).await,
        Command::Watch(args) => return watch::watch(&args, address(&args.client)).await,
        Command::Diff(args) => return diff::diff(&args, &mut connect(&args.client)).await,
        Command::Converged(args) => return state::converged(&args, &mut connect(&args.client)).await,
        Command::Run(_)
        | Command::Init(_)
        | Command::Join(_)
        | Command::Demo(_)
        | Command::Bench(_)
        | Command::Doctor(_)
        | Command::CheckConfig(_)
        | Command::New(_)
        | Command::Replay(_)
        | Command::Completions(_)
        | Command::PackageFiles(_)
        | Command::Version(_)
        | Command::CompileComponent(_) => {
            unreachable!("these ask no agent and are dispatched before")
        }
    };
    done.map(|()| EXIT_DONE)
}

async fn explain(args: &NameArgs) -> Result<(), CliError> {
    let path = format!("/v1/workloads/{}/placement", segment(&args.name));
    let json = connect(&args.client).json(Ask::get(path)).await?;
    output::print_either(args.client.json, &json, tables::explain)
}

fn version(args: &VersionArgs) -> Result<(), CliError> {
    let document = json!({"version": release::VERSION, "commit": release::COMMIT});
    output::print_either(args.json, &document, |_| format!("selvedge {}", release::in_words()))
}

fn compile(args: &CompileArgs) -> u8 {
    let (memory_bytes, cpu) = (args.memory_bytes, Duration::from_secs(args.cpu_seconds));
    crate::wasm::serve_compilation(crate::wasm::HelperLimits { memory_bytes, cpu })
}

fn address(args: &ClientArgs) -> ApiAddr {
    args.api.clone().unwrap_or_else(default_api)
}

/// Where the agent is whom nobody named.
pub(crate) fn default_api() -> ApiAddr {
    ApiAddr::default_for_this_host()
}

fn connect(args: &ClientArgs) -> Client {
    client_for(address(args), args.timeout.unwrap_or(client::PATIENCE_DEFAULT))
}

/// A client of the agent at `addr`, with the token of the environment.
pub(crate) fn client_for(addr: ApiAddr, patience: Duration) -> Client {
    let token = std::env::var(client::TOKEN_ENV).ok().filter(|token| !token.is_empty());
    Client::new(addr, patience, token)
}

fn one_thread() -> Result<Runtime, CliError> {
    Builder::new_current_thread().enable_all().build().map_err(|error| no_runtime(&error))
}

fn many_threads() -> Result<Runtime, CliError> {
    let threads = std::thread::available_parallelism().map_or(THREADS_MIN, |cores| cores.get().max(THREADS_MIN));
    Builder::new_multi_thread().worker_threads(threads).enable_all().build().map_err(|error| no_runtime(&error))
}

fn no_runtime(error: &std::io::Error) -> CliError {
    CliError::Failed(format!("the operating system grants no threads or timers: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_is_a_command_too() {
        let check = |line: &[&str], expect: &[&str]| {
            let line = std::iter::once("selvedge").chain(line.iter().copied()).map(OsString::from);
            assert_eq!(words(line)[1..], *expect);
        };
        check(&["help"], &["--help"]);
        check(&["help", "deploy", "x"], &["deploy", "--help"]);
        check(&["get", "help"], &["get", "help"]);
    }
}
