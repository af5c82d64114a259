//! One hop: written on one node, readable on another. 64 bytes, ours against a raw libp2p stream and gossipsub.
//!
//! Samples are taken in turn, one of each contender, one at a time. A block of them gives a p50 and a p99 for each, and the figures are
//! the medians of blocks, so that a busy moment of the machine is everybody's. Ours is two whole agents: a write is a commit
//! that the driver applies, the store keeps (on a tmpfs, where a sync is nothing; on a disk, told apart), the network carries, and
//! the other's driver applies; it counts when a reader there has read it. A raw stream carries the payload alone, from a task
//! that writes to a task that reads.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use crate::field::Wire;
use crate::field::agents::Agents;
use crate::field::frames::Frames;
use crate::field::swarm::{Nodes, Speech};
use crate::report::{Goal, Row};
use crate::sample::{Pair, percentile};

const NAME: &str = "hop";

/// Blocks that count; one before them warms up.
const BLOCKS: usize = 8;

/// Samples of each contender in a block.
const SAMPLES: usize = 250;

/// Rest between samples: each begins on idle connections.
const REST: Duration = Duration::from_millis(1);

/// A folder in memory.
pub(crate) const MEMORY: &str = "/dev/shm";

/// One way from a node to another.
enum Way {
    Ours(Agents),
    Theirs(Nodes),
    /// A part of ours: the network without the agents.
    Frames(Frames),
    /// A part of ours: until the commit is durable where it was made, and pushed from there.
    Here(Agents),
}

impl Way {
    fn once(&self, number: u64) -> Result<f64> {
        let took = match self {
            Self::Ours(agents) => agents.once(0, number, 1),
            Self::Theirs(nodes) => nodes.once(0, number, 1),
            Self::Frames(frames) => frames.once(number),
            Self::Here(agents) => agents.durable(0, number),
        };
        Ok(took?.as_secs_f64() * 1e6)
    }
}

/// A contender and its samples by block.
struct Lane {
    way: Way,
    blocks: Vec<Vec<f64>>,
}

pub(crate) fn run(disk: &Path) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for wire in [Wire::Quic, Wire::Tcp] {
        rows.extend(over(wire, disk)?);
    }
    Ok(rows)
}

fn over(wire: Wire, disk: &Path) -> Result<Vec<Row>> {
    let gossip = |is_signed| Nodes::start(2, wire, Speech::Gossip { is_signed, floods: true });
    let mut lanes: Vec<Lane> = [
        Way::Ours(Agents::start(Path::new(MEMORY), 2, wire)?),
        Way::Ours(Agents::start(disk, 2, wire)?),
        Way::Theirs(Nodes::start(2, wire, Speech::Stream)?),
        Way::Theirs(gossip(true)?),
        Way::Theirs(gossip(false)?),
        Way::Frames(Frames::start(wire)?),
        Way::Here(Agents::start(Path::new(MEMORY), 1, wire)?),
    ]
    .into_iter()
    .map(|way| Lane { way, blocks: Vec::new() })
    .collect();
    let mut number = 0;
    for _ in 0..=BLOCKS {
        lanes.iter_mut().for_each(|lane| lane.blocks.push(Vec::with_capacity(SAMPLES)));
        for _ in 0..SAMPLES {
            number += 1;
            for lane in &mut lanes {
                let took = lane.way.once(number)?;
                if let Some(block) = lane.blocks.last_mut() {
                    block.push(took);
                }
                std::thread::sleep(REST);
            }
        }
    }
    let [ours, durable, stream, signed, anonymous, frames, here] = &lanes[..] else { unreachable!("all are above") };
    let word = wire.word();
    let ratio = |what: &str, ours: &Lane, peer: &Lane, name: &str, share: f64| {
        let what = format!("{word}, {what}, p{:.0}", share * 100.0);
        Row::ratio(NAME, what, &pair(ours, peer, share), name, "µs")
    };
    let mut rows = Vec::new();
    for share in [0.5, 0.99] {
        let goal = |bound| if share < 0.9 { Goal::AtMost(bound) } else { Goal::Told };
        rows.push(ratio("ours against a raw stream", ours, stream, "stream", share).goal(goal(1.5)));
        rows.push(ratio("ours against gossipsub", ours, signed, "gossipsub", share).goal(goal(0.7)));
        rows.push(ratio("ours against gossipsub, unsigned", ours, anonymous, "gossipsub", share));
        rows.push(ratio("ours on a disk against a raw stream", durable, stream, "stream", share));
        rows.push(ratio("our network alone against a raw stream", frames, stream, "stream", share));
        rows.push(ratio("a commit that is durable here, in memory", here, stream, "stream", share));
    }
    Ok(rows)
}

/// The same quantile of each block of both.
fn pair(ours: &Lane, peer: &Lane, share: f64) -> Pair {
    let mut pair = Pair::default();
    for (round, (ours, peer)) in ours.blocks.iter().zip(&peer.blocks).enumerate() {
        pair.note(round, percentile(ours, share), percentile(peer, share));
    }
    pair
}
