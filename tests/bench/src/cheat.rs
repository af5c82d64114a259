//! How soon a speed cheat is seen, and how many honest players are taken for one, beside plain thresholds.
//!
//! Honest are recorded football players as they ran. Cheats follow the way of the same players, and from the third second on at
//! 1.2 times the greatest speed allowed, straight on where the record ends; who does not run far enough for two seconds of that is left out (a goalkeeper's steps, run
//! through at that speed, are no movement of anybody). Both are seen at 20 updates a second, with 2 % of
//! them lost and their times wrong; updates arrive in the order of their times. The greatest speed allowed is the workload's
//! own default, for everybody.
//!
//! A plain threshold compares the distance between two updates that follow each other with the time between them. At the limit
//! itself it is what is usually built. As it could be set higher and still see cheats, it is also given the threshold with the
//! fewest false alarms among those with which it sees as many of them within two seconds as ours does; and, as a third, means over
//! a second. Every verdict that names a rule is an alarm.

use anyhow::Result;
use selvedge_anti_cheat::inspection::{Inspection, Rule};
use selvedge_anti_cheat::limits::Limits;
use selvedge_anti_cheat::observation::Observation;
use selvedge_anti_cheat::track::Track;
use selvedge_sync::sim::Rng;

use crate::recorded::{FRAME_MS, Jitter, LOST_PERMILLE, Path, Update, frame_ms, players, updates};
use crate::report::{Goal, Row};
use crate::sample::{Spread, percentile};

const NAME: &str = "cheat";
/// How much faster than allowed a cheat is.
const TIMES: f64 = 1.2;
/// The frame from which on it cheats: after three seconds.
const FROM: usize = 60;
/// A cheat is to be seen within this, in milliseconds.
const SOON_MS: f64 = 2_000.0;
/// How often each player's record is sent over a bad line.
const ROUNDS: usize = 20;
/// The window of the smoothed threshold, in milliseconds.
const SMOOTH_MS: u64 = 1_000;
/// Thresholds that the plain one is tried with, over the limit.
const TRIED: [f64; 16] = [1.0, 1.1, 1.2, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0, 10.0, 15.0, 20.0, 30.0, 50.0, 70.0, 100.0];

/// The updates at which somebody is accused.
type Accuse<'a> = dyn Fn(&[Update]) -> Vec<usize> + 'a;

/// What an accuser did.
struct Record {
    /// Alarms per minute of honest movement.
    false_alarms: f64,
    /// Share of honest runs with an alarm.
    accused: f64,
    /// Milliseconds until each cheat was seen; infinite if it was not.
    delays_ms: Vec<f64>,
}

pub(crate) fn run() -> Result<Vec<Row>> {
    let players = players()?;
    let limits = Limits::default();
    let mut rows = Vec::new();
    for (jitter, name) in [
        (Jitter::None, "no jitter"),
        (Jitter::Even(50.0), "100 ms jitter, even from first to last"),
        (Jitter::Even(100.0), "100 ms jitter, even to both sides"),
        (Jitter::Normal(100.0), "100 ms jitter, normal"),
    ] {
        rows.extend(measure(&players, jitter, name, &limits));
    }
    Ok(rows)
}

fn measure(players: &[Path], jitter: Jitter, name: &str, limits: &Limits) -> Vec<Row> {
    let honest = streams(players, jitter, 1);
    let cheats: Vec<Path> = players.iter().filter_map(|path| cheat(path, limits)).collect();
    let cheats = streams(&cheats, jitter, 2);
    let of = |accuse: &Accuse| record(accuse, &honest, &cheats);
    let ours = of(&|updates| inspect(updates, limits));
    let plain = of(&|updates| threshold(updates, limits.speed, 0));
    let tuned = TRIED
        .iter()
        .map(|times| of(&|updates| threshold(updates, times * limits.speed, 0)))
        .filter(|tried| tried.soon() >= ours.soon())
        .min_by(|a, b| a.false_alarms.total_cmp(&b.false_alarms))
        .unwrap_or_else(|| of(&|updates| threshold(updates, limits.speed, 0)));
    let smooth = of(&|updates| threshold(updates, 1.1 * limits.speed, SMOOTH_MS));
    let delay = Spread { low: ours.delay(0.25), median: ours.delay(0.5), high: ours.delay(0.75) };
    let judged = if jitter == Jitter::None { Goal::Told } else { Goal::AtMost(0.1) };
    let told =
        |record: &Record| format!("{:.2} a minute, {:.0} % of runs", record.false_alarms, 100.0 * record.accused);
    let against = |peer: &Record, peer_name: &str, goal| {
        Row::new(
            NAME,
            format!("false alarms, {name}"),
            Spread::exact(ours.false_alarms / peer.false_alarms.max(1e-9)),
            "x",
        )
        .goal(goal)
        .parts(Spread::exact(ours.false_alarms), Spread::exact(peer.false_alarms), peer_name, "per minute")
        .note(format!("ours {}; {peer_name} {}", told(&ours), told(peer)))
    };
    vec![
        Row::new(
            NAME,
            format!("until 1.2 times the speed is seen, 95 of 100, {name}"),
            Spread::exact(ours.delay(0.95)),
            "ms",
        )
        .goal(Goal::AtMost(SOON_MS))
        .parts(delay, Spread::exact(plain.delay(0.5)), "a threshold at the limit", "ms")
        .note(format!(
            "{:.1} % of cheats are seen within 2 s; by means over a second {:.1} %",
            100.0 * ours.soon(),
            100.0 * smooth.soon()
        )),
        against(&plain, "a threshold at the limit", judged),
        against(&tuned, "the best threshold that sees as many", Goal::Told),
        against(&smooth, "a threshold on means over 1 s", Goal::Told),
    ]
}

/// The way of a player, from [`FROM`] on at [`TIMES`] the speed that is allowed; `None` if it does not reach for two seconds.
fn cheat(path: &Path, limits: &Limits) -> Option<Path> {
    let step = TIMES * limits.speed * FRAME_MS as f64 / 1_000.0;
    let length: f64 =
        path[FROM - 1..].windows(2).map(|pair| (pair[1][0] - pair[0][0]).hypot(pair[1][1] - pair[0][1])).sum();
    if length < TIMES * limits.speed * SOON_MS / 1_000.0 {
        return None;
    }
    let mut way = path[..FROM].to_vec();
    let (mut at, mut next, mut ahead) = (path[FROM - 1], FROM, [1.0, 0.0]);
    for _ in FROM..path.len() {
        let mut left = step;
        while let Some(to) = path.get(next) {
            let (x, y) = (to[0] - at[0], to[1] - at[1]);
            let length = x.hypot(y);
            if length > left {
                break;
            }
            if length > 0.0 {
                ahead = [x / length, y / length];
            }
            (at, left, next) = (*to, left - length, next + 1);
        }
        if let Some(to) = path.get(next) {
            let (x, y) = (to[0] - at[0], to[1] - at[1]);
            ahead = [x / x.hypot(y), y / x.hypot(y)];
        }
        at = [at[0] + ahead[0] * left, at[1] + ahead[1] * left];
        way.push(at);
    }
    Some(way)
}

fn streams(paths: &[Path], jitter: Jitter, seed: u64) -> Vec<Vec<Update>> {
    let mut rng = Rng::new(seed);
    let runs = paths.iter().flat_map(|path| std::iter::repeat_n(path, ROUNDS));
    runs.map(|path| {
        let mut updates = updates(path, LOST_PERMILLE, jitter, &mut rng);
        updates.sort_by_key(|update| update.stamp_ms);
        updates
    })
    .collect()
}

fn record(accuse: &Accuse, honest: &[Vec<Update>], cheats: &[Vec<Update>]) -> Record {
    let alarms: Vec<usize> = honest.iter().map(|updates| accuse(updates).len()).collect();
    let minutes = honest.iter().map(|updates| updates.len() as f64).sum::<f64>() * FRAME_MS as f64 / 60_000.0;
    let begun_ms = frame_ms(FROM);
    let delay = |updates: &Vec<Update>| {
        // What was said before it cheated is no merit.
        let seen = accuse(updates).into_iter().map(|at| updates[at].stamp_ms).find(|stamp| *stamp >= begun_ms);
        seen.map_or(f64::INFINITY, |stamp| (stamp - begun_ms) as f64)
    };
    Record {
        false_alarms: alarms.iter().sum::<usize>() as f64 / minutes,
        accused: alarms.iter().filter(|alarms| **alarms > 0).count() as f64 / alarms.len() as f64,
        delays_ms: cheats.iter().map(delay).collect(),
    }
}

impl Record {
    fn delay(&self, share: f64) -> f64 {
        percentile(&self.delays_ms, share)
    }

    /// The share of cheats that were seen soon enough.
    fn soon(&self) -> f64 {
        self.delays_ms.iter().filter(|delay| **delay <= SOON_MS).count() as f64 / self.delays_ms.len() as f64
    }
}

fn inspect(updates: &[Update], limits: &Limits) -> Vec<usize> {
    let mut player = Inspection::new(Track::default(), 0);
    let mut accused = |update: &Update| {
        let at = [update.at[0], update.at[1], 0.0];
        let seen = Observation { player: 1, t_ms: update.stamp_ms, at, action: None };
        player.see(&seen, limits, limits.damage, false).rule != Rule::None
    };
    updates.iter().enumerate().filter(|(_, update)| accused(update)).map(|(at, _)| at).collect()
}

/// The updates that are farther from the one before, or the newest that is at least `window_ms` older, than `max` allows.
fn threshold(updates: &[Update], max: f64, window_ms: u64) -> Vec<usize> {
    let too_fast = |now: &usize| {
        let now = &updates[*now];
        let older = updates.partition_point(|update| update.stamp_ms + window_ms <= now.stamp_ms);
        let older =
            if window_ms == 0 { updates.partition_point(|update| update.stamp_ms < now.stamp_ms) } else { older };
        older.checked_sub(1).map(|older| &updates[older]).is_some_and(|then| {
            let run = (now.at[0] - then.at[0]).hypot(now.at[1] - then.at[1]);
            run > max * (now.stamp_ms - then.stamp_ms) as f64 / 1_000.0
        })
    };
    (0..updates.len()).filter(too_fast).collect()
}
