//! `selvedge demo`: real agents, real traffic, and a proof that they converge.
//!
//! Owns the story and its ending: processes are in `cluster`, what is asked of them in `traffic`, the checks in
//! `verify`. The invariant: whichever way the story ends (success, failure, Ctrl-C), the agents end and nothing stays behind.

mod cluster;
mod live;
mod mesh;
mod report;
mod tally;
mod traffic;
mod verify;

use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use self::cluster::{Agent, Cluster, ClusterError};
use self::live::Live;
use self::mesh::Mesh;
use self::report::{Evidence, Report};
pub(crate) use self::traffic::sample_calls;
use self::traffic::{Meter, Plan};
use crate::cli::{CliError, DemoArgs, EXIT_DONE, EXIT_FAILED, note, pretty, print};
use crate::shipped::shipped;

/// Starts agents, drives traffic through them, checks them, and prints the report. Returns the exit code: 0 only if every
/// agent converged, no commit was lost and no counter is off.
///
/// # Errors
/// The agents did not start, or the story broke off; they are gone by then.
pub(crate) async fn demo(args: &DemoArgs) -> Result<u8, CliError> {
    let interrupted = interruption()?;
    let executable = std::env::current_exe();
    let executable = executable.map_err(|error| CliError::Failed(format!("cannot find this executable: {error}")))?;
    let mut cluster = Cluster::prepare(executable)?;
    let outcome = tokio::select! {
        outcome = story(args, &mut cluster) => outcome,
        () = interrupted => Err(CliError::Interrupted),
    };
    let (complaints, kept) = cluster.stop(args.keep).await;
    if let Some(folder) = kept {
        note(&format!("data and logs are kept in {}", folder.display()));
    }
    match outcome {
        Ok(evidence) => finish(args, Evidence { complaints, ..evidence }),
        Err(error) => {
            // An agent whose end is the error is not complained of a second time.
            let told = error.to_string();
            let news = |complaint: &&String| complaint.split(' ').next().is_none_or(|name| !told.starts_with(name));
            complaints.iter().filter(news).for_each(|complaint| note(complaint));
            Err(error)
        }
    }
}

fn finish(args: &DemoArgs, evidence: Evidence) -> Result<u8, CliError> {
    let report = Report::new(evidence);
    if args.json {
        print(&pretty(&serde_json::to_value(&report).expect("a report can be written as JSON")))?;
    } else {
        print(&report.text())?;
    }
    Ok(if report.ok() { EXIT_DONE } else { EXIT_FAILED })
}

async fn story(args: &DemoArgs, cluster: &mut Cluster) -> Result<Evidence, CliError> {
    let count = usize::from(args.agents);
    note(&format!("starting {count} agents on loopback"));
    let agents = cluster.start(count).await?;
    let status_pages: Vec<_> = agents.iter().map(|agent| format!("{}/", agent.api)).collect();
    note(&format!("status page: {}", status_pages[0]));

    let mut mesh = Mesh::new(&agents);
    mesh.await_met().await?;
    for (name, wasm) in shipped() {
        note(&format!("deploying {name} on every agent"));
        mesh.deploy(name, wasm).await?;
    }

    note(&format!("driving {} calls per second for {} s", args.rate, args.seconds));
    let begun = Instant::now();
    let meter = Arc::new(Meter::new());
    let mut tally = drive(args, &agents, &meter).await?;
    let ended = Instant::now();
    cluster.check()?;

    note("traffic has stopped; waiting until all agents hold the same state");
    let convergence = mesh.await_converged(ended).await?;
    let commits_twice = tally.settle();
    let findings = verify::verify(&mut mesh, &tally).await;
    cluster.check()?;
    Ok(Evidence {
        seconds: args.seconds,
        rate: args.rate,
        took_s: (ended - begun).as_secs_f64(),
        reading: meter.read(),
        commits: tally.commits(),
        commits_twice,
        convergence,
        findings,
        complaints: Vec::new(),
        status_pages,
    })
}

async fn drive(args: &DemoArgs, agents: &[Agent], meter: &Arc<Meter>) -> Result<tally::Tally, CliError> {
    let length = Duration::from_secs(u64::from(args.seconds));
    let targets = agents.iter().map(|agent| (agent.api.clone(), Some(agent.token.clone()))).collect();
    let plan = Plan { agents: targets, length, rate: args.rate };
    let mut live = Live::new(agents, Arc::clone(meter), length);
    tokio::select! {
        tally = traffic::drive(&plan, meter) => {
            tally.map_err(|error| CliError::Failed(format!("the traffic could not be driven: {error}")))
        }
        () = live.draw() => unreachable!("the picture is drawn until it is dropped"),
    }
}

/// Resolves when the demo is asked to end before its time.
fn interruption() -> Result<impl Future<Output = ()>, CliError> {
    let watch = |kind| signal(kind).map_err(|error| CliError::Failed(format!("cannot watch for signals: {error}")));
    let (mut interrupt, mut terminate) = (watch(SignalKind::interrupt())?, watch(SignalKind::terminate())?);
    let mut hangup = watch(SignalKind::hangup())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    })
}

impl From<ClusterError> for CliError {
    fn from(error: ClusterError) -> Self {
        Self::Failed(error.to_string())
    }
}
