//! Placement and routing: what a decision costs, how evenly many agents place at once, and how strategies of routing compare.
//!
//! The first two rows are timed; all others are counted in simulations that run the real plan, reconciler and router, and are the
//! same on every machine.

use std::collections::BTreeMap;
use std::hint::black_box;

use anyhow::{Context, Result};
use selvedge::placement::arrays::{Arrays, Slot, hash};
use selvedge::placement::sim::{Chooser, First, Herd, herd};
use selvedge::placement::{Mesh, NodeFacts, Policy, Resources, Terms, Weights, plan};
use selvedge::routing::sim::{Race, race};
use selvedge::spec::{Digest, Routing, Spec, WorkloadName};
use selvedge::splitmix::SplitMix;
use selvedge_sync::id::NodeId;

use crate::report::{Goal, Row};
use crate::sample::{Pair, Spread, percentile, seconds};

/// Hosts of one decision.
const HOSTS: usize = 5_000;
/// One host in so many may not run the workload.
const UNFIT_EVERY: usize = 8;
/// Decisions in one round.
const DECISIONS: usize = 200;
/// Rounds, of which the first warms up.
const ROUNDS: usize = 61;
/// Seeds of the simulations.
const SEEDS: u64 = 20;

pub(crate) fn run() -> Result<Vec<Row>> {
    let mut rows = decisions();
    rows.push(whole_plan()?);
    rows.extend(balance());
    rows.extend(strategies());
    Ok(rows)
}

/// The same figures for both: four terms a host, and whether it may run the workload.
struct Figures {
    terms: [Vec<f64>; 4],
    fit: Vec<bool>,
}

impl Figures {
    /// As on a busy mesh, where few hosts are as good as the best.
    fn new() -> Self {
        let mut random = SplitMix::new(1);
        let mut term = || (0..HOSTS).map(|_| random.share()).collect();
        let terms = [term(), term(), term(), term()];
        Self { terms, fit: (0..HOSTS).map(|host| host % UNFIT_EVERY != 0).collect() }
    }

    fn arrays(&self) -> Arrays {
        let mut arrays = Arrays::default();
        let [resource, latency, load, affinity] = &self.terms;
        for host in 0..HOSTS {
            let terms =
                Terms { resource: resource[host], latency: latency[host], load: load[host], affinity: affinity[host] };
            let slot = if self.fit[host] { Slot::Free } else { Slot::Unfit };
            arrays.push(&terms, slot, hash(&host.to_le_bytes()), 0);
        }
        arrays
    }

    /// The plain search for the best score.
    fn argmax(&self, weights: &Terms) -> Option<usize> {
        let [resource, latency, load, affinity] = &self.terms;
        let mut best = None;
        let mut greatest = f64::NEG_INFINITY;
        for host in 0..HOSTS {
            let score = weights.resource * resource[host]
                + weights.latency * latency[host]
                + weights.load * load[host]
                + weights.affinity * affinity[host];
            if self.fit[host] && score > greatest {
                (best, greatest) = (Some(host), score);
            }
        }
        best
    }
}

fn decisions() -> Vec<Row> {
    let figures = Figures::new();
    let (arrays, weights) = (figures.arrays(), Weights::default());
    let (mut pair, mut scores) = (Pair::default(), Vec::new());
    for round in 0..ROUNDS {
        let ours = seconds(|| {
            (0..DECISIONS as u64).filter_map(|number| black_box(&arrays).decide(&weights, number, &mut scores)).count()
        });
        let peer = seconds(|| (0..DECISIONS).filter_map(|_| black_box(&figures).argmax(weights.terms())).count());
        let micros = |seconds: f64| seconds * 1e6 / DECISIONS as f64;
        pair.note(round, micros(ours.0), micros(peer.0));
    }
    let rates: Vec<f64> = pair.ours.iter().map(|micros| 1e6 / micros).collect();
    vec![
        Row::ratio("place", format!("one decision over {HOSTS} hosts"), &pair, "argmax over the same arrays", "µs")
            .goal(Goal::AtMost(3.0)),
        Row::new("place", "decisions a second on one core", Spread::of(&rates), "/s").goal(Goal::AtLeast(20_000.0)),
    ]
}

/// A plan from what hosts say, with trust, constraints, terms and the explanation of every host.
fn whole_plan() -> Result<Row> {
    let resources =
        Resources { cpu_total: 8.0, cpu_used_share: 0.3, memory_total: 8 << 30, memory_free: 4 << 30, disk_free: None };
    let mut random = SplitMix::new(2);
    let mut facts = |number: usize| {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&number.to_le_bytes());
        NodeFacts { load: random.share(), ..NodeFacts::new(NodeId(id), format!("n{number}"), resources) }
    };
    let mut hosts: Vec<NodeFacts> = (0..HOSTS).map(&mut facts).collect();
    let name: WorkloadName = "combat".parse().context("a name")?;
    hosts[0].calls_per_s.insert(name.clone(), 10.0);
    let mesh: Mesh = hosts.into_iter().collect();
    let specs = BTreeMap::from([(name, Spec::new(Digest([1; 32])))]);
    let took: Vec<f64> = (0..15).map(|_| seconds(|| plan(&specs, &mesh, &Policy::default())).0 * 1e3).collect();
    Ok(Row::new(
        "place",
        format!("a plan from the facts of {HOSTS} hosts, explained host by host"),
        Spread::of(&took[1..]),
        "ms",
    ))
}

fn balance() -> Vec<Row> {
    let at_once = Herd {
        hosts: 16,
        per_round: 25,
        rounds: 1,
        first: First::Ordinary,
        uneven: 0.0,
        chooser: Chooser::Plan,
        seed: 1,
    };
    let spread = |what: &Herd| {
        let balances: Vec<f64> = (1..=SEEDS).map(|seed| herd(&Herd { seed, ..*what }).max_to_mean).collect();
        (Spread::of(&balances), percentile(&balances, 1.0))
    };
    let row = |what: &str, asked: &Herd| {
        let (ours, worst) = spread(asked);
        let (peer, _) = spread(&Herd { chooser: Chooser::Best, ..*asked });
        Row::new("place", what, ours, "max/mean")
            .goal(Goal::AtMost(1.25))
            .parts(ours, peer, "all take the best", "max/mean")
            .note(format!("worst of {SEEDS} seeds {worst:.2}"))
    };
    let mut rows = vec![
        row("16 agents place 25 workloads each at once, by scores 1 s old", &at_once),
        row("the same, four seconds in a row", &Herd { rounds: 4, ..at_once }),
        row("the same, half of the hosts in use to 40 % before", &Herd { rounds: 4, uneven: 0.4, ..at_once }),
    ];
    for hosts in [6, 16] {
        let of = |first| -> Vec<f64> {
            let one = |seed| herd(&Herd { seed, hosts, first, rounds: 8, per_round: 12, ..at_once }).first as f64;
            (1..=SEEDS).map(one).collect()
        };
        let pair = Pair { ours: of(First::Liar), peer: of(First::Best) };
        rows.push(
            Row::ratio(
                "place",
                format!("instances of one that claims infinite headroom, of {hosts} hosts"),
                &pair,
                "the best honest one in its place",
                "",
            )
            .goal(Goal::AtMost(1.0)),
        );
    }
    rows
}

fn strategies() -> Vec<Row> {
    let of =
        |routing: Routing| -> Vec<_> { (1..=5).map(|seed| race(&Race { seed, ..Race::default() }, routing)).collect() };
    let round_robin = of(Routing::RoundRobin);
    let row = |routing: Routing| {
        let fared = of(routing);
        let p99 =
            |fared: &[selvedge::routing::sim::Fared]| fared.iter().map(|fared| fared.p99_ms).collect::<Vec<f64>>();
        let pair = Pair { ours: p99(&fared), peer: p99(&round_robin) };
        let share = |of: fn(&selvedge::routing::sim::Fared) -> f64| {
            Spread::of(&fared.iter().map(of).collect::<Vec<f64>>()).median
        };
        let (p50, slow, moved) = (share(|f| f.p50_ms), share(|f| f.slow_share), share(|f| f.moved_share));
        let goal = if routing == Routing::LocalFirst { Goal::AtMost(0.3) } else { Goal::Told };
        Row::ratio(
            "place",
            format!("p99, one of eight instances ten times slower: {routing}"),
            &pair,
            "round robin",
            "ms",
        )
        .goal(goal)
        .note(format!(
            "p50 {p50:.2} ms; {:.1} % to the slow one; {:.0} % to another than the caller's last",
            slow * 100.0,
            moved * 100.0
        ))
    };
    Routing::ALL.into_iter().map(row).collect()
}
