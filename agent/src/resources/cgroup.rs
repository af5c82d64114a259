//! The limits that a control group (version 1 or 2) sets on this process.
//!
//! Owns reading them from files whose place is an argument, so that tests bring their own. A limit may sit on any group
//! above ours: the least counts. What is missing or unreadable is no limit.

use std::fs;
use std::path::{Path, PathBuf};

/// A limit of version 1 from here on, in bytes, means "none": it writes the greatest page-aligned 63-bit number.
const MEMORY_UNLIMITED: u64 = 1 << 60;

/// Where our groups are, from the innermost up.
#[derive(Clone, Debug, Default)]
pub(super) struct Cgroup {
    unified: Vec<PathBuf>,
    memory: Vec<PathBuf>,
    cpu: Vec<PathBuf>,
    cpuacct: Vec<PathBuf>,
}

/// Memory of the group that leaves the least room, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Memory {
    pub(super) limit: u64,
    pub(super) used: u64,
}

impl Cgroup {
    /// Finds the groups of this process, given where `proc` and `cgroup` are mounted.
    pub(super) fn of_this_process(proc: &Path, mount: &Path) -> Self {
        let mut found = Self::default();
        for line in fs::read_to_string(proc.join("self/cgroup")).unwrap_or_default().lines() {
            // `0::/path` for version 2, `4:memory:/path` for version 1.
            let mut parts = line.splitn(3, ':').skip(1);
            let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
            if controllers.is_empty() {
                let hybrid = mount.join("unified");
                found.unified = groups(if hybrid.is_dir() { &hybrid } else { mount }, path);
            }
            for controller in controllers.split(',') {
                match controller {
                    "memory" => found.memory = groups(&mount.join(controller), path),
                    "cpu" => found.cpu = groups(&mount.join(controller), path),
                    "cpuacct" => found.cpuacct = groups(&mount.join(controller), path),
                    _ => {}
                }
            }
        }
        found
    }

    /// The tightest memory limit, and what its group uses of it.
    pub(super) fn memory(&self) -> Option<Memory> {
        let unified =
            self.unified.iter().filter_map(|group| read_memory(group, "memory.max", "memory.current", "inactive_file"));
        let legacy = self.memory.iter().filter_map(|group| {
            read_memory(group, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        });
        unified.chain(legacy).min_by_key(|memory| memory.limit.saturating_sub(memory.used))
    }

    /// The tightest CPU quota, in cores.
    pub(super) fn cpus(&self) -> Option<f64> {
        let unified = self.unified.iter().filter_map(|group| {
            let text = fs::read_to_string(group.join("cpu.max")).ok()?;
            let (quota, period) = text.trim().split_once(' ')?;
            cores(quota.parse().ok()?, period.parse().ok()?)
        });
        let legacy = self.cpu.iter().filter_map(|group| {
            // A quota of -1 is none, and no unsigned number.
            cores(read_number(&group.join("cpu.cfs_quota_us"))?, read_number(&group.join("cpu.cfs_period_us"))?)
        });
        unified.chain(legacy).min_by(f64::total_cmp)
    }

    /// CPU time that our group has used so far, in seconds.
    pub(super) fn cpu_used_s(&self) -> Option<f64> {
        let unified = || Some(read_stat(&self.unified.first()?.join("cpu.stat"), "usage_usec")? as f64 / 1e6);
        let legacy = || Some(read_number(&self.cpuacct.first()?.join("cpuacct.usage"))? as f64 / 1e9);
        unified().or_else(legacy)
    }
}

/// The directories of `path` and of all groups above it. In a container `path` may be the host's and not exist here;
/// then the mount itself is our group.
fn groups(mount: &Path, path: &str) -> Vec<PathBuf> {
    let innermost = mount.join(path.trim_start_matches('/'));
    let own = if innermost.is_dir() { innermost.as_path() } else { mount };
    own.ancestors().take_while(|group| group.starts_with(mount)).map(Path::to_path_buf).collect()
}

fn read_memory(group: &Path, limit: &str, used: &str, reclaimable: &str) -> Option<Memory> {
    let limit = read_number(&group.join(limit)).filter(|limit| *limit < MEMORY_UNLIMITED)?;
    let used = read_number(&group.join(used))?;
    // Files that nobody has looked at lately are given back as soon as memory is asked for.
    let reclaimable = read_stat(&group.join("memory.stat"), reclaimable).unwrap_or(0);
    Some(Memory { limit, used: used.saturating_sub(reclaimable) })
}

fn cores(quota_us: u64, period_us: u64) -> Option<f64> {
    (quota_us > 0 && period_us > 0).then(|| quota_us as f64 / period_us as f64)
}

fn read_number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// The value of `key` in a file of lines `key value`.
fn read_stat(path: &Path, key: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    text.lines().filter_map(|line| line.split_once(' ')).find(|(name, _)| *name == key)?.1.trim().parse().ok()
}
