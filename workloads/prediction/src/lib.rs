//! Movement prediction: where a player will be, from the last seconds of samples.
//!
//! Owns the rules of `prediction.predict`; `docs/prediction.md` is the page for people. Keeps no tracks between calls:
//! the caller has the samples. The invariants: a finite track gives a finite prediction whatever the order, spacing and
//! quality of its samples, and on clean data it is no worse than extending the last step.

pub mod confidence;
pub mod rules;
pub mod track;

#[cfg(target_family = "wasm")]
mod guest;
