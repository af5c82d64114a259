//! What sixteen members cost that have nothing to do: processor time, bytes and memory of each, against chitchat and bare swarms.
//!
//! Each kind is sixteen processes of this executable on a loopback of their own. All kinds idle at the same time, and the same
//! windows are counted for all: processor time by `/proc/PID/stat`, bytes by the namespace's loopback (with all headers), memory as
//! resident at the end. A quiet agent's files lie in memory, like everything else here.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use crate::child;
use crate::group::{Counted, Kind, Watch, lead};
use crate::hop::MEMORY;
use crate::report::{Goal, Row};
use crate::sample::{Pair, Spread};

const NAME: &str = "calm";
const COUNT: usize = 16;

/// Until first words and joining are over.
const SETTLE: Duration = Duration::from_secs(20);

const WINDOW: Duration = Duration::from_secs(30);
const WINDOWS: usize = 4;

pub(crate) fn run(_: &Path) -> Result<Vec<Row>> {
    let folder = tempfile::Builder::new().prefix("selvedge-bench-").tempdir_in(MEMORY)?;
    let kinds = [Kind::Agent, Kind::Chitchat(1_000), Kind::Chitchat(100), Kind::Ping];
    let mut leaders = Vec::new();
    for (at, kind) in kinds.into_iter().enumerate() {
        let dir = folder.path().join(at.to_string());
        std::fs::create_dir(&dir)?;
        leaders.push(lead(Watch { kind, count: COUNT, dir, settle: SETTLE, window: WINDOW, windows: WINDOWS })?);
    }
    let counted: Result<Vec<Vec<Counted>>> = leaders.into_iter().map(child::answer).collect();
    let counted = counted?;
    let [ours, second, tenth, ping] = &counted[..] else { unreachable!("there are four") };
    let mut rows = Vec::new();
    for (name, peer) in [("chitchat at 1 s", second), ("chitchat at 100 ms", tenth), ("a bare swarm with ping", ping)] {
        // Against chitchat what happens counts, against the swarm what is held.
        let (traffic, held) = match name {
            "a bare swarm with ping" => (Goal::Told, Goal::AtMost(1.5)),
            _ => (Goal::AtMost(0.5), Goal::Told),
        };
        let what = |what: &str| format!("an idle agent of 16: {what}, against {name}");
        let cpu = pair(ours, peer, |counted| counted.cpu_ms);
        rows.push(Row::ratio(NAME, what("CPU"), &cpu, name, "ms/s").goal(traffic));
        let bytes = pair(ours, peer, |counted| counted.loopback_bytes);
        rows.push(Row::ratio(NAME, what("bytes"), &bytes, name, "B/s").goal(traffic));
        rows.push(memory(&what("resident memory"), ours, peer, name, |counted| &counted.resident_kb).goal(held));
        rows.push(memory(&what("memory that is no file"), ours, peer, name, |counted| &counted.own_kb));
    }
    Ok(rows)
}

/// What grew in each window, per member and second.
fn pair(ours: &[Counted], peer: &[Counted], of: impl Fn(&Counted) -> f64) -> Pair {
    let rate = |before: &Counted, after: &Counted| (of(after) - of(before)) / COUNT as f64 / WINDOW.as_secs_f64();
    let mut pair = Pair::default();
    for (ours, peer) in ours.windows(2).zip(peer.windows(2)) {
        // No window warms up: settling did.
        pair.note(1, rate(&ours[0], &ours[1]), rate(&peer[0], &peer[1]));
    }
    pair
}

fn memory(what: &str, ours: &[Counted], peer: &[Counted], name: &str, of: impl Fn(&Counted) -> &Vec<f64>) -> Row {
    let last = |counted: &[Counted]| Spread::of(counted.last().map(&of).expect("there is a last"));
    let (ours, peer) = (last(ours).scaled(1.0 / 1_024.0), last(peer).scaled(1.0 / 1_024.0));
    Row::new(NAME, what, Spread::exact(ours.median / peer.median), "x").parts(ours, peer, name, "MB")
}
