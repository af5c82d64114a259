//! Strategies against each other: calls from several agents to instances of unequal speed, simulated from one seed.
//!
//! Owns a model of instances with a queue each; every choice is made by the real [`Router`].

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use selvedge_sync::id::NodeId;

use super::{Call, Ended, Router, Target};
use crate::spec::Routing;
use crate::splitmix::SplitMix;

/// Calls that an instance carries out at once.
const CONCURRENCY: usize = 4;
/// Mean time of a call on an ordinary instance, in milliseconds; times are exponentially distributed.
const SERVICE_MS: f64 = 2.0;
/// Round trip to every instance, in milliseconds.
const RTT_MS: f64 = 0.5;

/// What is simulated.
#[derive(Clone, Copy, Debug)]
pub struct Race {
    /// Instances.
    pub replicas: usize,
    /// By how much the first one is slower than the others.
    pub slowness: f64,
    /// Agents that route, each by what it has seen itself.
    pub routers: usize,
    /// Callers, each with a session of its own.
    pub callers: usize,
    /// Calls per second, all together.
    pub calls_per_s: f64,
    /// Calls in all.
    pub calls: usize,
    /// From which everything follows.
    pub seed: u64,
}

impl Default for Race {
    /// Eight instances of which one is ten times slower, with three quarters of what the slow one can bear under round robin.
    fn default() -> Self {
        Self { replicas: 8, slowness: 10.0, routers: 4, callers: 200, calls_per_s: 1_200.0, calls: 30_000, seed: 1 }
    }
}

/// How a strategy fared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fared {
    /// Median latency in milliseconds.
    pub p50_ms: f64,
    /// 99th percentile in milliseconds.
    pub p99_ms: f64,
    /// Share of the calls that went to the slow instance.
    pub slow_share: f64,
    /// Share of the calls that went to another instance than the caller's last one.
    pub moved_share: f64,
}

/// Something that happens at a time, in nanoseconds; the second number keeps the order among equals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Call { number: usize },
    Done { replica: usize, call: usize },
}

struct Sent {
    router: usize,
    replica: usize,
    began_ns: u64,
}

struct Model {
    race: Race,
    random: SplitMix,
    routers: Vec<Router>,
    targets: Vec<Target>,
    running: Vec<usize>,
    queues: Vec<VecDeque<usize>>,
    sent: Vec<Sent>,
    last: Vec<Option<usize>>,
    events: BinaryHeap<Reverse<(u64, Event)>>,
    latencies_ms: Vec<f64>,
    slow: usize,
    moved: usize,
}

/// Runs one strategy.
#[must_use]
pub fn race(race: &Race, routing: Routing) -> Fared {
    let mut model = Model::new(*race, routing);
    while let Some(Reverse((now_ns, event))) = model.events.pop() {
        match event {
            Event::Call { number } => model.call(number, now_ns),
            Event::Done { replica, call } => model.done(replica, call, now_ns),
        }
    }
    // The first tenth is learning.
    let mut latencies_ms = model.latencies_ms.split_off(race.calls / 10);
    latencies_ms.sort_by(f64::total_cmp);
    let calls = race.calls as f64;
    let at = |permille: usize| latencies_ms[(latencies_ms.len() - 1) * permille / 1_000];
    Fared {
        p50_ms: at(500),
        p99_ms: at(990),
        slow_share: model.slow as f64 / calls,
        moved_share: model.moved as f64 / calls,
    }
}

impl Model {
    fn new(race: Race, routing: Routing) -> Self {
        let target = |replica: usize| Target {
            same_region: true,
            rtt_ms: Some(RTT_MS),
            // The slow one is the farthest.
            distance_km: Some((race.replicas - replica) as f64),
            weight: 4,
            ..Target::new(node(replica))
        };
        Self {
            race,
            random: SplitMix::new(race.seed),
            routers: (0..race.routers).map(|router| Router::new(routing, race.seed * 1_000 + router as u64)).collect(),
            targets: (0..race.replicas).map(target).collect(),
            running: vec![0; race.replicas],
            queues: vec![VecDeque::new(); race.replicas],
            sent: Vec::new(),
            last: vec![None; race.callers],
            events: BinaryHeap::from([Reverse((0, Event::Call { number: 0 }))]),
            latencies_ms: Vec::new(),
            slow: 0,
            moved: 0,
        }
    }

    fn call(&mut self, number: usize, now_ns: u64) {
        let caller = self.random.below(self.race.callers);
        let router = caller % self.race.routers;
        let name = format!("player-{caller}");
        let call = Call { caller: Some(&name), session: Some(&name) };
        let now_ms = now_ns / 1_000_000;
        let chosen = self.routers[router].pick(&self.targets, call, &[], now_ms).expect("all can be asked");
        let replica = self.targets.iter().position(|target| target.node == chosen).expect("one of the targets");
        self.routers[router].begin(chosen, now_ms);
        self.slow += usize::from(replica == 0);
        self.moved += usize::from(self.last[caller].replace(replica).is_some_and(|last| last != replica));
        self.sent.push(Sent { router, replica, began_ns: now_ns });
        if self.running[replica] < CONCURRENCY {
            self.start(replica, number, now_ns);
        } else {
            self.queues[replica].push_back(number);
        }
        if number + 1 < self.race.calls {
            let gap_ns = self.exponential_ns(1_000.0 / self.race.calls_per_s);
            self.events.push(Reverse((now_ns + gap_ns, Event::Call { number: number + 1 })));
        }
    }

    fn start(&mut self, replica: usize, call: usize, now_ns: u64) {
        self.running[replica] += 1;
        let slowness = if replica == 0 { self.race.slowness } else { 1.0 };
        let took_ns = self.exponential_ns(SERVICE_MS * slowness);
        self.events.push(Reverse((now_ns + took_ns, Event::Done { replica, call })));
    }

    fn done(&mut self, replica: usize, call: usize, now_ns: u64) {
        let Sent { router, replica: asked, began_ns } = self.sent[call];
        let took_ms = (now_ns - began_ns) as f64 / 1e6 + RTT_MS;
        self.latencies_ms.push(took_ms);
        self.routers[router].end(self.targets[asked].node, Ended::Answered, took_ms, now_ns / 1_000_000);
        self.running[replica] -= 1;
        if let Some(next) = self.queues[replica].pop_front() {
            self.start(replica, next, now_ns);
        }
    }

    fn exponential_ns(&mut self, mean_ms: f64) -> u64 {
        let share = 1.0 - self.random.share();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive, and at most 37 means")]
        let ns = (-share.ln() * mean_ms * 1e6) as u64;
        ns
    }
}

fn node(replica: usize) -> NodeId {
    let mut id = [0; 32];
    id[..8].copy_from_slice(&(replica as u64).to_be_bytes());
    NodeId(id)
}
