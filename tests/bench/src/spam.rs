//! What honest members feel while one member spams: their one-hop latency with the spam and without it, in turn.
//!
//! Three whole agents in this process; the third has a certificate like the others, and a thread that hands frames to its network
//! as fast as that takes them: commits under its own name that the others have had, alone or with messages that are none, which is an
//! offence. It is refused for it sooner or later, and comes back; what the frames that were taken say of this is noted. It shares the two cores with those
//! whom it spams, so the same is also measured with a thread that is as busy and sends nothing.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use selvedge::net::{Lane, Net};
use selvedge_sync::commit::Batch;
use selvedge_sync::id::{NodeId, Stream};
use selvedge_sync::replica::{Message, Replica};

use crate::field::Wire;
use crate::field::agents::Agents;
use crate::hop::MEMORY;
use crate::report::{Goal, Row};
use crate::sample::{Pair, percentile};

const NAME: &str = "spam";

/// Blocks of each mode that count; one before them warms up.
const BLOCKS: usize = 8;
const SAMPLES: usize = 200;
const REST: Duration = Duration::from_millis(1);

/// Commits that the spammer has made, all of which it sends in every frame.
const COMMITS: u64 = 100;

/// After a change of mode, until queues have filled or emptied.
const TURN: Duration = Duration::from_millis(500);

/// What the spammer's thread does.
const QUIET: u8 = 0;
const SPAM: u8 = 1;
const BURN: u8 = 2;
const END: u8 = 3;

pub(crate) fn run(_: &Path) -> Result<Vec<Row>> {
    let mut rows = under("commits that are known", |replica| vec![known(replica)])?;
    rows.extend(under("the same and garbage", |replica| vec![known(replica), vec![0xff; 1_024]])?);
    Ok(rows)
}

fn under(what: &str, frames: impl Fn(&Replica) -> Vec<Vec<u8>>) -> Result<Vec<Row>> {
    let agents = Agents::start(Path::new(MEMORY), 3, Wire::Quic)?;
    for number in 0..COMMITS {
        agents.everywhere(2, 1_000_000 + number)?;
    }
    let spammer = &agents.members[2].inside;
    let frames = spammer.view.read(frames);
    let (mode, sent) = (Arc::new(AtomicU8::new(QUIET)), Arc::new(AtomicU64::new(0)));
    let victims: Vec<NodeId> = agents.members[..2].iter().map(|member| member.inside.net.node()).collect();
    let thread = {
        let (net, mode, sent) = (spammer.net.clone(), Arc::clone(&mode), Arc::clone(&sent));
        std::thread::spawn(move || spam(&net, &victims, &frames, &mode, &sent))
    };
    let mut taken: [Vec<Vec<f64>>; 3] = Default::default();
    let mut number = 0;
    let mut spamming = Duration::ZERO;
    for _ in 0..=BLOCKS {
        for (at, does) in [QUIET, SPAM, BURN].into_iter().enumerate() {
            mode.store(does, Ordering::Relaxed);
            let begun = Instant::now();
            std::thread::sleep(TURN);
            let mut block = Vec::with_capacity(SAMPLES);
            for _ in 0..SAMPLES {
                number += 1;
                block.push(agents.once(0, number, 1)?.as_secs_f64() * 1e6);
                std::thread::sleep(REST);
            }
            taken[at].push(block);
            if does == SPAM {
                spamming += begun.elapsed();
            }
        }
    }
    mode.store(END, Ordering::Relaxed);
    thread.join().unwrap_or_default();
    let note = format!(
        "{:.0} frames a second were taken by the spammer's network; at the end it is connected to {} of 2",
        sent.load(Ordering::Relaxed) as f64 / spamming.as_secs_f64(),
        agents.members[2].inside.net.peers().len(),
    );
    let [quiet, spam, burn] = &taken;
    let mut rows = Vec::new();
    for (share, quantile) in [(0.5, "p50"), (0.99, "p99")] {
        let goal = if share < 0.9 { Goal::AtMost(1.5) } else { Goal::Told };
        let row = |ours, peer, than: &str| {
            let text = format!("a hop while a third spams {what}, {quantile}, against {than}");
            Row::ratio(NAME, text, &pair(ours, peer, share), than, "µs")
        };
        rows.push(row(spam, quiet, "without it").goal(goal).note(note.clone()));
        rows.push(row(spam, burn, "a thread that is busy alone"));
    }
    Ok(rows)
}

fn pair(ours: &[Vec<f64>], peer: &[Vec<f64>], share: f64) -> Pair {
    let mut pair = Pair::default();
    for (round, (ours, peer)) in ours.iter().zip(peer).enumerate() {
        pair.note(round, percentile(ours, share), percentile(peer, share));
    }
    pair
}

/// A page of commits that everybody has.
fn known(replica: &Replica) -> Vec<u8> {
    let stream = Stream::global(replica.me());
    let commits = (1..=COMMITS).filter_map(|seq| replica.log().get(&stream, seq).cloned()).collect();
    Message::Commits { batches: vec![Batch::new(stream, 1, commits)], more: false, hops: None }.encode()
}

/// Works until it is told to end.
fn spam(net: &Net, victims: &[NodeId], frames: &[Vec<u8>], mode: &AtomicU8, sent: &AtomicU64) {
    loop {
        match mode.load(Ordering::Relaxed) {
            END => return,
            SPAM => {
                let mut all_full = true;
                for victim in victims {
                    for frame in frames {
                        if net.send(*victim, Lane::Sync, frame.clone()).is_ok() {
                            all_full = false;
                            sent.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                }
                if all_full {
                    std::thread::yield_now();
                }
            }
            BURN => std::hint::spin_loop(),
            _ => std::thread::sleep(REST),
        }
    }
}
