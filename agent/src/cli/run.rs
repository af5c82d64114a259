//! `run` and `check-config`: the agent in the foreground, and its configuration.
//!
//! Owns what ends the agent: SIGTERM, SIGINT, or the end of stdin; and what has it read its configuration again: SIGHUP. Builds nothing of
//! the agent itself. The invariant: each of the three asks for the same orderly shutdown, and a second signal does not wait for it.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::admission::join_first;
use super::args::{CheckConfigArgs, RunArgs};
use super::error::{CliError, HINT};
use super::output::print_either;
use crate::agent::AgentError;
use crate::config::{Config, ConfigError, Overrides};
use crate::store::StoreError;
use crate::supervisor::Supervisor;

/// The program that runs, also when its file was replaced meanwhile: an agent's compiler is of its own version.
const THIS_PROGRAM: &str = "/proc/self/exe";

/// Runs the agent until it is told to stop.
///
/// # Errors
/// The configuration is wrong, or the agent could not start or failed.
pub(crate) async fn run(args: RunArgs) -> Result<(), CliError> {
    let exit_with_stdin = args.exit_with_stdin;
    let (file, overrides) = overrides(args);
    let shutdown = CancellationToken::new();
    stop_on_signals(&shutdown)?;
    if exit_with_stdin {
        stop_with_stdin(&shutdown)?;
    }
    let supervisor = Supervisor::of_environment();
    let ended = serve(file, overrides, shutdown, supervisor.clone()).await;
    ended.map_err(|Ended { error, errno }| {
        supervisor.failed(&error.to_string(), errno);
        error
    })
}

/// Why the agent ended, and the number of the system's error where there is one behind it.
struct Ended {
    error: CliError,
    errno: Option<i32>,
}

impl From<CliError> for Ended {
    fn from(error: CliError) -> Self {
        Self { error, errno: None }
    }
}

async fn serve(
    file: Option<PathBuf>,
    overrides: Overrides,
    shutdown: CancellationToken,
    supervisor: Supervisor,
) -> Result<(), Ended> {
    join_first(file.as_deref(), overrides.clone(), &shutdown, &supervisor).await?;
    if shutdown.is_cancelled() {
        return Ok(());
    }
    let mut config = Config::load(file.as_deref(), overrides.clone()).map_err(|error| no_configuration(&error))?;
    config.wasm.compiler = Some(PathBuf::from(THIS_PROGRAM));
    reload_on_signal(supervisor.clone(), file, overrides, config.clone())?;
    let ended = crate::agent::run_supervised(config, shutdown, supervisor).await;
    ended.map_err(|error| {
        let text = format!("{}{HINT}{}", explain(&error), advice(&error));
        Ended { errno: errno(&error), error: CliError::Failed(text) }
    })
}

/// What to do about an agent that did not start. A service may write where its unit says, whatever its configuration does.
fn advice(error: &AgentError) -> &'static str {
    match error {
        AgentError::Store(StoreError::Directory { source, .. })
            if is_service()
                && [ErrorKind::ReadOnlyFilesystem, ErrorKind::PermissionDenied].contains(&source.kind()) =>
        {
            "the unit has the service write to /var/lib/selvedge only; another folder has to be the service's own, and to be named in a drop-in with ReadWritePaths= (docs/package.md)"
        }
        _ => "`selvedge doctor` looks for what is wrong with this installation",
    }
}

/// Whether systemd has started this (systemd.exec(5), `INVOCATION_ID`).
fn is_service() -> bool {
    std::env::var_os("INVOCATION_ID").is_some()
}

/// A configuration that is wrong is for somebody to mend, and a supervisor is not to try again; where the system has failed, it is.
pub(super) fn no_configuration(error: &ConfigError) -> CliError {
    let text = explain(error);
    if error.may_pass() { CliError::Failed(text) } else { CliError::Unusable(text) }
}

/// What the system said, if it was the system.
fn errno(error: &(dyn std::error::Error + 'static)) -> Option<i32> {
    let mut causes = std::iter::successors(Some(error), |cause| cause.source());
    causes.find_map(|cause| cause.downcast_ref::<std::io::Error>()?.raw_os_error())
}

/// Says whether a configuration file is valid.
///
/// # Errors
/// It is not; the text says where and why.
pub(crate) fn check_config(args: &CheckConfigArgs) -> Result<(), CliError> {
    let path: &Path = &args.file;
    // The error names the file by itself.
    Config::load(Some(path), Overrides::default()).map_err(|error| CliError::Failed(explain(&error)))?;
    let json = json!({"ok": true, "file": path.display().to_string()});
    print_either(args.json, &json, |_| format!("{} is valid", path.display()))
}

fn overrides(args: RunArgs) -> (Option<PathBuf>, Overrides) {
    // A flag that was not given leaves the file's list alone; clap cannot tell an empty list from none.
    let given = |list: Vec<String>| Some(list).filter(|list| !list.is_empty());
    let RunArgs {
        config,
        data_dir,
        listen,
        bootstrap,
        advertise,
        api,
        name,
        region,
        token_file,
        log_format,
        log_level,
        exit_with_stdin: _,
    } = args;
    let overrides = Overrides {
        name,
        region,
        data_dir,
        listen: given(listen),
        bootstrap: given(bootstrap),
        advertise: given(advertise),
        api: given(api),
        token_file,
        log_format,
        log_level,
    };
    (config, overrides)
}

/// An error with its causes, unless it already tells them.
pub(super) fn explain(error: &dyn std::error::Error) -> String {
    std::iter::successors(error.source(), |cause| cause.source()).fold(error.to_string(), |text, cause| {
        let cause = cause.to_string();
        if text.contains(&cause) { text } else { format!("{text}: {cause}") }
    })
}

fn stop_on_signals(shutdown: &CancellationToken) -> Result<(), CliError> {
    let cannot = |error: std::io::Error| CliError::Failed(format!("cannot watch for signals: {error}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(cannot)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot)?;
    let shutdown = shutdown.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if shutdown.is_cancelled() {
                tracing::warn!("asked to stop a second time: leaving at once");
                // What was acknowledged as durable is on the disk already; nothing else is promised.
                std::process::exit(i32::from(super::error::EXIT_INTERRUPTED));
            }
            shutdown.cancel();
        }
    });
    Ok(())
}

/// SIGHUP has the configuration read again. What cannot change in a running agent is named, and nothing of a file that is wrong counts.
fn reload_on_signal(
    supervisor: Supervisor,
    file: Option<PathBuf>,
    overrides: Overrides,
    mut running: Config,
) -> Result<(), CliError> {
    let hangups = signal(SignalKind::hangup());
    let mut hangups = hangups.map_err(|error| CliError::Failed(format!("cannot watch for signals: {error}")))?;
    tokio::spawn(async move {
        while hangups.recv().await.is_some() {
            supervisor.reload(|| match Config::load(file.as_deref(), overrides.clone()) {
                Ok(next) => reload(&mut running, &next),
                Err(error) => {
                    let error = explain(&error);
                    tracing::error!(error, "the configuration cannot be read, and nothing of it was changed");
                }
            });
        }
    });
    Ok(())
}

fn reload(running: &mut Config, next: &Config) {
    let later = crate::agent::reload(running, next);
    if later.is_empty() {
        tracing::info!("the configuration was read again");
    } else {
        let sections = later.join(", ");
        tracing::warn!(sections, "the configuration was read again; these sections count from the next start on");
    }
}

/// A thread, since a read of stdin cannot be cancelled and must not keep the runtime from ending.
fn stop_with_stdin(shutdown: &CancellationToken) -> Result<(), CliError> {
    let shutdown = shutdown.clone();
    let watch = move || {
        // An error ends the watch like the end of the input does: whoever held the other side is gone.
        drop(std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink()));
        shutdown.cancel();
    };
    let spawned = std::thread::Builder::new().name("stdin".to_owned()).spawn(watch);
    spawned.map(drop).map_err(|error| CliError::Failed(format!("cannot watch stdin: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_reaches_the_configuration() {
        let list = |text: &str| vec![text.to_owned()];
        let args = RunArgs {
            config: Some("c".into()),
            data_dir: Some("d".into()),
            listen: list("l"),
            bootstrap: list("b"),
            advertise: list("a"),
            api: list("p"),
            name: Some("n".into()),
            region: Some("r".into()),
            token_file: Some("t".into()),
            log_format: Some("json".into()),
            log_level: Some("debug".into()),
            exit_with_stdin: true,
        };
        let expect = Overrides {
            name: Some("n".into()),
            region: Some("r".into()),
            data_dir: Some("d".into()),
            listen: Some(list("l")),
            bootstrap: Some(list("b")),
            advertise: Some(list("a")),
            api: Some(list("p")),
            token_file: Some("t".into()),
            log_format: Some("json".into()),
            log_level: Some("debug".into()),
        };
        assert_eq!(overrides(args), (Some("c".into()), expect));
        assert_eq!(overrides(RunArgs::default()), (None, Overrides::default()));
    }

    #[test]
    fn causes_are_told_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("outer")]
        struct Outer(#[source] std::io::Error);
        assert_eq!(explain(&Outer(std::io::Error::other("inner"))), "outer: inner");
    }
}
