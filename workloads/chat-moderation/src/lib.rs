//! Chat moderation: how toxic a message of a game's chat is, of which kind, and where.
//!
//! Owns the rules of `chat-moderation.moderate`; `docs/chat-moderation.md` is the page for people. A text becomes symbols
//! (`normalise`), one automaton reads n-grams and word lists from them (`automaton`), many texts at a time
//! (`batch`), texts in disguise are read again (`fold`) and those of interest at leisure (`record`), and `rules` makes a verdict of it all. The invariants: a verdict depends on the text and the policy alone, by
//! integer arithmetic; and spans always lie within the text, at the bounds of characters.

pub mod automaton;
pub mod batch;
pub mod fold;
pub mod homoglyph;
pub mod normalise;
pub mod policy;
pub mod record;
pub mod rules;
pub mod symbol;
pub mod tally;

#[cfg(target_family = "wasm")]
mod guest;
