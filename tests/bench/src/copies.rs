//! Copies of a payload that each member receives: real agents up to the number that are served straight, and 600 simulated.
//!
//! The agents' own counters say how many commits of others they took in, and how many they had already. The simulation is the one
//! that tests the broadcast tree, where nothing but the tree delivers.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::field::Wire;
use crate::field::agents::Agents;
use crate::hop::MEMORY;
use crate::report::{Goal, Row};
use crate::sample::Spread;

#[path = "../../../sync/tests/broadcast/mesh.rs"]
#[expect(dead_code, reason = "the tests that it is shared with use the rest")]
mod mesh;

const NAME: &str = "copies";

/// Writes, one after the other, by everybody in turn.
const WRITES: usize = 320;

/// Writers of the simulation, and how often each writes.
const WRITERS: usize = 20;
const WRITES_EVERY_MS: u64 = 20_000;
const SETTLE_MS: u64 = 5_000;
const SEEDS: u64 = 5;

pub(crate) fn run(_: &Path) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for count in [16, 32] {
        rows.push(straight(count)?);
    }
    rows.push(simulated()?);
    Ok(rows)
}

fn straight(count: usize) -> Result<Row> {
    let agents = Agents::start(Path::new(MEMORY), count, Wire::Quic)?;
    // Everybody's first messages are over.
    agents.everywhere(0, 1)?;
    std::thread::sleep(Duration::from_secs(2));
    let counted = || -> Vec<(u64, u64)> {
        let of = |member: &crate::field::agents::Member| {
            member.inside.view.read(|replica| (replica.counters().commits_remote, replica.counters().duplicates))
        };
        agents.members.iter().map(of).collect()
    };
    let before = counted();
    for write in 0..WRITES {
        agents.everywhere(write % count, write as u64 + 2)?;
    }
    // What comes late comes twice.
    std::thread::sleep(Duration::from_secs(3));
    let copies: Vec<f64> = counted()
        .iter()
        .zip(&before)
        .map(|(after, before)| {
            let (fresh, again) = (after.0 - before.0, after.1 - before.1);
            (fresh + again) as f64 / fresh as f64
        })
        .collect();
    let row = Row::new(NAME, format!("{count} agents, {WRITES} writes, copies per member"), Spread::of(&copies), "");
    Ok(row.goal(Goal::AtMost(1.05)))
}

fn simulated() -> Result<Row> {
    let mut copies = Vec::new();
    for seed in 1..=SEEDS {
        let mut mesh = mesh::Mesh::new(600, seed, mesh::Network::losing(20));
        mesh.run(1_000);
        let writers: Vec<usize> = (0..WRITERS).map(|writer| writer * 600 / WRITERS).collect();
        mesh.write_for(&writers, 1, WRITES_EVERY_MS);
        let mut waited = 0;
        while !mesh.behind().is_empty() && waited < SETTLE_MS {
            mesh.run(mesh::TICK_MS);
            waited += mesh::TICK_MS;
        }
        ensure!(mesh.behind().is_empty(), "{} members have not got everything", mesh.behind().len());
        copies.push(mesh.totals.copies as f64 / mesh.totals.applied as f64);
    }
    let what = "600 simulated, 2 % lost, everything delivered by the tree alone, copies per member";
    Ok(Row::new(NAME, what, Spread::of(&copies), "").goal(Goal::AtMost(2.0)))
}
