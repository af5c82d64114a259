//! A full disk makes the agent read-only, and says so; when there is room again it goes on, and nothing acknowledged is missing.

use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use selvedge_tests::http::ask;
use selvedge_tests::{Agent, Launch, eventually, skip};
use serde_json::json;

const PATIENCE: Duration = Duration::from_secs(30);

/// A file system in memory with little room, unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn try_new(folder: &Path) -> Result<Self, String> {
        let path = folder.join("disk");
        std::fs::create_dir(&path).map_err(|error| error.to_string())?;
        run("mount", &["-t", "tmpfs", "-o", "size=6m", "tmpfs", &path.to_string_lossy()])?;
        Ok(Self(path))
    }

    /// Writes until nothing more fits.
    fn fill(&self) {
        let mut file = std::fs::File::create(self.0.join("filling")).expect("a file");
        while file.write_all(&[7; 4_096]).is_ok() {}
    }

    fn make_room(&self) {
        run("mount", &["-o", "remount,size=64m", &self.0.to_string_lossy()]).expect("our own disk can be made larger");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Without a mount the folder is an ordinary one, and goes with the test's.
        drop(run("umount", &["--lazy", &self.0.to_string_lossy()]));
    }
}

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(arguments).output().map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()) }
}

#[test]
fn a_full_disk_loses_nothing_that_was_acknowledged() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = match SmallDisk::try_new(folder.path()) {
        Ok(disk) => disk,
        Err(reason) => return skip("mount", &reason),
    };
    let agent = Launch::new(&disk.0, "host").joining(&[]).start();
    let filling = "x".repeat(60_000);
    let mut acknowledged = 0;
    let refused = eventually("the disk is full", PATIENCE * 3, || {
        let (key, field) = (format!("lwwmap/filling-{acknowledged}"), format!("full={filling}"));
        let output = agent.cli(&["put", &key, "put", &field, "--durable", "--timeout", "30s"]);
        if output.code == 0 {
            assert_eq!(agent.cli(&["put", "gcounter/acknowledged", "increment", "1"]).code, 0);
            acknowledged += 1;
            return None;
        }
        Some(output)
    });
    assert!(acknowledged > 0, "{}", refused.stderr);
    eventually("writes are refused with the reason", PATIENCE, || {
        let output = agent.cli(&["put", "gcounter/acknowledged", "increment", "1000"]);
        assert_ne!(output.code, 0, "a write was taken by a full disk");
        output.stderr.contains("read_only").then_some(())
    });
    let health = agent.json(&["status"])["health"].clone();
    assert!(health["ok"] == false && health["reasons"].to_string().contains("read-only"), "{health}");
    disk.make_room();
    eventually("writes are taken again", PATIENCE, || {
        (agent.cli(&["put", "gset/after", "add", "room", "--durable"]).code == 0).then_some(())
    });
    let agent = agent.kill().start();
    for write in 0..acknowledged {
        let value = agent.value(&format!("lwwmap/filling-{write}"));
        assert!(
            value.is_some_and(|fields| fields["full"].is_string()),
            "write {write} was acknowledged and is missing"
        );
    }
    assert_eq!(agent.value("gset/after"), Some(json!(["room"])));
}

#[test]
fn a_start_on_a_full_disk_serves_what_is_there_and_writes_once_there_is_room() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = match SmallDisk::try_new(folder.path()) {
        Ok(disk) => disk,
        Err(reason) => return skip("mount", &reason),
    };
    let port =
        TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port").to_string();
    let agent = Launch::new(&disk.0, "host").joining(&[]).with(&["--api", &port]).start();
    let put = |agent: &Agent| agent.cli(&["put", "gcounter/kept", "increment", "1", "--durable"]);
    assert_eq!(put(&agent).code, 0);
    let (info, mut launch, mut kept) = (agent.data_dir().join("agent.json"), agent.kill(), 1);
    let agent = loop {
        drop(std::fs::remove_file(&info));
        disk.fill();
        let agent = launch.start_at(&format!("http://{port}"));
        assert_eq!(agent.value("gcounter/kept"), Some(json!(kept)));
        let put = put(&agent);
        if put.code != 0 {
            assert!(put.stderr.contains("read_only"), "{put:?}");
            break agent;
        }
        // A database gives back what it does not need when it is opened, until it needs all that it has.
        kept += 1;
        assert!(kept < 20, "room is found again and again");
        launch = agent.kill();
    };
    let health = agent.json(&["status"])["health"].clone();
    assert!(health["ok"] == false && health["reasons"].to_string().contains("read-only"), "{health}");
    assert!(!info.exists(), "there was room");

    disk.make_room();
    eventually("writes are taken again", PATIENCE, || {
        (agent.cli(&["put", "gset/after", "add", "room", "--durable"]).code == 0).then_some(())
    });
    eventually("it is found by its data directory", PATIENCE, || info.exists().then_some(()));
    eventually("it is well", PATIENCE, || (agent.json(&["status"])["health"]["ok"] == true).then_some(()));
    let (launch, code) = agent.stop();
    assert_eq!(code, Some(0));
    let agent = launch.start();
    assert_eq!((agent.value("gcounter/kept"), agent.value("gset/after")), (Some(json!(kept)), Some(json!(["room"]))));
}

#[test]
fn a_stop_waits_for_a_disk_that_has_no_room_until_it_has() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = match SmallDisk::try_new(folder.path()) {
        Ok(disk) => disk,
        Err(reason) => return skip("mount", &reason),
    };
    let agent = Launch::new(&disk.0, "host").joining(&[]).start();
    let filling = format!("full={}", "x".repeat(60_000));
    // Acknowledged when it is applied, and durable when the disk has taken it, which it does not any more.
    let mut taken = 0;
    eventually("the disk is full", PATIENCE * 3, || {
        let put = agent.cli(&["put", &format!("lwwmap/filling-{taken}"), "put", &filling]);
        taken += u32::from(put.code == 0);
        (put.code != 0).then_some(())
    });
    agent.signal("TERM");
    eventually("it waits for the disk", PATIENCE, || agent.log().contains("the stop waits for it").then_some(()));
    disk.make_room();
    let (launch, code) = agent.ended();
    assert_eq!(code, Some(0));
    let agent = launch.start();
    for write in 0..taken {
        assert!(agent.value(&format!("lwwmap/filling-{write}")).is_some(), "write {write} was acknowledged");
    }
}

#[test]
fn an_asset_for_which_the_disk_has_no_room_is_given_and_not_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = match SmallDisk::try_new(folder.path()) {
        Ok(disk) => disk,
        Err(reason) => return skip("mount", &reason),
    };
    let large = Launch::new(folder.path(), "large").joining(&[]).start();
    let small = Launch::new(&disk.0, "small").joining(&[&large]).start();
    eventually("they know each other", PATIENCE, || (small.alive() == 2 && large.alive() == 2).then_some(()));
    let asset = vec![7; 6 * 1024 * 1024];
    let refused = ask(&small, "PUT", "/v1/assets", &asset);
    assert_eq!(refused.status, 503, "{}", String::from_utf8_lossy(&refused.body));
    assert_eq!(ask(&large, "PUT", "/v1/assets", &asset).status, 200);
    let path = format!("/v1/assets/{}", selvedge::spec::Digest::of(&asset));
    assert!(ask(&small, "GET", &path, b"").body == asset);
    let told = String::from_utf8(ask(&small, "GET", "/metrics", b"").body).expect("text");
    assert!(told.contains("selvedge_asset_failures_total{reason=\"no_room\"} 1"), "{told}");
    assert_eq!(
        small.cli(&["put", "gcounter/after", "increment", "1", "--durable"]).code,
        0,
        "the agent's own files had room"
    );
}
