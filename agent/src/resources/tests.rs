use std::fs;
use std::thread;

use super::cgroup::Memory;
use super::*;

/// A folder with these files in it.
fn files(files: &[(&str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    root
}

fn cgroup(root: &tempfile::TempDir) -> Cgroup {
    Cgroup::of_this_process(&root.path().join("proc"), &root.path().join("cgroup"))
}

#[test]
fn this_host_is_measured() {
    let folder = tempfile::tempdir().unwrap();
    let mut sampler = Sampler::new(folder.path()).unwrap();
    thread::sleep(SAMPLE_INTERVAL_MIN);
    for _ in 0..3 {
        let Measured { resources, load } = sampler.sample();
        assert!(resources.cpu_total > 0.0 && resources.cpu_total <= 4_096.0, "{resources:?}");
        assert!((0.0..=1.0).contains(&resources.cpu_used_share) && (0.0..=1.0).contains(&load), "{resources:?} {load}");
        assert!(resources.memory_free > 0 && resources.memory_free <= resources.memory_total, "{resources:?}");
        assert!(resources.memory_total > 64 << 20, "{resources:?}");
        assert!(resources.disk_free.is_none_or(|bytes| bytes > 0), "{resources:?}");
    }
}

#[test]
fn a_busy_cpu_shows() {
    let folder = tempfile::tempdir().unwrap();
    let mut sampler = Sampler::new(folder.path()).unwrap();
    // As many as there are cores, so that the host has nothing left whatever else runs on it.
    let until = Instant::now() + SAMPLE_INTERVAL_MIN * 3;
    let busy = || {
        let mut sum = 0_u64;
        while Instant::now() < until {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().unwrap().get() {
            scope.spawn(busy);
        }
    });
    let measured = sampler.sample();
    assert!(measured.load > 0.5 && measured.resources.cpu_used_share > 0.5, "{measured:?}");
}

#[test]
fn the_tightest_limit_of_version_2_counts() {
    let root = files(&[
        ("proc/self/cgroup", "0::/machine/agent\n"),
        ("cgroup/machine/agent/memory.max", "max\n"),
        ("cgroup/machine/agent/memory.current", "5\n"),
        ("cgroup/machine/agent/cpu.max", "max 100000\n"),
        ("cgroup/machine/agent/cpu.stat", "usage_usec 2500000\nuser_usec 1\n"),
        ("cgroup/machine/memory.max", "1000000\n"),
        ("cgroup/machine/memory.current", "700000\n"),
        ("cgroup/machine/memory.stat", "anon 1\ninactive_file 200000\n"),
        ("cgroup/machine/cpu.max", "50000 100000\n"),
    ]);
    let cgroup = cgroup(&root);
    assert_eq!(cgroup.memory(), Some(Memory { limit: 1_000_000, used: 500_000 }));
    assert_eq!((cgroup.cpus(), cgroup.cpu_used_s()), (Some(0.5), Some(2.5)));
}

#[test]
fn version_1_is_read_and_its_numbers_for_none_are_none() {
    let root = files(&[
        ("proc/self/cgroup", "4:memory:/jobs/1\n2:cpu,cpuacct:/jobs\n0::/\n"),
        ("cgroup/memory/jobs/1/memory.limit_in_bytes", "9223372036854771712\n"),
        ("cgroup/memory/jobs/1/memory.usage_in_bytes", "100\n"),
        ("cgroup/memory/jobs/memory.limit_in_bytes", "4096\n"),
        ("cgroup/memory/jobs/memory.usage_in_bytes", "1024\n"),
        ("cgroup/cpu/jobs/cpu.cfs_quota_us", "-1\n"),
        ("cgroup/cpu/jobs/cpu.cfs_period_us", "100000\n"),
        ("cgroup/cpu/cpu.cfs_quota_us", "150000\n"),
        ("cgroup/cpu/cpu.cfs_period_us", "100000\n"),
        ("cgroup/cpuacct/jobs/cpuacct.usage", "3000000000\n"),
    ]);
    let cgroup = cgroup(&root);
    assert_eq!(cgroup.memory(), Some(Memory { limit: 4096, used: 1024 }));
    assert_eq!((cgroup.cpus(), cgroup.cpu_used_s()), (Some(1.5), Some(3.0)));
}

#[test]
fn a_group_of_version_1_without_a_limit_has_none() {
    let root = files(&[
        ("proc/self/cgroup", "4:memory:/jobs\n"),
        ("cgroup/memory/jobs/memory.limit_in_bytes", "9223372036854771712\n"),
        ("cgroup/memory/jobs/memory.usage_in_bytes", "100\n"),
    ]);
    assert_eq!(cgroup(&root).memory(), None);
}

#[test]
fn a_path_of_the_host_falls_back_to_the_mount_and_nonsense_to_no_limit() {
    let inside = files(&[
        ("proc/self/cgroup", "0::/docker/0123\n"),
        ("cgroup/memory.max", "77\n"),
        ("cgroup/memory.current", "7\n"),
    ]);
    assert_eq!(cgroup(&inside).memory(), Some(Memory { limit: 77, used: 7 }));

    let nonsense = files(&[
        ("proc/self/cgroup", "\n::\n0\n0::/../..\nx:memory\n"),
        ("cgroup/memory.max", "plenty\n"),
        ("cgroup/cpu.max", "0 0\n"),
    ]);
    let cgroup = cgroup(&nonsense);
    assert_eq!((cgroup.memory(), cgroup.cpus(), cgroup.cpu_used_s()), (None, None, None));
    assert_eq!(Cgroup::of_this_process(Path::new("/nowhere"), Path::new("/nowhere")).memory(), None);
}

#[test]
fn the_run_queue_is_read_from_loadavg() {
    assert_eq!(parse_runnable("0.20 0.18 0.12 3/80 11206\n"), Some(3));
    for text in ["", "0.2 0.1 0.1", "0.2 0.1 0.1 x/80", "0.2 0.1 0.1 3"] {
        assert_eq!(parse_runnable(text), None, "{text}");
    }
}
