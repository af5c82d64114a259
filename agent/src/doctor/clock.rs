//! Clocks: this host's against its own files and its time service, and against those of members.

use std::fs;
use std::process::Command;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::finding::{Finding, Outcome};
use super::place::{Agent, Place};
use crate::cli::units::span as rough;

/// How far in the future a file may have been written: file systems and clocks have a grain.
const FUTURE_MAX: Duration = Duration::from_secs(5);
/// Milliseconds that a clock may be off before it is worth a word: far above what a time service leaves.
const OFF_WARN_MS: f64 = 100.0;
/// The bound on drift where the configuration cannot be read, in milliseconds.
const DRIFT_MS: f64 = 500.0;
/// What has a clock follow the time service.
const MEND: &str = "timedatectl set-ntp true, or start chronyd or ntpd there; timedatectl shows the state";

/// Whether this host's clock has gone back behind its own files, and whether it follows a time service.
pub(super) fn host(place: &Place) -> Outcome {
    let mut found = Vec::new();
    if let Some(ahead) = newest(place).and_then(|newest| newest.duration_since(SystemTime::now()).ok())
        && ahead > FUTURE_MAX
    {
        let what = format!(
            "files in {} were written {} in the future: this clock has gone back",
            place.data_dir.display(),
            rough(ahead)
        );
        found.push(Finding::error(what, MEND));
    }
    if synchronised() == Some(false) {
        found.push(Finding::warning("this host's clock follows no time service", MEND));
    }
    Ok(found)
}

/// When a file of the data directory was written last.
fn newest(place: &Place) -> Option<SystemTime> {
    let folders = [place.data_dir.clone(), place.data_dir.join("log")];
    let entries = folders.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten();
    entries.filter_map(|entry| entry.metadata().ok()?.modified().ok()).max()
}

/// Whether systemd says that the clock follows a time service; `None` where it does not say.
fn synchronised() -> Option<bool> {
    let told = Command::new("timedatectl").args(["show", "--property=NTPSynchronized", "--value"]).output().ok()?;
    match String::from_utf8_lossy(&told.stdout).trim() {
        "yes" => Some(true),
        "no" => Some(false),
        _ => None,
    }
}

/// Whether the clocks of the connected members agree with ours.
pub(super) fn members(agent: &Agent, place: &Place) -> Outcome {
    let Some(clocks) = &agent.clocks else {
        return Err("the agent is of a release that does not compare clocks".to_owned());
    };
    let drift_ms = place.config.as_ref().map_or(DRIFT_MS, |config| config.state.max_drift.as_secs_f64() * 1e3);
    let readings: Vec<(String, f64)> = clocks.as_array().into_iter().flatten().filter_map(reading).collect();
    if readings.is_empty() {
        return Err("no member answers what its clock says".to_owned());
    }
    Ok(judge(&readings, drift_ms))
}

/// Who, and by how many milliseconds that clock is ahead of ours for certain.
fn reading(clock: &Value) -> Option<(String, f64)> {
    let (ahead, within) = (clock["ahead_ms"].as_f64()?, clock["within_ms"].as_f64()?);
    let certain = (ahead.abs() - within).max(0.0).copysign(ahead);
    let name = clock["name"].as_str().filter(|name| !name.is_empty()).or(clock["node"].as_str())?;
    Some((name.to_owned(), certain))
}

/// Where most members are off in the same direction, it is this host that is wrong.
fn judge(readings: &[(String, f64)], drift_ms: f64) -> Vec<Finding> {
    let off = |ahead: &f64| ahead.abs() > OFF_WARN_MS;
    let words = |ahead: f64| format!("{:.1} s {}", ahead.abs() / 1e3, if ahead > 0.0 { "ahead of" } else { "behind" });
    let finding = |what: String, ahead: f64| {
        if ahead.abs() > drift_ms {
            Finding::error(
                format!("{what}; beyond {drift_ms:.0} ms what the faster one writes waits (state.max_drift)"),
                MEND,
            )
        } else {
            Finding::warning(what, MEND)
        }
    };
    let mut sorted: Vec<f64> = readings.iter().map(|(_, ahead)| *ahead).collect();
    sorted.sort_by(f64::total_cmp);
    let median = sorted[sorted.len() / 2];
    let alike = readings.iter().filter(|(_, ahead)| off(ahead) && ahead.signum() == median.signum()).count();
    if readings.len() > 1 && off(&median) && 2 * alike > readings.len() {
        let what = format!("this host's clock is {} those of {alike} of {} members", words(-median), readings.len());
        return vec![finding(what, median)];
    }
    let odd = readings.iter().filter(|(_, ahead)| off(ahead));
    odd.map(|(name, ahead)| finding(format!("the clock of {name} is {} this host's", words(*ahead)), *ahead)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::finding::Severity;
    use super::*;

    fn check(readings: &[(&str, f64)], expect: &[(Severity, &str)]) {
        let readings: Vec<_> = readings.iter().map(|(name, ahead)| ((*name).to_owned(), *ahead)).collect();
        let found = judge(&readings, 500.0);
        assert_eq!(found.len(), expect.len(), "{found:?}");
        for (finding, (severity, words)) in found.iter().zip(expect) {
            assert!(finding.severity == *severity && finding.what.contains(words), "{words:?} is not in {finding:?}");
        }
    }

    #[test]
    fn the_odd_clock_out_is_the_wrong_one() {
        check(&[("a", 3.0), ("b", -20.0)], &[]);
        check(
            &[("a", 3.0), ("b", -20_000.0), ("c", 1.0)],
            &[(Severity::Error, "the clock of b is 20.0 s behind this host's")],
        );
        check(
            &[("a", 4_000.0), ("b", 4_100.0), ("c", 0.0)],
            &[(Severity::Error, "this host's clock is 4.0 s behind those of 2 of 3")],
        );
        check(
            &[("a", -200.0), ("b", -210.0)],
            &[(Severity::Warning, "this host's clock is 0.2 s ahead of those of 2 of 2")],
        );
        // Of two, nobody knows which.
        check(&[("a", 4_000.0)], &[(Severity::Error, "the clock of a is 4.0 s ahead of this host's")]);
    }

    #[test]
    fn a_slow_answer_accuses_nobody() {
        let clock = serde_json::json!({"node": "n", "name": "", "ahead_ms": -700.0, "within_ms": 650.0});
        assert_eq!(reading(&clock), Some(("n".to_owned(), -50.0)));
        assert_eq!(reading(&serde_json::json!({"node": "n", "ahead_ms": null})), None);
    }
}
