//! A host to follow a page on: this machine's files, written to apart from it, and a shell.
//!
//! Owns one process, which is the first of namespaces of its own (mounts, processes, name; its network is the caller's). The
//! invariant: nothing that is done on a host is seen outside of it, and with its value all its processes go. Needs root.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// How long a host may take to come up.
const START_PATIENCE: Duration = Duration::from_secs(30);

/// The script that makes a host.
const SCRIPT: &str = include_str!("host.sh");

/// A host with a shell, whose folder is `/root/selvedge`.
#[derive(Debug)]
pub struct Host {
    name: String,
    child: Child,
    shell: ChildStdin,
    lines: Receiver<String>,
    commands: u32,
    beside: u32,
}

/// What a command came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    /// Its exit code.
    pub code: i32,
    /// What it printed, on either stream.
    pub printed: String,
}

impl Host {
    /// A host of this name in the network of `wrapper`, a command such as `ip netns exec NAME`. `place` is an empty folder to mount it
    /// at, `skeleton` one with what it begins with.
    ///
    /// # Errors
    /// The system does not permit it; the text says what it said.
    pub fn try_new(name: &str, wrapper: &[String], place: &Path, skeleton: &Path) -> Result<Self, String> {
        let (program, arguments) = wrapper.split_first().expect("there is a wrapper");
        let unshare = ["unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child", "bash", "-c", SCRIPT, "bash"];
        let mut child = Command::new(program)
            .args(arguments)
            .args(unshare)
            .arg(place)
            .arg(name)
            .arg(skeleton)
            .env_clear()
            .envs(environment())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{program}: {error}"))?;
        let shell = child.stdin.take().expect("is piped");
        let (sender, lines) = channel();
        for stream in [
            Box::new(child.stdout.take().expect("is piped")) as Box<dyn std::io::Read + Send>,
            Box::new(child.stderr.take().expect("is piped")),
        ] {
            let sender = sender.clone();
            // Ends with the shell, or with whoever wanted to hear.
            std::thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    if sender.send(line).is_err() {
                        break;
                    }
                }
            });
        }
        let mut host = Self { name: name.to_owned(), child, shell, lines, commands: 0, beside: 0 };
        host.try_run("true", START_PATIENCE).map(|_| host)
    }

    /// Types a command and waits for its end.
    ///
    /// # Panics
    /// It does not end in time, or the shell ends with it.
    pub fn run(&mut self, command: &str, patience: Duration) -> Ran {
        self.try_run(command, patience).unwrap_or_else(|error| panic!("{}: `{command}`: {error}", self.name))
    }

    /// Types a command that goes on until it is interrupted, as in a terminal of its own. Gives the file that it prints to.
    pub fn run_beside(&mut self, command: &str) -> String {
        self.beside += 1;
        let file = format!("/run/beside-{}", self.beside);
        let quoted = command.replace('\'', r"'\''");
        let ran = self.run(&format!("setsid bash -c '{quoted}' >{file} 2>&1 </dev/null &"), START_PATIENCE);
        assert_eq!(ran.code, 0, "{}", ran.printed);
        file
    }

    fn try_run(&mut self, command: &str, patience: Duration) -> Result<Ran, String> {
        self.commands += 1;
        let end = format!("--- end of {} on {}: ", self.commands, self.name);
        // The lines of both streams, in their order, then the code. Where the last line is not ended, it is.
        let typed = format!(
            "eval \"$(cat <<'{end}'\n{command}\n{end}\n)\" </dev/null 2>&1; printf '\\n%s%s\\n' '{end}' \"$?\"\n"
        );
        let gone = self.shell.write_all(typed.as_bytes()).and_then(|()| self.shell.flush());
        let deadline = Instant::now() + patience;
        let mut printed = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => match line.strip_prefix(&end) {
                    Some(code) => {
                        let code = code.parse().map_err(|error| format!("{error}: {line}"))?;
                        return Ok(Ran { code, printed: printed.join("\n") });
                    }
                    None => printed.push(line),
                },
                Err(RecvTimeoutError::Timeout) => {
                    return Err(format!("not within {patience:?}; so far:\n{}", printed.join("\n")));
                }
                Err(RecvTimeoutError::Disconnected) => {
                    let why = gone.err().map(|error| error.to_string()).unwrap_or_default();
                    return Err(format!("the shell has ended {why}\n{}", printed.join("\n")));
                }
            }
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // The first of its processes takes the others along.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// What a shell of a person has, and what cargo needs to build without a network.
fn environment() -> Vec<(String, String)> {
    let home = std::env::var("HOME").unwrap_or_else(|_| "/root".to_owned());
    let tools = |name: &str, folder: &str| std::env::var(name).unwrap_or_else(|_| format!("{home}/{folder}"));
    let cargo = tools("CARGO_HOME", ".cargo");
    let fixed = [
        ("HOME", "/root".to_owned()),
        ("LANG", "C.UTF-8".to_owned()),
        ("PATH", format!("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:{cargo}/bin")),
        ("CARGO_HOME", cargo),
        ("RUSTUP_HOME", tools("RUSTUP_HOME", ".rustup")),
        ("RUSTUP_TOOLCHAIN", option_env!("RUSTUP_TOOLCHAIN").unwrap_or("stable").to_owned()),
        ("CARGO_NET_OFFLINE", "true".to_owned()),
        // Where other tests have built a new project already.
        ("GUESTS", crate::guest::target_dir().join("new").to_string_lossy().into_owned()),
    ];
    fixed.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
