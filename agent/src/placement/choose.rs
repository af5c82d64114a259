//! The choice among admissible hosts: sticky, spread as asked, and the same everywhere.
//!
//! Owns stickiness and spread over regions; which of two hosts is better the arrays know. The invariant: what runs moves only for
//! a gain above the threshold, or to a region that has too few.

use std::collections::BTreeMap;

use super::arrays::{Arrays, Slot, TIE};

/// How many instances there are to be, and how they spread over regions.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Quota {
    /// On any hosts.
    Any(usize),
    /// No region has two more than another that could take one.
    Even(usize),
    /// So many in each of these regions.
    Each(BTreeMap<u16, usize>),
}

/// What was chosen.
pub(super) struct Choice {
    pub(super) chosen: Vec<bool>,
    /// From which running host to which, and by how much the score is better.
    pub(super) moves: Vec<(usize, usize, f64)>,
}

/// A choice that is being made.
struct Choosing<'a> {
    arrays: &'a Arrays,
    scores: &'a [f64],
    workload: u64,
    quota: &'a Quota,
    threshold: f64,
    chosen: Vec<bool>,
    /// Chosen hosts by region.
    taken: BTreeMap<u16, usize>,
}

/// Chooses hosts for the workload of this hash.
///
/// Hosts that run it come first, so that nothing moves without need; of more than are wanted those within the threshold of the best
/// count as equal, so that agents whose figures differ in age keep the same ones, and what has just moved stays where it went. A free slot goes to the best host; one where it has failed is
/// taken only when no other is left. Then a challenger displaces the worst running instance while it is better by more than
/// `threshold`.
pub(super) fn choose(arrays: &Arrays, scores: &[f64], workload: u64, quota: &Quota, threshold: f64) -> Choice {
    if matches!(quota, Quota::Any(wanted) if *wanted >= arrays.len()) {
        let chosen = (0..arrays.len()).map(|host| arrays.slot(host) != Slot::Unfit).collect();
        return Choice { chosen, moves: Vec::new() };
    }
    let chosen = vec![false; arrays.len()];
    let mut choosing = Choosing { arrays, scores, workload, quota, threshold, chosen, taken: BTreeMap::new() };
    for slot in [Slot::Running, Slot::Free, Slot::Failed] {
        while let Some(host) = choosing.next(slot) {
            choosing.take(host);
        }
    }
    let mut moves = choosing.displace();
    moves.extend(choosing.even_out());
    Choice { chosen: choosing.chosen, moves }
}

impl Choosing<'_> {
    fn take(&mut self, host: usize) {
        self.chosen[host] = true;
        *self.taken.entry(self.arrays.region(host)).or_default() += 1;
    }

    fn give_up(&mut self, host: usize) {
        self.chosen[host] = false;
        *self.taken.entry(self.arrays.region(host)).or_default() -= 1;
    }

    fn taken(&self, region: u16) -> usize {
        self.taken.get(&region).copied().unwrap_or(0)
    }

    /// The next host to take, if one is wanted.
    fn next(&self, slot: Slot) -> Option<usize> {
        let all: usize = self.taken.values().sum();
        let tie = if slot == Slot::Running { self.threshold.max(TIE) } else { TIE };
        let best = |open: &dyn Fn(usize) -> bool| {
            self.arrays.best(self.scores, (slot, tie), self.workload, |host| !self.chosen[host] && open(host))
        };
        match self.quota {
            Quota::Any(wanted) if all >= *wanted => None,
            Quota::Any(_) => best(&|_| true),
            Quota::Even(wanted) if all >= *wanted => None,
            Quota::Even(_) => {
                let hosts =
                    (0..self.arrays.len()).filter(|host| self.arrays.slot(*host) == slot && !self.chosen[*host]);
                let least = hosts.map(|host| self.taken(self.arrays.region(host))).min()?;
                best(&|host| self.taken(self.arrays.region(host)) == least)
            }
            Quota::Each(counts) => best(&|host| {
                let region = self.arrays.region(host);
                counts.get(&region).is_some_and(|count| self.taken(region) < *count)
            }),
        }
    }

    /// Whether an instance may go from one host to another as far as regions are concerned.
    fn may_move(&self, from: usize, to: usize) -> bool {
        match self.quota {
            Quota::Any(_) => true,
            Quota::Even(_) | Quota::Each(_) => self.arrays.region(from) == self.arrays.region(to),
        }
    }

    /// The chosen host that runs it and has the least score, among those that `may` go.
    fn worst(&self, may: impl Fn(usize) -> bool) -> Option<usize> {
        let running = |host: &usize| self.chosen[*host] && self.arrays.slot(*host) == Slot::Running && may(*host);
        (0..self.arrays.len()).filter(running).min_by(|a, b| self.scores[*a].total_cmp(&self.scores[*b]))
    }

    fn displace(&mut self) -> Vec<(usize, usize, f64)> {
        let mut moves = Vec::new();
        let mut settled: Vec<usize> = Vec::new();
        while let Some(from) = self.worst(|host| !settled.contains(&host)) {
            let may = |host: usize| !self.chosen[host] && self.may_move(from, host);
            let to = self.arrays.best(self.scores, (Slot::Free, TIE), self.workload, may);
            match to.map(|to| (to, self.scores[to] - self.scores[from])) {
                Some((to, gain)) if gain > self.threshold => {
                    self.give_up(from);
                    self.take(to);
                    moves.push((from, to, gain));
                }
                // Without regions, who cannot better the worst can better nobody.
                Some(_) | None if matches!(self.quota, Quota::Any(_)) => break,
                Some(_) | None => settled.push(from),
            }
        }
        moves
    }

    /// Moves from the fullest region to the emptiest, while they differ by more than one.
    fn even_out(&mut self) -> Vec<(usize, usize, f64)> {
        let mut moves = Vec::new();
        while matches!(self.quota, Quota::Even(_)) {
            let free = |host: &usize| !self.chosen[*host] && self.arrays.slot(*host) == Slot::Free;
            let Some(least) =
                (0..self.arrays.len()).filter(free).map(|host| self.taken(self.arrays.region(host))).min()
            else {
                break;
            };
            let Some(from) = self.worst(|host| self.taken(self.arrays.region(host)) > least + 1) else { break };
            let may = |host: usize| !self.chosen[host] && self.taken(self.arrays.region(host)) == least;
            let Some(to) = self.arrays.best(self.scores, (Slot::Free, TIE), self.workload, may) else { break };
            self.give_up(from);
            self.take(to);
            moves.push((from, to, self.scores[to] - self.scores[from]));
        }
        moves
    }
}
