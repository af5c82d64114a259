//! `selvedge doctor` on installations that run, and on such as cannot.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use selvedge_tests::agent::binary;
use selvedge_tests::http::ask;
use selvedge_tests::{Launch, Output, eventually, skip};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(60);

/// The findings of a check in a report.
fn found<'a>(report: &'a Value, name: &str) -> &'a Vec<Value> {
    check(report, name)["findings"].as_array().expect("a list of findings")
}

fn check<'a>(report: &'a Value, name: &str) -> &'a Value {
    let checks = report["checks"].as_array().expect("a list of checks");
    checks.iter().find(|one| one["check"] == name).unwrap_or_else(|| panic!("no {name} in {report:#}"))
}

fn report(output: &Output) -> Value {
    serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

#[test]
fn two_members_that_run_are_well_and_their_clocks_are_compared() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| Launch::new(folder.path(), name).with(&["--listen", "127.0.0.1:0"]);
    let first = at("first").founding("games").start();
    let second = at("second").invited_by(&first).start();
    eventually("they met", PATIENCE, || (first.alive() == 2 && second.alive() == 2).then_some(()));
    let data_dir = first.data_dir().to_string_lossy().into_owned();
    // What a small disk of the machine that tests has to say is not what this is about.
    let own = [
        "configuration",
        "data directory",
        "key",
        "token",
        "certificate",
        "ports",
        "agent",
        "health",
        "links",
        "releases",
    ];
    let well = eventually("all is well", PATIENCE, || {
        let report = report(&first.cli(&["doctor", "--data-dir", &data_dir, "--json"]));
        own.iter().all(|check| found(&report, check).is_empty()).then_some(report)
    });
    assert_eq!(found(&well, "members' clocks"), &Vec::<Value>::new());
    assert_eq!(check(&well, "members' clocks")["skipped"], Value::Null, "{well:#}");

    eventually("each is asked to knock at the other's ports, and finds them open", PATIENCE, || {
        let report = report(&first.cli(&["doctor", "--data-dir", &data_dir, "--json"]));
        let ways_in = check(&report, "ways in");
        assert_eq!(ways_in["findings"], json!([]), "{report:#}");
        // Not more often than every two seconds.
        ways_in["skipped"].is_null().then_some(())
    });
    // Nobody has ever joined at the second, so that nothing but looks at its ports could have been warned of.
    let second_dir = second.data_dir().to_string_lossy().into_owned();
    let told = report(&second.cli(&["doctor", "--data-dir", &second_dir, "--json"]));
    assert_eq!(found(&told, "ports"), &Vec::<Value>::new());
    let counted = || {
        let told = String::from_utf8(ask(&second, "GET", "/metrics", b"").body).expect("text");
        told.lines().any(|line| line.contains("reason=\"incoming_failed\"") && !line.ends_with(" 0"))
    };
    eventually("the knock is counted", PATIENCE, || counted().then_some(()));
    assert!(!second.log().contains("incoming connection"), "a look at its ports is no news: {}", second.log());

    // An agent that is gone leaves its file, and is missed.
    let launch = first.kill();
    let output = Command::new(binary())
        .args(["doctor", "--json", "--data-dir", &data_dir])
        .stdin(Stdio::null())
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    let gone: Value = serde_json::from_slice(&output.stdout).expect("one document");
    let store = &found(&gone, "store")[0];
    assert!(store["severity"] == "note" && store["what"].to_string().contains("read whole"), "{gone:#}");
    assert!(found(&gone, "agent")[0]["mend"].to_string().contains("selvedge run"), "{gone:#}");
    assert_eq!(found(&gone, "data directory")[0]["severity"], "note");
    let again = launch.start();
    assert_eq!(again.json(&["status"])["node"]["id"], json!(again.node()), "the doctor has changed nothing");
}

#[test]
fn two_installations_are_told_apart_and_neither_is_accused() {
    let folder = tempfile::tempdir().expect("a folder");
    let agent = Launch::new(folder.path(), "one").with(&["--listen", "127.0.0.1:0"]).founding("games").start();
    let other = Launch::new(folder.path(), "other").founding("others");
    let other_dir = other.data_dir().to_string_lossy().into_owned();
    // The agent by SELVEDGE_API, the directory by a flag.
    let told = report(&agent.cli(&["doctor", "--json", "--data-dir", &other_dir]));
    let finding = &found(&told, "installation")[0];
    assert_eq!(finding["severity"], "warning");
    for name in [agent.api(), agent.node(), other_dir.clone()] {
        assert!(finding["what"].as_str().is_some_and(|what| what.contains(&name)), "{name} is not in {finding}");
    }
    assert!(
        check(&told, "agent")["skipped"].as_str().is_some_and(|why| why.contains("another installation")),
        "{told:#}"
    );
    assert_eq!(found(&told, "key"), &Vec::<Value>::new(), "{told:#}");
    assert!(told["checks"].as_array().expect("checks").iter().all(|check| check["check"] != "health"), "{told:#}");
    // Only the agent is named: what it has not is not missed in the usual place.
    let mut doctor = Command::new(binary());
    doctor.args(["doctor", "--json", "--api", &agent.api()]).env("XDG_DATA_HOME", folder.path()).stdin(Stdio::null());
    let told: Value = serde_json::from_slice(&doctor.output().expect("it runs").stdout).expect("one document");
    assert!(check(&told, "data directory")["skipped"].is_string(), "{told:#}");
    assert_eq!(found(&told, "installation")[0]["severity"], "note");
    assert_eq!(found(&told, "health"), &Vec::<Value>::new(), "{told:#}");
}

#[test]
fn an_address_that_members_are_told_and_do_not_reach_is_found() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| Launch::new(folder.path(), name).with(&["--listen", "127.0.0.1:0"]);
    let first = at("first").founding("games").start();
    // Port 1 of this host, where nobody is: as behind a firewall, or a forwarding that leads elsewhere.
    let told = ["--advertise", "/ip4/127.0.0.1/tcp/1", "--advertise", "/ip4/127.0.0.1/udp/1/quic-v1"];
    let second = at("second").with(&told).invited_by(&first).start();
    eventually("they met", PATIENCE, || (first.alive() == 2 && second.alive() == 2).then_some(()));
    let told_at = ["/ip4/127.0.0.1/tcp/1", "/ip4/127.0.0.1/udp/1/quic-v1"];
    // A member knocks only where it would dial whoever asks.
    eventually("the first has heard where the second says that it is", PATIENCE, || {
        let addresses = first.json(&["peers"])[0]["link"]["addresses"].clone();
        let heard = |at: &str| addresses.as_array().is_some_and(|all| all.contains(&json!(at)));
        told_at.into_iter().all(heard).then_some(())
    });
    let report = report(&second.cli(&["doctor", "--json", "--data-dir", &second.data_dir().to_string_lossy()]));
    let found = found(&report, "ways in");
    for (finding, at) in found.iter().zip(told_at) {
        let what = finding["what"].as_str().unwrap_or_default();
        assert!(what.starts_with("first cannot reach this host at ") && what.contains(at), "{report:#}");
    }
    assert_eq!((found.len(), &found[0]["severity"]), (2, &json!("error")), "{report:#}");
}

#[test]
fn what_systemd_says_of_the_service_and_the_clock_is_told() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().expect("a folder");
    let says = |program: &str, text: &str| {
        let path = folder.path().join(program);
        std::fs::write(&path, format!("#!/bin/sh\ncat <<'END'\n{text}\nEND\n")).expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("may be run");
    };
    says("timedatectl", "no");
    says(
        "systemctl",
        "LoadState=loaded\nUnitFileState=disabled\nActiveState=activating\nSubState=auto-restart\nResult=exit-code\nExecMainStatus=1\nNRestarts=3\nLimitNOFILESoft=65536",
    );
    says(
        "journalctl",
        "{\"PRIORITY\":\"3\",\"MESSAGE\":\"error: the disk is gone\"}\n{\"PRIORITY\":\"4\",\"MESSAGE\":\"Failed with result\"}",
    );
    let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap_or_default());
    let output = Command::new(binary())
        .args(["doctor", "--json", "--data-dir"])
        .arg(folder.path().join("data"))
        .env("PATH", path)
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).expect("one document");
    let service = found(&report, "service");
    assert!(
        service[0]["mend"] == "systemctl enable selvedge.service" && service[1]["severity"] == "error",
        "{report:#}"
    );
    let looping = service[1]["what"].as_str().unwrap_or_default();
    assert!(looping.contains("3 times") && looping.ends_with("it said last: error: the disk is gone"), "{report:#}");
    assert!(found(&report, "clock")[0]["mend"].to_string().contains("set-ntp"), "{report:#}");
    assert!(found(&report, "data directory")[0]["mend"].to_string().contains("selvedge init"), "{report:#}");
}

#[test]
fn a_low_limit_of_open_files_is_found() {
    let folder = tempfile::tempdir().expect("a folder");
    let agent = Launch::new(folder.path(), "one")
        .with(&["--listen", "127.0.0.1:0"])
        .through(&["sh", "-c", "ulimit -n 512; exec \"$@\"", "sh"])
        .start();
    let output = agent.cli(&["doctor", "--json", "--data-dir", &agent.data_dir().to_string_lossy()]);
    let report = report(&output);
    assert_eq!(output.code, 1);
    let finding = &found(&report, "open files")[0];
    assert!(
        finding["what"].to_string().contains("512") && finding["mend"].to_string().contains("LimitNOFILE"),
        "{finding}"
    );
}

#[test]
fn another_account_is_told_what_it_may_not_see_and_accuses_nobody() {
    let folder = tempfile::tempdir().expect("a folder");
    let may = |path: &Path, mode: u32| {
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).expect("may be changed");
    };
    may(folder.path(), 0o755);
    // Where the account may start it, which the folder of builds need not be.
    let (program, config) = (folder.path().join("selvedge"), folder.path().join("selvedge.toml"));
    std::fs::copy(binary(), &program).expect("is copied");
    std::fs::write(&config, "[net]\nlisten = [\"0.0.0.0:0\"]\n[api]\nlisten = [\"127.0.0.1:0\"]\n").expect("written");
    let agent =
        Launch::new(folder.path(), "first").with(&["--config", &config.to_string_lossy()]).founding("games").start();
    may(agent.data_dir(), 0o700);
    let nobody = ["--reuid", "65534", "--regid", "65534", "--clear-groups"];
    let mut doctor = Command::new("setpriv");
    doctor.args(nobody).arg(&program).args(["doctor", "--json", "--api", &agent.api()]);
    doctor.arg("--config").arg(&config).arg("--data-dir").arg(agent.data_dir()).stdin(Stdio::null());
    let output = match doctor.output() {
        Ok(output) if !String::from_utf8_lossy(&output.stderr).contains("setpriv:") => output,
        Ok(output) => return skip("setpriv", &String::from_utf8_lossy(&output.stderr)),
        Err(error) => return skip("setpriv", &error.to_string()),
    };
    let told: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    let check = |name: &str| check(&told, name);
    for closed in ["data directory", "key", "token", "certificate", "compiled code", "open files", "ports"] {
        let check = check(closed);
        assert_eq!(check["findings"], json!([]), "{told:#}");
        let why = check["skipped"].as_str().unwrap_or_else(|| panic!("{closed} was looked at: {told:#}"));
        assert!(why.contains("run this as the agent's user, or as root"), "{closed}: {why}");
    }
    // What needs none of that is looked at all the same.
    for open in ["configuration", "agent", "health", "releases"] {
        assert_eq!((&check(open)["findings"], &check(open)["skipped"]), (&json!([]), &Value::Null), "{told:#}");
    }
}
