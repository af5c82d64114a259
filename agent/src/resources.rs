//! What this host has and how busy it is, measured.
//!
//! Owns measuring: CPU and memory through `sysinfo`, the disk of the data directory, the limits of control groups, and a smoothed load. It
//! judges nothing; placement does. The invariant: figures are finite and in range, and a limit that a control group sets
//! on this process counts as the size of the host.

mod cgroup;
mod own;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sysinfo::System;

use self::cgroup::Cgroup;
pub use self::own::Own;
use crate::placement::Resources;

/// Time constant of the smoothing: after this long a lasting change has arrived by two thirds. Shorter and placement
/// follows single ticks of a game; longer and a swamped host still looks idle.
const SMOOTHING: Duration = Duration::from_secs(5);
/// Shortest time between two measurements of the CPU. The kernel counts in ticks of 10 ms; below this a share is noise.
pub const SAMPLE_INTERVAL_MIN: Duration = sysinfo::MINIMUM_CPU_UPDATE_INTERVAL;
/// Runnable threads per core at which the run-queue alone makes a host saturated: each waits as long as it runs.
const RUNNABLE_PER_CORE_MAX: f64 = 2.0;

/// One measurement.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// CPU, memory and disk; the share of CPU in use is smoothed.
    pub resources: Resources,
    /// How busy the host is, 0 to 1: the greater of the CPU's share in use and of the run-queue, where two runnable
    /// threads per core are 1. The queue tells a host that is just busy from one where work waits. Smoothed over
    /// about five seconds.
    pub load: f64,
}

/// This host cannot be measured.
#[derive(Debug, thiserror::Error)]
#[error("the resources of this host cannot be measured")]
pub struct MeasureError(#[source] sysinfo::Error);

/// The host's own name, where it has one.
#[must_use]
pub fn host_name() -> Option<String> {
    System::host_name().ok()
}

/// Measures this host. Reads a few files of `/proc` and `/sys` and asks file systems for their free space, which may
/// block on a network file system: call it where that harms nobody.
#[derive(Debug)]
pub struct Sampler {
    system: System,
    data_dir: PathBuf,
    cgroup: Cgroup,
    proc: PathBuf,
    sampled: Option<Smoothed>,
    started: Instant,
    cpu_used_s: Option<f64>,
}

#[derive(Clone, Copy, Debug)]
struct Smoothed {
    at: Instant,
    cpu_used_share: f64,
    load: f64,
}

impl Sampler {
    /// A sampler for this host, which keeps its data in `data_dir`. The first sample is best taken
    /// [`SAMPLE_INTERVAL_MIN`] later: shares of CPU are measured between two looks.
    ///
    /// # Errors
    /// When the operating system does not tell its resources at all.
    pub fn new(data_dir: &Path) -> Result<Self, MeasureError> {
        let mut system = System::new().map_err(MeasureError)?;
        system.refresh_cpu_usage();
        let cgroup = Cgroup::of_this_process(Path::new("/proc"), Path::new("/sys/fs/cgroup"));
        Ok(Self {
            system,
            data_dir: data_dir.canonicalize().unwrap_or_else(|_| data_dir.to_owned()),
            proc: PathBuf::from("/proc"),
            sampled: None,
            started: Instant::now(),
            cpu_used_s: cgroup.cpu_used_s(),
            cgroup,
        })
    }

    /// Measures now. Called sooner than [`SAMPLE_INTERVAL_MIN`] after the last time, the CPU's figures are the last ones.
    pub fn sample(&mut self) -> Measured {
        let now = Instant::now();
        let since = now.duration_since(self.sampled.map_or(self.started, |sampled| sampled.at));
        self.system.refresh_memory();
        let smoothed = match self.sampled {
            Some(sampled) if since < SAMPLE_INTERVAL_MIN => sampled,
            previous => self.sample_cpu(previous, now, since),
        };
        self.sampled = Some(smoothed);
        let (memory_total, memory_free) = self.memory();
        Measured {
            resources: Resources {
                cpu_total: self.cpu_total(),
                cpu_used_share: smoothed.cpu_used_share,
                memory_total,
                memory_free,
                disk_free: self.disk_free(),
            },
            load: smoothed.load,
        }
    }

    fn sample_cpu(&mut self, previous: Option<Smoothed>, now: Instant, since: Duration) -> Smoothed {
        self.system.refresh_cpu_usage();
        let host_share = share(f64::from(self.system.global_cpu_usage()) / 100.0);
        // Within a quota the host may be idle while we are throttled; without one, others' work is our load.
        let cpu_used_s = self.cgroup.cpu_used_s();
        let quota_share = match (self.cgroup.cpus(), self.cpu_used_s, cpu_used_s) {
            (Some(cpus), Some(before_s), Some(after_s)) if !since.is_zero() => {
                share((after_s - before_s) / (since.as_secs_f64() * cpus))
            }
            _ => 0.0,
        };
        self.cpu_used_s = cpu_used_s;
        let cpu_used_share = host_share.max(quota_share);
        let load = cpu_used_share.max(self.queue_share());
        match previous {
            None => Smoothed { at: now, cpu_used_share, load },
            Some(previous) => {
                let part = 1.0 - (-since.as_secs_f64() / SMOOTHING.as_secs_f64()).exp();
                let towards = |from: f64, to: f64| from + part * (to - from);
                Smoothed {
                    at: now,
                    cpu_used_share: towards(previous.cpu_used_share, cpu_used_share),
                    load: towards(previous.load, load),
                }
            }
        }
    }

    fn host_cpus(&self) -> f64 {
        f64::from(u32::try_from(self.system.cpus().len()).unwrap_or(u32::MAX).max(1))
    }

    fn cpu_total(&self) -> f64 {
        self.cgroup.cpus().map_or_else(|| self.host_cpus(), |cpus| cpus.min(self.host_cpus()))
    }

    /// Runnable threads of the whole host against its cores. The one that is looking does not count.
    fn queue_share(&self) -> f64 {
        let runnable = std::fs::read_to_string(self.proc.join("loadavg")).ok().and_then(|text| parse_runnable(&text));
        let waiting = f64::from(runnable.unwrap_or(1).saturating_sub(1));
        share(waiting / (self.host_cpus() * RUNNABLE_PER_CORE_MAX))
    }

    fn memory(&self) -> (u64, u64) {
        let (total, free) = (self.system.total_memory(), self.system.available_memory());
        match self.cgroup.memory() {
            Some(memory) if memory.limit < total => (memory.limit, free.min(memory.limit.saturating_sub(memory.used))),
            Some(_) | None => (total, free.min(total)),
        }
    }

    /// Free space of the file system that holds the data directory, as far as this process may fill it.
    fn disk_free(&self) -> Option<u64> {
        let disk = rustix::fs::statvfs(&self.data_dir).ok()?;
        disk.f_bavail.checked_mul(disk.f_frsize)
    }
}

fn share(value: f64) -> f64 {
    if value.is_nan() { 1.0 } else { value.clamp(0.0, 1.0) }
}

/// The number of runnable threads in `/proc/loadavg`: `0.20 0.18 0.12 3/80 11206` has 3.
fn parse_runnable(loadavg: &str) -> Option<u32> {
    loadavg.split_ascii_whitespace().nth(3)?.split_once('/')?.0.parse().ok()
}

#[cfg(test)]
mod tests;
