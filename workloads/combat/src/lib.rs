//! Interlock combat in the manner of The Matrix Online: one round, two rolls, a whole zone in one call.
//!
//! Owns the rules of `combat.resolve` and the tally of what they change in the shared state; `docs/combat.md` is the
//! page for people. The published descriptions of the original give its shape (two rolls a round, five stats, each
//! point above 5 worth 2 %, four tactics) but not its formulas: those are ours. The invariant: the outcome of a duel
//! depends on the duel alone, by integer arithmetic, so every host computes the same one.

mod roll;
pub mod rules;
pub mod tally;

#[cfg(target_family = "wasm")]
mod guest;
