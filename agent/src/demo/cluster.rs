//! The demo's agents: real processes of this very executable, with their data in a temporary folder.
//!
//! Owns the processes and the folder from start to end; knows nothing of workloads or traffic. The invariant: no agent
//! outlives the demo. Each holds a pipe to us as its stdin and shuts down when that closes, which the operating system does
//! even if we are killed; whoever ignores it is killed by the handle of the process, never by a number.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::Instant;

use crate::agent::{FoundingError, enroll, found};
use crate::cli::{ApiAddr, TOKEN_FILE_NAME, read_token};
use crate::runtime_info::RuntimeInfo;

/// Time for an agent to serve after its start: it makes keys, opens a store, and shares two cores with the others.
const START_PATIENCE: Duration = Duration::from_secs(30);
/// Time for an agent to shut down in good order.
const STOP_PATIENCE: Duration = Duration::from_secs(10);
/// How often a starting agent is looked at.
const POLL_EVERY: Duration = Duration::from_millis(10);
/// Bytes at the end of an agent's log that are shown when it fails.
const LOG_TAIL_BYTES: u64 = 2_000;
/// How long the certificates of the demo's agents hold, in seconds: longer than any demo.
const CERTIFICATE_S: u64 = 86_400;
/// The region that the demo's agents say they are in.
const REGION: &str = "demo";
/// Variables with this prefix configure agents; ours must not reach the demo's.
const ENV_PREFIX: &str = "SELVEDGE_";

/// Why the agents do not run.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClusterError {
    /// The temporary folder or a file in it could not be made.
    #[error("cannot prepare the demo's folder: {0}")]
    Folder(#[source] io::Error),
    /// An agent could not be made a member.
    #[error("cannot make an agent a member of the demo's cluster: {0}")]
    Member(#[from] FoundingError),
    /// The executable could not be started.
    #[error("cannot start {name}: {source}")]
    Spawn {
        /// Which agent.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// An agent ended by itself.
    #[error("{name} ended by itself ({status}); the end of its log:\n{log}")]
    Ended {
        /// Which agent.
        name: String,
        /// How.
        status: String,
        /// The last lines that it wrote.
        log: String,
    },
    /// An agent runs but does not serve.
    #[error("{name} does not serve after {} s; the end of its log:\n{log}", START_PATIENCE.as_secs())]
    Silent {
        /// Which agent.
        name: String,
        /// The last lines that it wrote.
        log: String,
    },
    /// An agent serves no API that we can use.
    #[error("{name} is up, but {why}")]
    Unusable {
        /// Which agent.
        name: String,
        /// What is missing.
        why: String,
    },
}

/// One agent that serves.
pub(super) struct Agent {
    /// Its name: `agent-1` and so on.
    pub(super) name: String,
    /// Where its API is.
    pub(super) api: ApiAddr,
    /// What changes need.
    pub(super) token: String,
}

/// All agents of a demo.
pub(super) struct Cluster {
    folder: TempDir,
    executable: PathBuf,
    processes: Vec<Process>,
}

struct Process {
    name: String,
    data_dir: PathBuf,
    log: PathBuf,
    child: Child,
}

impl Cluster {
    /// An empty cluster of agents run by `executable`.
    pub(super) fn prepare(executable: PathBuf) -> Result<Self, ClusterError> {
        let folder = tempfile::Builder::new().prefix("selvedge-demo-").tempdir().map_err(ClusterError::Folder)?;
        Ok(Self { folder, executable, processes: Vec::new() })
    }

    /// Starts `count` agents that know the first one, and waits until all of them serve. May be dropped half-way; what was
    /// started until then is stopped by [`Cluster::stop`].
    pub(super) async fn start(&mut self, count: usize) -> Result<Vec<Agent>, ClusterError> {
        self.spawn(1, &[])?;
        let (first, listen) = self.processes[0].serving().await?;
        for number in 2..=count {
            self.spawn(number, &listen)?;
        }
        let mut agents = vec![first];
        for process in self.processes.iter_mut().skip(1) {
            agents.push(process.serving().await?.0);
        }
        Ok(agents)
    }

    /// Says which agent has ended although nobody asked it to.
    pub(super) fn check(&mut self) -> Result<(), ClusterError> {
        self.processes.iter_mut().try_for_each(Process::check)
    }

    /// Ends every agent and removes the folder, or with `keep` says where it is. Returns what did not go in good order.
    pub(super) async fn stop(self, keep: bool) -> (Vec<String>, Option<PathBuf>) {
        let ends = futures::future::join_all(self.processes.into_iter().map(Process::stop)).await;
        let mut complaints: Vec<_> = ends.into_iter().flatten().collect();
        if keep {
            return (complaints, Some(self.folder.keep()));
        }
        let path = self.folder.path().to_owned();
        if let Err(error) = self.folder.close() {
            complaints.push(format!("{} could not be removed: {error}", path.display()));
        }
        (complaints, None)
    }

    fn spawn(&mut self, number: usize, bootstrap: &[String]) -> Result<(), ClusterError> {
        let name = format!("agent-{number}");
        let data_dir = self.folder.path().join(&name);
        let log = self.folder.path().join(format!("{name}.log"));
        let named = (name.clone(), REGION.to_owned());
        // The first agent is the authority; the others are enrolled beside it, as they all lie on one disk.
        if self.processes.is_empty() {
            found(&data_dir, "demo", named, CERTIFICATE_S, false)?;
        } else {
            enroll(&self.processes[0].data_dir, &data_dir, named, CERTIFICATE_S)?;
        }
        let out = File::create(&log).map_err(ClusterError::Folder)?;
        let err = out.try_clone().map_err(ClusterError::Folder)?;
        let mut command = Command::new(&self.executable);
        command.args(["run", "--exit-with-stdin", "--listen", "127.0.0.1:0", "--api", "127.0.0.1:0", "--name", &name]);
        command.arg("--data-dir").arg(&data_dir);
        for address in bootstrap {
            command.args(["--bootstrap", address]);
        }
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with(ENV_PREFIX) {
                command.env_remove(variable);
            }
        }
        // A group of its own: Ctrl-C reaches the demo alone, and the demo ends its agents in order.
        command.process_group(0).kill_on_drop(true).stdin(Stdio::piped()).stdout(out).stderr(err);
        let child = command.spawn().map_err(|source| ClusterError::Spawn { name: name.clone(), source })?;
        self.processes.push(Process { name, data_dir, log, child });
        Ok(())
    }
}

impl Process {
    /// Waits until the agent serves; returns it with the addresses at which others reach it.
    async fn serving(&mut self) -> Result<(Agent, Vec<String>), ClusterError> {
        let deadline = Instant::now() + START_PATIENCE;
        loop {
            // A file that cannot be read yet is told by the deadline, with the agent's own log.
            match RuntimeInfo::read(&self.data_dir) {
                Ok(Some(info)) if Some(info.pid) == self.child.id() => return self.usable(info),
                Ok(_) | Err(_) => {}
            }
            self.check()?;
            if Instant::now() >= deadline {
                return Err(ClusterError::Silent { name: self.name.clone(), log: tail(&self.log) });
            }
            tokio::time::sleep(POLL_EVERY).await;
        }
    }

    fn usable(&self, info: RuntimeInfo) -> Result<(Agent, Vec<String>), ClusterError> {
        let unusable = |why: String| ClusterError::Unusable { name: self.name.clone(), why };
        let http = info.api.iter().find(|address| address.starts_with("http://"));
        let http = http.ok_or_else(|| unusable("it serves no API over TCP".to_owned()))?;
        let api = http.parse().map_err(|error| unusable(format!("its address {http:?} is none: {error}")))?;
        let token = read_token(&self.data_dir.join(TOKEN_FILE_NAME));
        let token = token.map_err(|error| unusable(format!("its token cannot be used: {error}")))?;
        Ok((Agent { name: self.name.clone(), api, token }, info.listen))
    }

    fn check(&mut self) -> Result<(), ClusterError> {
        // That the state of our own child cannot be read does not happen; if it does, the deadlines tell.
        match self.child.try_wait() {
            Ok(Some(status)) => {
                Err(ClusterError::Ended { name: self.name.clone(), status: status.to_string(), log: tail(&self.log) })
            }
            Ok(None) | Err(_) => Ok(()),
        }
    }

    async fn stop(mut self) -> Option<String> {
        drop(self.child.stdin.take());
        match tokio::time::timeout(STOP_PATIENCE, self.child.wait()).await {
            Ok(Ok(status)) if status.success() => None,
            Ok(Ok(status)) => {
                Some(format!("{} did not end well ({status}); the end of its log:\n{}", self.name, tail(&self.log)))
            }
            Ok(Err(error)) => Some(format!("{} cannot be waited for: {error}", self.name)),
            Err(_) => {
                let killed = self.child.kill().await.err().map(|error| format!(" ({error})")).unwrap_or_default();
                let patience = STOP_PATIENCE.as_secs();
                Some(format!(
                    "{} did not end within {patience} s and was killed{killed}; the end of its log:\n{}",
                    self.name,
                    tail(&self.log)
                ))
            }
        }
    }
}

/// The end of a log, from the beginning of a line.
fn tail(path: &Path) -> String {
    let read = || -> io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let skip = file.metadata()?.len().saturating_sub(LOG_TAIL_BYTES);
        file.seek(SeekFrom::Start(skip))?;
        let mut bytes = Vec::new();
        file.take(LOG_TAIL_BYTES).read_to_end(&mut bytes)?;
        if skip > 0 {
            let line = bytes.iter().position(|&byte| byte == b'\n').map_or(0, |end| end + 1);
            bytes.drain(..line);
        }
        Ok(bytes)
    };
    match read() {
        Ok(bytes) if bytes.is_empty() => "(it is empty)".to_owned(),
        Ok(bytes) => String::from_utf8_lossy(&bytes).trim_end().to_owned(),
        Err(error) => format!("({} cannot be read: {error})", path.display()),
    }
}

#[cfg(test)]
mod tests;
