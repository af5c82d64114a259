//! A host is killed, until its workload answers elsewhere: five agents, one instance. Against when the host is called lost, which is
//! failure detection.
//!
//! Agents are processes. At the first, which never runs the workload, a call is begun every 20 ms, each on a connection of its own
//! and without waiting for those before it, and as often it is asked whom it calls lost. In every other group all hosts have run the
//! workload before, so that its artefact and the compiled code are there; in the others its next host has to fetch and compile it.
//! Both times are of the same death, and count from before the signal.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use hyper::Method;
use serde_json::json;

use crate::calls::{self, Call, Http};
use crate::group::{Group, Kind, wait};
use crate::hop::MEMORY;
use crate::report::{Goal, Row};
use crate::sample::Spread;

const NAME: &str = "failover";
const COUNT: usize = 5;

/// Groups of each kind, in turn, and hosts that are killed in each, one after another.
const GROUPS: usize = 2;
const KILLED: usize = 2;

const WORKLOAD: &str = "prediction";

/// How often a call is begun, and how often the first agent is asked whom it calls lost.
const EVERY: Duration = Duration::from_millis(20);

/// What a call may take, in milliseconds: those that went to the dead host are over soon.
const DEADLINE_MS: u64 = 200;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// What some deaths led to, in milliseconds.
#[derive(Default)]
struct Deaths {
    lost: Vec<f64>,
    /// From then until a call was answered.
    after: Vec<f64>,
    /// From the death until then.
    answered: Vec<f64>,
}

pub(crate) fn run(_: &Path) -> Result<Vec<Row>> {
    let mut kinds = [(true, Deaths::default()), (false, Deaths::default())];
    for _ in 0..GROUPS {
        for (is_warm, deaths) in &mut kinds {
            let folder = tempfile::Builder::new().prefix("selvedge-bench-").tempdir_in(MEMORY)?;
            let mut group = Group::start(Kind::Agent, COUNT, folder.path())?;
            deploy(&group, *is_warm)?;
            for _ in 0..KILLED {
                let (lost, answered) = kill(&mut group)?;
                deaths.lost.push(lost);
                deaths.after.push(answered - lost);
                deaths.answered.push(answered);
            }
        }
    }
    Ok(kinds.iter().flat_map(|(is_warm, deaths)| rows(*is_warm, deaths)).collect())
}

fn rows(is_warm: bool, deaths: &Deaths) -> [Row; 3] {
    let word = if is_warm { "artefact and compiled code there" } else { "to be fetched and compiled" };
    let goal = if is_warm { Goal::AtMost(1_000.0) } else { Goal::Told };
    let row = |what: &str, of: &[f64]| Row::new(NAME, format!("{what}, {word}"), Spread::of(of), "ms");
    let worst = deaths.after.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    [
        row("from lost to answered elsewhere", &deaths.after)
            .goal(goal)
            .note(format!("{} deaths, the worst {worst:.0} ms", deaths.after.len())),
        row("from killed to lost", &deaths.lost),
        row("from killed to answered elsewhere", &deaths.answered),
    ]
}

/// One instance, not on the first agent.
fn deploy(group: &Group, is_warm: bool) -> Result<()> {
    let spec = |spread: (&str, serde_json::Value)| {
        let mut spec = json!({"must": ["!node=agent-0"], "limits": {"deadline_ms": DEADLINE_MS}});
        spec[spread.0] = spread.1;
        spec
    };
    if is_warm {
        group.deploy(WORKLOAD, spec(("everywhere", json!(true))))?;
        wait("all run it", PATIENCE, || Ok(group.ready(WORKLOAD)?.len() == COUNT - 1))?;
    }
    group.deploy(WORKLOAD, spec(("replicas", json!(1))))?;
    wait("one runs it", PATIENCE, || is_alone(group))
}

/// Whether one agent runs it, and no other has anything left of it.
fn is_alone(group: &Group) -> Result<bool> {
    Ok(group.instances(WORKLOAD)?.len() == 1 && group.ready(WORKLOAD)?.len() == 1)
}

/// Kills whoever runs it. Milliseconds until it is called lost, and until a call is answered.
fn kill(group: &mut Group) -> Result<(f64, f64)> {
    let host = group.ready(WORKLOAD)?.pop().context("nobody runs it")?;
    let (place, door) = (group.place(&host)?, calls::door(&group.data_dir(0))?);
    let client = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    client.block_on(call(&door)).context("before anybody is killed")?;
    let (answered, killed) = (Arc::new(OnceLock::new()), Instant::now());
    // When this returns it is gone: no answer is its own.
    group.kill(place)?;
    let mut lost = None;
    let (lost, answered) = loop {
        let (door, first) = (door.clone(), Arc::clone(&answered));
        drop(client.spawn(async move {
            if call(&door).await.is_ok() {
                first.get_or_init(|| killed.elapsed());
            }
        }));
        if lost.is_none() && group.states(0)?.iter().any(|(node, word)| *node == host && word == "lost") {
            lost = Some(killed.elapsed());
        }
        if let (Some(lost), Some(answered)) = (lost, answered.get()) {
            break (lost, *answered);
        }
        ensure!(killed.elapsed() < PATIENCE, "lost after {lost:?}, answered elsewhere after {:?}", answered.get());
        std::thread::sleep(EVERY);
    };
    client.shutdown_background();
    wait("another runs it", PATIENCE, || is_alone(group))?;
    Ok((lost.as_secs_f64() * 1e3, answered.as_secs_f64() * 1e3))
}

/// A call over a connection of its own.
async fn call((api, token): &(SocketAddr, String)) -> Result<()> {
    let (mut http, call) = (Http::open(*api, token).await?, Call::prediction());
    http.ask(Method::POST, &call.path, call.json.clone()).await.map(drop)
}
