//! What starts the agent, and what it is allowed: the systemd unit, and the limits of the process.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use super::finding::{Finding, Outcome};
use super::journal;
use super::place::Place;
use crate::cli::units::span;

/// The unit that packages install.
const UNIT: &str = "selvedge.service";
/// Open files below which a busy agent runs out: the API alone takes 1,024 connections.
const OPEN_FILES_MIN: u64 = 2_048;
/// Restarts by systemd since the unit was started above which something is wrong that restarts do not mend.
const RESTARTS_MAX: u64 = 3;
/// The folder that is there while systemd runs the host (sd_booted(3)).
const SYSTEMD_RUNS: &str = "/run/systemd/system";
/// How long a start may take before it is worth more than a note: an agent that has much to read is up in less.
const START_MAX: Duration = Duration::from_secs(120);
/// Time for systemd to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// What systemd is asked for.
const PROPERTIES: &str = "--property=LoadState,UnitFileState,ActiveState,SubState,Result,NRestarts,ExecMainStatus,StatusText,\
                          InvocationID,LimitNOFILESoft,StateChangeTimestampMonotonic";

/// The unit.
pub(super) struct Unit {
    /// Whether it is installed, starts with the host, comes up and stays up.
    pub(super) found: Outcome,
    /// What it waits for while it is being started: an agent that does not answer yet is to be waited for.
    pub(super) comes_up: Option<String>,
}

/// Looks at the unit.
pub(super) async fn unit() -> Unit {
    match look().await {
        Ok((found, comes_up)) => Unit { found: Ok(found), comes_up },
        Err(why) => Unit { found: Err(why), comes_up: None },
    }
}

async fn look() -> Result<(Vec<Finding>, Option<String>), String> {
    let mut command = Command::new("systemctl");
    command.args(["show", UNIT, PROPERTIES]).stdin(Stdio::null()).kill_on_drop(true);
    let told = match tokio::time::timeout(PATIENCE, command.output()).await {
        Ok(Ok(output)) if output.status.success() => String::from_utf8_lossy(&output.stdout).into_owned(),
        Ok(Ok(output)) if Path::new(SYSTEMD_RUNS).exists() => {
            let said = String::from_utf8_lossy(&output.stderr);
            let said = said.lines().next().unwrap_or("it does not say why").to_owned();
            return Err(format!("systemd cannot be asked as this user ({said}); run this as root"));
        }
        Ok(Ok(_)) => return Err("systemd does not run on this host".to_owned()),
        Ok(Err(_)) => return Err("there is no systemd on this host".to_owned()),
        Err(_) => return Err(format!("systemd does not answer within {} s", PATIENCE.as_secs())),
    };
    let told = Told(told.lines().filter_map(|line| line.split_once('=')).collect());
    if told.say("LoadState") != "loaded" {
        return Err(format!("{UNIT} is not installed"));
    }
    let last_words = match told.fails() {
        // One that is just being started has said nothing yet; the run before it has.
        Some(_) if told.say("SubState") == "start" => journal::last_words(UNIT, "").await,
        Some(_) => journal::last_words(UNIT, told.say("InvocationID")).await,
        None => None,
    };
    Ok((told.judge(last_words.as_deref(), host_up()), told.comes_up()))
}

/// How long this host has been up, which is the time that systemd's own is told in. That this counts sleep too makes a start look longer
/// at the most.
fn host_up() -> Option<Duration> {
    let text = fs::read_to_string("/proc/uptime").ok()?;
    let seconds: f64 = text.split_whitespace().next()?.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// What systemd says of the unit.
struct Told<'a>(BTreeMap<&'a str, &'a str>);

impl Told<'_> {
    fn say(&self, name: &str) -> &str {
        self.0.get(name).copied().unwrap_or_default()
    }

    fn restarts(&self) -> u64 {
        self.say("NRestarts").parse().unwrap_or_default()
    }

    /// How it fails, if it does: for good, or in a loop. A unit that is being started again is found while it waits for that, or while it
    /// tries, which is most of the time where a start takes long.
    fn fails(&self) -> Option<String> {
        match (self.say("ActiveState"), self.say("SubState")) {
            ("failed", _) => Some(format!("{UNIT} has failed")),
            ("activating", "auto-restart" | "auto-restart-queued") => {
                Some(format!("{UNIT} fails and is started again and again ({} by now)", times(self.restarts().max(1))))
            }
            ("activating", _) if self.restarts() > 0 => {
                Some(format!("{UNIT} has failed {} and is being started again", times(self.restarts())))
            }
            _ => None,
        }
    }

    /// What it says of itself.
    fn status(&self) -> Option<&str> {
        Some(self.say("StatusText")).filter(|text| !text.is_empty())
    }

    /// What it waits for, if it is being started and has not failed before.
    fn comes_up(&self) -> Option<String> {
        let comes_up = self.say("ActiveState") == "activating" && self.fails().is_none();
        comes_up.then(|| format!("{UNIT} is not up yet: {}", self.status().unwrap_or("it does not say why")))
    }

    /// How long it has been in the state that it is in, on a host that has been up for `host_up`.
    fn lasts(&self, host_up: Duration) -> Option<Duration> {
        let since = self.say("StateChangeTimestampMonotonic").parse::<u64>().ok().filter(|since| *since > 0)?;
        Some(host_up.saturating_sub(Duration::from_micros(since)))
    }

    /// Why it ended, in words where the number has some (systemd.exec(5), and our own exit codes). Nothing of one that is just being
    /// started.
    fn ending(&self) -> String {
        let status = self.say("ExecMainStatus");
        let words = match status.parse::<i32>().unwrap_or_default() {
            2 => "its configuration or a credential is wrong",
            200 | 226 => "systemd cannot set up what the unit lets it see of the file system",
            203 => "its program cannot be run",
            216 | 217 => "its account or group does not exist: systemd-sysusers selvedge.conf",
            228 => "the kernel refuses the unit's filter of system calls",
            233 | 238 => "systemd cannot make its folders in /run or /var/lib",
            243 => {
                "systemd cannot hand it its credentials: /etc/credstore, /run/credstore, and LoadCredential in its unit"
            }
            _ => "",
        };
        match (self.say("Result"), status, words) {
            ("" | "success", ..) => String::new(),
            ("exit-code", status, "") => format!(": exit code {status}"),
            ("exit-code", status, words) => format!(": exit code {status}, {words}"),
            (result, ..) => format!(": {result}"),
        }
    }

    /// What is wrong, `last_words` being what the journal holds of the last run, and `host_up` how long this host has been up.
    fn judge(&self, last_words: Option<&str>, host_up: Option<Duration>) -> Vec<Finding> {
        let mut found = Vec::new();
        if self.say("UnitFileState") == "disabled" {
            let mend = format!("systemctl enable {UNIT}");
            found.push(Finding::warning(format!("{UNIT} does not start with the host"), mend));
        }
        if self.say("UnitFileState") == "masked" {
            let mend = format!("systemctl unmask {UNIT}");
            found.push(Finding::warning(format!("{UNIT} is masked and cannot be started"), mend));
        }
        if let Some(fails) = self.fails() {
            let said = last_words.or(self.status()).map_or_else(String::new, |said| format!("; it said last: {said}"));
            let mend = format!("journalctl -u {UNIT} -n 50; systemctl restart {UNIT}");
            found.push(Finding::error(format!("{fails}{}{said}", self.ending()), mend));
        } else if let Some(what) = self.comes_up() {
            let mend = format!("systemctl status {UNIT} shows how far it is");
            let lasts = host_up.and_then(|host_up| self.lasts(host_up)).filter(|lasts| *lasts > START_MAX);
            found.push(match lasts {
                Some(lasts) => {
                    let mend = format!("mend what it waits for; {mend}, journalctl -u {UNIT} -n 50 what went before");
                    Finding::warning(format!("{what}; its start began {} ago", span(lasts)), mend)
                }
                None => Finding::note(what, mend),
            });
        } else if self.restarts() > RESTARTS_MAX {
            let what = format!("systemd has restarted it {} times", self.restarts());
            found.push(Finding::warning(what, format!("journalctl -u {UNIT} -p warning")));
        }
        let files = self.say("LimitNOFILESoft").parse::<u64>().ok();
        if let Some(files) = files.filter(|files| *files < OPEN_FILES_MIN) {
            let mend = format!("systemctl edit {UNIT}, with LimitNOFILE=65536 under [Service]");
            found.push(Finding::warning(format!("{UNIT} may open only {files} files"), mend));
        }
        found
    }
}

fn times(count: u64) -> String {
    if count == 1 { "once".to_owned() } else { format!("{count} times") }
}

/// Whether the agent that runs may open as many files as it needs.
pub(super) fn open_files(place: &Place) -> Outcome {
    place.looked()?;
    let Some(running) = &place.running else {
        return Err("no agent runs; its limits are those of whoever starts it".to_owned());
    };
    let limits = fs::read_to_string(format!("/proc/{}/limits", running.pid)).map_err(|error| error.to_string())?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().next()).and_then(|soft| soft.parse::<u64>().ok());
    let low = soft.filter(|soft| *soft < OPEN_FILES_MIN);
    Ok(low
        .map(|soft| {
            let mend = format!(
                "LimitNOFILE=65536 in its unit (systemctl edit {UNIT}), or ulimit -n 65536 before it is started"
            );
            Finding::warning(format!("the agent may open only {soft} files"), mend)
        })
        .into_iter()
        .collect())
}

#[cfg(test)]
mod tests {
    use super::super::finding::Severity;
    use super::*;

    /// What is found ten minutes after the host came up.
    fn found(text: &str) -> Vec<Finding> {
        told(text).judge(Some("error: no room"), Some(Duration::from_secs(600)))
    }

    fn told(text: &str) -> Told<'_> {
        Told(text.lines().filter_map(|line| line.split_once('=')).collect())
    }

    #[test]
    fn a_unit_that_is_as_installed_is_sound() {
        let sound = "LoadState=loaded\nUnitFileState=enabled\nActiveState=active\nSubState=running\nResult=success\nNRestarts=0\nLimitNOFILESoft=65536";
        assert_eq!(found(sound), Vec::new());
        let worst = "UnitFileState=disabled\nActiveState=failed\nResult=watchdog\nNRestarts=5\nLimitNOFILESoft=1024";
        let worst = found(worst);
        for wanted in ["systemctl enable", "journalctl -u selvedge.service -n", "LimitNOFILE=65536"] {
            assert!(worst.iter().any(|finding| finding.mend.contains(wanted)), "{wanted} is not in {worst:?}");
        }
        let often = found("ActiveState=active\nSubState=running\nNRestarts=5");
        assert!(often[0].mend.contains("-p warning"), "{often:?}");
    }

    #[test]
    fn a_service_that_comes_up_is_waited_for_and_one_that_fails_is_not() {
        let waits = told("ActiveState=activating\nSubState=start\nStatusText=no member yet: it asks the inviter");
        let words = "selvedge.service is not up yet: no member yet: it asks the inviter";
        assert_eq!(waits.comes_up().as_deref(), Some(words));
        let fails = told("ActiveState=activating\nSubState=auto-restart\nResult=exit-code\nNRestarts=7");
        assert_eq!(fails.comes_up(), None);
        assert_eq!(told("ActiveState=active\nSubState=running\nStatusText=is not up yet: x").comes_up(), None);
    }

    #[test]
    fn a_start_that_lasts_is_more_than_a_note() {
        let check = |since_us: &str, severity: Severity| {
            let told = format!("ActiveState=activating\nSubState=start\nStateChangeTimestampMonotonic={since_us}");
            let found = found(&told);
            assert!(found.len() == 1 && found[0].severity == severity, "{since_us}: {found:?}");
        };
        check("500000000", Severity::Note);
        check("470000000", Severity::Warning);
        // It does not say since when, or by another clock.
        check("", Severity::Note);
        check("0", Severity::Note);
        check("700000000", Severity::Note);
    }

    #[test]
    fn a_service_that_fails_in_a_loop_is_found_with_its_last_words() {
        let check = |told: &str, expect: &[&str]| {
            let found = found(told);
            assert_eq!(found.len(), usize::from(!expect.is_empty()), "{told}: {found:?}");
            let words = found.first().map_or("", |finding| &finding.what);
            assert!(expect.iter().all(|expect| words.contains(expect)), "{expect:?} are not in {words}");
        };
        let last = "it said last: error: no room";
        check(
            "ActiveState=activating\nSubState=auto-restart\nResult=exit-code\nExecMainStatus=1\nNRestarts=7",
            &["again and again (7 times", "by now): exit code 1; ", last],
        );
        check(
            "ActiveState=activating\nSubState=start\nResult=success\nExecMainStatus=0\nNRestarts=1",
            &["has failed once and is being started again; it said", last],
        );
        check("ActiveState=failed\nResult=exit-code\nExecMainStatus=2", &["exit code 2, its configuration or", last]);
        let credentials = "ActiveState=activating\nSubState=auto-restart\nResult=exit-code\nExecMainStatus=243";
        check(credentials, &["cannot hand it its credentials", "/etc/credstore"]);
        check("ActiveState=failed\nResult=watchdog\nExecMainStatus=6", &["has failed: watchdog; "]);
        // It comes up for the first time.
        check("ActiveState=activating\nSubState=start\nStatusText=no member yet: x", &["not up yet: no member yet: x"]);
        check("ActiveState=inactive\nSubState=dead\nResult=success\nNRestarts=2", &[]);
    }
}
