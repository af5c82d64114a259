//! The replicated data types: their operations, their merges, and the hash of their live content.
//!
//! Semantics are those of the `crdts` crate; where a type here replaces one of that crate it is because a set must cost the
//! change and not its size, or because a defect there diverges. Knows objects one at a time: no keys beyond a salt, no commits.
//! The invariant: hosts that applied the same operations, in any order that keeps each writer's order, hold the same content.

mod compact;
mod content;
mod counter;
mod dot_map;
mod field;
mod grow_set;
mod hashing;
mod members;
mod object;
mod op;
mod state;
mod writer;

pub use content::{Content, ContentHash};
pub use counter::{Counter, CounterState, Share};
pub use dot_map::{Context, DotMapState, Entry};
pub use grow_set::GrowSet;
pub use hashing::Seeded;
pub use object::{Object, Value};
pub use op::{Assign, Op, OpError, Raise, Stamped};
pub use state::ObjectState;
pub(crate) use writer::Writers;
