//! The strategies, each a few lines over the same targets and figures.
//!
//! Owns the choice among targets that may be asked, and what a strategy must remember between calls. Targets come in the order of
//! their ids, so the same seed and the same calls give the same choices.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use selvedge_sync::id::NodeId;

use super::ring::{Ring, hash};
use super::{Call, MEMBERS_MAX, Measured, Target};
use crate::spec::Routing;
use crate::splitmix::SplitMix;

/// What an instance without any figure is taken for, in milliseconds: it is tried soon, and is no magnet for all calls at once.
const UNKNOWN_MS: f64 = 1.0;
/// Part of latency, success and throughput in the performance score.
const PERFORMANCE_PARTS: [f64; 3] = [0.4, 0.4, 0.2];

/// What strategies remember.
#[derive(Debug)]
pub(super) struct Memory {
    seed: u64,
    random: SplitMix,
    turn: usize,
    /// Running totals of the smooth weighted round robin.
    turns: BTreeMap<NodeId, i64>,
    ring: Ring,
}

/// Figures of a target, if it has been asked before.
type Figures<'a> = &'a dyn Fn(&Target) -> Option<&'a Measured>;

impl Memory {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, random: SplitMix::new(seed), turn: 0, turns: BTreeMap::new(), ring: Ring::default() }
    }

    pub(super) fn pick(
        &mut self,
        routing: Routing,
        (targets, full): (&[Target], &[bool]),
        figures: Figures<'_>,
        call: Call<'_>,
        now_ms: u64,
    ) -> Option<NodeId> {
        let outstanding = |target: &Target| figures(target).map_or(0, Measured::outstanding);
        let chosen = match routing {
            Routing::LocalFirst => return self.local_first(targets, figures, now_ms),
            Routing::RoundRobin => self.round_robin(targets),
            Routing::WeightedRoundRobin => self.weighted_round_robin(targets),
            Routing::LeastConnections => {
                let expected =
                    |target: &Target| f64::from(outstanding(target)) + figures(target).map_or(0.0, Measured::predicted);
                least(targets, |target| (expected(target) / f64::from(target.weight.max(1)), self.spread(target)))
            }
            Routing::LeastResponseTime => {
                let expected_ms = |target: &Target| {
                    let rtt_ms = target.rtt_ms.unwrap_or(0.0);
                    figures(target).and_then(|measured| measured.expected_ms(rtt_ms, now_ms)).unwrap_or(0.0)
                };
                least(targets, |target| (expected_ms(target), f64::from(outstanding(target))))
            }
            Routing::CallerHash => {
                let caller = call.session.or(call.caller).unwrap_or_default();
                targets.iter().max_by_key(|target| hash(&[caller.as_bytes(), &target.node.0]))
            }
            Routing::Session => match call.session {
                None => return self.local_first(targets, figures, now_ms),
                Some(key) => {
                    self.ring.renew(targets);
                    let busy: Vec<u32> = targets.iter().map(outstanding).collect();
                    self.ring.pick(key, &busy, full).and_then(|index| targets.get(index))
                }
            },
            Routing::Nearest => {
                let far = f64::INFINITY;
                least(targets, |target| (target.distance_km.unwrap_or(far), target.rtt_ms.unwrap_or(far)))
            }
            Routing::Performance => {
                let scores = performance(targets, figures, now_ms);
                self.two(targets.len())
                    .map(|(a, b)| if scores[b] > scores[a] { b } else { a })
                    .map(|best| &targets[best])
            }
        };
        chosen.map(|target| target.node)
    }

    /// Here, else the better of two, in the caller's region as long as there is one.
    fn local_first(&mut self, targets: &[Target], figures: Figures<'_>, now_ms: u64) -> Option<NodeId> {
        if let Some(here) = targets.iter().find(|target| target.is_here) {
            return Some(here.node);
        }
        let near: Vec<&Target> = targets.iter().filter(|target| target.same_region).collect();
        let targets = if near.is_empty() { targets.iter().collect() } else { near };
        let cost = |target: &Target| {
            let measured = figures(target);
            let latency_ms = measured.and_then(|measured| measured.peak_ewma_ms(now_ms));
            let latency_ms = latency_ms.or(target.rtt_ms).unwrap_or(UNKNOWN_MS);
            latency_ms * (f64::from(measured.map_or(0, Measured::outstanding)) + 1.0)
        };
        let (a, b) = self.two(targets.len())?;
        Some(if cost(targets[b]) < cost(targets[a]) { targets[b].node } else { targets[a].node })
    }

    fn round_robin<'a>(&mut self, targets: &'a [Target]) -> Option<&'a Target> {
        self.turn = self.turn.wrapping_add(1);
        targets.get(self.turn.checked_rem(targets.len())?)
    }

    /// Smooth weighted round robin, as in nginx: the heavy ones are not asked several times in a row.
    fn weighted_round_robin<'a>(&mut self, targets: &'a [Target]) -> Option<&'a Target> {
        if self.turns.len() > MEMBERS_MAX {
            self.turns.clear();
        }
        let total: i64 = targets.iter().map(|target| i64::from(target.weight.max(1))).sum();
        for target in targets {
            *self.turns.entry(target.node).or_default() += i64::from(target.weight.max(1));
        }
        let turn = |target: &Target| self.turns.get(&target.node).copied().unwrap_or(0);
        let chosen = targets.iter().rev().max_by_key(|target| turn(target))?;
        *self.turns.entry(chosen.node).or_default() -= total;
        Some(chosen)
    }

    /// Two different indices, or twice the only one.
    fn two(&mut self, len: usize) -> Option<(usize, usize)> {
        if len < 2 {
            return (len == 1).then_some((0, 0));
        }
        let (a, b) = (self.random.below(len), self.random.below(len - 1));
        Some((a, if b >= a { b + 1 } else { b }))
    }

    /// Breaks ties differently on each agent.
    fn spread(&self, target: &Target) -> f64 {
        hash(&[&self.seed.to_le_bytes(), &target.node.0]) as f64
    }
}

fn least(targets: &[Target], cost: impl Fn(&Target) -> (f64, f64)) -> Option<&Target> {
    let costs: Vec<(f64, f64)> = targets.iter().map(cost).collect();
    let order = |a: &usize, b: &usize| -> Ordering {
        costs[*a].0.total_cmp(&costs[*b].0).then(costs[*a].1.total_cmp(&costs[*b].1))
    };
    (0..targets.len()).min_by(order).map(|best| &targets[best])
}

/// The score of each target, 0 to 1: latency and throughput against the best of them. Who has not answered yet counts as the best.
fn performance(targets: &[Target], figures: Figures<'_>, now_ms: u64) -> Vec<f64> {
    let [latency_part, success_part, throughput_part] = PERFORMANCE_PARTS;
    let mean_ms = |target: &Target| figures(target).and_then(Measured::mean_ms);
    let rate = |target: &Target| figures(target).map(|measured| measured.rate(now_ms));
    let best_ms = targets.iter().filter_map(mean_ms).fold(f64::INFINITY, f64::min);
    let best_rate = targets.iter().filter_map(rate).fold(0.0, f64::max);
    let score = |target: &Target| {
        let latency = mean_ms(target).map_or(1.0, |ms| if ms > 0.0 { (best_ms / ms).min(1.0) } else { 1.0 });
        let success = figures(target).map_or(1.0, Measured::success);
        let throughput = rate(target).map_or(1.0, |rate| if best_rate > 0.0 { rate / best_rate } else { 1.0 });
        latency_part * latency + success_part * success + throughput_part * throughput
    };
    targets.iter().map(score).collect()
}
