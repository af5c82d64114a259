//! Each check on a data directory where that one thing is wrong.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::finding::{Finding, Outcome, Severity};
use super::*;
use crate::agent::found;
use crate::cli::ApiAddr;
use crate::runtime_info::RuntimeInfo;
use crate::store::Store;

/// A member's data directory as `selvedge init` leaves it, and a configuration of its own.
fn installed(lifetime_s: u64) -> (tempfile::TempDir, DoctorArgs) {
    let folder = tempfile::tempdir().expect("a folder");
    let (data_dir, config) = (folder.path().join("data"), folder.path().join("selvedge.toml"));
    found(&data_dir, "games", ("a".to_owned(), "eu".to_owned()), lifetime_s, false).expect("is founded");
    let text = "[net]\nlisten = [\"127.0.0.1:0\"]\n[api]\nlisten = [\"127.0.0.1:0\"]\n";
    fs::write(&config, text).expect("is written");
    let api = Some(ApiAddr::Unix(folder.path().join("api.sock")));
    let (config, data_dir) = (Some(config), Some(data_dir));
    (folder, DoctorArgs { config, data_dir, api, timeout: Duration::from_secs(1), json: false })
}

fn data_dir(args: &DoctorArgs) -> &Path {
    args.data_dir.as_deref().expect("is given")
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("changes");
}

/// The one finding of a check.
fn only(outcome: Outcome) -> Finding {
    let mut found = outcome.expect("it could look");
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

#[test]
fn what_init_leaves_is_sound() {
    let (_folder, args) = installed(86_400);
    let place = Place::of(&args);
    for outcome in [
        place::configuration(&place),
        data::directory(&place),
        data::key(&place),
        papers::certificate(&place),
        clock::host(&place),
    ] {
        let found = outcome.expect("looked at");
        assert!(found.iter().all(|finding| finding.what.contains("time service")), "{found:?}");
    }
    assert!(data::token(&place).is_err(), "there is none before the first start");
}

#[test]
fn a_wrong_key_of_the_configuration_is_named() {
    let (_folder, args) = installed(86_400);
    fs::write(args.config.as_deref().expect("is given"), "[net]\nlisen = []\n").expect("is written");
    let finding = only(place::configuration(&Place::of(&args)));
    assert!(finding.what.contains("lisen") && finding.mend.contains("selvedge check-config"), "{finding:?}");
}

#[test]
fn a_configuration_that_everybody_can_write_is_found() {
    let (_folder, args) = installed(86_400);
    let config = args.config.as_deref().expect("is given");
    mode(config, 0o664);
    assert_eq!(place::configuration(&Place::of(&args)), Ok(Vec::new()));
    mode(config, 0o666);
    let finding = only(place::configuration(&Place::of(&args)));
    assert!(finding.severity == Severity::Error && finding.mend.starts_with("chmod o-w "), "{finding:?}");
}

#[test]
fn a_directory_that_is_not_there_or_open_is_found() {
    let (folder, mut args) = installed(86_400);
    mode(data_dir(&args), 0o770);
    let finding = only(data::directory(&Place::of(&args)));
    assert!(finding.severity == Severity::Warning && finding.mend.starts_with("chmod go-w "), "{finding:?}");
    args.data_dir = Some(folder.path().join("none"));
    assert!(only(data::directory(&Place::of(&args))).mend.contains("selvedge init"));
}

#[test]
fn a_process_that_has_the_number_of_a_killed_agent_is_not_taken_for_it() {
    let (_folder, args) = installed(86_400);
    let info = RuntimeInfo {
        // A number that is some other program's by now: this test's.
        pid: std::process::id(),
        node: String::new(),
        api: vec!["http://127.0.0.1:1".to_owned()],
        listen: Vec::new(),
        started: String::new(),
    };
    info.write(data_dir(&args)).expect("is written");
    let place = Place::of(&args);
    assert!(place.was_killed && place.running.is_none());
    let (_store, _events, _) = Store::open(data_dir(&args)).expect("opens");
    let place = Place::of(&args);
    assert!(!place.was_killed && place.running == Some(info), "whoever holds the store runs");
}

#[test]
fn files_of_another_owner_are_found() {
    let (_folder, args) = installed(86_400);
    let key = data_dir(&args).join("node.key");
    if std::os::unix::fs::chown(&key, Some(65_534), None).is_err() {
        println!("skipped: only root gives files away");
        return;
    }
    let finding = only(data::directory(&Place::of(&args)));
    assert!(finding.what.contains("node.key") && finding.mend.starts_with("chown -R"), "{finding:?}");
}

#[test]
fn an_exposed_or_broken_secret_is_found() {
    let (_folder, args) = installed(86_400);
    let key = data_dir(&args).join("node.key");
    mode(&key, 0o644);
    assert!(only(data::key(&Place::of(&args))).mend.starts_with("chmod 600"));
    mode(&key, 0o600);
    fs::write(&key, "short").expect("is written");
    assert!(only(data::key(&Place::of(&args))).mend.contains("backup"));

    let token = data_dir(&args).join("api-token");
    fs::write(&token, "ab".repeat(32)).expect("is written");
    mode(&token, 0o644);
    assert!(only(data::token(&Place::of(&args))).mend.starts_with("chmod 600"));
    mode(&token, 0o600);
    assert_eq!(data::token(&Place::of(&args)), Ok(Vec::new()));
    fs::write(&token, "nonsense").expect("is written");
    assert!(only(data::token(&Place::of(&args))).mend.starts_with("rm "));
}

#[test]
fn a_certificate_near_its_end_beyond_it_or_damaged_is_found() {
    let (_folder, args) = installed(0);
    std::thread::sleep(Duration::from_millis(1_100));
    let finding = only(papers::certificate(&Place::of(&args)));
    assert!(finding.what.contains("expired") && finding.mend.contains("selvedge join"), "{finding:?}");

    let (_folder, args) = installed(86_400);
    let papers = data_dir(&args).join("cluster").join("certificate");
    fs::write(&papers, b"nonsense").expect("is written");
    assert_eq!(only(papers::certificate(&Place::of(&args))).severity, Severity::Error);
}

#[test]
fn files_from_the_future_show_a_clock_that_has_gone_back() {
    let (_folder, args) = installed(86_400);
    let key = fs::File::options().write(true).open(data_dir(&args).join("node.key")).expect("opens");
    let later = SystemTime::now() + Duration::from_secs(7_205);
    key.set_times(fs::FileTimes::new().set_modified(later)).expect("is set");
    let found = clock::host(&Place::of(&args)).expect("looked at");
    assert!(
        found.iter().any(|finding| finding.what.contains("2h") && finding.what.contains("in the future")),
        "{found:?}"
    );
}

#[test]
fn code_for_another_engine_is_noted() {
    let (_folder, args) = installed(86_400);
    let folder = data_dir(&args).join("code");
    assert!(data::code(&Place::of(&args)).is_err(), "there is none yet");
    fs::create_dir(&folder).expect("is made");
    assert_eq!(data::code(&Place::of(&args)), Ok(Vec::new()));
    fs::write(folder.join("x.code"), b"slvgcd01 of another engine, as it is written by an earlier release")
        .expect("is written");
    let finding = only(data::code(&Place::of(&args)));
    assert!(finding.severity == Severity::Note && finding.what.contains("1 of 1"), "{finding:?}");
}

/// A file system of its own, gone with this.
struct Mounted<'a>(&'a Path);

impl<'a> Mounted<'a> {
    /// `None` where one may not mount.
    fn small(at: &'a Path, options: &str) -> Option<Self> {
        let mut mount = std::process::Command::new("mount");
        let done = mount
            .args(["-t", "tmpfs", "-o", options, "selvedge-test"])
            .arg(at)
            .stderr(std::process::Stdio::null())
            .status();
        done.is_ok_and(|status| status.success()).then_some(Self(at))
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        drop(std::process::Command::new("umount").arg(self.0).status());
    }
}

#[test]
fn a_disk_without_room_is_found_in_bytes_and_in_files() {
    let (_folder, args) = installed(86_400);
    let dir = data_dir(&args);
    for (options, severity, words) in [
        ("size=1m", Severity::Error, "is full"),
        ("size=200m", Severity::Warning, "MiB left"),
        ("size=1g,nr_inodes=500", Severity::Warning, "more files"),
    ] {
        let Some(_mounted) = Mounted::small(dir, options) else {
            println!("skipped: nobody mounts here");
            return;
        };
        let finding = only(data::disk(&Place::of(&args)));
        assert!(finding.severity == severity && finding.what.contains(words), "{options}: {finding:?}");
    }
}

#[test]
fn a_folder_above_in_which_everybody_can_replace_the_directory_is_found() {
    let (folder, args) = installed(86_400);
    mode(folder.path(), 0o777);
    let finding = only(data::directory(&Place::of(&args)));
    assert!(finding.severity == Severity::Warning && finding.mend.contains("chmod o-w"), "{finding:?}");
    mode(folder.path(), 0o1777);
    assert_eq!(data::directory(&Place::of(&args)).expect("looked at"), Vec::new());
}

#[tokio::test]
async fn a_service_that_comes_up_is_why_no_agent_answers() {
    let (_folder, args) = installed(86_400);
    let place = Place::of(&args);
    let Err(error) = place.ask(args.timeout).await else { panic!("nobody is there") };
    let why = mesh::agent(&place, &error, Some("it asks the inviter".to_owned())).expect_err("nothing to mend");
    assert!(why.starts_with("no agent answers") && why.ends_with("; it asks the inviter"), "{why}");
}

#[tokio::test]
async fn no_check_is_left_out_in_silence_where_the_directory_was_taken_away() {
    let (_folder, args) = installed(86_400);
    let status =
        serde_json::json!({"health": {"ok": false, "reasons": [format!("read-only: {}", crate::store::TAKEN_AWAY)]}});
    let agent = Agent { status, nodes: serde_json::Value::Null, clocks: None, reach: None };
    let report = look(&Place::of(&args), Ok(agent)).await;
    let text = report.text();
    assert!(text.contains("not looked at: key, token, certificate, "), "one reason is said once: {text}");
    let report = serde_json::to_value(&report).expect("JSON");
    let checks = report["checks"].as_array().expect("checks");
    let skipped = |name: &str| {
        let check = checks.iter().find(|check| check["check"] == name);
        check.unwrap_or_else(|| panic!("{name} is not in {report:#}"))["skipped"].as_str()
    };
    for check in OF_DIRECTORY {
        assert!(skipped(check).is_some_and(|why| why.contains("taken away")), "{check}: {report:#}");
    }
    assert_eq!(skipped("clock"), None, "the host's own needs no directory");
}

#[test]
fn what_the_service_waits_for_is_said_of_its_own_directory_alone() {
    let (_folder, mut args) = installed(86_400);
    assert!(!Place::of(&args).is_services);
    args.data_dir = Some(crate::config::SERVICE_DATA_DIR.into());
    assert!(Place::of(&args).is_services);
}

#[tokio::test]
async fn the_report_is_of_all_and_says_what_was_left_out() {
    let (_folder, args) = installed(86_400);
    mode(&data_dir(&args).join("node.key"), 0o640);
    assert_eq!(doctor(&args).await.expect("it is printed"), EXIT_FAILED);
    let place = Place::of(&args);
    let mut report = Report::new(&place, false);
    report.add("key", data::key(&place));
    report.add("token", data::token(&place));
    report.add("notes", Ok(vec![Finding::note("n", "nothing")]));
    let text = report.text();
    for wanted in [
        "no agent answers",
        "error: key: ",
        "  mend: chmod 600 ",
        "note: notes: n",
        "not looked at: token: ",
        "2 checks: one thing to mend",
    ] {
        assert!(text.contains(wanted), "{wanted:?} is not in\n{text}");
    }
    let json = serde_json::to_value(&report).expect("JSON");
    assert_eq!((&json["healthy"], &json["checks"][0]["findings"][0]["severity"]), (&false.into(), &"error".into()));
}
