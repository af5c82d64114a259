//! Simulated clusters from seeds: every invariant after every event. A failing seed prints the command that replays it.
#![expect(clippy::disallowed_types, reason = "seeds run on as many threads as there are cores; each run is pure")]
#![expect(clippy::disallowed_methods, reason = "how many seeds, and from which on, may be said by the environment")]

use std::num::NonZero;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use selvedge_sync::sim::{self, Coverage, Scenario};

/// How many seeds a run of the suite takes: about half a minute on two cores, and every kind of fault is among them. Without
/// optimisation each costs five times as much, so there are fewer.
const SEEDS: u64 = if cfg!(debug_assertions) { 300 } else { ENOUGH };
/// So many seeds go through everything.
const ENOUGH: u64 = 2_000;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

/// What came of many runs.
#[derive(Default)]
struct Outcome {
    total: Coverage,
    /// In how many runs a snapshot committed what clients asked it for.
    forked: u64,
    failures: Vec<String>,
}

/// Runs every seed, on as many threads as there are cores: each run is alone in its own virtual world. The option is what replays
/// such a scenario.
fn run_all(seeds: Range<u64>, (scenario, option): (fn(u64) -> Scenario, &str)) -> Outcome {
    let next = AtomicU64::new(seeds.start);
    let sum = Mutex::new(Outcome::default());
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return;
            }
            let result = sim::run(seed, &scenario(seed));
            let mut sum = sum.lock().expect("no thread panicked");
            match result {
                Ok(report) => {
                    sum.forked += u64::from(report.coverage.of("commits of snapshots") > 0);
                    sum.total = std::mem::take(&mut sum.total).plus(&report.coverage);
                }
                Err(failure) => sum.failures.push(format!("{failure}{option}")),
            }
        }
    };
    std::thread::scope(|scope| {
        (0..std::thread::available_parallelism().map_or(1, NonZero::get)).for_each(|_| drop(scope.spawn(work)));
    });
    sum.into_inner().expect("no thread panicked")
}

/// A suite that never saw a repair has not tested repair: what was gone through is checked as well.
#[test]
fn clusters_converge_whatever_happens() {
    let seeds = number("SELVEDGE_SIM_SEEDS").unwrap_or(SEEDS);
    let first = number("SELVEDGE_SIM_FIRST").unwrap_or(0);
    let Outcome { total, failures, .. } = run_all(first..first + seeds, (Scenario::drawn_from, ""));
    assert!(
        failures.is_empty(),
        "{} of {seeds} seeds failed\n{}",
        failures.len(),
        failures[..failures.len().min(8)].join("\n")
    );
    if seeds >= ENOUGH {
        assert_eq!(total.missing(), Vec::<String>::new(), "never happened in\n{total}");
    }
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

/// What a hundred runs in which forks are staged go through, at the least: a third of what they did when this was written.
const FORKS_EXPECTED: [(&str, u64); 5] = [
    ("snapshots that write", 50),
    ("commits of snapshots", 300),
    ("new lives after amnesia", 80),
    ("replicas begun anew", 50),
    ("commits made again", 250),
];

/// Beyond what the suite draws: forks are staged, and in at least half of the runs a snapshot that came back does take writes.
#[test]
fn snapshots_that_write_lose_nothing() {
    let seeds = number("SELVEDGE_SIM_SEEDS").unwrap_or(if cfg!(debug_assertions) { 30 } else { 300 });
    let first = number("SELVEDGE_SIM_FIRST").unwrap_or(0);
    let Outcome { total, forked, failures } = run_all(first..first + seeds, (Scenario::with_forks_from, " --forks"));
    assert!(
        failures.is_empty(),
        "{} of {seeds} seeds failed\n{}",
        failures.len(),
        failures[..failures.len().min(8)].join("\n")
    );
    assert!(2 * forked >= seeds, "a snapshot took writes in {forked} of {seeds} runs\n{total}");
    for (what, least) in FORKS_EXPECTED {
        assert!(total.of(what) * 100 >= seeds * least, "{what} {} in {seeds} runs\n{total}", total.of(what));
    }
}

/// An idle mesh costs each member the same, however many there are. The campaign's `--idle` shows it for 100 and 1,000.
#[test]
fn an_idle_member_costs_the_same_in_a_mesh_ten_times_as_large() {
    let (small, large) = if cfg!(debug_assertions) { (15, 150) } else { (40, 400) };
    let cost = |nodes| sim::idle_cost(nodes, 3).unwrap_or_else(|failure| panic!("{failure}"));
    let (small, large) = (cost(small), cost(large));
    for (what, small, large) in [
        ("bytes", small.bytes, large.bytes),
        ("messages", small.messages, large.messages),
        ("inputs", small.inputs, large.inputs),
    ] {
        assert!((large / small - 1.0).abs() <= 0.1, "{what}: {small} and {large} per member and second");
    }
}

/// A member tells its stream in two versions, now to one and then to another: wherever both come together it is proven, in the end all
/// know, and nobody else is the worse for it.
#[test]
fn whoever_tells_two_stories_is_found_out() {
    let seeds = number("SELVEDGE_SIM_SEEDS").unwrap_or(if cfg!(debug_assertions) { 30 } else { 300 });
    let first = number("SELVEDGE_SIM_FIRST").unwrap_or(0);
    let scenario = (Scenario::with_equivocation_from as fn(u64) -> Scenario, " --equivocation");
    let Outcome { total, failures, .. } = run_all(first..first + seeds, scenario);
    let shown = failures[..failures.len().min(8)].join("\n");
    assert!(failures.is_empty(), "{} of {seeds} seeds failed\n{shown}", failures.len());
    assert!(total.of("equivocations proven") >= seeds, "{total}");
}
