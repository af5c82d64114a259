//! Calls lost while hosts are drained, one after another, and while a workload gets new versions, at steady load.
//!
//! Four agents as processes; a client of each calls it all the while over a connection that it keeps, so that calls are made where they
//! enter, forwarded, and begun where the instance is just going. A call is lost if it has no result, for whatever reason, or none for
//! three seconds. Nobody is killed.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use hyper::Method;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::calls::{self, Call, Http};
use crate::group::{Group, Kind, wait};
use crate::hop::MEMORY;
use crate::report::{Goal, Row};
use crate::sample::Spread;

const NAME: &str = "drain";
const COUNT: usize = 4;
const REPLICAS: usize = 2;

/// Drains, one after another.
const DRAINS: usize = 4;

/// New versions, one after another, and how long the canary of each is watched: not at all is all hosts at once.
const VERSIONS: [(usize, &str, &str); 2] = [(3, "3s", "a canary first"), (20, "0s", "all hosts at once")];

const WORKLOAD: &str = "prediction";

/// Between two calls of one client.
const REST: Duration = Duration::from_millis(2);

/// A call that takes longer has no result: three times its deadline.
const CALL_PATIENCE: Duration = Duration::from_secs(3);

/// How long a drain or a new version may take.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn run(_: &Path) -> Result<Vec<Row>> {
    let folder = tempfile::Builder::new().prefix("selvedge-bench-").tempdir_in(MEMORY)?;
    let group = Group::start(Kind::Agent, COUNT, folder.path())?;
    update(&group, 0, "0s")?;
    let load = Load::start(&group)?;
    wait("each client has an answer", PATIENCE, || Ok(load.tallies.iter().all(|tally| tally.counts().0 > 0)))?;
    let mut parts = vec![load.part(format!("{DRAINS} drains"), || (0..DRAINS).try_for_each(|_| drain_one(&group)))?];
    let mut version = 0;
    for (count, canary, how) in VERSIONS {
        let versions = || {
            (0..count).try_for_each(|_| {
                version += 1;
                update(&group, version, canary)
            })
        };
        parts.push(load.part(format!("{count} new versions, {how}"), versions)?);
    }
    let first = load.stop()?;
    Ok(parts.into_iter().map(|part| part.row(first.as_deref())).collect())
}

/// Drains a host that runs the workload, waits until others do, and has it take part again.
fn drain_one(group: &Group) -> Result<()> {
    let host = group.ready(WORKLOAD)?.into_iter().next().context("nobody runs it")?;
    let place = group.place(&host)?;
    drain(group, place, &json!({}))?;
    wait("it runs elsewhere", PATIENCE, || {
        let is_gone = group.instances(WORKLOAD)?.iter().all(|(node, _)| *node != host);
        Ok(is_gone && group.ready(WORKLOAD)?.len() == REPLICAS)
    })?;
    drain(group, place, &json!({"off": true}))
}

fn drain(group: &Group, place: usize, body: &Value) -> Result<()> {
    let (api, token) = calls::door(&group.data_dir(place))?;
    let body = body.to_string();
    calls::client()?
        .block_on(async { Http::open(api, &token).await?.ask(Method::POST, "/v1/drain", body.into()).await.map(drop) })
}

/// Deploys a version and waits until it is all that runs.
fn update(group: &Group, version: usize, canary: &str) -> Result<()> {
    // Another deadline is another revision, of which instances are made anew. It is no slower; if the machine is, that is no reason.
    let rollout = json!({"canary_ms": canary, "slowdown_percent": 10_000});
    let spec = json!({"replicas": REPLICAS, "limits": {"deadline_ms": 1_000 + version}, "rollout": rollout});
    let deployment = group.deploy(WORKLOAD, spec)?;
    wait("the version runs", PATIENCE, || {
        let (of, stage) = group.rollout(WORKLOAD)?;
        ensure!(of != deployment || stage != "rolled_back", "version {version} was taken back");
        let instances = group.instances(WORKLOAD)?;
        let are_ready = instances.len() == REPLICAS && instances.iter().all(|(_, phase)| phase == "ready");
        Ok(of == deployment && stage == "done" && are_ready)
    })
}

/// What became of one client's calls.
#[derive(Default)]
struct Tally {
    answered: AtomicU64,
    lost: AtomicU64,
}

impl Tally {
    fn counts(&self) -> (u64, u64) {
        (self.answered.load(Ordering::Relaxed), self.lost.load(Ordering::Relaxed))
    }
}

/// A client of each agent.
struct Load {
    runtime: Runtime,
    clients: Vec<JoinHandle<()>>,
    tallies: Arc<[Tally; COUNT]>,
    on: Arc<AtomicBool>,
    /// How the first call was lost.
    first: Arc<OnceLock<String>>,
}

impl Load {
    fn start(group: &Group) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let (on, first) = (Arc::new(AtomicBool::new(true)), Arc::default());
        let mut load = Self { runtime, clients: Vec::new(), tallies: Arc::default(), on, first };
        for place in 0..COUNT {
            let door = calls::door(&group.data_dir(place))?;
            let (tallies, on, first) = (Arc::clone(&load.tallies), Arc::clone(&load.on), Arc::clone(&load.first));
            let client = async move { client(&on, &door, &tallies[place], &first).await };
            load.clients.push(load.runtime.spawn(client));
        }
        Ok(load)
    }

    /// What became of calls while something was done.
    fn part(&self, what: String, done: impl FnOnce() -> Result<()>) -> Result<Part> {
        let counts = || -> Vec<(u64, u64)> { self.tallies.iter().map(Tally::counts).collect() };
        let (before, begun) = (counts(), Instant::now());
        done()?;
        // What was under way then has its end by now.
        std::thread::sleep(CALL_PATIENCE);
        let (after, took) = (counts(), begun.elapsed());
        let grown = before.iter().zip(&after).map(|(before, after)| (after.0 - before.0, after.1 - before.1));
        let (answered, lost): (Vec<u64>, Vec<u64>) = grown.unzip();
        ensure!(answered.iter().all(|answered| *answered > 0), "{what}: a client had no answer at all");
        Ok(Part { what, answered: answered.iter().sum(), lost: lost.iter().sum(), took })
    }

    /// Ends it, and says how the first call was lost, if one was.
    fn stop(self) -> Result<Option<String>> {
        self.on.store(false, Ordering::Relaxed);
        self.runtime.block_on(futures::future::try_join_all(self.clients))?;
        Ok(self.first.get().cloned())
    }
}

/// Calls one after another until it is to end.
async fn client(on: &AtomicBool, door: &(SocketAddr, String), tally: &Tally, first: &OnceLock<String>) {
    let (call, mut http) = (Call::prediction(), None);
    while on.load(Ordering::Relaxed) {
        let lost = match timeout(CALL_PATIENCE, once(&mut http, door, &call)).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(format!("{error:#}")),
            Err(_) => Some("no answer".to_owned()),
        };
        if let Some(how) = lost {
            tally.lost.fetch_add(1, Ordering::Relaxed);
            first.get_or_init(|| how);
            // What is left of its answer is not the next one's.
            http = None;
        } else {
            tally.answered.fetch_add(1, Ordering::Relaxed);
        }
        tokio::time::sleep(REST).await;
    }
}

async fn once(http: &mut Option<Http>, (api, token): &(SocketAddr, String), call: &Call) -> Result<()> {
    let http = match http {
        Some(http) => http,
        None => http.insert(Http::open(*api, token).await?),
    };
    http.ask(Method::POST, &call.path, call.json.clone()).await.map(drop)
}

/// What became of calls in one part of a run.
struct Part {
    what: String,
    answered: u64,
    lost: u64,
    took: Duration,
}

impl Part {
    fn row(self, first: Option<&str>) -> Row {
        let Self { what, answered, lost, took } = self;
        let rate = answered as f64 / took.as_secs_f64();
        let first = first.map_or_else(String::new, |how| format!("; the first that was lost in the run: {how}"));
        Row::new(NAME, format!("calls lost in {what}"), Spread::exact(lost as f64), "")
            .goal(Goal::AtMost(0.0))
            .note(format!("{answered} answered in {:.0} s, {rate:.0} a second{first}", took.as_secs_f64()))
    }
}
