//! Chat moderation: how toxic a message of a game's chat is, of which kind, and where.
//!
//! Owns the rules of `chat-moderation.moderate`; `docs/chat-moderation.md` is the page for people. A text is cut at its blanks
//! (`window`); what people commonly write is found in a vocabulary (`words`, by `key`), anything else becomes symbols (`normalise`)
//! that an automaton (`automaton`) and a table of n-grams (`grams`) know. A `reading` adds it all up, `phrases` are words in a row, texts in disguise are
//! read again (`fold`), and `rules` makes a verdict of it. The invariants: a verdict depends on the text and the policy alone,
//! by integer arithmetic; and spans always lie within the text, at the bounds of characters.

pub mod automaton;
pub mod call;
pub mod fold;
pub mod gram;
pub mod grams;
pub mod homoglyph;
pub mod key;
pub mod normalise;
pub mod phrases;
pub mod policy;
pub mod reading;
pub mod rules;
pub mod symbol;
mod tables;
pub mod tally;
pub mod window;
pub mod words;

#[cfg(target_family = "wasm")]
mod guest;
