//! `selvedge doctor`: looks for what is wrong with this installation, and says how to mend it.
//!
//! Owns which checks there are and their order; each is in the file of what it looks at. The invariants: nothing is changed, and the
//! one lock that is asked for is given back at once; every finding names a command or an action; a check that could not look says so instead of passing.

mod clock;
mod data;
mod finding;
mod mesh;
mod network;
mod papers;
mod place;
mod service;

use self::finding::Report;
use self::place::Place;
use crate::cli::{CliError, DoctorArgs, EXIT_DONE, EXIT_FAILED, pretty, print};

/// Looks at everything, prints what was found, and returns the exit code: 0 only when there is nothing to mend.
///
/// # Errors
/// Standard output is closed; what is wrong with the installation is a finding, not an error.
pub(crate) async fn doctor(args: &DoctorArgs) -> Result<u8, CliError> {
    let place = Place::of(args);
    let agent = place.ask(args.timeout).await;
    let mut report = Report::new(&place, agent.is_ok());
    report.add("configuration", place::configuration(&place));
    report.add("data directory", data::directory(&place));
    report.add("key", data::key(&place));
    report.add("token", data::token(&place));
    report.add("certificate", papers::certificate(&place));
    report.add("disk", data::disk(&place));
    report.add("compiled code", data::code(&place));
    report.add("clock", clock::host(&place));
    report.add("service", service::unit().await);
    report.add("open files", service::open_files(&place));
    report.add("ports", network::ports(&place, agent.is_ok()).await);
    report.add("ways in", network::ways_in());
    report.add("bootstrap", network::bootstrap(&place).await);
    report.add("agent", mesh::agent(&place, agent.as_ref().err()));
    if let Ok(agent) = agent {
        report.add("health", mesh::health(&agent));
        report.add("links", mesh::links(&agent));
        report.add("releases", mesh::releases(&agent));
        report.add("members' clocks", clock::members(&agent, &place));
    }
    if args.json {
        print(&pretty(&serde_json::to_value(&report).expect("a report can be written as JSON")))?;
    } else {
        print(&report.text())?;
    }
    Ok(if report.is_healthy() { EXIT_DONE } else { EXIT_FAILED })
}

#[cfg(test)]
mod tests;
