//! An installed agent by itself: how soon it serves when it is started again, what it takes while nobody asks, and what a browser loads.
//!
//! It is the binary that users run, as a process of its own: the one beside this executable, or the one that `SELVEDGE_BIN` names.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use hyper::Method;
use selvedge::shipped::shipped;
use serde_json::{Value, json};

use crate::calls::{Http, client, deploy, door};
use crate::report::{Goal, Row};
use crate::sample::Spread;

const NAME: &str = "start";

/// Starts that count; one before them warms up.
const STARTS: usize = 8;

/// How long the five workloads may take to be compiled, and a start to be heard of.
const PATIENCE: Duration = Duration::from_secs(90);

/// After a start, until what it began has ended.
const SETTLE: Duration = Duration::from_secs(5);

/// For how long nobody asks the agent for anything.
const QUIET: Duration = Duration::from_secs(30);

/// Ticks of `/proc/PID/stat` in a second: the kernel's `USER_HZ`, the same on every machine that agents run on.
const TICKS_PER_SECOND: f64 = 100.0;

const MIB: f64 = 1024.0 * 1024.0;

pub(crate) fn run(dir: &Path) -> Result<Vec<Row>> {
    let folder = tempfile::Builder::new().prefix("selvedge-bench-").tempdir_in(dir)?;
    let ground = Ground::new(folder.path())?;
    let agent = ground.start()?.0;
    for (name, wasm) in shipped() {
        deploy(&ground.data_dir, name, &wasm, json!({"replicas": 1}))?;
    }
    ground.await_workloads()?;
    agent.stop()?;
    let mut took = Vec::new();
    for round in 0..=STARTS {
        let (agent, ready) = ground.start()?;
        if round > 0 {
            took.push(ready.as_secs_f64() * 1e3);
        }
        ground.await_workloads()?;
        agent.stop()?;
    }
    let agent = ground.start()?.0;
    let page = ground.page_bytes()?;
    std::thread::sleep(SETTLE);
    let (before, begun) = (agent.cpu_s()?, Instant::now());
    std::thread::sleep(QUIET);
    let percent = (agent.cpu_s()? - before) / begun.elapsed().as_secs_f64() * 100.0;
    let (resident, own) = (agent.status_bytes("VmRSS:")? / MIB, agent.status_bytes("RssAnon:")? / MIB);
    agent.stop()?;
    let exact = |what: &str, figure, unit| Row::new(NAME, what, Spread::exact(figure), unit);
    Ok(vec![
        Row::new(NAME, "from the start until READY, five workloads cached", Spread::of(&took), "ms")
            .goal(Goal::AtMost(300.0))
            .note(format!("{STARTS} starts")),
        exact("resident memory of an idle agent with five workloads", resident, "MiB")
            .goal(Goal::AtMost(40.0))
            .note(format!("{own:.1} MiB of it are its own, the rest is mapped from files")),
        exact("CPU of it", percent, "%").goal(Goal::AtMost(0.5)).note(format!("over {} s", QUIET.as_secs())),
        exact("the status page, all that is loaded before it shows", page / 1024.0, "KiB").goal(Goal::AtMost(100.0)),
    ])
}

/// Where agents are started, one after the other.
struct Ground {
    binary: PathBuf,
    data_dir: PathBuf,
    socket: PathBuf,
    notices: UnixDatagram,
}

impl Ground {
    fn new(folder: &Path) -> Result<Self> {
        let beside = std::env::current_exe()?.with_file_name("selvedge");
        let binary = std::env::var_os("SELVEDGE_BIN").map_or(beside, PathBuf::from);
        ensure!(
            binary.exists(),
            "{} is not there: cargo build --release -p selvedge, and SELVEDGE_BIN=target/release/selvedge",
            binary.display()
        );
        let (data_dir, socket) = (folder.join("data"), folder.join("notify"));
        let notices = UnixDatagram::bind(&socket)?;
        notices.set_read_timeout(Some(PATIENCE))?;
        let founded = Command::new(&binary).args(["init", "--name", "idle", "--data-dir"]).arg(&data_dir).output()?;
        ensure!(founded.status.success(), "{}", String::from_utf8_lossy(&founded.stderr));
        Ok(Self { binary, data_dir, socket, notices })
    }

    /// Starts an agent, and tells how long it took until it said that it serves.
    fn start(&self) -> Result<(Agent, Duration)> {
        let begun = Instant::now();
        let child = Command::new(&self.binary)
            .args(["run", "--listen", "127.0.0.1:0", "--api", "127.0.0.1:0", "--log-level", "error", "--data-dir"])
            .arg(&self.data_dir)
            .env("NOTIFY_SOCKET", &self.socket)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()?;
        let agent = Agent(child);
        let mut notice = [0; 4_096];
        loop {
            let length = self.notices.recv(&mut notice).context("it does not say that it serves")?;
            if notice[..length].starts_with(b"READY=1") {
                return Ok((agent, begun.elapsed()));
            }
        }
    }

    fn ask(&self, path: &str) -> Result<Bytes> {
        let (api, token) = door(&self.data_dir)?;
        client()?.block_on(async { Http::open(api, &token).await?.ask(Method::GET, path, Bytes::new()).await })
    }

    /// Waits until all five run.
    fn await_workloads(&self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let is_ready = |workload: &Value| workload["instances"][0]["phase"] == "ready";
        loop {
            let status: Value = serde_json::from_slice(&self.ask("/v1/status")?)?;
            let workloads = status["workloads"].as_array().map_or(&[][..], Vec::as_slice);
            if workloads.len() == shipped().len() && workloads.iter().all(is_ready) {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "not all workloads run: {workloads:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The page asks for nothing but what it shows.
    fn page_bytes(&self) -> Result<f64> {
        Ok(self.ask("/")?.len() as f64)
    }
}

/// A running agent. Killed when dropped.
struct Agent(Child);

impl Agent {
    /// Processor time so far.
    fn cpu_s(&self) -> Result<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0.id()))?;
        // The name in brackets may hold blanks; user and system time are the 14th and 15th field.
        let (_, behind) = stat.rsplit_once(") ").context("a name in brackets")?;
        let ticks: Vec<f64> = behind.split(' ').skip(11).take(2).filter_map(|field| field.parse().ok()).collect();
        ensure!(ticks.len() == 2, "no times in {stat}");
        Ok(ticks.iter().sum::<f64>() / TICKS_PER_SECOND)
    }

    fn status_bytes(&self, name: &str) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(name)).context("a line of its status")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? * 1024.0)
    }

    /// Has it end in good order.
    fn stop(mut self) -> Result<()> {
        ensure!(Command::new("kill").arg(self.0.id().to_string()).status()?.success(), "it cannot be told to stop");
        let deadline = Instant::now() + PATIENCE;
        while self.0.try_wait()?.is_none() {
            if Instant::now() > deadline {
                bail!("it does not stop");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Where it has ended already there is nothing to do.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
