//! `selvedge top` on a terminal of its own: keys go in, a picture comes out, and the terminal is as it was in the end.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use selvedge_tests::agent::binary;
use selvedge_tests::{Launch, eventually, guest};

const PATIENCE: Duration = Duration::from_secs(60);
const COLUMNS: usize = 80;
const ROWS: usize = 24;
/// What takes the terminal, and what gives it back.
const ENTER: &str = "\x1b[?1049h";
const LEAVE: &str = "\x1b[?1049l";

/// A pseudo-terminal on which a shell runs `top`, between two looks at how the terminal is set.
struct Typed {
    child: Child,
    keyboard: ChildStdin,
    output: mpsc::Receiver<Vec<u8>>,
    written: Vec<u8>,
}

impl Typed {
    fn start(folder: &Path, api: &str) -> Self {
        let script = format!(
            "trap : INT; stty rows {ROWS} cols {COLUMNS}; stty -a > before; sh -c 'echo $$ > pid; exec \"{}\" top --api {api}'; code=$?; stty -a > after; exit $code",
            binary().display()
        );
        let mut child = Command::new("script")
            .args(["-qec", &script, "/dev/null"])
            .current_dir(folder)
            .envs([("TERM", "xterm"), ("SHELL", "/bin/sh"), ("LC_ALL", "C.UTF-8")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let (mut stdout, keyboard) = (child.stdout.take().expect("a pipe"), child.stdin.take().expect("a pipe"));
        let (told, output) = mpsc::channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 4_096];
            while let Ok(count @ 1..) = stdout.read(&mut bytes) {
                if told.send(bytes[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { child, keyboard, output, written: Vec::new() }
    }

    fn press(&mut self, keys: &[u8]) {
        self.keyboard.write_all(keys).and_then(|()| self.keyboard.flush()).expect("is typed");
    }

    /// Waits until what was written is as wanted.
    fn await_written(&mut self, what: &str, is_wanted: impl Fn(&str) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_wanted(&String::from_utf8_lossy(&self.written)) {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.output.recv_timeout(left) {
                Ok(bytes) => self.written.extend(bytes),
                Err(error) => panic!("{what:?} did not come ({error}):\n{}", picture(&self.written).join("\n")),
            }
        }
    }

    /// Waits until the picture has all of these.
    fn await_picture(&mut self, wanted: &[&str]) {
        self.await_written(&wanted.join(", "), |text| {
            let picture = picture(text.as_bytes()).join("\n");
            wanted.iter().all(|wanted| picture.contains(wanted))
        });
    }

    /// Waits until `sequence` has been written `times` times.
    fn await_times(&mut self, sequence: &str, times: usize) {
        self.await_written(&format!("{sequence:?}"), |text| text.matches(sequence).count() >= times);
    }

    fn signal(&self, folder: &Path, name: &str) {
        let pid = std::fs::read_to_string(folder.join("pid")).expect("it wrote its number");
        let sent = Command::new("kill").args([name, pid.trim()]).status().expect("a signal is sent");
        assert!(sent.success(), "{name}");
    }

    /// Waits for the end, which has to be a good one, with the terminal as it was.
    fn end(mut self, folder: &Path) {
        self.await_written("the end", |text| text.matches(LEAVE).count() == text.matches(ENTER).count());
        drop(self.keyboard);
        let code = self.child.wait().expect("it ends").code();
        self.written.extend(self.output.iter().flatten());
        let text = String::from_utf8_lossy(&self.written).into_owned();
        assert_eq!(code, Some(0), "{text}");
        let [before, after] =
            ["before", "after"].map(|file| std::fs::read_to_string(folder.join(file)).expect("the shell looked"));
        assert!(before.contains(" icanon") && before.contains(" echo "), "{before}");
        assert_eq!(before, after);
        let (hidden, shown) = (text.rfind("\x1b[?25l"), text.rfind("\x1b[?25h"));
        assert!(shown > hidden, "the cursor is back: {text:?}");
    }
}

/// Whether the process whose number `folder` has is stopped: its state is what follows its name, which is in brackets (`man proc_pid_stat`).
fn is_stopped(folder: &Path) -> bool {
    let pid = std::fs::read_to_string(folder.join("pid")).expect("it wrote its number");
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).expect("it is there");
    stat.rsplit_once(") ").is_some_and(|(_, state)| state.starts_with('T'))
}

/// What a terminal shows after `written`: positions and clearing are done, attributes and modes are passed over.
fn picture(written: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(written);
    let (mut rows, mut at) = (vec![vec![' '; COLUMNS]; ROWS], (0, 0));
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        match char {
            '\x1b' => {
                // A sequence ends with its first letter.
                let mut numbers = String::new();
                let last = loop {
                    match chars.next() {
                        Some(char) if !char.is_ascii_alphabetic() => numbers.push(char),
                        last => break last,
                    }
                };
                match last {
                    Some('H') => at = position(&numbers),
                    Some('J') => rows = vec![vec![' '; COLUMNS]; ROWS],
                    _ => {}
                }
            }
            '\n' => at = (at.0 + 1, at.1),
            '\r' => at = (at.0, 0),
            char => {
                if let Some(cell) = rows.get_mut(at.0).and_then(|row| row.get_mut(at.1)) {
                    *cell = char;
                }
                at.1 += 1;
            }
        }
    }
    rows.into_iter().map(|row| row.into_iter().collect::<String>().trim_end().to_owned()).collect()
}

/// Row and column, from 0, of `[ROW;COLUMN`.
fn position(numbers: &str) -> (usize, usize) {
    let mut numbers =
        numbers.trim_start_matches('[').split(';').map(|number| number.parse::<usize>().unwrap_or(1).saturating_sub(1));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

#[test]
fn keys_go_in_a_picture_comes_out_and_the_terminal_is_given_back() {
    if !guest::is_there("script") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let agent = Launch::new(folder.path(), "one").with(&["--listen", "127.0.0.1:0"]).start();
    let mut top = Typed::start(folder.path(), &agent.api());
    top.await_picture(&["one in default", "health  ok", "there is no other member", "members, 1 of 1 alive", "q quit"]);
    top.await_picture(&["▸ one", "this host, ", "load ", "calls/s", "workloads, 0 deployed"]);
    top.press(b"\r");
    top.await_picture(&["member one", "status         alive", "runs           nothing", "esc back"]);
    top.press(b"\x1b");
    top.await_picture(&["workloads, 0 deployed"]);
    top.press(b"?");
    top.await_picture(&["sort by the next column"]);
    top.press(b"m/zzz");
    top.await_picture(&["0 of 1 have it", "only rows with: zzz"]);
    top.press(b"\x1b");
    top.await_picture(&["▸ one"]);

    top.signal(folder.path(), "-TSTP");
    top.await_times(LEAVE, 1);
    // The terminal is given back before it stops: who goes on too soon has nothing to go on from.
    eventually("it has stopped", PATIENCE, || is_stopped(folder.path()).then_some(()));
    top.signal(folder.path(), "-CONT");
    top.await_times(ENTER, 2);
    top.await_picture(&["members, 1 of 1 alive"]);
    top.press(b"q");
    top.end(folder.path());

    let mut top = Typed::start(folder.path(), &agent.api());
    top.await_picture(&["one in default"]);
    let launch = agent.kill();
    top.await_picture(&["the agent is away, what is shown is"]);
    let agent = launch.start();
    top.signal(folder.path(), "-TERM");
    top.end(folder.path());

    let mut top = Typed::start(folder.path(), &agent.api());
    top.await_picture(&["one in default"]);
    top.press(b"\x03");
    top.end(folder.path());
}
