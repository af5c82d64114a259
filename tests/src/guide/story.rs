//! Pages that are followed one after the other, on the same hosts.

use std::path::Path;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::host::{Host, Ran};
use super::{Block, Page, Step, difference};
use crate::agent::binary;
use crate::netns::Hosts;
use crate::skip::skip;
use crate::wait::eventually;

/// How long a command may take: `cargo build` of a new workload is the longest.
const COMMAND_PATIENCE: Duration = Duration::from_secs(300);

/// How long what a page looks at may take to be as it is shown.
const LOOK_PATIENCE: Duration = Duration::from_secs(30);

/// Commands that change nothing, and so may be typed again.
const LOOKS: [&str; 13] = [
    "selvedge status",
    "selvedge nodes",
    "selvedge peers",
    "selvedge workloads",
    "selvedge explain",
    "selvedge get",
    "selvedge converged",
    "selvedge invitations",
    "selvedge doctor",
    "selvedge diff",
    "journalctl",
    "curl -fsS http://127.0.0.1:7411/",
    "ls",
];

/// Commands that go on until somebody interrupts them.
const GO_ON: [&str; 3] = ["selvedge run", "selvedge watch", "selvedge top"];

/// What stands for every host in a prompt.
const EVERY_HOST: &str = "every-host";

/// What an invitation begins with.
const INVITATION: &str = "selvedge-join-";

/// Hosts, and what was done on them so far. The hosts end before their network does.
#[derive(Debug)]
pub struct Story {
    hosts: Vec<(String, Host)>,
    token: Option<String>,
    _network: Option<Hosts>,
    _folder: TempDir,
}

impl Story {
    /// Hosts of these names, which reach each other and nobody else; `None`, and the reason printed, where that is not permitted.
    ///
    /// # Panics
    /// There is no place for a folder.
    #[must_use]
    pub fn try_new(names: &[String]) -> Option<Self> {
        Self::build(names).map_err(|reason| skip("network", &reason)).ok()
    }

    fn build(names: &[String]) -> Result<Self, String> {
        let folder = tempfile::tempdir().expect("a folder");
        let skeleton = folder.path().join("skeleton");
        provision(&skeleton).expect("files can be copied");
        let mut story = Self { hosts: Vec::new(), token: None, _network: None, _folder: folder };
        // One host needs nobody.
        let network =
            if names.len() > 1 { Some(Hosts::try_new(u8::try_from(names.len()).expect("few"))?) } else { None };
        let alone = || ["unshare", "--net"].map(str::to_owned).to_vec();
        for (index, name) in names.iter().enumerate() {
            let wrapper = network.as_ref().map_or_else(alone, |network| network.on(index));
            let place = story._folder.path().join(name);
            std::fs::create_dir(&place).expect("a folder");
            story.hosts.push((name.clone(), Host::try_new(name, &wrapper, &place, &skeleton)?));
        }
        story._network = network;
        Ok(story)
    }

    /// Does what a page says, in order. What it leaves out is printed, with the reason.
    ///
    /// # Panics
    /// A command fails, or one that is to fail does not: at once. Some print something else than the page shows: at its end, with all of them.
    pub fn follow(&mut self, page: &Page) {
        let began = Instant::now();
        let (mut done, mut left_out, mut faults) = (0, 0, Vec::new());
        for block in &page.blocks {
            if let Some(reason) = &block.left_out {
                println!("{}:{}: not run: {reason}", page.path, block.line);
                left_out += 1;
                continue;
            }
            for step in &block.steps {
                for host in self.addressed(page, step) {
                    faults.extend(self.take(host, page, block, step));
                }
                done += 1;
            }
        }
        println!("{}: {done} commands, {left_out} blocks left out, {:.1?}", page.path, began.elapsed());
        assert!(faults.is_empty(), "{}", faults.join("\n"));
    }

    /// The hosts that a step is for, by number.
    fn addressed(&self, page: &Page, step: &Step) -> Vec<usize> {
        match step.host.as_deref() {
            None => vec![0],
            Some(EVERY_HOST) => (0..self.hosts.len()).collect(),
            Some(wanted) => {
                let at = self.hosts.iter().position(|(name, _)| name == wanted);
                vec![at.unwrap_or_else(|| panic!("{}:{}: there is no host {wanted}", page.path, step.line))]
            }
        }
    }

    /// Does one step; gives what it printed otherwise than shown.
    fn take(&mut self, number: usize, page: &Page, block: &Block, step: &Step) -> Option<String> {
        let place = format!("{}:{}", page.path, step.line);
        let command = self.filled_in(&place, &step.command);
        let (name, host) = &mut self.hosts[number];
        if GO_ON.iter().any(|begin| command.starts_with(begin)) {
            go_on(host, &place, &command, &step.shown);
            return None;
        }
        let began = Instant::now();
        let is_look = LOOKS.iter().any(|begin| command.starts_with(begin));
        loop {
            let ran = host.run(&command, COMMAND_PATIENCE);
            let is_done = (ran.code != 0) == block.fails;
            let wrong = if step.shown.is_empty() { None } else { difference(&step.shown, &ran.printed) };
            if is_done && wrong.is_none() {
                println!("{name}# {command}    ({:.1?})\n{}", began.elapsed(), ran.printed);
                let token = ran.printed.split_whitespace().find(|word| word.starts_with(INVITATION));
                self.token = token.map(str::to_owned).or(self.token.take());
                return None;
            }
            if is_look && began.elapsed() < LOOK_PATIENCE {
                std::thread::park_timeout(Duration::from_millis(100));
                continue;
            }
            if !is_done {
                let log = host.run("tail -n 30 /var/log/selvedge.log", COMMAND_PATIENCE).printed;
                let Ran { code, printed } = ran;
                panic!(
                    "{place}: {name}: `{command}` ended with code {code}:\n{printed}\n--- the agent's log ends with:\n{log}"
                );
            }
            return wrong.map(|wrong| format!("{place}: {name}: `{command}`: {wrong}"));
        }
    }

    /// A command with what stands for something.
    fn filled_in(&self, place: &str, command: &str) -> String {
        if !command.split_whitespace().any(|word| word == "TOKEN") {
            return command.to_owned();
        }
        let token = self.token.as_ref().unwrap_or_else(|| panic!("{place}: nobody has been invited"));
        command.replace("TOKEN", token)
    }
}

/// Starts what goes on, and waits until an agent answers, or until it has printed what is shown.
fn go_on(host: &mut Host, place: &str, command: &str, shown: &[String]) {
    let file = host.run_beside(command);
    let read = |host: &mut Host| host.run(&format!("cat {file}"), COMMAND_PATIENCE).printed;
    if command.starts_with(GO_ON[0]) {
        let api = command.split_once("--api ").map(|(_, rest)| rest.split(' ').next().unwrap_or(rest));
        let api = api.map(|address| format!("--api http://{address}")).unwrap_or_default();
        let began = Instant::now();
        while host.run(&format!("selvedge status {api}"), COMMAND_PATIENCE).code != 0 {
            assert!(began.elapsed() < LOOK_PATIENCE, "{place}: `{command}` does not answer:\n{}", read(host));
            std::thread::park_timeout(Duration::from_millis(50));
        }
    }
    if !shown.is_empty() {
        let mut last = String::new();
        eventually(&format!("{place}: `{command}` prints what is shown"), LOOK_PATIENCE, || {
            last = read(host);
            difference(shown, &last).is_none().then_some(())
        });
    }
}

/// What each host begins with: the source tree as a build leaves it, as far as pages speak of it, and what stands in for systemd.
fn provision(skeleton: &Path) -> std::io::Result<()> {
    let tree = skeleton.join("selvedge");
    let out = tree.join("target/release/build/selvedge-0/out");
    std::fs::create_dir_all(&out)?;
    std::fs::create_dir_all(tree.join("deploy"))?;
    std::fs::copy(binary(), tree.join("target/release/selvedge"))?;
    for (name, wasm) in selvedge::shipped::shipped() {
        std::fs::write(out.join(format!("{name}.wasm")), wasm)?;
    }
    for file in ["selvedge.service", "selvedge.toml"] {
        std::fs::copy(crate::guest::root().join("deploy").join(file), tree.join("deploy").join(file))?;
    }
    std::fs::copy(crate::guest::root().join("Cargo.lock"), tree.join("Cargo.lock"))?;
    std::fs::write(skeleton.join("systemctl"), include_str!("systemctl"))?;
    std::fs::write(skeleton.join("journalctl"), include_str!("journalctl"))
}
