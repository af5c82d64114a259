//! Sixteen nodes: written on one, readable on all others. Ours against gossipsub (D = 6) and chitchat.
//!
//! Writers take turns, one write is under way at a time, and contenders take turns sample by sample (chitchat, a thousand times
//! slower, gets fewer). Gossipsub is told twice: as the library is configured by itself, where an author sends to everybody it is
//! connected to, and where messages travel along the mesh alone.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use crate::field::agents::Agents;
use crate::field::swarm::{Nodes, Speech};
use crate::field::{Wire, chit};
use crate::hop::MEMORY;
use crate::report::{Goal, Row};
use crate::sample::{Pair, percentile};

const NAME: &str = "fanout";
const COUNT: usize = 16;

/// Blocks that count; one before them warms up.
const BLOCKS: usize = 6;

/// Samples of each contender in a block, and those of chitchat.
const SAMPLES: usize = 200;
const SAMPLES_CHITCHAT: usize = 20;

/// Rest between samples.
const REST: Duration = Duration::from_millis(2);

const CHITCHAT_EVERY: Duration = Duration::from_millis(100);

pub(crate) fn run(_: &Path) -> Result<Vec<Row>> {
    let ours = Agents::start(Path::new(MEMORY), COUNT, Wire::Quic)?;
    let gossip = |floods| Nodes::start(COUNT, Wire::Quic, Speech::Gossip { is_signed: true, floods });
    let (flooding, meshed) = (gossip(true)?, gossip(false)?);
    let chitchat = chit::Nodes::start(COUNT, CHITCHAT_EVERY)?;
    let mut number = 0;
    let mut pairs: [[Pair; 3]; 2] = Default::default();
    for block in 0..=BLOCKS {
        let mut taken: [Vec<f64>; 4] = Default::default();
        for sample in 0..SAMPLES {
            number += 1;
            let from = sample % COUNT;
            taken[0].push(us(ours.everywhere(from, number)?));
            std::thread::sleep(REST);
            taken[1].push(us(flooding.everywhere(from, number)?));
            std::thread::sleep(REST);
            taken[2].push(us(meshed.everywhere(from, number)?));
            std::thread::sleep(REST);
            if sample % (SAMPLES / SAMPLES_CHITCHAT) == 0 {
                taken[3].push(us(chitchat.everywhere(from, number)?));
            }
        }
        for (at, share) in [0.5, 0.99].into_iter().enumerate() {
            for peer in 0..3 {
                pairs[at][peer].note(block, percentile(&taken[0], share), percentile(&taken[peer + 1], share));
            }
        }
    }
    let peers = [("gossipsub", 0.8), ("gossipsub, mesh alone", 0.8), ("chitchat at 100 ms", 0.05)];
    let mut rows = Vec::new();
    for (of_share, what) in pairs.iter().zip(["p50", "p99"]) {
        for (pair, (peer, bound)) in of_share.iter().zip(peers) {
            let goal = if what == "p99" { Goal::AtMost(bound) } else { Goal::Told };
            rows.push(
                Row::ratio(NAME, format!("16 agents, everywhere, {what}, against {peer}"), pair, peer, "µs").goal(goal),
            );
        }
    }
    Ok(rows)
}

fn us(took: Duration) -> f64 {
    took.as_secs_f64() * 1e6
}
