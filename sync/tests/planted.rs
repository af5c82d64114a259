//! Every planted bug is found: the first seed that fails, and the invariant that says so, are those of the table.
//!
//! `cargo test --release -p selvedge-sync --features planted --test planted`. `docs/planted-bugs.md` shows the same table.

use selvedge_sync::planted::{self, Bug};
use selvedge_sync::sim::{self, Scenario};

/// How many seeds a bug may hide from.
const SEEDS: u64 = 300;

/// Which seed, the first of all, catches each bug, and words of the invariant that did.
const CAUGHT: [(Bug, u64, &str); 6] = [
    (Bug::StampsFallBack, 0, "stamps"),
    (Bug::StampsUnobserved, 1, "stamps"),
    (Bug::LogSkipsCommit, 0, "sent with another meaning"),
    (Bug::LogBridgesGap, 16, "sent with another meaning"),
    (Bug::LogUnbounded, 0, "bytes of log"),
    (Bug::LogDeniesForgetting, 3, "not converged"),
];

/// The first seed that fails with this bug, and how.
fn caught(bug: Bug) -> Option<(u64, String)> {
    planted::with(bug, || {
        (0..SEEDS).find_map(|seed| sim::run(seed, &Scenario::drawn_from(seed)).err().map(|failed| (seed, failed.what)))
    })
}

#[test]
fn every_planted_bug_is_found() {
    assert_eq!(CAUGHT.map(|(bug, ..)| bug), Bug::ALL, "the table names every bug");
    let mut faults = Vec::new();
    for (bug, seed, words) in CAUGHT {
        let first_line = |what: String| what.lines().next().unwrap_or_default().to_owned();
        match caught(bug).map(|(seed, what)| (seed, first_line(what))) {
            Some((found, what)) if found == seed && what.contains(words) && !words.is_empty() => {}
            found => faults.push(format!("{bug:?}: the table says {seed} `{words}`, found {found:?}")),
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
