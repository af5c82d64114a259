//! Measurements that need a process of their own, because the kernel counts by process: bytes written, resident memory.
//!
//! The binary calls itself with `--child` and a request in JSON, and reads one line of JSON back.

use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// What a child is asked for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Bytes that an engine writes to the disk.
    Disk(crate::disk::Request),
    /// Memory that a content takes.
    Memory(crate::memory::Request),
    /// To lead a group of processes on a loopback of its own, and to watch them.
    Watch(crate::group::Watch),
    /// To be one of them.
    Member(crate::group::Member),
}

/// Does what is asked, and prints the answer.
pub(crate) fn serve(request: &str) -> Result<String> {
    Ok(match serde_json::from_str(request)? {
        Request::Disk(request) => serde_json::to_string(&crate::disk::serve(&request)?)?,
        Request::Memory(request) => serde_json::to_string(&crate::memory::serve(&request)?)?,
        Request::Watch(watch) => serde_json::to_string(&crate::group::serve_watch(&watch)?)?,
        Request::Member(member) => {
            crate::group::serve_member(&member)?;
            String::new()
        }
    })
}

/// Starts a child.
pub(crate) fn start(request: &Request) -> Result<Child> {
    let request = serde_json::to_string(request)?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--child").arg(request).stdout(Stdio::piped());
    command.spawn().context("starting a child")
}

/// Waits for its answer.
pub(crate) fn answer<T: DeserializeOwned>(child: Child) -> Result<T> {
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "a child ended with {}", output.status);
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Starts one and waits for it.
pub(crate) fn ask<T: DeserializeOwned>(request: &Request) -> Result<T> {
    answer(start(request)?)
}

/// A number from one of this process's own files in /proc, by the name before it.
pub(crate) fn own_figure(file: &str, name: &str) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/self/{file}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("{name} in {file}"))?;
    let digits: String = line.chars().filter(char::is_ascii_digit).collect();
    Ok(digits.parse()?)
}
