//! Our agents, whole, each on a runtime of its own in this process: with store, guests, API and gossip, as users run them.
//!
//! They are members of one cluster, by certificates. Dropped, they stop in good order.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use selvedge::agent::{self, AgentError, Inside};
use selvedge::config::{Config, Overrides};
use selvedge_sync::change::Change;
use selvedge_sync::draft::ReadState as _;
use selvedge_sync::key::{Key, Kind};
use selvedge_sync::scalar::Scalar;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::board::{Board, Clock};
use super::{Wire, number, payload, runtime};

/// How long certificates hold, in seconds: longer than any run.
const CERTIFICATE_S: u64 = 86_400;

/// How long everybody may take to be connected to everybody.
const CONNECT_PATIENCE: Duration = Duration::from_secs(180);

/// The longest that an agent may take to stop.
const STOP_PATIENCE: Duration = Duration::from_secs(30);

/// What is written.
const FIELD: &str = "state";

/// Some agents that are all connected to each other.
pub(crate) struct Agents {
    // First, so that they stop before their folder goes.
    pub(crate) members: Vec<Member>,
    clock: Clock,
    _folder: TempDir,
}

/// One of them.
pub(crate) struct Member {
    pub(crate) inside: Inside,
    runtime: Option<Runtime>,
    stop: CancellationToken,
    ended: Option<JoinHandle<Result<(), AgentError>>>,
}

impl Agents {
    /// Starts `count` agents with their data below `dir`, and waits until all are connected.
    pub(crate) fn start(dir: &Path, count: usize, wire: Wire) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("selvedge-bench-").tempdir_in(dir)?;
        let mut members: Vec<Member> = Vec::new();
        let clock = Clock::new();
        for place in 0..count {
            let data_dir = folder.path().join(place.to_string());
            enter(folder.path(), place)?;
            let contacts = members.first().map_or_else(Vec::new, |first| {
                let known = first.inside.net.listen_addresses();
                known.into_iter().filter(|address| address.contains(wire.word())).collect()
            });
            let member = Member::start(&data_dir, place, contacts)?;
            member.watch(place, clock.board());
            members.push(member);
        }
        let agents = Self { members, clock, _folder: folder };
        agents.await_connected()?;
        let other = agents.members[0].inside.net.peers().into_iter().find(|link| link.transport != wire.word());
        ensure!(count > 2 || other.is_none(), "connected by {other:?}");
        Ok(agents)
    }

    /// Deploys a workload at one of them, with what else its spec says.
    pub(crate) fn deploy(&self, place: usize, name: &str, wasm: &[u8], spec: serde_json::Value) -> Result<()> {
        crate::calls::deploy(&self.data_dir(place), name, wasm, spec).map(drop)
    }

    /// Where the data of one of them lies.
    pub(crate) fn data_dir(&self, place: usize) -> PathBuf {
        self._folder.path().join(place.to_string())
    }

    fn await_connected(&self) -> Result<()> {
        let deadline = Instant::now() + CONNECT_PATIENCE;
        let others = self.members.len() - 1;
        loop {
            let links: Vec<usize> = self.members.iter().map(|member| member.inside.net.peers().len()).collect();
            if links.iter().all(|count| *count == others) {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("not everybody is connected to everybody: {links:?}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Writes at one of them and waits until it is readable at `watchers` others.
    pub(crate) fn once(&self, from: usize, number: u64, watchers: usize) -> Result<Duration> {
        let writer = &self.members[from];
        self.clock.time(number, from, watchers, || writer.write(number, self.clock.board()))
    }

    /// Writes at one of them and waits until the commit is durable there.
    pub(crate) fn durable(&self, at: usize, number: u64) -> Result<Duration> {
        let member = &self.members[at];
        let driver = member.inside.driver.clone();
        let board = self.clock.board();
        self.clock.time(number, at, 1, || {
            let _task = member.runtime().spawn(async move {
                board.begin();
                match driver.commit(vec![change(number)], None, true).await {
                    // What the writer's own reader sees does not count; the disk stands in for a place of its own.
                    Ok(_) => board.seen(usize::MAX, number),
                    Err(error) => eprintln!("a write was refused: {error}"),
                }
            });
        })
    }

    /// Writes at `from` and waits until it is readable at all others.
    pub(crate) fn everywhere(&self, from: usize, number: u64) -> Result<Duration> {
        self.once(from, number, self.members.len() - 1)
    }
}

/// Makes a data directory the `place`th member's of the cluster below `folder`, whose first has the place 0.
pub(crate) fn enter(folder: &Path, place: usize) -> Result<()> {
    let named = (format!("agent-{place}"), "bench".to_owned());
    let (first, own) = (folder.join("0"), folder.join(place.to_string()));
    if place == 0 {
        agent::found(&own, "bench", named, CERTIFICATE_S, false)?;
    } else {
        agent::enroll(&first, &own, named, CERTIFICATE_S)?;
    }
    Ok(())
}

/// How an agent is configured here.
pub(crate) fn config(data_dir: &Path, place: usize, listen: &str, contacts: Vec<String>) -> Result<Config> {
    let overrides = Overrides {
        name: Some(format!("agent-{place}")),
        data_dir: Some(data_dir.to_owned()),
        listen: Some(vec![listen.to_owned()]),
        api: Some(vec!["127.0.0.1:0".to_owned()]),
        bootstrap: Some(contacts),
        log_level: Some("error".to_owned()),
        ..Overrides::default()
    };
    Ok(Config::load(None, overrides)?)
}

impl Member {
    fn start(data_dir: &Path, place: usize, contacts: Vec<String>) -> Result<Self> {
        let config = config(data_dir, place, "127.0.0.1:0", contacts)?;
        let runtime = runtime()?;
        let stop = CancellationToken::new();
        let (sender, running) = std::sync::mpsc::channel();
        let until = stop.clone();
        // The main thread is gone only if it gave up.
        let ended = runtime.spawn(agent::run_with(config, until, move |inside| drop(sender.send(inside))));
        match running.recv() {
            Ok(inside) => Ok(Self { inside, runtime: Some(runtime), stop, ended: Some(ended) }),
            Err(_) => Err(runtime.block_on(ended)?.err().context("an agent ended at once")?.into()),
        }
    }

    /// The runtime that it runs on.
    pub(crate) fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().expect("only a drop takes it away")
    }

    /// Writes a payload, as a call's commit is written.
    fn write(&self, number: u64, board: Board) {
        let driver = self.inside.driver.clone();
        let _task = self.runtime().spawn(async move {
            board.begin();
            if let Err(error) = driver.commit(vec![change(number)], None, false).await {
                eprintln!("a write was refused: {error}");
            }
        });
    }

    /// Notes on the board whatever becomes readable here.
    fn watch(&self, place: usize, board: Board) {
        let (view, mut changes) = (self.inside.view.clone(), self.inside.driver.generation());
        let _task = self.runtime().spawn(async move {
            let key = key();
            let mut last = None;
            loop {
                let here = match view.field(&key, FIELD) {
                    Some(Scalar::Bytes(bytes)) => number(&bytes),
                    _ => None,
                };
                if here != last {
                    last = here;
                    here.into_iter().for_each(|number| board.seen(place, number));
                }
                if changes.changed().await.is_err() {
                    return;
                }
            }
        });
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.stop.cancel();
        if let (Some(runtime), Some(ended)) = (self.runtime.take(), self.ended.take()) {
            let stopped = runtime.block_on(async { tokio::time::timeout(STOP_PATIENCE, ended).await });
            if !matches!(stopped, Ok(Ok(Ok(())))) {
                eprintln!("an agent did not stop well: {stopped:?}");
            }
            runtime.shutdown_timeout(STOP_PATIENCE);
        }
    }
}

/// Everybody writes the same key.
fn key() -> Key {
    Key::new(Kind::LwwMap, "bench").expect("a name within bounds")
}

fn change(number: u64) -> (Key, Change) {
    (key(), Change::Put(vec![(FIELD.to_owned(), Scalar::Bytes(payload(number)))]))
}
