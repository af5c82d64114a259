//! Asset preloading: which assets a player needs next, learned from where all players went on all hosts.
//!
//! Owns the rules of `asset-preload`; `docs/asset-preload.md` is the page for people. All that is learned lies in the shared
//! state, so that a call gives the same on any host that has seen the same. The invariants: what is learned is counters and
//! grow-only sets, which hosts can write at once without losing anything; and it is bounded, whatever zones and players are called.

pub mod catalogue;
pub mod learn;
pub mod ledger;
pub mod model;
pub mod names;
pub mod plan;

#[cfg(target_family = "wasm")]
mod guest;
