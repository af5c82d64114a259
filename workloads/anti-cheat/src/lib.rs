//! Anti-cheat: who moves, jumps, acts or hurts as the game does not allow, and how sure that is.
//!
//! Owns the rules of `anti-cheat.inspect`; `docs/anti-cheat.md` is the page for people. What is known of a player is a
//! [`track::Track`] that packs into some 150 bytes of the shared state: any host can go on where another left off, and an
//! instance remembers nothing. The invariants: the same observations on the same track give the same verdicts on every
//! host; delay that varies and updates that are lost are no evidence against a player.

pub mod account;
pub mod damage;
pub mod inspection;
pub mod lag;
pub mod limits;
pub mod observation;
pub mod rate;
pub mod speed;
pub mod teleport;
pub mod track;

#[cfg(target_family = "wasm")]
mod guest;
