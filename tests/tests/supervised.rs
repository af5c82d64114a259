//! A supervisor that speaks systemd's notification protocol is told when the agent serves, that it lives, and when it goes.

use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::{Duration, Instant};

use selvedge_tests::{Launch, eventually};

const PATIENCE: Duration = Duration::from_secs(30);

/// The supervisor's end.
struct Socket(UnixDatagram);

impl Socket {
    fn new(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).expect("a socket");
        socket.set_read_timeout(Some(PATIENCE)).expect("can be set");
        Self(socket)
    }

    /// The next message that says `what`.
    fn hears(&self, what: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut buffer = [0; 4_096];
        while Instant::now() < deadline {
            let length = self.0.recv(&mut buffer).expect("a message in time");
            let message = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if message.lines().any(|line| line.starts_with(what)) {
                return message;
            }
        }
        panic!("nothing said {what}");
    }

    /// Everything that waits is forgotten.
    fn forget(&self) {
        self.0.set_nonblocking(true).expect("can be set");
        while self.0.recv(&mut [0; 4_096]).is_ok() {}
        self.0.set_nonblocking(false).expect("can be set");
    }

    /// Whether nothing says `what` for `time`.
    fn is_silent(&self, what: &str, time: Duration) -> bool {
        let deadline = Instant::now() + time;
        let mut buffer = [0; 4_096];
        while let Some(left) = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            self.0.set_read_timeout(Some(left)).expect("can be set");
            let Ok(length) = self.0.recv(&mut buffer) else { return true };
            if String::from_utf8_lossy(&buffer[..length]).starts_with(what) {
                return false;
            }
        }
        true
    }
}

#[test]
fn the_supervisor_hears_of_the_start_of_life_and_of_the_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, config) = (folder.path().join("notify"), folder.path().join("selvedge.toml"));
    let socket = Socket::new(&path);
    std::fs::write(&config, "[log]\nlevel = \"error\"\n").expect("is written");
    // As systemd sets them: what wants signs of life is the process that it started.
    let environment =
        format!("export NOTIFY_SOCKET={} WATCHDOG_USEC=400000 WATCHDOG_PID=$$; exec \"$@\"", path.display());
    let launch = Launch::new(folder.path(), "one")
        .joining(&[])
        .with(&["--config", &config.to_string_lossy()])
        .through(&["sh", "-c", &environment, "sh"]);
    let agent = launch.start();
    assert!(socket.hears("STATUS=").starts_with("STATUS=running"));
    assert_eq!(socket.hears("READY=1"), "READY=1");
    for _ in 0..3 {
        socket.hears("WATCHDOG=1");
    }

    assert_eq!(agent.log(), "", "it was to tell of errors alone");

    // Its configuration again: what can change does, the rest is named, a file that is wrong changes nothing.
    let says = |what: &str| eventually(what, PATIENCE, || agent.log().contains(what).then_some(()));
    std::fs::write(&config, "[log]\nlevel = \"info\"\n[placement]\ndwell = \"1m\"\n").expect("is written");
    agent.signal("HUP");
    socket.hears("RELOADING=1");
    socket.hears("READY=1");
    says("sections=\"placement\"");
    std::fs::write(&config, "[log]\nlevel = \"info\"\n").expect("is written");
    agent.signal("HUP");
    socket.hears("READY=1");
    says("INFO");
    std::fs::write(&config, "[log]\nlevel = \"loud\"\n").expect("is written");
    agent.signal("HUP");
    socket.hears("READY=1");
    says("nothing of it was changed");

    // A process that stands still gives no sign of life; one that goes on does again.
    agent.stall();
    socket.forget();
    assert!(socket.is_silent("WATCHDOG=1", Duration::from_secs(1)));
    agent.resume();
    socket.0.set_read_timeout(Some(PATIENCE)).expect("can be set");
    socket.hears("WATCHDOG=1");

    let (_, code) = agent.stop();
    assert_eq!(code, Some(0));
    socket.hears("STOPPING=1");
}

#[test]
fn why_a_start_fails_is_told_to_the_supervisor_and_in_one_line_of_the_journal() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("notify");
    let socket = Socket::new(&path);
    // What `JOURNAL_STREAM` says is what stderr is: here the pipe that the test reads.
    let environment = format!(
        "export NOTIFY_SOCKET={} JOURNAL_STREAM=$(stat -Lc %d:%i /proc/self/fd/2); exec \"$@\"",
        path.display()
    );
    let under = |launch: Launch| launch.through(&["sh", "-c", &environment, "sh"]).run_to_end();
    let holder = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = holder.local_addr().expect("an address").to_string();
    let failed = under(Launch::new(folder.path(), "one").with(&["--listen", &taken]));
    assert_eq!(failed.code, 1, "{failed:?}");
    let last = failed.stderr.lines().last().unwrap_or_default();
    assert!(last.starts_with("<3>error: ") && last.contains(&taken) && last.contains("; hint: "), "{failed:?}");
    let status = socket.hears("STATUS=failed: ");
    assert!(status.contains(&taken) && status.lines().count() == 1, "{status}");
    // The number of an error that the system gave is told, too.
    std::fs::create_dir_all(folder.path().join("two/node.key")).expect("a folder in the place of a file");
    assert_eq!(under(Launch::new(folder.path(), "two").joining(&[])).code, 1);
    let status = socket.hears("STATUS=failed: ");
    assert!(status.lines().any(|line| line == "ERRNO=21"), "EISDIR: {status}");
}

#[test]
fn a_host_that_was_given_secrets_joins_by_itself_and_takes_the_token_that_was_chosen() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| Launch::new(folder.path(), name).with(&["--listen", "127.0.0.1:0"]);
    let first = at("first").founding("games").start();
    let token = first.json(&["invite"])["token"].as_str().expect("a token").to_owned();
    let credentials = folder.path().join("credentials");
    std::fs::create_dir(&credentials).expect("a folder");
    std::fs::write(credentials.join("join-token"), format!("{token}\n")).expect("is written");
    let chosen = credentials.join("api-token");
    std::fs::write(&chosen, "5e1ed6e0".repeat(8)).expect("is written");
    std::fs::set_permissions(&chosen, std::os::unix::fs::PermissionsExt::from_mode(0o400)).expect("can be set");

    // As systemd does for a unit that asks for them.
    let environment = format!("export CREDENTIALS_DIRECTORY={}; exec \"$@\"", credentials.display());
    let given = |launch: Launch| launch.through(&["sh", "-c", &environment, "sh"]);
    let kiosk = given(at("kiosk")).start();
    eventually("it is a member", PATIENCE, || (first.alive() == 2).then_some(()));
    let put = kiosk.cli(&["put", "gcounter/kills", "increment", "1"]);
    assert_eq!(put.code, 0, "{put:?}");
    assert!(!kiosk.data_dir().join("api-token").exists(), "a token of its own is not made");

    // A token works once. A member does not look at it again, and nobody else gets in with it.
    let (kiosk, _) = kiosk.stop();
    let late = given(at("late")).run_to_end();
    assert!(late.code == 2 && late.stderr.contains("used by another node"), "at once, and for good: {late:?}");
    let kiosk = kiosk.start();
    eventually("it is there again", PATIENCE, || (kiosk.alive() == 2).then_some(()));
}

#[test]
fn a_host_that_comes_up_before_the_one_that_lets_it_in_waits_for_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let port =
        TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port").to_string();
    let first = Launch::new(folder.path(), "first").with(&["--listen", &port]).founding("games").start();
    let token = first.json(&["invite"])["token"].as_str().expect("a token").to_owned();
    let first = first.kill();
    std::fs::write(folder.path().join("join-token"), token).expect("is written");
    let notify = folder.path().join("notify");
    let socket = Socket::new(&notify);
    let environment = format!(
        "export CREDENTIALS_DIRECTORY={} NOTIFY_SOCKET={}; exec \"$@\"",
        folder.path().display(),
        notify.display()
    );
    let kiosk = Launch::new(folder.path(), "kiosk").with(&["--listen", "127.0.0.1:0"]);
    let kiosk = kiosk.through(&["sh", "-c", &environment, "sh"]);
    let starting = std::thread::spawn(move || kiosk.start());
    // It says what it waits for, and each time asks for longer than the next attempt takes.
    for _ in 0..2 {
        let told = socket.hears("STATUS=no member yet");
        assert!(told.contains("EXTEND_TIMEOUT_USEC=") && told.contains("nobody was reached"), "{told}");
    }
    let first = first.start();
    socket.hears("READY=1");
    let kiosk = starting.join().expect("it starts");
    eventually("it is a member", PATIENCE, || (first.alive() == 2 && kiosk.alive() == 2).then_some(()));
}

#[test]
fn a_start_is_tried_again_where_the_disk_failed_and_not_where_somebody_has_to_mend_something() {
    let folder = tempfile::tempdir().expect("a folder");
    let code = |config: &str| Launch::new(folder.path(), "one").with(&["--config", config]).run_to_end().code;
    // The kernel answers with EIO to whoever reads where nothing is mapped.
    assert_eq!(code("/proc/self/mem"), 1);
    assert_eq!(code(&folder.path().join("none").to_string_lossy()), 2);
    assert_eq!(code(&folder.path().to_string_lossy()), 2);
}
