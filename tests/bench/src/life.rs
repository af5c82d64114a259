//! Agents that live for a while: 16, 100 and 1,000 of them, with everything going wrong that may, held to what must never be.
//!
//! Nothing is timed but the simulation itself; all else is counted, and the same on every machine. A fault says its seed.

use anyhow::Result;
use selvedge::placement::sim::{Life, Lived, live};
use selvedge::routing::sim::{Race, race};
use selvedge::spec::Routing;

use crate::report::{Goal, Row};
use crate::sample::{Spread, seconds};

/// Agents, simulated seconds and seeds: a thousand agents are a thousand times the work of a second.
const SIZES: [(usize, u64, u64); 3] = [(16, 3_600, 5), (100, 1_800, 2), (1_000, 450, 1)];
/// Workloads, each with one to three replicas.
const WORKLOADS: usize = 12;
/// One in so many hosts lies; placement is made to bear one in sixteen.
const LIAR_IN: usize = 16;
/// Calls for each agent that routes, and in all: each looks at every instance.
const CALLS_EACH: usize = 2_000;
const CALLS_MAX: usize = 200_000;

pub(crate) fn run() -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (hosts, seconds, seeds) in SIZES {
        let calm = Life { oscillation: 0.05, workloads: WORKLOADS, seconds, ..Life::calm(hosts) };
        // As often for each host, however many there are.
        let churn_s = (480 / hosts as u64).max(2);
        let rough = Life { views: 2, stale_s: 20, liars: (hosts / LIAR_IN).max(1), ..calm };
        for (what, life) in [
            ("loads up and down by 5 %", calm),
            ("figures up to 20 s old, one in sixteen lies", rough),
            ("hosts crash, stall and come back, old figures, liars", Life { churn_s: Some(churn_s), ..rough }),
            ("a third cut off for a third of the time, old figures, liars", Life { partition: true, ..rough }),
        ] {
            rows.push(lived(hosts, what, &life, seeds));
        }
        rows.push(routed(hosts));
    }
    Ok(rows)
}

/// One kind of life, over some seeds.
fn lived(hosts: usize, what: &str, life: &Life, seeds: u64) -> Row {
    let (took_s, all) = seconds(|| (1..=seeds).map(|seed| live(&Life { seed, ..*life })).collect::<Vec<Lived>>());
    let faults = all.iter().filter(|lived| lived.fault.is_some()).count();
    let most = |figure: fn(&Lived) -> u64| all.iter().map(figure).max().unwrap_or(0);
    let mut note = format!(
        "{} s each, {seeds} seeds; longest without an instance {} s, with one too many {} s; at the most {} starts and {} moves; {:.1} s to simulate",
        life.seconds,
        most(|lived| lived.longest_gap_s),
        most(|lived| lived.longest_surplus_s),
        most(|lived| lived.starts),
        most(|lived| lived.moves),
        took_s / seeds as f64,
    );
    if let Some(fault) = all.iter().find_map(|lived| lived.fault) {
        note += &format!("; first fault: {fault}");
    }
    Row::new(
        "life",
        format!("{hosts} agents, {what}: runs with something that must never be"),
        Spread::exact(faults as f64),
        "",
    )
    .goal(Goal::AtMost(0.0))
    .note(note)
}

/// As many agents route calls to one instance for each two of them, of which one is ten times slower.
fn routed(agents: usize) -> Row {
    let replicas = (agents / 2).max(8);
    let race_of = Race {
        routers: agents,
        replicas,
        callers: agents * 25,
        calls_per_s: 150.0 * replicas as f64,
        calls: (agents * CALLS_EACH).min(CALLS_MAX),
        ..Race::default()
    };
    let (ours, robin) = (race(&race_of, Routing::LocalFirst), race(&race_of, Routing::RoundRobin));
    let p99 = |ms: f64| Spread::exact(ms);
    Row::new(
        "life",
        format!("{agents} agents route to {replicas} instances, one ten times slower: p99"),
        p99(ours.p99_ms),
        "ms",
    )
    .parts(p99(ours.p99_ms), p99(robin.p99_ms), "round robin", "ms")
    .note(format!(
        "{:.2} % of the calls to the slow one, of {:.2} %",
        ours.slow_share * 100.0,
        robin.slow_share * 100.0
    ))
}
