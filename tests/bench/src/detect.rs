//! A failure, noticed: sixteen agents of which one is killed, until every other calls it lost; against foca with the same periods.
//! And false alarms while two of sixteen stall for 20 seconds.
//!
//! Ours are processes, killed and stopped by signals, and asked over their API: what `/v1/nodes` says is what counts, so that up to
//! one look's time is added to ours and not to foca's. Foca's members are in this process, over UDP on loopback.

use std::num::{NonZeroU8, NonZeroUsize};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use foca::Config;

use crate::field::swim;
use crate::group::{Group, Kind};
use crate::hop::MEMORY;
use crate::report::{Goal, Row};
use crate::sample::{Pair, Spread};

const NAME: &str = "detect";
const COUNT: usize = 16;

/// Groups that are started, of each kind in turn, and members that are killed in each, one after the other.
const GROUPS: usize = 3;
const KILLED: usize = 4;

/// How often agents are asked, one after the other.
const LOOK: Duration = Duration::from_millis(100);

/// After everybody knows everybody, until first words are over.
const CALM: Duration = Duration::from_secs(3);

/// The longest that a failure may go unnoticed.
const PATIENCE: Duration = Duration::from_secs(60);

/// A tenth of the hosts, and how long they stall.
const STALLED: usize = 2;
const STALL: Duration = Duration::from_secs(20);

/// After the stall: what was accused is to be cleared by then.
const RECOVERY: Duration = Duration::from_secs(10);

pub(crate) fn run(_: &Path) -> Result<Vec<Row>> {
    let mut pair = Pair::default();
    for _ in 0..GROUPS {
        let (ours, peer) = (killed_agents()?, killed_foca()?);
        for (ours, peer) in ours.iter().zip(&peer) {
            // Nothing warms up here: the first counts.
            pair.note(1, ours.as_secs_f64() * 1e3, peer.as_secs_f64() * 1e3);
        }
    }
    let mut rows = vec![
        Row::ratio(NAME, "16 agents, one killed after another, until all call it lost", &pair, "foca", "ms")
            .goal(Goal::AtMost(1.0)),
    ];
    let (false_alarms, stalled_lost, back) = stalled_agents()?;
    let what = |what: &str| format!("{STALLED} of {COUNT} stall for {} s: {what}", STALL.as_secs());
    rows.push(
        Row::new(NAME, what("members that ran and were called lost"), Spread::exact(false_alarms as f64), "")
            .goal(Goal::AtMost(0.0)),
    );
    rows.push(Row::new(NAME, what("of those that stalled, were called lost"), Spread::exact(stalled_lost as f64), ""));
    rows.push(Row::new(NAME, what("until all are alive to all again"), Spread::exact(back.as_secs_f64()), "s"));
    let told = "the same of foca: members that ran and were called down";
    rows.push(Row::new(NAME, what(told), Spread::exact(stalled_foca()? as f64), ""));
    Ok(rows)
}

/// Foca with the periods that our agents have.
fn periods() -> Config {
    Config {
        probe_period: Duration::from_secs(1),
        probe_rtt: Duration::from_millis(400),
        num_indirect_probes: NonZeroUsize::new(3).expect("three"),
        max_transmissions: NonZeroU8::new(15).expect("fifteen"),
        suspect_to_down_after: Duration::from_secs(4),
        ..Config::new_lan(std::num::NonZeroU32::new(16).expect("sixteen"))
    }
}

fn group() -> Result<(tempfile::TempDir, Group)> {
    let folder = tempfile::Builder::new().prefix("selvedge-bench-").tempdir_in(MEMORY)?;
    let group = Group::start(Kind::Agent, COUNT, folder.path())?;
    // Everybody is alive to everybody; a moment more until first words are over.
    std::thread::sleep(CALM);
    Ok((folder, group))
}

fn killed_agents() -> Result<Vec<Duration>> {
    let (_folder, group) = group()?;
    let mut took = Vec::new();
    for victim in 1..=KILLED {
        let name = group.node(victim)?;
        let begun = Instant::now();
        group.signal(victim, "-KILL")?;
        let mut left: Vec<usize> = (0..COUNT).filter(|place| *place == 0 || *place > victim).collect();
        while !left.is_empty() {
            ensure!(begun.elapsed() < PATIENCE, "agents {left:?} have not noticed");
            std::thread::sleep(LOOK);
            let mut unaware = Vec::new();
            for place in left {
                if group.states(place)?.iter().any(|(node, word)| *node == name && is_there(word)) {
                    unaware.push(place);
                }
            }
            left = unaware;
        }
        took.push(begun.elapsed());
    }
    Ok(took)
}

/// Whether a word of `/v1/nodes` says that a member is there, if only perhaps.
fn is_there(word: &str) -> bool {
    word == "alive" || word == "suspect"
}

fn killed_foca() -> Result<Vec<Duration>> {
    let mut members = swim::start(COUNT, &periods())?;
    std::thread::sleep(CALM);
    let mut took = Vec::new();
    for _ in 0..KILLED {
        let victim = members.remove(1);
        let address = victim.address;
        let begun = Instant::now();
        drop(victim);
        loop {
            let called: Vec<_> = members.iter().filter_map(|member| member.called_down(address)).collect();
            if let (Some(last), true) = (called.iter().max(), called.len() == members.len()) {
                took.push(last.saturating_duration_since(begun));
                break;
            }
            ensure!(begun.elapsed() < PATIENCE, "{} of foca's members have noticed", called.len());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    Ok(took)
}

/// How many that ran were called lost by others that ran, how many that stalled were, and how long all took to be alive again.
fn stalled_agents() -> Result<(usize, usize, Duration)> {
    let (_folder, group) = group()?;
    let names: Result<Vec<String>> = (0..COUNT).map(|place| group.node(place)).collect();
    let names = names?;
    let (stalled, running) = names.split_at(STALLED);
    let mut lost: std::collections::BTreeSet<String> = std::collections::BTreeSet::new();
    (0..STALLED).try_for_each(|place| group.signal(place, "-STOP"))?;
    let begun = Instant::now();
    let mut look = |places: std::ops::Range<usize>| -> Result<bool> {
        let mut all_alive = true;
        for place in places {
            for (node, word) in group.states(place)? {
                all_alive &= word == "alive";
                if !is_there(&word) {
                    lost.insert(node);
                }
            }
        }
        Ok(all_alive)
    };
    while begun.elapsed() < STALL {
        look(STALLED..COUNT)?;
        std::thread::sleep(LOOK);
    }
    (0..STALLED).try_for_each(|place| group.signal(place, "-CONT"))?;
    let woken = Instant::now();
    let mut back = None;
    while woken.elapsed() < RECOVERY {
        if look(0..COUNT)? {
            back.get_or_insert_with(|| woken.elapsed());
        } else {
            back = None;
        }
        std::thread::sleep(LOOK);
    }
    let count = |of: &[String]| of.iter().filter(|name| lost.contains(*name)).count();
    let (false_alarms, stalled_lost) = (count(running), count(stalled));
    Ok((false_alarms, stalled_lost, back.unwrap_or(RECOVERY)))
}

fn stalled_foca() -> Result<usize> {
    let members = swim::start(COUNT, &periods())?;
    std::thread::sleep(CALM);
    let (stalled, running) = members.split_at(STALLED);
    stalled.iter().for_each(|member| member.stall(true));
    std::thread::sleep(STALL);
    stalled.iter().for_each(|member| member.stall(false));
    std::thread::sleep(RECOVERY);
    let fallen: std::collections::BTreeSet<_> = members.iter().flat_map(swim::Member::fallen).collect();
    Ok(running.iter().filter(|member| fallen.contains(&member.address)).count())
}
