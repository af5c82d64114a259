//! The examples of `docs/placement.md`: the page shows what the planner says.

use super::rules::{rules, shown};
use super::*;

const PAGE: &str = include_str!("../../../../docs/placement.md");

/// The hosts of the page.
fn hosts() -> [NodeFacts; 3] {
    let named = |facts: NodeFacts, name: &str, region: &str| NodeFacts {
        name: name.to_owned(),
        region: Some(region.to_owned()),
        ..facts
    };
    let mut busy = near(calls(loaded(1, 0.5), 10.0), &[(2, 10.0), (3, 80.0)]);
    busy.resources = Resources { cpu_used_share: 0.5, memory_free: GIB / 2, ..busy.resources };
    [named(busy, "fra", "eu"), named(host(2), "par", "eu"), named(host(3), "nyc", "us")]
}

#[test]
fn the_page_shows_what_the_planner_says() {
    let check = |what: &str, explanation: &Explanation| {
        let block = format!("```text\n{}```\n", shown(explanation));
        assert!(PAGE.contains(&block), "{what}: docs/placement.md should show\n{block}");
    };
    check("the choice", &explained(&spec(1), hosts().to_vec()));
    let [busy, others @ ..] = hosts();
    let mut settled = vec![running(busy, Phase::Ready)];
    settled.extend(others);
    check("the move", &explained(&spec(1), settled));
    let must = Spec { must: rules(&["region=us"]), ..spec(1) };
    check("the demand", &explained(&must, hosts().to_vec()));
}
