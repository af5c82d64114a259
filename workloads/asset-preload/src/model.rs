//! Where a player goes next: probabilities from counted moves.
//!
//! Owns the distribution and how much it believes of what; learns nothing itself. The invariant: probabilities of one
//! distribution are positive and add up to one, and the same counts give the same on every host.
//!
//! Order 1 is how often each neighbour was entered from here, with a little for neighbours that were only ever left towards
//! here. Order 2 is how often each was entered from here by those who came from where the player came from. It backs off to
//! order 1 with a strength `λ` (MacKay and Peto, "A hierarchical Dirichlet language model", 1995):
//!
//! ```text
//! P₁(n | zone)         ∝ moves(zone → n) + 0.02 · moves(n → zone) + 0.05
//! P₂(n | before, zone) = (turns(before → zone → n) + λ · P₁(n | zone)) / (Σ turns(before → zone → ·) + λ)
//! ```
//!
//! Which `λ` is right depends on the game: where players wander, the zone before says little, and where they follow roads it
//! says nearly all. So each is judged by what it would have said before each move was learned (Dawid, "prequential", 1984), as
//! a sum of `−log₂ P` in a counter, and the one that has cost the least is used. Order 1 alone is among them.

use crate::ledger::{Ledger, Store};
use crate::names;

/// The choices of `λ` and what their counters are called. `None` is order 1 alone.
pub const STRENGTHS: [(Option<f64>, &str); 5] =
    [(Some(8.0), "8"), (Some(2.0), "2"), (Some(0.5), "0.5"), (Some(32.0), "32"), (None, "order-1")];

/// What a move the other way is worth: maps are mostly passable both ways, but a count of the way itself always says more.
const REVERSE: f64 = 0.02;
/// What each neighbour has before anything is counted.
const FLOOR: f64 = 0.05;
/// What a zone costs, in bits, that a distribution does not have.
const UNKNOWN_BITS: f64 = 10.0;
/// The unit of the counters of costs, in parts of a bit.
const PER_BIT: f64 = 1_000.0;

/// A zone and how likely it is the next.
#[derive(Clone, Debug, PartialEq)]
pub struct Likely {
    /// The zone.
    pub zone: String,
    /// 0 to 1.
    pub probability: f64,
}

/// Reads of the state after which the past is left out of account: what a call for many players on a large map may spend on it.
/// The host allows 100,000 calls by default, and each read takes three.
const PAST_READS_MAX: usize = 16_000;

/// What is known of one of the zones that may come next.
struct Evidence {
    zone: String,
    /// By order 1.
    likely: f64,
    /// How often it came next for those with the same past.
    turns: f64,
}

/// The next zones after `zone` for a player that came from `before`, the likeliest first. Empty for a zone that nobody has
/// entered or left.
pub fn next<S: Store>(ledger: &mut Ledger<'_, S>, zone: &str, before: Option<&str>) -> Vec<Likely> {
    let strength = strength(ledger);
    let evidence = evidence(ledger, zone, before);
    let turns = sum_of_turns(&evidence);
    let likely = |next: Evidence| Likely { probability: probability(&next, turns, strength), zone: next.zone };
    let mut likely: Vec<_> = evidence.into_iter().map(likely).collect();
    likely.sort_by(|a, b| b.probability.total_cmp(&a.probability).then_with(|| a.zone.cmp(&b.zone)));
    likely
}

/// What each strength would have had to pay for this move, in thousandths of a bit: little where it was expected.
pub fn costs<S: Store>(ledger: &mut Ledger<'_, S>, before: &str, from: &str, to: &str) -> [u64; STRENGTHS.len()] {
    let evidence = evidence(ledger, from, Some(before));
    let turns = sum_of_turns(&evidence);
    let expected = evidence.iter().find(|next| next.zone == to);
    STRENGTHS.map(|(strength, _)| {
        milli(
            expected.map_or(UNKNOWN_BITS, |next| (-probability(next, turns, strength).log2()).clamp(0.0, UNKNOWN_BITS)),
        )
    })
}

fn evidence<S: Store>(ledger: &mut Ledger<'_, S>, zone: &str, before: Option<&str>) -> Vec<Evidence> {
    let near: Vec<String> = ledger.members(&names::near(zone)).iter().cloned().collect();
    let mut evidence: Vec<Evidence> = near
        .into_iter()
        .map(|next| {
            let there = count(ledger, &names::moved(zone, &next));
            let back = count(ledger, &names::moved(&next, zone));
            let past = before.filter(|_| ledger.reads() < PAST_READS_MAX);
            let turns = past.map_or(0.0, |before| count(ledger, &names::turned(before, zone, &next)));
            Evidence { zone: next, likely: there + REVERSE * back + FLOOR, turns }
        })
        .collect();
    let sum: f64 = evidence.iter().map(|next| next.likely).sum();
    evidence.iter_mut().for_each(|next| next.likely /= sum);
    evidence
}

fn sum_of_turns(evidence: &[Evidence]) -> f64 {
    evidence.iter().map(|next| next.turns).sum()
}

/// Order 2 backed off to order 1. Nothing known of the past leaves order 1.
fn probability(next: &Evidence, turns: f64, strength: Option<f64>) -> f64 {
    strength.map_or(next.likely, |strength| (next.turns + strength * next.likely) / (turns + strength))
}

/// The strength that has cost the least so far; the first of those that cost the same.
fn strength<S: Store>(ledger: &mut Ledger<'_, S>) -> Option<f64> {
    let cost = STRENGTHS.map(|(strength, name)| (ledger.counter(&names::loss(name)).unwrap_or(0), strength));
    cost.into_iter().min_by_key(|(cost, _)| *cost).and_then(|(_, strength)| strength)
}

fn count<S: Store>(ledger: &mut Ledger<'_, S>, name: &str) -> f64 {
    // Exact up to 2^53 moves.
    ledger.counter(name).unwrap_or(0) as f64
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to ten thousand, checked by its caller")]
fn milli(bits: f64) -> u64 {
    (bits * PER_BIT).round() as u64
}
