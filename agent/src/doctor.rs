//! `selvedge doctor`: looks for what is wrong with this installation, and says how to mend it.
//!
//! Owns which checks there are and their order; each is in the file of what it looks at. The invariants: nothing is changed, and the
//! one lock that is asked for is given back at once; every finding names a command or an action; a check that could not look says so instead of passing.

mod clock;
mod data;
mod finding;
mod journal;
mod mesh;
mod network;
mod papers;
mod place;
mod service;
mod store;
mod ways_in;

use self::finding::Report;
use self::place::{Agent, Apart, Place};
use crate::cli::{CliError, DoctorArgs, EXIT_DONE, EXIT_FAILED, pretty, print};

/// How an agent begins to complain of a disk that is full, which the check of the disk says once and for all.
const FULL: [&str; 2] = ["read-only: the store cannot write (No space left", "the disk of the data directory has "];

/// What is looked at of a data directory, besides the directory itself.
const OF_DIRECTORY: [&str; 9] =
    ["key", "token", "certificate", "disk", "store", "compiled code", "open files", "ports", "bootstrap"];

/// Looks at everything, prints what was found, and returns the exit code: 0 only when there is nothing to mend.
///
/// # Errors
/// Standard output is closed; what is wrong with the installation is a finding, not an error.
pub(crate) async fn doctor(args: &DoctorArgs) -> Result<u8, CliError> {
    let place = Place::of(args);
    let agent = place.ask(args.timeout).await;
    let report = look(&place, agent).await;
    if args.json {
        print(&pretty(&serde_json::to_value(&report).expect("a report can be written as JSON")))?;
    } else {
        print(&report.text())?;
    }
    Ok(if report.is_healthy() { EXIT_DONE } else { EXIT_FAILED })
}

/// Does all checks, with what an agent answers, if one does.
async fn look(place: &Place, agent: Result<Agent, CliError>) -> Report {
    let lacks_directory = agent.as_ref().is_ok_and(mesh::lacks_directory);
    let apart = agent.as_ref().ok().filter(|_| !lacks_directory).and_then(|agent| place.apart(agent));
    let mut told = Vec::new();
    let left_out = |is_directory: bool| apart.as_ref().filter(|apart| apart.is_of_directory != is_directory);
    let (mut report, answers) = (Report::new(place, agent.is_ok()), agent.is_ok());
    report.add("configuration", place::configuration(place));
    if let Some(apart) = &apart {
        report.add("installation", Ok(vec![apart.finding.clone()]));
    }
    if let Some(Apart { why, .. }) = left_out(true) {
        report.add("data directory", Err(why.clone()));
        leave_out(&mut report, why);
    } else if lacks_directory {
        told.push("read-only: the data directory was taken away");
        report.add("data directory", Ok(vec![data::taken_away(place)]));
        leave_out(&mut report, "the data directory was taken away");
    } else {
        report.add("data directory", data::directory(place));
        report.add("key", data::key(place));
        report.add("token", data::token(place));
        report.add("certificate", papers::certificate(place));
        let disk = data::disk(place);
        if data::is_full(&disk) {
            told.extend(FULL);
        }
        report.add("disk", disk);
        report.add("store", store::state(place).await);
        report.add("compiled code", data::code(place));
        report.add("open files", service::open_files(place));
        report.add("ports", network::ports(place, answers).await);
        report.add("bootstrap", network::bootstrap(place).await);
    }
    report.add("clock", clock::host(place));
    let service::Unit { found, comes_up } = service::unit().await;
    report.add("service", found);
    // What another directory's agent waits for is no reason why none answers here.
    let comes_up = comes_up.filter(|_| place.is_services);
    match (agent, left_out(false)) {
        (_, Some(Apart { why, .. })) => report.add("agent", Err(why.clone())),
        (Ok(agent), None) => {
            report.add("agent", Ok(Vec::new()));
            report.add("health", mesh::health(&agent, &told));
            report.add("links", mesh::links(&agent));
            report.add("ways in", ways_in::found(agent.reach.as_ref()));
            report.add("releases", mesh::releases(&agent));
            report.add("members' clocks", clock::members(&agent, place));
        }
        (Err(error), None) => report.add("agent", mesh::agent(place, &error, comes_up)),
    }
    report
}

/// Says of each check of the directory why it did not look.
fn leave_out(report: &mut Report, why: &str) {
    for check in OF_DIRECTORY {
        report.add(check, Err(why.to_owned()));
    }
}

#[cfg(test)]
mod tests;
