//! Hosts as network namespaces on one bridge, made and removed by the test; links can be cut and joined.
//!
//! Needs root and `ip`; where that is missing, [`Hosts::try_new`] says why, and the test prints it and is skipped.

use std::process::Command;

/// Hosts `10.77.<n>.2`, … each in a namespace of its own, joined by one bridge in a namespace of the bridge's own.
#[derive(Debug)]
pub struct Hosts {
    prefix: String,
    count: usize,
}

impl Hosts {
    /// Makes `count` hosts.
    ///
    /// # Errors
    /// The system does not permit it; the text says what it said.
    pub fn try_new(count: usize) -> Result<Self, String> {
        let hosts = Self { prefix: format!("svd{}", std::process::id()), count };
        let hub = hosts.hub();
        ip(&["netns", "add", &hub])?;
        ip(&["-n", &hub, "link", "add", "br0", "type", "bridge"])?;
        ip(&["-n", &hub, "link", "set", "br0", "up"])?;
        for host in 0..count {
            let name = hosts.name(host);
            let port = format!("p{host}");
            ip(&["netns", "add", &name])?;
            ip(&["-n", &hub, "link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", &name])?;
            ip(&["-n", &hub, "link", "set", &port, "master", "br0", "up"])?;
            ip(&["-n", &name, "addr", "add", &format!("{}/24", hosts.address(host)), "dev", "eth0"])?;
            ip(&["-n", &name, "link", "set", "eth0", "up"])?;
            ip(&["-n", &name, "link", "set", "lo", "up"])?;
        }
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
        format!("10.77.0.{}", host + 2)
    }

    /// Cuts a host off from all others.
    ///
    /// # Panics
    /// The system refuses.
    pub fn cut(&self, host: usize) {
        ip(&["-n", &self.hub(), "link", "set", &format!("p{host}"), "down"]).expect("a link of ours can be cut");
    }

    /// Joins a host again.
    ///
    /// # Panics
    /// The system refuses.
    pub fn join(&self, host: usize) {
        ip(&["-n", &self.hub(), "link", "set", &format!("p{host}"), "up"]).expect("a link of ours can be joined");
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
        for name in (0..self.count).map(|host| self.name(host)).chain([self.hub()]) {
            // Whatever was not made need not be removed.
            drop(ip(&["netns", "del", &name]));
        }
    }
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("ip").args(arguments).output().map_err(|error| format!("ip: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("ip {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim()))
}
