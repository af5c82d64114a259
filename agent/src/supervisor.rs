//! Whoever started this agent and watches over it: systemd, by its notification protocol (`sd_notify(3)`), where there is one.
//!
//! Tells it when the agent serves, and that its driver still turns. Measures and decides nothing. The invariants: a sign of life is sent
//! from the driver's own loop and from nowhere else, so that a loop that is stuck is noticed; telling never waits for whoever
//! is told, which is why the socket is our own: the libraries for this send on one that blocks; and whatever a status says, it is one
//! line, and short: behind a line end the protocol has another word, and a message that is too long is dropped whole.

use std::env;
use std::ffi::OsString;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::text;

/// Signs of life in the time in which the supervisor wants one: with four, a single late one is no reason for a restart.
const SIGNS_PER_PERIOD: u32 = 4;

/// Longest status, in bytes. systemd takes messages of up to 4,096; what people read in one line is shorter.
const STATUS_BYTES_MAX: usize = 1_024;

/// The supervisor, or nobody. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Supervisor(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    socket: Option<UnixDatagram>,
    /// How long to wait between two signs of life; `None` where none are wanted.
    pause: Option<Duration>,
    began: Instant,
    /// When the last sign was given, in milliseconds after `began`.
    signed_ms: AtomicU64,
    serves: AtomicBool,
    /// That it serves is still to be said.
    owes_ready: AtomicBool,
}

impl Supervisor {
    /// Nobody.
    #[must_use]
    pub fn nobody() -> Self {
        Self::new(None, None)
    }

    /// Whoever the environment names: by `NOTIFY_SOCKET`, and by `WATCHDOG_USEC` where signs of life are wanted of this process.
    #[must_use]
    pub fn of_environment() -> Self {
        let socket = env::var_os("NOTIFY_SOCKET").and_then(|name| match connect(&name) {
            Ok(socket) => Some(socket),
            Err(error) => {
                tracing::warn!(%error, "the supervisor that the environment names cannot be told anything");
                None
            }
        });
        let number = |name| env::var(name).ok().and_then(|text: String| text.parse::<u64>().ok());
        let is_ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let period = number("WATCHDOG_USEC").filter(|_| is_ours).map(Duration::from_micros);
        Self::new(socket, period)
    }

    fn new(socket: Option<UnixDatagram>, period: Option<Duration>) -> Self {
        let pause = period.map(|period| period / SIGNS_PER_PERIOD);
        let (signed_ms, serves, owes_ready) = Default::default();
        Self(Arc::new(Inner { socket, pause, began: Instant::now(), signed_ms, serves, owes_ready }))
    }

    /// The agent serves, and how it is, for people (`systemctl status` shows it).
    pub fn ready(&self, status: &str) {
        self.0.serves.store(true, Ordering::Relaxed);
        self.0.owes_ready.store(true, Ordering::Relaxed);
        self.status(status);
    }

    /// How it is, for as long as it serves. What could not be told of that comes with it.
    pub fn status(&self, status: &str) {
        if self.0.serves.load(Ordering::Relaxed) {
            self.tell(&format!("STATUS={}", in_a_line(status)));
            self.say_ready();
        }
    }

    /// It is not that far yet, does `what`, and is not to be given up before `patience` has passed.
    pub fn starting(&self, what: &str, patience: Duration) {
        self.tell(&format!("EXTEND_TIMEOUT_USEC={}\nSTATUS={}", patience.as_micros(), in_a_line(what)));
    }

    /// It reads its configuration again, with `read`. Before it serves, nobody is told.
    pub fn reload(&self, read: impl FnOnce()) {
        let serves = self.0.serves.load(Ordering::Relaxed);
        if serves {
            self.0.owes_ready.store(false, Ordering::Relaxed);
            self.tell("RELOADING=1");
        }
        read();
        if serves {
            self.0.owes_ready.store(true, Ordering::Relaxed);
            self.say_ready();
        }
    }

    /// Says that it serves if that is still to be said, and until it was: a service that is never ready is ended, and so is one whose
    /// reload never ends. A message of its own, which nothing that stands beside it can spoil.
    fn say_ready(&self) {
        let owes = &self.0.owes_ready;
        if self.0.serves.load(Ordering::Relaxed) && owes.swap(false, Ordering::Relaxed) && !self.tell("READY=1") {
            owes.store(true, Ordering::Relaxed);
        }
    }

    /// It is on its way down, and whatever else is said of how it is does not count any more.
    pub fn stopping(&self) {
        self.0.serves.store(false, Ordering::Relaxed);
        self.tell("STOPPING=1\nSTATUS=stopping: what was acknowledged becomes durable");
    }

    /// It ends, for this reason and, where the system refused it something, with this error number: what `systemctl status` shows of a
    /// service that has failed.
    pub fn failed(&self, why: &str, errno: Option<i32>) {
        let why = why.lines().map(str::trim).collect::<Vec<_>>().join("; ");
        let errno = errno.map_or_else(String::new, |errno| format!("\nERRNO={errno}"));
        self.tell(&format!("STATUS={}{errno}", in_a_line(&format!("failed: {why}"))));
    }

    /// The driver has made a pass. Costs next to nothing while no sign is due.
    pub fn turned(&self) {
        let Inner { pause: Some(pause), began, signed_ms, .. } = &*self.0 else { return };
        let now_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let since_ms = now_ms.saturating_sub(signed_ms.load(Ordering::Relaxed));
        if u128::from(since_ms) >= pause.as_millis() {
            signed_ms.store(now_ms, Ordering::Relaxed);
            self.tell("WATCHDOG=1");
        }
    }

    /// Whether everybody was told who is to be. A supervisor that cannot be told is no reason to stop or to wait: if it wanted a sign and
    /// gets none, it acts.
    fn tell(&self, message: &str) -> bool {
        let Some(socket) = &self.0.socket else { return true };
        let sent = socket.send(message.as_bytes());
        if let Err(error) = &sent {
            tracing::debug!(%error, "the supervisor could not be told");
        }
        sent.is_ok()
    }
}

/// A status as a message can hold it, whoever had a hand in its words.
fn in_a_line(status: &str) -> String {
    text::line(status, STATUS_BYTES_MAX)
}

/// A socket to `name`: a path, or an abstract name after `@`.
fn connect(name: &OsString) -> io::Result<UnixDatagram> {
    let address = match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.connect_addr(&address)?;
    Ok(socket)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A supervisor that wants a sign of life in each `period`, and its end of the socket.
    pub(crate) fn supervisor(period: Option<Duration>) -> (Supervisor, UnixDatagram) {
        let (ours, theirs) = UnixDatagram::pair().expect("a pair of sockets");
        ours.set_nonblocking(true).expect("can be set");
        (Supervisor::new(Some(ours), period), theirs)
    }

    /// What was told and not yet read.
    pub(crate) fn told(socket: &UnixDatagram) -> Vec<String> {
        socket.set_nonblocking(true).expect("can be set");
        let mut buffer = [0; 4_096];
        let message =
            || socket.recv(&mut buffer).ok().map(|length| String::from_utf8_lossy(&buffer[..length]).into_owned());
        std::iter::from_fn(message).collect()
    }

    #[test]
    fn signs_of_life_are_given_as_often_as_they_are_wanted() {
        for (period, expect) in [(None, 0), (Some(Duration::from_secs(3_600)), 0), (Some(Duration::ZERO), 2)] {
            let (supervisor, socket) = supervisor(period);
            supervisor.turned();
            supervisor.turned();
            assert_eq!(told(&socket), vec!["WATCHDOG=1"; expect], "{period:?}");
        }
    }

    #[test]
    fn a_reload_before_the_agent_serves_does_not_say_that_it_does() {
        let (supervisor, socket) = supervisor(None);
        supervisor.reload(|| {});
        assert!(told(&socket).is_empty());
        supervisor.ready("running");
        supervisor.reload(|| {});
        assert_eq!(told(&socket), ["STATUS=running", "READY=1", "RELOADING=1", "READY=1"]);
    }

    #[test]
    fn a_status_is_one_short_line_whatever_it_says() {
        let (supervisor, socket) = supervisor(None);
        supervisor.ready("running; `\nWATCHDOG=trigger\n` is no name");
        supervisor.status(&"ä".repeat(2_500));
        supervisor.starting("joining\r\nMAINPID=1", Duration::from_secs(1));
        let told = told(&socket);
        assert_eq!(told[..2], ["STATUS=running; ` WATCHDOG=trigger ` is no name", "READY=1"]);
        assert!(told[2].len() <= STATUS_BYTES_MAX + "STATUS=".len() && told[2].ends_with("ä…"), "{}", told[2]);
        assert_eq!(told[3], "EXTEND_TIMEOUT_USEC=1000000\nSTATUS=joining  MAINPID=1");
    }

    #[test]
    fn that_it_serves_is_said_until_it_could_be_told() {
        let (supervisor, socket) = supervisor(Some(Duration::ZERO));
        let fill = || (0..10_000).for_each(|_| supervisor.turned());
        fill();
        supervisor.ready("running");
        assert!(!told(&socket).contains(&"READY=1".to_owned()), "nobody had read");
        supervisor.status("running");
        supervisor.status("running");
        assert_eq!(told(&socket), ["STATUS=running", "READY=1", "STATUS=running"]);
        fill();
        supervisor.reload(|| {});
        told(&socket);
        supervisor.status("running");
        assert_eq!(told(&socket), ["STATUS=running", "READY=1"], "the reload is over");
        fill();
        supervisor.reload(|| {});
        told(&socket);
        supervisor.stopping();
        supervisor.status("running");
        assert_eq!(told(&socket).len(), 1, "it stops, and is not ready any more");
    }

    #[test]
    fn why_it_ends_is_told_in_one_line() {
        let (supervisor, socket) = supervisor(None);
        supervisor.failed("no room\n  hint: make some", Some(28));
        supervisor.failed("two\nERRNO=1", None);
        assert_eq!(told(&socket), ["STATUS=failed: no room; hint: make some\nERRNO=28", "STATUS=failed: two; ERRNO=1"]);
    }

    #[test]
    fn a_supervisor_that_does_not_listen_holds_nobody_up() {
        let (supervisor, socket) = supervisor(Some(Duration::ZERO));
        for _ in 0..10_000 {
            supervisor.turned();
        }
        assert!(!told(&socket).is_empty());
    }
}
