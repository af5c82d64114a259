//! Simulated clusters from seeds: every invariant after every event. A failing seed prints the command that replays it.
#![expect(clippy::disallowed_types, reason = "seeds run on as many threads as there are cores; each run is pure")]
#![expect(clippy::disallowed_methods, reason = "a failing seed is replayed by an environment variable")]

use std::num::NonZero;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use selvedge_sync::sim::{self, Coverage, Scenario};

/// How many seeds a run of the suite takes: some ten seconds, and every kind of fault is among them.
const SEEDS: u64 = 400;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

/// Runs every seed, on as many threads as there are cores: each run is alone in its own virtual world.
fn run_all(seeds: Range<u64>) -> (Coverage, Vec<String>) {
    let next = AtomicU64::new(seeds.start);
    let sum = Mutex::new((Coverage::default(), Vec::new()));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return;
            }
            let result = sim::run(seed, &Scenario::drawn_from(seed));
            let mut sum = sum.lock().expect("no thread panicked");
            match result {
                Ok(report) => sum.0 = std::mem::take(&mut sum.0).plus(&report.coverage),
                Err(failure) => sum.1.push(failure.to_string()),
            }
        }
    };
    std::thread::scope(|scope| {
        (0..std::thread::available_parallelism().map_or(1, NonZero::get)).for_each(|_| drop(scope.spawn(work)));
    });
    sum.into_inner().expect("no thread panicked")
}

#[test]
fn clusters_converge_whatever_happens() {
    if let Some(seed) = number("SELVEDGE_SIM_SEED") {
        let scenario = Scenario { narrate: true, ..Scenario::drawn_from(seed) };
        let report = sim::run(seed, &scenario).unwrap_or_else(|failure| panic!("{scenario:?}\n{failure}"));
        panic!("seed {seed} passes: {report:?}");
    }
    let seeds = number("SELVEDGE_SIM_SEEDS").unwrap_or(SEEDS);
    let first = number("SELVEDGE_SIM_FIRST").unwrap_or(0);
    let (total, failures) = run_all(first..first + seeds);
    assert!(
        failures.is_empty(),
        "{} of {seeds} seeds failed\n{}",
        failures.len(),
        failures[..failures.len().min(8)].join("\n")
    );
    if seeds >= SEEDS {
        check_coverage(&total);
    }
}

/// A suite that never saw a repair has not tested repair.
fn check_coverage(total: &Coverage) {
    let seen = [
        ("repeated requests", total.repeated),
        ("refused commits", total.refused),
        ("crashes", total.crashes),
        ("commits lost in crashes", total.commits_lost),
        ("store failures", total.store_failures),
        ("restored backups", total.restores),
        ("wiped disks", total.wipes),
        ("new lives after amnesia", total.rebirths),
        ("gaps", total.gaps),
        ("held commits", total.held),
        ("deferred commits", total.deferred),
        ("repairs", total.repairs),
        ("completed repairs", total.repairs_done),
        ("repairs of several pages", total.pages.saturating_sub(total.repairs_done)),
        ("states compared", total.exact_states),
    ];
    let missed: Vec<_> = seen.iter().filter(|(_, count)| *count == 0).collect();
    assert!(missed.is_empty(), "never happened: {missed:?} in {total:?}");
}

#[test]
fn a_seed_means_one_run() {
    for seed in [3, 12, 137] {
        let trace = || sim::run(seed, &Scenario::drawn_from(seed)).unwrap_or_else(|failure| panic!("{failure}")).trace;
        assert_eq!(trace(), trace(), "seed {seed}");
    }
    let other = |seed| sim::run(seed, &Scenario::mild(3)).unwrap_or_else(|failure| panic!("{failure}")).trace;
    assert_ne!(other(1), other(2));
}

#[test]
fn many_nodes_converge_within_seconds() {
    let nodes = if cfg!(debug_assertions) { 12 } else { 40 };
    let report = sim::run(1, &Scenario::mild(nodes)).unwrap_or_else(|failure| panic!("{failure}"));
    assert!(report.converged_ms <= 5_000, "{report:?}");
}
