//! One agent as a process, and the command line to talk to it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::wait::eventually;

/// How long an agent may take until it says where it is to be found: opening, compiling nothing, binding.
const START_PATIENCE: Duration = Duration::from_secs(30);

/// How long an agent may take to drain.
const STOP_PATIENCE: Duration = Duration::from_secs(60);

/// How an agent is to be started.
#[derive(Clone, Debug)]
pub struct Launch {
    name: String,
    /// Where it founds or joins; where it runs its certificate says.
    region: Option<String>,
    data_dir: PathBuf,
    arguments: Vec<String>,
    wrapper: Vec<String>,
}

/// A running agent. Killed when dropped.
#[derive(Debug)]
pub struct Agent {
    launch: Launch,
    child: Child,
    info: Value,
}

/// What a command of the CLI gave.
#[derive(Debug)]
pub struct Output {
    /// Its exit code.
    pub code: i32,
    /// What it printed.
    pub stdout: String,
    /// What it complained of.
    pub stderr: String,
}

/// The binary under test: the one beside the test's own executable.
///
/// # Panics
/// It has not been built.
#[must_use]
pub fn binary() -> PathBuf {
    let test = std::env::current_exe().expect("a test has an executable");
    let folder = test.parent().and_then(Path::parent).expect("tests are built into deps/");
    let binary = folder.join("selvedge");
    assert!(binary.exists(), "{} is not built: cargo build --release -p selvedge", binary.display());
    binary
}

impl Launch {
    /// An agent with its data below `folder`, on loopback, with ports of the system's choice.
    #[must_use]
    pub fn new(folder: &Path, name: &str) -> Self {
        let launch = Self {
            name: name.to_owned(),
            region: None,
            data_dir: folder.join(name),
            arguments: Vec::new(),
            wrapper: Vec::new(),
        };
        launch.with(&["--name", name, "--api", "127.0.0.1:0"])
    }

    /// The same, founding or joining in this region.
    #[must_use]
    pub fn in_region(self, region: &str) -> Self {
        Self { region: Some(region.to_owned()), ..self }
    }

    /// The same with more arguments to `selvedge run`.
    #[must_use]
    pub fn with(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(ToString::to_string));
        self
    }

    /// The same, listening on loopback and joining `others`.
    #[must_use]
    pub fn joining(self, others: &[&Agent]) -> Self {
        let joined = self.with(&["--listen", "127.0.0.1:0"]);
        others
            .iter()
            .flat_map(|other| other.listen())
            .fold(joined, |launch, address| launch.with(&["--bootstrap", &address]))
    }

    /// The same, in a cluster that is founded here and now, with this as its first member.
    ///
    /// # Panics
    /// It cannot be founded.
    #[must_use]
    pub fn founding(self, cluster: &str) -> Self {
        let done = self.prepare(&["init", "--cluster", cluster]);
        assert_eq!(done.code, 0, "{}{}", done.stdout, done.stderr);
        self
    }

    /// The same, as a member of the cluster that invites it.
    ///
    /// # Panics
    /// Nobody lets it in.
    #[must_use]
    pub fn invited_by(self, authority: &Agent) -> Self {
        let token = authority.json(&["invite"])["token"].as_str().expect("a token").to_owned();
        let done = self.prepare(&["join", &token]);
        assert_eq!(done.code, 0, "{}{}\n{}", done.stdout, done.stderr, authority.log());
        self
    }

    /// Runs a command that makes its data directory ready.
    #[must_use]
    pub fn prepare(&self, command: &[&str]) -> Output {
        let mut line = self.line();
        line.extend(command.iter().map(ToString::to_string));
        line.extend(["--name".to_owned(), self.name.clone()]);
        line.extend(self.region.iter().flat_map(|region| ["--region".to_owned(), region.clone()]));
        line.extend(["--data-dir".to_owned(), self.data_dir.to_string_lossy().into_owned()]);
        let (program, arguments) = line.split_first().expect("there is a program");
        finish(Command::new(program).args(arguments).stdin(Stdio::null()))
    }

    /// The same, started through another command, as `ip netns exec NAME`.
    #[must_use]
    pub fn through(mut self, wrapper: &[&str]) -> Self {
        self.wrapper = wrapper.iter().map(ToString::to_string).collect();
        self
    }

    /// The folder of its data.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Runs it to its end, for starts that are expected to fail.
    #[must_use]
    pub fn run_to_end(&self) -> Output {
        finish(self.command().stdin(Stdio::null()))
    }

    /// Starts it and waits until it says where it is to be found.
    ///
    /// # Panics
    /// It does not, in time.
    #[must_use]
    pub fn start(self) -> Agent {
        let info_file = self.data_dir.join("agent.json");
        // Left behind by an agent that was killed.
        drop(std::fs::remove_file(&info_file));
        let mut child = self.spawn();
        let info = eventually("the agent says where it is", START_PATIENCE, || {
            let ended = child.try_wait().expect("a child can be asked");
            assert!(ended.is_none(), "the agent ended: {}", self.log());
            serde_json::from_slice(&std::fs::read(&info_file).ok()?).ok()
        });
        Agent { launch: self, child, info }
    }

    /// Starts it and waits until it answers at `api`, where it was told to listen: for a disk that takes no file that says so.
    ///
    /// # Panics
    /// It does not, in time.
    #[must_use]
    pub fn start_at(self, api: &str) -> Agent {
        let child = self.spawn();
        let mut agent = Agent { launch: self, child, info: serde_json::json!({"api": [api]}) };
        eventually("the agent answers", START_PATIENCE, || {
            let ended = agent.child.try_wait().expect("a child can be asked");
            assert!(ended.is_none(), "the agent ended: {}", agent.log());
            (agent.cli(&["status"]).code == 0).then_some(())
        });
        agent
    }

    fn spawn(&self) -> Child {
        std::fs::create_dir_all(&self.data_dir).expect("a folder for the data");
        let log =
            std::fs::OpenOptions::new().create(true).append(true).open(self.log_file()).expect("a file for its log");
        self.command().stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().expect("the agent starts")
    }

    fn command(&self) -> Command {
        let mut line = self.line();
        line.extend(["run".to_owned(), "--data-dir".to_owned(), self.data_dir.to_string_lossy().into_owned()]);
        line.extend(self.arguments.iter().cloned());
        let (program, arguments) = line.split_first().expect("there is a program");
        let mut command = Command::new(program);
        command.args(arguments);
        command
    }

    /// The binary, through whatever it is to be started.
    fn line(&self) -> Vec<String> {
        self.wrapper.iter().cloned().chain([binary().to_string_lossy().into_owned()]).collect()
    }

    fn log_file(&self) -> PathBuf {
        self.data_dir.with_extension("log")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }
}

impl Agent {
    /// Where its API listens, over TCP.
    ///
    /// # Panics
    /// It has none.
    #[must_use]
    pub fn api(&self) -> String {
        let addresses = self.info["api"].as_array().expect("a list of addresses");
        let tcp = addresses.iter().filter_map(Value::as_str).find(|address| address.starts_with("http"));
        tcp.expect("an address over TCP").to_owned()
    }

    /// Its node id.
    ///
    /// # Panics
    /// It has not said.
    #[must_use]
    pub fn node(&self) -> String {
        self.info["node"].as_str().expect("a node id").to_owned()
    }

    /// Its listening addresses, as others can use them to join.
    ///
    /// # Panics
    /// It has not said.
    #[must_use]
    pub fn listen(&self) -> Vec<String> {
        let addresses = self.info["listen"].as_array().expect("a list of addresses");
        addresses.iter().filter_map(Value::as_str).map(str::to_owned).collect()
    }

    /// The folder of its data.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        self.launch.data_dir()
    }

    /// What it logged.
    #[must_use]
    pub fn log(&self) -> String {
        self.launch.log()
    }

    /// Runs a command of the CLI against it.
    #[must_use]
    pub fn cli(&self, arguments: &[&str]) -> Output {
        self.cli_in(Path::new("."), arguments)
    }

    /// The same in another folder.
    ///
    /// # Panics
    /// The command cannot be run.
    #[must_use]
    pub fn cli_in(&self, folder: &Path, arguments: &[&str]) -> Output {
        let mut command = match self.launch.wrapper.split_first() {
            Some((program, rest)) => {
                let mut command = Command::new(program);
                command.args(rest).arg(binary());
                command
            }
            None => Command::new(binary()),
        };
        finish(command.current_dir(folder).args(arguments).env("SELVEDGE_API", self.api()).stdin(Stdio::null()))
    }

    /// Runs a command that must succeed, and reads the JSON that it prints.
    ///
    /// # Panics
    /// It fails, or prints something else.
    #[must_use]
    pub fn json(&self, arguments: &[&str]) -> Value {
        let output = self.cli(&[arguments, &["--json"]].concat());
        assert_eq!(output.code, 0, "{arguments:?}: {}{}\n{}", output.stderr, output.stdout, self.log());
        serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {}", output.stdout))
    }

    /// Adds `name-0`, `name-1` and so on to the set `orset/names`, counts each in `gcounter/count`, and returns when all is durable.
    ///
    /// # Panics
    /// The agent does not take a write.
    pub fn write_names(&self, name: &str, count: u64) {
        for number in 0..count {
            let member = format!("{name}-{number}");
            for put in [["orset/names", "add", &member], ["gcounter/count", "increment", "1"]] {
                let output = self.cli(&["put", put[0], put[1], put[2], "--durable"]);
                assert_eq!(output.code, 0, "{}{}", output.stdout, output.stderr);
            }
        }
    }

    /// How many names [`Agent::write_names`] counted, and how many there are.
    #[must_use]
    pub fn names(&self) -> (Option<u64>, Option<usize>) {
        let count = self.value("gcounter/count").and_then(|count| count.as_u64());
        (count, self.value("orset/names").and_then(|names| names.as_array().map(Vec::len)))
    }

    /// The value of a key; `None` when nobody wrote it.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<Value> {
        let output = self.cli(&["get", key, "--json"]);
        (output.code == 0).then(|| serde_json::from_str::<Value>(&output.stdout).expect("JSON")["value"].clone())
    }

    /// The root of its state.
    #[must_use]
    pub fn root(&self) -> String {
        self.json(&["status"])["state"]["root"].as_str().unwrap_or_default().to_owned()
    }

    /// How many members it counts as alive.
    #[must_use]
    pub fn alive(&self) -> u64 {
        self.json(&["status"])["cluster"]["alive"].as_u64().unwrap_or_default()
    }

    /// Kills it, as a power cut would.
    ///
    /// # Panics
    /// The system does not let us.
    #[must_use]
    pub fn kill(mut self) -> Launch {
        self.child.kill().expect("our child can be killed");
        self.child.wait().expect("our child can be awaited");
        self.launch.clone()
    }

    /// Sends it a signal, by its name without SIG.
    pub fn signal(&self, name: &str) {
        signal(&format!("-{name}"), self.child.id());
    }

    /// Stalls it, as a host does that swaps or whose hypervisor looks elsewhere: it does nothing, and its connections stay.
    pub fn stall(&self) {
        signal("-STOP", self.child.id());
    }

    /// Lets it go on where it was stalled.
    pub fn resume(&self) {
        signal("-CONT", self.child.id());
    }

    /// Waits until it has stopped on its own; gives its exit code too.
    ///
    /// # Panics
    /// It goes on.
    #[must_use]
    pub fn ended(mut self) -> (Launch, Option<i32>) {
        let status = eventually("the agent ends", STOP_PATIENCE, || self.child.try_wait().expect("can be asked"));
        (self.launch.clone(), status.code())
    }

    /// Asks it to stop and waits until it has; gives its exit code too.
    ///
    /// # Panics
    /// It does not stop in time.
    #[must_use]
    pub fn stop(mut self) -> (Launch, Option<i32>) {
        signal("-TERM", self.child.id());
        let status = eventually("the agent stops", STOP_PATIENCE, || self.child.try_wait().expect("can be asked"));
        (self.launch.clone(), status.code())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Already gone is as good.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn signal(name: &str, pid: u32) {
    let status = Command::new("kill").args([name, &pid.to_string()]).status().expect("`kill` is there");
    assert!(status.success(), "kill {name} {pid}");
}

pub(crate) fn finish(command: &mut Command) -> Output {
    let output = command.output().expect("the command runs");
    Output {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
