//! Sixteen processes of one kind on a loopback of their own: started, watched and stopped by a leader in the same network namespace.
//!
//! The leader and its members are this very executable, called with `--child`. A member ends when the leader's end of its stdin
//! closes, so that none outlives a run. The kernel counts: processor time and memory by process, bytes by namespace.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use selvedge::agent;
use selvedge::runtime_info::RuntimeInfo;
use selvedge::shipped::shipped;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::field::board::Clock;
use crate::field::{Wire, agents, chit, runtime, swarm};

/// How long a group may take until everybody knows everybody.
const START_PATIENCE: Duration = Duration::from_secs(180);

/// The longest that a question to an agent's API may take.
const ASK_PATIENCE: Duration = Duration::from_secs(5);

/// Between two looks at something that is waited for.
const LOOK: Duration = Duration::from_millis(20);

/// Where a group's members listen, from here on: its loopback is its own, or its ports are.
const PORT: u16 = 24_000;

/// What the members are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    /// Our agents.
    Agent,
    /// Nodes of chitchat with this gossip interval in milliseconds.
    Chitchat(u64),
    /// Swarms of libp2p that ping each other over QUIC, each five seconds.
    Ping,
}

/// What a member is asked to be.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Member {
    pub(crate) kind: Kind,
    pub(crate) place: usize,
    pub(crate) count: usize,
    /// Where its data lies, for an agent.
    pub(crate) dir: PathBuf,
}

/// Is a member until stdin ends.
pub(crate) fn serve_member(member: &Member) -> Result<()> {
    match member.kind {
        Kind::Agent => serve_agent(member),
        Kind::Chitchat(every_ms) => {
            let ports: Vec<u16> = (0..member.count).map(port).collect();
            let node = chit::Node::start(member.place, &ports, Duration::from_millis(every_ms))?;
            node.await_known(member.count)?;
            ready_until_stdin_ends();
            drop(node);
            Ok(())
        }
        Kind::Ping => {
            let listen = |place| swarm::listening(Wire::Quic, port(place));
            let node =
                swarm::Node::start(member.place, listen(member.place), swarm::Speech::Ping, Clock::new().board())?;
            (0..member.place).try_for_each(|other| node.dial(listen(other)))?;
            node.await_connected(member.count - 1)?;
            ready_until_stdin_ends();
            drop(node);
            Ok(())
        }
    }
}

fn serve_agent(member: &Member) -> Result<()> {
    let data_dir = member.dir.join(member.place.to_string());
    let contacts = if member.place == 0 { Vec::new() } else { vec![format!("127.0.0.1:{}", port(0))] };
    let listen = format!("127.0.0.1:{}", port(member.place));
    let config = agents::config(&data_dir, member.place, &listen, contacts)?;
    let stop = CancellationToken::new();
    let runtime = runtime()?;
    let until = stop.clone();
    let ended = runtime.spawn(agent::run(config, until));
    ready_until_stdin_ends();
    stop.cancel();
    Ok(runtime.block_on(ended)??)
}

/// Says that it is there. An agent says so before it is; what it says by itself is waited for then.
fn ready_until_stdin_ends() {
    println!("ready");
    drop(std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink()));
}

fn port(place: usize) -> u16 {
    PORT + u16::try_from(place).unwrap_or_default()
}

/// A group of processes, killed when dropped.
pub(crate) struct Group {
    kind: Kind,
    dir: PathBuf,
    members: Vec<Child>,
}

impl Group {
    /// Starts a group with its data below `dir`, and waits until everybody knows everybody.
    pub(crate) fn start(kind: Kind, count: usize, dir: &Path) -> Result<Self> {
        let mut group = Self { kind, dir: dir.to_owned(), members: Vec::new() };
        for place in 0..count {
            if kind == Kind::Agent {
                agents::enter(dir, place)?;
            }
            let member = Member { kind, place, count, dir: dir.to_owned() };
            let request = serde_json::to_string(&crate::child::Request::Member(member))?;
            let mut command = Command::new(std::env::current_exe()?);
            command.arg("--child").arg(request).stdin(Stdio::piped()).stdout(Stdio::piped());
            group.members.push(command.spawn().context("starting a member")?);
        }
        group.await_ready()?;
        Ok(group)
    }

    fn await_ready(&mut self) -> Result<()> {
        for member in &mut self.members {
            let mut word = [0; 6];
            member
                .stdout
                .take()
                .context("a member's stdout")?
                .read_exact(&mut word)
                .context("a member ended at once")?;
        }
        if self.kind != Kind::Agent {
            return Ok(());
        }
        let deadline = Instant::now() + START_PATIENCE;
        for place in 0..self.members.len() {
            loop {
                let alive = self.states(place).map(|states| states.iter().filter(|(_, word)| word == "alive").count());
                if alive.as_ref().is_ok_and(|alive| *alive == self.members.len()) {
                    break;
                }
                ensure!(Instant::now() < deadline, "agent {place} knows {alive:?}");
                std::thread::sleep(Duration::from_millis(100));
            }
        }
        Ok(())
    }

    /// What an agent calls the others, itself included: node and word.
    pub(crate) fn states(&self, place: usize) -> Result<Vec<(String, String)>> {
        let json = self.ask(place, "/v1/nodes")?;
        let nodes = json.get("nodes").unwrap_or(&json).as_array().context("no list of nodes")?;
        let text = |node: &serde_json::Value, field: &str| node[field].as_str().unwrap_or_default().to_owned();
        Ok(nodes.iter().map(|node| (text(node, "id"), text(node, "status"))).collect())
    }

    /// The folder of an agent's data.
    pub(crate) fn data_dir(&self, place: usize) -> PathBuf {
        self.dir.join(place.to_string())
    }

    /// Instances of a workload as the first agent sees them: node and phase.
    pub(crate) fn instances(&self, workload: &str) -> Result<Vec<(String, String)>> {
        let json = self.ask(0, &format!("/v1/workloads/{workload}"))?;
        let instances = json["status"]["instances"].as_array().context("no list of instances")?;
        let text = |of: &serde_json::Value, field: &str| of[field].as_str().unwrap_or_default().to_owned();
        Ok(instances.iter().map(|instance| (text(instance, "node"), text(instance, "phase"))).collect())
    }

    /// The agents that a workload is ready on, as the first agent sees it.
    pub(crate) fn ready(&self, workload: &str) -> Result<Vec<String>> {
        let instances = self.instances(workload)?.into_iter();
        Ok(instances.filter(|(_, phase)| phase == "ready").map(|(node, _)| node).collect())
    }

    /// A workload's last deployment as the first agent sees it: its name and how far it has got.
    pub(crate) fn rollout(&self, workload: &str) -> Result<(String, String)> {
        let json = self.ask(0, &format!("/v1/workloads/{workload}"))?;
        let text = |field: &str| json["status"]["rollout"][field].as_str().unwrap_or_default().to_owned();
        Ok((text("deployment"), text("stage")))
    }

    /// Deploys a workload that ships at the first agent, and returns the deployment's name.
    pub(crate) fn deploy(&self, workload: &str, spec: serde_json::Value) -> Result<String> {
        let (_, wasm) = shipped().into_iter().find(|(name, _)| *name == workload).context("it ships")?;
        crate::calls::deploy(&self.data_dir(0), workload, wasm, spec)
    }

    /// Which member has this node id.
    pub(crate) fn place(&self, node: &str) -> Result<usize> {
        (0..self.members.len())
            .find(|place| self.node(*place).is_ok_and(|own| own == node))
            .context("it is none of ours")
    }

    /// An agent's node id.
    pub(crate) fn node(&self, place: usize) -> Result<String> {
        Ok(self.info(place)?.node)
    }

    fn info(&self, place: usize) -> Result<RuntimeInfo> {
        RuntimeInfo::read(&self.data_dir(place))?.context("an agent does not say where it is")
    }

    fn ask(&self, place: usize, path: &str) -> Result<serde_json::Value> {
        let info = self.info(place)?;
        let http = info.api.iter().find_map(|address| address.strip_prefix("http://")).context("no API over TCP")?;
        let address: SocketAddr = http.trim_end_matches('/').parse()?;
        let mut stream = TcpStream::connect_timeout(&address, ASK_PATIENCE)?;
        stream.set_read_timeout(Some(ASK_PATIENCE))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let (head, body) = text.split_once("\r\n\r\n").context("no answer")?;
        ensure!(head.starts_with("HTTP/1.1 200"), "{path}: {head}");
        Ok(serde_json::from_str(body)?)
    }

    /// Sends a signal to a member of ours.
    pub(crate) fn signal(&self, place: usize, name: &str) -> Result<()> {
        let pid = self.members[place].id().to_string();
        let status = Command::new("kill").args([name, &pid]).status()?;
        ensure!(status.success(), "kill {name} {pid}");
        Ok(())
    }

    /// Kills a member, and returns when it is gone.
    pub(crate) fn kill(&mut self, place: usize) -> Result<()> {
        self.members[place].kill()?;
        self.members[place].wait()?;
        Ok(())
    }

    /// What the kernel has counted so far.
    pub(crate) fn counted(&self) -> Result<Counted> {
        let mut cpu_ms = 0.0;
        let (mut resident, mut own) = (Vec::new(), Vec::new());
        for member in &self.members {
            let pid = member.id();
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
            // The name may hold anything, but ends with the last bracket; user and system time are the 14th and 15th field.
            let fields: Vec<&str> = stat.rsplit_once(')').context("a stat")?.1.split_whitespace().collect();
            let ticks: f64 = fields.iter().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
            cpu_ms += ticks * MS_PER_TICK;
            resident.push(memory(pid, "VmRSS:")?);
            own.push(memory(pid, "RssAnon:")?);
        }
        Ok(Counted { cpu_ms, loopback_bytes: loopback_bytes()?, resident_kb: resident, own_kb: own })
    }
}

/// Looks until something is so.
pub(crate) fn wait(what: &str, patience: Duration, is_so: impl Fn() -> Result<bool>) -> Result<()> {
    let begun = Instant::now();
    while !is_so()? {
        ensure!(begun.elapsed() < patience, "not in time: {what}");
        std::thread::sleep(LOOK);
    }
    Ok(())
}

/// The kernel's tick for processor time, on every Linux of today.
const MS_PER_TICK: f64 = 10.0;

/// Counts of a group, of which the first two only grow.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Counted {
    pub(crate) cpu_ms: f64,
    /// Bytes that went over the namespace's loopback, with the headers of IP and what is in it.
    pub(crate) loopback_bytes: f64,
    /// Resident memory by member, and what of it is no file.
    pub(crate) resident_kb: Vec<f64>,
    pub(crate) own_kb: Vec<f64>,
}

fn memory(pid: u32, name: &str) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)).context("a figure of memory")?;
    line.split_whitespace().next().and_then(|number| number.parse().ok()).context("a number")
}

fn loopback_bytes() -> Result<f64> {
    let text = std::fs::read_to_string("/proc/self/net/dev")?;
    let line = text.lines().find_map(|line| line.trim_start().strip_prefix("lo:")).context("a loopback")?;
    line.split_whitespace().next().and_then(|number| number.parse().ok()).context("a number")
}

impl Drop for Group {
    fn drop(&mut self) {
        for member in &mut self.members {
            // Already gone is as good.
            drop(member.kill());
            drop(member.wait());
        }
    }
}

/// A leader's task: start a group, let it settle, and count over some windows.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Watch {
    pub(crate) kind: Kind,
    pub(crate) count: usize,
    pub(crate) dir: PathBuf,
    pub(crate) settle: Duration,
    pub(crate) window: Duration,
    pub(crate) windows: usize,
}

/// Does it, in a namespace that is its own, and returns what was counted at the borders of the windows.
pub(crate) fn serve_watch(watch: &Watch) -> Result<Vec<Counted>> {
    let up = Command::new("ip").args(["link", "set", "lo", "up"]).status()?;
    ensure!(up.success(), "the loopback does not come up");
    let group = Group::start(watch.kind, watch.count, &watch.dir)?;
    std::thread::sleep(watch.settle);
    let mut counted = vec![group.counted()?];
    let begun = Instant::now();
    for window in 1..=watch.windows {
        let end = begun + watch.window * u32::try_from(window)?;
        std::thread::sleep(end.saturating_duration_since(Instant::now()));
        counted.push(group.counted()?);
    }
    Ok(counted)
}

/// Starts a leader in a network namespace of its own.
pub(crate) fn lead(watch: Watch) -> Result<Child> {
    let request = serde_json::to_string(&crate::child::Request::Watch(watch))?;
    let mut command = Command::new("unshare");
    command.args(["--net", "--"]).arg(std::env::current_exe()?).arg("--child").arg(request).stdout(Stdio::piped());
    match command.spawn() {
        Ok(child) => Ok(child),
        Err(error) => bail!("`unshare --net`, which needs root: {error}"),
    }
}
