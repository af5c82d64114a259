//! A cluster in the field: agents as processes, each on a host of its own, and what is asked of all of them.
//!
//! Owns the hosts, the agents and the order of tests: one field at a time, for a machine of two cores. The invariant: an agent that
//! was not stopped by the test runs to the end, under the incarnation with which it began, without a panic.

pub mod traffic;
pub mod witness;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

pub use self::traffic::Traffic;
pub use self::witness::Witness;
use crate::agent::{Agent, Launch};
use crate::door::Door;
use crate::netns::Hosts;
use crate::skip::skip;
use crate::wait::eventually;

/// How long anything may take that is bound to happen. Back-off is half a minute at most; the rest is for busy machines.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// How long after the start of an agent it has certainly kept who was there from the first second on.
const REMEMBERED_AFTER_S: u64 = 4;

/// Whose turn it is.
static TURN: Mutex<()> = Mutex::new(());

/// Hosts with an agent on each. Agents end before their hosts do.
#[derive(Debug)]
pub struct Field {
    agents: BTreeMap<usize, Agent>,
    stopped: BTreeMap<usize, Launch>,
    incarnations: BTreeMap<usize, Value>,
    /// The network.
    pub hosts: Hosts,
    folder: TempDir,
    began: Instant,
    _turn: MutexGuard<'static, ()>,
}

/// What people call the agent of a host.
#[must_use]
pub fn name(host: usize) -> String {
    format!("host-{host}")
}

/// Whether a word on a member says that nothing is expected of it any more.
#[must_use]
pub fn is_lost(status: &str) -> bool {
    ["dead", "lost"].contains(&status)
}

impl Field {
    /// Hosts without agents yet; `None`, and the reason printed, where that is not permitted.
    ///
    /// # Panics
    /// There is no place for a folder.
    #[must_use]
    pub fn try_new(hosts: u8) -> Option<Self> {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let began = Instant::now();
        match Hosts::try_new(hosts) {
            Ok(hosts) => Some(Self {
                agents: BTreeMap::new(),
                stopped: BTreeMap::new(),
                incarnations: BTreeMap::new(),
                hosts,
                folder: tempfile::tempdir().expect("a folder"),
                began,
                _turn: turn,
            }),
            Err(reason) => {
                skip("network", &reason);
                None
            }
        }
    }

    /// The same with a cluster on it: host 0 founds it, the others join, and all are connected and agree.
    #[must_use]
    pub fn try_whole(hosts: u8) -> Option<Self> {
        Self::try_whole_of(hosts, |_, launch| launch)
    }

    /// The same, with each agent started as `change` says, by the number of its host.
    #[must_use]
    pub fn try_whole_of(hosts: u8, change: impl Fn(usize, Launch) -> Launch + Sync) -> Option<Self> {
        let mut field = Self::try_new(hosts)?;
        let launch = |field: &Self, host| change(host, field.launch(host));
        let founder = launch(&field, 0).founding("games");
        field.run(0, founder);
        let founder = field.agent(0);
        let joined: Vec<Launch> = std::thread::scope(|scope| {
            let join = |host| launch(&field, host).invited_by(founder);
            let threads: Vec<_> = (1..usize::from(hosts)).map(|host| scope.spawn(move || join(host))).collect();
            threads.into_iter().map(|thread| thread.join().expect("all join")).collect()
        });
        field.stopped = (1..).zip(joined).collect();
        field.start_all();
        field.await_whole();
        field.note("whole");
        Some(field)
    }

    /// How the agent of a host is started. It listens at whatever addresses its host has.
    #[must_use]
    pub fn launch(&self, host: usize) -> Launch {
        let on = self.hosts.on(host);
        Launch::new(self.folder.path(), &name(host))
            .with(&["--listen", "0.0.0.0:7412", "--api", &self.door(host).address()])
            .through(&on.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Starts an agent that was launched by hand.
    pub fn run(&mut self, host: usize, launch: Launch) {
        let agent = launch.start();
        self.take(host, agent);
    }

    /// Starts whoever has been stopped, all at once.
    ///
    /// # Panics
    /// One does not start.
    pub fn start_all(&mut self) {
        let stopped = std::mem::take(&mut self.stopped);
        let started: Vec<(usize, Agent)> = std::thread::scope(|scope| {
            let threads: Vec<_> =
                stopped.into_iter().map(|(host, launch)| scope.spawn(move || (host, launch.start()))).collect();
            threads.into_iter().map(|thread| thread.join().expect("all start")).collect()
        });
        for (host, agent) in started {
            self.take(host, agent);
        }
    }

    fn take(&mut self, host: usize, agent: Agent) {
        self.agents.insert(host, agent);
        let incarnation = self.status(host)["node"]["incarnation"].clone();
        let before = self.incarnations.insert(host, incarnation.clone());
        assert!(before.is_none_or(|before| before == incarnation), "{} forgot who it was", name(host));
    }

    /// Kills agents, as a power cut would.
    ///
    /// # Panics
    /// One does not run.
    pub fn kill(&mut self, hosts: &[usize]) {
        for host in hosts {
            let agent = self.agents.remove(host).expect("it runs");
            self.stopped.insert(*host, agent.kill());
        }
    }

    /// Stops an agent in order.
    ///
    /// # Panics
    /// It does not run.
    pub fn stop(&mut self, host: usize) -> Launch {
        self.agents.remove(&host).expect("it runs").stop().0
    }

    /// The agent of a host.
    ///
    /// # Panics
    /// It does not run.
    #[must_use]
    pub fn agent(&self, host: usize) -> &Agent {
        self.agents.get(&host).expect("it runs")
    }

    /// Where the agent of a host is asked.
    #[must_use]
    pub fn door(&self, host: usize) -> Door {
        Door::new(&self.folder.path().join(format!("{}.sock", name(host))))
    }

    /// A folder that goes with the field.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The doors of some hosts.
    #[must_use]
    pub fn doors(&self, hosts: &[usize]) -> Vec<Door> {
        hosts.iter().map(|host| self.door(*host)).collect()
    }

    /// The hosts whose agents run.
    #[must_use]
    pub fn running(&self) -> Vec<usize> {
        self.agents.keys().copied().collect()
    }

    /// What an agent says of itself.
    ///
    /// # Panics
    /// It does not answer.
    #[must_use]
    pub fn status(&self, host: usize) -> Value {
        self.door(host).get("/v1/status").unwrap_or_else(|error| panic!("{}: {error}\n{}", name(host), self.log(host)))
    }

    /// How many members an agent counts as alive, itself among them.
    #[must_use]
    pub fn alive(&self, host: usize) -> u64 {
        self.status(host)["cluster"]["alive"].as_u64().unwrap_or_default()
    }

    /// Whether an agent has a connection to another.
    ///
    /// # Panics
    /// It does not answer.
    #[must_use]
    pub fn linked(&self, host: usize, to: usize) -> bool {
        let status = self.status(host);
        let is_linked = |peer: &Value| peer["name"] == json!(name(to)) && !peer["rtt_ms"].is_null();
        status["peers"].as_array().is_some_and(|peers| peers.iter().any(is_linked))
    }

    /// Writes to a key.
    ///
    /// # Panics
    /// It is not taken.
    pub fn put(&self, host: usize, key: &str, operation: &Value) {
        self.post(host, key, operation);
    }

    /// Writes to a key, and returns when that is on disk, with all that this agent wrote before.
    ///
    /// # Panics
    /// It is not taken.
    pub fn put_durably(&self, host: usize, key: &str, operation: &Value) {
        self.post(host, &format!("{key}?durable=true"), operation);
    }

    fn post(&self, host: usize, key: &str, operation: &Value) {
        let answer = self.door(host).ask("POST", &format!("/v1/state/{key}"), &operation.to_string());
        assert!(answer.as_ref().is_ok_and(|answer| answer.status == 200), "{}: {key}: {answer:?}", name(host));
    }

    /// What an agent holds under a key; null when it holds nothing.
    #[must_use]
    pub fn value(&self, host: usize, key: &str) -> Value {
        self.door(host).get(&format!("/v1/state/{key}")).map_or(Value::Null, |document| document["value"].clone())
    }

    /// A figure of `/metrics`.
    ///
    /// # Panics
    /// It is not told.
    #[must_use]
    pub fn figure(&self, host: usize, series: &str) -> u64 {
        let answer = self.door(host).ask("GET", "/metrics", "").expect("metrics");
        let found = answer.body.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok());
        found.unwrap_or_else(|| panic!("no {series} in\n{}", answer.body))
    }

    /// What an agent believes of another, in a word; empty when it does not know it.
    ///
    /// # Panics
    /// It does not answer.
    #[must_use]
    pub fn belief(&self, host: usize, of: usize) -> String {
        let nodes = self.door(host).get("/v1/nodes").expect("an agent lists the members");
        let nodes = nodes.as_array().expect("a list");
        let node = nodes.iter().find(|node| node["name"] == json!(name(of)));
        node.and_then(|node| node["status"].as_str()).unwrap_or_default().to_owned()
    }

    /// Waits until some have given up others.
    pub fn await_lost(&self, by: &[usize], lost: &[usize]) {
        for (host, of) in by.iter().flat_map(|host| lost.iter().map(move |of| (*host, *of))) {
            let what = format!("{} gives up {}", name(host), name(of));
            eventually(&what, PATIENCE, || is_lost(&self.belief(host, of)).then_some(()));
        }
    }

    /// Waits until `count` members are alive in the eyes of each of `hosts`.
    pub fn await_alive(&self, hosts: &[usize], count: u64) {
        for host in hosts {
            let what = format!("{} counts {count} as alive", name(*host));
            eventually(&what, PATIENCE, || (self.alive(*host) == count).then_some(()));
        }
    }

    /// Waits until all that run have kept on disk where the others are: they look every second, and write soon after.
    pub fn await_remembered(&self) {
        for host in self.running() {
            let is_grown = || self.status(host)["node"]["uptime_s"].as_u64() >= Some(REMEMBERED_AFTER_S);
            eventually("it has been there for a while", PATIENCE, || is_grown().then_some(()));
        }
    }

    /// Waits until all that run know each other, agree and are well.
    ///
    /// # Panics
    /// That does not come true.
    pub fn await_whole(&self) {
        let hosts = self.running();
        let count = u64::try_from(hosts.len()).expect("a few hosts");
        self.await_alive(&hosts, count);
        for host in &hosts {
            let path = format!("/v1/convergence?wait={}s", PATIENCE.as_secs());
            let answer = self.door(*host).ask("GET", &path, "").expect("an answer");
            assert_eq!(answer.status, 200, "{}: {}\n{}", name(*host), answer.body, self.log(*host));
            eventually("it is well", PATIENCE, || (self.status(*host)["health"]["ok"] == json!(true)).then_some(()));
        }
    }

    /// Whether an agent says that it agrees with all members.
    ///
    /// # Panics
    /// It does not answer.
    #[must_use]
    pub fn claims_agreement(&self, host: usize) -> bool {
        self.door(host).get("/v1/convergence").expect("an answer")["converged"] == json!(true)
    }

    /// Ends the traffic, and waits until all agree and hold all that was written, by one root.
    ///
    /// # Panics
    /// Something is missing, or an agent was harmed.
    pub fn settle(&self, traffic: Traffic) {
        let traffic_name = traffic.name().to_owned();
        let taken = traffic.stop();
        let began = Instant::now();
        self.await_whole();
        println!("agreed {:?} after the end of the traffic", began.elapsed());
        for host in self.running() {
            self.holds(host, &traffic_name, taken);
        }
        self.one_root();
        self.unharmed();
    }

    /// Says that an agent holds all the writes of some traffic: each was one commit that counted and added.
    ///
    /// # Panics
    /// It does not.
    pub fn holds(&self, host: usize, traffic: &str, taken: u64) {
        assert_eq!(self.value(host, &format!("gcounter/{traffic}")), json!(taken), "{} has lost writes", name(host));
        let members = self.value(host, &format!("orset/{traffic}")).as_array().map(Vec::len);
        assert_eq!(members, usize::try_from(taken).ok(), "{} has lost writes", name(host));
    }

    /// Waits until the roots of all that run are one.
    pub fn one_root(&self) {
        let hosts = self.running();
        eventually("there is one root", PATIENCE, || {
            let roots: Vec<Value> = hosts.iter().map(|host| self.status(*host)["state"]["root"].clone()).collect();
            roots.iter().all(|root| *root == roots[0]).then_some(())
        });
    }

    /// Says that all that run are what they were.
    ///
    /// # Panics
    /// One has restarted as somebody else, or has panicked.
    pub fn unharmed(&self) {
        for host in self.running() {
            assert_eq!(self.status(host)["node"]["incarnation"], self.incarnations[&host], "{}", name(host));
            assert!(!self.log(host).contains("panicked"), "{}", self.log(host));
        }
    }

    /// Prints how far the test has got, for whoever wonders where the time goes.
    pub fn note(&self, what: &str) {
        println!("{:6.1} s: {what}", self.began.elapsed().as_secs_f64());
    }

    fn log(&self, host: usize) -> String {
        self.agents.get(&host).map(Agent::log).unwrap_or_default()
    }
}
