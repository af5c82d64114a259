//! What this process uses of its host.
//!
//! Owns reading three places below `/proc/self`; judges nothing. The invariant: what cannot be read is zero, since nobody is helped by an
//! agent that fails because it could not say how large it is.

use std::path::Path;

/// Ticks of processor time in a second, as Linux counts them for `/proc` on every machine.
const TICKS_PER_SECOND: f64 = 100.0;

/// What a process uses.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Own {
    /// Memory that is resident, in bytes.
    pub resident_bytes: u64,
    /// Processor time, in the program and in the kernel, in seconds.
    pub cpu_seconds: f64,
    /// Files and sockets that are open.
    pub open_files: u64,
}

impl Own {
    /// What this process uses now.
    #[must_use]
    pub fn now() -> Self {
        Self::of(Path::new("/proc/self"))
    }

    fn of(proc: &Path) -> Self {
        let read = |name: &str| std::fs::read_to_string(proc.join(name)).unwrap_or_default();
        let open_files = std::fs::read_dir(proc.join("fd")).map_or(0, |files| files.count() as u64);
        Self {
            resident_bytes: resident(&read("status")).unwrap_or_default(),
            cpu_seconds: ticks(&read("stat")).unwrap_or_default() / TICKS_PER_SECOND,
            open_files,
        }
    }
}

fn resident(status: &str) -> Option<u64> {
    let kib: u64 =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024)
}

/// Fields 14 and 15 of `/proc/PID/stat`, counted behind the name, which may hold blanks.
fn ticks(stat: &str) -> Option<f64> {
    let (_, behind) = stat.rsplit_once(')')?;
    let mut fields = behind.split_whitespace().skip(11).map(str::parse::<f64>);
    Some(fields.next()?.ok()? + fields.next()?.ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says_is_read() {
        assert_eq!(resident("Name:\tselvedge\nVmRSS:\t   20480 kB\n"), Some(20_480 * 1024));
        let stat = "7 (a (b) c) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 9 0 1 2 3";
        assert_eq!(ticks(stat), Some(300.0));
        let own = Own::now();
        assert!(own.resident_bytes > 0 && own.open_files > 2, "{own:?}");
        assert_eq!(Own::of(Path::new("/nowhere")), Own::default());
    }
}
