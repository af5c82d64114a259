//! What idling costs a member among 1,000, against one among 100: bytes and CPU per member and virtual second.
//!
//! All have written once, all are connected to all, all agree. Eight members are run whole, `handle` and encoding; the
//! others would each say the same things at the same rate, and that is what stands in for them: as many messages as the eight
//! sent on average in the last second, copies of theirs, to members drawn by lot. Everybody has heard everybody before
//! counting begins, so that what a member keeps about each peer is there.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::Result;
use selvedge_sync::causal::VersionVector;
use selvedge_sync::change::Change;
use selvedge_sync::id::NodeId;
use selvedge_sync::key::{Key, Kind};
use selvedge_sync::replica::{Config, Input, Message, Output, Replica};
use selvedge_sync::sim::Rng;
use selvedge_sync::time::Time;

use crate::fill::{Held, NOON, commit, node, replica_id, settle};
use crate::mesh::{TICK_MS, kind};
use crate::report::{Goal, Row};
use crate::sample::Pair;

const NAME: &str = "idle";
const FEW: u64 = 100;
const MANY: u64 = 1_000;
/// Members that are run whole.
const WHOLE: u64 = 8;
const ROUNDS: usize = 7;
const SECONDS: u64 = 4;

pub(crate) fn run() -> Result<Vec<Row>> {
    let mut many = Crowd::of(MANY);
    let mut few = Crowd::of(FEW);
    let (mut bytes, mut time) = (Pair::default(), Pair::default());
    for round in 0..=ROUNDS {
        let (a, b) = (many.idle(SECONDS), few.idle(SECONDS));
        bytes.note(round, a.bytes, b.bytes);
        time.note(round, a.busy_us, b.busy_us);
    }
    let row = |what: &str, pair: &Pair, unit: &'static str| {
        let what = format!("idle, {MANY} members against {FEW}: {what} per member and second");
        Row::ratio(NAME, what, pair, "among 100", unit).goal(Goal::AtMost(1.10))
    };
    let kinds = |crowd: &Crowd| format!("{:?}", crowd.kinds);
    Ok(vec![
        row("bytes", &bytes, "B").note(format!("sent by the eight: {} and {}", kinds(&many), kinds(&few))),
        row("CPU", &time, "µs").note(format!("{WHOLE} members run whole")),
    ])
}

/// Cost per member and virtual second.
struct Cost {
    bytes: f64,
    busy_us: f64,
}

/// Some members, of whom a few are run whole.
struct Crowd {
    size: u64,
    whole: Vec<Replica>,
    now: Time,
    rng: Rng,
    /// What the few sent in the last second.
    said: Vec<Message>,
    saying: Vec<Message>,
    kinds: BTreeMap<String, u64>,
    bytes: u64,
    busy_us: f64,
}

impl Crowd {
    fn of(size: u64) -> Self {
        let held = all_have_written(size);
        let whole = (0..WHOLE).map(|number| held.recovered(number)).collect();
        let mut crowd = Self {
            size,
            whole,
            now: NOON,
            rng: Rng::new(size),
            said: Vec::new(),
            saying: Vec::new(),
            kinds: BTreeMap::new(),
            bytes: 0,
            busy_us: 0.0,
        };
        crowd.meet();
        crowd
    }

    /// Everybody meets everybody, and hears a digest from each.
    fn meet(&mut self) {
        let everybody: std::collections::BTreeSet<NodeId> = (0..self.size).map(node).collect();
        for at in 0..self.whole.len() {
            self.give(at, Input::Members(everybody.clone()));
            for other in (0..self.size).filter(|other| *other != at as u64) {
                self.give(at, Input::PeerUp(node(other)));
            }
        }
        let greeting = self.saying.last().cloned().expect("whoever meets a peer says something");
        for at in 0..self.whole.len() {
            for other in (0..self.size).filter(|other| *other != at as u64) {
                self.give(at, Input::Receive { from: node(other), message: greeting.clone() });
            }
        }
        self.saying.clear();
        self.said = vec![greeting; self.whole.len()];
        self.idle(3);
        self.kinds.clear();
    }

    /// Lets seconds pass.
    fn idle(&mut self, seconds: u64) -> Cost {
        (self.bytes, self.busy_us) = (0, 0.0);
        for _ in 0..seconds {
            let ticks = 1_000 / TICK_MS;
            for tick in 0..ticks {
                self.now = Time { wall_ms: self.now.wall_ms + TICK_MS, mono_ms: self.now.mono_ms + TICK_MS };
                for at in 0..self.whole.len() {
                    self.give(at, Input::Tick);
                }
                self.hear_the_others(tick, ticks);
            }
            self.said = std::mem::take(&mut self.saying);
        }
        let share = 1.0 / (self.whole.len() as f64 * seconds as f64);
        Cost { bytes: self.bytes as f64 * share, busy_us: self.busy_us * share }
    }

    /// A tick's part of what the members that are not run whole say in a second.
    fn hear_the_others(&mut self, tick: u64, ticks: u64) {
        let others = self.size - WHOLE;
        let second = others * self.said.len() as u64 / WHOLE;
        for _ in second * tick / ticks..second * (tick + 1) / ticks {
            let (from, to) = (self.rng.between(WHOLE, self.size - 1), self.rng.between(0, self.size - 1));
            if to < WHOLE {
                let message = self.said[self.rng.index(self.said.len())].clone();
                let at = usize::try_from(to).expect("one of a few");
                self.receive(at, node(from), message);
            }
        }
    }

    /// A message arrives as bytes.
    fn receive(&mut self, at: usize, from: NodeId, message: Message) {
        let bytes = message.encode();
        let begun = Instant::now();
        let message = Message::decode(&bytes).expect("a message of ours decodes");
        self.busy_us += begun.elapsed().as_secs_f64() * 1e6;
        self.give(at, Input::Receive { from, message });
    }

    fn give(&mut self, at: usize, input: Input) {
        let begun = Instant::now();
        let outputs = self.whole[at].handle(input, self.now);
        self.busy_us += begun.elapsed().as_secs_f64() * 1e6;
        for output in outputs {
            match output {
                Output::Persist { token, .. } | Output::Checkpoint { token, .. } => {
                    self.give(at, Input::Persisted { token });
                }
                Output::Send { to, message } => self.send(at, to, message),
                _ => {}
            }
        }
    }

    fn send(&mut self, at: usize, to: NodeId, message: Message) {
        let begun = Instant::now();
        self.bytes += message.encode().len() as u64;
        self.busy_us += begun.elapsed().as_secs_f64() * 1e6;
        *self.kinds.entry(kind(&message)).or_default() += 1;
        self.saying.push(message.clone());
        if let Some(whole) = self.whole.iter().position(|replica| replica.me().node == to) {
            let from = self.whole[at].me().node;
            self.receive(whole, from, message);
        }
    }
}

/// A counter of everybody's.
fn all_have_written(size: u64) -> Held {
    let mut all = Held { objects: Vec::new(), vector: VersionVector::default() };
    for number in 0..size {
        let mut writer = Replica::new(replica_id(number), Config::default());
        let key = Key::new(Kind::GCounter, &format!("beat:{number}")).expect("a key");
        settle(&mut writer, commit(vec![(key, Change::Increment(1))]), NOON);
        let held = Held::by(&writer);
        all.objects.extend(held.objects);
        all.vector.merge(&held.vector);
    }
    all.objects.sort_by(|(before, _), (after, _)| before.cmp(after));
    all
}
