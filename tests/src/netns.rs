//! A network of our own: hosts as network namespaces on one bridge, whose wires can be cut, thinned, unplugged and moved.
//!
//! Owns the namespaces and what passes the bridge; runs nothing on the hosts. Never touches the machine's own network: the bridge
//! has a namespace of its own, too. The invariants: what was made is removed when the value is dropped; names carry the test's
//! process, so that whoever comes later removes what a killed test has left. Needs root, `ip` and `nft`; where one is missing,
//! [`Hosts::try_new`] says which, and the test prints it and is skipped.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// What the names of our namespaces begin with.
const PREFIX: &str = "svd";

/// Networks that this process has made.
static MADE: AtomicU32 = AtomicU32::new(0);

/// Which host reaches which. A pair names the sender first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wires {
    /// Nothing gets through from the first to the second; what the second sends still arrives.
    pub cut: BTreeSet<(usize, usize)>,
    /// No UDP gets through from the first to the second, and so no QUIC.
    pub tcp_only: BTreeSet<(usize, usize)>,
    /// No TCP gets through from the first to the second.
    pub quic_only: BTreeSet<(usize, usize)>,
    /// Of a thousand packets, how many are lost at random.
    pub lost_per_mille: u32,
}

/// Hosts in namespaces of their own, joined by one bridge.
#[derive(Debug)]
pub struct Hosts {
    prefix: String,
    /// The last part of each host's address.
    addresses: Vec<u8>,
}

impl Wires {
    /// Whoever is not in the same group hears nothing of the other.
    #[must_use]
    pub fn groups(groups: &[&[usize]]) -> Self {
        let together =
            |one: usize, other: usize| groups.iter().any(|group| group.contains(&one) && group.contains(&other));
        let all: BTreeSet<usize> = groups.iter().flat_map(|group| group.iter().copied()).collect();
        let pairs = all.iter().flat_map(|one| all.iter().map(move |other| (*one, *other)));
        Self { cut: pairs.filter(|(one, other)| one != other && !together(*one, *other)).collect(), ..Self::default() }
    }

    /// The same, and nothing gets through from one to the other.
    #[must_use]
    pub fn without(mut self, from: usize, to: usize) -> Self {
        self.cut.insert((from, to));
        self
    }

    /// The same, and two have no QUIC between them.
    #[must_use]
    pub fn by_tcp(mut self, one: usize, other: usize) -> Self {
        self.tcp_only.extend([(one, other), (other, one)]);
        self
    }

    /// The same, and two have no TCP between them.
    #[must_use]
    pub fn by_quic(mut self, one: usize, other: usize) -> Self {
        self.quic_only.extend([(one, other), (other, one)]);
        self
    }

    /// Everything arrives but for some packets.
    #[must_use]
    pub fn losing(per_mille: u32) -> Self {
        Self { lost_per_mille: per_mille, ..Self::default() }
    }

    /// As a filter on the bridge, which takes the place of the one before. Address resolution always passes: it is a wire that is
    /// cut, and a host that hears another knows its address.
    fn filter(&self) -> String {
        let mut rules = String::new();
        let pairs = |pairs: &BTreeSet<(usize, usize)>| {
            pairs.iter().map(|(from, to)| format!("\"p{from}\" . \"p{to}\"")).collect::<Vec<_>>().join(", ")
        };
        let kinds =
            [(&self.cut, "ether type ip"), (&self.tcp_only, "ip protocol udp"), (&self.quic_only, "ip protocol tcp")];
        for (set, what) in kinds {
            if !set.is_empty() {
                writeln!(rules, "iifname . oifname {{ {} }} {what} drop", pairs(set)).expect("a string takes all");
            }
        }
        if self.lost_per_mille > 0 {
            writeln!(rules, "ether type ip numgen random mod 1000 < {} drop", self.lost_per_mille)
                .expect("a string takes all");
        }
        let chain = format!("chain forward {{\ntype filter hook forward priority 0; policy accept;\n{rules}}}");
        format!("table bridge field\ndelete table bridge field\ntable bridge field {{\n{chain}\n}}\n")
    }
}

impl Hosts {
    /// Makes `count` hosts with the addresses `10.77.0.2` and so on, all of which reach each other.
    ///
    /// # Errors
    /// The system does not permit it; the text says what it said.
    pub fn try_new(count: u8) -> Result<Self, String> {
        sweep()?;
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("{PREFIX}{}-{number}-", std::process::id());
        let hosts = Self { prefix, addresses: (2..count + 2).collect() };
        let hub = hosts.hub();
        ip(&["netns", "add", &hub])?;
        ip(&["-n", &hub, "link", "add", "br0", "type", "bridge"])?;
        ip(&["-n", &hub, "link", "set", "br0", "up"])?;
        for host in 0..usize::from(count) {
            let name = hosts.name(host);
            let port = format!("p{host}");
            ip(&["netns", "add", &name])?;
            ip(&["-n", &hub, "link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", &name])?;
            ip(&["-n", &hub, "link", "set", &port, "master", "br0", "up"])?;
            ip(&["-n", &name, "addr", "add", &format!("{}/24", hosts.address(host)), "dev", "eth0"])?;
            ip(&["-n", &name, "link", "set", "eth0", "up"])?;
            ip(&["-n", &name, "link", "set", "lo", "up"])?;
        }
        hosts.set(&Wires::default())?;
        Ok(hosts)
    }

    /// The command that runs something on a host.
    #[must_use]
    pub fn on(&self, host: usize) -> Vec<String> {
        ["ip", "netns", "exec", &self.name(host)].map(str::to_owned).to_vec()
    }

    /// A host's address.
    #[must_use]
    pub fn address(&self, host: usize) -> String {
        format!("10.77.0.{}", self.addresses[host])
    }

    /// Gives a host another address, in place of the one that it had.
    ///
    /// # Panics
    /// The system refuses.
    pub fn renumber(&mut self, host: usize, last: u8) {
        let name = self.name(host);
        self.addresses[host] = last;
        ip(&["-n", &name, "addr", "flush", "dev", "eth0"]).expect("an address of ours can be removed");
        ip(&["-n", &name, "addr", "add", &format!("{}/24", self.address(host)), "dev", "eth0"])
            .expect("a host of ours can be given an address");
    }

    /// Lets through what `wires` say, from now on, all at once.
    ///
    /// # Panics
    /// The system refuses.
    pub fn wire(&self, wires: &Wires) {
        self.set(wires).expect("a filter of ours can be replaced");
    }

    /// Pulls a host's plug, or puts it in again: the host notices, unlike with a wire that is cut elsewhere.
    ///
    /// # Panics
    /// The system refuses.
    pub fn plug(&self, host: usize, is_in: bool) {
        let state = if is_in { "up" } else { "down" };
        ip(&["-n", &self.name(host), "link", "set", "eth0", state]).expect("a link of ours can be set");
    }

    fn set(&self, wires: &Wires) -> Result<(), String> {
        run("ip", &["netns", "exec", &self.hub(), "nft", "-f", "-"], &wires.filter())
    }

    fn hub(&self) -> String {
        format!("{}hub", self.prefix)
    }

    fn name(&self, host: usize) -> String {
        format!("{}h{host}", self.prefix)
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for name in (0..self.addresses.len()).map(|host| self.name(host)).chain([self.hub()]) {
            // Whatever was not made need not be removed.
            drop(ip(&["netns", "del", &name]));
        }
    }
}

/// Removes what tests have left that were killed: their agents, and their namespaces.
fn sweep() -> Result<(), String> {
    let listed = output("ip", &["netns", "list"], "")?;
    for name in listed.lines().filter_map(|line| line.split_whitespace().next()) {
        let maker = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('-')).map(|(maker, _)| maker);
        let is_left = |maker: &str| maker.parse::<u32>().is_ok() && !Path::new("/proc").join(maker).exists();
        if maker.is_some_and(is_left) {
            for process in output("ip", &["netns", "pids", name], "")?.split_whitespace() {
                // It may have ended by itself.
                drop(run("kill", &["-KILL", process], ""));
            }
            // Another test may sweep at the same time.
            drop(ip(&["netns", "del", name]));
        }
    }
    Ok(())
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    run("ip", arguments, "")
}

fn run(program: &str, arguments: &[&str], input: &str) -> Result<(), String> {
    output(program, arguments, input).map(drop)
}

/// Runs a command that must succeed, and gives what it printed.
fn output(program: &str, arguments: &[&str], input: &str) -> Result<String, String> {
    let said = |error: &dyn std::fmt::Display| format!("{program} {}: {error}", arguments.join(" "));
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| said(&error))?;
    let mut pipe = child.stdin.take().expect("is piped");
    // Who ends without reading has said why.
    drop(pipe.write_all(input.as_bytes()));
    drop(pipe);
    let output = child.wait_with_output().map_err(|error| said(&error))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(said(&String::from_utf8_lossy(&output.stderr).trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_of_two_groups_are_the_way_between_them() {
        let wires = Wires::groups(&[&[0, 1], &[1, 2]]);
        assert_eq!(wires.cut, BTreeSet::from([(0, 2), (2, 0)]));
        let filter = wires.without(1, 0).by_tcp(1, 2).by_quic(0, 1).filter();
        assert!(filter.contains(r#"{ "p0" . "p2", "p1" . "p0", "p2" . "p0" } ether type ip drop"#), "{filter}");
        assert!(filter.contains(r#"{ "p1" . "p2", "p2" . "p1" } ip protocol udp drop"#), "{filter}");
        assert!(filter.contains(r#"{ "p0" . "p1", "p1" . "p0" } ip protocol tcp drop"#), "{filter}");
        assert!(Wires::losing(50).filter().contains("numgen random mod 1000 < 50 drop"));
    }
}
