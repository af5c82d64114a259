//! Simulated clusters from seeds: every invariant after every event. A failing seed prints the command that replays it.

use selvedge_sync::sim::{self, Coverage, Scenario};

/// How many seeds a run of the suite takes. Unoptimised code gets fewer, so that it stays a matter of seconds.
const SEEDS: u64 = if cfg!(debug_assertions) { 40 } else { 400 };

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
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
    let mut total = Coverage::default();
    let mut failures = Vec::new();
    for seed in first..first + seeds {
        match sim::run(seed, &Scenario::drawn_from(seed)) {
            Ok(report) => total = total.plus(&report.coverage),
            Err(failure) => failures.push(failure.to_string()),
        }
    }
    println!("{total:?}");
    assert!(failures.is_empty(), "{} of {seeds} seeds failed\n{}", failures.len(), failures[..failures.len().min(8)].join("\n"));
}
