//! What starts the agent, and what it is allowed: the systemd unit, and the limits of the process.

use std::collections::BTreeMap;
use std::fs;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use super::finding::{Finding, Outcome};
use super::place::Place;

/// The unit that packages install.
const UNIT: &str = "selvedge.service";
/// Open files below which a busy agent runs out: the API alone takes 1,024 connections.
const OPEN_FILES_MIN: u64 = 2_048;
/// Restarts by systemd since the unit was started above which something is wrong that restarts do not mend.
const RESTARTS_MAX: u64 = 3;
/// Time for systemd to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whether the unit is installed, starts with the host, and stays up.
pub(super) async fn unit() -> Outcome {
    let properties = "--property=LoadState,UnitFileState,ActiveState,Result,NRestarts,LimitNOFILESoft";
    let mut command = Command::new("systemctl");
    command.args(["show", UNIT, properties]).stdin(Stdio::null()).kill_on_drop(true);
    let told = match tokio::time::timeout(PATIENCE, command.output()).await {
        Ok(Ok(output)) if output.status.success() => String::from_utf8_lossy(&output.stdout).into_owned(),
        Ok(Ok(_)) => return Err("systemd does not run on this host".to_owned()),
        Ok(Err(_)) => return Err("there is no systemd on this host".to_owned()),
        Err(_) => return Err(format!("systemd does not answer within {} s", PATIENCE.as_secs())),
    };
    let told: BTreeMap<&str, &str> = told.lines().filter_map(|line| line.split_once('=')).collect();
    judge(&told)
}

fn judge(told: &BTreeMap<&str, &str>) -> Outcome {
    let say = |name: &str| told.get(name).copied().unwrap_or_default();
    if say("LoadState") != "loaded" {
        return Err(format!("{UNIT} is not installed"));
    }
    let mut found = Vec::new();
    if say("UnitFileState") == "disabled" {
        found
            .push(Finding::warning(format!("{UNIT} does not start with the host"), format!("systemctl enable {UNIT}")));
    }
    if say("UnitFileState") == "masked" {
        found.push(Finding::warning(
            format!("{UNIT} is masked and cannot be started"),
            format!("systemctl unmask {UNIT}"),
        ));
    }
    if say("ActiveState") == "failed" {
        let why = say("Result");
        found.push(Finding::error(
            format!("{UNIT} has failed ({why})"),
            format!("journalctl -u {UNIT} -n 50; systemctl restart {UNIT}"),
        ));
    }
    if let Some(restarts) = say("NRestarts").parse::<u64>().ok().filter(|restarts| *restarts > RESTARTS_MAX) {
        found.push(Finding::warning(
            format!("systemd has restarted it {restarts} times"),
            format!("journalctl -u {UNIT} -p warning"),
        ));
    }
    if let Some(files) = say("LimitNOFILESoft").parse::<u64>().ok().filter(|files| *files < OPEN_FILES_MIN) {
        let mend = format!("systemctl edit {UNIT}, with LimitNOFILE=65536 under [Service]");
        found.push(Finding::warning(format!("{UNIT} may open only {files} files"), mend));
    }
    Ok(found)
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
    use super::*;

    fn found(text: &str) -> Result<Vec<String>, String> {
        let told = text.lines().filter_map(|line| line.split_once('=')).collect();
        judge(&told).map(|found| found.into_iter().map(|finding| finding.mend).collect())
    }

    #[test]
    fn a_unit_that_is_as_installed_is_sound() {
        let sound = "LoadState=loaded\nUnitFileState=enabled\nActiveState=active\nResult=success\nNRestarts=0\nLimitNOFILESoft=65536";
        assert_eq!(found(sound), Ok(Vec::new()));
        let worst = "LoadState=loaded\nUnitFileState=disabled\nActiveState=failed\nResult=watchdog\nNRestarts=5\nLimitNOFILESoft=1024";
        let mends = found(worst).expect("looked at");
        for wanted in ["systemctl enable", "journalctl -u selvedge.service -n", "-p warning", "LimitNOFILE=65536"] {
            assert!(mends.iter().any(|mend| mend.contains(wanted)), "{wanted} is not in {mends:?}");
        }
        assert_eq!(found("LoadState=not-found\nUnitFileState="), Err("selvedge.service is not installed".to_owned()));
    }
}
