//! A machine of our own: a Debian system that boots under its own systemd, in a container without a network.
//!
//! Owns the system's files, the container and what runs in it. Installs nothing on the machine that it runs on, and registers nothing
//! there. The invariants: what was booted is gone, files and all, when the value is dropped, also when a test fails; one machine at a time.
//! Needs root, `debootstrap`, `systemd-nspawn` and Debian itself; where something is missing, [`Machine::try_boot`] says what, and
//! the test prints it and is skipped.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::agent::{Output, finish};
use crate::wait::eventually;

/// How long the system may take to come up: a second or two, and more on a machine that compiles meanwhile.
const BOOT_PATIENCE: Duration = Duration::from_secs(90);

/// How long the system may take to go down in good order, before it is switched off.
const DOWN_PATIENCE: Duration = Duration::from_secs(20);

/// How a container ends that is to be booted again: systemd-nspawn(1) leaves that to whoever has started it with `--keep-unit`.
const BOOT_AGAIN: i32 = 133;

/// What making the system from a mirror may take, in seconds: 40 with a good line.
const MAKING_SECONDS: &str = "600";

/// What the container is called. There is one, so that what a killed test has left is found.
const NAME: &str = "selvedge-boot";

/// Packages beside the smallest system's: an init, and what the agent's package depends on.
const PACKAGES: &str = "systemd,systemd-sysv,libgcc-s1";

/// A running system. Stopped and removed when dropped.
#[derive(Debug)]
pub struct Machine {
    container: Child,
    root: PathBuf,
    /// Holds off other tests' machines for as long as this one is there.
    _turn: File,
}

impl Machine {
    /// Boots a new system. The first time, it is made from the mirror that this machine's apt uses, and kept below `~/.cache`.
    ///
    /// # Errors
    /// It cannot be done here, and why: something is missing, or the container is refused and ends at once.
    ///
    /// # Panics
    /// The container runs, and its system does not come up.
    pub fn try_boot() -> Result<Self, String> {
        permitted()?;
        let home = std::env::var_os("HOME").map_or_else(|| PathBuf::from("/root"), PathBuf::from);
        let cache = home.join(".cache/selvedge/boot");
        fs::create_dir_all(&cache).map_err(said)?;
        let turn = File::create(cache.join("lock")).map_err(said)?;
        turn.lock().map_err(said)?;
        let (kept, root) = (kept_system(&cache)?, cache.join("machine"));
        remove(&root)?;
        must("cp", &["--archive", "--reflink=auto", path(&kept), path(&root)])?;
        let container = boot(&root)?;
        let mut machine = Self { container, root, _turn: turn };
        machine.await_up().map_err(|why| format!("a container does not boot here: {why}: {}", machine.log()))?;
        Ok(machine)
    }

    /// A file of the system, as it is found from outside.
    #[must_use]
    pub fn file(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// Runs a command in the system, as its root.
    #[must_use]
    pub fn run(&self, command: &[&str]) -> Output {
        let Some(leader) = self.leader() else {
            return Output { code: -1, stdout: String::new(), stderr: "the system is down".to_owned() };
        };
        let mut enter = Command::new("nsenter");
        enter.args(["--target", &leader.to_string(), "--all", "--wdns=/", "--"]).args(command);
        enter.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("LC_ALL", "C.UTF-8");
        finish(enter.env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null()))
    }

    /// Runs a line of shell that must succeed, and gives what it printed, without the last line's end.
    ///
    /// # Panics
    /// It fails.
    #[must_use]
    pub fn sh(&self, line: &str) -> String {
        let output = self.run(&["sh", "-c", line]);
        assert_eq!(output.code, 0, "{line}: {}{}", output.stdout, output.stderr);
        output.stdout.trim_end().to_owned()
    }

    /// Waits until a line of shell succeeds.
    ///
    /// # Panics
    /// It does not in time.
    pub fn eventually(&self, what: &str, patience: Duration, line: &str) {
        eventually(what, patience, || (self.run(&["sh", "-c", line]).code == 0).then_some(()));
    }

    /// Has the system go down and come up again.
    ///
    /// # Panics
    /// It does not come up.
    pub fn reboot(&mut self) {
        // The connection to the system is cut by what it asks for.
        drop(self.run(&["systemctl", "reboot"]));
        let status =
            eventually("the system goes down", BOOT_PATIENCE, || self.container.try_wait().expect("can be asked"));
        assert_eq!(status.code(), Some(BOOT_AGAIN), "{}", self.log());
        self.container = boot(&self.root).expect("the container starts");
        self.await_up().expect("the system comes up again");
    }

    /// Fails when the container ends. One that goes on and does not come up is nothing that this machine does not permit, and panics.
    fn await_up(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + BOOT_PATIENCE;
        loop {
            let state = self.run(&["systemctl", "is-system-running"]).stdout;
            if ["running", "degraded"].contains(&state.trim()) {
                return Ok(());
            }
            if let Some(status) = self.container.try_wait().map_err(said)? {
                return Err(format!("it ended with {status}"));
            }
            let state = state.trim();
            assert!(Instant::now() < deadline, "the system is `{state}` after {BOOT_PATIENCE:?}: {}", self.log());
            std::thread::park_timeout(Duration::from_millis(50));
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(console(&self.root)).unwrap_or_default().trim().to_owned()
    }

    /// The process that is the system's first.
    fn leader(&self) -> Option<u32> {
        let pid = self.container.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
        children.split_whitespace().filter_map(|child| child.parse().ok()).find(|child: &u32| {
            let status = fs::read_to_string(format!("/proc/{child}/status")).unwrap_or_default();
            status.lines().any(|line| line.starts_with("NSpid:") && line.ends_with("\t1"))
        })
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // On its way down it unmounts what it has mounted. A system that hangs is switched off.
        if matches!(self.container.try_wait(), Ok(None)) {
            drop(Command::new("kill").args(["-TERM", &self.container.id().to_string()]).status());
        }
        let deadline = Instant::now() + DOWN_PATIENCE;
        while matches!(self.container.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::park_timeout(Duration::from_millis(50));
        }
        drop(self.container.kill());
        drop(self.container.wait());
        drop(fs::remove_dir(Path::new("/run/systemd/nspawn/propagate").join(NAME)));
        remove_control_groups();
        drop(remove(&self.root));
    }
}

/// Starts the container. A test that is killed takes it along.
fn boot(root: &Path) -> Result<Child, String> {
    let log = File::create(console(root)).map_err(said)?;
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "systemd-nspawn", "--register=no", "--keep-unit", "--private-network"]);
    command.args(["--boot", "--console=pipe", "--machine", NAME, "--directory", path(root)]);
    command.stdin(Stdio::null()).stdout(log.try_clone().map_err(said)?).stderr(log);
    command.spawn().map_err(said)
}

/// Where the system's console is kept.
fn console(root: &Path) -> PathBuf {
    root.with_extension("log")
}

/// Whether this may be tried at all.
fn permitted() -> Result<(), String> {
    let is_root = fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    if !is_root {
        return Err("only root can boot a container".to_owned());
    }
    let is_missing = |tool: &&&str| {
        let found = Command::new("sh").args(["-c", &format!("command -v {tool}")]).stdout(Stdio::null()).status();
        !found.is_ok_and(|status| status.success())
    };
    match ["systemd-nspawn", "debootstrap", "nsenter", "setpriv", "dpkg-deb", "readelf"].iter().find(is_missing) {
        Some(missing) => Err(format!("there is no {missing}")),
        None => Ok(()),
    }
}

/// The system that machines are copies of, made if need be. Of this machine's own release, whose C library the binary was built with.
fn kept_system(cache: &Path) -> Result<PathBuf, String> {
    let release = fs::read_to_string("/etc/os-release").map_err(said)?;
    let value =
        |name: &str| release.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim_matches('"');
    if value("ID=") != "debian" {
        return Err(format!("this is {}, and the package is for Debian", value("ID=")));
    }
    let codename = value("VERSION_CODENAME=");
    let kept = cache.join(codename);
    if kept.exists() {
        return Ok(kept);
    }
    let making = cache.join("making");
    remove(&making)?;
    let targets =
        ["indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Origin: Debian", "Label: Debian"];
    let known = Command::new("apt-get").args(targets).output().map_err(said)?;
    let mirror =
        String::from_utf8_lossy(&known.stdout).lines().next().unwrap_or("http://deb.debian.org/debian").to_owned();
    let include = format!("--include={PACKAGES}");
    must("timeout", &[MAKING_SECONDS, "debootstrap", "--variant=minbase", &include, codename, path(&making), &mirror])?;
    must("chroot", &[path(&making), "apt-get", "clean"])?;
    fs::rename(&making, &kept).map_err(said)?;
    Ok(kept)
}

/// What the container has left of control groups below our own. Only empty ones can be removed.
fn remove_control_groups() {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    for line in own.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(kind), Some(path)) = (parts.next(), parts.next()) else { continue };
        for mount in ["/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd"] {
            for name in ["payload", "supervisor"].into_iter().filter(|_| ["", "name=systemd"].contains(&kind)) {
                let below = format!("{mount}{path}/{name}");
                let find =
                    Command::new("find").args([&below, "-depth", "-type", "d", "-exec", "rmdir", "{}", ";"]).output();
                // What is not there, or is somebody else's, stays.
                drop(find);
            }
        }
    }
}

fn remove(folder: &Path) -> Result<(), String> {
    // Not std's: immutable files and other devices are `rm`'s to judge.
    must("rm", &["--recursive", "--force", "--one-file-system", path(folder)])
}

fn must(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{program}: {error}"))?;
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    let last: Vec<&str> = said.lines().rev().take(3).collect();
    if output.status.success() {
        Ok(())
    } else {
        Err(format!("{program} {}: {}", arguments.join(" "), last.join("; ")))
    }
}

fn path(path: &Path) -> &str {
    path.to_str().expect("the cache's path is text")
}

fn said(error: impl std::fmt::Display) -> String {
    error.to_string()
}
